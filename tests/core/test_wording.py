"""Laws of wording: one thing to do is said in the words of whoever reads it."""

import json
import re
import warnings

import numpy as np
import pytest

import rerank
from rerank.core import memory
from rerank.core.wording import either, label, option, typed
from tests.cli.test_cli import run

FLAG = re.compile(r"(^|[ (`])--[a-z]")


def notes_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("shape", [(60, 50), (50, 60)])
def test_python_and_the_command_line_say_the_same_each_in_its_words(tmp_path, shape):
    scores = np.random.default_rng(0).normal(size=shape) + 2 * np.eye(*shape)
    said = "\n".join(notes_of(lambda: rerank.rerank(scores)))
    assert 'groups="one-to-one"' in said and 'groups="grouped"' in said and "tau=" in said
    assert not FLAG.search(said)
    np.save(tmp_path / "s.npy", scores)
    _, err = run("apply", "--sims", "s.npy", cwd=tmp_path)
    assert "--one-to-one" in err and "--grouped" in err and "--tau" in err
    assert not re.search(r"[a-z]=", err)


def test_what_a_model_refuses_is_said_in_python(samples):
    bank = rerank.read_embeddings(samples / "bank_texts.h5")
    gallery = rerank.read_embeddings(samples / "videos.h5")
    model = rerank.fit(gallery, bank_texts=bank, keep_bank=False)
    assert not any(FLAG.search(note) for note in model.notes)
    with pytest.raises(rerank.RerankError, match="^remove: 'nix' is not in") as refused:
        model.remove(["nix"])
    assert not FLAG.search(str(refused.value))
    with pytest.raises(rerank.RerankError) as refused:
        model.add(np.ones((1, 128)), ids=["new"])
    assert "keep_bank=True" in str(refused.value) and not FLAG.search(str(refused.value))


@pytest.mark.parametrize("method", ["em", "align", "sinkhorn-sparse", "center", "alpha-qe"])
def test_methods_of_embeddings_refuse_scores_in_the_words_of_the_reader(tmp_path, method):
    scores = np.random.default_rng(0).normal(size=(60, 50))
    with pytest.raises(rerank.RerankError, match=r"a Pair\(queries") as refused:
        rerank.rerank(scores, method=method)
    assert not FLAG.search(str(refused.value))
    np.save(tmp_path / "s.npy", scores)
    _, err = run("apply", "--sims", "s.npy", "--method", method, cwd=tmp_path, code=2)
    assert "--videos and --texts instead of --sims" in err and "Pair" not in err


ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
NAMES = [f"v{i}" for i in range(6)]
# What a file holds, how it is asked for in Python, and on the command line.
READ = {
    "no ids": ({"x": ROWS}, "ids=", "--text-ids"),
    "two matrices": ({"a": ROWS, "b": ROWS, "ids": NAMES}, "dataset='a'", "--dataset texts=a"),
    "a list of names": ({"x": ROWS, "tags": NAMES}, "id_column=", "--id-column"),
    "frames": ({"features": ROWS[:, None].repeat(2, 1), "ids": NAMES}, "pool=", "--pool mean"),
}


@pytest.mark.parametrize("case", READ)
def test_readers_refuse_files_in_the_words_of_the_reader(tmp_path, case):
    arrays, call, typed_words = READ[case]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(rerank.RerankError) as refused:
        rerank.read_embeddings(tmp_path / "x.npz")
    assert call in str(refused.value) and not FLAG.search(str(refused.value))
    np.savez(tmp_path / "v.npz", x=ROWS + 1, ids=NAMES)
    _, err = run("inspect", "--texts", "x.npz", "--videos", "v.npz", cwd=tmp_path, code=2)
    assert typed_words in err and call not in err


TRUTHS = {
    "unknown": ({"t0": "v0", "t1": "v9"}, "allow_unjudged=True", "--allow-unjudged"),
    "swapped": ({"v0": "t0", "v1": "t0"}, 'direction="video-text"', "--gt-direction video-text"),
    "a row": ({"t0": "v0", "t1": "1"}, "give ids 0, 1, ...", "--text-ids rows"),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_ground_truths_are_refused_in_the_words_of_the_reader(tmp_path, case):
    pairs, call, typed_words = TRUTHS[case]
    (tmp_path / "gt.json").write_text(json.dumps(pairs))
    texts = [f"t{i}" for i in range(6)]
    with pytest.raises(rerank.RerankError) as refused:
        rerank.read_ground_truth(tmp_path / "gt.json", texts, NAMES)
    assert call in str(refused.value) and not FLAG.search(str(refused.value))
    np.savez(tmp_path / "t.npz", x=ROWS, ids=texts)
    np.savez(tmp_path / "v.npz", x=ROWS + 1, ids=NAMES)
    files = ("--texts", "t.npz", "--videos", "v.npz", "--gt", "gt.json")
    _, err = run("eval", *files, cwd=tmp_path, code=2)
    assert typed_words in err and call not in err


def test_what_takes_too_much_memory_says_how_to_get_it(tmp_path):
    np.save(tmp_path / "s.npy", np.zeros((600, 500), np.float32))
    with pytest.raises(rerank.RerankError) as refused, memory.limit(100):
        rerank.read_scores(tmp_path / "s.npy")
    assert "rerank.core.memory.limit(" in str(refused.value)
    assert not FLAG.search(str(refused.value))


def test_words_end_with_the_block_that_types():
    with pytest.raises(ZeroDivisionError), typed():
        assert (option("tau"), label("keep-bank"), either("a", "b")) == (
            "--tau",
            "--keep-bank",
            "a",
        )
        raise ZeroDivisionError
    assert (option("tau"), label("keep-bank"), either("a", "b")) == ("tau=", "keep_bank", "b")
