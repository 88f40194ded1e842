"""Every command that reads embeddings takes everything that can be said about their files."""

import json
import math
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest

from rerank import io
from rerank_cli.app import COMMANDS
from rerank_cli.groups import spread
from tests.cli.test_cli import run

N, D = 30, 6
RNG = np.random.default_rng(0)
VIDEOS = RNG.normal(size=(N, D)).astype("f4")
TEXTS = (VIDEOS + 0.4 * RNG.normal(size=(N, D))).astype("f4")
BANK = (VIDEOS + 0.4 * RNG.normal(size=(N, D))).astype("f4")
MORE = RNG.normal(size=(3, D)).astype("f4")
SIDES = {"videos": VIDEOS, "texts": TEXTS, "bank": BANK, "more": MORE}
IDS = {side: [f"{side[0]}{i}" for i in range(len(x))] for side, x in SIDES.items()}

# Every command that reads embeddings; {v} and the like are the files of this way of storing them.
FIT = "fit --videos {v} --bank-texts {b} --method sinkhorn --tau 0.1 --keep-bank --out {model}"
READERS = {
    "apply": "apply --videos {v} --texts {t} --out {out}.h5",
    "eval": "eval --videos {v} --texts {t} --gt {gt}",
    "compare": "compare --videos {v} --texts {t} --gt {gt} --methods csls --resamples 5 "
    "--format json",
    "inspect": "inspect --videos {v} --texts {t}",
    "fit": FIT,
    "search": "search --model {plain} --videos {v} --texts {t}",
    "update": "update --model {plain} --videos {m} --out {model}",
    "export": "export --model {plain} --videos {v} --to npy --out {out}.npy",
    "tune": "tune --videos {v} --texts {t} --gt {gt} --method csls --folds 2 --out {out}.json",
    "train": "train --videos {v} --texts {t} --gt {gt} --epochs 1 --out {out}.heads --fresh",
    "plan": "plan --videos {v} --texts {t}",
    "convert": "convert {v} {out}.canonical.h5",
}
# What a command does not read is not said to it.
ALONE = {"fit": "videos", "convert": "videos", "update": "more", "export": "videos"}


def test_every_command_that_reads_embeddings_is_here():
    """By introspection: an option for embeddings brings all options of `Reading`."""
    wanted = {each.name for each in fields(io.Reading)}
    reading = set()
    for name in COMMANDS:
        command = getattr(import_module(f"rerank_cli.{name}"), f"{name}_command")
        options = set(spread(command)[0].parameters)
        if options & {"videos", "texts", "source"}:
            reading.add(name)
            assert wanted <= options, (name, wanted - options)
    assert reading == set(READERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readings")
    for way in WAYS:
        (folder / way).mkdir()
        for side, rows in SIDES.items():
            WAYS[way][0](folder / way / side, rows, IDS[side])
    pairs = {t: v for t, v in zip(IDS["texts"], IDS["videos"], strict=True)}
    (folder / "gt.json").write_text(json.dumps(pairs))
    (folder / "reversed.json").write_text(json.dumps({v: t for t, v in pairs.items()}))
    for side, ids in IDS.items():
        (folder / f"{side}.txt").write_text("\n".join(ids))
    run(*_words(folder, FIT, "plain", model="plain.model"), cwd=folder)
    return folder


def plain(path: Path, rows, ids):
    io.write_embeddings(path.with_suffix(".h5"), ids, rows)


def nameless(path: Path, rows, _ids):
    np.save(path.with_suffix(".npy"), rows)


def crowded(path: Path, rows, ids):
    """Frames among other arrays, with ids under a name that nobody guesses."""
    with h5py.File(path.with_suffix(".h5"), "w") as f:
        f["mine"] = np.stack([rows, rows], axis=1)
        f["other"] = rows[::-1]
        f["label"] = ids
        f["ids"] = [f"x{name}" for name in ids]


def table(path: Path, rows, ids):
    """Two columns of vectors and two of names."""
    lines = ["name,other,first,second"]
    for name, row in zip(ids, rows.astype(float), strict=True):
        lines.append(f'{name},z{name},"{row[::-1].tolist()}","{row.tolist()}"')
    path.with_suffix(".csv").write_text("\n".join(lines) + "\n")


WAYS = {
    "plain": (plain, "h5", ""),
    "nameless": (nameless, "npy", "{ids}"),
    "crowded": (crowded, "h5", "--dataset mine --id-column label --pool mean --pool-raw"),
    "table": (table, "csv", "--embedding-column second --id-column name"),
}


def _words(folder, text, way, **more):
    ending = WAYS[way][1]
    files = {side[0]: f"{way}/{side}.{ending}" for side in SIDES}
    named = {"gt": "gt.json", "plain": "plain.model", "model": "m", "out": "o", **more}
    return text.format(**files, **named).split()


def _said(way, command):
    if way != "nameless":
        return WAYS[way][2].split()
    sides = {"videos": "videos", "texts": "texts"}
    if command in ALONE:
        sides = {"videos": ALONE[command]}
    return [word for side, file in sides.items() for word in (f"--{side[:-1]}-ids", f"{file}.txt")]


def numbers(value, key=""):
    """All numbers and all names of an answer, but times and places."""
    if isinstance(value, dict):
        left_out = ("second", "time", "memory", "inputs", "settings", "source", "norm", "peak")
        return [x for k, v in value.items() if not any(w in k for w in left_out)
                for x in numbers(v, k)]  # fmt: skip
    if isinstance(value, list):
        return [x for v in value for x in numbers(v)]
    if isinstance(value, float):
        return [] if math.isnan(value) else [value]
    return [value] if isinstance(value, int) else []


def answer(folder, command, way, *more, **named):
    words = _words(folder, READERS[command], way, **named)
    as_json = () if command == "compare" else ("--json",)
    return json.loads(run(*words, *_said(way, command), *more, *as_json, cwd=folder)[0])


@pytest.fixture(scope="module")
def expected(folder):
    """Answers from plain files, computed once."""
    known = {}

    def of(command):
        if command not in known:
            known[command] = numbers(answer(folder, command, "plain"))
            assert known[command]
        return known[command]

    return of


@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
@pytest.mark.parametrize("command", READERS)
def test_the_answer_does_not_depend_on_how_the_numbers_are_stored(folder, expected, command, way):
    found = numbers(answer(folder, command, way))
    # A search for the likeliest temperature ends where the likelihood is flat.
    near = 0.02 if command == "tune" else 1e-4
    assert found == pytest.approx(expected(command), rel=near, abs=1e-5)


@pytest.mark.parametrize("command", ["eval", "compare", "tune", "train"])
def test_a_stated_direction_reaches_every_ground_truth(folder, expected, command):
    said = ("--gt-direction", "video-text")
    found = numbers(answer(folder, command, "plain", *said, gt="reversed.json"))
    assert found == pytest.approx(expected(command), rel=1e-4, abs=1e-5)
    words = _words(folder, READERS[command], "plain")
    run(*words, *said, cwd=folder, code=2)


@pytest.mark.parametrize("command", ["fit", "update", "export", "search"])
def test_ids_of_files_that_are_not_read_are_refused(folder, command):
    words = _words(folder, READERS[command], "plain")
    side = "--video-ids" if command == "search" else "--text-ids"
    if command == "search":
        words = _words(folder, "search --model {plain} --texts {t}", "plain")
        words += ["--videos", "plain/videos.h5", "--videos", "plain/more.h5"]
    _, err = run(*words, side, "texts.txt", cwd=folder, code=2)
    assert side in err and ("not read here" in err or "names the rows of one file" in err)


def test_a_served_model_and_its_results_have_the_same_figures(folder):
    given = ("--gt", "gt.json", "--figures", "R@1,R@5", "--json")
    sides = ("--videos", "plain/videos.h5", "--texts", "plain/texts.h5")
    served, _ = run("eval", "--model", "plain.model", *sides, *given, cwd=folder)
    run("search", "--model", "plain.model", *sides, "--out", "found.trec", cwd=folder)
    listed, said = run("eval", "--results", "found.trec", *given, cwd=folder)
    served, listed = json.loads(served), json.loads(listed)
    assert served["after"] == listed["after"] and served["label"] == "inductive"
    assert "taken for texts" in said
    shown, _ = run("eval", "--results", "found.trec", *given[:-1], cwd=folder)
    assert "t2v after" in shown and "v2t" not in shown
