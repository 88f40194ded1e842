"""Large sides stay as they are stored, and nothing but memory differs from float32 copies."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.rows import MovedRows, StoredRows, blended, centred, mapped, shifted, thinned
from rerank.core.similarity import Pair
from rerank.methods.align import Align
from rerank.methods.base import Pipeline
from rerank.methods.centering import Centering, Centred
from rerank.methods.dual_bank import beside
from rerank.methods.em import EM
from rerank.methods.expansion import AlphaQE
from rerank.methods.sinkhorn import Sinkhorn
from rerank.metrics import hubness
from rerank.passes import certified, panels, reduce
from rerank.passes import reduce as moments
from rerank.passes import topk as search
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.sweepers import Fresh
from rerank.passes.threads import Workers

TINY = "1kB"


def sides(n=70, m=90, d=16, dtype=np.float16, seed=0):
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(1, d))
    return tuple((draw.normal(size=(count, d)) + shared).astype(dtype) for count in (n, m))


def both(n=70, m=90, d=16, *, dtype=np.float16, **options):
    """The same similarity with its sides as they are stored, and as float32 tensors."""
    queries, gallery = sides(n, m, d, dtype)
    with memory.limit(TINY):
        stored = Pair(queries, gallery, **options)
    held = Pair(queries, gallery, **options)
    assert isinstance(stored.queries, StoredRows) and isinstance(stored.gallery, StoredRows)
    assert isinstance(held.queries, torch.Tensor) and isinstance(held.gallery, torch.Tensor)
    return stored, held


def close(one, two, atol=2e-5):
    torch.testing.assert_close(one, two, atol=atol, rtol=1e-4)


def biased(sim):
    return sim.add_gallery_bias(torch.linspace(-0.1, 0.1, sim.shape[1]))


TURN = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(3))).Q
SQUEEZE = torch.eye(16) - 0.7 * torch.ones(16, 16) / 16


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("block", [1, 7, None])
@pytest.mark.parametrize("maps", [(), (SQUEEZE,), (SQUEEZE, TURN)])
def test_stored_rows_have_the_scores_of_their_copies(dtype, metric, block, maps):
    stored, held = both(dtype=dtype, metric=metric, block_size=block)
    for matrix in maps:
        stored, held = stored.map(matrix), held.map(matrix)
    close(stored.scores(), held.scores(), 1e-4)
    close(biased(stored.T).scores(), biased(held.T).scores(), 1e-4)
    close(stored.gallery[:], held.gallery, 1e-4)
    assert stored.dtype == torch.float32 and stored.shape == held.shape


STAGES = {"m": (SQUEEZE, None), "t": (TURN, None), "c": (None, 0.3), "d": (None, -0.2)}


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("order", ["c", "mc", "cm", "cd", "mctd", "cmtdc"])
def test_means_are_taken_before_and_after_maps_without_a_copy(metric, order):
    stored, held = both(n=50, m=9000, metric=metric)
    for letter in order:
        matrix, mean = STAGES[letter]
        if matrix is not None:
            stored, held = stored.map(matrix), held.map(matrix)
            continue
        means = mean * torch.linspace(-1, 2, 16), mean * torch.linspace(2, 1, 16)
        stored, held = (Centred(*means, "inductive").transform(sim) for sim in (stored, held))
    assert isinstance(stored.queries, StoredRows) and isinstance(stored.gallery, StoredRows)
    assert stored.gallery.stored.dtype == torch.float16
    close(stored.scores(), held.scores(), 1e-4)
    close(biased(stored.T).scores(), biased(held.T).scores(), 1e-4)
    close(stored.gallery[8000:8200], held.gallery[8000:8200], 1e-4)
    some = torch.tensor([3, 8999, 40])
    close(stored.gallery[some], held.gallery[some], 1e-4)
    close(stored.gallery @ held.queries[0], held.gallery @ held.queries[0], 1e-4)


@pytest.mark.parametrize("unit", [True, False])
def test_aligned_rows_go_through_whatever_comes_behind(unit):
    """Without a copy of a side: blended, less a mean, turned, shifted, of norm one or not."""
    mean = torch.linspace(-0.3, 0.4, 16)
    made = []
    for rows in (sides.gallery for sides in both(n=50, m=9000)):
        rows = blended(rows, TURN, mean, 0.4, "gallery", unit=unit)
        rows = mapped(centred(rows, mean, "gallery", unit=unit), SQUEEZE, "gallery", unit=unit)
        made.append(shifted(rows, mean))
    stored, held = made
    assert isinstance(stored, MovedRows) and isinstance(held, torch.Tensor)
    close(stored[8000:8300], held[8000:8300], 1e-4)
    close(stored[torch.tensor([8999, 3])], held[torch.tensor([8999, 3])], 1e-4)
    asked = torch.randn(5, 16, generator=torch.Generator().manual_seed(5))
    close(stored.inner(asked), asked @ held.T, 1e-4)


def test_a_row_that_is_the_mean_is_named():
    stored, _ = both(n=5, m=9000)
    mean = stored.gallery[8700:8701][0]
    with pytest.raises(RerankError, match="gallery after centring: row 8700 .*zero"):
        centred(stored.gallery, mean, "gallery after centring", unit=True)


def test_rows_before_a_map_are_the_very_bits_of_their_copies():
    stored, held = both()
    assert torch.equal(stored.queries[3:20], held.queries[3:20])
    assert torch.equal(reduce.row_hashes(stored), reduce.row_hashes(held))


def test_a_map_multiplies_the_queries_only(monkeypatch):
    stored, held = both(n=3, m=9000)
    asked = stored.map(SQUEEZE)
    seen = []
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: seen.append(len(a)) or product(a, b)
    )
    block = asked.block(slice(0, 3))
    assert max(seen, default=0) <= 3
    close(block, held.map(SQUEEZE).block(slice(0, 3)), 1e-4)


def test_every_pass_finds_the_same():
    stored, held = (biased(sim) for sim in both())
    mass = [reduce.query_masses(held), reduce.gallery_masses(held)]
    assert reduce.spread(stored) == pytest.approx(reduce.spread(held), rel=1e-5)
    for one, two in zip(
        (*reduce.gram(stored, query_mass=mass[0], gallery_mass=mass[1]),
         moments.embedding_means(stored, query_mass=mass[0], gallery_mass=mass[1])),
        (*reduce.gram(held, query_mass=mass[0], gallery_mass=mass[1]),
         moments.embedding_means(held, query_mass=mass[0], gallery_mass=mass[1])),
        strict=True,
    ):  # fmt: skip
        close(one, two, 1e-8)
    assert torch.equal(reduce.query_masses(stored), mass[0])
    assert torch.equal(search.topk(stored, 5).indices, search.topk(held, 5).indices)
    assert torch.equal(reduce.topk(stored, 5).indices, reduce.topk(held, 5).indices)


@pytest.mark.parametrize("parts", [7, 64, 1000])
def test_a_search_in_parts_is_a_search_of_the_whole(monkeypatch, parts):
    monkeypatch.setattr(search, "_ITEMS_AT_ONCE", parts)
    stored, held = (biased(sim) for sim in both())
    want = reduce.topk(held, 20)
    for sim in (stored, held):
        found = search.topk(sim, 20)
        assert torch.equal(found.indices, want.indices)
        close(found.scores, want.scores)


def test_equal_scores_in_several_parts_go_to_the_lower_index(monkeypatch):
    monkeypatch.setattr(search, "_ITEMS_AT_ONCE", 10)
    gallery = torch.eye(4)[torch.arange(40) % 4]
    found = search.topk(Pair(torch.eye(4), gallery, "dot"), 10)
    assert torch.equal(found.indices, torch.arange(10) * 4 + torch.arange(4)[:, None])


@pytest.mark.parametrize(
    "method",
    [Sinkhorn(tau=0.05), Pipeline((EM(n_bases=4), Sinkhorn(tau=0.05))), Centering(),
     AlphaQE(n=3), Sinkhorn(tau=0.05, neighbours=10), Pipeline((EM(n_bases=4), EM(n_bases=4))),
     Pipeline((Centering(), EM(n_bases=4), Sinkhorn(tau=0.05))),
     Pipeline((EM(n_bases=4), Centering(), Sinkhorn(tau=0.05))),
     Pipeline((Align(share=0.5), EM(n_bases=4), Centering(), Sinkhorn(tau=0.05)))],
    ids=["sinkhorn", "em+sinkhorn", "centring", "expansion", "sparse", "em twice", "center+em",
         "em+center", "align+em+center"],
)  # fmt: skip
def test_methods_never_ask_how_rows_are_held(method):
    stored, held = both()
    one, two = method.fit(stored).transform(stored), method.fit(held).transform(held)
    close(one.scores(), two.scores(), 2e-4)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_geometry_of_stored_rows_is_found_without_a_copy(monkeypatch, metric):
    stored, held = both(n=50, m=9000, metric=metric)
    read, get = [], StoredRows.__getitem__
    monkeypatch.setattr(
        StoredRows, "__getitem__", lambda x, rows: read.append(rows) or get(x, rows)
    )
    one, two = hubness.geometry(stored), hubness.geometry(held)
    assert max(rows.stop - rows.start for rows in read) <= 8192
    assert asdict(one) == pytest.approx(asdict(two), rel=1e-5)


def test_two_galleries_of_stored_rows_lie_beside_each_other():
    stored, held = both()
    one, two = beside(stored, stored), beside(held, held)
    close(one.scores(), two.scores())


@pytest.mark.skipif(not choose.has_numba(), reason="needs Numba")
@pytest.mark.parametrize("matrix", [None, SQUEEZE])
def test_certified_lists_of_stored_rows(matrix):
    stored, held = (biased(s if matrix is None else s.map(matrix)) for s in both(200, 3000))
    want = reduce.topk(held, 10)
    scores, indices, _ = certified.topk(stored, 10)
    assert torch.equal(indices.sort(dim=1).values, want.indices.sort(dim=1).values)
    close(scores.sort(dim=1).values, want.scores.sort(dim=1).values)


@pytest.mark.skipif(not choose.has_numba(), reason="needs Numba")
@pytest.mark.parametrize("budget", ["5MB", "11MB", "20MB"])
def test_a_sweep_reads_a_stored_gallery_as_seldom_as_the_budget_allows(monkeypatch, budget):
    stored, held = (biased(sim) for sim in both(n=700, m=9000))
    log_a = torch.full((700,), -np.log(700))
    bias = torch.linspace(-0.1, 0.1, 9000)
    asked, product = [], StoredRows.inner
    monkeypatch.setattr(
        StoredRows, "inner", lambda x, q, *each: asked.append(len(q)) or product(x, q, *each)
    )
    with memory.limit(budget):
        sweep = choose.build(choose.Regime("streaming"), stored, 0.05, log_a)
        found = sweep(bias)
        room = panels.tall_rows_of(9000, memory.budget())
        assert 4 * 9000 * room <= memory.budget() / 2 or room == panels.rows_of(9000)
    assert room == {"5MB": 128, "11MB": 128, "20MB": 256}[budget]
    assert asked == [room] * (700 // room) + [700 % room]
    want = choose.build(choose.Regime("streaming"), held, 0.05, log_a)(bias)
    for one, two in zip(found, want, strict=True):
        close(one, two, 1e-5)


@pytest.mark.skipif(not choose.has_numba(), reason="needs Numba")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_tall_panel_is_swept_alike_by_any_number_of_threads(threads):
    stored, _ = both(n=600, m=9000)
    log_a, bias = torch.full((600,), -np.log(600)), torch.linspace(-0.1, 0.1, 9000)
    with memory.limit("20MB"):
        sweeps = [Fresh(stored, 0.05, log_a, panels.full(stored, tall=True)) for _ in range(2)]
        sweeps[1]._workers = Workers(threads)
        one, two = (sweep(bias) for sweep in sweeps)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_sides_on_their_own_terms():
    queries, gallery = sides(70, 900)
    with memory.limit("100kB"):  # 8 % of it: 225 rows
        mixed = Pair(queries, gallery)
    assert isinstance(mixed.queries, torch.Tensor) and isinstance(mixed.gallery, StoredRows)
    close(mixed.scores(), Pair(queries, gallery).scores())
    close(mixed.T.scores(), Pair(gallery, queries).scores())
    again = Pair(queries[:5].astype(np.float64), mixed.gallery)
    assert again.dtype == torch.float64
    close(again.scores().float(), Pair(queries[:5], gallery).scores())


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN or infinite"), (0.0, "zero")])
def test_bad_rows_are_named_wherever_they_are(value, words):
    queries, gallery = sides(5, 9000)
    gallery[8765] = value
    for budget in (TINY, None):
        with memory.limit(budget), pytest.raises(RerankError, match=f"gallery: row 8765.*{words}"):
            Pair(queries, gallery)


def test_evenly_spaced_rows_of_very_long_sides_are_in_them():
    for count in (3, 50_000_001, 100_000_000):
        long = torch.zeros(1, 1).expand(count, 1)
        assert thinned(long, 2).shape == (2, 1) and len(thinned(long, 20_000)) == min(count, 20_000)
    assert thinned(torch.arange(7)[:, None], 3)[:, 0].tolist() == [0, 3, 6]


def test_a_single_row_is_hashed_whatever_its_stride():
    rows = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
    alone = rows.T.contiguous().T[2:3]
    assert alone.stride() == (1, 6)
    one, all_of_them = (reduce.row_hashes(Pair(x, rows, metric="dot")) for x in (alone, rows))
    assert one[0] == all_of_them[2]
