"""Every fast sweep equals the log domain in float64, and the regime follows size and budget."""

import math

import numpy as np
import pytest
import torch

from rerank.core import memory
from rerank.core.similarity import Dense, Pair
from rerank.methods.potentials import solve
from rerank.passes import panels, reduce
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.choose import Regime, build
from rerank.passes.threads import Workers, torch_threads

needs_numba = pytest.mark.skipif(not choose.has_numba(), reason="numba is not installed")

# Regime, and what it may be off by in g: units of tau at .05, .02 and .01.
REGIMES = [
    pytest.param(Regime("log domain"), (2e-5, 2e-4, 5e-4), id="log domain"),
    pytest.param(Regime("stored float32"), (2e-5, 2e-4, 5e-4), id="float32"),
    pytest.param(
        Regime("stored bfloat16"), (1e-3, 4e-3, 1e-2), id="bfloat16", marks=needs_numba
    ),
    pytest.param(Regime("stored 8-bit"), (1e-2, 5e-2, 0.1), id="8-bit", marks=needs_numba),
    pytest.param(Regime("streaming"), (2e-5, 2e-4, 5e-4), id="streaming", marks=needs_numba),
]  # fmt: skip
HALF = [
    pytest.param(Regime("streaming", half=True), (2e-2, 0.1, 0.2), id="streaming half"),
    pytest.param(Regime("stored 8-bit", half=True), (2e-2, 0.1, 0.2), id="8-bit half"),
]


def embeddings(n=301, m=203, d=64, seed=0):
    """Matched rows under a common offset and noise, as models make them, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    common, centres = 1.5 * draw(1, d), draw(n, d)
    queries = centres + 0.7 * draw(n, d) + common
    return queries, centres[:m] + 0.7 * draw(m, d) + common + 0.5 * draw(1, d)


def masses(sim):
    n, m = sim.shape
    return torch.full((n,), -math.log(n)).double(), torch.full((m,), -math.log(m)).double()


def alternate(step, sim, tau, log_b, times):
    """Plain Sinkhorn steps; g with its mean removed, and the last f and log masses."""
    g = torch.zeros(sim.shape[1], dtype=sim.dtype)
    f, log_mass = g, g
    for _ in range(times):
        f, log_mass = step(g)
        g = g + tau * (log_b.to(sim.dtype) - log_mass)
    return (g - g.mean()).double(), f.double(), log_mass.double()


@pytest.mark.parametrize(("regime", "tolerances"), [*REGIMES, *HALF])
@pytest.mark.parametrize("level", range(3))
def test_a_regime_equals_the_log_domain(regime, tolerances, level):
    tau = (0.05, 0.02, 0.01)[level]
    queries, gallery = embeddings()
    exact, sim = Pair(queries, gallery), Pair(queries.float(), gallery.float())
    log_a, log_b = masses(exact)
    want, *_ = alternate(build(Regime("log domain"), exact, tau, log_a), exact, tau, log_b, 12)
    step = build(regime, sim, tau, log_a.float())
    got, *_ = alternate(step, sim, tau, log_b, 12)
    assert float((got - want).abs().max()) < tolerances[level] * tau


@needs_numba
@pytest.mark.parametrize(("old", "new"), [(0.02, 0.05), (0.02, 0.02), (0.03, 0.02)])
def test_a_kernel_raised_to_a_power_sweeps_at_another_temperature(old, new):
    queries, gallery = embeddings()
    exact, sim = Pair(queries, gallery), Pair(queries.float(), gallery.float())
    log_a, log_b = masses(exact)
    want, *_ = alternate(build(Regime("log domain"), exact, new, log_a), exact, new, log_b, 12)
    step = build(Regime("stored bfloat16"), sim, old, log_a.float())
    alternate(step, sim, old, log_b, 3)
    taken = step.at(new, log_a.float())
    assert taken is not None
    got, *_ = alternate(taken, sim, new, log_b, 12)
    assert float((got - want).abs().max()) < 1e-2 * new
    # The first sweep has nothing to hand over any more, and builds a kernel when it is called.
    assert step.at(new, log_a.float()) is None
    again, *_ = alternate(step, sim, old, log_b, 12)
    want, *_ = alternate(build(Regime("log domain"), exact, old, log_a), exact, old, log_b, 12)
    assert float((again - want).abs().max()) < 1e-2 * old


@needs_numba
@pytest.mark.parametrize(("form", "tau"), [("stored 8-bit", 0.02), ("stored bfloat16", 0.2)])
def test_a_kernel_that_says_too_little_is_not_taken_over(form, tau):
    queries, gallery = embeddings()
    sim = Pair(queries.float(), gallery.float())
    log_a, log_b = masses(sim)
    step = build(Regime(form), sim, 0.02, log_a.float())
    alternate(step, sim, 0.02, log_b, 3)
    assert step.at(tau, log_a.float()) is None


@pytest.mark.parametrize(("regime", "tolerances"), REGIMES)
def test_one_sweep_is_the_formula(regime, tolerances):
    tau = 0.03
    rng = np.random.default_rng(0)
    scores = rng.normal(scale=0.1, size=(37, 29))
    scores[5, :] = -np.inf  # a query that was not scored
    scores[:, 7] = -np.inf  # an item that was not scored
    scores[3, 2:9] = -np.inf
    g = torch.tensor(rng.normal(scale=0.02, size=29))
    weights = torch.tensor(rng.uniform(0.5, 2, size=37))
    log_a = (weights / weights.sum()).log()
    sim = Dense(scores.astype(np.float32), unscored=True)
    logits = torch.tensor(scores) / tau + g / tau
    shift = log_a - torch.logsumexp(logits, dim=1)
    shift[5] = 0
    want_mass = torch.logsumexp(logits + shift[:, None], dim=0)
    step = build(regime, sim, tau, log_a.float())
    for _ in range(2):  # 8 bits start with a streamed sweep
        f, log_mass = step(g.float())
    slack = {"stored bfloat16": 5e-3, "stored 8-bit": 5e-2}.get(regime.name, 2e-5)
    torch.testing.assert_close(f.double(), shift * tau, atol=slack * tau, rtol=0)
    torch.testing.assert_close(log_mass.double(), want_mass, atol=slack, rtol=0)


@pytest.mark.parametrize(("regime", "tolerances"), REGIMES)
def test_an_item_far_from_every_query_keeps_its_exact_mass(regime, tolerances):
    # 150 tau below everything else: its exponentials are 0 in float32.
    scores = torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) * 0.2
    scores[:, 4] -= 3.0
    log_a, log_b = masses(scores)
    solved = {}
    for dtype, chosen in ((torch.float64, Regime("log domain")), (torch.float32, regime)):
        sim = Dense(scores.to(dtype))
        solved[dtype] = alternate(
            build(chosen, sim, 0.02, log_a.to(dtype)), sim, 0.02, log_b, 8
        )[0]  # fmt: skip
    difference = (solved[torch.float32] - solved[torch.float64]).abs() / 0.02
    assert float(difference.max()) < 5 * tolerances[1]
    assert float(solved[torch.float32][4]) > 2.5


@pytest.mark.parametrize(("regime", "tolerances"), [*REGIMES, *HALF])
def test_a_constant_in_g_comes_back_in_f_and_changes_no_mass(regime, tolerances):
    queries, gallery = embeddings()
    sim = Pair(queries.float(), gallery.float())
    log_a, _ = masses(sim)
    step = build(regime, sim, 0.02, log_a.float())
    g = 0.02 * torch.randn(203, generator=torch.Generator().manual_seed(2))
    step(g)  # 8 bits store their kernel in the second sweep
    f, mass = step(g)
    moved_f, moved_mass = step(g + 0.3)
    torch.testing.assert_close(moved_f, f - 0.3, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved_mass, mass, atol=1e-3, rtol=0)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["stored 8-bit", "streaming"])
def test_a_rounded_fit_ends_with_a_sweep_in_full_precision(name, half, monkeypatch):
    monkeypatch.setattr(choose, "regime", lambda sim, **_: Regime(name, half=half))
    queries, gallery = embeddings()
    sim = Pair(queries.float(), gallery.float())
    log_a, log_b = masses(sim)
    found = solve(sim, 0.02, log_a=log_a, log_b=log_b, n_iters=10)
    # g is the consistent half of f: recomputing it from f gives it back to float32's precision.
    exact = Pair(queries, gallery)
    lse = reduce.logsumexp(exact, 0.02, over="queries", plus=found.f.double())
    again = 0.02 * (log_b - lse)
    assert float((again - found.g).abs().max()) < 2e-4 * 0.02


@needs_numba
@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("log domain", False), ("stored float32", False), ("stored bfloat16", False),
        ("stored 8-bit", False), ("streaming", False), ("stored bfloat16", True),
        ("stored 8-bit", True), ("streaming", True),
    ],
)  # fmt: skip
def test_results_do_not_depend_on_the_number_of_threads(name, half):
    queries, gallery = embeddings(n=1500, m=700)
    sim = Pair(queries.float(), gallery.float())
    log_a, log_b = masses(sim)
    seen = []
    for threads in (1, 2, 5):
        with torch_threads(threads):
            step = build(Regime(name, half=half), sim, 0.02, log_a.float())
            seen.append(alternate(step, sim, 0.02, log_b, 4))
            assert torch.get_num_threads() == threads
    for other in seen[1:]:
        for x, y in zip(seen[0], other, strict=True):
            assert torch.equal(x, y)


@needs_numba
def test_panels_in_flight_share_the_memory_and_the_threads():
    seen, free = [], Workers(8)
    panels = [slice(i, i + 4) for i in range(0, 20, 4)]

    def work(rows):
        seen.append(torch.get_num_threads())
        return rows

    for row_bytes, share in ((1, 1), (12 * 1024 * 1024, 4), (10**9, 8)):
        seen.clear()
        assert list(free.each(work, panels, row_bytes)) == panels
        assert seen == [share] * 5


@needs_numba
@pytest.mark.parametrize(
    ("form", "error"), [(np.float32, 2e-6), (np.uint16, 2**-8 + 2e-6), (np.uint8, 2**-4 + 2e-6)]
)
def test_stored_exponentials_are_rounded_to_nearest(form, error):
    from rerank.passes.sinkhorn import cpu

    scores = -np.linspace(0, 20, 4001, dtype=np.float32)[None]
    out = np.empty((1, 4001), form)
    tau = 1.0
    cpu.build(scores, np.zeros(4001, np.float32), tau, out)
    # Row sums against unit vectors read single entries back.
    for j in (0, 1, 77, 1000, 2500, 4000):
        unit = np.zeros(4001, np.float32)
        unit[j] = 1
        value = cpu.sweep(Workers(1), out, unit, np.ones(1, np.float32))[0][0]
        assert abs(value / math.exp(scores[0, j]) - 1) <= error


def test_float64_always_takes_the_exact_road():
    queries, gallery = embeddings()
    assert reduce.regime(Pair(queries, gallery)) == "log domain"


@needs_numba
def test_the_regime_follows_the_budget():
    sim = Pair(torch.randn(5000, 4), torch.randn(5000, 4))
    with memory.limit("1GB"):
        assert reduce.regime(sim) == "stored bfloat16 (50 MB)"
        assert choose.regime(sim, sweeps=2).name == "streaming"
        small = Pair(sim.queries[:1000], sim.gallery)
        assert choose.regime(small, sweeps=9).name == "stored bfloat16"
        assert choose.regime(Pair(sim.queries[:500], sim.gallery), sweeps=9).name == (
            "stored float32"
        )
    for budget in ("80MB", "20MB"):
        with memory.limit(budget):
            assert choose.regime(sim, sweeps=50).name == "streaming"


@needs_numba
def test_8_bits_are_chosen_only_where_neither_bfloat16_nor_streaming_fits():
    names = {}
    for n, m in ((100, 2_000_000), (5000, 5000), (20_000, 3000)):
        sim = Pair(torch.ones(n, 4), torch.ones(m, 4))
        for budget in range(10, 2000, 30):
            with memory.limit(f"{budget}MB"):
                chosen = choose.regime(sim, sweeps=50)
            room = choose.KERNEL_SHARE * budget * 1e6
            names.setdefault(chosen.name, []).append((n, m))
            if chosen.name == "stored 8-bit":
                assert n * m <= room < 2 * n * m
                assert 4 * panels.rows_of(m) * m > room
                assert "8-bit" in str(chosen)
    # One panel of a gallery of millions takes more than all scores of some queries.
    assert set(names["stored 8-bit"]) == {(100, 2_000_000)}
    assert {"streaming", "stored bfloat16"} <= set(names)


def test_without_numba_the_same_numbers(monkeypatch):
    queries, gallery = embeddings()
    sim = Pair(queries.float(), gallery.float())
    log_a, log_b = masses(sim)
    found = {}
    for numba in (True, False):
        for budget in ("1GB", "1kB"):
            monkeypatch.setattr(choose, "has_numba", lambda numba=numba: numba)
            with memory.limit(budget):
                found[numba, budget] = solve(sim, 0.02, log_a=log_a, log_b=log_b, n_iters=20).g
    for g in found.values():
        torch.testing.assert_close(g, found[False, "1kB"], atol=0.05 * 0.02, rtol=0)
    torch.testing.assert_close(found[True, "1GB"], found[False, "1kB"], atol=4e-6, rtol=0)


@pytest.mark.parametrize(
    ("regime", "gap", "kept"),
    [
        pytest.param(Regime("stored float32"), 5e-3, 1.0, id="float32"),
        pytest.param(Regime("streaming"), 5e-3, 1.0, id="streaming", marks=needs_numba),
        pytest.param(Regime("stored bfloat16"), 2e-2, 0.999, id="bfloat16", marks=needs_numba),
        pytest.param(Regime("stored 8-bit"), math.inf, 0.99, id="8-bit", marks=needs_numba),
    ],
)
def test_every_regime_ranks_the_same_ten_but_for_ties_within_its_rounding(regime, gap, kept):
    queries, gallery = embeddings(300, 300)
    sim = Pair(queries.float(), gallery.float())
    log_a, log_b = (x.float() for x in masses(sim))
    tau, scores = 0.02, sim.scores()
    best = []
    for chosen in (Regime("log domain"), regime):
        step = build(chosen, sim, tau, log_a)
        found = solve(sim, tau, log_a=log_a, log_b=log_b, n_iters=50, tol=1e-3, step=step)
        ranked = scores + found.g
        best.append((ranked, ranked.topk(10, dim=1).indices))
    (exact, want), (_, got) = best
    same = (got[:, :, None] == want[:, None, :]).any(dim=1)
    assert float(same.float().mean()) >= kept
    # What is missing was no better than the tenth by more than rounding.
    missed = exact.gather(1, want) - exact.gather(1, want[:, -1:])
    assert float(torch.where(same, 0, missed).max()) <= gap * tau
