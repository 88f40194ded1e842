"""Methods side by side: paired figures, never mixed across labels, in four formats."""

import json
import re

import numpy as np
import pytest
import torch

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.methods import directions
from rerank.methods import registry as presets
from rerank.metrics import ranks as metrics
from rerank.metrics import tables as comparison
from rerank.tasks.compare import compare, resolve_methods
from rerank.tasks.inspect import read_directions
from rerank.tasks.read import read_inputs


@pytest.fixture(scope="module")
def banked(golden):
    both = directions.from_embeddings(
        golden["texts"], golden["videos"],
        bank_texts=golden["bank_texts"], bank_videos=golden["bank_videos"],
    )  # fmt: skip
    positives = [np.array([j]) for j in golden["gt"]]
    return compare(
        both, positives, methods="sinkhorn,nnn,em", transductive=True, cross_fit=True,
        resamples=200, settings={"tau": 0.05},
    )  # fmt: skip


def test_cross_fit_hands_over_no_pairs_whatever_bank_is_given(golden):
    both = directions.from_embeddings(
        golden["texts"], golden["videos"], bank_texts=golden["bank_texts"],
        bank_videos=golden["bank_videos"],
        bank_positives=[np.array([i % len(golden["bank_videos"])])
                        for i in range(len(golden["bank_texts"]))],
    )  # fmt: skip
    positives = [np.array([j]) for j in golden["gt"]]
    found = compare(both, positives, methods="align", cross_fit=True, resamples=50)
    (reason,) = {skipped.reason for skipped in found.skipped}
    assert reason.startswith("cross-fit: align: learns from known pairs")
    assert reason.endswith("leave out align or cross_fit=True") and "bank_gt" not in reason


def test_every_table_holds_one_direction_and_one_label(banked):
    keys = [(table.direction, table.label) for table in banked.tables]
    labels = ["inductive", "transductive", "cross-fit"]
    assert sorted(keys) == sorted((name, label) for name in ("t2v", "v2t") for label in labels)
    for table in banked.tables:
        assert {entry.label for entry in table.entries} == {table.label}
        recalls = [entry.figures["R@1"] for entry in table.entries]
        assert recalls == sorted(recalls, reverse=True)


def test_figures_are_those_of_the_method_alone(banked, golden):
    sim = Pair(golden["texts"], golden["videos"])
    fitted = presets.pipeline("sinkhorn", tau=0.05).fit(sim)
    alone = metrics.summary(metrics.ranks(fitted.transform(sim), golden["gt"]))
    table = next(t for t in banked.tables if (t.direction, t.label) == ("t2v", "transductive"))
    entry = next(e for e in table.entries if e.method == "sinkhorn")
    assert entry.figures["R@5"] == alone["R@5"] and entry.figures["MnR"] == alone["MnR"]
    raw = metrics.ranks(sim, golden["gt"])
    assert table.raw.figures["R@1"] == metrics.recall_at(raw, 1)
    change = entry.changes["R@1"]
    assert change.change == pytest.approx(alone["R@1"] - metrics.recall_at(raw, 1))
    assert change.low <= change.change <= change.high
    for table in banked.tables:
        for entry in table.entries:
            for name, change in entry.changes.items():
                assert change.before == pytest.approx(table.raw.figures[name])
                assert change.after == pytest.approx(entry.figures[name])


def test_cross_fit_stands_beside_raw_scores_of_its_own_gallery(banked):
    tables = {(t.direction, t.label): t for t in banked.tables}
    crossed, full = tables["t2v", "cross-fit"], tables["t2v", "inductive"]
    assert crossed.raw.figures["MnR"] < full.raw.figures["MnR"]
    assert "in two halves" in crossed.gallery
    for entry in crossed.entries:
        assert entry.changes["R@1"].before == crossed.raw.figures["R@1"]


def test_a_direction_without_a_bank_says_why(golden):
    both = directions.from_embeddings(
        golden["texts"], golden["videos"], bank_texts=golden["bank_texts"]
    )
    found = compare(both, golden["gt"][:, None], methods="sinkhorn", resamples=50)
    assert [(t.direction, t.label, len(t.entries)) for t in found.tables] == [
        ("t2v", "inductive", 1),
        ("v2t", "none", 0),
    ]
    assert found.skipped[0].reason == "stays raw: it needs a bank of videos"


def test_what_cannot_be_fitted_is_listed_with_the_reason(golden):
    both = directions.from_scores(Dense(golden["texts"] @ golden["videos"].T))
    found = compare(both, golden["gt"][:, None], methods="em,sinkhorn", resamples=50)
    assert {skipped.method for skipped in found.skipped} == {"em"}
    assert "Pair" in found.skipped[0].reason
    assert "em: " in comparison.render(found)


def test_the_gate_is_a_row_where_the_bank_has_known_pairs(golden):
    both = directions.from_embeddings(
        golden["texts"], golden["videos"],
        bank_texts=golden["bank_texts"], bank_videos=golden["bank_videos"],
        bank_positives=tuple(np.array([j]) for j in golden["bank_gt"]),
    )  # fmt: skip
    found = compare(both, golden["gt"][:, None], methods="nnn", resamples=50)
    assert {entry.method for entry in found.tables[0].entries} == {"nnn", "gated"}
    bare = compare(both, golden["gt"][:, None], methods="nnn", resamples=50, gate=False)
    assert {entry.method for entry in bare.tables[0].entries} == {"nnn"}


def test_clip4clips_video_to_text_is_compared_as_such():
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(20), 3)
    scores = rng.normal(size=(60, 20))
    scores[np.arange(60), owner] += 1
    found = compare(
        directions.from_scores(Dense(scores)), owner[:, None], methods="sinkhorn",
        protocol="rank-videos-by-best-caption", resamples=50, cross_fit=True,
    )  # fmt: skip
    ranks = [t.raw.ranks for t in found.tables if t.direction == "v2t" and t.label != "cross-fit"]
    assert ranks[0].n_gallery == 20


def test_text_formats_hold_every_row(banked):
    plain = comparison.render(banked)
    assert re.search(r"sinkhorn +\d+\.\d \([+-]\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]\)", plain)
    assert plain.count("\nnnn ") == sum(
        entry.method == "nnn" for table in banked.tables for entry in table.entries
    )
    with pytest.raises(RerankError, match="format: got 'word'"):
        comparison.render(banked, "word")


def test_reprs_are_one_line_and_a_notebook_gets_a_table(banked):
    for thing in (banked, banked.tables[0], banked.tables[0].entries[0]):
        assert "\n" not in repr(thing) and len(repr(thing)) < 300
    assert banked._repr_html_().startswith("<table>")


def test_json_holds_the_numbers(banked):
    found = json.loads(json.dumps(comparison.to_json(banked)))
    row = found["tables"][0]["rows"][1]
    assert {"R@1", "R@5", "R@10", "MdR", "MnR", "changes", "skewness"} <= set(row)
    assert set(row["changes"]["R@1"]) == {"change", "low", "high", "p"}


def test_the_same_seed_gives_the_same_figures(golden):
    both = directions.from_scores(Dense(golden["metrics_matrix"]))

    def figures():
        found = compare(both, np.arange(120)[:, None], methods="csls", resamples=100)
        return [comparison.render(found, style) for style in comparison.FORMATS]

    assert figures() == figures()


def test_measures_stand_beside_the_recalls_with_their_changes():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 30)) + np.eye(30)
    found = compare(
        directions.from_scores(Dense(scores)), np.arange(30)[:, None], methods="csls",
        figures=["R@1", "MRR", "nDCG@10"], cross_fit=True, resamples=50,
    )  # fmt: skip
    for table in found.tables:
        assert list(table.raw.figures) == ["R@1", "MRR", "nDCG@10"]
        for entry in table.entries:
            assert entry.changes["MRR"].after == pytest.approx(entry.figures["MRR"])
            assert entry.figures["MRR"] == pytest.approx(100 * (1 / entry.ranks.values).mean())
    assert "nDCG@10" in comparison.render(found)


def test_method_names_are_checked():
    assert resolve_methods("sinkhorn, nnn,sinkhorn,none", embeddings=True) == ("sinkhorn", "nnn")
    assert "em+sinkhorn" in resolve_methods("all", embeddings=True)
    assert "em+sinkhorn" not in resolve_methods("all", embeddings=False)
    with pytest.raises(RerankError, match="'sinkhron'"):
        resolve_methods("sinkhron", embeddings=True)
    with pytest.raises(RerankError, match="methods: got none"):
        resolve_methods(",", embeddings=True)


@pytest.mark.parametrize("banks", [False, True])
def test_what_is_known_of_groups_reaches_the_fit_on_the_test_queries(golden, banks):
    texts = np.repeat(golden["texts"], 2, axis=0)
    texts = texts + 0.01 * np.random.default_rng(0).normal(size=texts.shape)
    given = {f"bank_{side}": golden[f"bank_{side}"] for side in ("texts", "videos") if banks}
    groups = [str(row // 2) for row in range(len(texts))]
    both = directions.from_embeddings(texts, golden["videos"], groups=groups, **given)
    positives = [np.array([golden["gt"][row // 2]]) for row in range(len(texts))]
    found = compare(both, positives, methods="sinkhorn", transductive=True, resamples=50)
    table = next(t for t in found.tables if (t.direction, t.label) == ("v2t", "transductive"))
    assert any("in groups" in note for note in table.entries[0].notes)


def test_groups_of_ids_and_stated_ones_reach_every_door_that_reads_files(golden, tmp_path):
    np.save(tmp_path / "s.npy", golden["texts"] @ golden["videos"].T)
    n, m = len(golden["texts"]), len(golden["videos"])
    (tmp_path / "t.txt").write_text("\n".join(f"v{row // 2}#{row % 2}" for row in range(n)))
    (tmp_path / "v.txt").write_text("\n".join(f"v{row}" for row in range(m)))
    names = io.Reading(text_ids=tmp_path / "t.txt", video_ids=tmp_path / "v.txt")
    read = read_inputs(sims=tmp_path / "s.npy", reading=names)
    cpu = torch.device("cpu")
    assert read_directions(read, metric="cosine", device=cpu)["t2v"].groups == (-(-n // 2), m)
    stated = read_directions(read, metric="cosine", device=cpu, groups="one-to-one")
    assert stated["v2t"].groups == (m, n)
