"""Files changed at random, and single bits of our outputs."""

import random
import warnings
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import rerank
from rerank.core.errors import RerankError
from rerank.io import (
    read_embeddings,
    read_ground_truth,
    read_results,
    read_scores,
    write_embeddings,
)
from tests.io.test_damage import GT, mutate
from tests.io.test_results import directions, some_results
from tests.io_writers import IDS, LAYOUTS, vectors, write
from tests.reliability.matrix import Case, row


@cache
def _originals(kind):
    """The files of a kind as {relative name: bytes}, and the name of what is read."""
    folder = Path(mkdtemp())
    if kind in LAYOUTS:
        name = write(kind, folder, vectors())[0].name
    elif kind in GT:
        name = kind
        (folder / name).write_text(GT[name])
    elif kind == "results":
        name = some_results(folder).name
    else:
        name = kind
        np.savez(folder / name, scores=vectors(), query_ids=IDS, gallery_ids=list("abcd"))
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*")) if file.is_file()
    }  # fmt: skip
    return files, name


KINDS = (*LAYOUTS, *GT, "results", "scores.npz")


@row("mutated input files", "no crash, hang or foreign exception", quick=120)
def mutated():
    for number in range(1200):
        kind = KINDS[number % len(KINDS)]
        yield Case(f"{kind} {number}", partial(_mutated, kind, number))


def _mutated(kind, number, folder):
    files, name = _originals(kind)
    rng = random.Random(number)
    hit = rng.choice(list(files))
    for file, raw in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutate(raw, rng) if file == hit else raw)
    path = folder / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if kind in GT:
                read_ground_truth(path, list("abc"), list("uvwxyz"), allow_unjudged=number % 2 == 0)
            elif kind == "results":
                read_results(path)
            elif kind == "scores.npz":
                read_scores(path)
            else:
                read_embeddings(path)
        except RerankError as error:
            assert "\n" not in str(error)


@cache
def _outputs():
    """Everything that carries a hash of its content: name -> (files, how to read it plainly)."""
    from rerank.serving.exporting import export, search_export
    from rerank.serving.fitting import fit_model
    from rerank.train.saved_heads import empty_heads, read_trained, save_heads
    from tests.serving_data import make

    ids, gallery, queries, bank, _ = make(m=20, n=4, bank=30, d=8)
    folder = Path(mkdtemp())
    write_embeddings(folder / "v.h5", IDS, vectors())
    some_results(folder)
    rerank.fit(gallery, ids=ids, bank_texts=bank, method="sinkhorn", tau=0.05).save(folder / "m")
    saved = fit_model(ids, gallery, bank, method="sinkhorn", tau=0.05)
    export(saved, ids, gallery, folder / "index", to="npy", queries=queries)
    save_heads(folder / "heads", empty_heads({"text": [8, 8], "video": [8, 8]}, 0, False))

    def embeddings(path):
        found = read_embeddings(path)
        return sorted(zip(found.ids, found.vectors.tolist(), strict=True))

    def results(path):
        found = read_results(path)
        parts = [directions(part) for part in found.directions.values()]
        return parts, found.manifest, np.asarray(found.scores).tolist()

    def model(path):
        found = rerank.load(path)
        searched = found.search(queries, k=5)
        return searched.ids.tolist(), searched.scores.tolist(), found.saved.manifest

    def index(path):
        exported, found = search_export(path.with_name("index"), queries, 5)
        return exported.ids, found.scores.tolist(), exported.manifest

    def heads(path):
        found, manifest = read_trained(path)
        return {k: v.tolist() for k, v in found.state_dict().items()}, manifest

    readers = {
        "v.h5": embeddings, "reranked.h5": results, "m": model, "index": index,
        "index.npz": index, "heads": heads,
    }  # fmt: skip
    raw = {name: (folder / name).read_bytes() for name in readers}
    return raw, {name: (read, read(folder / name)) for name, read in readers.items()}


@row("bit flips in our outputs", "0 undetected", quick=150, slow=900)
def flips():
    names = ("v.h5", "reranked.h5", "m", "index", "index.npz", "heads")
    for number in range(3000):
        name = names[number % len(names)]
        yield Case(f"{name} {number}", partial(_flipped, name, number))


def _flipped(name, number, folder):
    raw, readers = _outputs()
    rng = random.Random(number)
    for other in {name, "index", "index.npz"} if name.startswith("index") else {name}:
        (folder / other).write_bytes(raw[other])
    data = bytearray(raw[name])
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (folder / name).write_bytes(data)
    read, before = readers[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read(folder / name)
        except RerankError as error:
            assert "\n" not in str(error)
            return
    assert found == before, "read as something else"
