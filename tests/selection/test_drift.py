"""Incoming queries decide how much of a bank's correction is used; odd batches are named."""

import numpy as np
import pytest
import torch

import rerank
from rerank.core.similarity import Dense, Pair
from rerank.methods import directions, engine
from rerank.methods.base import Bank
from rerank.selection import gated_fit
from rerank.selection.drift import drift
from rerank.selection.gate import gate
from rerank.selection.moments import looks, moments_of
from tests.selection.test_gate import D, N, bank_for, items, recall


def worlds(seed=0, n=N):
    """Bank texts and videos, test texts and videos, of one kind."""
    rng = np.random.default_rng(seed)
    return (*items(rng, n), *items(rng, n))


def turned(x, seed=1):
    """Rows in a random direction each, of the same norms."""
    noise = np.random.default_rng(seed).normal(size=x.shape)
    return noise / np.linalg.norm(noise, axis=1, keepdims=True) * np.linalg.norm(x, axis=1)[:, None]


def test_queries_of_the_bank_itself_share_all_and_few_say_nothing():
    bank_texts, _, _, videos = worlds()
    sim = Pair(bank_texts, videos)
    found = drift(Bank(sim), Pair(bank_texts.copy(), videos))
    assert found.shared == pytest.approx(1, abs=1e-9)
    assert found.shrink == 1 and found.sentence == ""
    assert drift(Bank(sim), Pair(bank_texts[:29], videos)) is None
    flat = Dense(np.ones((40, 50)))
    assert drift(Bank(flat), flat) is None


def test_clean_queries_keep_the_correction_also_on_a_distorted_gallery():
    bank_texts, bank_videos, texts, videos = worlds()
    for gallery in (videos, videos + 1.5 * np.eye(D)[5]):
        bank, sim = bank_for(gallery, bank_texts, bank_videos), Pair(texts, gallery)
        fitted, report = gated_fit(None, bank, incoming=sim)
        assert report.shrink == 1
        assert len(report.sentences) == 1 and "100 %" in report.sentences[0]
        assert recall(fitted.transform(sim)) > recall(sim) + 0.05
    # Without queries to look at, the distorted gallery itself speaks against the bank.
    assert gated_fit(None, bank)[1].shrink < 0.5


def test_drifted_queries_lower_it_and_are_named():
    bank_texts, bank_videos, texts, videos = worlds()
    shrinks = []
    for much in (0.0, 0.5, 1.0):
        drifted = (1 - much) * texts + much * turned(texts)
        bank = bank_for(videos, bank_texts, bank_videos)
        report = gated_fit(None, bank, incoming=Pair(drifted, videos))[1]
        shrinks.append(report.shrink)
    assert shrinks[0] == 1 and shrinks[0] > shrinks[1] > shrinks[2]
    assert shrinks[2] < 0.2
    assert "look different from the bank's (AUC" in report.sentences[0]


def test_a_bank_without_known_pairs_is_watched_too():
    bank_texts, _, texts, videos = worlds()
    for drifted in (False, True):
        asked = turned(texts) if drifted else texts
        both = directions.from_embeddings(asked, videos, bank_texts=bank_texts)
        plain, watched = (engine.fit(both, "sinkhorn", gate=g)["t2v"] for g in (None, gate()))
        if not drifted:
            assert torch.equal(watched.fitted.gallery_bias, plain.fitted.gallery_bias)
            assert watched.stages == plain.stages
            continue
        assert any("look different from the bank's (AUC" in said for said in watched.sentences)
        left = watched.fitted.gallery_bias if watched.fitted is not None else torch.zeros(1)
        assert left.abs().max() < 0.3 * plain.fitted.gallery_bias.abs().max()


def test_clean_batches_do_not_alarm_and_shifted_ones_do():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(40, 40)) / np.arange(1, 41)
    bank, more = (torch.from_numpy(rng.normal(size=(n, 40)) @ spread) for n in (300, 3000))
    kept = moments_of(bank)
    clean = [looks(kept, more[k * 30 : k * 30 + 30]).different for k in range(100)]
    assert sum(clean) <= 1
    shift = torch.from_numpy(1.5 * rng.normal(size=40) @ spread)
    wide = torch.from_numpy(0.5 * rng.normal(size=(30, 40)))
    for other in (more[:30] + shift, more[:30] + wide):
        look = looks(kept, other)
        assert look.different and look.auc > 0.8
    assert looks(kept, more[:29]) is None


def test_rows_that_say_the_same_are_no_independent_witnesses():
    rng = np.random.default_rng(0)
    bank, more = (torch.from_numpy(rng.normal(size=(n, 40))) for n in (300, 240))
    kept = moments_of(bank)
    for k in range(40):
        about = more[6 * k : 6 * k + 6].repeat_interleave(5, dim=0)
        assert not looks(kept, about + 0.2 * torch.from_numpy(rng.normal(size=(30, 40)))).different


def test_a_search_says_that_a_batch_looks_different(tmp_path):
    bank_texts, _, texts, videos = worlds()
    model = rerank.fit(videos, bank_texts=bank_texts, method="sinkhorn")
    model.save(tmp_path / "m.safetensors")
    model = rerank.load(tmp_path / "m.safetensors")
    assert model.search(texts).notes == ()
    shifted = texts + 3 * np.eye(D)[4]
    (note,) = model.search(shifted).notes
    assert "these queries look different from the bank's (AUC" in note
    assert model.search(shifted[:29]).notes == ()


def test_too_few_queries_to_look_at_are_said():
    texts, videos = (np.random.default_rng(k).normal(size=(120, 16)) for k in (0, 1))
    bank_texts = np.random.default_rng(2).normal(size=(200, 16))
    few = rerank.apply(texts[:10], videos, bank_texts=bank_texts)
    many = rerank.apply(texts, videos, bank_texts=bank_texts)
    assert any("10 queries are too few to see" in note for note in few.t2v.notes)
    assert not any("too few to see" in note for note in many.t2v.notes)
