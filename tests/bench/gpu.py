"""Check and time everything that runs on a CUDA device, in one go of a few minutes.

    python tests/bench/gpu.py [--quick] [--out results.json]

Needs torch and triton only; flash-sinkhorn and FAISS are compared with where they are installed.
Prints one table: what, size, milliseconds (median of CUDA events), and the share of the copy
bandwidth or of the bfloat16 matrix rate measured on the same card. Rows are written to `--out` as
they come; what may end in an error of the card that no later call survives comes last.
"""

import argparse
import json
import math
import statistics
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from rerank.core import memory
from rerank.core.similarity import Pair
from rerank.methods.potentials import solve
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes import reduce
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn import gpu as gpu_sweepers
from rerank.passes.sinkhorn import gpu_kernels as gpu

D, TAU = 512, 0.02


def timed(function, repeats=7, warm=2):
    """Median milliseconds of a call, by CUDA events."""
    for _ in range(warm):
        function()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def keep(row):
    """Add a row, and write all of them: a later failure loses none."""
    ROWS.append(row)
    if OUT is not None:
        OUT.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def report(what, size, ms, note=""):
    keep({"what": what, "size": size, "ms": round(ms, 4), "note": note})
    print(f"{what:<44} {size:>12} {ms:>11.3f} ms  {note}", flush=True)


def section(name):
    """Run a part; a failure is printed and does not stop the others."""

    def run(function):
        print(f"\n## {name}  ({time.monotonic() - START:.0f} s)", flush=True)
        try:
            function()
            torch.cuda.empty_cache()
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            keep({"what": name, "error": traceback.format_exc(limit=2)})

    return run


def embeddings(n, m, dtype=torch.float32, seed=0):
    generator = torch.Generator("cuda").manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, device="cuda", dtype=dtype)

    common, centres = 1.5 * draw(1, D), draw(max(n, m), D)
    return Pair(
        centres[:n] + 0.7 * draw(n, D) + common,
        centres[:m] + 0.7 * draw(m, D) + common + 0.5 * draw(1, D),
    )


def uniform(count, dtype=torch.float32):
    return torch.full((count,), -math.log(count), device="cuda", dtype=dtype)


def ceilings():
    x = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    ms = timed(lambda: y.copy_(x))
    LIMITS["bandwidth"] = 2 * x.numel() / ms * 1e3
    report("copy, bytes read and written", "2 GiB", ms, f"{LIMITS['bandwidth'] / 1e12:.2f} TB/s")
    x = y = None
    for dtype in (torch.bfloat16, torch.float16):
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
        ms = timed(lambda: a @ b)
        LIMITS["flops"] = max(LIMITS.get("flops", 0.0), 2 * 8192**3 / ms * 1e3)
        report(f"matrix product {dtype}", "8192^3", ms, f"{2 * 8192**3 / ms / 1e9:.0f} TFLOP/s")
    q = torch.randn(8192, D, device="cuda", dtype=torch.float16)
    v = torch.randn(65536, D, device="cuda", dtype=torch.float16)
    ms = timed(lambda: q @ v.T)
    rate = 2 * 8192 * 65536 * D / ms / 1e9
    report("matrix product float16, depth 512", "8k x 64k", ms, f"{rate:.0f} TFLOP/s")


def correctness():
    sim = embeddings(4100, 5000)
    exact = Pair(sim.queries.double(), sim.gallery.double())
    n, m = sim.shape
    log_a, log_b = uniform(n), uniform(m)
    reference = choose.build(choose.Regime("log domain"), exact, TAU, log_a.double())
    want_g = torch.zeros(m, device="cuda", dtype=torch.float64)
    for _ in range(10):
        _, mass = reference(want_g)
        want_g = want_g + TAU * (log_b.double() - mass)
    for name in ("panels", "stored float16"):
        step = gpu_sweepers.make(name, sim, TAU, log_a)
        g = torch.zeros(m, device="cuda")
        for _ in range(10):
            _, mass = step(g)
            g = g + TAU * (log_b - mass)
        error = float((g - want_g).abs().max()) / TAU
        report(f"{name}: g after 10 sweeps, error / tau", f"{n} x {m}", 0, f"{error:.1e}")
        assert error < 0.05, error


def sweeps(n):
    sim = embeddings(n, n)
    log_a, g = uniform(n), torch.zeros(n, device="cuda")
    size, one_product = f"{n} squared", 2 * n * n * D
    repeats = 5 if n > 50000 else 9

    def share(ms, products):
        return f"{products * one_product / ms * 1e3 / LIMITS['flops']:.0%} of the bf16 matrix rate"

    panels = gpu_sweepers.HalfPanels(sim)
    left, right = panels.sides
    step = gpu_sweepers.FromPanels(sim, TAU, log_a)
    ms = timed(lambda: step(g), repeats)
    report("panel sweep (1 product)", size, ms, share(ms, 1) + " by one product")
    for rows in (1024, 4096):
        panel = left[:rows] @ right.T
        product = timed(lambda: left[:rows] @ right.T, repeats)  # noqa: B023
        passes = timed(lambda: gpu.panel_sweep(panel, panels.bias(g), TAU, log_a[:rows]), repeats)  # noqa: B023
        read = 2 * panel.numel() * 2 / passes * 1e3 / LIMITS["bandwidth"]
        report(f"  of it, {rows} rows: product", size, product)
        report(f"  of it, {rows} rows: two passes", size, passes, f"{read:.0%} of copy bandwidth")
    step = gpu_sweepers.StoredHalf(sim, TAU, log_a)
    start = time.perf_counter()
    step(g)
    f, mass = step(g)
    torch.cuda.synchronize()
    report("stored float16: first sweep and build", size, (time.perf_counter() - start) * 1e3)
    ms = timed(lambda: step(g), repeats)
    used = 2 * n * n * 2 / ms * 1e3 / LIMITS["bandwidth"]
    report("stored float16 sweep (2 reads)", size, ms, f"{used:.0%} of copy bandwidth")
    pieces = step._pieces
    a, v = log_a.exp(), torch.ones(pieces[0][1].shape[1], device="cuda")
    ms = timed(lambda: [gpu.stored_sweep(piece, v, a[rows]) for rows, piece in pieces], repeats)
    used = 2 * n * n * 2 / ms * 1e3 / LIMITS["bandwidth"]
    report("  of it, the two kernels", size, ms, f"{used:.0%} of copy bandwidth")
    step = pieces = None
    torch.cuda.empty_cache()
    if n <= 20000:
        step = choose.build(choose.Regime("stored float32"), sim, TAU, log_a)
        step(g)
        report("two torch products, stored float32", size, timed(lambda: step(g), repeats))
        step = choose.build(choose.Regime("log domain"), sim, TAU, log_a)
        report("torch log domain, float32", size, timed(lambda: step(g), 3, 1))


def end_to_end(n):
    sim = embeddings(n, n)
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    for attempt in ("first (compiles)", "again"):
        torch.cuda.synchronize()
        start = time.perf_counter()
        fitted = Sinkhorn().fit(sim)
        torch.cuda.synchronize()
        fit = time.perf_counter() - start
        start = time.perf_counter()
        reduce.topk(fitted.transform(sim), 10)
        torch.cuda.synchronize()
        top = time.perf_counter() - start
        note = f"tau {fitted.tau:.4f}, {fitted.n_iters} steps, error {fitted.error:.1e}"
        report(f"Sinkhorn fit, {attempt}", f"{n // 1000}k squared", fit * 1e3, note)
        report(f"top-10, {attempt}", f"{n // 1000}k squared", top * 1e3)
    peak = (torch.cuda.max_memory_allocated() - held) / 1e9
    print(f"regime {reduce.regime(sim)}; peak above the embeddings {peak:.2f} GB")
    if n <= 20000:
        exact = Pair(sim.queries.double(), sim.gallery.double())
        log = uniform(n, torch.float64)
        want = solve(exact, fitted.tau, log_a=log, log_b=log, n_iters=fitted.n_iters)
        g = want.g - want.g.mean()
        error = float((g - fitted.gallery_bias).abs().max()) / fitted.tau
        size = f"{n // 1000}k squared"
        report("fit against float64: largest error / tau", size, 0, f"{error:.1e}")


def by_hand(n):
    """The thirty lines of torch on the same card: the whole matrix, 50 iterations, the top 10."""
    sim = embeddings(n, n)

    def run():
        scores = sim.queries @ sim.gallery.T
        kernel = torch.exp((scores - 1) / TAU)
        b = torch.ones(n, device="cuda")
        for _ in range(50):
            a = 1 / (kernel @ b)
            b = 1 / (kernel.T @ a)
        (scores + TAU * b.log()).topk(10, dim=1)
        (scores + TAU * a.log()[:, None]).T.topk(10, dim=1)

    report("by hand, both directions", f"{n // 1000}k squared", timed(run, 3, 1))
    fitted = Sinkhorn(tau=TAU).fit(sim)

    def ours():
        found = Sinkhorn(tau=TAU).fit(sim)
        reduce.topk(found.transform(sim), 10)
        reduce.topk(found.mirrored().transform(sim.T), 10)

    note = f"{fitted.n_iters} steps, error {fitted.error:.1e}"
    report("ours, both directions", f"{n // 1000}k squared", timed(ours, 3, 1), note)


def nearest(n):
    """Whether FAISS finds the best ten faster than the exact pass in torch."""
    import faiss
    import faiss.contrib.torch_utils

    sim, resources = embeddings(n, n), faiss.StandardGpuResources()
    size = f"{n // 1000}k squared"
    report("top-10, torch", size, timed(lambda: reduce.topk(sim, 10), 3, 1))
    report("top-10, FAISS", size, timed(
        lambda: faiss.knn_gpu(resources, sim.queries, sim.gallery, 10,
                              metric=faiss.METRIC_INNER_PRODUCT), 3, 1,
    ))  # fmt: skip


def small_memory(n):
    sim = embeddings(n, n)
    with memory.limit("2GB"):
        start = time.perf_counter()
        fitted = Sinkhorn(tau=TAU, n_iters=10, tol=None).fit(sim)
        torch.cuda.synchronize()
        report("10 steps within 2 GB", f"{n // 1000}k squared", (time.perf_counter() - start) * 1e3,
               f"error {fitted.error:.1e}")  # fmt: skip


def flash_sinkhorn(n):
    """The one peer: squared Euclidean costs, halved, are 1 - cosine on unit rows."""
    from flash_sinkhorn.sinkhorn_solvers import sinkhorn_flashstyle_alternating

    sim = embeddings(n, n)
    mass = torch.full((n,), 1 / n, device="cuda")

    def run(steps):
        return sinkhorn_flashstyle_alternating(
            sim.queries, sim.gallery, mass, mass,
            eps=TAU, n_iters=steps, cost_scale=0.5, allow_tf32=True,
        )  # fmt: skip

    few, many = timed(lambda: run(2), 3, 1), timed(lambda: run(10), 3, 1)
    report("flash-sinkhorn, tf32, per iteration", f"{n // 1000}k squared", (many - few) / 8)


def main():
    global QUICK, OUT
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="skip 100k squared")
    parser.add_argument("--out", type=Path, default=None, help="also write the rows as JSON")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device")
    QUICK, OUT = arguments.quick, arguments.out
    import triton

    print(torch.cuda.get_device_name(), f"torch {torch.__version__} triton {triton.__version__}")
    section("ceilings")(ceilings)
    section("correctness")(correctness)
    # Sizes that are no multiple of anything, as people's are.
    for n in (1000, 20000, 20011):
        section(f"sweeps at {n}")(lambda n=n: sweeps(n))
    section("end to end at 20k")(lambda: end_to_end(20000))
    section("by hand at 20k")(lambda: by_hand(20000))
    if not QUICK:
        for n in (100000, 99991):
            section(f"sweeps at {n}")(lambda n=n: sweeps(n))
        section("end to end at 100k")(lambda: end_to_end(100000))
        section("small memory at 100k")(lambda: small_memory(100000))
    section("FAISS at 20k")(lambda: nearest(20000))
    section("flash-sinkhorn at 20k")(lambda: flash_sinkhorn(20000))
    if not QUICK:
        section("flash-sinkhorn at 100k")(lambda: flash_sinkhorn(100000))
    print(f"\n{time.monotonic() - START:.0f} s in all")


START = time.monotonic()
ROWS: list[dict] = []
LIMITS: dict[str, float] = {}
QUICK = False
OUT: Path | None = None

if __name__ == "__main__":
    main()
