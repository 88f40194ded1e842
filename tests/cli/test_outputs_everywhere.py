"""No command writes over what it reads, nor over a file of another kind."""

import errno
import inspect
import json
import os
import shutil
import signal
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from rerank import io
from rerank_cli.app import COMMANDS
from tests.cli.test_cli import run

N, D = 24, 6

# For every command that writes: a run of it, the options that name files it reads, and those that
# name what it writes, with the name of an output of this run.
WRITERS = {
    "apply": (
        "apply --videos v.h5 --texts t.h5 --bank-texts b.h5 --bank-videos w.h5 --bank-gt bank.json "
        "--video-ids v.txt --text-ids t.txt --settings s.json --no-gate --captions c.json "
        "--bias p.json",
        {"out": "o.h5", "report": "page.html"},
    ),
    "eval": (
        "eval --gt gt.json --results r.h5 --captions c.json --video-ids v.txt --text-ids t.txt",
        {"report": "page.html"},
    ),
    "compare": (
        "compare --gt gt.json --videos v.h5 --texts t.h5 --bank-texts b.h5 --bank-videos w.h5 "
        "--bank-gt bank.json --methods csls --resamples 5 --video-ids v.txt --text-ids t.txt "
        "--captions c.json",
        {"report": "page.html"},
    ),
    "inspect": (
        "inspect --videos v.h5 --texts t.h5 --bank-texts b.h5 --video-ids v.txt --text-ids t.txt "
        "--captions c.json",
        {"report": "page.html"},
    ),
    "fit": (
        "fit --videos v.h5 --bank-texts b.h5 --bank-videos w.h5 --bank-gt bank.json "
        "--video-ids v.txt --settings s.json --no-gate --bias p.json",
        {"out": "o.model"},
    ),
    "search": (
        "search --model m.model --videos v.h5 --texts t.h5 --video-ids v.txt --text-ids t.txt",
        {"out": "o.jsonl"},
    ),
    "update": (
        "update --model m.model --videos x.h5 --video-ids x.txt --remove gone.txt",
        {"out": "o.model"},
    ),
    "export": (
        "export --model m.model --videos v.h5 --texts t.h5 --video-ids v.txt --text-ids t.txt "
        "--to npy",
        {"out": "o.npy"},
    ),
    "tune": (
        "tune --gt gt.json --videos v.h5 --texts t.h5 --bank-texts b.h5 --bank-videos w.h5 "
        "--method csls --folds 2 --video-ids v.txt --text-ids t.txt",
        {"out": "o.json"},
    ),
    "train": (
        "train --videos v.h5 --texts t.h5 --gt gt.json --val-videos w.h5 --val-texts b.h5 "
        "--val-gt bank.json --captions c.json --video-ids v.txt --text-ids t.txt "
        "--objective cali-nce --epochs 1 --fresh",
        {"out": "o.heads", "log": "log.jsonl", "pair-scores": "pairs.json"},
    ),
    "convert": ("convert --video-ids v.txt v.h5", {"": "o.h5"}),
}
# Options that name files or folders but write nothing and have no run here of their own.
OTHER_READS = {
    "sims", "heads", "index", "thumbnails", "settings", "model", "val_gt", "val_texts",
    "val_videos", "videos", "texts", "test_videos", "test_texts", "test_gt", "source", "bank_sims",
    "text_ids", "video_ids",
}  # fmt: skip
# A folder that a library writes into; it is no file that could be replaced.
FOLDERS = {"tensorboard"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for name, count in {"v": N, "t": N, "b": N, "w": N, "x": 3}.items():
        ids = [f"{name}{i}" for i in range(count)]
        io.write_embeddings(folder / f"{name}.h5", ids, rng.normal(size=(count, D)))
        (folder / f"{name}.txt").write_text("\n".join(ids))
    io.write_json(folder / "gt.json", {f"t{i}": f"v{i}" for i in range(N)})
    io.write_json(folder / "bank.json", {f"b{i}": f"w{i}" for i in range(N)})
    io.write_json(folder / "c.json", {f"{x}{i}": f"words {i}" for x in "tb" for i in range(N)})
    io.write_json(folder / "s.json", {"method": "sinkhorn", "tau": 0.1})
    io.write_json(folder / "p.json", {f"v{i}": i / N for i in range(N)})
    (folder / "gone.txt").write_text("v3\n")
    run(*"fit --videos v.h5 --bank-texts b.h5 --keep-bank --method sinkhorn --tau 0.1 "
        "--out m.model".split(), cwd=folder)  # fmt: skip
    run(*"apply --videos v.h5 --texts t.h5 --out r.h5 --k 3".split(), cwd=folder)
    return folder


@pytest.fixture
def work(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def path_options(name):
    """Options of a command that take a path, by introspection."""
    command = getattr(import_module(f"rerank_cli.{name}"), f"{name}_command")
    found = set()
    for each in inspect.signature(command).parameters.values():
        kinds = [each.annotation, *get_args(each.annotation)]
        kinds += [part for kind in kinds for part in get_args(kind)]
        kinds += [part for kind in kinds for part in get_args(kind)]
        if Path in kinds:
            found.add(each.name)
    return found


def inputs_of(words):
    files = [(o, f) for o, f in zip(words, words[1:], strict=False) if o.startswith("--")]
    return [(o.strip("-"), f) for o, f in files if "." in f]


def test_every_option_that_takes_a_path_is_known_here():
    for name in COMMANDS:
        words, outputs = WRITERS.get(name, ("", {}))
        read = {option.replace("-", "_") for option, _ in inputs_of(words.split())}
        written = {option.replace("-", "_") for option in outputs} - {""}
        left = path_options(name) - read - written - OTHER_READS - FOLDERS
        if name in WRITERS:
            left -= {"target"}
            assert not left, f"{name}: {left} is neither an input nor an output of WRITERS"
        else:
            assert not left & {"out", "report", "target", "log"}, name


def commands():
    for name, (words, outputs) in WRITERS.items():
        for option in outputs:
            yield pytest.param(words, outputs, option, id=f"{name}-{option or 'OUT'}")


def call(words, outputs, option, target):
    given = {**outputs, option: target}
    said = [word for key, path in given.items() for word in ([f"--{key}", path] if key else [path])]
    return [*words.split(), *said]


def snapshot(folder):
    return {
        p.relative_to(folder): (p.read_bytes(), p.is_symlink())
        for p in folder.rglob("*") if p.is_file()
    }  # fmt: skip


@pytest.mark.parametrize(("words", "outputs", "option"), list(commands()))
def test_no_output_replaces_an_input(work, words, outputs, option):
    before = snapshot(work)
    replaced = {"model"} if words.startswith("update") else set()
    first = inputs_of(words.split())[0][0]
    for name, file in inputs_of(words.split()):
        if name in replaced:
            continue  # an update of a model takes its place
        source = work / file
        (work / "link").symlink_to(file)
        os.link(source, work / "hard")
        before = snapshot(work)
        for target in (file, *(("link", "hard") if name == first else ("link",))):
            _, err = run(*call(words, outputs, option, target), "--force", cwd=work, code=2)
            assert "is an input of this run" in err, (name, target, err)
            assert snapshot(work) == before, (name, target)
        (work / "link").unlink()
        (work / "hard").unlink()


@pytest.mark.parametrize(("words", "outputs", "option"), list(commands()))
def test_a_file_of_another_kind_is_kept_unless_force_is_given(work, words, outputs, option):
    target = outputs[option]
    others = {
        "numbers": lambda path: np.save(path.open("wb"), np.ones(3)),
        "words": lambda path: path.write_text("my notes\n"),
        "truth": lambda path: path.write_text(json.dumps({"t0": "v0", "t1": "v1"})),
        "other": lambda path: shutil.copy(work / "v.h5", path),
    }
    if words.startswith("convert"):
        others["other"] = lambda path: shutil.copy(work / "r.h5", path)
    for kind, write in others.items():
        write(work / target)
        before = snapshot(work)
        _, err = run(*call(words, outputs, option, target), cwd=work, code=2)
        assert "is there and is" in err and "--force" in err, (kind, err)
        assert snapshot(work) == before, kind
    run(*call(words, outputs, option, target), "--force", cwd=work)
    assert (work / target).read_bytes() != before[Path(target)][0]
    # What was written is of its own kind, and is replaced without a word.
    run(*call(words, outputs, option, target), cwd=work)


def ending_of(words, option):
    """What an output is called that is written in one format."""
    by_option = {"report": ".html", "log": ".jsonl", "pair-scores": ".json"}
    by_command = {"fit": ".safetensors", "update": ".safetensors", "train": ".safetensors",
                  "tune": ".json"}  # fmt: skip
    return by_option.get(option) or by_command.get(words.split()[0], ".h5")


@pytest.mark.parametrize(("words", "outputs", "option"), list(commands()))
def test_a_place_that_takes_no_files_is_told_before_the_work(
    work, words, outputs, option, monkeypatch
):
    def no_work(*_, **__):
        raise AssertionError("the work began")

    def refused(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    if not words.startswith("convert"):  # it opens its output before it reads
        monkeypatch.setattr("rerank.io.embeddings.read_matrix", no_work)
        monkeypatch.setattr("rerank.io.results.read_results", no_work)
    name, before = f"out{ending_of(words, option)}", snapshot(work)
    _, err = run(*call(words, outputs, option, f"gone/{name}"), cwd=work, code=2)
    assert f"gone/{name}" in err and "does not exist; create it" in err, err
    monkeypatch.setattr("rerank.io.files.created", refused)
    (work / "full").mkdir()
    _, err = run(*call(words, outputs, option, f"full/{name}"), cwd=work, code=2)
    assert "cannot be written: Permission denied; choose another place" in err, err
    assert snapshot(work) == before


def test_a_folder_that_is_no_input_is_the_fault_and_not_the_output_in_it(work):
    (work / "o.h5").touch()
    line = ["apply", "--texts", "t.h5", "--out", "o.h5", "--videos"]
    _, err = run(*line, ".", cwd=work, code=2)
    assert err == (
        "error: .: is a directory; name the file inside it, or a folder of <id>.npy, .npz, "
        ".pt, .h5, .safetensors or .json\n"
    )
    (work / "v").mkdir()
    for i in range(N):
        np.save(work / "v" / f"v{i}.npy", np.ones(D))
    line[4] = "v/v3.npy"
    _, err = run(*line, "v", "--force", cwd=work, code=2)
    assert err == (
        "error: --out v/v3.npy: lies in the folder v, which is an input of this run; choose "
        "another place\n"
    )
    (work / "v3.jpg").touch()
    line = ["apply", "--texts", "t.h5", "--videos", "v.h5", "--out", "o.h5", "--report", "p.html"]
    (work / "p.html").touch()
    _, err = run(*line, "--thumbnails", ".", cwd=work, code=2)
    assert "p.html: lies in the folder ., which is an input" in err


# What commands write beside their outputs, without an option that names it.
BESIDE = [
    ("export", "o.npy.npz"),
    ("export", "o.npy.query.py"),
    ("train", "o.heads.checkpoint"),
    ("train-log", "o.heads.jsonl"),
]


@pytest.mark.parametrize(("command", "name"), BESIDE)
def test_what_lies_beside_an_output_is_kept_too(work, command, name):
    words, outputs = WRITERS[command.partition("-")[0]]
    if command.endswith("log"):
        outputs = {key: file for key, file in outputs.items() if key != "log"}
    line = call(words, outputs, "out", outputs["out"])
    for mine in ("mine = 1\n", "# Query it: later\n", '{"mine": 1}\n'):
        (work / name).write_text(mine)
        before = snapshot(work)
        _, err = run(*line, cwd=work, code=2)
        assert f"{name}: is there and is" in err and "--force" in err, err
        assert snapshot(work) == before
    run(*line, "--force", cwd=work)
    run(*line, cwd=work)


# Inputs that have no run above.
MORE_INPUTS = [
    ("search --texts t.h5 --index i.npy", "index"),
    ("fit --videos v.h5 --bank-texts b.h5 --heads h.heads --out o.model", "heads"),
    ("apply --videos v.h5 --texts t.h5 --heads h.heads --out o.h5", "heads"),
    ("apply --sims s.npy --bank-sims b.npy --out o.h5", "sims"),
    ("train --videos v.h5 --texts t.h5 --gt gt.json --settings t.json --out o.h", "settings"),
    ("eval --model m.model --texts t.h5 --videos v.h5 --gt gt.json", "model"),
    ("eval --results run.trec --gt gt.json", "results"),
    ("update --model m.model --videos x.h5 --index i.npy --out o.model", "index"),
]


def inputs():
    for name, (words, outputs) in WRITERS.items():
        given = [word for o, f in outputs.items() for word in ([f"--{o}", f] if o else [f])]
        for option, _ in inputs_of(words.split()):
            yield pytest.param([*words.split(), *given], option, id=f"{name}-{option}")
    yield pytest.param(["convert", "v.h5", "o.h5"], "", id="convert-IN")
    for words, option in MORE_INPUTS:
        yield pytest.param(words.split(), option, id=f"{words.split()[0]}-{option}-alone")


# Of the other two kinds, the readers that are not those of embeddings and ids.
ODD = [
    pytest.param(*each.values, kind, id=f"{each.id}-{kind}")
    for each in inputs()
    for kind in ("pipe", "folder", "device")
    if kind == "pipe" or str(each.id).endswith(("alone", "model", "settings", "gt", "captions"))
]


@pytest.mark.parametrize(("words", "option", "kind"), ODD)
def test_an_input_that_is_no_ordinary_file_ends_in_one_line(work, words, option, kind):
    """A pipe would be waited for, and a device never ends."""
    place = words.index(f"--{option}") + 1 if option else 1
    odd = work / "odd.h5"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    words = [*words]
    words[place] = "/dev/zero" if kind == "device" else "odd.h5"

    def stuck(*_):
        raise AssertionError("waits for ever")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(60)
    try:
        _, err = run(*words, cwd=work, code=2)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert not any((work / name).exists() for name in ("o.h5", "o.model", "page.html"))


def test_models_and_heads_have_names_of_their_own():
    names = {
        name: inspect.signature(
            getattr(import_module(f"rerank_cli.{name}"), f"{name}_command")
        ).parameters["out"].default
        for name in ("fit", "train", "apply")
    }  # fmt: skip
    assert len(set(names.values())) == 3
