"""Rows at the end of both sides that are the first ones again: padding, of which a note tells."""

import re
import shlex

import numpy as np
import pytest

from rerank.io.embeddings import as_embeddings, read_embeddings
from rerank.io.swapped_files import said_of_sides

RNG = np.random.default_rng(0)
TEXTS, VIDEOS = RNG.normal(size=(10, 3)), RNG.normal(size=(10, 4))


def _said(texts, videos, ids=None):
    sides = {"texts": texts, "videos": videos}
    return said_of_sides({k: as_embeddings(x, role=k, ids=ids) for k, x in sides.items()})


@pytest.mark.parametrize("count", [1, 4, 10])
def test_padding_of_both_sides_is_told_of(count):
    said = _said(np.r_[TEXTS, TEXTS[:count]], np.r_[VIDEOS, VIDEOS[:count]])
    assert re.fullmatch(rf".*last {count} of the {10 + count} rows.*x\[:-{count}\]", *said)


IDS = [f"v{i}" for i in range(14)]
GOOD = {
    "none": (TEXTS, VIDEOS, None),
    "one side": (np.r_[TEXTS, RNG.normal(size=(4, 3))], np.r_[VIDEOS, VIDEOS[:4]], None),
    "other rows": (np.r_[TEXTS, TEXTS[:4]], np.r_[VIDEOS, VIDEOS[3:7]], None),
    "another order": (np.r_[TEXTS, TEXTS[[1, 2]]], np.r_[VIDEOS, VIDEOS[[1, 2]]], None),
    "ids": (np.r_[TEXTS, TEXTS[:4]], np.r_[VIDEOS, VIDEOS[:4]], IDS),
    "several texts": (np.r_[TEXTS, TEXTS, TEXTS[:2]], np.r_[VIDEOS, VIDEOS[:2]], None),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_are_not(name):
    texts, videos, ids = GOOD[name]
    assert _said(texts, videos, ids) == []


@pytest.mark.parametrize("axes", [(), (1,)], ids=["rows", "an axis of one before them"])
def test_the_line_cuts_both_files(tmp_path, axes):
    for name, rows in (("t", TEXTS), ("v", VIDEOS)):
        np.save(tmp_path / f"{name}.npy", np.r_[rows, rows[:4]].reshape(*axes, 14, -1))
    (said,) = _said(tmp_path / "t.npy", tmp_path / "v.npy")
    exec(shlex.split(said.partition("leave them out: ")[2])[-1], {})  # noqa: S102  as a shell would
    for name, rows in (("t", TEXTS), ("v", VIDEOS)):
        found = read_embeddings(tmp_path / f"{name}.cut.npy", row_numbers=True)
        np.testing.assert_array_equal(found.vectors, rows)
