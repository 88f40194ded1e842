"""Every pass over the pairs that `rerank apply` makes: what it answers, and its time.

    python tests/bench/profile_apply.py [--size 5000 | --size 50000x5000] [--method NAME]

A pass is what announces itself as one (`rerank.core.progress`); who asked for it is the nearest
function outside the floor of passes. Times are of the processor, all threads, children left out:
a sweep counts for the sweeps and not for the loop around them. The rest is what is no pass: files,
products of d x d, lists of ids. Start is importing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ANSWERS = {
    ("top-k", "spacing"): "how far apart are the hard negatives? (a sample of rows, of columns)",
    ("Sinkhorn kernel", "auto_tau"): "exponentials of the plan whose confidence gives tau",
    ("Sinkhorn sweep", "auto_tau"): "that plan",
    ("Sinkhorn kernel", "fit"): "exponentials of the plan",
    ("Sinkhorn sweep", "fit"): "the biases",
    ("Sinkhorn kernel", "fit_plan"): "exponentials of the plan to align by",
    ("Sinkhorn sweep", "fit_plan"): "the plan to align by",
    ("moments of the plan", "fit_after"): "what do partners look like?",
    ("top-k", "ranking"): "the answer: the best items; and hubness before, of a sample",
    ("log-sum-exp", "_mirror"): "the other direction's biases",
    ("shares", "auto_tau"): "how sure is the plan?",
    ("Sinkhorn sweep", "fit_after"): "masses of that plan as it is read",
    ("moments of the plan", "trust"): "partners of a sample, for the judge of the alignment",
    ("ranks", "<listcomp>"): "the judge: ranks over unseen axes (a sample)",
    ("log-sum-exp", "<listcomp>"): "the judge: popularity over those axes (a sample)",
    ("top-k", "held_gain"): "the judge: choices over the others (a sample)",
    ("popularity", "popularity"): "which of many items are too popular? (two widths, of a sample)",
    ("popularity", "collisions"): "with which width do unseen queries collide less? (a sample)",
    ("Sinkhorn kernel", "width"): "exponentials of that sample",
    ("Sinkhorn kernel", "gain"): "exponentials over half of the axes: are all items wanted?",
}
# As the command does, before torch is imported: threads that wait do not spin.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
INNER = ("/passes/", "/core/", "potentials.py", "contextlib.py")


class Watch:
    """A reporter that keeps the time of tasks by name and by who asked."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])
        self._stack: list[list[Any]] = []

    def start(self, description: str, total: int) -> None:  # noqa: ARG002
        """See `rerank.core.progress.Reporter`."""
        frame, asked = sys._getframe(1), ""
        while frame is not None:
            if not any(part in frame.f_code.co_filename for part in (*INNER, __file__)):
                name = frame.f_code.co_name
                if not name.startswith("_") or name == "_mirror":
                    asked = "fit_plan" if frame.f_locals.get("rough") and name == "fit" else name
                    break
            frame = frame.f_back
        self._stack.append([(description, asked), time.process_time(), 0.0])

    def advance(self, steps: int) -> None:
        """See `rerank.core.progress.Reporter`."""

    def stop(self) -> None:
        """See `rerank.core.progress.Reporter`."""
        key, began, inside = self._stack.pop()
        whole = time.process_time() - began
        entry = self.spent[key]
        entry[0] += 1
        entry[1] += whole - inside
        if self._stack:
            self._stack[-1][2] += whole


def main() -> None:
    """Profile and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="5000")
    parser.add_argument("--method")
    given = parser.parse_args()
    n, _, m = given.size.partition("x")
    with tempfile.TemporaryDirectory() as folder:
        by_hand = Path(__file__).with_name("by_hand.py")
        subprocess.run([sys.executable, by_hand, "make", folder, n, m or n], check=True)
        began = time.process_time()
        from rerank.core import progress
        from rerank.tasks import apply as files

        started = time.process_time() - began
        watch = Watch()
        began = time.process_time()
        with progress.watch(watch):
            files.apply_files(
                texts=Path(folder) / "texts.h5", videos=Path(folder) / "videos.h5",
                out=Path(folder) / "out.h5",
                settings={} if given.method is None else {"method": given.method},
            )  # fmt: skip
        whole = time.process_time() - began
    print(f"{n} x {m or n} x 512: {whole:.2f} processor seconds, and {started:.2f} of importing\n")
    print("| pass | asked by | times | seconds | question |\n|---|---|---|---|---|")
    for (name, asked), (count, spent) in sorted(watch.spent.items(), key=lambda x: -x[1][1]):
        answer = ANSWERS.get((name, asked), "")
        print(f"| {name} | {asked} | {count} | {spent:.2f} | {answer} |")
    rest = whole - sum(spent for _, spent in watch.spent.values())
    print(f"| no pass | | | {rest:.2f} | files, ids, maps |")


if __name__ == "__main__":
    main()
