"""The public verbs give what the commands give, whatever the inputs are held in."""

import json

import numpy as np
import pytest
import torch

import rerank
from rerank import RerankError
from rerank.io import write_embeddings
from rerank.metrics.hubness import rise
from rerank.tasks.apply import apply_files
from rerank.tasks.export import export_files
from rerank.tasks.inspect import inspect_files
from rerank.tasks.tune import tune_files

RNG = np.random.default_rng(0)
VIDEOS = RNG.normal(size=(40, 8)).astype(np.float32)
TEXTS = VIDEOS + RNG.normal(size=(40, 8)).astype(np.float32) + 0.5
BANK = RNG.normal(size=(60, 8)).astype(np.float32) + 0.5
T_IDS, V_IDS = [f"t{i}" for i in range(40)], [f"v{i}" for i in range(40)]
BY_NAME = {t: [v] for t, v in zip(T_IDS, V_IDS, strict=True)}


@pytest.fixture
def files(tmp_path):
    write_embeddings(tmp_path / "t.h5", T_IDS, TEXTS)
    write_embeddings(tmp_path / "v.h5", V_IDS, VIDEOS)
    (tmp_path / "gt.json").write_text(json.dumps(BY_NAME))
    return {"texts": tmp_path / "t.h5", "videos": tmp_path / "v.h5"}


def test_tune_is_the_command(files, tmp_path):
    options = {"methods": "sinkhorn,is", "folds": 2}
    by_command = tune_files(tmp_path / "gt.json", tmp_path / "s.json", **files, **options)
    report = rerank.tune(TEXTS, torch.from_numpy(VIDEOS), methods=["Sinkhorn", "IS"], folds=2)
    assert report.as_dict() == by_command.as_dict()
    named = rerank.tune(files["texts"], files["videos"], tmp_path / "gt.json", **options)
    assert named.as_dict() == by_command.as_dict()
    report.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "s.json").read_bytes()
    assert "\n" not in repr(report) and repr(report).startswith("TuneReport(method ")
    assert rerank.apply(TEXTS, VIDEOS, **report.chosen).method == report.settings.method


def test_tune_of_a_matrix_leaves_em_out():
    report = rerank.tune(scores=TEXTS @ VIDEOS.T, folds=2)
    assert [tried.settings.method for tried in report.tried] == ["sinkhorn"]


def test_inspect_is_the_command(files):
    found = rerank.inspect(TEXTS, torch.from_numpy(VIDEOS), k=5)
    by_command = inspect_files(**files, k=5)
    for name, ids in (("t2v", V_IDS), ("v2t", T_IDS)):
        mine, theirs = found["hubness"][name], by_command["hubness"][name]
        assert mine["skewness"] == theirs["skewness"]
        assert [ids[int(hub["id"])] for hub in mine["top"]] == [h["id"] for h in theirs["top"]]
    assert found["geometry"] == by_command["geometry"]
    assert rerank.inspect(**files, k=5) == by_command
    alone = rerank.inspect(videos=VIDEOS)
    assert list(alone["hubness"]) == ["itself"]
    assert "\n" not in repr(found) and repr(found).startswith("Inspection(t2v skewness ")


def test_hubs_that_weigh_more_than_before_are_a_note_at_every_door(files, tmp_path):
    seen = set()
    for seed, method in enumerate(["sinkhorn", "none", "is", "csls", "sinkhorn"]):
        shift = np.random.default_rng(seed).normal(size=8).astype(np.float32)
        made = rerank.apply(TEXTS, VIDEOS + seed * shift, method=method, tau=0.02 + 0.1 * seed)
        write_embeddings(tmp_path / "u.h5", V_IDS, VIDEOS + seed * shift)
        told = apply_files(
            texts=[files["texts"]], videos=[tmp_path / "u.h5"], out=tmp_path / "o.h5", force=True,
            settings={"method": method, "tau": 0.02 + 0.1 * seed},
        )  # fmt: skip
        for side in (made.t2v, made.v2t):
            text = rise(side.before, side.after)
            seen.add(bool(text))
            shown = [(round(x.skewness, 2), len(x.antihubs)) for x in (side.before, side.after)]
            assert bool(text) == any(now > before for before, now in zip(*shown, strict=True))
            notes = [note for note in side.notes if note.startswith("hubs weigh")]
            assert notes == ([text] if text else [])
            fit = told.manifest["fits"][side.direction.name]
            assert [note for note in fit["notes"] if note.startswith("hubs weigh")] == notes
            assert not text or any(note.endswith(text) for note in told.notes)
    assert seen == {True, False}


def test_export_is_the_command(files, tmp_path):
    model = rerank.fit(files["videos"], bank_texts=BANK, tau=0.1)
    model.save(tmp_path / "m.safetensors", keep_gallery=False)
    told = export_files(
        tmp_path / "m.safetensors", out=tmp_path / "a.npy", to="npy",
        videos=[files["videos"]], texts=[files["texts"]],
    )  # fmt: skip
    made = rerank.export(model, tmp_path / "b.npy", to="npy", queries=TEXTS)
    lean = rerank.export(
        tmp_path / "m.safetensors", tmp_path / "c.npy", to="npy", gallery=VIDEOS, queries=TEXTS
    )
    assert dict(made.manifest) == {k: v for k, v in told.manifest.items() if k != "out"}
    assert lean.manifest == made.manifest
    written = [(tmp_path / name).read_bytes() for name in ("a.npy", "b.npy", "c.npy")]
    assert written[0] == written[1] == written[2]
    assert "\n" not in repr(made)
    with pytest.raises(RerankError, match="saved without the vectors"):
        rerank.export(tmp_path / "m.safetensors", tmp_path / "d.npy", to="npy")


def test_compare_and_bank_pairs_take_names(files, tmp_path):
    write_embeddings(tmp_path / "b.h5", [f"b{i}" for i in range(60)], BANK)
    pairs = {f"b{i}": [f"v{i % 40}"] for i in range(60)}
    found = rerank.compare(
        **files, gt=BY_NAME, methods=["csls"], resamples=20,
        bank_texts=tmp_path / "b.h5", bank_videos=files["videos"], bank_gt=pairs,
    )  # fmt: skip
    assert {table.label for table in found.tables} >= {"inductive"}


@pytest.mark.parametrize("verb", ["apply", "compare", "tune", "inspect"])
def test_the_same_embeddings_on_both_sides_are_refused_as_by_the_commands(tmp_path, verb):
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    write_embeddings(tmp_path / "x.h5", [f"v{i}" for i in range(20)], x)
    path = str(tmp_path / "x.h5")
    for texts, videos in ((x, x), (x, x.copy()), (torch.tensor(x), x), (path, path), (path, x)):
        with pytest.raises(RerankError, match="hold the same embeddings; give texts and videos"):
            getattr(rerank, verb)(texts, videos)
    one_row_moved = x.copy()
    one_row_moved[7] += 1
    getattr(rerank, verb)(x, one_row_moved)
