"""Vectors as columns of numbers: other numbers beside them are no dimensions."""

import csv
import json
import re
import shlex
import subprocess

import numpy as np
import pandas as pd
import pytest

import rerank
from rerank.core import memory
from rerank.core.errors import FormatError, RerankError
from rerank.io import as_embeddings, read_embeddings, read_scores, text_table
from tests.cli.test_cli import run

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


# ------------------------------------------------------------------- a name and numbers with blanks

WORDS = np.random.default_rng(0).normal(size=(3, 4)).round(6)


def word_lines(names, rows=WORDS, blank=" ", end="\n", head=""):
    lines = [
        blank.join([name, *map(repr, map(float, row))])
        for name, row in zip(names, rows, strict=True)
    ]
    return head + "".join(line + end for line in lines)


PLAIN = word_lines(["v0", "v1", "v2"])
HELD_AS_WORDS = {
    "glove": (PLAIN, ("v0", "v1", "v2")),
    "word2vec": (word_lines(["v0", "v1", "v2"], head="3 4\n"), ("v0", "v1", "v2")),
    "blanks in names": (word_lines(["the", "New York", ". . ."]), ("the", "New York", ". . .")),
    "numbers as names": (word_lines("123", head="3 4\n"), ("1", "2", "3")),
    "a number in a name": (
        word_lines(["a", "Route 66", "b"], head="3 4\n"),
        ("a", "Route 66", "b"),
    ),
    "tabs": (word_lines(["v0", "v1", "v2"], blank="\t"), ("v0", "v1", "v2")),
    "ends of windows": (word_lines(["v0", "v1", "v2"], end=" \r\n"), ("v0", "v1", "v2")),
    "a mark of the encoding": ("\ufeff" + PLAIN, ("v0", "v1", "v2")),
    "an empty line": (PLAIN + "\n", ("v0", "v1", "v2")),
    "another blank in a name": (word_lines(["ü", "a\u00a0b", "日本"]), ("ü", "a\u00a0b", "日本")),
}


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.glove", "v"])
@pytest.mark.parametrize("kind", HELD_AS_WORDS)
def test_lines_of_a_name_and_numbers_are_read(tmp_path, kind, name):
    text, ids = HELD_AS_WORDS[kind]
    (tmp_path / name).write_bytes(text.encode())
    found = read_embeddings(tmp_path / name)
    assert found.ids == ids
    np.testing.assert_array_equal(found.vectors, WORDS)
    part = read_embeddings(tmp_path / name, rows=slice(1, 3))
    np.testing.assert_array_equal(part.vectors, WORDS[1:])


def test_what_is_called_a_table_may_have_blanks_alone(tmp_path):
    (tmp_path / "v.csv").write_text(PLAIN)
    assert read_embeddings(tmp_path / "v.csv").ids == ("v0", "v1", "v2")
    # Between other marks it is a table as ever.
    (tmp_path / "v.csv").write_text("id,x y,z\na,0.5,1\nb,2,3\n")
    assert read_embeddings(tmp_path / "v.csv").vectors.shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN + "v3 0.1 0.2\n", r"line 4 \('v3'\) has 2 numbers, expected 4"),
        (PLAIN + "v3 0.1 0.2 1 2 3\n", r"line 4 \('v3'\) has 5 numbers, expected 4"),
        (PLAIN + "v3 1 x 3 4\n", r"line 4 \('v3'\).*are no numbers"),
        (PLAIN + PLAIN, "the id 'v0' stands in row 0 and again in row 3"),
        ("5 4\n" + PLAIN, "its first line says 5 vectors, and it holds 3"),
        (PLAIN + "v3 nan 1 2 3\n", r"row 3 \(id 'v3'\): NaN"),
    ],
)
def test_a_line_that_is_not_as_the_others_is_named(tmp_path, text, said):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(FormatError, match=said):
        read_embeddings(tmp_path / "v.txt")


@pytest.mark.parametrize(
    "text",
    ["q1 Q0 v1 1 0.9\nq1 Q0 v2 2 0.8\n", "q1 0 v1 1\n", "a man walks 3\n", "v0\nv1\n", "v0 7 1\n",
     "v0 0.5\n", "a 0.1 0.2 x\n"],
)  # fmt: skip
def test_other_text_is_no_vectors(tmp_path, text):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(FormatError, match=r"the ending '\.txt' is not known"):
        read_embeddings(tmp_path / "v.txt")


@pytest.mark.parametrize("mark", [",", "\t", ";"])
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize(
    ("numbers", "names"),
    [("decimals", "v{}"), ("decimals", "dog cat cow pig hen owl"), ("whole", "v{}")],
)
def test_the_first_line_of_a_table_without_a_header_is_an_item(
    tmp_path, mark, place, numbers, names
):
    rng = np.random.default_rng(1)
    X = (
        rng.normal(size=(6, 4))
        if numbers == "decimals"
        else rng.permuted(np.arange(24)).reshape(6, 4)
    )
    ids = [names.format(i) for i in range(6)] if "{" in names else names.split()
    path = tmp_path / ("v.tsv" if mark == "\t" else "v.csv")
    for label in (False, True):
        rows = [[*map(str, x)] for x in X]
        for at, row in enumerate(rows):
            row.insert(place, ids[at])
            row += [f"l{at % 2}"] * label
        path.write_text("\n".join(map(mark.join, rows)))
        found = read_embeddings(path, **({"id_column": f"column {place}"} if label else {}))
        assert found.ids == tuple(ids)
        assert np.allclose(found.vectors, X)
        if label:
            # Labels come again: only names can be ids.
            with pytest.raises(FormatError, match=f"are 'column {place}': name one"):
                read_embeddings(path)


@pytest.mark.parametrize("header", ["0,1,2,id", "2,0,1,name", "7,12,3,title", "0.5,1,1.5,id"])
def test_a_header_of_numbers_and_a_name_is_none_of_the_items(tmp_path, header):
    path = tmp_path / "v.csv"
    rows = [
        f"{x[0]},{x[1]},{x[2]},v{i}" for i, x in enumerate(np.random.default_rng(0).random((5, 3)))
    ]
    path.write_text("\n".join([header, *rows]))
    assert read_embeddings(path).ids == tuple(f"v{i}" for i in range(5))


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


# ------------------------------------------------------------- what the names of the columns say

NO_INDEX = {"csv": {"index": False}, "parquet": {}}
CODES = [f"{a}{b}" for a in "AB" for b in "abc"]
SIX = np.random.default_rng(3).normal(size=(N, 6)).astype("f4")


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy", "folder", "frame"])
@pytest.mark.parametrize("name", ["duration", "year", "start", "popularity"])
@pytest.mark.parametrize("names", [CODES, ["f0", "f1", "f2", "f4", "f5", "f6"], list("abcdef")])
def test_a_number_beside_a_vector_without_names_that_count_is_asked_about(
    tmp_path, ending, name, names
):
    frame = pd.DataFrame(SIX, columns=names).assign(**{name: np.linspace(3, 90, N)}, id=IDS)
    path = tmp_path / f"v.{ending}"

    def read(**said):
        if ending == "frame":
            return as_embeddings(frame)
        if ending == "npy":
            np.save(path, frame.assign(id=np.array(IDS)).to_records(
                index=False, column_dtypes={"id": "U4"}))  # fmt: skip
        elif ending == "folder":
            path.mkdir(exist_ok=True)
            frame.to_parquet(path / "part-0.parquet")
        else:
            write(frame, path, **NO_INDEX[ending])
        return read_embeddings(path, **said)

    with pytest.raises(RerankError, match=f"'{name}' is called otherwise than .*other columns"):
        read()
    if ending != "frame":
        assert read(embedding_column="values").vectors.shape == (N, 7)
    frame = frame.drop(columns=name)
    np.testing.assert_allclose(read().vectors, SIX, rtol=1e-6)


@pytest.mark.parametrize("count", [16, 40, 300])
@pytest.mark.parametrize("form", ["e{:02x}", "e{:04X}", "{:x}_", "e{:x}"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "frame"])
def test_columns_that_count_by_sixteens_are_all_dimensions(tmp_path, count, form, ending):
    rows = np.random.default_rng(4).normal(size=(3, count))
    names = [form.format(i) for i in range(count)]
    frame = pd.DataFrame(rows, columns=names).assign(id=IDS[:3])
    if "_" not in form:
        frame = frame.assign(duration=[3.5, 60, 90])
    path = tmp_path / f"v.{ending}"
    if ending == "frame":
        found = as_embeddings(frame)
    else:
        found = read_embeddings(write(frame, path, **NO_INDEX[ending]))
    np.testing.assert_allclose(found.vectors, rows, rtol=1e-6)


def test_parts_of_a_table_lose_what_one_table_loses(tmp_path):
    frame = pd.DataFrame(ROWS, columns=[f"f{i}" for i in range(D)])
    frame = frame.assign(duration=np.linspace(3, 90, N), id=IDS)
    for part, rows in (("part-0", slice(0, 3)), ("part-1", slice(3, N))):
        frame[rows].to_parquet(tmp_path / f"{part}.parquet")
    check(tmp_path)


def _sides(folder, ending, left, right):
    """Two tables whose columns have these names; the names of the numbers of a vector are said."""
    rng = np.random.default_rng(5)
    videos = rng.normal(size=(9, 8))
    texts = videos + 0.1 * rng.normal(size=videos.shape)
    for name, rows, columns in (("v", videos, left), ("t", texts, right)):
        at = [int(column.partition(":")[2] or place) for place, column in enumerate(columns)]
        header = [column.partition(":")[0] for column in columns]
        frame = pd.DataFrame(rows[:, at], columns=header)
        frame = frame.assign(id=[f"{name}{i}" for i in range(9)])
        write(frame, folder / f"{name}.{ending}", **NO_INDEX[ending])
    (folder / "gt.json").write_text(json.dumps({f"t{i}": f"v{i}" for i in range(9)}))


LETTERS = [f"{name}:{place}" for place, name in enumerate(["Aa", "Ab", "Ba", "Bb", "Ca", "Cb"])]
TURNED = [LETTERS[i] for i in (3, 0, 5, 1, 4, 2)]
GAPS = [[f"f{i}:{i}" for i in range(8) if i != gap] for gap in range(8)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("left", "right"),
    [(LETTERS, TURNED),
     ([f"f{i}:{i}" for i in (0, 1, 3, 4, 6)], [f"f{i}:{i}" for i in (1, 0, 3, 4, 6)])],
)  # fmt: skip
def test_columns_of_two_tables_in_another_order_are_refused_and_the_way_out_works(
    tmp_path, ending, left, right
):
    _sides(tmp_path, ending, left, right)
    words = ("eval", "--gt", "gt.json", "--videos", f"v.{ending}", "--texts")
    _, err = run(*words, f"t.{ending}", cwd=tmp_path, code=2)
    assert "the same columns in another order" in err and err.count("\n") == 1
    recipe = err.partition("put them in one order: ")[2].partition("; if they are meant")[0]
    subprocess.run(recipe, shell=True, check=True, cwd=tmp_path)
    out, _ = run(*words, f"t.ordered.{ending}", cwd=tmp_path)
    assert re.search(r"t2v.* 100\.0", out)
    convert = err.partition("meant place by place: rerank ")[2].partition(", which")[0]
    run(*shlex.split(convert), cwd=tmp_path)
    run(*words, "t.h5", cwd=tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("left", "right"), [(GAPS[3], GAPS[5]), (GAPS[7], GAPS[0]), (GAPS[7], GAPS[2]),
                        (LETTERS, [*LETTERS[:5], "Zz:7"])],
)  # fmt: skip
def test_other_columns_of_two_tables_are_refused_by_name(tmp_path, ending, left, right):
    _sides(tmp_path, ending, left, right)
    files = ("--videos", f"v.{ending}", "--texts", f"t.{ending}")
    _, err = run("eval", "--gt", "gt.json", *files, cwd=tmp_path, code=2)
    assert re.search(r"other columns: '\w+' is in one only, and '\w+' in the other", err)
    bank = ("--bank-texts", f"t.{ending}", "--out", "m.safetensors")
    _, err = run("fit", "--videos", f"v.{ending}", *bank, cwd=tmp_path, code=2)
    assert "other columns" in err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        (LETTERS, LETTERS),
        ([f"v{i}" for i in range(8)], [f"t{i}" for i in range(8)]),
        ([f"{i}" for i in range(8)], [f"{i}:{i - 1}" for i in range(1, 9)]),
        ([f"{i}" for i in range(6)], LETTERS),
        ([f"video_{x}" for x in LETTERS], [f"text_{x}" for x in LETTERS]),
        ([f"v_{i}:{i}" for i in (0, 1, 3, 4, 6)], [f"t_{i}:{i}" for i in (0, 1, 3, 4, 6)]),
        ([f"e{i}" for i in range(8)], [f"e{i}:{i}" for i in (7, 2, 0, 1, 3, 4, 5, 6)]),
    ],
)  # fmt: skip
def test_columns_of_two_tables_that_say_the_same_are_compared(tmp_path, ending, left, right):
    _sides(tmp_path, ending, left, right)
    files = ("--videos", f"v.{ending}", "--texts", f"t.{ending}")
    out, _ = run("eval", "--gt", "gt.json", *files, cwd=tmp_path)
    assert re.search(r"t2v.* 100\.0", out)


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_tables_in_memory_and_files_in_a_program_are_refused_alike(tmp_path, kind):
    def sides(left, right):
        _sides(tmp_path, "csv", left, right)
        files = {role: tmp_path / f"{role[0]}.csv" for role in ("texts", "videos")}
        if kind == "csv":
            return files
        return {role: pd.read_csv(path).set_index("id") for role, path in files.items()}

    for left, right, said in (
        (LETTERS, TURNED, "the same columns in another order"), (GAPS[3], GAPS[5], "other columns"),
    ):  # fmt: skip
        with pytest.raises(RerankError, match=said):
            rerank.inspect(**sides(left, right))
        assert rerank.inspect(**sides(left, left))["hubness"]
    assert rerank.inspect(**sides(range_of("v"), range_of("t")))["hubness"]


def range_of(stem):
    return [f"{stem}{i}" for i in range(8)]
