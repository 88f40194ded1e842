"""What the sides are called: in a block, from an option, a result file, or the files themselves."""

import json
import re

import h5py
import numpy as np
import pytest

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.tasks.naming import nouns_of
from tests.cli.test_cli import run


def test_the_words_hold_inside_the_block_only():
    with nouns.calling("captions,shoes"):
        assert nouns.of("t2v") == ("captions", "shoes") and nouns.of("v2t") == ("shoes", "captions")
    assert nouns.of("t2v") == ("texts", "videos")


@pytest.mark.parametrize("text", ["", "one", "a,b,c", "x,x", "<b>,c", "1,2"])
def test_two_words_are_asked_for(text):
    with pytest.raises(RerankError, match="captions,shoes"):
        nouns.parse(text)


@pytest.fixture
def shoes(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8))
    for name, kind in (("q.h5", "caption"), ("g.h5", "shoe")):
        with h5py.File(tmp_path / name, "w") as file:
            file["embeddings"] = vectors + 0.1 * rng.normal(size=vectors.shape)
            file["ids"] = np.array([f"{kind}{i}" for i in range(40)], dtype=h5py.string_dtype())
            file.attrs["kind"] = kind
    truth = {f"caption{i}": f"shoe{i}" for i in range(40)}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    return tmp_path


def test_files_name_their_sides_and_the_option_has_the_last_word(shoes):
    files = {"texts": shoes / "q.h5", "videos": shoes / "g.h5"}
    assert nouns_of(None, **files) == ("captions", "shoes")
    assert nouns_of("queries,boots", **files) == ("queries", "boots")


def test_output_result_and_report_follow(shoes):
    files = ("--queries", "q.h5", "--gallery", "g.h5")
    said, _ = run("apply", *files, "--nouns", "lines,boots", cwd=shoes)
    assert "40 lines" in said and "40 boots" in said and "videos," not in said
    # The result file remembers.
    run("eval", "--gt", "gt.json", "--report", "page.html", cwd=shoes)
    page = (shoes / "page.html").read_text(encoding="utf-8")
    said = page.partition("<h2>What was done")[0].partition("</style>")[2]
    assert "lines to boots" in said and "videos" not in said and '["lines","boots"]' in page
    said, _ = run("inspect", *files, cwd=shoes)
    assert "shoes" in said and "videos:" not in said.replace("--videos", "").split("\n\n")[-1]
    said, _ = run("compare", *files, "--gt", "gt.json", "--methods", "csls", cwd=shoes)
    assert "captions to shoes" in said


def test_no_command_calls_shoes_videos(shoes):
    both = ("--queries", "q.h5", "--gallery", "g.h5")
    model = ("--model", "model.safetensors", *both)
    for words in (
        ("fit", "--gallery", "g.h5", "--bank-queries", "q.h5"),
        ("search", *model, "--out", "found.jsonl"),
        ("export", *model, "--to", "npy", "--out", "found.npy"),
        ("tune", *both, "--gt", "gt.json", "--out", "s.json", "--method", "csls", "--folds", "2"),
        ("train", *both, "--gt", "gt.json", "--epochs", "1"),
        ("plan", *both),
        ("apply", *both, "--bank-queries", "q.h5"),
        ("compare", *both, "--gt", "gt.json", "--methods", "csls", "--bank-queries", "q.h5"),
    ):
        out, err = run(*words, cwd=shoes)
        # Options keep their names; what is printed of a script is no sentence.
        said = re.sub(r"--[\w-]+", "", out.partition("query it")[0] + err)
        assert not re.search(r"\b(text|video)s?\b", said), said
    out, _ = run("fit", "--gallery", "g.h5", "--bank-queries", "q.h5", "--nouns", "lines,boots",
                 cwd=shoes)  # fmt: skip
    assert "40 boots" in out and "40 lines" in out
