"""`rerank apply` against thirty lines of torch, as whole processes: the table of RESULTS.md.

    python tests/bench/by_hand.py [--sizes 1000 5000 10000 20000 50000x5000] [--rounds 3] [--cold]

The lines somebody writes by hand: the whole matrix, 50 Sinkhorn iterations at tau .02, the top 10
of both directions. Both programs run on the same files, in turn, and medians are taken; the order
changes every round. Wall time, processor time (what other work on the machine disturbs least) and
peak memory of the process; ratios are medians of the ratios of a round. `--cold` runs ours once
more with an empty folder of compiled kernels.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

DIMENSION, TAU, ITERATIONS, K = 512, 0.02, 50, 10
SIZES = ("1000", "5000", "10000", "20000", "50000x5000")


def make(folder: str, texts: str, videos: str) -> None:
    """Embeddings with hubs and a modality gap; text i belongs to video i mod videos."""
    import h5py
    import numpy as np

    n, m = int(texts), int(videos)
    generator = np.random.default_rng(0)
    common = 1.5 * generator.standard_normal((1, DIMENSION)).astype("f4")
    topics = generator.standard_normal((m, DIMENSION)).astype("f4")
    for side, count, gap in (("videos", m, 1.0), ("texts", n, 0.8)):
        x = 3 * generator.standard_normal((count, DIMENSION)).astype("f4") + common * gap
        x += topics[np.arange(count) % m]
        if side == "videos":
            x[generator.choice(m, m // 50, replace=False)] += 1.5 * common
        with h5py.File(Path(folder) / f"{side}.h5", "w") as file:
            file["embeddings"] = x
            ids = np.array([f"{side[0]}{i}" for i in range(count)], dtype=object)
            file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
    right = {f"t{i}": f"v{i % m}" for i in range(n)}
    (Path(folder) / "gt.json").write_text(json.dumps(right), encoding="utf-8")


def by_hand(folder: str) -> None:
    """What somebody writes instead."""
    import h5py
    import numpy as np
    import torch

    def unit(path: Path) -> torch.Tensor:
        with h5py.File(path) as file:
            return torch.nn.functional.normalize(torch.from_numpy(file["embeddings"][:]), dim=1)

    texts, videos = unit(Path(folder) / "texts.h5"), unit(Path(folder) / "videos.h5")
    scores = texts @ videos.T
    kernel = torch.exp((scores - 1) / TAU)
    b = torch.ones(scores.shape[1])
    for _ in range(ITERATIONS):
        a = 1 / (kernel @ b)
        b = 1 / (kernel.T @ a)
    t2v = (scores + TAU * b.log()).topk(K, dim=1)
    v2t = (scores + TAU * a.log()[:, None]).T.topk(K, dim=1)
    np.savez(Path(folder) / "by_hand.npz", t2v=t2v.indices, v2t=v2t.indices)


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds of the clock and of the processor, and bytes at its peak."""

    wall: float
    cpu: float
    peak: float


def run(command: list[str], **environment: str) -> Spent:
    """Run to the end; a failure stops everything."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | environment
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)}\n{said.decode()}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def ours(folder: str) -> list[str]:
    """The command."""
    files = [f"--{side}={folder}/{side}.h5" for side in ("texts", "videos")]
    return [sys.executable, "-m", "rerank", "apply", *files, f"--out={folder}/out.h5", "--force"]


def row(size: str, rounds: int, *, cold: bool) -> str:
    """One size, as a row of Markdown."""
    n, _, m = size.partition("x")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "make", folder, n, m or n], check=True)
        programs = [ours(folder), [sys.executable, __file__, "run", folder]]
        # As installing leaves them, whatever is set here: modules are compiled once.
        os.environ |= {
            "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode",
        }  # fmt: skip
        run(programs[0])  # compiled kernels, and files in memory
        pairs = []
        for place in range(rounds):
            order = (0, 1) if place % 2 else (1, 0)
            found = {which: run(programs[which]) for which in order}
            pairs.append((found[0], found[1]))
        first = ""
        if cold:
            with tempfile.TemporaryDirectory() as empty:
                first = f"{run(programs[0], NUMBA_CACHE_DIR=empty).wall:.2f}"

    def column(name: str, digits: int, unit: float = 1) -> str:
        both = [
            [getattr(spent, name) / unit for spent in side] for side in zip(*pairs, strict=True)
        ]
        ratio = statistics.median(a / b for a, b in zip(*both, strict=True))
        one, other = (f"{statistics.median(x):.{digits}f}" for x in both)
        return f"{one} / {other} | **{ratio:.2f}**"

    cells = [column("wall", 2), column("cpu", 2), column("peak", 2, 1e9), first]
    return f"| {n} x {m or n} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, a row as soon as it is known."""
    if sys.argv[1:2] == ["make"]:
        return make(*sys.argv[2:])
    if sys.argv[1:2] == ["run"]:
        return by_hand(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    given = parser.parse_args()
    print("| texts x videos | wall, s, ours / by hand | | processor, s | | peak, GB | | cold, s |")
    print("|---|---|---|---|---|---|---|---|")
    for size in given.sizes:
        print(row(size, given.rounds, cold=given.cold), flush=True)
    return None


if __name__ == "__main__":
    main()
