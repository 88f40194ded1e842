"""Columns of a softmax in one compiled pass are those of the formula."""

import torch

from rerank.core.similarity import Pair
from rerank.passes import cross
from rerank.passes.sinkhorn.choose import SMALL


def test_sums_of_a_softmax_and_of_its_squares_are_those_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    queries = unit(torch.randn(2100, 24, generator=draw) + 0.5)
    items = unit(torch.randn(2100, 24, generator=draw) + 0.5)
    assert len(queries) * len(items) > SMALL
    mass = torch.rand(2100, generator=draw).double()
    mass[7] = 0.0
    mass /= mass.sum()
    bias = 0.1 * torch.rand(2100, generator=draw)
    found = cross.softmax_columns(Pair(queries, items), 0.05, query_mass=mass, gallery_bias=bias)
    assert found is not None
    weights = torch.softmax((queries.double() @ items.double().T + bias) / 0.05, dim=1)
    torch.testing.assert_close(found[0], mass @ weights, rtol=5e-2, atol=0)
    torch.testing.assert_close(found[1], mass @ weights.square(), rtol=1e-1, atol=0)
    # Rounding is no bias: the sums of all columns are far closer.
    assert abs(float(found[0].sum()) - 1) < 1e-4
    total = float((mass @ weights.square()).sum())
    assert abs(float(found[1].sum()) / total - 1) < 5e-3


def test_small_problems_and_split_galleries_take_the_log_domain() -> None:
    sim = Pair(torch.eye(8), torch.eye(8))
    mass = torch.full((8,), 1 / 8, dtype=torch.float64)
    assert cross.softmax_columns(sim, 0.1, query_mass=mass) is None
