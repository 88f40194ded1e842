"""Triton kernels against the formula in float64: interpreted on a CPU, compiled on a GPU."""

import importlib.util
import math
import os

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from rerank.core.similarity import Dense, Pair  # noqa: E402
from rerank.passes.sinkhorn import gpu as gpu_sweepers  # noqa: E402  after the choice of the interpreter
from rerank.passes.sinkhorn import gpu_kernels as gpu  # noqa: E402
from rerank.passes.sinkhorn.choose import Regime, build  # noqa: E402

TAU = 0.02


def rows(n, d, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return (x / x.norm(dim=1, keepdim=True)).to(DEVICE)


def problem(n=70, m=150, d=40):
    """Rows of both sides, biases of columns in score units, log masses of rows."""
    generator = torch.Generator().manual_seed(9)
    bias = (0.05 * torch.randn(m, generator=generator, dtype=torch.float64)).to(DEVICE)
    log_a = torch.rand(n, generator=generator, dtype=torch.float64).log().to(DEVICE)
    return rows(n, d, 0), rows(m, d, 1), bias, log_a - torch.logsumexp(log_a, 0)


@pytest.mark.parametrize("shape", [(70, 150), (3, 1500), (130, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_sweep_over_a_panel_is_the_formula(shape, dtype):
    x, y, bias, log_a = problem(*shape)
    panel = (x @ y.T).to(dtype)
    logits = (panel.double() + bias.float().double()) / TAU
    want = torch.logsumexp(logits, dim=1)
    lse, columns = gpu.panel_sweep(panel, bias.float(), TAU, log_a)
    torch.testing.assert_close(lse, want, atol=2e-5, rtol=0)
    mass = (logits - want[:, None] + log_a[:, None]).exp().sum(dim=0)
    torch.testing.assert_close(columns, mass, atol=0, rtol=5e-5)


def test_rows_that_were_not_scored_weigh_nothing():
    x, y, bias, log_a = problem()
    panel = (x @ y.T).float()
    panel[4] = -math.inf
    panel[:, 6] = -math.inf
    lse, columns = gpu.panel_sweep(panel, bias.float(), TAU, log_a)
    assert float(lse[4]) == -math.inf
    assert float(columns[6]) == 0
    assert bool(torch.isfinite(columns).all())


def test_a_stored_kernel_is_swept_as_the_formula():
    x, y, bias, log_a = problem()
    panel = (x @ y.T).float()
    kernel = torch.empty(panel.shape, dtype=torch.float16, device=DEVICE)
    tops = gpu.store_panel(panel, bias.float(), TAU, kernel)
    moved = panel.double() + bias
    torch.testing.assert_close(tops, moved.amax(dim=1), atol=1e-6, rtol=0)
    exact = ((moved - moved.amax(dim=1, keepdim=True)) / TAU).exp()
    torch.testing.assert_close(kernel.double() / gpu.STORED_SCALE, exact, atol=2**-25, rtol=1e-3)
    v = torch.rand(150, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    sums, columns = gpu.stored_sweep(kernel, v, log_a.exp())
    torch.testing.assert_close(sums, exact @ v.double(), atol=0, rtol=1e-3)
    want = (log_a.exp() / (exact @ v.double())) @ exact
    torch.testing.assert_close(columns, want, atol=1e-9, rtol=2e-3)


@pytest.mark.parametrize("name", ["panels", "stored float16"])
def test_a_regime_on_the_gpu_equals_the_log_domain(name):
    x, y, _, log_a = problem()
    sim, exact = Pair(x.float(), y.float()), Pair(x, y)
    log_b = torch.full((150,), -math.log(150), dtype=torch.float64, device=DEVICE)
    reference = build(Regime("log domain"), exact, TAU, log_a)
    step = gpu_sweepers.make(name, sim, TAU, log_a.float())
    g = torch.zeros(150, device=DEVICE)
    want_g = g.double()
    for _ in range(5):
        _, mass = step(g)
        g = g + TAU * (log_b.float() - mass)
        _, want_mass = reference(want_g)
        want_g = want_g + TAU * (log_b - want_mass)
    assert float((g - want_g).abs().max()) < 0.03 * TAU
    f, mass = step.polish(want_g.float())
    want_f, want_mass = reference(want_g)
    torch.testing.assert_close(f.double(), want_f, atol=1e-4 * TAU, rtol=0)
    torch.testing.assert_close(mass.double(), want_mass, atol=1e-4, rtol=0)


def test_stored_scores_are_swept_too():
    x, y, bias, log_a = problem()
    scores = x @ y.T
    scores[:, 3] -= 4.0  # its exponentials are 0 in float16
    reference = build(Regime("log domain"), Dense(scores), TAU, log_a)
    want_f, want = reference(bias)
    for name in ("panels", "stored float16"):
        step = gpu_sweepers.make(name, Dense(scores.float()), TAU, log_a.float())
        for _ in range(2):
            f, mass = step(bias.float())
        torch.testing.assert_close(f.double(), want_f, atol=2e-3 * TAU, rtol=0)
        torch.testing.assert_close(mass.double(), want, atol=3e-3, rtol=0)
