"""Laws of the plan: it asks the choosers of a run, and scales with the work."""

import json

import pytest
import torch

from rerank import RerankError
from rerank.core.memory import limit
from rerank.core.similarity import Pair
from rerank.io import write_embeddings
from rerank.passes.sinkhorn import choose
from rerank.tasks.plan import TIMED, plan, shape_of
from tests.cli.test_cli import run


def test_the_regime_is_that_of_a_run():
    for n, m in ((100, 80), (3000, 2500)):
        for memory in ("100MB", "8GB"):
            with limit(memory):
                sim = Pair(torch.randn(n, 16), torch.randn(m, 16))
                assert plan(n, m, 16, timed=False).regime == str(choose.regime(sim, sweeps=30))


def test_a_shape_takes_no_memory():
    sim = shape_of(10**9, 10**9, 512)
    assert sim.shape == (10**9, 10**9)
    assert sim.queries.untyped_storage().nbytes() < 10_000


def test_time_grows_with_the_pairs_and_the_steps(monkeypatch):
    monkeypatch.setattr("rerank.tasks.plan._best", lambda work, runs=3: work() is None or 1.0)
    base = plan(1e5, 1e5, 64)
    assert plan(2e5, 1e5, 64).total_seconds == pytest.approx(2 * base.total_seconds, rel=0.01)
    assert plan(1e5, 1e5, 64, sweeps=60).seconds["Sinkhorn"] > base.seconds["Sinkhorn"]
    assert base.seconds["top-k, before and after"] == pytest.approx(4 * 1e10 / TIMED[0] / TIMED[1])


def test_what_does_not_fit_says_so():
    with limit("1MB"):
        found = plan(1000, 1000, 512, timed=False)
    assert not found.fits
    assert "--memory" in found.notes[-1]


@pytest.mark.parametrize("queries", [0, -1, 1.5, float("nan")])
def test_sizes_are_whole_numbers(queries):
    with pytest.raises(RerankError, match="--queries"):
        plan(queries, 10, timed=False)


def test_the_command_reads_files_or_sizes(samples):
    files = ["--texts", samples / "texts.h5", "--videos", samples / "videos.h5"]
    by_file = json.loads(run("plan", *files, "--json", cwd=samples)[0])
    sizes = [f"--{name}={by_file[name]}" for name in ("queries", "gallery", "dim")]
    by_size = json.loads(run("plan", *sizes, "--json", cwd=samples)[0])
    assert by_file["regime"] == by_size["regime"]
    assert by_file["memory_bytes"] == by_size["memory_bytes"]
    assert by_file["queries"] > 100
    assert "--texts and --videos" in run("plan", cwd=samples, code=2)[1]


def test_the_default_method_is_planned_and_others_by_name(monkeypatch):
    monkeypatch.setattr("rerank.tasks.plan._best", lambda work, runs=3: work() is None or 1.0)
    default, plain = plan(1e5, 1e5, 64), plan(1e5, 1e5, 64, method="Sinkhorn")
    assert (default.method, plain.method) == ("sinkhorn+align+sinkhorn", "sinkhorn")
    for stage in ("temperature", "Sinkhorn"):
        assert default.seconds[stage] == 2 * plain.seconds[stage]
    assert default.seconds["alignment"] > plain.seconds["alignment"] == 0
    small = [plan(1000, 1000, 64, method=m, timed=False).memory for m in (None, "sinkhorn")]
    assert small[0]["mapped copy"] > small[1]["mapped copy"] == 0
    assert plan(1000, 1000, 0, timed=False).method == "sinkhorn"


@pytest.mark.parametrize("words", [("plan",), ("apply", "--dry-run")])
def test_sides_of_different_dimensions_are_refused_as_by_a_run(samples, tmp_path, words):
    write_embeddings(tmp_path / "narrow.h5", ["a", "b"], torch.eye(2, 8).numpy())
    files = ["--texts", tmp_path / "narrow.h5", "--videos", samples / "videos.h5"]
    planned = run(*words, *files, cwd=tmp_path, code=2)[1]
    assert planned == run("apply", *files, cwd=tmp_path, code=2)[1]
    assert "d = 8" in planned and "d = 128" in planned
