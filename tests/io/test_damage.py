"""Files damaged at random are refused, or read as what they were; nothing else is raised."""

import random
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.io import (
    read_embeddings,
    read_ground_truth,
    read_results,
    read_scores,
    write_embeddings,
)
from tests.io.test_results import directions, some_results
from tests.io_writers import ARROW, IDS, in_order, vectors, write


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Cut, flip bits, overwrite, delete or insert, somewhere."""
    data = bytearray(raw)
    at = rng.randrange(len(data))
    match rng.randrange(5):
        case 0:
            del data[at:]
        case 1:
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            data[at : at + 8] = bytes(rng.choice([0, 255, 127, 1]) for _ in data[at : at + 8])
        case 3:
            del data[at : at + rng.randrange(1, 64)]
        case _:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
    return bytes(data)


FUZZED = ["h5-canonical", "h5-chunked", "h5-per-id", "npy", "npz", "npz-packed", "safetensors",
          "torch-dict", "parquet", "clip-retrieval"]  # fmt: skip


@pytest.mark.parametrize("layout", FUZZED)
def test_mutated_embeddings_are_refused_or_read(tmp_path, layout):
    if layout in ARROW:
        pytest.importorskip("pyarrow")
    path, _ = write(layout, tmp_path, vectors())
    files = [path] if path.is_file() else sorted(tmp_path.rglob("*_?.*"))
    fuzz(files, lambda: read_embeddings(path), count=100, seed=layout)


def fuzz(files: list[Path], read, *, count: int, seed: str, same=None) -> None:
    originals = {file: file.read_bytes() for file in files}
    rng = random.Random(seed)
    for _ in range(count):
        file = rng.choice(files)
        file.write_bytes(mutate(originals[file], rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read()
            except RerankError as error:
                assert "\n" not in str(error)
            else:
                assert same is None or same(found)
        file.write_bytes(originals[file])


def test_mutated_canonical_files_are_refused_or_unchanged(tmp_path):
    path = tmp_path / "v.h5"
    write_embeddings(path, IDS, vectors())
    fuzz(
        [path],
        lambda: read_embeddings(path),
        count=200,
        seed="canonical",
        # An attribute that does not speak of the content may go: then it is another kind of file.
        same=lambda found: (in_order(list(found.ids), vectors()) == found.vectors).all(),
    )


def test_mutated_results_are_refused_or_unchanged(tmp_path):
    path = some_results(tmp_path)
    before = read_results(path)

    def same(found):
        return found.manifest == before.manifest and all(
            directions(a) == directions(b)
            for a, b in zip(found.directions.values(), before.directions.values(), strict=True)
        )

    fuzz([path], lambda: read_results(path), count=200, seed="results", same=same)


@pytest.mark.parametrize("name", ["s.npy", "s.npz", "s.h5"])
def test_mutated_scores_are_refused_or_read(tmp_path, name):
    path = tmp_path / name
    scores = np.random.default_rng(0).normal(size=(5, 6))
    if name == "s.npy":
        np.save(path, scores)
    elif name == "s.npz":
        np.savez(path, scores=scores, query_ids=list("abcde"), gallery_ids=list("uvwxyz"))
    else:
        with h5py.File(path, "w") as f:
            f["scores"], f["query_ids"], f["gallery_ids"] = scores, list("abcde"), list("uvwxyz")
    fuzz([path], lambda: read_scores(path), count=100, seed=name)


GT = {
    "gt.json": '{"a": "u", "b": ["v", "w"], "c": {"x": 1, "y": 0}}',
    "list.json": '[{"query_id": "a", "video_id": "u"}, {"query_id": "b", "video_id": "v"}]',
    "msrvtt.json": '{"sentences": [{"sen_id": 1, "video_id": "u", "caption": "a"}]}',
    "gt.csv": 'key,vid_key,video_id,sentence\na,msr1,u,some words\nb,msr2,v,"more, words"\n',
    "gt.tsv": "query-id\tcorpus-id\tscore\na\tu\t1\nb\tv\t1\n",
    "gt.qrels": "a 0 u 1\nb 0 v 1\nc 0 w 0\n",
}


@pytest.mark.parametrize("name", GT)
def test_mutated_ground_truth_is_refused_or_read(tmp_path, name):
    path = tmp_path / name
    path.write_text(GT[name])
    for allow in (False, True):
        fuzz(
            [path],
            lambda allow=allow: read_ground_truth(
                path, list("abc"), list("uvwxyz"), allow_unjudged=allow
            ),
            count=60,
            seed=name,
        )
