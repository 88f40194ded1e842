"""Laws of tuning on labelled pairs and of the recommended marginals, on small planted data."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.methods.directions import from_embeddings, from_scores
from rerank.methods.sinkhorn import Sinkhorn
from rerank.selection import Settings, tune
from rerank.selection.tune import Evidence, make_side, search, tunable

N = 80


def planted(seed=0, *, hubs=0.6, n=N):
    """Scores of n pairs whose matches stand out by a little and whose columns differ."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=0.3, size=(n, n)) + np.eye(n)
    return 0.1 * (scores + hubs * rng.normal(size=n)), [np.array([i]) for i in range(n)]


def test_tuning_finds_sinkhorn_where_columns_differ_and_its_report_is_nested():
    scores, positives = planted()
    report = tune(from_scores(Dense(scores)), positives, methods=("sinkhorn",), folds=3)
    assert report.settings.method == "sinkhorn"
    raw, tuned = report.recall["t2v"]
    assert tuned > raw + 5
    assert report.gain > 2 * report.error
    assert report.label == "transductive"


def test_tuned_temperature_is_the_most_likely_one():
    scores, positives = planted(1)
    both = from_scores(Dense(scores))
    sides = {
        name: make_side(direction, positives, np.arange(N)) for name, direction in both.items()
    }
    evidence, everything = Evidence(sides), np.ones(N, dtype=bool)
    found = search(evidence, "sinkhorn", everything, float(scores.std(axis=1).mean()))
    best = evidence.objective(found, everything)
    others = [
        evidence.objective(Settings("sinkhorn", tau=factor * found.tau, rho=found.rho), everything)
        for factor in np.geomspace(0.2, 5, 61)
    ]
    assert best > max(others) - 1e-4


def test_where_popularity_is_the_truth_none_is_chosen():
    rng = np.random.default_rng(0)
    n, m = 300, 60
    prior = rng.normal(scale=1.5, size=m)
    right = rng.choice(m, size=n, p=np.exp(prior) / np.exp(prior).sum())
    scores = rng.gumbel(size=(n, m)) + prior
    scores[np.arange(n), right] += 2
    directions = {"t2v": from_scores(Dense(scores))["t2v"]}
    report = tune(directions, [np.array([j]) for j in right], methods=("sinkhorn",), folds=3)
    assert report.settings == Settings("none")
    raw, tuned = report.recall["t2v"]
    assert tuned >= raw - 1


def test_the_figures_are_those_of_the_plan():
    scores, positives = planted(n=20)
    direction = from_scores(Dense(scores))["t2v"]
    evidence = Evidence({"t2v": make_side(direction, positives, np.arange(20))})
    found = evidence.figures(Settings("sinkhorn", tau=0.05, rho=1.0))["t2v"]
    biased = scores + Sinkhorn(tau=0.05, rho=1.0).fit(Dense(scores)).gallery_bias.numpy()
    p = np.exp(biased / 0.05)
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.log_prob, np.log(np.diag(p)), rtol=1e-6)
    np.testing.assert_array_equal(found.hits, biased.argmax(axis=1) == np.arange(20))


def test_ties_share_the_hit_and_unjudged_queries_do_not_count():
    scores = np.zeros((3, 4))
    direction = from_scores(Dense(scores))["t2v"]
    positives = [np.array([0]), np.array([], dtype=np.int64), np.array([1, 2])]
    evidence = Evidence({"t2v": make_side(direction, positives, np.arange(3))})
    found = evidence.figures(Settings("none", tau=1.0))["t2v"]
    np.testing.assert_allclose(found.hits, [0.25, 0.5])
    np.testing.assert_allclose(found.log_prob, np.log([0.25, 0.5]))


def test_the_same_seed_gives_the_same_report():
    scores, positives = planted()
    one, two = (
        tune(from_scores(Dense(scores)), positives, methods=("sinkhorn",), folds=2, seed=3)
        for _ in range(2)
    )
    assert one == two


def test_em_settings_are_tuned_on_embeddings_and_a_bank_keeps_its_label():
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(4 * N, 12))
    texts, videos = (meaning + 0.5 * rng.normal(size=meaning.shape) + 2 * i for i in (0, 1))
    both = from_embeddings(texts[:N], videos[:N], bank_texts=texts[N:], bank_videos=videos[N:])
    report = tune(both, [np.array([i]) for i in range(N)], methods=("em+sinkhorn",), folds=2)
    assert report.label == "inductive"
    settings = report.tried[0].settings
    assert settings.strength is not None
    assert settings.n_bases in (4, 8)


def test_settings_name_only_what_a_method_has():
    assert tunable("sinkhorn") == ("tau", "rho")
    assert tunable("em") == ("strength", "n_bases")
    assert tunable("none") == ()
    full = Settings("em", tau=0.1, rho=1.0, strength=0.5, n_bases=4)
    assert full.own().as_dict() == {
        "method": "em", "tau": None, "rho": None, "strength": 0.5, "n_bases": 4,
    }  # fmt: skip
    assert Settings.read({**full.own().as_dict(), "_tuned": {}}) == full.own()
    assert len(full.own().pipeline().stages) == 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s, p: tune(from_scores(Dense(s)), p[:-1]), "79 entries"),
        (lambda s, p: tune(from_scores(Dense(s)), p, folds=60), "groups"),
        (lambda s, p: tune(from_scores(Dense(s)), p, methods=("sinkhron",)), "sinkhron"),
        (lambda s, p: tune(from_scores(Dense(np.ones_like(s))), p), "constant"),
    ],
)
def test_what_cannot_be_tuned_is_refused(call, message):
    with pytest.raises(RerankError, match=message):
        call(*planted())


def test_the_command_writes_settings_and_says_what_they_are_worth(tmp_path):
    from rerank_cli.app import app

    scores, _ = planted()
    np.save(tmp_path / "sims.npy", scores.astype(np.float32))
    out = tmp_path / "settings.json"
    result = CliRunner().invoke(
        app,
        ["tune", "--gt", "diagonal", "--sims", str(tmp_path / "sims.npy"), "--out", str(out),
         "--folds", "2", "--method", "sinkhorn"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = json.loads(out.read_text())
    assert settings["method"] == "sinkhorn"
    assert settings["tau"] > 0
    assert settings["_tuned"]["pairs"] == N
    assert "did not see" in result.output
