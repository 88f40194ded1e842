"""Every method against published outputs, and beside the peers that are on PyPI."""

import numpy as np
import pytest
import torch

from rerank.core.similarity import Dense, Pair
from rerank.methods.base import Bank
from rerank.methods.registry import pipeline
from rerank.passes import reduce
from tests import methods_reference as formulas


@pytest.fixture(scope="module")
def scores(golden):
    """Test scores, and the bank of scores that the peers were given."""
    s = golden["texts"] @ golden["videos"].T
    bank = Bank(
        Dense(golden["bank_texts"] @ golden["videos"].T),
        gallery=Dense(golden["bank_videos"] @ golden["videos"].T),
        pairs=Dense(golden["bank_texts"] @ golden["bank_videos"].T),
    )
    return s, bank


def rewritten(method, bank, s, **settings):
    return pipeline(method, **settings).fit(bank).transform(Dense(s)).scores().numpy()


@pytest.mark.parametrize(
    ("key", "settings"),
    [("dis_beta20_k1", {"tau": 1 / 20, "k": 1}), ("dis_beta5_k3", {"tau": 1 / 5, "k": 3})],
)
def test_dis_is_tau_times_the_log_of_qb_norm_and_leaves_inactive_rows(
    golden, scores, key, settings
):
    s, bank = scores
    published = golden[key]
    out = rewritten("dis", bank, s, **settings)
    inactive = (published == s).all(axis=1)
    assert 0 < inactive.sum() < len(s)
    np.testing.assert_array_equal(out[inactive], s[inactive])
    want = settings["tau"] * np.log(published[~inactive])
    np.testing.assert_allclose(out[~inactive], want, atol=1e-12)


def test_qb_norm_is_dis_with_the_published_settings(golden, scores):
    s, bank = scores
    np.testing.assert_array_equal(
        rewritten("qb-norm", bank, s), rewritten("dis", bank, s, tau=0.05, k=1)
    )


def test_dualis_is_the_log_of_dbnorm(golden, scores):
    s, bank = scores
    out = rewritten("dualis-published", bank, s)
    want = np.log(golden["dualis"]) / (1 / 1.99 + 3)
    np.testing.assert_allclose(out, want, atol=1e-12)


def test_dualdis_is_the_log_of_dbnorm_row_by_row(golden, scores):
    s, bank = scores
    published = golden["dualdis"]
    fitted = pipeline("dualdis-published").fit(bank)
    out = fitted.transform(Dense(s)).scores().numpy()
    stage, best = fitted.stages[0], s.argmax(axis=1)
    queries, gallery = stage.active.numpy()[best], stage.active_gallery.numpy()[best]
    cases = [
        (queries & gallery, 1 / (1 / 1.99 + 3)),
        (queries & ~gallery, 1.99),
        (~queries & gallery, 1 / 3),
    ]
    for rows, tau in cases:
        # A negative score has no logarithm: the published product is negative there.
        positive = published[rows] > 0
        assert positive.mean() > 0.3
        want = tau * np.log(np.where(positive, published[rows], 1))
        close = s[rows] > 1e-6
        np.testing.assert_allclose(out[rows][positive & close], want[positive & close], atol=1e-12)
    none = ~queries & ~gallery
    assert none.any()
    np.testing.assert_array_equal(out[none], s[none])
    np.testing.assert_allclose(published[none], s[none] ** 2, atol=1e-15)


def test_dualdis_keeps_the_order_of_negative_scores(golden, scores):
    s, bank = scores
    fitted = pipeline("dualdis-published").fit(bank)
    lower = fitted.transform(Dense(s - 0.5)).scores()
    assert torch.isfinite(lower).all()


def test_nnn_gives_the_scores_and_indices_of_nnn_retrieval(golden):
    bank = Bank(Pair(golden["bank_texts"], golden["videos"], metric="dot"))
    sim = Pair(golden["texts"], golden["videos"], metric="dot")
    found = reduce.topk(pipeline("nnn", alpha=0.75, k=16).fit(bank).transform(sim), 10)
    np.testing.assert_array_equal(found.indices.numpy(), golden["nnn_indices"])
    np.testing.assert_allclose(found.scores.numpy(), golden["nnn_scores"], atol=1e-12)


@pytest.mark.parametrize("scale", [20, 100])
def test_ncl_gives_the_published_gallery_bias(golden, scores, scale):
    fitted = pipeline("ncl", tau=1 / scale).fit(Dense(scores[0]))
    published = golden[f"ncl_{scale}_gallery"]
    np.testing.assert_allclose(scale * fitted.gallery_bias.numpy(), published, atol=1e-10)


def test_ncl_on_a_bank_gives_the_published_gallery_bias(golden, scores):
    fitted = pipeline("ncl", tau=1 / 50).fit(scores[1])
    np.testing.assert_allclose(
        50 * fitted.gallery_bias.numpy(), golden["ncl_bank_50_gallery"], atol=1e-10
    )


def test_one_gallery_of_dual_bank_sinkhorn_is_the_published_sinkhorn(golden, scores):
    """With the searched gallery twice, each copy has the bias of single-bank Sinkhorn (SN)."""
    s, _ = scores
    # Reordered, because a bank gallery equal to the searched one is refused.
    bank = Bank(Dense(s), pairs=Dense(s[:, ::-1].copy()))
    bias = pipeline("dbsn", tau=0.05, n_iters=10).fit(bank).gallery_bias.numpy()
    published = -golden["sn_tau05_second"]
    np.testing.assert_allclose(bias, published - published.mean(), atol=1e-10)


def test_k_reciprocal_gives_the_published_distance(golden):
    sim = Pair(golden["texts"], golden["videos"])
    out = pipeline("k-reciprocal").fit(sim).transform(sim).scores().numpy()
    np.testing.assert_allclose(-out, golden["kreciprocal"], atol=2e-6)


def test_the_published_forms_of_dual_softmax(scores):
    s, bank = scores
    b = bank.sim.scores().numpy()
    for method, form in (
        ("dsl-camoe", "camoe"),
        ("dsl-clip-vip", "clip-vip"),
        ("dsl-internvideo", "internvideo"),
    ):
        want = formulas.dual_softmax(s, b, 0.01, form)
        np.testing.assert_allclose(rewritten(method, bank, s), want, rtol=1e-10, atol=1e-300)


def test_pot_runs_dual_bank_sinkhorn_to_the_same_biases(scores):
    ot = pytest.importorskip("ot")
    s, bank = scores
    both = np.concatenate([bank.sim.scores().numpy(), bank.pairs.scores().numpy()], axis=1).T
    n_rows, n_columns = both.shape
    uniform = np.full(n_rows, 1 / n_rows), np.full(n_columns, 1 / n_columns)
    _, log = ot.sinkhorn(
        *uniform, 1 - both, reg=0.05, numItermax=10, stopThr=0, log=True, warn=False
    )
    bias = 0.05 * np.log(log["u"])[: s.shape[1]]
    ours = pipeline("dbsn", tau=0.05).fit(bank).gallery_bias.numpy()
    np.testing.assert_allclose(ours, bias - bias.mean(), atol=1e-10)


def test_nnn_retrieval_ranks_as_nnn_does(golden):
    nnn = pytest.importorskip("nnn")
    x = {key: golden[key] for key in ("texts", "videos", "bank_texts")}
    ranker = nnn.NNNRanker(
        nnn.NNNRetriever(x["videos"].shape[1]), x["videos"].copy(), x["bank_texts"].copy(),
        alternate_ks=32, batch_size=64, alternate_weight=0.5,
    )  # fmt: skip
    theirs, indices = ranker.search(x["texts"].copy(), 7)
    bank = Bank(Pair(x["bank_texts"], x["videos"], metric="dot"))
    sim = Pair(x["texts"], x["videos"], metric="dot")
    found = reduce.topk(pipeline("nnn", alpha=0.5, k=32).fit(bank).transform(sim), 7)
    np.testing.assert_array_equal(found.indices.numpy(), indices)
    np.testing.assert_allclose(found.scores.numpy(), theirs, atol=1e-10)
