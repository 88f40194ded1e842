"""Files whose hashes are right and whose content is wrong."""

import copy
import json
import random
import warnings
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import rerank
from rerank.core.errors import RerankError
from rerank.io import read_results, tensorfile
from tests.io.test_results import some_results
from tests.reliability.matrix import Case, row

WRONG = (
    None, True, -1, 0, 10**30, 1.5, float("inf"), "", "\x1b[31m\n", "x" * 300, [], [[]], {},
    {"a": {}}, [1, "a", None],
)  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value, as a path of keys."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, item in items:
        found += places(item, (*path, key))
    return found


def changed(value, rng):
    """A JSON value with something else, or nothing, in one place."""
    made = copy.deepcopy(value)
    path = rng.choice(places(made))
    inside = made
    for key in path[:-1]:
        inside = inside[key]
    if rng.random() < 0.2:
        del inside[path[-1]]
    else:
        inside[path[-1]] = rng.choice(WRONG)
    return made


@cache
def _good():
    """One of each file, and something to search with."""
    from rerank.serving.exporting import export
    from rerank.serving.fitting import fit_model
    from rerank.train.saved_heads import empty_heads, save_heads
    from tests.serving_data import make

    ids, gallery, queries, bank, _ = make(m=20, n=4, bank=30, d=8)
    folder = Path(mkdtemp())
    for method in ("sinkhorn", "em+sinkhorn"):
        fitted = rerank.fit(
            gallery, ids=ids, bank_texts=bank, bank_videos=bank[::-1].copy(), method=method,
            tau=0.05,
        )  # fmt: skip
        fitted.save(folder / f"{method}.safetensors")
    saved = fit_model(ids, gallery, bank, method="sinkhorn", tau=0.05)
    export(saved, ids, gallery, folder / "index", to="npy", queries=queries)
    save_heads(
        folder / "heads.safetensors", empty_heads({"text": [8, 8], "video": [8, 8]}, 0, False)
    )
    some_results(folder)
    return folder, queries


KINDS = ("sinkhorn", "em+sinkhorn", "heads", "index", "results")


@row("crafted files", "one error of ours, or what was meant", quick=25)
def crafted():
    for number in range(300):
        kind = KINDS[number % len(KINDS)]
        yield Case(f"{kind} {number}", partial(_crafted, kind, number))


def _crafted(kind, number, folder):
    rng = random.Random(number)
    make = {"index": _index, "results": _results}.get(kind, _tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make(kind, rng, folder)
        except RerankError as error:
            assert "\n" not in str(error), error


def _tensors(kind, rng, folder):
    from rerank.train.saved_heads import read_trained

    source, queries = _good()
    name = {"heads": "rerank/trained"}.get(kind, "rerank/fitted")
    document, tensors = tensorfile.read(
        source / f"{kind}.safetensors", name, made_by="`rerank fit`"
    )
    if rng.random() < 0.3:
        which = rng.choice(sorted(tensors))
        tensor = tensors[which]
        tensors[which] = rng.choice(
            [
                tensor.reshape(-1)[:1],
                tensor[None],
                tensor.double() * float("nan"),
                tensor.bool(),
                tensor.reshape(-1)[:0],
            ]
        )
    else:
        document = changed(document, rng)
    path = folder / "x.safetensors"
    tensorfile.write(path, tensors, document)
    if kind == "heads":
        heads, _ = read_trained(path)
        heads.texts(queries)
    else:
        rerank.load(path).search(queries, k=3)


def _index(kind, rng, folder):
    from rerank.serving.exporting import search_export

    source, queries = _good()
    (folder / "index").write_bytes((source / "index").read_bytes())
    with np.load(source / "index.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    if rng.random() < 0.3:
        which = rng.choice(sorted(arrays))
        array = arrays[which]
        arrays[which] = rng.choice(
            [array.reshape(-1)[:1], array[None], np.zeros(3), np.array("x"), np.empty((0, 2))]
        )
    else:
        manifest = changed(json.loads(str(arrays["manifest"])), rng)
        arrays["manifest"] = np.array(json.dumps(manifest))
    np.savez(folder / "index.npz", **arrays)
    search_export(folder / "index", queries, 3)


def _results(kind, rng, folder):
    import h5py

    source, _ = _good()
    path = folder / "r.h5"
    path.write_bytes((source / "reranked.h5").read_bytes())
    with h5py.File(path, "r+") as f:
        manifest = changed(json.loads(f.attrs["manifest"]), rng)
        f.attrs["manifest"] = json.dumps(manifest)
        if rng.random() < 0.5:
            name = rng.choice(["indices", "scores", "query_ids"])
            old = f[f"t2v/{name}"][()]
            del f[f"t2v/{name}"]
            f[f"t2v/{name}"] = old[:1]
    read_results(path)
