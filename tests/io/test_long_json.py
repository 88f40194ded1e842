"""One JSON document: read an entry at a time, it comes to what the parse of the whole does."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io import convert_embeddings, json_document, read_embeddings
from rerank.io.formats import json_vectors

ROWS = np.random.default_rng(0).normal(size=(40, 3)).round(6).tolist()
ROWS[3], ROWS[5] = [1, -0.0, 2], [1e-300, -7, 1.5e20]
IDS = [f"video {i}" for i in range(36)] + ["ü日本", 'a"]},{[b', "back\\slash\n", "\U0001f600"]
FLOATS = [[float(x) for x in row] for row in ROWS]
RECORDS = [{"id": i, "clip": row, "year": 7} for i, row in zip(IDS, ROWS, strict=True)]

SHAPES = {
    "object": dict(zip(IDS, FLOATS, strict=True)),
    "lists": {"ids": IDS, "model": "clip", "embeddings": ROWS},
    "numbered": {"embeddings": ROWS, "dim": 3, "ids": list(range(40))},
    "records": RECORDS,
    "records in an object": {"data": RECORDS, "count": 40},
    "an answer of a server": {"data": RECORDS, "usage": {"tokens": 3}, "errors": []},
    "slashes in ids": {f"a/{i}": row for i, row in zip(IDS, FLOATS, strict=True)},
    "an id like a field": {"embedding": FLOATS[0], "b": FLOATS[1]},
    "two matrices": {"ids": IDS, "text_embeds": ROWS, "image_embeds": ROWS},
    "integers in an object": {"a": [1.5, 2.0], "b": [1, 2]},
    "two lengths": {"a": [1.5, 2.0], "b": [1.0]},
    "lists of two lengths": {"ids": ["a", "b"], "embeddings": [[1.5, 2.0], [1.0]]},
    "frames": {"a": [[1.5, 2.0], [1.0, 1.0]], "b": [[1.5, 2.0]]},
    "no number": {"a": [1.5, 2.0], "b": [1.0, None]},
    "unlike records": [*RECORDS, {"id": "x"}],
    "an id twice": [*RECORDS, RECORDS[0]],
    "fewer ids": {"ids": IDS[1:], "embeddings": ROWS},
    "parameters": {"a.weight": [1.5, 2.0], "a.bias": [1.0, 2.0]},
    "streams": {"a_rgb": [1.5, 2.0], "a_flow": [1.0, 2.0]},
    "empty": {},
    "an empty list": {"ids": [], "embeddings": []},
    "rows": ROWS,
    "too large": {"a": [1.5, 10**400]},
    "infinite": {"ids": ["a", "b"], "embeddings": [[1.5, 2], [1, 2]]},
    "a word": "word",
    "a table of names beside rows": {
        "columns": [0, 2, 1], "index": IDS, "data": FLOATS,
    },
    "one of numbered rows": {"columns": ["f1", "f0", "f2"], "index": [3, 1], "data": FLOATS[:2]},
    "one with ids": {
        "columns": ["id", "0", "1"], "index": [0, 1], "data": [["a", 0.5, 1.5], ["b", 1.0, 2.5]],
    },
    "a table by columns": {"0": {"a": 0.5, "b": 1.5}, "1": {"a": 1.0, "b": 2.5}},
    "a table by rows": {"a": {"f0": 0.5, "f1": 1.5}, "b": {"f0": 1.0, "f1": 2.5}},
    "rows of a table": [{"id": "a", "f0": 0.5, "f1": 1.5}, {"id": "b", "f0": 1.0, "f1": 2.5}],
    "numbers beside vectors": {"a": [0.5, 1.5], "b": [1.0, 2.5], "config": {"x0": 0.5, "x1": 1.5}},
}  # fmt: skip
DUMPED = {
    "plain": json.dumps,
    "as it is": lambda x: json.dumps(x, ensure_ascii=False),
    "tight": lambda x: json.dumps(x, separators=(",", ":")),
    "indented": lambda x: "\ufeff\r\n" + json.dumps(x, indent=3, ensure_ascii=False) + " \n\t",
}


@pytest.fixture
def pieces(monkeypatch):
    """Every document is a long one; the whole is parsed only where it is of another shape."""

    def use(size):
        monkeypatch.setattr(memory, "COPY_SHARE", 0)
        monkeypatch.setattr(json_document, "_PIECE", size)
        monkeypatch.setattr(json_vectors, "rows_per_block", lambda _: 7)

    return use


def outcome(path):
    """The bytes that are written, or the words of the refusal."""
    try:
        convert_embeddings(path, path.with_suffix(".h5"))
    except FormatError as error:
        return str(error)
    return path.with_suffix(".h5").read_bytes()


@pytest.mark.parametrize("dump", DUMPED)
@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_come_to_the_bytes_of_the_whole(tmp_path, shape, dump, pieces):
    path = tmp_path / "v.json"
    path.write_bytes(DUMPED[dump](SHAPES[shape]).encode())
    whole = outcome(path)
    for size in (1, 7, 100, 5000):
        pieces(size)
        assert outcome(path) == whole


READ = ["object", "lists", "numbered", "records", "records in an object"]


@pytest.mark.parametrize("shape", READ)
def test_what_is_read_in_pieces_is_never_parsed_whole(tmp_path, shape, pieces, monkeypatch):
    path = tmp_path / "v.json"
    path.write_text(json.dumps(SHAPES[shape]), encoding="utf-8")
    short = read_embeddings(path)
    np.testing.assert_array_equal(short.vectors, ROWS)
    pieces(50)
    monkeypatch.setattr(json_vectors, "read_text", None)  # the whole at once
    long = read_embeddings(path)
    assert long.ids == short.ids
    np.testing.assert_array_equal(long.vectors, short.vectors)
    part = read_embeddings(path, rows=slice(11, 37))
    np.testing.assert_array_equal(part.vectors, short.vectors[11:37])


def test_the_array_that_is_named_is_taken_of_items_that_have_several(tmp_path, pieces):
    path = tmp_path / "v.json"
    streams = {f"{i}/{kind}": [i + 0.5, k] for i in range(9) for k, kind in enumerate("xy")}
    path.write_text(json.dumps(streams))
    whole = read_embeddings(path, dataset="y")
    pieces(20)
    found = read_embeddings(path, dataset="y")
    assert found.ids == whole.ids == tuple(map(str, range(9)))
    np.testing.assert_array_equal(found.vectors, whole.vectors)


GOOD = ['{"a": [1.5, 2], "ü": [3, 4.5]}',
        '{"ids": ["a", "\\ud83d\\ude00"],\n "embeddings": [[1, 2],\n[3e0, 4]]}',
        '\n[{"id": "a", "v": [1, 2]}, {"id": "b\\n", "v": [3, 4]}]']  # fmt: skip


@pytest.mark.parametrize("good", GOOD)
def test_damage_is_named_as_by_the_parse_of_the_whole(tmp_path, good, pieces, monkeypatch):
    """Cut after every character, and with every other character in any place."""
    path = tmp_path / "v.json"
    texts = [good[:end] for end in range(1, len(good))]
    texts += [
        good[:at] + odd + good[at:]
        for at in range(len(good) + 1)
        for odd in (",", "]", "}", '"', "x", "\\", "\x01", "NaN", "-Infinity", ":[", "\n0")
    ]
    texts += [good + good, good * 2 + "]"]

    def words(text):
        path.write_text(text, encoding="utf-8", newline="")
        try:
            found = read_embeddings(path, row_numbers=True)
        except FormatError as error:
            return str(error)
        return found.ids, found.vectors.tolist()

    whole = [words(text) for text in texts]
    for size in (3, 1000):
        pieces(size)
        assert [words(text) for text in texts] == whole
    # What is wrong behind the first bracket is said without the whole.
    monkeypatch.setattr(json_vectors, "read_text", lambda path: pytest.fail("parsed whole"))
    texts = [good[:end] for end in range(2, len(good))]
    texts += [good[:at] + "\x01" + good[at:] for at in range(2, len(good) + 1)]
    said = [words(text) for text in texts]
    monkeypatch.undo()
    assert said == [words(text) for text in texts]


@pytest.mark.parametrize("text", [
    '{"a": [1.5, 2], "b": [2, 3.5], "a": [2.5, 3]}', '[{"id": "a", "v": [1, 2], "id": "ü"}]',
    '{"ids": ["a"], "embeddings": [[1, 2]], "ids": ["b"]}', '{"a": [1.5, NaN]}',
    '{"a": [1.5, 2]} ' + 40 * " " + "x", '{"a": [1.5, "\\u12"]}',
    '{"a": [' + "1" * 5000 + ", 2.5]}",
    '{"a": [1.5, 1e999]}', '{"a": [1.5, 2], "b": ' + "[" * 100_000,
    "[" * 100_000, '{"a":' * 100_000,
    '{"a": [1.5, 2], "\\ud800": [3, 4.5]}', '{"a": [1.5, 2], "": [3, 4.5]}', "{}", "[]", "[[]]",
    "[{}]", '{"a": []}', '{"a": [[]]}', "1", '{"a": [1.5' + " " * 9000 + ', 2], "b": [1, 2.5]}',
    '{"a": [1.5, 2], "' + "b" * 9000 + '": [1, 2.5]}', '\ufeff\ufeff{"a": [1.5, 2]}',
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_hostile_documents_come_to_what_the_whole_does(tmp_path, text, encoding, pieces):
    path = tmp_path / "v.json"
    path.write_bytes(text.encode(encoding))
    whole = outcome(path)
    pieces(64)
    assert outcome(path) == whole


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path, pieces):
    path = tmp_path / "v.json"
    path.write_bytes(b'{"a": [1.5, 2],\n"\xe4": [3, 4.5]}')
    whole = outcome(path)
    assert "line 2 is not UTF-8" in whole
    pieces(8)
    assert outcome(path) == whole


def test_an_entry_too_long_for_the_memory_is_left_to_the_whole(tmp_path, pieces, monkeypatch):
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"a": [0.5] * 4000, "b": [1.5] * 4000}))
    pieces(64)
    monkeypatch.setattr(json_document, "_LONGEST", 500)
    with memory.limit(30_000):
        assert outcome(path).startswith(f"{path}: JSON takes ")
    assert isinstance(outcome(path), bytes)


def test_many_small_entries_are_described_within_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "v.json"
    path.write_text(json.dumps({str(i): [i + 0.5, 1] for i in range(20_000)}))
    whole = outcome(path)
    monkeypatch.setattr(memory, "COPY_SHARE", 0)
    assert outcome(path) == whole
    with memory.limit("5MB"):
        assert "the text of its entries takes" in outcome(path)


MEASURE = """
import sys
from pathlib import Path
from rerank.core import memory
from rerank.io import convert_embeddings

def top():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))

with memory.limit("20MB"):
    small, *others = sys.argv[1:]
    convert_embeddings(small, small + ".h5")
    before = top()
    for path in others:
        assert convert_embeddings(path, path + ".h5") == (6000, 300)
    print(top() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the peak of the memory")
def test_what_a_document_takes_does_not_grow_with_it(tmp_path):
    """Of 18 MB of text, whose parse holds several times as much."""
    row, ids = json.dumps([0.123456 + i for i in range(300)]), [f"v{i}" for i in range(6000)]
    rows = ",".join([row] * len(ids))
    texts = {
        "small": json.dumps({x: [float(i) for i in range(300)] for x in ids[:2000]}),
        "object": "{" + ",".join(f'"{x}": {row}' for x in ids) + "}",
        "lists": f'{{"ids": {json.dumps(ids)}, "embeddings": [{rows}]}}',
        "records": "[" + ",".join(f'{{"id": "{x}", "v": {row}}}' for x in ids) + "]",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_text(text)
    paths = [str(tmp_path / f"{name}.json") for name in texts]
    made = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True
    )
    assert int(made.stdout) < 40_000  # kilobytes


NUMBER = st.floats(-1e9, 1e9, allow_nan=False).map(float)


@settings(max_examples=60, deadline=None)
@given(
    by_id=st.dictionaries(st.text(min_size=1), st.tuples(NUMBER, NUMBER), min_size=1),
    shape=st.sampled_from(["object", "lists", "records"]), size=st.integers(1, 40),
    ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2]),
)  # fmt: skip
def test_any_ids_and_numbers_come_to_the_same(
    by_id, shape, size, ascii_only, indent, tmp_path_factory
):
    made = {
        "object": by_id,
        "lists": {"ids": list(by_id), "embeddings": list(by_id.values())},
        "records": [{"id": x, "v": row} for x, row in by_id.items()],
    }[shape]
    path = tmp_path_factory.mktemp("json") / "v.json"
    text = json.dumps(made, ensure_ascii=ascii_only, indent=indent)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    whole = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "COPY_SHARE", 0)
        patch.setattr(json_document, "_PIECE", size)
        assert outcome(path) == whole
