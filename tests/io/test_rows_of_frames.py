"""Rows that share an id are frames where a column counts them, and told of where none does."""

import json

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from tests.io.test_frame_masks import EXPECTED, IDS, MASK, WRITERS, D, L, X, units

ROWS = X[MASK]
NAMES = [name for name, count in zip(IDS, L, strict=True) for _ in range(count)]
PLACES = np.concatenate([np.arange(count) for count in L])
SHUFFLED = np.random.default_rng(1).permutation(len(ROWS))


def csv(path, rows, ids, **more):
    head = ["video_id", *more, *(f"e{i}" for i in range(D))]
    lines = zip(ids, *(each.tolist() for each in more.values()), rows.tolist(), strict=True)
    cells = [[*line[:-1], *line[-1]] for line in lines]
    path.write_text("\n".join(",".join(map(str, line)) for line in [head, *cells]))


def parquet(path, rows, ids, **more):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"id": ids, **more, "embedding": rows.tolist()}), path)


def as_json(path, rows, ids, **more):
    keys = ("id", "embedding", *more)
    lines = zip(ids, rows.tolist(), *(each.tolist() for each in more.values()), strict=True)
    path.write_text(json.dumps([dict(zip(keys, line, strict=True)) for line in lines]))


def arrays(kind):
    return lambda path, rows, ids, **more: WRITERS[kind](path, embeddings=rows, ids=ids, **more)


KINDS = {"csv": csv, "parquet": parquet, "json": as_json, **{x: arrays(x) for x in WRITERS}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["frame", "frame_idx", "clip_id"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_of_one_id_are_frames_where_a_column_counts_them(tmp_path, kind, name, shuffled):
    at = SHUFFLED if shuffled else np.arange(len(ROWS))
    path, ids = tmp_path / f"v.{kind}", [NAMES[i] for i in at]
    KINDS[kind](path, ROWS[at], ids, **{name: PLACES[at]})
    with pytest.raises(FormatError, match=rf"its {len(ROWS)} rows are the frames of 6.*{name}"):
        read_embeddings(path, side="videos")
    found = read_embeddings(path, pool="mean", side="videos")
    assert found.ids == tuple(dict.fromkeys(ids))
    expected = dict(zip(IDS, EXPECTED, strict=True))
    assert np.allclose(found.vectors, [expected[each] for each in found.ids], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_where_none_counts_them_the_way_out_works(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    KINDS[kind](path, ROWS, NAMES)
    for pool, more in (("mean", "0; else"), (None, "0 and say how .* pool=.mean")):
        with pytest.raises(FormatError, match=f"'v0' stands in row 0.*store 'frame'.*from {more}"):
            read_embeddings(path, pool=pool, side="videos")
    KINDS[kind](path, ROWS, NAMES, frame=PLACES)
    assert np.allclose(read_embeddings(path, pool="mean").vectors, EXPECTED, atol=1e-6)
    # A number that comes twice counts no frames.
    KINDS[kind](path, ROWS, NAMES, frame=PLACES // 2)
    with pytest.raises(FormatError, match="'v0' stands in row 0"):
        read_embeddings(path, pool="mean")


def test_texts_that_share_an_id_are_captions_and_rows_with_ids_of_their_own_are_items(tmp_path):
    path = tmp_path / "t.npz"
    KINDS["npz"](path, ROWS, NAMES)
    with pytest.raises(FormatError, match=r"stands in row 0 .*again in row 1; ids must be unique"):
        read_embeddings(path, pool="mean", side="texts")
    own = [f"{name}/{place}" for name, place in zip(NAMES, PLACES, strict=True)]
    KINDS["npz"](path, ROWS, own, frame=PLACES)
    found = read_embeddings(path, pool="mean")
    assert found.ids == tuple(own)
    assert np.allclose(units(found.vectors), units(ROWS))


@pytest.mark.parametrize("kind", ["f4", "f2"])
@pytest.mark.parametrize("side", ["", "texts", "videos"])
def test_ids_that_their_type_of_decimals_cannot_hold_are_named(tmp_path, kind, side):
    first = 1 << (np.finfo(kind).nmant + 1)
    for start in (first + 1, first - 12):
        ids = np.arange(start, start + 12).astype(kind)
        np.savez(tmp_path / "v.npz", emb=np.random.default_rng(0).normal(size=(12, 3)), ids=ids)
        if start < first:
            assert read_embeddings(tmp_path / "v.npz", side=side).ids[0] == str(start)
            continue
        with pytest.raises(FormatError, match=f"holds no whole number beyond {first} but"):
            read_embeddings(tmp_path / "v.npz", side=side)
