"""Incoming queries decide how much of a bank's correction is used; odd batches are named."""

import numpy as np
import pytest
import torch

import rerank
from rerank.core.pairs import group_pairs
from rerank.core.similarity import Dense, Pair
from rerank.methods import directions, engine
from rerank.methods.base import Bank
from rerank.methods.sinkhorn import Sinkhorn
from rerank.selection import gated_fit
from rerank.selection.drift import Drift, drift
from rerank.selection.gate import gate
from rerank.selection.moments import Look, looks, moments_of
from rerank.selection.same_items import same_items
from rerank.selection.trials import halves
from tests.selection.test_gate import D, N, bank_for, items, recall


def worlds(seed=0, n=N):
    """Bank texts and videos, test texts and videos, of one kind."""
    rng = np.random.default_rng(seed)
    return (*items(rng, n), *items(rng, n))


def turned(x, seed=1):
    """Rows in a random direction each, of the same norms."""
    noise = np.random.default_rng(seed).normal(size=x.shape)
    return noise / np.linalg.norm(noise, axis=1, keepdims=True) * np.linalg.norm(x, axis=1)[:, None]


def test_meetings_are_the_mean_over_pairs_of_queries_of_what_they_want_alike():
    rng = np.random.default_rng(0)
    scores, bias = rng.normal(size=(12, 7)), rng.normal(size=7)
    scores[2, 3] = -np.inf
    asked = Dense(scores, unscored=True)
    made = drift(Bank(Dense(rng.normal(size=(20, 7)))), asked, _adds(bias))
    sigma = np.mean([row[np.isfinite(row)].std() for row in scores])
    for k, strength in enumerate(np.arange(9) / 8):
        e = np.exp((scores + strength * bias) / (sigma / 4))
        p = e / e.sum(axis=1, keepdims=True)
        products = p @ p.T
        want = 7 * products[~np.eye(12, dtype=bool)].mean()
        assert made.meetings[k] == pytest.approx(want, rel=1e-9)
    assert made.best == np.argmin(made.meetings) / 8


def _adds(bias):
    return lambda sim, strength: sim.add_gallery_bias(strength * torch.from_numpy(bias))


def test_the_correction_of_the_queries_themselves_suits_them_and_its_opposite_does_not():
    _, _, texts, videos = worlds()
    sim = Pair(texts, videos)
    bias = Sinkhorn().fit(sim).gallery_bias.double().numpy()
    found = [drift(Bank(sim), sim, _adds(x)) for x in (bias, -bias)]
    assert found[0].shrink == 1 and found[0].sentence == ""
    assert found[1].shrink == 0
    # A correction that is twice too strong is halved, about.
    assert 0.25 < drift(Bank(sim), sim, _adds(2.5 * bias)).shrink < 0.75
    flat = Dense(np.ones((40, 50)))
    assert drift(Bank(flat), flat) is None


def test_noise_speaks_for_the_bank():
    bank_texts, _, texts, videos = worlds()
    bias = Sinkhorn().fit(Pair(bank_texts, videos)).gallery_bias.double().numpy()
    shrinks = []
    for seed in range(8):
        rows = np.random.default_rng(seed).permutation(N)[:20]
        sim = Pair(texts[rows], videos)
        shrinks.append(drift(Bank(Pair(bank_texts, videos)), sim, _adds(bias)).shrink)
    assert shrinks == [1.0] * 8


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
    assert looks(kept, more[:0]) is None


def _cosines(texts, videos):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (texts, videos)]
    return unit[0] @ unit[1].T


@pytest.mark.parametrize("rounded", [False, True])
def test_copies_count_once_in_a_bank_and_among_the_queries(rounded):
    bank, _, texts, videos = (torch.from_numpy(x).float() for x in worlds(n=200))
    bank, texts, videos = (x / x.norm(dim=1, keepdim=True) for x in (bank, texts, videos))

    def often(x):
        x = x.repeat(5, 1)
        if not rounded:
            return x
        x[200:400], x[400:600] = x[200:400].half().float(), x[400:600].bfloat16().float()
        return x

    alone = drift(Bank(Pair(bank, videos)), Pair(texts, videos))
    assert not alone.look.different
    for held, asked in ((often(bank), texts), (bank, often(texts)), (often(bank), often(texts))):
        look = looks(moments_of(held), asked)
        assert look.auc == 0.5 and not look.different
        for kind in (lambda sim: sim, lambda sim: Dense(sim.scores())):
            made = drift(Bank(kind(Pair(held, videos))), kind(Pair(asked, videos)))
            assert made.meetings == pytest.approx(alone.meetings, rel=1e-5 if not rounded else 1e-2)
            assert made.sentence == "" and made.queries == 200
    # A few queries, asked often, are few.
    assert looks(moments_of(bank), often(texts[:6])) is None


def test_rows_that_say_the_same_are_no_independent_witnesses():
    rng = np.random.default_rng(0)
    bank, more = (torch.from_numpy(rng.normal(size=(n, 40))) for n in (300, 240))
    kept = moments_of(bank)
    for k in range(40):
        about = more[6 * k : 6 * k + 6].repeat_interleave(5, dim=0)
        assert not looks(kept, about + 0.2 * torch.from_numpy(rng.normal(size=(30, 40)))).different


def test_a_search_says_that_a_batch_looks_different(tmp_path):
    bank_texts, bank_videos, texts, videos = worlds()
    model = rerank.fit(videos, bank_texts=bank_texts, method="sinkhorn")
    model.save(tmp_path / "m.safetensors")
    model = rerank.load(tmp_path / "m.safetensors")
    assert model.search(texts).notes == ()
    shifted = texts + 3 * np.eye(D)[4]
    (note,) = model.search(shifted).notes
    assert "these queries look different from the bank's (AUC" in note
    assert model.search(shifted[:29]).notes == ()
    # What the note names leaves all as it is, and has nothing to warn of; so does rho=0.
    assert 'rerank.fit(..., method="none", gate=False)' in note
    best = np.argsort(-_cosines(shifted, videos), axis=1)[:, :5]
    known = {"bank_videos": bank_videos, "bank_gt": np.arange(N)}
    for left in ({"method": "none", "gate": False, **known}, {"rho": 0}):
        found = rerank.fit(videos, bank_texts=bank_texts, **left).search(shifted, k=5)
        assert found.notes == ()
        np.testing.assert_array_equal(found.ids.astype(int), best)


@pytest.mark.parametrize("spread", [0.0, 0.25])
def test_turned_queries_are_seen_where_their_mean_is_not(spread):
    """A turn keeps norms and a mean of zero; only where the length lies tells."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, 41) ** -(0.25 + spread)

    def draw(n):
        x = rng.normal(size=(n, 40)) * scale
        return torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))

    kept = moments_of(draw(600))
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(40, 40)))[0])
    seen = {"clean": 0, "turned": 0}
    for _ in range(20):
        batch = draw(100)
        seen["clean"] += looks(kept, batch).different
        seen["turned"] += looks(kept, batch @ turn).different
    assert seen == {"clean": 0, "turned": 20}


def test_queries_without_the_axes_that_the_banks_have_most_of_are_seen():
    """Short captions lie nearly alike in all directions: what they lack tells the most."""
    rng = np.random.default_rng(0)

    def draw(n, lacking):
        x = rng.normal(size=(n, 40)) * np.arange(1, 41) ** -0.15
        x[:, :lacking] = 0
        return torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True))

    kept = moments_of(draw(600, 0))
    seen = [sum(looks(kept, draw(50, k)).different for _ in range(20)) for k in (0, 2)]
    assert seen[0] == 0 and seen[1] >= 19


def test_a_few_queries_are_seen_only_where_they_are_far():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(40, 40)) / np.arange(1, 41)
    bank, more = (torch.from_numpy(rng.normal(size=(n, 40)) @ spread) for n in (300, 1000))
    kept = moments_of(bank)
    far = more + 4 * torch.from_numpy(rng.normal(size=40)) * more.norm(dim=1).mean() / 40**0.5
    for size in (1, 2, 10):
        batches = [slice(k, k + size) for k in range(0, 200, 10)]
        assert all(looks(kept, more[x]) is None for x in batches)
        assert all(looks(kept, far[x]).different for x in batches)
    # One odd query ten times is one witness.
    length = ((more - bank.mean(dim=0)) @ torch.linalg.inv(bank.T.cov())).mul(more).sum(dim=1)
    odd = more[length.argsort(descending=True)[30]]
    assert looks(kept, odd.expand(10, -1) + 1e-3 * more[:10]) is None


def other_space(x, seed=3):
    """Vectors of another model: other axes about another centre."""
    rng = np.random.default_rng(seed)
    return x @ np.linalg.qr(rng.normal(size=(D, D)))[0] + 3 * rng.normal(size=D)


def test_queries_from_elsewhere_get_what_suits_them_and_few_what_is_shown_to():
    close, far = Look(0.5, False), Look(0.9, True)
    meetings = (1.0,) * 9
    given = {"best": 0.5, "least": 0.25, "most": 1.0}
    shrinks = {
        (count, look.different): Drift(count, meetings, look=look, **given).shrink
        for count in (20, 100)
        for look in (close, far)
    }
    assert shrinks == {(20, False): 1, (100, False): 1, (20, True): 0.25, (100, True): 0.5}
    assert Drift(5, (), 1.0, 1.0, 1.0, far).shrink == 0
    assert Drift(5, (), 1.0, 1.0, 1.0, None).shrink == 1


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("sides", ["texts", "texts and videos"])
def test_an_unrelated_bank_without_pairs_is_stopped_also_for_few_queries(count, sides):
    bank_texts, bank_videos, texts, videos = worlds(n=200)
    for away in (False, True):
        move = other_space if away else lambda x: x
        bank = {"bank_texts": move(bank_texts)}
        if sides != "texts":
            bank["bank_videos"] = move(bank_videos)
        run = rerank.apply(texts[:count], videos, **bank)
        raw = Pair(texts[:count], videos).scores()
        assert torch.equal(run.t2v.sim.scores(), raw) == away
        assert any("stays as it is" in note for note in run.t2v.notes) == away


def test_a_fit_without_queries_compares_the_galleries():
    bank_texts, bank_videos, texts, videos = worlds(n=200)
    for away in (False, True):
        move = other_space if away else lambda x: x
        given = {"bank_texts": move(bank_texts), "bank_videos": move(bank_videos)}
        model = rerank.fit(videos, **given)
        few = rerank.apply(texts[:1], videos, **given)
        for fitted in (model.fitted, few.t2v.fitted):
            moved = fitted is not None and bool(fitted.gallery_bias.any())
            assert moved != away
        assert any("looks foreign" in note for note in model.manifest["notes"]) == away


def classes(seed=0, per=6, noise=1.4):
    """Queries of 40 classes, the prompts of these, and the class of each query."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(40, D))
    own = np.repeat(np.arange(40), per)
    prompts = centres + 2 * np.random.default_rng(8).normal(size=(40, 1)) * np.eye(D)[0]
    queries = centres[own] + noise * rng.normal(size=(len(own), D)) + 3 * np.eye(D)[0]
    return queries, prompts, own


def test_where_the_items_are_the_banks_own_queries_are_held_out_and_not_items():
    bank_queries, prompts, own = classes(0)
    queries, _, right = classes(1)
    moved = prompts + 0.5 * np.random.default_rng(7).normal(size=prompts.shape)
    others = np.random.default_rng(6).normal(size=prompts.shape)
    for gallery, same in ((prompts, True), (moved, True), (others, False)):
        bank = bank_for(gallery, bank_queries, prompts, tuple(np.array([j]) for j in own))
        assert same_items(bank) == same
        if not same:
            continue
        sim = Pair(queries, gallery)
        fitted, report = gated_fit(None, bank, incoming=sim)
        assert report.chosen.name != "none"
        hits = [
            (x.scores().argmax(dim=1).numpy() == right).mean() for x in (sim, fitted.transform(sim))
        ]
        assert hits[1] > hits[0] + 0.05


def test_closed_halves_split_the_queries_of_every_group_and_keep_all_items():
    positives = [np.array([k // 3]) for k in range(30)]
    first, second = halves(group_pairs(positives, 10), np.random.default_rng(0), closed=True)
    assert sorted(torch.cat([first.queries, second.queries]).tolist()) == list(range(30))
    assert first.gallery.tolist() == second.gallery.tolist() == list(range(10))
    for half in (first, second):
        counts = np.bincount(half.queries.numpy() // 3, minlength=10)
        assert set(counts.tolist()) == {1, 2}


def test_too_few_queries_to_look_at_are_said():
    texts, videos = (np.random.default_rng(k).normal(size=(120, 16)) for k in (0, 1))
    bank_texts = np.random.default_rng(2).normal(size=(200, 16))
    few = rerank.apply(texts[:10], videos, bank_texts=bank_texts)
    many = rerank.apply(texts, videos, bank_texts=bank_texts)
    assert any("10 queries are too few to see" in note for note in few.t2v.notes)
    assert not any("too few to see" in note for note in many.t2v.notes)
