"""Files are replaced whole or not at all."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankError
from rerank.core.memory import limit
from rerank.io import (
    atomic_path,
    files,
    read_json,
    sha256_of,
    sha256_of_file,
    write_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_the_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (order.append("replace"), replace(*a))[1])
    write_text(tmp_path / "a.txt", ["new"])
    assert order == ["sync", "replace", "sync"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, OSError])
def test_after_any_exception_the_old_file_is_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FormatError if error is OSError else error):
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_places_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    for path, words in (
        (tmp_path / "no" / "a.txt", "folder.*does not exist"),
        (tmp_path / "file" / "a.txt", "folder.*does not exist"),
        (tmp_path / "dir", "is a directory"),
        ("/dev/null", "not an ordinary file"),
        ("a\0b", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            write_json(path, {})
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["dir", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FormatError, match="cannot be written"):
        write_json(tmp_path / "a.json", {})


def test_permissions_are_those_of_the_old_file_or_the_usual(tmp_path):
    write_text(tmp_path / "new.txt", ["x"])
    (tmp_path / "plain.txt").touch()
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("new.txt", "plain.txt")]
    assert modes[0] == modes[1]
    (tmp_path / "plain.txt").chmod(0o640)
    write_text(tmp_path / "plain.txt", ["x"])
    assert stat.S_IMODE((tmp_path / "plain.txt").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").write_text("old")
    (tmp_path / "a.txt").symlink_to(tmp_path / "there" / "a.txt")
    write_text(tmp_path / "a.txt", ["new"])
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "there" / "a.txt").read_text() == "new"


def test_json_is_strict(tmp_path):
    path = tmp_path / "a.json"
    value = {"z": 1, "a": ["ü", None, 1.5]}
    write_json(path, value)
    assert read_json(path) == value and "ü" in path.read_text(encoding="utf-8")
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["z", "a"]
    for bad in ({"x": float("nan")}, {"x": float("inf")}, {"x": {1}}):
        with pytest.raises(RerankError):
            write_json(path, bad)
    assert read_json(path) == value


def test_hashes_of_arrays_speak_of_values():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype("f4")
    base = sha256_of(x)
    assert sha256_of(np.asfortranarray(x)) == base
    assert sha256_of(x.astype(">f4")) == base
    assert sha256_of(np.repeat(x, 2, axis=0)[::2]) == base
    half = x.astype("f2")
    assert sha256_of(half) == sha256_of(half.astype("f4"))
    others = [x.T, x.reshape(60, 2), x[:-1], x.astype("f8"), x.view("i4"), x[0], x[:0]]
    assert len({base, *map(sha256_of, others)}) == len(others) + 1


def test_hashes_of_lists_speak_of_entries():
    lists = [[], ["a"], ["a", "b"], ["b", "a"], ["ab"], ["ab", ""], ["", "ab"], ["1 a"]]
    assert len(set(map(sha256_of, lists))) == len(lists)
    assert sha256_of(("a", "b")) == sha256_of(["a", "b"])
    many = [str(i) for i in range(70000)]
    assert sha256_of(many) != sha256_of([*many[:-1], "x"])


def test_hash_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a").startswith("ba7816bf")
    with pytest.raises(FormatError, match="no such file"):
        sha256_of_file(tmp_path / "b")


def test_a_text_that_memory_does_not_hold_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "settings.json"
    with path.open("wb") as file:
        file.truncate(10**9)
    with limit("100MB"), pytest.raises(FormatError, match="its text takes 2,000,000,000 bytes"):
        read_json(path)


def test_looking_whether_an_output_has_a_place_leaves_nothing(tmp_path, monkeypatch):
    made = files.created

    def interrupted(temporary, target):
        made(temporary, target)
        raise KeyboardInterrupt

    dead = tmp_path / f".x.{files.owner().partition('-')[0]}-{2**22 + 1}-0123456789ab.tmp.h5"
    dead.touch()
    monkeypatch.setattr(files, "created", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.check_place(tmp_path / "x.h5")
    assert not list(tmp_path.iterdir())
