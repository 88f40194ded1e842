"""A Pair, a Dense and the formula are one thing, whatever the block size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank import Dense, NeedsEmbeddings, Pair, RerankError
from rerank.core.views import Mapped
from rerank.passes import reduce
from tests.reference import unit


def make(n=23, m=17, d=8, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype)


@pytest.mark.parametrize("block", [1, 7, 23, None])
def test_pair_equals_dense_equals_formula(block):
    q, v = make()
    truth = unit(q) @ unit(v).T
    pair = Pair(q, v, block_size=block)
    dense = Dense(truth, block_size=block)
    for sim in (pair, dense):
        np.testing.assert_allclose(sim.scores().numpy(), truth, atol=1e-14)
        np.testing.assert_allclose(sim.T.scores().numpy(), truth.T, atol=1e-14)
        lse = np.log(np.exp(truth / 0.1).sum(axis=0))
        got = reduce.logsumexp(sim, 0.1, over="queries").numpy()
        np.testing.assert_allclose(got, lse, atol=1e-12)
        lse = np.log(np.exp(truth / 0.1).sum(axis=1))
        got = reduce.logsumexp(sim, 0.1, over="gallery").numpy()
        np.testing.assert_allclose(got, lse, atol=1e-12)
        order = np.argsort(-truth, axis=1, kind="stable")[:, :5]
        np.testing.assert_array_equal(reduce.topk(sim, 5).indices.numpy(), order)
        np.testing.assert_allclose(
            reduce.mean_topk(sim, 3, over="queries").numpy(),
            -np.sort(-truth, axis=0)[:3].mean(axis=0),
            atol=1e-14,
        )
        counts = np.bincount(order.ravel(), minlength=17)
        np.testing.assert_array_equal(reduce.k_occurrence(sim, 5).numpy(), counts)


def test_corrections_travel_with_the_transpose():
    q, v = make()
    rng = np.random.default_rng(1)
    g, f = torch.tensor(rng.normal(size=17)), torch.tensor(rng.normal(size=23))
    sim = Pair(q, v).add_gallery_bias(g).add_query_bias(f)
    want = unit(q) @ unit(v).T + g.numpy() + f.numpy()[:, None]
    np.testing.assert_allclose(sim.scores().numpy(), want, atol=1e-14)
    np.testing.assert_allclose(sim.T.scores().numpy(), want.T, atol=1e-14)
    left, right = sim.augmented()
    np.testing.assert_allclose((left @ right.T).numpy(), want, atol=1e-14)


def test_nothing_writes_into_its_input():
    q, v = make(dtype=np.float32)
    scores = (q @ v.T).copy()
    kept = q.copy(), v.copy(), scores.copy()
    for sim in (Pair(q, v, metric="dot"), Dense(scores)):
        for _, block in sim.blocks():
            block.zero_()
        reduce.logsumexp(sim, 0.1, over="queries", plus=torch.ones(23))
        reduce.topk(sim, 3)
    for now, before in zip((q, v, scores), kept, strict=True):
        np.testing.assert_array_equal(now, before)


def test_no_pass_allocates_the_matrix():
    """Every allocation of n x m elements fails; the passes must not notice."""
    from torch.utils._python_dispatch import TorchDispatchMode

    n, m = 600, 500

    class Limit(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            parts = out if isinstance(out, (tuple, list)) else (out,)
            for part in parts:
                assert not (isinstance(part, torch.Tensor) and part.numel() >= n * m), func
            return out

    from rerank import EM, Pipeline, Sinkhorn

    q, v = make(n, m, 16, dtype=np.float32)
    sim = Pair(q, v, block_size=64)
    with Limit():
        fitted = Pipeline((EM(n_bases=4), Sinkhorn(tau=0.05, n_iters=5))).fit(sim)
        reduce.topk(fitted.transform(sim), 10)
        Sinkhorn(n_iters=3).fit(sim.T)
    with pytest.raises(AssertionError), Limit():
        sim.scores()


@pytest.mark.parametrize(
    ("make_bad", "words"),
    [
        (lambda q, v: Pair(q[:, :5], v), ["d = 5", "d = 8", "same model"]),
        (lambda q, v: Pair(np.where(np.arange(23)[:, None] == 4, np.nan, q), v), ["row 4", "NaN"]),
        (lambda q, v: Pair(q, v * (np.arange(17)[:, None] != 9)), ["gallery", "row 9", "zero"]),
        (lambda q, v: Pair(q.astype(int), v), ["int64", "floating"]),
        (lambda q, v: Pair(q + 1j, v), ["complex", "floating"]),
        (lambda q, v: Pair(q[None], v), ["two dimensions"]),
        (lambda q, v: Pair(q[:0], v), ["at least one"]),
        (lambda q, v: Pair(q, v, metric="l2"), ["'l2'", "cosine"]),
        (lambda q, v: Dense(np.full((3, 3), -np.inf)), ["row 0"]),
        (lambda q, v: Dense([[1.0], [1.0, 2.0]]), ["list", "no matrix"]),
        (lambda q, v: reduce.topk(Pair(q, v), 18), ["18", "17"]),
        (lambda q, v: reduce.logsumexp(Pair(q, v), 0.0, over="queries"), ["tau", "positive"]),
    ],
)
def test_bad_input_is_named(make_bad, words):
    with pytest.raises(RerankError) as caught:
        make_bad(*make())
    for word in words:
        assert word in str(caught.value)


def test_zero_rows_are_fine_with_dot():
    q, v = make()
    q[3] = 0
    assert Pair(q, v, metric="dot").scores()[3].abs().max() == 0


def test_only_embeddings_can_be_mapped():
    with pytest.raises(NeedsEmbeddings, match="Pair"):
        Dense(np.eye(4)).map(torch.eye(4))


def test_a_mapped_similarity_refuses_to_transpose():
    sim = Mapped(Dense(np.eye(3)), lambda rows, block: block * 2, what="doubling")
    np.testing.assert_array_equal(sim.scores().numpy(), 2 * np.eye(3))
    with pytest.raises(RerankError, match="doubling"):
        _ = sim.T


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6))
def test_equal_scores_are_ordered_by_index(n, m, k, seed):
    scores = np.random.default_rng(seed).integers(0, 3, size=(n, m)).astype(np.float64)
    k = min(k, m)
    want = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    got = reduce.topk(Dense(scores), k)
    np.testing.assert_array_equal(got.scores.numpy(), np.take_along_axis(scores, want, axis=1))
    # Inside the k, equal scores are ordered by index; which ties make the cut is open.
    for row_scores, row in zip(got.scores.numpy(), got.indices.numpy(), strict=True):
        for left, right in zip(range(k - 1), range(1, k), strict=True):
            if row_scores[left] == row_scores[right]:
                assert row[left] < row[right]


def test_panels_are_halved_where_memory_runs_out(monkeypatch):
    x = np.random.default_rng(0).normal(size=(10, 4))
    sim, wanted = Dense(x, block_size=8), []
    base = Dense.block

    def little(self, rows):
        if rows.stop - rows.start > 3:
            raise MemoryError
        wanted.append(rows)
        return base(self, rows)

    monkeypatch.setattr(Dense, "block", little)
    np.testing.assert_array_equal(sim.scores().numpy(), x)
    assert [(rows.start, rows.stop) for rows in wanted] == [
        (i, min(i + 2, 10)) for i in range(0, 10, 2)
    ]

    def broken(self, rows):
        raise RuntimeError("something else")

    monkeypatch.setattr(Dense, "block", broken)
    with pytest.raises(RuntimeError, match="something else"):
        sim.scores()


@pytest.mark.parametrize(("dtype", "powers"), [("f4", (-30, 25, 37)), ("f8", (-250, 200, 300))])
def test_rows_of_any_norm_have_their_direction(dtype, powers):
    q, v = make(dtype=dtype)
    scaled = q.copy()
    for row, power in enumerate(powers):
        scaled[row] *= np.asarray(10.0**power, dtype)
    got, want = Pair(scaled, v), Pair(q, v)
    torch.testing.assert_close(got.queries, want.queries, rtol=0, atol=10 * np.finfo(dtype).eps)


def test_rows_whose_digits_or_products_are_lost_are_named():
    q, v = make(dtype="f4")
    small, long, short = q.copy(), q.copy(), q * np.float32(1e-25)
    small[5] *= np.float32(1e-43)
    long[3] *= np.float32(1e37)
    with pytest.raises(RerankError, match="queries: row 5 is shorter than float32 carries"):
        Pair(small, v)
    with pytest.raises(RerankError, match="queries: row 3 has norm .*e\\+37, and .* overflow"):
        Pair(long, 100 * v, metric="dot")
    with pytest.raises(RerankError, match="gallery: row .* products or their squares overflow"):
        Pair(q, v * np.float32(1e30), metric="dot")
    with pytest.raises(RerankError, match="queries: row .* vanish in float32"):
        Pair(short, v * np.float32(1e-20), metric="dot")
    assert torch.isfinite(Pair(short, v, metric="dot").scores()).all()


@pytest.mark.parametrize("kind", ["u2", "V2"])
def test_the_bits_of_bfloat16_are_named_and_the_way_out_works(kind):
    x = torch.randn(4, 5).bfloat16()
    bits = x.view(torch.int16).numpy().view(kind)
    with pytest.raises(RerankError, match="bfloat16; give torch.from_numpy"):
        Dense(bits)
    there = torch.from_numpy(bits.view("i2")).view(torch.bfloat16)
    assert torch.equal(Dense(there).scores(), x.float())


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(77, 2049, 33), (50, 333, 511), (64, 64, 512), (2, 1000, 20)])
def test_equal_items_have_equal_scores(dtype, shape):
    n, m, d = shape
    q, v = make(n, m, d, dtype=dtype)
    v[[m // 2, m - 1]] = v[0]
    scores = Pair(q, v).scores()
    assert torch.equal(scores[:, 0], scores[:, m // 2])
    assert torch.equal(scores[:, 0], scores[:, m - 1])
    close = 1e-6 if dtype == "f4" else 1e-14
    np.testing.assert_allclose(scores.numpy(), unit(q) @ unit(v).T, rtol=0, atol=close)
