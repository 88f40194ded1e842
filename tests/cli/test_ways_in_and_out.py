"""Empty values, files that are looked at first, and what is escaped, full or interrupted."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rerank.io import write_embeddings
from rerank_cli import app
from tests.cli.test_cli import run, run_fresh
from tests.reliability.child import before_torch


@pytest.fixture
def work(tmp_path, samples):
    for name in ("texts.h5", "videos.h5", "bank_videos.h5", "bank_texts.h5", "gt.json"):
        shutil.copy(samples / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("typed", [["--text-ids", ""], ["--dataset="], ["--videos", ""]])
def test_an_empty_value_is_named_and_never_taken_for_a_folder(work, typed):
    option = typed[0].removesuffix("=")
    _, err = run("apply", "--texts", "texts.h5", *typed, cwd=work, code=2)
    assert err == f"error: {option}: got an empty value; give one, or leave {option} out\n"


def test_an_empty_argument_is_refused(work):
    _, err = run("convert", "", "out.h5", cwd=work, code=2)
    assert err == "error: got an empty argument; give a value, or leave it out\n"


def test_out_has_the_short_name_that_people_type(work):
    run("apply", "--texts", "texts.h5", "--videos", "videos.h5", "-o", "short.h5", cwd=work)
    assert (work / "short.h5").exists()


def shared_by_all(depth, count):
    """Dictionaries whose entries are all the same dictionary, and so on."""
    made = {"t": torch.ones(1)}
    for _ in range(depth):
        made = {f"k{i}": made for i in range(count)}
    return made


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("apply --videos none.h5 --texts texts.h5", "none.h5: no such file; check the path"),
        ("apply --videos videos.h5 --texts cut.npz", "cut.npz: "),
        ("eval --gt gt.json --videos videos.h5 --texts x.dat", "the ending '.dat' is not known"),
        ("apply --videos dag.pt --texts texts.h5", "dag.pt: holds the same parts again and again"),
        ("eval --gt gt.json --videos old.pt --texts texts.h5", "old.pt: is a pickle; "),
        ("apply --videos videos.h5 --texts cut.safetensors", "cannot be read as safetensors"),
        ("inspect --videos twice.json --texts texts.h5", "the id 'a' stands in row 0 and again"),
        ("search --model none.safetensors --texts texts.h5", "none.safetensors: no such file"),
        ("fit --videos videos.h5 --bank-texts none.npy", "none.npy: no such file"),
        ("convert dag.pt out.h5", "dag.pt: holds the same parts again and again"),
        ("convert twice.json out.h5 --side texts", "the id 'a' stands in row 0 and again"),
        ("convert dag.pt out.h5 --what scores", "dag.pt: holds the same parts again and again"),
        ("convert cut.json out.json --what ground-truth", "cut.json: is not valid JSON"),
        ("apply --videos videos.h5 --texts texts.h5 --method fu", "method: got 'fu', expected one"),
        ("apply --videos videos.h5 --texts texts.h5 --rho 7", "rho: got 7.0, expected between 0"),
        ("apply --videos videos.h5 --texts texts.h5 --tau x", "--tau: got 'x', expected a posit"),
        ("apply --videos videos.h5 --texts texts.h5 --k 0", "k: got 0, expected at least 1"),
        ("plan --videos 9 --texts 9 --method csls+em", "'em' rewrites embeddings and must come"),
        ("compare --gt gt.json --videos videos.h5 --texts texts.h5 --methods nnn,no", "got 'no'"),
        (
            "tune --gt gt.json --videos videos.h5 --texts texts.h5 --out s.json --method no",
            "method: got 'no'",
        ),
        ("eval --gt gt.json --results none.h5", "none.h5: no such file"),
        ("convert none.trec out.h5 --what results", "none.trec: no such file"),
        ("convert videos.h5 no/out.h5", "no/out.h5"),
        ("apply --videos videos.h5 --texts texts.h5 --report no/a.html", "no/a.html"),
        (
            "compare --gt gt.json --videos videos.h5 --texts texts.h5 --report no/a.html",
            "no/a.html",
        ),
        ("train --gt gt.json --videos videos.h5 --texts texts.h5 --out no/h.st", "no/h.st"),
        ("inspect --videos videos.h5 --texts texts.h5 --memory x", "memory: got 'x', expected"),
        ("fit --videos videos.h5 --bank-texts bank_texts.h5 --rho -1", "rho: got -1.0, expected"),
    ],
)
def test_bad_inputs_are_told_before_torch_is_loaded(work, typed, said):
    (work / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    (work / "x.dat").write_bytes(b"?")
    (work / "cut.json").write_text('{"t0": ')
    (work / "old.pt").write_bytes(pickle.dumps([1]))
    (work / "cut.safetensors").write_bytes((300).to_bytes(8, "little") + b"{}")
    (work / "twice.json").write_text('{"ids": ["a", "a"], "embeddings": [[1, 2], [3, 4]]}')
    torch.save(shared_by_all(8, 30), work / "dag.pt")
    done = before_torch(*typed.split(), folder=work)
    assert done.status == 2 and said in done.err and done.err.count("\n") == 1, done
    assert done.out == "False\n"


@pytest.mark.parametrize("report", ["texts.h5", "texts", "link.html", "hard.html"])
def test_a_page_never_replaces_what_the_results_were_made_from(work, report):
    shutil.copy(work / "texts.h5", work / "texts")
    texts = "texts" if report == "texts" else "texts.h5"
    run("apply", "--texts", texts, "--videos", "videos.h5", cwd=work)
    (work / "link.html").symlink_to("texts.h5")
    os.link(work / "texts.h5", work / "hard.html")
    before = (work / report).read_bytes()
    _, err = run("eval", "--gt", "gt.json", "--report", report, "--force", cwd=work, code=2)
    why = "the page is written as HTML" if report == "texts.h5" else "is an input of this run"
    assert f"--report {report}: {why}" in err
    assert (work / report).read_bytes() == before


@pytest.mark.parametrize("report", ["p.h5", "./p.h5", "link.html", "p.h5/x.html"])
def test_a_page_has_a_place_of_its_own(work, report):
    (work / "link.html").symlink_to("p.h5")
    both = ("apply", "--texts", "texts.h5", "--videos", "videos.h5", "--out", "p.h5")
    _, err = run(*both, "--report", report, cwd=work, code=2)
    said = f"--out p.h5 and --report {report.removeprefix('./')} have one place"
    if report.endswith("x.html"):
        said = f"--report {report}: lies in --out p.h5, which will be a file; choose another place"
    assert f"error: {said}" in err and not (work / "p.h5").exists()


def test_images_are_looked_for_before_the_work(work):
    both = ("apply", "--texts", "texts.h5", "--videos", "videos.h5", "--report", "page.html")
    (work / "pictures").mkdir()
    (work / "pictures" / "notes.txt").write_text("none yet")
    _, err = run(*both, "--thumbnails", "pictures", cwd=work, code=2)
    assert err.startswith("error: pictures: holds no image (.jpg, ")
    assert not list(work.glob("*.html")) and not (work / "reranked.h5").exists()
    (work / "pictures" / "someone.jpg").write_bytes(b"\xff\xd8")
    run(*both, "--thumbnails", "pictures", cwd=work)
    page = (work / "page.html").read_text()
    assert "no image in pictures is called like an id, such as " in page


def test_a_model_never_replaces_the_side_car_of_the_index_it_extends(work):
    run("fit", "--videos", "videos.h5", "--bank-texts", "bank_texts.h5", "--keep-bank",
        "--method", "sinkhorn", "--tau", "0.05", cwd=work)  # fmt: skip
    export = ("export", "--model", "model.safetensors", "--videos", "videos.h5", "--to", "npy")
    run(*export, "--out", "v.npy", cwd=work)
    before = (work / "v.npy.npz").read_bytes()
    _, err = run("update", "--model", "model.safetensors", "--videos", "bank_videos.h5",
                 "--index", "v.npy", "--out", "v.npy.npz", "--force", cwd=work, code=2)  # fmt: skip
    assert "is an input of this run" in err and (work / "v.npy.npz").read_bytes() == before


ODD = ["\x1b[31mred", "a\nb", "\x9b31m", "‮abc", "plain", "tab\there"]


def test_ids_cannot_act_on_the_terminal(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    write_embeddings(tmp_path / "t.h5", ODD, rows)
    write_embeddings(tmp_path / "v.h5", [f"{x}!" for x in ODD], rows + 0.1)
    run("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--keep-gallery", cwd=tmp_path)
    out, _ = run("search", "--model", "model.safetensors", "--texts", "t.h5", cwd=tmp_path)
    lines = out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        r"\x1b[31mred", r"a\nb", r"\x9b31m", r"\u202eabc", "plain", r"tab\there",
    ]  # fmt: skip
    out, _ = run("inspect", "--texts", "t.h5", "--videos", "v.h5", cwd=tmp_path)
    assert all(line.isprintable() for line in out.splitlines())


def test_an_error_is_a_line_that_a_person_can_read(work):
    (work / "gone.txt").write_text("x" * 100_000)
    run("fit", "--videos", "videos.h5", "--bank-texts", "bank_texts.h5", "--keep-bank",
        "--method", "sinkhorn", "--tau", "0.05", cwd=work)  # fmt: skip
    _, err = run("update", "--model", "model.safetensors", "--remove", "gone.txt", cwd=work, code=2)
    assert len(err) < 4000 and "characters)" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_an_error_that_cannot_be_said_keeps_its_status(work):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rerank", "apply", "--videos", "none.h5", "--texts", "texts.h5"],
            cwd=work, stderr=full,
        )  # fmt: skip
    assert done.returncode == 2


def test_a_signal_whose_exception_was_lost_comes_again(monkeypatch):
    came = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        app._repeat_lost(SimpleNamespace(exc_value=KeyboardInterrupt()))
        end = time.monotonic() + 5
        while not came and time.monotonic() < end:
            time.sleep(0.005)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]


def test_help_of_every_command_with_out_names_both_spellings(tmp_path):
    for name in ("apply", "fit", "train", "tune", "update", "export", "search"):
        out, _ = run_fresh(name, "--help", cwd=tmp_path)
        assert "-o, --out" in out or "--out, -o" in out, name
