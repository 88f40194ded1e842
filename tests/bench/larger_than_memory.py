"""A gallery that no run could copy: made here, fitted, searched and re-ranked, time and memory.

    python tests/bench/larger_than_memory.py make FOLDER --gallery 1000000 --bank 100000
    python tests/bench/larger_than_memory.py fit FOLDER --sweeps 5
    python tests/bench/larger_than_memory.py apply FOLDER --sweeps 5 --memory 8GB
    python tests/bench/larger_than_memory.py search FOLDER

`fit`, `apply` and `search` run in a process of their own each. Peak memory is given with and
without the pages of mapped files, which the system takes back whenever it needs them. Files are
float16 HDF5 in one piece; with `--chunked` they cannot be mapped and are unpacked first.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py
import numpy as np

SIDES = ("gallery", "bank", "queries")
_AT_ONCE = 20_000


def make(folder: Path, counts: dict[str, int], dim: int, *, chunked: bool) -> None:
    """Three files of made embeddings: items, captions of unknown items, captions of some items."""
    shared = 1.5 * np.random.default_rng(0).normal(size=dim)
    for seed, side in enumerate(SIDES, start=1):
        draw, count = np.random.default_rng(seed), counts[side]
        with h5py.File(folder / f"{side}.h5", "w") as file:
            chunks = (min(count, 1000), dim) if chunked else None
            rows = file.create_dataset("embeddings", (count, dim), np.float16, chunks=chunks)
            for start in range(0, count, _AT_ONCE):
                size = (min(_AT_ONCE, count - start), dim)
                rows[start : start + size[0]] = draw.normal(size=size) + shared
            file["ids"] = np.char.add(side[0].encode(), np.arange(count).astype("S8"))


class Watch:
    """Seconds in each kind of task (those inside another count in both), and the most memory."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._open: list[tuple[str, float]] = []
        self.anonymous = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, status("RssAnon"))
            time.sleep(0.02)

    def start(self, description: str, total: int) -> None:
        self._open.append((description, time.perf_counter()))

    def advance(self, steps: int) -> None:
        pass

    def stop(self) -> None:
        name, since = self._open.pop()
        self.seconds[name] += time.perf_counter() - since
        self.calls[name] += 1


def status(name: str) -> int:
    """Bytes of one line of what the kernel says about this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


def run(what: str, folder: Path, *, sweeps: int, tau: float | None, memory: str | None) -> dict:
    """One command on the files, watched."""
    from rerank.core import memory as budgets
    from rerank.core import progress
    from rerank.tasks import apply as files
    from rerank.tasks import serve

    watch, since, imported = Watch(), time.perf_counter(), status("VmHWM")
    paths = {side: folder / f"{side}.h5" for side in SIDES}
    settings = {"n_iters": sweeps, "tol": 0.0} | ({} if tau is None else {"tau": tau})
    with progress.watch(watch), budgets.limit(memory):
        if what == "fit":
            serve.fit_files(
                folder / "model.safetensors", videos=paths["gallery"], texts=None,
                bank_texts=paths["bank"], bank_videos=None, settings=settings, device="cpu",
            )  # fmt: skip
        elif what == "search":
            serve.search_files(
                model=folder / "model.safetensors", videos=[paths["gallery"]],
                texts=[paths["queries"]], out=folder / "found.h5",
            )  # fmt: skip
        else:
            files.apply_files(
                videos=paths["gallery"], texts=paths["queries"], bank_texts=paths["bank"],
                out=folder / "reranked.h5", settings=settings, memory=memory, device="cpu",
            )  # fmt: skip
    return {
        "what": what,
        "seconds": round(time.perf_counter() - since, 1),
        "CPU seconds": round(time.process_time(), 1),
        "stages": {k: [watch.calls[k], round(v, 1)] for k, v in watch.seconds.items()},
        "peak GB": round(status("VmHWM") / 1e9, 2),
        "peak GB without files": round(watch.anonymous / 1e9, 2),
        "importing GB": round(imported / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "fit", "search", "apply"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--bank", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--chunked", action="store_true")
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--tau", type=float)
    parser.add_argument("--memory")
    given = parser.parse_args()
    if given.what == "make":
        given.folder.mkdir(parents=True, exist_ok=True)
        counts = {side: getattr(given, side) for side in SIDES}
        make(given.folder, counts, given.dim, chunked=given.chunked)
    elif os.environ.get("RERANK_BENCH_CHILD"):
        found = run(
            given.what, given.folder, sweeps=given.sweeps, tau=given.tau, memory=given.memory
        )
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        env = {**os.environ, "RERANK_BENCH_CHILD": "1"}
        subprocess.run([sys.executable, *sys.argv], env=env, check=True)


if __name__ == "__main__":
    main()
