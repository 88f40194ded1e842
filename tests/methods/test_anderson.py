"""Extrapolated Sinkhorn steps end where plain ones do, in at most half of them where it is slow."""

import math

import pytest
import torch

from rerank.core.similarity import Dense
from rerank.methods.potentials import Anderson, solve


def scores(n=260, m=240, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    common, centres = 1.5 * draw(1, 48), draw(n, 48)
    queries = centres + 0.8 * draw(n, 48) + common
    gallery = centres[:m] + 0.8 * draw(m, 48) + common * (1 + 0.3 * draw(m, 1))
    unit = torch.nn.functional.normalize
    return unit(queries, dim=1) @ unit(gallery, dim=1).T


def uniform(sim):
    n, m = sim.shape
    return {
        "log_a": torch.full((n,), -math.log(n), dtype=torch.float64),
        "log_b": torch.full((m,), -math.log(m), dtype=torch.float64),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rho", [1.0, 0.9])
def test_the_same_potentials_in_at_most_half_of_the_steps(seed, rho):
    sim = Dense(scores(seed=seed))
    common = {**uniform(sim), "n_iters": 3000, "rho": rho}
    plain = solve(sim, 0.01, **common, tol=1e-3, relaxation=1)
    fast = solve(sim, 0.01, **common, tol=1e-3)
    assert fast.error <= 1e-3
    if rho == 1:  # a soft marginal is quick anyway
        assert fast.n_iters <= plain.n_iters / 2
    else:
        assert fast.n_iters <= plain.n_iters
    far = solve(sim, 0.02, **common, tol=1e-10, relaxation=1)
    near = solve(sim, 0.02, **common, tol=1e-10)
    difference = near.g - far.g
    assert float((difference - difference.mean()).abs().max()) < 1e-4 * 0.02


def test_a_slow_linear_iteration_ends_early():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    matrix = basis @ torch.diag(torch.tensor([0.99, 0.9, 0.5, -0.3]).double()) @ basis.T
    goal = torch.randn(4, generator=generator, dtype=torch.float64)
    x, accelerated = torch.zeros(4, dtype=torch.float64), Anderson()
    for _ in range(15):  # the plain iteration would still have 0.99^15 = 86 % to go
        image = goal + matrix @ (x - goal)
        x = accelerated.step(x, image, float((image - x).norm()))
    assert float((x - goal).norm()) < 0.1 * float(goal.norm())


def test_when_the_error_grows_the_next_step_is_plain():
    accelerated = Anderson()
    a, b = torch.zeros(3).double(), torch.ones(3).double()
    accelerated.step(a, b, 1.0)
    accelerated.step(b, 1.5 * b + a, 0.5)
    image = torch.tensor([3.0, 1.0, 2.0]).double()
    torch.testing.assert_close(accelerated.step(b, image, 5.0), image)
