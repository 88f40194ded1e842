"""Tables in text: read in pieces, none of whose columns gets lost."""

import json
import weakref

import numpy as np
import pandas as pd
import pytest

from rerank.core import memory
from rerank.core.errors import FormatError, RerankError
from rerank.io import as_embeddings, convert_embeddings, read_embeddings, read_scores, text_table
from rerank.io.formats import json_vectors
from rerank.io.formats.csv_table import open_csv

N, D = 60, 5
IDS = [f"video {i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, D))
NAMES = [f"f{i}" for i in range(D)]
FRAME = pd.DataFrame(ROWS, columns=NAMES)


@pytest.fixture
def nothing_kept(monkeypatch):
    """Every table is a long one, read in pieces of a few rows."""
    monkeypatch.setattr(memory, "COPY_SHARE", 0)
    monkeypatch.setattr(text_table, "_PIECE", 300)


KINDS = {
    "columns": lambda: FRAME.assign(id=IDS),
    "lists": lambda: pd.DataFrame({"id": IDS, "clip": ROWS.tolist()}),
    "vectors of numpy": lambda: pd.DataFrame({"id": IDS, "clip": list(ROWS)}),
    "late text": lambda: FRAME.assign(shot=[*map(str, range(N - 1)), "last"]).assign(id=IDS),
    "an empty column": lambda: FRAME.assign(note="", id=IDS),
    "row numbers": lambda: pd.DataFrame(ROWS, index=range(7, 7 + N)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_table_is_read_like_a_short_one(tmp_path, kind, request):
    path = tmp_path / "v.csv"
    KINDS[kind]().to_csv(path, index=kind == "row numbers")
    short = read_embeddings(path)
    np.testing.assert_allclose(short.vectors, ROWS, rtol=1e-6)
    assert short.ids == (tuple(map(str, range(7, 7 + N))) if kind == "row numbers" else tuple(IDS))
    request.getfixturevalue("nothing_kept")
    long = read_embeddings(path)
    assert long.ids == short.ids
    np.testing.assert_array_equal(long.vectors, short.vectors)
    part = read_embeddings(path, rows=slice(11, 37))
    np.testing.assert_array_equal(part.vectors, short.vectors[11:37])
    assert convert_embeddings(path, tmp_path / "v.h5") == (N, D)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.h5").vectors, short.vectors)


def test_what_a_table_takes_does_not_grow_with_it(tmp_path, nothing_kept, monkeypatch):
    """Of the cells no more are there at once than those of a piece or two."""
    path = tmp_path / "v.csv"
    path.write_text("id,f0,f1\n" + "".join(f"v{i},.5,{i}\n" for i in range(4000)))
    alive, most = weakref.WeakSet(), []
    usual = text_table.TextTable.pieces

    def watched(table):
        for piece in usual(table):
            alive.add(piece)
            most.append(len(alive))
            yield piece

    monkeypatch.setattr(text_table.TextTable, "pieces", watched)
    assert len(read_embeddings(path)) == 4000
    assert len(most) > 100 and max(most) <= 2


WRONG = {
    "a word": ("id,f0,f1,f2\na,1,2,3\nb,1,x,3\n", "'f1': row 1 holds 'x', no number"),
    "a word in the first": ("id,f0,f1,f2\na,x,2,3\nb,1,2,3\n", "'f0': row 0 holds 'x', no number"),
    "a mark of thousands": ("id,f0,f1\na,2,1_0\n", "'f1': row 0 holds '1_0', no number"),
    "decimal commas": ("id;f0;f1\na;1,5;2\nb;1,25;3\n", "'f0': .*'1,5'.*decimal comma.*points"),
    "decimal commas, any name": ("id;x;y;z\na;1,5;2;1\nb;1,2;3;1\n", "'x': .*decimal comma"),
    "no header": ("a,.5,1\nb,x,2\n", "'column 1': row 1 holds 'x'"),
    "an empty cell": ("id,f0,f1\na,1,\nb,1,2\n", r"row 0 \(id 'a'\): NaN in column 1"),
    "an empty column": ("id,f0,f1,f2\na,1,,3\nb,1,,3\n", "'f1': row 0 holds '', no number"),
    "a row of words": ("id,f0,f1\na,1,2\nb,n/a,n/a\nc,5,6\n", "'f0': row 1 holds 'n/a', no number"),
    "a first row of words": ("id,f0,f1\na,-,-\nb,1,2\nc,5,6\n", "'f0': row 0 holds '-', no number"),
    "no list": ('id,v\na,"[1, 2]"\nb,\nc,"[1, 3]"\n', "'v'.* in row 1, which holds nothing"),
    "no list first": ('id,v\na,n/a\nb,"[1, 2]"\nc,"[1, 3]"\n', "in row 0, which holds 'n/a'"),
    "lists of two lengths": ('id,v\na,"[1, 2]"\nb,"[1]"\n', "several lengths: 2 in row 0, 1 in"),
    "numbers left out": ('id,v\na,"[1. ... 2.]"\n', r"numbers out \('\.\.\.', row 0\).*tolist"),
    "a row too short": ("id,f0,f1\na,1,2\nb,1\n", "row 2 has 2 columns, the first line has 3"),
    "another encoding": ("id,f0\nä,1\n".encode("latin-1"), "line 2 is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_no_column_of_a_vector_gets_lost(tmp_path, case):
    text, words = WRONG[case]
    path = tmp_path / "v.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError, match=words):
        read_embeddings(path)


def test_an_empty_cell_among_scores_is_not_scored(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("query,x,y,z\na,1,,3\nb,4,5,6\n")
    with pytest.raises(FormatError, match=r"column 1 \(item 'y'\).*nan=True"):
        read_scores(path)
    found = read_scores(path, nan=True)
    assert found.gallery_ids == ("x", "y", "z") and np.isnan(found.scores[0, 1])


READ = {
    "remarks before the header": "# by me\n# and you\nid,f0,f1\na,1,2\nb,3,4\n",
    "a header as numpy writes it": "# f0,f1,id\n1,2,a\n3,4,b\n",
    "an id that looks like a number": "id,f0,f1\na,1,2\nb,3,4\n",
    "blanks around numbers": "id , f0, f1\na, 1, 2 \nb, 3 , 4\n",
    "Windows": "\ufeffid,f0,f1\r\na,1,2\r\nb,3,4\r\n",
    "numbered throughout": "0,1,2\na,1,2\nb,3,4\n",
    "captions that count": "id,caption_0,caption_1,f0,f1\na,x,,1,2\nb,y,z,3,4\n",
    "a comma at the end of lines": "id,f0,f1,\na,1,2,\nb,3,4,\n",
}


@pytest.mark.parametrize("case", READ)
def test_tables_as_other_programs_write_them(tmp_path, case):
    path = tmp_path / "v.csv"
    path.write_text(READ[case], encoding="utf-8")
    found = read_embeddings(path)
    assert found.ids == ("a", "b")
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4]])


def test_the_mark_of_numpy_before_a_header_costs_no_number(tmp_path):
    np.savetxt(tmp_path / "v.csv", ROWS, delimiter=",", header=",".join(NAMES))
    found = read_embeddings(tmp_path / "v.csv", row_numbers=True)
    np.testing.assert_allclose(found.vectors, ROWS)


def test_whole_numbers_among_the_columns_of_a_vector_are_kept(tmp_path):
    pytest.importorskip("pyarrow")
    frame = FRAME.assign(f2=range(N), id=IDS, year=1999)
    for path in (tmp_path / "v.parquet", tmp_path / "v.csv"):
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
        found = read_embeddings(path)
        np.testing.assert_allclose(found.vectors, frame[NAMES].to_numpy(float), rtol=1e-6)
    wrong = frame.assign(f2=IDS)
    wrong.to_parquet(tmp_path / "w.parquet")
    with pytest.raises(FormatError, match="'f2': holds 60 object.*numbers of a vector"):
        read_embeddings(tmp_path / "w.parquet")
    with pytest.raises(RerankError, match="'f2' of the DataFrame holds other things"):
        as_embeddings(wrong)


# Whether Arrow reads them.
CELLS = {
    **dict.fromkeys(
        ("+4", ".5", "1.", "-2e3", " 3 ", "nan", "-inf", "infinity", "1e400", "1e-400"), True
    ),
    **dict.fromkeys(("0.1", "0.30000000000000004", '"2"', '".5"'), True),
    **dict.fromkeys(("", "x", "1_0", "0x10", "nan(1)", "1d3", "1'0", "true", "NULL"), False),
    **dict.fromkeys(("0.1f", "\u0661", '"1;5"', '"a""b"', '"1\n2"', 'a"b'), False),
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_fast_reader_reads_what_the_slow_one_reads(tmp_path, cell, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / "v.csv"
    path.write_text(f'id,f0,f1\n"a",1,{cell}\nb,{cell},2\n', encoding="utf-8")
    fast, found = text_table.Piece._by_arrow, []

    def read():
        with open_csv(path) as table:
            fields = {name: list(item.blocks(0, 2)) for name, item in table.fields.items()}
        return {name: np.concatenate(blocks) for name, blocks in fields.items()}

    def watched(piece, places, kind):
        made = fast(piece, places, kind)
        found.append(made is not None)
        return made

    monkeypatch.setattr(text_table.Piece, "_by_arrow", watched)
    quick = read()
    assert all(found) == CELLS[cell] or cell == "nan(1)"
    monkeypatch.setattr(text_table.Piece, "_by_arrow", lambda *_: None)
    slow = read()
    assert list(quick) == list(slow)
    for name, values in quick.items():
        np.testing.assert_array_equal(values, slow[name])


def lines(records):
    return "\n".join(map(json.dumps, records)) + "\n\n"


RECORDS = [
    {"id": name, "clip": row, "year": 1999} for name, row in zip(IDS, ROWS.tolist(), strict=True)
]


def test_many_records_are_read_like_few(tmp_path, request, monkeypatch):
    path = tmp_path / "v.jsonl"
    path.write_text(lines(RECORDS))
    short = read_embeddings(path)
    request.getfixturevalue("nothing_kept")
    monkeypatch.setattr(json_vectors, "rows_per_block", lambda _: 7)
    monkeypatch.setattr(json_vectors, "read_text", None)  # the whole at once
    long = read_embeddings(path)
    assert long.ids == short.ids == tuple(IDS)
    np.testing.assert_array_equal(long.vectors, short.vectors)
    part = read_embeddings(path, rows=slice(11, 37))
    np.testing.assert_array_equal(part.vectors, short.vectors[11:37])
    assert convert_embeddings(path, tmp_path / "v.h5") == (N, D)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.h5").vectors, short.vectors)


ODD = {
    "a shorter vector": [*RECORDS, {"id": "x", "clip": [1.0], "year": 1}],
    "a word in a vector": [*RECORDS, {"id": "x", "clip": [1.0, "a", 1, 1, 1], "year": 1}],
    "a vector missing": [*RECORDS, {"id": "x", "year": 1}],
    "an id missing": [*RECORDS, {"clip": [1.0] * D, "year": 1}],
    "no object": [*RECORDS, [1.0] * D],
    "no vector": [{"id": "x"}],
}


@pytest.mark.parametrize("case", ODD)
def test_records_that_are_not_alike_are_refused_like_few(tmp_path, case, request):
    path = tmp_path / "v.jsonl"
    path.write_text(lines(ODD[case]))
    with pytest.raises(FormatError) as short:
        read_embeddings(path)
    request.getfixturevalue("nothing_kept")
    with pytest.raises(FormatError) as long:
        read_embeddings(path)
    assert str(long.value) == str(short.value)


def test_a_line_that_is_no_json_is_named(tmp_path, nothing_kept):
    path = tmp_path / "v.jsonl"
    path.write_text(lines(RECORDS) + "{\n")
    with pytest.raises(FormatError, match=f"line {N + 1}: is not valid JSON"):
        read_embeddings(path)
