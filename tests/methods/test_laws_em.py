"""Laws of the EM basis decomposition, and parity with EMCL's published operator."""

import numpy as np
import pytest
import torch

from rerank import EM, Bank, Dense, NeedsEmbeddings, Pair, Pipeline, RerankError, Sinkhorn
from rerank.methods.em import momentum_row, published_map
from tests.reference import planted, unit


def settings_of(golden, case):
    k, n_iters, lamd, beta, momentum = golden[f"emcl_{case}_settings"]
    assert golden[f"emcl_{case}_mu"].shape == (1, int(k))
    return {"n_iters": int(n_iters), "lamd": lamd}, beta, momentum


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_parity_with_the_published_operator(golden, case):
    loop, beta, _ = settings_of(golden, case)
    rows = torch.tensor(golden[f"emcl_{case}_input"])
    matrix = published_map(rows, torch.tensor(golden[f"emcl_{case}_mu"]), beta=beta, **loop)
    np.testing.assert_allclose(rows @ matrix, golden[f"emcl_{case}_output"], atol=1e-8)


@pytest.mark.parametrize("case", ["a", "b"])
def test_parity_with_the_published_training_step(golden, case):
    loop, _, momentum = settings_of(golden, case)
    rows = torch.tensor(golden[f"emcl_{case}_input"])
    got = momentum_row(rows, torch.tensor(golden[f"emcl_{case}_mu"]), momentum=momentum, **loop)
    np.testing.assert_allclose(got, golden[f"emcl_{case}_mu_after_training_step"], atol=1e-8)


def pair(n=60, d=32, **kwargs):
    queries, gallery, _ = planted(n=n, d=d)
    return Pair(queries, gallery, **kwargs)


def test_the_map_has_low_rank_and_is_applied_to_both_sides():
    sim = pair(metric="dot")
    fitted = EM(n_bases=4, strength=-0.5).fit(sim)
    update = fitted.matrix - torch.eye(32, dtype=torch.float64)
    assert torch.linalg.matrix_rank(update) <= 4
    got = fitted.transform(sim)
    np.testing.assert_allclose(got.queries, sim.queries @ fitted.matrix, atol=1e-14)
    np.testing.assert_allclose(got.gallery, sim.gallery @ fitted.matrix, atol=1e-14)


def test_cosine_keeps_unit_norm():
    sim = pair()
    got = EM(n_bases=4).fit(sim).transform(sim)
    for side in (got.queries, got.gallery):
        np.testing.assert_allclose(torch.linalg.vector_norm(side, dim=1), 1, atol=1e-12)


def test_strength_minus_one_removes_the_strongest_direction_only():
    fitted = EM(n_bases=4, strength=-1).fit(pair())
    eigenvalues, vectors = torch.linalg.eigh(fitted.matrix)
    assert abs(float(eigenvalues[0])) < 1e-10
    assert (eigenvalues >= -1e-10).all() and (eigenvalues <= 1 + 1e-10).all()
    np.testing.assert_allclose(vectors[:, 0] @ fitted.matrix, np.zeros(32), atol=1e-10)
    twice = EM(n_bases=4, strength=1).fit(pair()).matrix
    np.testing.assert_allclose(vectors[:, 0] @ twice, 2 * vectors[:, 0], atol=1e-10)


def test_strength_zero_does_nothing_and_below_minus_one_is_refused():
    np.testing.assert_allclose(EM(strength=0, n_bases=4).fit(pair()).matrix, np.eye(32), atol=0)
    with pytest.raises(RerankError, match="-1"):
        EM(strength=-1.01)


def test_the_number_of_rows_does_not_matter_and_modalities_weigh_the_same():
    sim = pair()
    base = EM(n_bases=4).fit(sim).matrix
    copies = Pair(sim.queries.repeat(5, 1), sim.gallery.repeat(3, 1))
    np.testing.assert_allclose(EM(n_bases=4).fit(copies).matrix, base, atol=1e-10)
    np.testing.assert_allclose(EM(n_bases=4).fit(sim.T).matrix, base, atol=1e-10)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    mixed = Pair(sim.queries[order], sim.gallery)
    np.testing.assert_allclose(EM(n_bases=4).fit(mixed).matrix, base, atol=1e-10)


def test_the_seed_decides_and_the_bases_are_distinct():
    sim = pair()
    one, same, other = (EM(n_bases=4, seed=seed).fit(sim) for seed in (0, 0, 1))
    assert torch.equal(one.bases, same.bases)
    assert not torch.allclose(one.bases, other.bases)
    assert torch.linalg.matrix_rank(one.bases) == 4


def test_em_on_scores_is_a_clear_error():
    with pytest.raises(NeedsEmbeddings, match="Pair"):
        EM().fit(Dense(np.eye(12)))
    with pytest.raises(TypeError):
        Pipeline((EM(), Sinkhorn())).fit(Dense(np.eye(12)))


def test_inductive_em_needs_a_bank_of_both_sides():
    sim = pair()
    with pytest.raises(RerankError, match="bank gallery"):
        EM().fit(Bank(sim))


def test_inductive_em_is_fitted_on_the_banks_own_pairs():
    sim = pair()
    rng = np.random.default_rng(1)
    bank_q, bank_v = unit(rng.normal(size=(50, 32))), unit(rng.normal(size=(40, 32)))
    fitted = EM(n_bases=4).fit(Bank(Pair(bank_q, sim.gallery), pairs=Pair(bank_q, bank_v)))
    assert fitted.label == "inductive"
    np.testing.assert_allclose(
        fitted.matrix, EM(n_bases=4).fit(Pair(bank_q, bank_v)).matrix, atol=1e-12
    )


def test_more_bases_than_dimensions_are_refused():
    with pytest.raises(RerankError, match="n_bases"):
        EM(n_bases=33).fit(pair())
