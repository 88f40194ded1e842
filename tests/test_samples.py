"""What the sample embeddings promise: sizes, statistics like a real model's, reproducibility."""

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from rerank.io.embeddings import read_embeddings

FOLDER = Path(__file__).resolve().parent.parent / "data_samples"
H5_FILES = ("videos.h5", "texts.h5", "bank_videos.h5", "bank_texts.h5")
ALL_FILES = (*H5_FILES, "gt.json", "bank_gt.json")
TAU = 0.02


class Part(NamedTuple):
    """One split: cosine similarities (texts x videos) and what is right."""

    texts: np.ndarray
    videos: np.ndarray
    scores: np.ndarray
    right: np.ndarray


def read(name: str) -> tuple[list[str], np.ndarray]:
    with h5py.File(FOLDER / name) as file:
        return list(file["ids"].asstr()[:]), file["embeddings"][:]


def unit(name: str) -> np.ndarray:
    x = read(name)[1].astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@cache
def split(prefix: str = "") -> Part:
    text_ids, video_ids = read(f"{prefix}texts.h5")[0], read(f"{prefix}videos.h5")[0]
    truth = json.loads((FOLDER / f"{prefix}gt.json").read_text())
    row = {name: i for i, name in enumerate(video_ids)}
    owner = np.array([row[truth[name]] for name in text_ids])
    texts, videos = unit(f"{prefix}texts.h5"), unit(f"{prefix}videos.h5")
    return Part(texts, videos, texts @ videos.T, owner[:, None] == np.arange(len(video_ids)))


def recall_at_1(scores: np.ndarray, right: np.ndarray) -> float:
    return 100 * right[np.arange(len(scores)), scores.argmax(1)].mean()


def occurrences(scores: np.ndarray, k: int = 10) -> np.ndarray:
    top = np.argsort(-scores, axis=1)[:, :k]
    return np.bincount(top.ravel(), minlength=scores.shape[1])


def skewness(x: np.ndarray) -> float:
    return float((((x - x.mean()) / x.std()) ** 3).mean())


def lse(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)


def sinkhorn_biases(scores: np.ndarray, n_iters: int = 50) -> tuple[np.ndarray, np.ndarray]:
    f, g = np.zeros(scores.shape[0]), np.zeros(scores.shape[1])
    for _ in range(n_iters):
        g = -TAU * lse((scores + f[:, None]) / TAU, axis=0)
        f = -TAU * lse((scores + g) / TAU, axis=1)
    return f, g


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("make_samples", FOLDER / "make.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_files_are_small() -> None:
    assert sum((FOLDER / name).stat().st_size for name in ALL_FILES) < 2_000_000


@pytest.mark.parametrize("name", H5_FILES)
def test_files_are_canonical(name: str) -> None:
    with h5py.File(FOLDER / name) as file:
        assert file.attrs["rerank_schema"] == "rerank/1"
        assert file.attrs["kind"] == ("video" if "video" in name else "text")
        assert len(file.attrs["content_sha256"]) == 64
        assert set(file) == {"embeddings", "ids"}
        assert all(file[key].chunks and file[key].fletcher32 for key in file)
    ids, x = read(name)
    assert len(ids) == len(set(ids)) == len(x)
    assert x.dtype == np.float16 and np.isfinite(x).all()
    # Nobody should be able to align by position and be right.
    assert ids != sorted(ids)


@pytest.mark.parametrize("name", H5_FILES)
def test_the_reader_takes_them_and_finds_the_hash_right(name: str) -> None:
    ids, x = read(name)
    found = read_embeddings(FOLDER / name)
    assert list(found.ids) == ids
    assert (found.vectors == x).all()
    with h5py.File(FOLDER / name) as file:
        assert found.content_sha256 == file.attrs["content_sha256"]


@pytest.mark.parametrize("prefix", ["", "bank_"])
def test_every_text_has_one_video_and_some_videos_several_texts(prefix: str) -> None:
    truth = json.loads((FOLDER / f"{prefix}gt.json").read_text())
    assert set(truth) == set(read(f"{prefix}texts.h5")[0])
    assert set(truth.values()) == set(read(f"{prefix}videos.h5")[0])
    captions = np.bincount(split(prefix).right.sum(0))
    assert captions[0] == 0 and (captions[1:4] > 20).all()


def test_the_bank_holds_other_items() -> None:
    for kind in ("videos", "texts"):
        assert not set(read(f"{kind}.h5")[0]) & set(read(f"bank_{kind}.h5")[0])
    for ours, bank in (
        (split().texts, split("bank_").texts),
        (split().videos, split("bank_").videos),
    ):
        assert (ours @ bank.T).max() < 0.95


@pytest.mark.parametrize("prefix", ["", "bank_"])
def test_cones_and_gap(prefix: str) -> None:
    part = split(prefix)
    assert (part.texts @ part.texts.T).mean() > 0.45
    assert (part.videos @ part.videos.T).mean() > 0.45
    assert part.scores.mean() < 0.3
    gap = part.texts.mean(0) - part.videos.mean(0)
    assert np.linalg.norm(gap) > 0.5


def test_raw_retrieval_is_like_a_zero_shot_models() -> None:
    part = split()
    assert 33 < recall_at_1(part.scores, part.right) < 37
    assert 33 < recall_at_1(part.scores.T, part.right.T) < 42
    assert 2.5 < skewness(occurrences(part.scores)) < 4
    assert 2.5 < skewness(occurrences(part.scores.T)) < 4


def test_sinkhorn_gains_and_removes_the_hubs() -> None:
    part = split()
    f, g = sinkhorn_biases(part.scores)
    assert 5 < recall_at_1(part.scores + g, part.right) - recall_at_1(part.scores, part.right) < 15
    back, back_right = part.scores.T, part.right.T
    assert 5 < recall_at_1(back + f, back_right) - recall_at_1(back, back_right) < 15
    assert skewness(occurrences(part.scores + g)) < 1


def test_the_bank_gains_too() -> None:
    part, bank = split(), split("bank_")
    _, g = sinkhorn_biases(bank.texts @ part.videos.T)
    assert recall_at_1(part.scores + g, part.right) - recall_at_1(part.scores, part.right) > 3
    _, f = sinkhorn_biases(bank.videos @ part.texts.T)
    back, back_right = part.scores.T, part.right.T
    assert recall_at_1(back + f, back_right) - recall_at_1(back, back_right) > 3


def test_the_script_makes_exactly_these_files(tmp_path: Path) -> None:
    script = load_script()
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        script.main(folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(ALL_FILES)
    for name in ALL_FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for name in H5_FILES:
        with h5py.File(first / name) as new, h5py.File(FOLDER / name) as kept:
            assert dict(new.attrs) == dict(kept.attrs)
            assert (new["embeddings"][:] == kept["embeddings"][:]).all()
            assert (new["ids"][:] == kept["ids"][:]).all()
    for name in ("gt.json", "bank_gt.json"):
        assert (first / name).read_bytes() == (FOLDER / name).read_bytes()
