"""R@1 of every method on the real sets, as a Markdown table.

    RERANK_DATA=folder OMP_NUM_THREADS=1 python tests/bench/methods_table.py

coco500 and both Cap4Video matrices are transductive (no bank: the test queries are the bank);
msvd_aligned is inductive, with its bank of 600 other videos and their captions. Ties count as
expected; a video of msvd_aligned ranks the videos by their best caption.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import real_sets

from rerank.core.errors import RerankError
from rerank.core.words import Name
from rerank.methods import directions
from rerank.methods.directions import Direction
from rerank.methods.registry import METHODS, pipeline
from rerank.metrics import ranks as metrics
from rerank.metrics.judge import views

COMPOSED = ("em+sinkhorn", "center+sinkhorn", "center+csls", "center+nnn", "em+dsl", "center+dsl")


@dataclass(frozen=True, eq=False)
class Column:
    name: str
    both: dict[Name, Direction]
    positives: tuple[np.ndarray, ...]
    protocol: str


def columns() -> list[Column]:
    """The sets, ready to be fitted."""
    out = []
    for data in (
        real_sets.load_pair("coco500"),
        real_sets.load_scores("cap4video", "video_scores"),
        real_sets.load_scores("cap4video", "titles_scores"),
    ):
        out.append(Column(data.name, directions.from_scores(data.sim), _right(data), "pairs"))
    test, bank = real_sets.load_pair("msvd_aligned"), real_sets.load_pair("msvd_aligned", "bank_")
    both = directions.from_embeddings(
        test.sim.queries, test.sim.gallery,
        bank_texts=bank.sim.queries, bank_videos=bank.sim.gallery,
    )  # fmt: skip
    return [*out, Column("msvd_aligned", both, _right(test), "rank-videos-by-best-caption")]


def _right(data) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row]) for row in data.video_of.tolist())


def cells(method: str, column: Column) -> list[str]:
    """R@1 of both directions, or a dash where the method has not what it needs."""
    out = []
    for name, direction in column.both.items():
        try:
            sim = pipeline(method).fit(direction.bank).transform(direction.sim)
        except RerankError as error:
            print(f"{method}, {column.name} {name}: {error}", file=sys.stderr)
            out.append("-")
            continue
        shown = views({name: sim}, column.positives, protocol=column.protocol)
        ranks = metrics.ranks(*shown[name])
        out.append(f"{100 * float(ranks.hits(1).mean()):.1f}")
    return out


def main() -> None:
    sets = columns()
    heads = [f"{c.name} {name}" for c in sets for name in c.both]
    print("| method | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|", flush=True)
    for method in ("none", *METHODS, *COMPOSED):
        start = time.perf_counter()
        row = [cell for column in sets for cell in cells(method, column)]
        print(f"| {method} | " + " | ".join(row) + " |", flush=True)
        print(f"{method}: {time.perf_counter() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
