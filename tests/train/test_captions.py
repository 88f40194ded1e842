"""Support-set bottleneck: the decoder starts at token frequencies and learns from the mixtures."""

import dataclasses

import numpy as np
import pytest
import torch

from rerank.train import TrainSettings, fit_heads, paired, split_by_video
from rerank.train.objectives.base import Context
from rerank.train.objectives.captions import learn_vocabulary, log_frequencies, unigram_loss
from rerank.train.objectives.registry import OBJECTIVES, build, full_settings


def talking(videos=60, per_video=4, topics=4):
    """Videos of a few topics; captions use words of their topic only."""
    rng = np.random.default_rng(0)
    topic = np.arange(videos) % topics
    centres = rng.standard_normal((topics, 8))
    owner = np.repeat(np.arange(videos), per_video)
    v = centres[topic] + 0.3 * rng.standard_normal((videos, 8))
    t = v[owner] @ rng.standard_normal((8, 7)) + 0.2 * rng.standard_normal((len(owner), 7))
    words = [[f"{a}{b}" for b in "xyz"] for a in ("dog", "car", "cook", "song")]
    said = [f"the {' '.join(rng.choice(words[topic[j]], 3))}" for j in owner]
    return paired(t, v, owner, captions=said)


def test_unigram_loss_is_the_cross_entropy_of_frequencies():
    words = learn_vocabulary(["a b", "a c", "a"], vocabulary=20, length=5)
    tokens = words.encode(["a b", "a c", "a"])
    log_p = log_frequencies(tokens, len(words))
    told = [t for row in tokens[:, 1:].tolist() for t in row if t]
    counts = np.bincount(told, minlength=len(words)) + 1
    p = counts / counts.sum()
    assert unigram_loss(tokens, log_p) == pytest.approx(-np.mean(np.log(p[told])), rel=1e-6)


def test_a_decoder_that_has_learned_nothing_is_as_good_as_frequencies():
    data = talking()
    objective = build("support-set", Context(data, 6, 0)).eval()
    features = torch.nn.functional.normalize(torch.randn(len(data.texts), 6), dim=1)
    found = objective.figures(features, features[: len(data.videos)], data)
    assert found["caption_held_out"] == pytest.approx(found["caption_unigram"], abs=0.15)


@pytest.mark.parametrize("weight", [10.0, 0.5])
def test_captions_are_written_from_other_videos_of_the_same_kind(weight):
    train, held = split_by_video(talking(), share=0.3)
    told = TrainSettings(
        objective="support-set", options={"weight": weight}, epochs=15, batch_size=42, lr=5e-3,
        patience=99,
    )  # fmt: skip
    last = fit_heads(train, held, told).history[-1]
    # Less is said by what is more likely under a mixture of one's own.
    assert last["caption_held_out"] < last["caption_unigram"] - 0.3
    assert last["caption_held_out"] < last["caption_shuffled"] - 0.1


def test_the_weight_is_the_published_one_and_captions_are_what_tells_the_two_apart():
    assert full_settings("support-set")["weight"] == 10.0
    facts = OBJECTIVES.find("support-set").facts
    assert (facts.needs, facts.otherwise) == ("captions", "reconstruction")
    train, held = split_by_video(talking(), share=0.3)
    told = TrainSettings(objective="support-set", epochs=1)
    mute = [dataclasses.replace(d, captions=None) for d in (train, held)]
    assert fit_heads(train, held, told).name == "support-set"
    out = fit_heads(*mute, told)
    assert out.name == "reconstruction" and "reconstruction" in out.history[1]
