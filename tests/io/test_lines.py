"""Lines end where files end them, and one that no person wrote ends the reading."""

import json

import pytest

from rerank.core.errors import FormatError
from rerank.io import lines, read_ground_truth
from rerank.io.id_files import read_id_file
from rerank.io.item_values import item_numbers
from rerank.io.lines import lines_in, split_lines
from rerank.io.run_files import read_rankings
from rerank.tasks.query_groups import group_names

# What str.splitlines takes for the end of a line, and no file does.
INSIDE = "a b\x0bc\x85d\x1ce"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_where_the_file_ends_it(end):
    assert split_lines(f"{INSIDE}{end}x{end}") == [INSIDE, "x"]
    assert split_lines("") == [] and split_lines(f"{end}x") == ["", "x"]


def test_captions_keep_the_signs_that_end_lines_of_pages(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text(f"{INSIDE}\nx\n", encoding="utf-8")
    assert read_id_file(path) == (INSIDE, "x")
    run = tmp_path / "run.jsonl"
    records = [{"query": name, "results": ["v0", "v1"]} for name in (INSIDE, "x")]
    run.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records), encoding="utf-8")
    (lists,) = read_rankings(run)
    assert list(lists.query_ids) == [INSIDE, "x"]


def test_a_line_that_nobody_wrote_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_LONGEST_LINE", 50)
    path = tmp_path / "x.csv"
    path.write_text("id," + "1," * 60)
    for read in (
        lambda: read_ground_truth(path, ["t"], ["v"]),
        lambda: item_numbers(path, ["v"]),
        lambda: group_names(path, ["t"]),
        lambda: lines_in(path.read_text(), path),
    ):
        with pytest.raises(FormatError, match="x.csv: has a line of 123 characters.*one entry in"):
            read()


def test_json_in_one_long_line_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_LONGEST_LINE", 50)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({f"t{i}": {"v0": 1.0, "v1": 0.5} for i in range(9)}))
    assert path.stat().st_size > 50 and read_rankings(path)


@pytest.mark.parametrize("text", ["a,1\n" + "b" * 140_000 + ",2\n", "a\n", "a,1,2\n"])
def test_two_columns_that_are_none_end_in_one_line(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"row \d is not an id and its number"):
        item_numbers(path, ["a", "b"])
    with pytest.raises(FormatError, match=r"row \d is not a text id and its query"):
        group_names(path, ["a", "b"])
