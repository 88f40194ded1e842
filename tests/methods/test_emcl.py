"""The published EMCL module by name, against its golden arrays and its own formula."""

import numpy as np
import pytest
import torch

from rerank import RerankError
from rerank.core.similarity import Pair
from rerank.methods.base import Bank
from rerank.methods.em import published_map
from rerank.methods.emcl import EMCL, EMCLBlockwise, initial_row
from rerank.methods.registry import pipeline
from rerank.serving.fold import fold_gallery, fold_queries


def settings_of(golden, case):
    k, n_iters, lamd, beta, _ = golden[f"emcl_{case}_settings"]
    mu = tuple(float(x) for x in golden[f"emcl_{case}_mu"].reshape(-1))
    return {"n_bases": int(k), "n_iters": int(n_iters), "lamd": lamd, "beta": beta, "mu": mu}


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_one_published_batch_gives_the_published_output(golden, case):
    """64 videos and 64 texts are what the statistics are scaled to."""
    rows = torch.tensor(golden[f"emcl_{case}_input"])
    want = golden[f"emcl_{case}_output"]
    sim = Pair(rows[64:], rows[:64], metric="dot")
    fitted = EMCL(**settings_of(golden, case)).fit(Bank(sim, pairs=sim, label="transductive"))
    mapped = fitted.transform(sim)
    np.testing.assert_allclose(mapped.gallery, want[:64], atol=1e-7)
    np.testing.assert_allclose(mapped.queries, want[64:], atol=1e-7)
    block = EMCLBlockwise(**settings_of(golden, case)).fit(sim).transform(sim)
    np.testing.assert_allclose(block.scores(), want[64:] @ want[:64].T, atol=1e-7)


def embeddings(n=130, m=100, d=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 1, rng.normal(size=(m, d)) + 1


def test_blocks_are_mapped_one_by_one_in_the_order_of_the_files():
    texts, videos = embeddings()
    sim = Pair(texts, videos)
    scores = EMCLBlockwise(seed=3).fit(sim).transform(sim).scores()
    t, v = sim.queries[64:128], sim.gallery[64:]
    matrix = published_map(torch.cat([v, t]), initial_row(7, 3).double())
    np.testing.assert_allclose(scores[64:128, 64:], (t @ matrix) @ (v @ matrix).T, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(videos))
    moved = EMCLBlockwise(seed=3).fit(sim).transform(Pair(texts, videos[order])).scores()
    assert not np.allclose(moved, scores[:, order], atol=1e-6)
    back = EMCLBlockwise(seed=3).fit(sim.T).transform(sim.T).scores()
    np.testing.assert_allclose(back.T, scores, atol=1e-9)


def test_norms_stay_as_the_map_makes_them_and_it_folds():
    texts, videos = embeddings()
    sim = Pair(texts, videos)
    fitted = pipeline("emcl").fit(Bank(sim, pairs=sim, label="transductive"))
    rewritten = fitted.transform(sim)
    norms = torch.linalg.vector_norm(rewritten.queries, dim=1)
    assert (norms > 1.01).any()
    folded = fold_queries(fitted, texts) @ fold_gallery(fitted, videos).T
    np.testing.assert_allclose(folded, rewritten.scores().float(), atol=1e-4)


def test_the_row_is_drawn_by_seed_or_given():
    row = initial_row(7, 0)
    assert torch.equal(row, initial_row(7, 0))
    assert not torch.equal(row, initial_row(7, 1))
    np.testing.assert_allclose(row.abs(), 1, atol=1e-3)
    sim = Pair(*embeddings())
    bank = Bank(sim, pairs=sim, label="transductive")
    mu = tuple(float(x) for x in initial_row(7, 5).double().reshape(-1))
    drawn, given = EMCL(seed=5).fit(bank), EMCL(mu=mu).fit(bank)
    np.testing.assert_allclose(drawn.matrix, given.matrix, rtol=1e-12)
    assert given.facts["mu"] == pytest.approx(mu)
    with pytest.raises(RerankError, match="expected 7 finite"):
        EMCL(mu=(1.0,)).fit(bank)
