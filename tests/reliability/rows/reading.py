"""What people's files look like, and what is wrong with some of them."""

from functools import partial

import h5py
import numpy as np

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_scores
from tests.io_writers import FLAT_IDS, IDS, LAYOUTS, N, in_order, vectors, write
from tests.reliability.matrix import Case, row

TYPES = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
VALUES = {
    "NaN": (np.nan, "<f4"), "NaN in half": (np.nan, "<f2"), "+inf": (np.inf, "<f8"),
    "-inf": (-np.inf, "<f4"), "beyond half": (np.inf, "<f2"),
}  # fmt: skip


@row("layout x dtype x endianness", "equals the reference or refuses", quick=20)
def layouts():
    for layout in LAYOUTS:
        for dtype in TYPES:
            yield Case(f"{layout} {dtype}", partial(_read_back, layout, dtype))


def _read_back(layout, dtype, folder):
    x = vectors(dtype)
    path, ids = write(layout, folder, x)
    found = read_embeddings(path)
    assert list(found.ids) == ids
    np.testing.assert_array_equal(found.vectors, in_order(ids, x))
    assert found.vectors.dtype.isnative


@row("bad values x readers", "a named error with the row or id", quick=24)
def bad_values():
    for layout in LAYOUTS:
        for what in (*VALUES, "zero row"):
            yield Case(f"{what} in {layout}", partial(_bad_value, layout, what))
    for kind in ("h5", "npz", "npy", "pt", "json"):
        for what in ("twice", "too few", "too many", "empty", "NUL", "missing"):
            yield Case(f"ids {what} in {kind}", partial(_bad_ids, kind, what))
    for kind in ("npy", "npz", "h5"):
        for what in (np.nan, np.inf):
            yield Case(f"scores {what} in {kind}", partial(_bad_scores, kind, what))


def refused(read, *words):
    """One line that names all of these."""
    try:
        read()
    except FormatError as error:
        text = str(error)
        assert "\n" not in text and all(word in text for word in words), text
    else:
        raise AssertionError("it was read")


def _bad_value(layout, what, folder):
    value, dtype = VALUES.get(what, (0.0, "<f4"))
    x = vectors(dtype)
    if what == "zero row":
        x[5] = 0
    else:
        x[5, 2] = value
    path, ids = write(layout, folder, x)
    name = (FLAT_IDS if set(ids) == set(FLAT_IDS) else IDS)[5]
    refused(lambda: read_embeddings(path), path.name, f"row {ids.index(name)} ", repr(name))


def _bad_ids(kind, what, folder):
    ids: list[str | None] = list(IDS)
    words = {"twice": ("row 0", "row 3"), "empty": ("row 3",), "NUL": ("row 3",)}.get(what, ())
    if what == "twice":
        ids[3] = ids[0]
    elif what == "too few":
        ids, words = ids[:-1], ("6", "7")
    elif what == "too many":
        ids, words = [*ids, "more"], ("8", "7")
    elif what == "empty":
        ids[3] = ""
    elif what == "NUL":
        ids[3] = "a\0b"
    path = folder / f"v.{kind}"
    x = vectors()
    plain = np.array(ids)
    if what == "missing":
        ids[3] = None
        words = ("row 3",)
        if kind in ("h5", "npz", "npy"):  # which have no word for it
            plain, words = np.array([1.0, 2, 3, np.nan, 5, 6, 7]), ("row 3",)
    if kind == "h5":
        with h5py.File(path, "w") as f:
            f["embeddings"] = x
            # The library itself would cut such an id short.
            texts = [str(i).encode() for i in ids]
            f["ids"] = {"NUL": np.array(texts), "missing": plain}.get(what, texts)
    elif kind == "npz":
        np.savez(path, embeddings=x, ids=plain)
    elif kind == "npy":
        np.save(path, x)
        import json

        side = [None if i != i else i for i in plain.tolist()] if what == "missing" else ids
        (folder / "v.ids.json").write_text(json.dumps(side))
    elif kind == "pt":
        import torch

        torch.save({"embeddings": torch.from_numpy(x), "ids": ids}, path)
    else:
        import json

        path.write_text(json.dumps({"ids": ids, "embeddings": x.tolist()}))
    refused(lambda: read_embeddings(path), "v.", *words)


def _bad_scores(kind, value, folder):
    scores = np.random.default_rng(0).normal(size=(N, 5)).astype("f4")
    scores[4, 2] = value
    path = folder / f"s.{kind}"
    if kind == "npy":
        np.save(path, scores)
    elif kind == "npz":
        np.savez(path, scores=scores, query_ids=IDS, gallery_ids=list("abcde"))
    else:
        with h5py.File(path, "w") as f:
            f["scores"], f["query_ids"], f["gallery_ids"] = scores, IDS, list("abcde")
    refused(
        lambda: read_scores(path), path.name, "row 4", "column 2" if kind == "npy" else "column"
    )
