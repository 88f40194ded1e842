"""Every door gives the same numbers: one engine answers them all."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import rerank
from rerank import io
from rerank.core.similarity import Dense, Pair
from rerank.methods import directions, engine
from rerank.methods.base import Pipeline
from rerank.metrics.judge import judge
from rerank.selection.gate import gate
from rerank.selection.tune import Evidence, Settings, make_side
from rerank.tasks import apply as tasks
from rerank.tasks.compare import compare, compare_files
from rerank.tasks.evaluate_files import judge_raw, judge_results
from rerank.tasks.inspect import inspect_files
from rerank.tasks.tune import tune_files

D = 24


def made(n, m, seed=0, noise=0.8):
    """Texts of videos around a common point, with a few hubs: (texts, videos, right)."""
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(m, D)) + rng.normal(size=D)
    videos[: m // 20] += 1.5 * videos.mean(axis=0)
    right = np.arange(n) % m
    return videos[right] + noise * rng.normal(size=(n, D)), videos, right


def repeated(n, m):
    """Each query asked again and again, as popular ones are, with noise of its own."""
    texts, videos, right = made(n, m, seed=3)
    rng = np.random.default_rng(4)
    rows = np.minimum(rng.zipf(1.5, size=n) - 1, n - 1)
    return texts[rows] + 0.01 * rng.normal(size=texts.shape), videos, right[rows]


DATA = {
    "plain": lambda: made(120, 120),
    "few queries": lambda: made(25, 120, seed=1),
    "few items": lambda: made(120, 30, seed=2),
    "repeated queries": lambda: repeated(150, 100),
}
each_data = pytest.mark.parametrize("name", DATA)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@each_data
def test_a_matrix_is_answered_alike_by_every_door(name, tmp_path):
    texts, videos, right = DATA[name]()
    scores = Pair(texts, videos).scores()
    run = rerank.apply(scores=scores)
    want = run.scores()
    assert torch.equal(rerank.rerank(scores), want)
    by_engine = engine.fit(directions.from_scores(Dense(scores)))
    assert torch.equal(by_engine.matrix().scores(), want)
    stages = Pipeline("sinkhorn").fit(Dense(scores))
    assert torch.equal(stages.transform(Dense(scores)).scores(), run.t2v.sim.scores())
    _compared(directions.from_scores(Dense(scores)), right, run, "sinkhorn")
    _from_file(tmp_path, run, right, scores=scores)


@each_data
@pytest.mark.parametrize("method", [None, "em+sinkhorn", "csls", "sinkhorn+align", "align+csls"])
def test_embeddings_are_answered_alike_by_every_door(name, method, tmp_path):
    texts, videos, right = DATA[name]()
    run = rerank.apply(texts, videos, method=method)
    both = directions.from_embeddings(texts, videos)
    by_engine = engine.fit(both, method)
    for side in ("t2v", "v2t"):
        assert torch.equal(by_engine[side].sim.scores(), getattr(run, side).sim.scores())
        whole = by_engine[side].fitted.transform(both[side].sim).scores()
        torch.testing.assert_close(by_engine[side].sim.scores(), whole)
    _compared(both, right, run, run.method)
    _from_file(tmp_path, run, right, texts=texts, videos=videos, method=method)


@pytest.mark.parametrize("named", ["ids", "group_ids"])
@pytest.mark.parametrize("said", ["auto", "grouped", "one-to-one"])
def test_groups_that_are_known_count_at_every_door(named, said, tmp_path):
    texts, videos, _ = made(60, 120, seed=5)
    groups = [f"v{i // 6}" for i in range(60)]
    ids = [f"{group}#{i}" for i, group in enumerate(groups)] if named == "ids" else None
    names = ids or [f"t{i}" for i in range(60)]
    held = io.Embeddings(tuple(names), texts, "made", None if ids else tuple(groups))
    paths = tmp_path / "texts.h5", tmp_path / "videos.h5"
    io.write_embeddings(paths[0], names, texts, group_ids=held.group_ids)
    io.write_embeddings(paths[1], [f"v{i}" for i in range(120)], videos)
    out = tmp_path / "out.h5"
    tasks.apply_files(texts=paths[0], videos=paths[1], out=out, k=5, groups=said)
    want = io.read_results(out).directions["t2v"].indices
    stated = said if said == "one-to-one" else groups
    for found in (
        rerank.apply(held, videos, k=5, groups=said),
        rerank.apply(paths[0], paths[1], k=5, groups=said),
        rerank.apply(texts, videos, k=5, groups=stated),
    ):
        places = np.vectorize(lambda name: int(name.strip("v")))(found.t2v.ids)
        np.testing.assert_array_equal(places, want)
    if said != "one-to-one":
        other = rerank.apply(texts, videos, k=5, groups="one-to-one")
        assert not np.array_equal(np.vectorize(int)(other.t2v.ids), want)


@pytest.mark.parametrize("gated", [False, True])
def test_a_bank_is_answered_alike_by_every_door(gated):
    texts, videos, right = made(190, 190)
    bank_texts, bank_videos = texts[100:], videos[100:]
    texts, videos, right = texts[:80], videos[:100], right[:80]
    positives = tuple(np.array([j]) for j in range(90)) if gated else None
    bank = {"bank_texts": bank_texts, "bank_videos": bank_videos, "bank_gt": positives}
    method = None if gated else "em+sinkhorn"
    run = rerank.apply(texts, videos, method=method, **bank)
    both = directions.from_embeddings(
        texts, videos, bank_texts=bank_texts, bank_videos=bank_videos, bank_positives=positives
    )
    by_engine = engine.fit(both, method, gate=gate())
    model = rerank.fit(
        videos, bank_texts=bank_texts, bank_videos=bank_videos, bank_gt=positives, method=method
    )
    # A fit knows no queries that the gate could look at; those of the bank's kind change nothing.
    for fitted, want in ((by_engine.t2v.fitted, run.t2v.fitted), (model.fitted, run.t2v.fitted)):
        for one, other in ((fitted.map, want.map), (fitted.gallery_bias, want.gallery_bias)):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)
    assert run.t2v.label in ("inductive", "none")
    _compared(both, right, run, "gated" if gated else run.method)


@each_data
def test_tuning_judges_what_apply_does(name):
    texts, videos, right = DATA[name]()
    both = directions.from_embeddings(texts, videos)
    side = make_side(both["t2v"], [np.array([j]) for j in right], np.arange(len(right)))
    evidence = Evidence({"t2v": side})
    own = Settings("em+sinkhorn", tau=0.05, rho=1.0, strength=-0.75, n_bases=8)
    run = rerank.apply(
        texts, videos, method="em+sinkhorn", tau=0.05, rho=1.0, strength=-0.75, n_bases=8
    )
    hits = judge(run.t2v.sim, [np.array([j]) for j in right]).ranks.hits(1)
    np.testing.assert_array_equal(evidence.figures(own)["t2v"].hits, hits)


def _compared(both, right, run, method):
    """`compare` shows the figures of what `apply` ranks."""
    found = compare(
        both, [np.array([j]) for j in right], methods=[run.method], resamples=10, figures="R@1,MnR"
    )
    shown = {
        (table.direction, entry.method): entry for table in found.tables for entry in table.entries
    }
    for side in ("t2v", "v2t"):
        if (side, method) not in shown:
            continue
        positives = [np.array([j]) for j in right]
        if side == "v2t":
            positives = [np.flatnonzero(right == j) for j in range(both["t2v"].sim.shape[1])]
        ranks = judge(getattr(run, side).sim, positives).ranks
        entry = shown[side, method]
        assert entry.figures["R@1"] == pytest.approx(100 * ranks.hits(1).mean(), abs=1e-9)
        assert entry.figures["MnR"] == pytest.approx(ranks.values.mean(), rel=1e-12)
    assert ("t2v", method) in shown


def _from_file(folder, run, right, *, method=None, **given):
    """`apply` on files writes, and `eval` judges, what `apply` in Python makes."""
    names = {role: [f"{role[0]}{i}" for i in range(len(x))] for role, x in given.items()}
    paths = {}
    for role, x in given.items():
        if role == "scores":
            n, m = x.shape
            names = {"texts": [f"t{i}" for i in range(n)], "videos": [f"v{j}" for j in range(m)]}
            np.savez(folder / "s.npz", scores=x.numpy(), query_ids=names["texts"],
                     gallery_ids=names["videos"])  # fmt: skip
            paths["sims"] = folder / "s.npz"
        else:
            io.write_embeddings(folder / f"{role}.h5", names[role], x)
            paths[role] = folder / f"{role}.h5"
    gt = folder / "gt.json"
    io.write_json(gt, {names["texts"][i]: names["videos"][j] for i, j in enumerate(right)})
    out = folder / "out.h5"
    tasks.apply_files(**paths, out=out, settings={} if method is None else {"method": method})
    written = io.read_results(out)
    for side in ("t2v", "v2t"):
        np.testing.assert_array_equal(
            written.directions[side].indices, getattr(run, side).topk.indices
        )
    judged = judge_results(gt, out)
    positives = [np.array([j]) for j in right]
    ranks = judge(run.t2v.sim, positives).ranks
    np.testing.assert_array_equal(judged.after["t2v"].ranks.hits(1), ranks.hits(1))


@pytest.mark.parametrize(
    ("method", "size"), [(None, (90, 90)), (None, (120, 40)), ("em+sinkhorn", (60, 60))]
)
def test_eval_reads_what_apply_fitted_and_fits_nothing(method, size, tmp_path, monkeypatch):
    texts, videos, right = made(*size)
    texts_path, videos_path = tmp_path / "texts.h5", tmp_path / "videos.h5"
    io.write_embeddings(texts_path, [f"t{i}" for i in range(size[0])], texts.astype("f4"))
    io.write_embeddings(videos_path, [f"v{j}" for j in range(size[1])], videos.astype("f4"))
    gt = tmp_path / "gt.json"
    io.write_json(gt, {f"t{i}": f"v{j}" for i, j in enumerate(right)})
    out = tmp_path / "out.h5"
    settings = {} if method is None else {"method": method}
    tasks.apply_files(texts=texts_path, videos=videos_path, out=out, settings=settings)
    there = rerank.apply(texts=texts_path, videos=videos_path, **settings)
    want = there.evaluate(gt)

    def no_fit(*_, **__):
        raise AssertionError("eval fits")

    monkeypatch.setattr(engine, "fit", no_fit)
    found = judge_results(gt, out)
    for name in ("t2v", "v2t"):
        for when in ("before", "after"):
            read, there = getattr(found, when)[name].table(), getattr(want, when)[name]
            for figure in ("R@1", "R@5", "R@10", "MdR", "MnR"):
                assert read[figure] == there[figure]


def test_eval_of_a_gated_run_reads_the_gated_fit(tmp_path, monkeypatch):
    texts, videos, right = made(200, 200)
    paths = {}
    for name, rows, part in (
        ("texts", texts, slice(0, 60)), ("videos", videos, slice(0, 60)),
        ("bank_texts", texts, slice(60, 200)), ("bank_videos", videos, slice(60, 200)),
    ):  # fmt: skip
        paths[name] = tmp_path / f"{name}.h5"
        ids = [f"{'t' if 'texts' in name else 'v'}{i}" for i in range(200)][part]
        io.write_embeddings(paths[name], ids, rows[part].astype("f4"))
    gt, bank_gt = tmp_path / "gt.json", tmp_path / "bank.json"
    io.write_json(gt, {f"t{i}": f"v{i}" for i in range(60)})
    io.write_json(bank_gt, {f"t{i}": f"v{i}" for i in range(60, 200)})
    out = tmp_path / "out.h5"
    tasks.apply_files(**paths, bank_gt=bank_gt, out=out)
    given = {name: io.read_embeddings(path).vectors for name, path in paths.items()}
    positives = tuple(np.array([i]) for i in range(140))
    run = tasks.apply(**given, bank_positives=positives).run
    monkeypatch.setattr(engine, "fit", None)
    found = judge_results(gt, out)
    for name in ("t2v", "v2t"):
        want = judge(run[name].sim, tuple(np.array([i]) for i in range(60)))
        assert found.after[name].table() == want.table()


def test_eval_says_where_a_method_was_applied_again(tmp_path):
    texts, videos, right = made(50, 50)
    texts_path, videos_path, gt = (tmp_path / name for name in ("t.h5", "v.h5", "gt.json"))
    io.write_embeddings(texts_path, [f"t{i}" for i in range(50)], texts.astype("f4"))
    io.write_embeddings(videos_path, [f"v{j}" for j in range(50)], videos.astype("f4"))
    io.write_json(gt, {f"t{i}": f"v{j}" for i, j in enumerate(right)})
    for method, again in (("dsl", True), ("csls", False)):
        out = tmp_path / f"{method}.h5"
        tasks.apply_files(
            texts=texts_path, videos=videos_path, out=out, settings={"method": method}
        )
        said = " ".join(judge_results(gt, out).notes)
        assert ("applied again" in said) is again


@pytest.mark.parametrize("fill", [0.0, -100.0, -np.inf])
def test_padding_changes_no_figure_of_hubs_at_any_door(fill, tmp_path):
    texts, videos, right = DATA["plain"]()
    plain = Pair(texts, videos).scores().float().numpy()
    n, m = plain.shape
    more = np.full((n + 20, m + 30), fill, dtype=np.float32)
    more[:n, :m] = plain
    found = []
    for name, scores in (("plain", plain), ("padded", more)):
        path = tmp_path / f"{name}.npy"
        np.save(path, scores)
        run = rerank.apply(scores=scores, method="csls")
        gt = {row: [int(video)] for row, video in enumerate(right)}
        table = rerank.compare(scores=scores, gt=gt, methods="csls")
        results = tmp_path / f"{name}.h5"
        tasks.apply_files(sims=path, out=results, settings={"method": "csls"})
        judged = judge_results(None, results, hubs=True)
        alone = judge_raw(None, sims=path, hubs=True)
        inspected = rerank.inspect(scores=scores)
        figures = [
            run.t2v.before,
            run.t2v.after,
            run.v2t.before,
            run.v2t.after,
            *(x for both in judged.hubness.values() for x in both),
            *(x for x, _ in alone.hubness.values()),
            *(x.hubness for one in table.tables for x in (one.raw, *one.entries)),
        ]
        found.append(
            [
                *(x.as_dict() for x in figures),
                *inspected["hubness"].values(),
                inspected["advice"],
                *(rerank.evaluate(x, gt)["t2v"]["skewness"] for x in (scores, run)),
            ]
        )
        said = {x["name"]: (x["status"], x["found"]) for x in inspected["checks"]}
    assert found[0] == found[1]
    assert said["texts, padding?"] == ("look", f"20 of {n + 20} texts hold one number only")
    assert said["videos, padding?"] == ("look", f"30 of {m + 30} videos hold one number only")


@pytest.mark.parametrize("m", [10, 11, 18, 25])
def test_hubs_of_a_few_items_are_counted_alike_by_every_door(m):
    scores = np.random.default_rng(m).normal(size=(30, m)).astype(np.float32)
    run = rerank.apply(scores=scores, method="csls")
    gt = {row: [row % m] for row in range(30)}
    table = rerank.compare(scores=scores, gt=gt, methods="csls").tables[0]
    assert run.t2v.before.as_dict() == table.raw.hubness.as_dict()
    assert run.t2v.after.as_dict() == table.entries[0].hubness.as_dict()
    assert run.t2v.before.k == (10 if m > 10 else m // 2)


@pytest.mark.parametrize(
    "said",
    [
        {"scores_are": "distances"},
        {"unscored": "-7.5"},
    ],
)
def test_what_is_said_of_scores_counts_at_every_door(tmp_path, said):
    texts, videos, right = made(60, 40, seed=7)
    scores = Pair(texts, videos).scores().numpy()
    if "scores_are" in said:
        scores = -10 * scores
    else:
        scores[np.random.default_rng(0).random(scores.shape) < 0.3] = -7.5
        scores[np.arange(60), right] = np.maximum(scores[np.arange(60), right], 0.1)
    path, gt, out = tmp_path / "s.npy", tmp_path / "gt.json", tmp_path / "s.json"
    np.save(path, scores)
    gt.write_text(json.dumps({str(i): str(j) for i, j in enumerate(right)}))
    told = {key: str(value) for key, value in said.items()}
    rows = [np.array([j]) for j in right]
    reading = io.Reading(text_ids=Path("rows"), video_ids=Path("rows"))
    assert (
        rerank.inspect(scores=scores, **said)["hubness"]
        == (inspect_files(sims=path, reading=reading, **told)["hubness"])
    )
    options = {"methods": ["csls"], "resamples": 20, "figures": ["R@1"]}
    one = rerank.compare(scores=scores, gt=rows, **said, **options)
    two = compare_files(gt, sims=path, reading=reading, **told, **{**options, "methods": "csls"})
    figures = [[[(e.method, e.figures) for e in t.entries] for t in x.tables] for x in (one, two)]
    assert figures[0] == figures[1]
    one = rerank.tune(scores=scores, gt=rows, folds=2, methods="sinkhorn", **said)
    two = tune_files(gt, out, sims=path, reading=reading, folds=2, methods="sinkhorn", **told)
    assert one.chosen == two.chosen and one.n_pairs == two.n_pairs
    taken = rerank.inspect(scores=scores, **said)["scores"]
    plain = {"scores_are": "similarities", "unscored": "none"}
    assert taken != rerank.inspect(scores=scores, **plain)["scores"]
