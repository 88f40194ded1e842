"""What a person is told beside the result: progress, notes, what to type next; no leaks."""

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from rerank.core import progress
from rerank.core.errors import FormatError
from rerank.io import write_embeddings
from rerank.tasks.report import read_captions
from rerank_cli.console import LineReporter
from tests.cli.test_cli import run


def test_without_a_terminal_a_line_comes_every_ten_seconds(capsys):
    now = [0.0]
    with (
        progress.watch(LineReporter(clock=lambda: now[0])),
        progress.task("all pairs", 100) as outer,
        progress.task("a panel", 8) as inner,
    ):
        for seconds in (1, 9, 11, 12, 20, 22):
            now[0] = float(seconds)
            inner(1)
        outer(50)
    said = capsys.readouterr().err.splitlines()
    assert said == ["progress: a panel 38 %, 11 s", "progress: a panel 75 %, 22 s"]


def test_short_runs_say_nothing_of_progress(tmp_path, samples):
    files = ("--texts", samples / "texts.h5", "--videos", samples / "videos.h5")
    _, err = run("apply", *files, cwd=tmp_path)
    assert "progress" not in err


def test_warnings_of_libraries_do_not_leak(tmp_path, samples, monkeypatch):
    from rerank.tasks import apply as task

    whole = task.prepare_inputs

    def noisy(*args, **kwargs):
        warnings.warn("of a library", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return whole(*args, **kwargs)

    monkeypatch.setattr(task, "prepare_inputs", noisy)
    files = ("--texts", samples / "texts.h5", "--videos", samples / "videos.h5")
    _, err = run("apply", *files, cwd=tmp_path)
    assert "of a library" not in err and "old" not in err and "Warning" not in err


def next_of(said):
    line = next(line for line in said.splitlines() if line.startswith("next  "))
    return shlex.split(line.removeprefix("next  "))[1:]


@pytest.mark.parametrize("given", ["gt.json", "bank_gt.json", "no JSON", None])
def test_the_next_command_names_a_ground_truth_of_these_files_or_none(tmp_path, samples, given):
    folder = tmp_path / "my data"
    folder.mkdir()
    for name in ("texts.h5", "videos.h5"):
        shutil.copy(samples / name, folder)
    if given is not None:
        written = "{" if given == "no JSON" else (samples / given).read_text()
        (folder / "gt.json").write_text(written)
    # One that fits, but lies where the command runs.
    shutil.copy(samples / "gt.json", tmp_path)
    files = ("--texts", "my data/texts.h5", "--videos", "my data/videos.h5")
    said, _ = run("apply", *files, "--out", "my data/out.h5", cwd=tmp_path)
    words = next_of(said)
    truth = ["--gt", "my data/gt.json"] if given == "gt.json" else ["--report", "report.html"]
    assert words == ["eval", *truth, "--results", "my data/out.h5"]
    run(*words, cwd=tmp_path)


@pytest.mark.parametrize("name", [b"o\xff's.h5", b"o\x1b.h5"])
def test_the_next_command_names_the_file_whatever_it_is_called(tmp_path, samples, name):
    files = ("--texts", samples / "texts.h5", "--videos", samples / "videos.h5")
    said, _ = run("apply", *files, "--out", os.fsdecode(name), cwd=tmp_path)
    line = next(line for line in said.splitlines() if line.startswith("next  "))
    last = line.rpartition("--results ")[2]
    typed = subprocess.run(["bash", "-c", f"cat {last} | head -c 4"], cwd=tmp_path,
                           capture_output=True, check=True)  # fmt: skip
    assert typed.stdout == b"\x89HDF"


def test_rows_of_zeros_are_counted_where_files_are_read(tmp_path):
    rng = np.random.default_rng(0)
    texts, videos = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    texts[[2]], videos[[3, 9]] = 0, 0
    write_embeddings(tmp_path / "t.h5", [f"t{i}" for i in range(30)], texts)
    write_embeddings(tmp_path / "v.h5", [f"v{i}" for i in range(40)], videos)
    files = ("--texts", "t.h5", "--videos", "v.h5", "--metric", "dot", "--out", "o.h5")
    said, _ = run("apply", *files, cwd=tmp_path)
    first, second = said.splitlines()[:2]
    assert first.endswith("; 1 is all zeros and counts in no figure of hubs")
    assert second.endswith("; 2 are all zeros and count in no figure of hubs")
    texts[2], videos[[3, 9]] = 1, 1
    write_embeddings(tmp_path / "t.h5", [f"t{i}" for i in range(30)], texts)
    write_embeddings(tmp_path / "v.h5", [f"v{i}" for i in range(40)], videos)
    said, _ = run("apply", *files, "--force", cwd=tmp_path)
    assert "zeros" not in said


def test_notes_come_once_and_hold_no_python(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "s.npy", rng.normal(size=(60, 60)) + 2 * np.eye(60))
    _, err = run("apply", "--sims", "s.npy", cwd=tmp_path)
    notes = [line.partition(": ")[2].removeprefix("t2v: ").removeprefix("v2t: ")
             for line in err.splitlines()]  # fmt: skip
    assert len(notes) == len(set(notes))
    assert not any(mark in err for mark in ("=(", "rerank.", "np.", "Pair("))


def test_what_a_run_is_told_stays_in_the_page(tmp_path, samples):
    shutil.copy(samples / "gt.json", tmp_path)
    files = ("--texts", samples / "texts.h5", "--videos", samples / "videos.h5")
    captions = {"text0001": "<b>bold</b>"}
    (tmp_path / "words.json").write_text(json.dumps(captions))
    run("apply", *files, "--report", "p.html", "--captions", "words.json", cwd=tmp_path)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "rerank apply --texts" in page and "<b>bold" not in page
    assert "nothing says which ranking is right" in page and "hub skewness against" in page
    _, err = run("apply", *files, "--captions", "words.json", cwd=tmp_path, code=2)
    assert "--report" in err


def test_counts_have_the_right_number_and_empty_columns_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", embeddings=rng.normal(size=(1, 8)), ids=["t0"])
    np.savez(
        tmp_path / "v.npz", embeddings=rng.normal(size=(40, 8)), ids=[f"v{i}" for i in range(40)]
    )
    files = ("--texts", "t.npz", "--videos", "v.npz")
    said, _ = run("apply", *files, cwd=tmp_path)
    assert "t.npz: 1 text, " in said and "v.npz: 40 videos, " in said
    head = next(line for line in said.splitlines() if "label" in line)
    assert head.split()[:1] == ["label"] and "tau" not in head and "marginal error" not in head
    for command in ("inspect", "plan"):
        said, _ = run(command, *files, cwd=tmp_path)
        assert not re.search(r"\b1 (texts|lists|queries|videos)\b", said), said


def test_the_page_gives_the_command_that_made_the_file(tmp_path):
    rng = np.random.default_rng(0)
    for name in "tv":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(40, 8)))
    words = ["apply", "--texts", "t.npy", "--videos", "v.npy", "--text-ids", "rows"]
    words += ["--video-ids", "rows", "--k", "3", "--out", "r.h5"]
    run(*words, "--report", "p.html", cwd=tmp_path)
    page = html.unescape((tmp_path / "p.html").read_text(encoding="utf-8"))
    made = re.search(r"<dt>Re-ranked by</dt><dd>rerank (.*?)</dd>", page).group(1)
    first = (tmp_path / "r.h5").read_bytes()
    (tmp_path / "r.h5").unlink()
    run(*shlex.split(made), cwd=tmp_path)
    assert (tmp_path / "r.h5").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"t0": ["a, b", "c"], "t1": "d"}'),
        ("c.csv", 'id,caption\nt0,"a, b"\nt0,c\nt1,d\n'),
        ("c.tsv", "t0\ta, b\nt0\tc\nt1\td\n"),
    ],
)
def test_captions_are_read_from_what_people_hold(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_captions(tmp_path / name)
    assert (found["t0"], found["t1"]) == ("a, b / c", "d")


@pytest.mark.parametrize(("name", "text"), [("c.csv", "t0\n"), ("c.csv", ""), ("c.json", "[1]")])
def test_captions_that_are_none_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="expected"):
        read_captions(tmp_path / name)


@pytest.mark.parametrize("door", ["apply", "plan", "fit"])
@pytest.mark.parametrize("name", ["", " ", "+"])
def test_an_empty_method_is_none_and_not_the_default(tmp_path, samples, door, name):
    sides = ("--videos", samples / "videos.h5", "--texts", samples / "texts.h5")
    given = {
        "apply": (*sides, "--out", "r.h5"), "plan": sides,
        "fit": (*sides[:2], "--bank-texts", sides[3], "--out", "m.safetensors"),
    }[door]  # fmt: skip
    out, err = run(door, *given, "--method", name, cwd=tmp_path, code=2)
    said = "--method: got an empty value" if not name else f"method: got '{name.strip('+')}', exp"
    assert err.startswith(f"error: {said}")
    assert not out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["methods", "doctor", "apply -h", "methods --json"])
def test_a_reader_that_has_enough_ends_a_command_without_a_word(tmp_path, typed):
    code = "from rerank_cli.app import program; program()"
    made = subprocess.Popen(
        [sys.executable, "-c", code, *typed.split()], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert made.stdout is not None and made.stderr is not None
    made.stdout.close()
    assert (made.stderr.read(), made.wait()) == (b"", 141)
    made.stderr.close()


def test_a_fit_of_too_little_prints_no_figure_that_is_none(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype("f4")
    write_embeddings(tmp_path / "v.h5", ["v"], rows[:1])
    write_embeddings(tmp_path / "t.h5", list("abcde"), rows)
    out, err = run("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--out", "m.safetensors",
                   cwd=tmp_path)  # fmt: skip
    assert "label none" in out and "nan" not in out and "too small to fit" in err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("door", ["apply", "eval", "compare"])
def test_pages_of_files_whose_names_are_no_unicode_are_written(tmp_path, samples, door):
    names = {}
    for kind in ("texts.h5", "videos.h5", "gt.json"):
        names[kind] = os.fsdecode(b"caf\xe9-" + kind.encode())
        shutil.copy(samples / kind, tmp_path / names[kind])
    sides = ("--texts", names["texts.h5"], "--videos", names["videos.h5"])
    page = os.fsdecode(b"p\xe9ge.html")
    given = {
        "apply": (*sides, "--out", os.fsdecode(b"r\xe9.h5")),
        "eval": (*sides, "--gt", names["gt.json"]),
        "compare": (*sides, "--gt", names["gt.json"], "--methods", "csls"),
    }[door]
    run(door, *given, "--report", page, cwd=tmp_path)
    written = (tmp_path / page).read_bytes().decode("utf-8")  # strict: a browser would guess
    assert "</html>" in written
    if door != "eval":
        assert r"caf\udce9-texts.h5" in written
