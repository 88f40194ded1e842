"""Products that are kept are the products, whoever asks and whatever was freed in between."""

import pytest
import torch

from rerank.core import products, similarity
from rerank.core.arrays import inner
from rerank.core.similarity import Pair
from rerank.passes import gallery


def _rows(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))


def _pair(n: int = 30, m: int = 40, *, seed: int = 0, **settings: int) -> Pair:
    return Pair(_rows(n, seed), _rows(m, 99), metric="dot", **settings)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each product was made of."""
    sizes: list[int] = []

    def counted(queries: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        sizes.append(len(queries))
        return inner(queries, items)

    monkeypatch.setattr(similarity, "inner", counted)
    return sizes


def test_blocks_are_those_of_a_product_that_is_not_kept() -> None:
    sim = _pair(37, 53).add_gallery_bias(torch.linspace(0, 1, 53))
    alone = sim.scores()
    with products.keeping():
        for _ in range(2):
            torch.testing.assert_close(sim.scores(), alone)
            torch.testing.assert_close(sim.T.scores(), alone.T)


def test_what_is_asked_for_again_is_made_once(made: list[int]) -> None:
    sim = _pair()
    with products.keeping():
        for same in (sim, sim.add_gallery_bias(torch.ones(40)), sim, sim.T, sim.T):
            same.scores()
    assert made == [30, 40]
    sim.scores()
    assert made == [30, 40, 15, 15], "nothing is kept outside"


def test_blocks_of_a_stated_size_are_made_each(made: list[int]) -> None:
    with products.keeping():
        _pair(block_size=10).scores()
    assert made == [10, 10, 10]


def test_large_ones_are_made_block_by_block(
    made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MOST", 100)
    with products.keeping():
        _pair().scores()
    assert made == [15, 15]


def test_a_block_may_be_overwritten() -> None:
    sim = _pair()
    with products.keeping():
        for _, block in sim.blocks():
            block.fill_(7.0)
        torch.testing.assert_close(sim.scores(), inner(sim.queries[:], sim.gallery[:]))


def test_embeddings_that_take_the_place_of_freed_ones_have_products_of_their_own() -> None:
    items = _rows(40, 99)
    with products.keeping():
        for seed in range(8):
            sim = Pair(_rows(30, seed), items, metric="dot")
            torch.testing.assert_close(sim.scores(), inner(_rows(30, seed), items))
            del sim


def test_parts_of_one_tensor_are_told_apart() -> None:
    rows, items = _rows(40, 0), _rows(40, 1)
    with products.keeping():
        for queries in (rows[:20], rows[20:], rows[:40:2], rows.double()[:20]):
            sim = Pair(queries, items, metric="dot")
            expected = queries.double() @ items.double().T
            torch.testing.assert_close(sim.scores().double(), expected, rtol=1e-4, atol=1e-4)


def test_all_queries_and_all_items_are_the_similarity_itself() -> None:
    sim = _pair(12, 9)
    every = gallery.some_queries(sim, torch.arange(12))
    assert isinstance(every, Pair)
    assert every.queries is sim.queries
    everywhere, turned = torch.arange(9), torch.arange(8, -1, -1)
    for places in (everywhere, turned):
        found = gallery.corner(sim, torch.arange(12), places)
        torch.testing.assert_close(found, sim.scores()[:, places])
    assert gallery.some_queries(sim, torch.arange(11)).shape == (11, 9)
