"""One Sinkhorn iteration of each contender in a process of its own, for sizes that no two share.

    python tests/bench/peers_alone.py --size 20000 [--rounds 2] [--only POT ours]

At 20,000 x 20,000 the contenders together need more memory than the machine has, so each is
started, timed and ended before the next, round by round. An iteration is the slope between few and
more of them: peers that are asked for two pay their preparation in both figures. Compiling is not
timed. Peak: resident memory of the process above the scores, which all are given. A contender that
takes longer than --limit seconds is said so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import sinkhorn as bench
import torch
from made import hard
from peers_table import CPU, Contender, sweeps

from rerank.core.memory import measured

# Iterations between which the slope is taken; of ours more, because they are shorter.
_FEW, _MORE, _OURS = 1, 3, 21


def time_one(name: str, entry: Contender) -> dict[str, float]:
    """Milliseconds of an iteration, and GB."""
    quick = ("stored" in name and name.startswith("ours")) or name == "torch, two products"
    more = _OURS if quick else _MORE
    with measured(CPU) as spent:
        run = entry.make()
        for count in (_FEW, more):
            run(count)
    times = []
    for count in (_FEW, more):
        start = time.perf_counter()
        run(count)
        times.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * (times[1] - times[0]) / (more - _FEW),
        "peak": (spent["peak"] or 0) / 1e9,
    }


def main() -> None:
    """Start the contenders, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of names to run")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one process")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = given.size if given.child else 64
    bench.OTT_STEPS = None
    entries = sweeps(hard(size, size, bench.D))
    if given.child:
        print(json.dumps(time_one(given.child, entries[given.child])))
        return
    names = [name for name in entries if any(part in name for part in given.only)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(given.rounds):
        for name in names:
            command = [sys.executable, __file__, "--size", str(given.size), "--child", name]
            try:
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, timeout=given.limit
                )
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
                continue
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    print(f"{given.size:,} x {given.size:,}, d = {bench.D}, {torch.get_num_threads()} threads\n")
    print("| | milliseconds, median (lowest) | peak, GB |")
    print("|---|---|---|")
    for name, each in found.items():
        if each:
            times = [x["ms"] for x in each]
            print(
                f"| {name} | {statistics.median(times):.1f} ({min(times):.1f}) | "
                f"{max(x['peak'] for x in each):.2f} |"
            )


if __name__ == "__main__":
    main()
