"""Triton kernels against the formula in float64: interpreted on a CPU, compiled on a GPU."""

import importlib.util
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from rerank.core import memory  # noqa: E402
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


def test_panels_have_an_even_number_of_columns_and_rows_enough_to_share():
    x, y, bias, _ = problem(n=300, m=150)
    for sim in (Pair(x.float(), y.float()), Dense((x @ y.T).float())):
        panels = gpu_sweepers.HalfPanels(sim)
        assert {panel.shape[1] for _, panel in panels} == {192}
        shifted = panels.bias(bias.float())
        assert shifted.shape == (192,)
        assert bool((shifted[150:] == -math.inf).all())
    kernel = gpu_sweepers.make("stored float16", Dense((x @ y.T).float()), TAU, bias.new_zeros(300))
    assert kernel._allocate(7, 150).shape == (7, 192)


def test_a_panel_over_many_items_keeps_rows_while_the_budget_allows(monkeypatch):
    monkeypatch.setattr(gpu_sweepers, "_PANEL_ELEMENTS", 192)
    x, y, _, _ = problem(n=300, m=150)
    sim = Pair(x.float(), y.float())
    for budget, rows_of_one in (("1GB", 150), ("31KB", 10)):
        with memory.limit(budget):
            rows, _ = next(iter(gpu_sweepers.HalfPanels(sim)))
        assert rows == slice(0, rows_of_one)


def test_only_what_is_rounded_is_swept_again_in_full():
    x, y, bias, log_a = problem()
    pair, scores = Pair(x.float(), y.float()), Dense((x @ y.T).float())
    for sim, rounded in (
        (pair, True), (pair.add_gallery_bias(bias.float()), False), (scores, False),
    ):  # fmt: skip
        assert gpu_sweepers.make("panels", sim, TAU, log_a.float()).rounded is rounded
        assert gpu_sweepers.make("stored float16", sim, TAU, log_a.float()).rounded


def test_half_precision_rows_are_made_once(monkeypatch):
    made = []
    whole = gpu_sweepers.HalfPanels.__init__
    monkeypatch.setattr(
        gpu_sweepers.HalfPanels, "__init__", lambda self, sim: (made.append(1), whole(self, sim))[1]
    )
    x, y, bias, log_a = problem()
    step = gpu_sweepers.make("stored float16", Pair(x.float(), y.float()), TAU, log_a.float())
    step(bias.float()), step(bias.float()), step._unstored()
    assert made == [1]


def test_kernels_run_beside_their_numbers_and_refuse_scattered_rows(monkeypatch):
    beside = []

    @contextmanager
    def device_of(x):
        beside.append(x)
        yield

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    x, y, bias, log_a = problem()
    panel = (x @ y.T).float()
    gpu.panel_sweep(panel, bias.float(), TAU, log_a)
    assert beside == [panel] or beside[0] is panel
    turned = (y @ x.T).float().T
    for call in (
        lambda: gpu.panel_sweep(turned, bias.float(), TAU, log_a),
        lambda: gpu.store_panel(turned, bias.float(), TAU, torch.empty_like(turned)),
        lambda: gpu.stored_sweep(turned, bias.float(), log_a),
    ):
        with pytest.raises(ValueError, match="contiguous"):
            call()


def test_what_torch_keeps_for_itself_is_free(monkeypatch):
    figures = {"mem_get_info": (10, 100), "memory_reserved": 50, "memory_allocated": 20}
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert memory.available(torch.device("cuda", 1)) == 40


COMPILED = """
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rerank.passes.sinkhorn import gpu_kernels as gpu

types = {"panel": "*fp16", "kernel": "*fp16", "out": "*fp16", "scale": "fp32", "factor": "fp32"}
whole = {"stride", "out_stride", "n", "m", "span"}
tiles = {"_panel_rows": (2, 4096), "_panel_columns": (16, 256), "_store_panel": (8, 512),
         "_stored_rows": (4, 2048), "_stored_columns": (16, 512)}
for name, (rows, columns) in tiles.items():
    kernel = getattr(gpu, name)
    signature = {x: "i32" if x in whole else types.get(x, "*fp32") for x in kernel.arg_names}
    signature |= {"BM": "constexpr", "BN": "constexpr"}
    even = [i for i, x in enumerate(kernel.arg_names)
            if x in ("stride", "out_stride", "m") or signature[x].startswith("*")]
    source = ASTSource(kernel, signature=signature, constexprs={"BM": rows, "BN": columns},
                       attrs={(i,): [["tt.divisibility", 16]] for i in even})
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    loads = re.findall(r"ld\\.global[^\\s]*", made.asm["ptx"])
    print(name, made.metadata.shared, sum("v4" in x for x in loads), len(loads))
"""


def test_the_kernels_compile_for_sm_90_and_read_sixteen_bytes_at_once(tmp_path):
    """Masks that end within a load would make it read one number at a time."""
    root = Path(__file__).resolve().parents[2]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    if "ptxas" in done.stderr:
        pytest.skip("no assembler for this machine")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 5
    for name, shared, wide, loads in rows:
        assert int(shared) <= 48 * 1024, name
        # Numbers of rows come one by one; panels do not.
        assert int(wide) >= 2, name
        assert int(loads) <= 8, name
