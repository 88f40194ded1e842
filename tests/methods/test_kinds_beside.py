"""The scores of a bank: of one kind with the others, and a number of their own for "not scored"."""

import numpy as np
import pytest
import torch

import rerank
from rerank.core.errors import RerankWarning
from tests.cli.test_cli import run

N, B, D = 60, 130, 24
RNG = np.random.default_rng(5)
VIDEOS = RNG.normal(size=(N, D))
TEXTS = VIDEOS + 1.6 * RNG.normal(size=(N, D))
BANK = VIDEOS[RNG.integers(N, size=B)] + 1.6 * RNG.normal(size=(B, D))
NONE = RNG.random((B, N)) < 0.3
FILLS = [0, -1, -100, -1e4, -9999, -65504, -1e9, float(np.finfo("f4").min)]


def cosines(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return (a @ b.T).astype("f4")


SIMS, BANK_SIMS = cosines(TEXTS, VIDEOS), cosines(BANK, VIDEOS)


def fitted(bank, scores=SIMS, **options):
    found = rerank.apply(scores=scores, bank_scores=bank, method="sinkhorn", **options)
    return found.t2v.sim.scores(), " ".join(found.notes)


@pytest.mark.parametrize("fill", FILLS)
def test_a_number_for_not_scored_in_the_bank_alone_is_as_minus_infinity(fill):
    """A program may pad the one matrix and not the other; the same number in `scores` is found."""
    want, quiet = fitted(np.where(NONE, -np.inf, BANK_SIMS))
    found, said = fitted(np.where(NONE, fill, BANK_SIMS).astype("f4"))
    torch.testing.assert_close(found, want)
    assert f"the bank's scores: {fill:g} = not scored (30" in said and "the bank's" not in quiet
    with pytest.warns(RerankWarning, match=f"{fill:g} = not scored".replace("+", r"\+")):
        rerank.apply(scores=np.where(NONE, fill, BANK_SIMS).astype("f4"))


@pytest.mark.parametrize("fill", [-1, -1e9])
def test_what_was_said_of_numbers_counts_for_the_bank(fill):
    bank = np.where(NONE, fill, BANK_SIMS).astype("f4")
    want, _ = fitted(np.where(NONE, -np.inf, BANK_SIMS))
    found, said = fitted(bank, unscored=fill)
    torch.testing.assert_close(found, want)
    assert "the bank's scores" not in said
    assert not torch.allclose(fitted(bank, unscored="none")[0], want)


def test_the_number_of_the_scores_counts_in_the_bank_and_each_may_have_its_own():
    scores = np.where(RNG.random(SIMS.shape) < 0.2, -1e4, SIMS).astype("f4")
    want, _ = fitted(np.where(NONE, -np.inf, BANK_SIMS), scores)
    for fill in (-1e4, -100):
        found, said = fitted(np.where(NONE, fill, BANK_SIMS).astype("f4"), scores)
        torch.testing.assert_close(found, want)
        assert ("the bank's scores" in said) == (fill == -100)
    few = np.where(np.arange(NONE.size).reshape(NONE.shape) < 3, -1e4, BANK_SIMS).astype("f4")
    want, _ = fitted(np.where(few == -1e4, -np.inf, few), scores)
    torch.testing.assert_close(fitted(few, scores)[0], want)


def test_a_number_that_is_a_score_beside_the_bank_is_one_in_it():
    """A few zeros are scores; about as many in the bank are no gaps, though alone they would be."""
    scores, bank = SIMS.copy(), BANK_SIMS.copy()
    scores[[3, 9, 20], [4, 5, 6]] = 0
    bank[RNG.random(bank.shape) < 0.005] = 0
    assert "= not scored" in fitted(bank)[1]
    found, said = fitted(bank, scores)
    assert "= not scored" not in said
    torch.testing.assert_close(found, fitted(bank, scores, unscored="none")[0])


def test_distances_of_a_bank_have_a_number_of_their_own():
    want, _ = fitted(np.where(NONE, np.inf, 1 - BANK_SIMS), 1 - SIMS, scores_are="distances")
    for fill in (1e9, 9999):
        bank = np.where(NONE, fill, 1 - BANK_SIMS).astype("f4")
        found, said = fitted(bank, 1 - SIMS, scores_are="distances")
        torch.testing.assert_close(found, want)
        assert f"{fill:g} = not scored" in said


def softmax(x):
    return np.exp(20 * x) / np.exp(20 * x).sum(axis=1, keepdims=True)


KINDS = {
    "distances": lambda x: 1 - x,
    "l2": lambda x: np.sqrt(2 - 2 * x),
    "hundred times": lambda x: 100 * x,
    "at a temperature": lambda x: x / 0.07,
    "softmax": softmax,
    "log softmax": lambda x: np.log(softmax(x)),
    "percent": lambda x: 50 + 50 * x,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bank_of_another_kind_is_told_and_one_of_the_same_is_not(kind):
    of, are = KINDS[kind], "distances" if kind in ("distances", "l2") else "auto"
    bank, scores = of(BANK_SIMS).astype("f4"), of(SIMS).astype("f4")
    assert "write both with one program" in fitted(bank)[1]
    assert "write both with one program" not in fitted(bank, scores, scores_are=are)[1]
    if are == "distances":
        assert "negative numbers" in fitted(BANK_SIMS, scores, scores_are=are)[1]


def test_harder_queries_are_of_the_same_kind():
    """A bank may be much less sure than the queries, or shorter, or of few scores."""
    noise = cosines(VIDEOS[RNG.integers(N, size=B)] + 20 * RNG.normal(size=(B, D)), VIDEOS)
    best = np.where(BANK_SIMS < np.sort(BANK_SIMS)[:, [-10]], -np.inf, BANK_SIMS)
    for bank in (noise, BANK_SIMS[:3], best, BANK_SIMS.round(2), BANK_SIMS[:, :1] + 0 * BANK_SIMS):
        assert "write both" not in fitted(bank)[1]


def test_files_say_it_too(tmp_path):
    ids = {"gallery_ids": [f"v{j}" for j in range(N)]}
    np.savez(tmp_path / "s.npz", scores=SIMS, query_ids=np.arange(N), **ids)
    bank = np.where(NONE, -1e9, BANK_SIMS).astype("f4")
    np.savez(tmp_path / "b.npz", scores=bank, query_ids=np.arange(B), **ids)
    words = ["apply", "--sims", "s.npz", "--bank-sims", "b.npz", "--out", "o.h5", "--force"]
    _, err = run(*words, cwd=tmp_path)
    assert "the bank's scores: -1e+09 = not scored" in err and "--unscored none if" in err
    _, err = run(*words, "--unscored", "-1e9", cwd=tmp_path)
    assert "the bank's scores" not in err
