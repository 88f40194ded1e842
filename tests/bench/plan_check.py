"""Predictions of `rerank plan` against runs of `rerank apply`, stage by stage, as Markdown.

    python tests/bench/plan_check.py [--sizes 2000x2000 5000x5000 10000x10000] [--rounds 2]
    OMP_NUM_THREADS=1 python tests/bench/plan_check.py --cpu-time

Made embeddings of d = 512. The plan is told how many steps the fit took, which it cannot know, so
that what is held against the run is its count of passes and their costs, timed in the same process.
Lowest times of the rounds. --cpu-time counts the seconds of this process on one thread, which other
work on the machine disturbs less than time on the clock.
"""

import argparse
import tempfile
import time
from pathlib import Path

from made import hard
from stages import timed_apply

from rerank.io import write_embeddings
from rerank.tasks import plan as planning
from rerank.tasks import plan as rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = ["2000x2000", "5000x5000", "10000x10000", "20000x20000", "50000x5000"]
    parser.add_argument("--sizes", nargs="+", default=sizes)
    parser.add_argument("--methods", nargs="+", default=["em+sinkhorn", "sinkhorn"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    print("| size, method | stage | predicted, s | measured, s | ratio |\n|---|---|---|---|---|")
    for size in given.sizes:
        n, m = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("texts.h5", "videos.h5", "out.h5")]
            sim = hard(n, m)
            for path, rows, letter in zip(paths, (sim.queries, sim.gallery), "tv", strict=False):
                write_embeddings(path, [f"{letter}{i}" for i in range(len(rows))], rows.numpy())
            del sim
            costs = rates.measure(512, clock=clock)
            for method in given.methods:
                runs = [
                    timed_apply(*paths, clock=clock, method=method) for _ in range(given.rounds)
                ]
                found = {key: min(run[key] for run in runs) for key in runs[0]}
                plan = planning.plan(
                    n, m, 512, costs=costs, sweeps=int(found["steps"]), em="em" in method
                )
                rows = {stage.name: stage.seconds for stage in plan.stages}
                rows["total"] = plan.seconds
                for stage in [key for key in found if key != "steps"]:
                    said, spent = rows.get(stage, 0.0), found[stage]
                    ratio = f"{said / spent:.2f}" if said and spent else ""
                    print(f"| {size}, {method} | {stage} | {said:.2f} | {spent:.2f} | {ratio} |")
                print(f"| {size}, {method} | steps | | {found['steps']:.0f} | |", flush=True)


if __name__ == "__main__":
    main()
