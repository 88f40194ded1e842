"""Scores that are no matrix texts x videos: best hits of every row, ids among them, odd columns."""

import json
import re
import shlex

import h5py
import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_scores
from tests.cli.test_cli import run

N, M = 30, 20
SIMS = np.random.default_rng(3).normal(size=(N, M)).astype("f4")
SIMS[np.arange(N), np.arange(N) % M] += 2
ORDER = np.argsort(-SIMS, 1)
FALLING = np.take_along_axis(SIMS, ORDER, 1)
VIDEOS = np.array([f"video{7 * j + 3}" for j in range(M)])


def keep(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, item in arrays.items():
                file[name] = item.astype("S") if item.dtype.kind == "U" else item
    elif path.suffix == ".pt":
        torch.save(
            {k: x.tolist() if x.dtype.kind == "U" else torch.tensor(x) for k, x in arrays.items()},
            path,
        )
    else:
        path.write_text(json.dumps({name: item.tolist() for name, item in arrays.items()}))
    return path


def hits1(sims):
    return round(100 * (np.argmax(sims, 1) == np.arange(len(sims)) % M).mean(), 2)


def follow(error, folder, monkeypatch):
    """Run the line that a message prints, as it is."""
    monkeypatch.chdir(folder)
    line = re.search(r"(\S*python -c '[^']*')", str(error))[1]
    exec(shlex.split(line)[2], {})  # noqa: S102  our own line


@pytest.mark.parametrize("ending", ["npz", "h5", "pt"])
@pytest.mark.parametrize(
    "called",
    [("D", "I"), ("values", "indices"), ("scores", "labels"), ("sims", "topk_idx"),
     ("distances", "neighbors"), ("scores", "ids")],
)  # fmt: skip
def test_the_best_hits_of_every_row_are_no_matrix(tmp_path, called, ending):
    rises = called[0] == "distances"
    found = {called[0]: 1 - FALLING if rises else FALLING, called[1]: ORDER}
    path = keep(tmp_path / f"s.{ending}", **found)
    for dataset in (None, called[0]):
        with pytest.raises(FormatError, match=f"'{called[1]}' says which items these are"):
            read_scores(path, dataset=dataset)
    # Of a texts x videos matrix the best texts of every video, and of some rows fewer hits.
    turned = np.argsort(-SIMS, 0)
    path = keep(path, **{called[0]: np.take_along_axis(SIMS, turned, 0), called[1]: turned})
    with pytest.raises(FormatError, match="best hits of every column"):
        read_scores(path)
    some, scores = ORDER[:, :9].copy(), FALLING[:, :9].copy()
    some[::3, 6:], scores[::3, 6:] = -1, np.finfo("f4").max
    path = keep(path, **{called[0]: scores, called[1]: some})
    with pytest.raises(FormatError, match="best hits of every row"):
        read_scores(path)


def test_names_of_the_best_hits_are_no_ids(tmp_path):
    path = keep(tmp_path / "s.npz", scores=FALLING, ids=VIDEOS[ORDER])
    with pytest.raises(FormatError, match="'ids' says which items these are"):
        read_scores(path)


def test_what_stands_beside_a_matrix_and_is_no_ranking_of_it_is_let_be(tmp_path):
    ranks = np.argsort(ORDER, 1)
    rising = np.sort(SIMS, 1)
    labels = np.random.default_rng(0).integers(0, 3, size=(N, M))
    plain = np.tile(np.arange(M), (N, 1))
    one = {"scores": np.arange(M, 0, -1.0)[None], "gallery_ids": VIDEOS[None], "query_ids": ["q"]}
    for more in (
        {"scores": SIMS, "ranks": ranks}, {"scores": SIMS, "topk_scores": FALLING, "I": ORDER},
        {"scores": rising, "labels": labels}, {"scores": rising, "ranks": plain + 1},
        {"scores": FALLING[:2, :2], "I": ORDER[:2, :2]}, one,
    ):  # fmt: skip
        np.savez(tmp_path / "s.npz", **more)
        assert np.array_equal(read_scores(tmp_path / "s.npz").scores, more["scores"])


@pytest.mark.parametrize("kind", ["falls", "rises", "turned", "matlab", "less"])
def test_the_line_writes_the_matrix(tmp_path, monkeypatch, kind):
    arrays = {"scores": FALLING, "indices": ORDER}
    if kind == "rises":
        arrays = {"distances": 1 - FALLING, "indices": ORDER}
    elif kind == "turned":
        order = np.argsort(-SIMS, 0)
        arrays = {"scores": np.take_along_axis(SIMS, order, 0), "indices": order}
    elif kind == "matlab":
        arrays["indices"] = ORDER + 1.0
    elif kind == "less":
        arrays = {"scores": FALLING[:, :9], "indices": ORDER[:, :9]}
    path = keep(tmp_path / "s.npz", **arrays, texts=np.array([f"t{i}" for i in range(N)]))
    with pytest.raises(FormatError) as error:
        read_scores(path)
    follow(error.value, tmp_path, monkeypatch)
    made = read_scores(tmp_path / "s.matrix.npz", query_ids=None, gallery_ids="rows")
    assert made.query_ids[:2] == ("t0", "t1")
    wanted = 1 - SIMS if kind == "rises" else SIMS
    if kind == "less":
        wanted = np.where(np.argsort(ORDER, 1) < 9, SIMS, -np.inf)
    np.testing.assert_allclose(made.scores, wanted, rtol=1e-6)
    assert made.is_of_distances == (kind == "rises")


@pytest.mark.parametrize("big", [False, True])
def test_the_line_writes_a_ranking_where_hits_have_names(tmp_path, monkeypatch, big):
    names = np.arange(M) * 1000 + 5 if big else VIDEOS
    path = keep(
        tmp_path / "s.npz", scores=FALLING, ids=names[ORDER],
        text_ids=np.array([f"t{i}" for i in range(N)]),
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"--results \S*s.run.json") as error:
        read_scores(path)
    follow(error.value, tmp_path, monkeypatch)
    gt = tmp_path / "gt.json"
    pairs = [{"query_id": f"t{i}", "video_id": str(names[i % M])} for i in range(N)]
    gt.write_text(json.dumps(pairs))
    argv = ["eval", "--results", str(tmp_path / "s.run.json"), "--gt", str(gt), "--json"]
    out, _ = run(*argv, cwd=tmp_path)
    assert round(next(iter(json.loads(out)["after"].values()))["R@1"], 2) == hits1(SIMS)


@pytest.mark.parametrize("ending", ["npy", "npz", "h5", "pt", "csv"])
@pytest.mark.parametrize("line", ["first column", "last column", "first row"])
@pytest.mark.parametrize("first", [0, 1, 500])
def test_ids_among_scores_are_no_scores(tmp_path, monkeypatch, ending, line, first):
    ids = np.arange(first, first + (M if line == "first row" else N))
    parts = [ids[None], SIMS] if line == "first row" else [ids[:, None], SIMS]
    both = np.concatenate(parts[::-1] if "last" in line else parts, axis=int(line != "first row"))
    path = tmp_path / f"s.{ending}"
    if ending == "npy":
        np.save(path, both)
    elif ending == "csv":
        if line == "first row":
            return  # a header
        np.savetxt(path, both, delimiter=",")
    else:
        keep(path, scores=both, text_ids=np.array([f"t{i}" for i in range(len(both))]))
    if ending in ("npz", "h5", "pt") and line == "first row":
        assert read_scores(path, gallery_ids="rows").scores.shape == both.shape
        return
    numbers = {"gallery_ids": "rows"}
    with pytest.raises(FormatError, match=f"{line}|counts the rows") as error:
        read_scores(path, **numbers)
    if "python -c" not in str(error.value):
        assert ending == "csv" and first < 2
        return
    follow(error.value, tmp_path, monkeypatch)
    made = read_scores(tmp_path / "s.cut.npz", query_ids="rows", gallery_ids="rows")
    np.testing.assert_allclose(made.scores, SIMS, rtol=1e-6)
    if first == 500 and ending == "npy" and "column" in line:
        assert read_scores(tmp_path / "s.cut.npz", **numbers).query_ids[0] == "500"


def test_whole_scores_are_no_ids(tmp_path):
    counts = np.arange(N * M, dtype=float).reshape(N, M)
    odd = SIMS.copy()
    odd[:, 0] = np.round(odd[:, 0])
    few = np.c_[np.arange(4), SIMS[:4]]
    named = {"scores": np.c_[np.arange(N), SIMS[:, 1:]], "query_ids": [*map(str, range(N))]}
    cases = [counts, np.floor(SIMS * 10), odd, few, np.c_[np.zeros(N), SIMS], np.eye(N)]
    for more in (*({"scores": case} for case in cases), {**named, "gallery_ids": VIDEOS}):
        np.savez(tmp_path / "s.npz", **more)
        assert np.array_equal(read_scores(tmp_path / "s.npz").scores, more["scores"])


@pytest.mark.parametrize("kind", ["falls", "rises", "columns", "ended"])
@pytest.mark.parametrize("ids", [(), ("--text-ids", "rows", "--video-ids", "rows")])
def test_sorted_scores_alone_are_told(tmp_path, kind, ids):
    made = {"falls": FALLING, "rises": -FALLING, "columns": np.sort(SIMS, 0)}
    made["ended"] = np.where(np.arange(M) < 9, FALLING, -np.inf).astype("f4")
    np.save(tmp_path / "s.npy", made[kind][:M])
    _, said = run("eval", "--sims", "s.npy", "--gt", "diagonal", *ids, cwd=tmp_path)
    line = "column" if kind == "columns" else "row"
    assert f"scores of every {line} stand in their order" in said


@pytest.mark.parametrize("kind", ["usual", "constant", "same", "few", "one", "triangle", "eye"])
def test_matrices_of_other_orders_are_not_told_as_sorted(tmp_path, kind):
    x = SIMS[:M]
    popular = np.tile(-np.arange(M, dtype="f4"), (M, 1)) + SIMS[:M, :1]
    made = {
        "usual": x, "constant": np.full((M, M), 0.5), "same": popular, "few": FALLING[:4, :4],
        "one": FALLING[:1], "triangle": np.tril(np.ones((M, M))), "eye": np.eye(M),
    }[kind]  # fmt: skip
    np.save(tmp_path / "s.npy", made)
    pairs = [{"query_id": i, "video_id": i} for i in range(len(made))]
    (tmp_path / "gt.json").write_text(json.dumps(pairs))
    ids = ("--text-ids", "rows", "--video-ids", "rows")
    _, said = run("eval", "--sims", "s.npy", "--gt", "gt.json", *ids, cwd=tmp_path)
    assert "in their order" not in said
