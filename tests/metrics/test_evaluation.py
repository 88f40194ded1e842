"""Both directions under a named protocol, from whatever form the ground truth has."""

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.metrics import protocols
from rerank.metrics import ranks as metrics
from rerank.metrics.judge import both_directions, evaluate, views
from rerank.metrics.named_answers import text_positives

# Two videos with three and two captions, one without; scores are texts x videos.
SCORES = np.array(
    [[0.9, 0.1, 0.3], [0.2, 0.6, 0.1], [0.5, 0.4, 0.0], [0.3, 0.8, 0.2], [0.7, 0.1, 0.4]]
)
GT = [[0], [0], [0], [1], [1]]


def ranks_of(sims, positives, protocol="multi-caption"):
    seen = views(sims, positives, protocol=protocol)
    return {name: metrics.ranks(sim, right) for name, (sim, right, _) in seen.items()}


def clip4clip_video_to_text(scores, groups):
    """Stack the captions of each video, padded with -inf; maximum over captions; transpose."""
    longest = max(map(len, groups))
    padded = [
        np.vstack([scores[g], np.full((longest - len(g), scores.shape[1]), -np.inf)])
        for g in groups
    ]
    return np.stack(padded).max(axis=1).T


def test_the_diagonal_is_the_default_truth(golden):
    found = evaluate(golden["metrics_matrix"])
    r1, r5, r10, median, mean = golden["clip4clip_metrics"]
    assert found["t2v"]["R@1"] == pytest.approx(r1)
    assert found["t2v"]["MnR"] == pytest.approx(mean)
    assert found["v2t"]["R@5"] == pytest.approx(evaluate(golden["metrics_matrix"].T)["t2v"]["R@5"])
    assert found["t2v"]["protocol"] == "pairs"


def test_every_form_of_the_truth_says_the_same():
    texts, videos = [f"t{i}" for i in range(5)], ["a", "b", "c"]
    named = {"t0": "a", "t1": "a", "t2": ["a"], "t3": ["b"], "t4": "b"}
    forms = [
        evaluate(SCORES, GT),
        evaluate(torch.from_numpy(SCORES), np.array([0, 0, 0, 1, 1])),
        evaluate(Dense(SCORES), dict(enumerate(GT))),
        evaluate(SCORES, named, query_ids=texts, gallery_ids=videos),
        evaluate({"t2v": Dense(SCORES), "v2t": Dense(SCORES.T.copy())}, GT),
    ]
    assert all(form == forms[0] for form in forms)
    assert forms[0]["t2v"]["R@1"] == 60.0
    assert forms[0]["v2t"]["queries"] == 2


def test_best_caption_protocol_is_clip4clips_max_pooling(golden):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(40, 12)), 1) - 4  # all negative, as log-probabilities are
    owner = np.concatenate([np.arange(11), rng.integers(0, 11, 29)])  # video 11 has no caption
    sims = both_directions(scores)
    found = ranks_of(
        sims, text_positives(sims["t2v"].shape, owner), protocol="rank-videos-by-best-caption"
    )
    groups = [np.flatnonzero(owner == j) for j in range(11)]
    pooled = clip4clip_video_to_text(scores, groups)[:11]
    expected = metrics.ranks(Dense(pooled.copy()), np.arange(11))
    np.testing.assert_array_equal(found["v2t"].values, expected.values)
    assert found["v2t"].n_gallery == 11 and found["v2t"].unjudged == 1


def test_the_two_video_to_text_protocols_differ_beyond_the_first_place():
    best_video = evaluate(SCORES, GT, protocol="rank-videos-by-best-caption", figures="R@1,R@2")
    best_caption = evaluate(SCORES, GT, protocol="rank-captions-take-best", figures="R@1,R@2")
    assert best_video["v2t"]["R@1"] == best_caption["v2t"]["R@1"]
    assert best_video["v2t"]["R@2"] == 100.0
    assert best_video["t2v"]["R@1"] == best_caption["t2v"]["R@1"]
    assert evaluate(SCORES, GT)["v2t"]["protocol"] == "multi-caption"


def test_a_caption_of_two_videos_belongs_to_both_groups():
    sims = both_directions(SCORES)
    rows = text_positives(sims["t2v"].shape, [[0, 1], [0], [0], [1], [1]])
    pooled = ranks_of(sims, rows, protocol="rank-videos-by-best-caption")["v2t"]
    assert len(pooled) == 2


def test_distractors_stay_in_the_gallery_and_are_no_queries():
    found = ranks_of(
        both_directions(SCORES), text_positives(both_directions(SCORES)["t2v"].shape, GT)
    )
    assert found["t2v"].n_gallery == 3
    assert found["v2t"].unjudged == 1


@pytest.mark.parametrize("block_size", [1, 7, None])
def test_streamed_equals_stored(golden, block_size):
    texts, videos = golden["texts"], golden["videos"]
    streamed = evaluate(Pair(texts, videos, block_size=block_size), golden["gt"])
    stored = evaluate(Pair(texts, videos).scores(), golden["gt"])
    assert streamed == stored


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positives": None}, "5 texts x 3 videos have no diagonal"),
        ({"positives": GT, "protocol": "pairs"}, "not one to one \\(up to 3 texts"),
        ({"positives": GT, "protocol": "1k-A"}, "protocol: got '1k-A'"),
        ({"positives": {"t0": "a"}, "query_ids": list("vwxyz")}, "need a dict"),
        (
            {"positives": {"t0": "a"}, "query_ids": list("vwxyz"), "gallery_ids": list("abc")},
            "no text is called 't0'",
        ),
        (
            {"positives": {"v": "q"}, "query_ids": list("vwxyz"), "gallery_ids": list("abc")},
            "positives of 'v': no video is called 'q'",
        ),
        (
            {"positives": {"v": "a"}, "query_ids": list("vwxyv"), "gallery_ids": list("abc")},
            "some names occur twice",
        ),
        ({"positives": {"v": "a"}, "query_ids": ["v"], "gallery_ids": list("abc")}, "got 1 names"),
    ],
)
def test_truths_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(RerankError, match=message):
        evaluate(SCORES, **arguments)


def test_directions_are_named():
    with pytest.raises(RerankError, match="got left, expected"):
        both_directions({"left": Dense(SCORES)})


def test_pooled_captions_do_not_transpose():
    pooled, _ = protocols.pool_captions(
        Dense(SCORES).T, [np.array([0, 1, 2]), np.array([3, 4]), []]
    )
    assert pooled.shape == (3, 2)
    with pytest.raises(RerankError, match="one direction"):
        _ = pooled.T
