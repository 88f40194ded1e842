"""Lists of the best items, and served models, are judged as the whole rankings are."""

import json

import numpy as np
import pytest

from rerank import io
from rerank.core.errors import RerankError
from rerank.tasks.evaluate_files import judge_raw
from rerank.tasks.evaluate_lists import is_lists, judge_lists
from rerank.tasks.evaluate_model import judge_model
from rerank.tasks.fit import fit_files
from rerank.tasks.search import search_files

N, D = 40, 6
FIGURES = "R@1,R@5,RSum,geo,MdR,MnR,nDCG@10,MRR"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    rng = np.random.default_rng(0)
    videos = rng.normal(size=(N, D))
    texts = videos[np.arange(60) % N] + 0.8 * rng.normal(size=(60, D))
    for name, x in {"videos": videos, "texts": texts, "bank": rng.normal(size=(50, D))}.items():
        io.write_embeddings(folder / f"{name}.h5", [f"{name[0]}{i}" for i in range(len(x))], x)
    io.write_json(folder / "gt.json", {f"t{i}": f"v{i % N}" for i in range(60)})
    turned = {f"v{j}": [f"t{i}" for i in range(60) if i % N == j] for j in range(N)}
    io.write_json(folder / "turned.json", turned)
    return folder


def run_of(work, name, k, side="t2v"):
    """The best k of the raw cosines, as a run of another tool."""
    found = {s: io.read_embeddings(work / f"{s}.h5") for s in ("texts", "videos")}
    asked, items = (found["texts"], found["videos"])[:: 1 if side == "t2v" else -1]
    unit = [x.vectors / np.linalg.norm(x.vectors, axis=1, keepdims=True) for x in (asked, items)]
    scores = unit[0] @ unit[1].T
    best = np.argsort(-scores, axis=1)[:, :k]
    io.write_json(
        work / name,
        {q: {items.ids[j]: float(scores[i, j]) for j in best[i]} for i, q in enumerate(asked.ids)},
    )
    return work / name


@pytest.mark.parametrize("gt", ["gt.json", "turned.json"])
@pytest.mark.parametrize("side", ["t2v", "v2t"])
def test_whole_lists_give_the_figures_of_the_whole_ranking(work, side, gt):
    """Which direction it is follows from the ids."""
    want = judge_raw(
        work / "gt.json", videos=work / "videos.h5", texts=work / "texts.h5", figures=FIGURES
    )
    run = run_of(work, f"{side}.json", 60, side)
    found = judge_lists(work / gt, run, figures=FIGURES)
    assert set(found.after) == {side} and found.label == "unknown"
    assert found.after[side].table() == pytest.approx(want.before[side].table(), rel=1e-9)
    assert any("taken for" in note for note in found.notes)


def test_short_lists_say_what_they_cannot_show(work):
    want = judge_raw(
        work / "gt.json", videos=work / "videos.h5", texts=work / "texts.h5", figures=FIGURES
    ).before["t2v"].table()  # fmt: skip
    run = run_of(work, "short.json", 10)
    found = judge_lists(work / "gt.json", run, figures=f"{FIGURES},R@20")
    table = found.after["t2v"].table()
    for name in ("R@1", "R@5", "RSum", "geo", "MdR", "nDCG@10"):
        assert table[name] == pytest.approx(want[name]), name
    for name in ("MnR", "MRR", "R@20"):
        assert np.isnan(table[name])
        (line,) = [note for note in found.notes if note.startswith(f"{name}: needs")]
        assert "end at 10" in line
    assert found.after["t2v"].ranks.tied_queries == 0
    # A median behind the end of the lists is not known.
    one = judge_lists(work / "gt.json", run_of(work, "one.json", 1), figures="R@1,MdR")
    shown = one.after["t2v"].table()
    assert shown["R@1"] == pytest.approx(want["R@1"])
    assert np.isnan(shown["MdR"]) == (want["MdR"] > 1)


def test_a_right_item_that_no_list_has_counts_as_not_found(tmp_path):
    (tmp_path / "run.json").write_text('{"t0": ["v0", "v2"], "t1": ["v0", "v2"]}')
    (tmp_path / "gt.json").write_text('{"t0": "v0", "t1": "v1"}')
    found = judge_lists(tmp_path / "gt.json", tmp_path / "run.json", figures="R@1,R@2")
    assert found.after["t2v"].table() == {"R@1": 50.0, "R@2": 50.0}
    for name, gt, words in (
        ("t1 missing", {"t0": "v0"}, "t1"), ("unknown", {"t0": "v0", "t1": "v1", "t9": "v1"}, "t9"),
    ):  # fmt: skip
        (tmp_path / "gt.json").write_text(json.dumps(gt))
        with pytest.raises(RerankError, match=words):
            judge_lists(tmp_path / "gt.json", tmp_path / "run.json"), name
        judge_lists(tmp_path / "gt.json", tmp_path / "run.json", allow_unjudged=True)
    with pytest.raises(RerankError, match="not the order of the gallery"):
        judge_lists("diagonal", tmp_path / "run.json")


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_what_a_short_list_does_not_hold_is_not_found_by_chance(tmp_path, ties):
    names = [f"v{i}" for i in range(20)]
    io.write_json(tmp_path / "gt.json", {f"t{i}": f"v{i}" for i in range(20)})
    # One list of ten with the right item, the others of one that is wrong, or of a right one.
    lists = {f"t{i}": [names[(i + 1) % 20]] for i in range(1, 18)}
    lists |= {"t0": names[:10], "t18": ["v18"], "t19": ["v0", "v19"]}
    io.write_json(tmp_path / "run.json", lists)
    judged = judge_lists(
        tmp_path / "gt.json", tmp_path / "run.json", ties=ties,
        figures="R@1,R@2,R@5,R@10,nDCG@10",
    )  # fmt: skip
    found = judged.after["t2v"]
    values = {figure.name: figure.value(found.parts[figure.name]) for figure in found.figures}
    gain = 100 * (2 + 1 / np.log2(3)) / 20
    want = {"R@1": 10.0, "R@2": 15.0, "R@5": 15.0, "R@10": 15.0, "nDCG@10": gain}
    assert values == pytest.approx(want)


def test_lists_of_other_names_than_those_of_the_truth_are_told(tmp_path):
    io.write_json(tmp_path / "gt.json", {f"t{i}": f"v{i}" for i in range(4)})
    told = []
    for name in ("{}", "v{}"):
        made = {f"t{i}": {name.format(j): 1.0 / (1 + j) for j in range(3)} for i in range(4)}
        io.write_json(tmp_path / "run.json", made)
        judged = judge_lists(tmp_path / "gt.json", tmp_path / "run.json", figures="R@1")
        told.append([note for note in judged.notes if "none of its items, such as '0'" in note])
    assert len(told[0]) == 1 and not told[1]
    assert "as 'v0': these figures mean nothing if both have names of their own" in told[0][0]


def test_queries_without_a_list_are_counted_and_named(tmp_path):
    (tmp_path / "run.trec").write_text("t0 Q0 v0 1 .5 x\nt2 Q0 v2 1 .5 x\n")
    (tmp_path / "gt.json").write_text(json.dumps({f"t{i}": f"v{i}" for i in range(5)}))
    both = tmp_path / "gt.json", tmp_path / "run.trec"
    with pytest.raises(RerankError, match="no list for 3 queries of .*such as 't1'; leave them"):
        judge_lists(*both)
    found = judge_lists(*both, allow_unjudged=True, figures="R@1")
    assert any("no list for 3 queries" in note and "left out" in note for note in found.notes)
    assert found.after["t2v"].table()["R@1"] == 100


def test_a_direction_that_the_run_states_is_believed(tmp_path):
    (tmp_path / "run.json").write_text('{"v2t": {"t0": ["v0"], "t1": ["v1"]}}')
    (tmp_path / "qrels.txt").write_text("t0 0 v0 1\nt1 0 v1 1\n")
    with pytest.raises(RerankError, match="says that it is v2t.*'t0'"):
        judge_lists(tmp_path / "qrels.txt", tmp_path / "run.json")
    (tmp_path / "gt.json").write_text('{"t0": "v0", "t1": "v1"}')
    found = judge_lists(tmp_path / "gt.json", tmp_path / "run.json", figures="R@1")
    assert set(found.after) == {"v2t"}


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_a_served_model_is_judged_by_what_it_finds(work, direction):
    """The model, and the file that a search with it wrote, have the same figures."""
    banks = {"bank_texts": work / "bank.h5", "bank_videos": None}
    if direction == "v2t":
        banks = {"bank_texts": None, "bank_videos": work / "bank.h5"}
    model = work / f"{direction}.model"
    fit_files(
        model, videos=work / "videos.h5", texts=work / "texts.h5", direction=direction,
        settings={"method": "sinkhorn", "tau": 0.1}, keep_gallery=True, **banks,
    )  # fmt: skip
    sides = {"videos": work / "videos.h5", "texts": work / "texts.h5"}
    judged = judge_model(work / "gt.json", model, figures=FIGURES, **sides)
    assert judged.label == "inductive" and set(judged.after) == {direction}
    whole = N if direction == "t2v" else 60
    for ending in ("h5", "jsonl"):
        out = work / f"{direction}.found.{ending}"
        search_files(model=model, **{k: [v] for k, v in sides.items()}, k=whole, out=out)
        assert is_lists(out)
        found = judge_lists(work / "gt.json", out, figures=FIGURES)
        assert found.after[direction].table() == pytest.approx(
            judged.after[direction].table(), rel=1e-6
        )
        assert found.label == ("inductive" if ending == "h5" else "unknown")
    raw = judge_raw(work / "gt.json", figures=FIGURES, **sides)
    assert judged.before[direction].table() == pytest.approx(raw.before[direction].table())
    # The gallery that the model holds is as good.
    queries = {"texts": sides["texts"]} if direction == "t2v" else {"videos": sides["videos"]}
    alone = judge_model(work / "gt.json", model, figures=FIGURES, **queries)
    assert alone.after[direction].table() == judged.after[direction].table()


@pytest.mark.parametrize(("fill", "said"), [(999, "auto"), (-1, "distances")])
def test_eval_names_a_number_that_may_mean_not_scored(work, tmp_path, fill, said):
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.1, (N, N)) + 0.5 * np.eye(N)
    gone = rng.random(near.shape) < 0.4
    scores = np.where(gone, fill, 1 - near if said == "distances" else near)
    ids = {"query_ids": [f"t{i}" for i in range(N)], "gallery_ids": [f"v{i}" for i in range(N)]}
    np.savez(tmp_path / "s.npz", scores=scores, **ids)
    raw = {"gt": work / "gt.json", "allow_unjudged": True, "sims": tmp_path / "s.npz"}
    notes = " ".join(judge_raw(**raw, scores_are=said).notes)
    assert f"{fill} stands in {100 * gone.mean():.3g} % of the pairs" in notes
    assert "stands in" not in " ".join(judge_raw(**raw, scores_are=said, unscored="none").notes)


@pytest.mark.parametrize("side", ["t2v", "v2t"])
@pytest.mark.parametrize("ending", ["{}.mp4", "clips/{}.mp4"])
@pytest.mark.parametrize("where", ["run", "gt"])
def test_names_that_fit_without_endings_and_folders_are_matched_so(work, side, ending, where):
    run = json.loads(run_of(work, "plain.json", 10, side).read_text())
    gt = json.loads((work / "gt.json").read_text())
    want = judge_lists(work / "gt.json", work / "plain.json").after[side].table()
    if where == "gt":
        gt = {text: ending.format(video) for text, video in gt.items()}
    elif side == "v2t":
        run = {ending.format(video): found for video, found in run.items()}
    else:
        run = {q: {ending.format(v): s for v, s in found.items()} for q, found in run.items()}
    io.write_json(work / "ended.json", run)
    io.write_json(work / "ended_gt.json", gt)
    found = judge_lists(work / "ended_gt.json", work / "ended.json")
    assert found.after[side].table() == pytest.approx(want, nan_ok=True)
    said = "folders and file endings" if "/" in ending else "file endings"
    assert any(f"without {said}" in note for note in found.notes)


def test_names_that_would_be_one_are_left_as_they_are(work):
    run = json.loads(run_of(work, "plain.json", 10).read_text())
    twice = {q: {f"{v}.{kind}": 1 for v in list(x)[:2] for kind in ("mp4", "avi")}
             for q, x in run.items()}  # fmt: skip
    io.write_json(work / "twice.json", twice)
    notes = judge_lists(work / "gt.json", work / "twice.json").notes
    assert any("none of its items" in note for note in notes)
