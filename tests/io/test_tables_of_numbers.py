"""Vectors as columns of numbers: other numbers beside them are no dimensions."""

import csv

import numpy as np
import pandas as pd
import pytest

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io import as_embeddings, read_embeddings, read_scores, text_table

N, D = 7, 5
IDS = [f"v{i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype("f4")


def write(frame, path, **options):
    if path.suffix == ".parquet":
        frame.rename(columns=str).to_parquet(path)
    else:
        frame.to_csv(path, **options)
    return path


def check(path, ids=IDS):
    found = read_embeddings(path)
    assert found.ids == tuple(ids)
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("names", ["{}", "f{}", "dim_{}", "emb.{}"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_beside_a_vector_are_no_part_of_it(tmp_path, ending, names, first):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame(ROWS, columns=[names.format(first + i) for i in range(D)])
    frame = frame.assign(duration=np.linspace(3, 90, N), id=IDS, fps=np.full(N, 29.97))
    sep = "\t" if ending == "tsv" else ","
    path = tmp_path / f"v.{ending}"
    check(write(frame, path, **({} if ending == "parquet" else {"sep": sep, "index": False})))


def test_the_row_numbers_of_pandas_are_no_dimension(tmp_path):
    frame = pd.DataFrame(ROWS).assign(video_id=IDS)
    check(write(frame, tmp_path / "v.csv"))
    again = pd.read_csv(tmp_path / "v.csv")  # "Unnamed: 0"
    check(write(again, tmp_path / "w.csv", index=False))
    check(write(again, tmp_path / "x.csv"))


def test_whole_numbers_that_name_rows_are_ids(tmp_path):
    numbers = [7010 + 3 * i for i in range(N)]
    names = [str(number) for number in numbers]
    frame = pd.DataFrame(ROWS, index=pd.Index(numbers))
    check(write(frame, tmp_path / "v.csv"), names)
    check(write(frame, tmp_path / "w.csv", header=False), names)
    scores = read_scores(tmp_path / "v.csv")
    assert scores.query_ids == tuple(names) and scores.scores.shape == (N, D)


def test_two_vectors_in_one_table_are_asked_about(tmp_path):
    frame = pd.DataFrame(
        np.hstack([ROWS, -ROWS]),
        columns=[f"{name}_{i}" for name in ("clip", "blip") for i in range(D)],
    ).assign(id=IDS)
    path = write(frame, tmp_path / "v.csv", index=False)
    with pytest.raises(FormatError, match="'clip', 'blip' could all be the embeddings"):
        read_embeddings(path)
    found = read_embeddings(path, embedding_column="blip")
    np.testing.assert_allclose(found.vectors, -ROWS, rtol=1e-6)
    assert read_scores(path).scores.shape == (N, 2 * D)


def test_names_that_do_not_count_are_all_dimensions(tmp_path):
    frame = pd.DataFrame(ROWS, columns=list("abcde")).assign(id=IDS)
    check(write(frame, tmp_path / "v.csv", index=False))


def test_a_frame_in_memory_is_read_alike():
    frame = pd.DataFrame(ROWS, columns=[f"f{i}" for i in range(D)])
    found = as_embeddings(frame.assign(id=IDS, duration=np.arange(N) * 2.5))
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, ROWS)
    whole = as_embeddings(pd.DataFrame(ROWS, columns=list("abcde")))
    np.testing.assert_array_equal(whole.vectors, ROWS)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "npy", "frame"])
@pytest.mark.parametrize("names", ["{}", "e{}"])
@pytest.mark.parametrize("more", [{}, {"duration": np.linspace(3, 90, N)}])
def test_columns_with_numbers_in_their_names_stand_in_the_order_of_these(
    tmp_path, ending, names, more
):
    """As sorted names do: e0, e1, e10, e11, e2."""
    rows = np.random.default_rng(1).normal(size=(N, 12)).astype("f4")
    for first in (0, 1):
        columns = {names.format(first + i): rows[:, i] for i in range(12)}
        frame = pd.DataFrame({name: columns[name] for name in sorted(columns)})
        frame = frame.assign(**more, id=IDS)
        path = tmp_path / f"v.{ending}"
        if ending == "frame":
            found = as_embeddings(frame)
        elif ending == "npy":
            np.save(path, frame.assign(id=np.array(IDS)).to_records(
                index=False, column_dtypes={"id": "U4"}))  # fmt: skip
            found = read_embeddings(path)
        else:
            sep = "\t" if ending == "tsv" else ","
            options = {} if ending == "parquet" else {"sep": sep, "index": False}
            found = read_embeddings(write(frame, path, **options))
        assert found.ids == tuple(IDS)
        np.testing.assert_allclose(found.vectors, rows, rtol=1e-6)
    if ending in ("csv", "parquet") and not more:
        # Columns of scores are items, with their names.
        assert list(read_scores(path).gallery_ids) == sorted(columns)
        np.testing.assert_allclose(read_scores(path).scores, frame.iloc[:, :-1], rtol=1e-6)


def test_tables_with_quotes_have_the_same_order(tmp_path):
    rows = np.arange(24.0).reshape(2, 12)
    order = sorted(range(12), key=str)
    lines = ["id," + ",".join(f"e{i}" for i in order)]
    for name, row in zip("ab", rows, strict=True):
        lines += [f'{name},"{row[0]:g}",' + ",".join(f"{row[i]:g}" for i in order[1:])]
    (tmp_path / "v.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.csv").vectors, rows)


def test_names_with_gaps_or_twice_stand_as_in_the_file(tmp_path):
    for names in (["e0", "e1", "e10", "e2", "e3"], ["e3", "e1", "e0", "e2", "x"]):
        frame = pd.DataFrame(ROWS, columns=names).assign(id=IDS)
        if "x" in names:
            frame = frame.rename(columns={"x": "e5"})
        check(write(frame, tmp_path / "v.csv", index=False))


WIDE = np.random.default_rng(2).normal(size=(N, 9)).astype("f4")


@pytest.mark.parametrize("mark", [" ", "  ", ", ", ",", "\t"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("long", [True, False])
def test_numbers_of_a_cell_need_no_brackets(tmp_path, ending, mark, long, monkeypatch):
    path = tmp_path / f"v.{ending}"
    cells = [f" {mark.join(map(str, row))} " for row in WIDE.tolist()]
    pd.DataFrame({"id": IDS, "embedding": cells}).to_csv(
        path, index=False, quoting=csv.QUOTE_ALL, sep="\t" if ending == "tsv" else ","
    )
    if long:
        monkeypatch.setattr(memory, "COPY_SHARE", 0)
        monkeypatch.setattr(text_table, "_PIECE", 300)
    found = read_embeddings(path)
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, WIDE, rtol=1e-6)


@pytest.mark.parametrize(
    "cell", ["0.5 2.5", "2020 01 05", "1 2 3 4 5 6 7 8 9", "a b c d e f g h 1.5", "0,5 0,7"]
)
def test_text_with_numbers_in_it_stays_text(tmp_path, cell):
    frame = pd.DataFrame({"id": IDS, "embedding": ROWS.tolist(), "note": [cell] * N})
    check(write(frame, tmp_path / "v.csv", index=False))
    columns = {f"f{i}": ROWS[:, i] for i in range(D)}
    frame = pd.DataFrame({"id": IDS, **columns, "note": [cell] * N})
    check(write(frame, tmp_path / "w.csv", index=False))
