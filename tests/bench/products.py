"""What the defaults gain for products: photos with descriptions, and one shop's names in another.

    python tests/bench/products.py photos IMAGES.npy TEXTS.npy
    python tests/bench/products.py shops LEFT.csv RIGHT.csv MAPPING.csv

R@1 in percent, expected over ties. "transductive" is `rerank.apply` with its defaults.
"inductive" is the mean of five random halves: one half of the known pairs is the test set, the
other the bank. Neither set chose any constant, and neither is kept in the repository.

- photos: row i of both files belongs together. Measured: 1,126 H&M products of the public
  repository NahinNilav/ShopSphere (`image_embeddings.npy`, `text_embeddings.npy`, 512-dimensional),
  which names FashionCLIP; a language model seems to have written the descriptions.
- shops: columns id, name, description, maker (with a header or without) and a list of pairs of ids.
  Measured: Amazon-GoogleProducts of the Leipzig benchmark of entity resolution. Queries are the
  products of the left shop that have a match, the gallery is the whole right shop. No deep model:
  words and runs of four letters, TF-IDF, the 256 strongest singular vectors, which is latent
  semantic analysis.
"""

import csv
import math
import re
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

import rerank

BUCKETS, DIMENSIONS, HALVES = 2**18, 256, 5


def rows_of(path: Path) -> list[list[str]]:
    """Rows of a CSV file in the encoding that these old files have, in lower case."""
    with path.open(newline="", encoding="latin-1") as file:
        return [[cell.casefold() for cell in row] for row in csv.reader(file) if row]


def words_of(text: str) -> list[str]:
    """Words, and each run of four letters inside of one."""
    words = re.findall(r"[a-z0-9]+", text)
    runs = [f"_{word}_"[i : i + 4] for word in words for i in range(len(word) - 1)]
    return words + [f"#{run}" for run in runs]


def latent(texts: Sequence[str]) -> np.ndarray:
    """(n, 256) embeddings of all texts by latent semantic analysis, rows of length 1."""
    counts = [Counter(zlib.crc32(word.encode()) % BUCKETS for word in words_of(t)) for t in texts]
    seen = Counter(bucket for count in counts for bucket in count)
    places = [(i, bucket, count[bucket]) for i, count in enumerate(counts) for bucket in count]
    row, column, times = (np.array(part) for part in zip(*places, strict=True))
    rarity = np.array([math.log(len(texts) / seen[bucket]) for bucket in column.tolist()])
    weights = csr_array(((1 + np.log(times)) * rarity, (row, column)), shape=(len(texts), BUCKETS))
    length = np.sqrt(weights.multiply(weights).sum(axis=1))
    weights = csr_array(weights.multiply(1 / np.maximum(length, 1e-12)[:, None]))
    u, s, _ = svds(weights, k=DIMENSIONS, v0=np.ones(len(texts)))
    made = u * s
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)


def shops(
    left: Path, right: Path, mapping: Path
) -> tuple[np.ndarray, np.ndarray, dict[int, list[int]]]:
    """Embeddings of the matched products of one shop, of all of the other, and what matches."""
    ours, theirs = ({row[0]: " ".join(row[1:4]) for row in rows_of(p)} for p in (left, right))
    pairs = [row for row in rows_of(mapping) if row[0] in ours and row[1] in theirs]
    asked = list(dict.fromkeys(row[0] for row in pairs))
    place = {name: i for i, name in enumerate(theirs)}
    number = {name: i for i, name in enumerate(asked)}
    gt: dict[int, list[int]] = {}
    for one, other, *_ in pairs:
        gt.setdefault(number[one], []).append(place[other])
    made = latent([*(ours[name] for name in asked), *theirs.values()])
    return made[: len(asked)], made[len(asked) :], gt


def line(name: str, figures: Mapping[str, tuple[float, float]]) -> None:
    """One row of the table."""
    cells = [f"{before:.1f} -> {after:.1f}" for before, after in figures.values()]
    print(f"| {name} | {' | '.join(cells)} |")


def judged(run: rerank.Result, gt: Mapping[int, list[int]]) -> dict[str, tuple[float, float]]:
    """R@1 before and after, of both directions."""
    found = run.evaluate([gt[i] for i in range(len(gt))], figures=["R@1"])
    return {way: (found.before[way]["R@1"], found.after[way]["R@1"]) for way in ("t2v", "v2t")}


def part(
    texts: np.ndarray, videos: np.ndarray, gt: Mapping[int, list[int]], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[int, list[int]]]:
    """Some texts with the items that are right for them."""
    items = sorted({item for row in rows.tolist() for item in gt[row]})
    place = {item: i for i, item in enumerate(items)}
    own = {i: [place[item] for item in gt[row]] for i, row in enumerate(rows.tolist())}
    return texts[rows], videos[items], own


def table(texts: np.ndarray, videos: np.ndarray, gt: Mapping[int, list[int]]) -> None:
    """Print both rows."""
    print(f"{len(texts)} queries, {len(videos)} items\n\n| label | query to item | item to query |")
    print("| --- | --- | --- |")
    run = rerank.apply(texts, videos)
    line(run.label, judged(run, gt))
    halves = []
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(len(texts))
        tested, banked = np.array_split(order, 2)
        x, y, right = part(texts, videos, gt, tested)
        bank_x, bank_y, bank_right = part(texts, videos, gt, banked)
        run = rerank.apply(x, y, bank_texts=bank_x, bank_videos=bank_y, bank_gt=bank_right)
        halves.append((run.label, judged(run, right)))
    label = "/".join(sorted({label for label, _ in halves}))
    mean = {way: tuple(np.mean([f[way] for _, f in halves], axis=0)) for way in ("t2v", "v2t")}
    line(f"{label}, mean of {HALVES} halves", mean)


def main() -> None:
    """Read one of the two kinds and print its table."""
    match sys.argv[1:]:
        case ["photos", images, descriptions]:
            videos, texts = (np.load(path, allow_pickle=False) for path in (images, descriptions))
            table(texts, videos, {i: [i] for i in range(len(texts))})
        case ["shops", *paths] if len(paths) == 3:
            table(*shops(*map(Path, paths)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
