"""What a matrix holds: recognised at any precision, said, and never a false alarm."""

import importlib
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.io import read_scores
from rerank.methods import kinds
from rerank.methods.kinds import parse_unscored, read_both, reading_of
from rerank.methods.kinds_beside import read_bank
from rerank.methods.kinds_facts import collect, merge
from rerank.metrics import hubness
from rerank.passes import reduce
from rerank.tasks.apply import apply
from rerank.tasks.matrix import rerank

DATA = Path(os.environ.get("RERANK_DATA", "/none"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs RERANK_DATA")


def cosines(n=240, m=200, seed=0, mean=0.2, noise=0.05, match=0.12):
    """Query x gallery cosines with hubs, hard rows and a match on the diagonal."""
    rng = np.random.default_rng(seed)
    S = mean + noise * rng.normal(size=(n, m))
    S += 0.5 * noise * rng.normal(size=(n, 1)) + 0.5 * noise * rng.normal(size=(1, m))
    k = min(n, m)
    S[range(k), range(k)] += match
    return S.clip(-1, 1).astype(np.float32)


def bf16(x):
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def softmax(Z, axis=1):
    E = np.exp(Z.astype(np.float64) - Z.max(axis=axis, keepdims=True))
    return (E / E.sum(axis=axis, keepdims=True)).astype(np.float32)


def match(S, tau=0.015, shift=0.0):
    """(log-odds, probabilities) of a head: about one of each row likely."""
    L = (S.astype(np.float64) - np.quantile(S, 1 - 2 / S.shape[1])) / tau - shift
    return L, 1 / (1 + np.exp(-L))


def cut(x, k, fill, axis=1):
    order = np.argsort(np.argsort(-x, axis=axis), axis=axis)
    return np.where(order < k, x, x.dtype.type(fill))


S = cosines()
Q = softmax(S / 0.015)
L, P = match(S)
P32 = P.astype(np.float32)
BROAD = match(S, tau=0.025)[1].astype(np.float32)
AS_THEY_ARE = {"similarities", "logits", "log-odds"}


def read_kind(x, **said):
    return kinds.read(x, **said)[1]


def scores_of(x, **said):
    return kinds.read(x, **said)[0].scores().numpy()


# ----------------------------------------------------------------- the dangerous false positive

NOT_PROBABILITIES = {
    "cosines": S,
    "float16": S.astype(np.float16),
    "bfloat16": bf16(S),
    "two decimals": np.round(S, 2),
    "three decimals": np.round(S, 3),
    "float64": S.astype(np.float64),
    "negative too": S - 0.3,
    "(1 + c) / 2": (1 + S) / 2,
    "stretched to 0..1": (S - S.min()) / (S.max() - S.min()),
    "every row stretched": (S - S.min(1, keepdims=True)) / np.ptp(S, axis=1, keepdims=True),
    "relu": np.maximum(S - 0.2, 0),
    "percent": S * 100,
    "0..100 that are no probabilities": np.maximum(S, 0) * 100,
    "a scale for every row": np.maximum(S, 0)
    * np.exp(0.5 * np.random.default_rng(1).normal(size=(240, 1))),
    "distances": -np.sqrt(2 - 2 * S),
    "distances, nearest 0": -np.sqrt(2 - 2 * S) * (S < S.max(axis=1, keepdims=True)),
    "logits": S * 100,
    "log-odds": L,
    "log of a softmax": np.log(Q),
    "top 10 of positive cosines": cut(S, 10, 0),
    "top 3": cut(S, 3, 0),
    "top 10 of each column": cut(S, 10, 0, axis=0),
    "one-hot": np.eye(30, dtype=np.float32),
    "0/1": (np.random.default_rng(2).random((50, 40)) < 0.1).astype(np.float32),
    "counts": np.random.default_rng(3).poisson(2, (50, 40)).astype(np.float32),
    "grades": np.random.default_rng(3).integers(0, 4, (50, 40)).astype(np.float32),
    "a scale for every row, up to 1": np.maximum(S, 0)
    / 2
    * np.exp(0.5 * np.random.default_rng(1).normal(size=(240, 1))).clip(None, 3),
    "whole": np.random.default_rng(3).integers(0, 100, (50, 40)).astype(np.float64),
    "2x2": np.array([[0.9, 0.2], [0.1, 0.8]], np.float32),
    "3x3": np.random.default_rng(4).random((3, 3)),
    "1xm": S[:1],
    "nx1": S[:, :1],
    "1x1": np.array([[0.5]]),
    "uniform": np.random.default_rng(4).random((100, 100)),
    "constant": np.full((20, 20), 0.3, np.float32),
    "all zero": np.zeros((20, 20), np.float32),
}


@pytest.mark.parametrize("name", NOT_PROBABILITIES)
def test_similarities_stay_as_they_are(name):
    x = NOT_PROBABILITIES[name]
    r = read_kind(x)
    out = scores_of(x)
    assert r.kind in AS_THEY_ARE, r.why
    scored = np.isfinite(out)
    np.testing.assert_array_equal(out[scored], x.astype(out.dtype)[scored])
    if not name.startswith("top") and name != "relu":
        assert scored.all(), r.why


NO_LOGARITHMS = {
    "cosines - 1": S - 1,
    "cosines below their best": S - S.max(),
    "squared distances": 2 * S - 2,
    "broad log of a softmax": np.log(softmax(S / 0.1)),
    "log of a sharp softmax": np.log(softmax(S / 0.005).clip(1e-30)),
    "log of a softmax by columns": np.log(softmax(S / 0.01, axis=0)),
    "logits below 0": 100 * (S - S.max()),
    "small log-probabilities": -np.logaddexp(0, 8 - L),
}


@pytest.mark.parametrize("name", NO_LOGARITHMS)
def test_numbers_below_zero_are_no_logarithms_for_that(name):
    r = read_kind(NO_LOGARITHMS[name])
    assert r.kind in AS_THEY_ARE and r.as_they_are and r.sure, r.why


LOGARITHMS = {
    "float64": -np.logaddexp(0, -3 - L),
    "float32": (-np.logaddexp(0, -3 - L)).astype(np.float32),
    "float16": (-np.logaddexp(0, -3 - L)).clip(-6e4).astype(np.float16),
    "log of float32 probabilities": np.log(
        (1 / (1 + np.exp(-3 - L))).astype(np.float32).clip(1e-30)
    ),
    "-1e9": np.where(np.arange(200) % 7 == 0, -1e9, -np.logaddexp(0, -3 - L)),
}


@pytest.mark.parametrize("name", LOGARITHMS)
def test_logarithms_of_match_probabilities_are_ranked_as_log_odds(name):
    x = LOGARITHMS[name]
    r, out = read_kind(x), scores_of(x)
    assert r.kind == "log-probabilities" and "logarithms of match probabilities" in r.why
    scored = np.isfinite(out)
    assert scored.mean() == (1 if name != "-1e9" else pytest.approx(6 / 7, abs=0.01))
    # Half precision keeps 11 bits of log p, so as many of 1 - p.
    wide = {"float16": 0.02, "log of float32 probabilities": 0.35}.get(name, 1e-3)
    near = scored & (3 + L < 12)
    np.testing.assert_allclose(out[near], (3 + L)[near], atol=wide)
    np.testing.assert_array_equal(scores_of(x, scores_are="log-probabilities"), out)


def test_where_the_sides_disagree_it_is_said():
    """A scale for every item mimics probabilities in rows or columns alone."""
    scale = np.exp(0.5 * np.random.default_rng(1).normal(size=200))
    x = np.maximum(S, 0) * scale
    r = read_kind(x / x.max())
    assert r.kind == "similarities" and not r.sure and 'scores_are="probabilities"' in r.why
    assert read_kind(S / S.max()).sure


def test_one_side_tells_of_logarithms_and_sums_tell_a_softmax():
    """Rows of one level hide it, columns show it; of a softmax both may, and log p is right."""
    rng = np.random.default_rng(5)
    rows = 6 * rng.normal(size=(200, 200)) * rng.uniform(0.2, 1.5, size=200) - 8
    rows[range(200), range(200)] += 12
    x = -np.logaddexp(0, -rows)
    r = read_kind(x.astype(np.float32))
    assert r.kind == "log-probabilities", r.why
    for axis in (0, 1):
        shares = np.log(softmax(rows, axis=axis).astype(np.float64).clip(1e-300))
        assert read_kind(shares).kind in AS_THEY_ARE


def test_what_is_said_to_be_a_logarithm_is_none_above_zero():
    with pytest.raises(RerankError, match="0.5 is the logarithm of no probability.*or log-odds"):
        kinds.read(np.array([[-1.0, 0.5], [-2, -3]]), scores_are="log-probabilities")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mean", [0.15, 0.35, 0.7])
def test_positive_cosines_of_any_level(seed, mean):
    x = cosines(
        60 + 20 * seed, 50 + 30 * (seed % 5), seed, mean=mean, noise=0.02 + 0.01 * (seed % 4)
    )
    assert read_kind(x.clip(0)).kind == "similarities"


# ------------------------------------------------------------------------------------- softmax

SOFTMAX = {
    "float32": (Q, 1, 1),
    "float64": (Q.astype(np.float64), 1, 1),
    "float16": (Q.astype(np.float16), 1, 1),
    "bfloat16": (bf16(Q), 1, 1),
    "percent": (100 * Q, 1, 100),
    "percent, bfloat16": (bf16(100 * Q), 1, 100),
    "percent, bfloat16 in float16": (bf16(100 * Q).astype(np.float16), 1, 100),
    "percent, float16": ((100 * Q).astype(np.float16), 1, 100),
    "four decimals": (np.round(Q, 4), 1, 1),
    "three decimals": (np.round(Q, 3), 1, 1),
    "percent, one decimal": (np.round(100 * Q, 1), 1, 100),
    "near uniform": (softmax(S), 1, 1),
    "near uniform, percent": (100 * softmax(S), 1, 100),
    "near uniform, bfloat16": (bf16(softmax(S)), 1, 1),
    "columns": (softmax(S / 0.015, 0), 0, 1),
    "columns, percent float16": ((100 * softmax(S / 0.015, 0)).astype(np.float16), 0, 100),
    "wide": (softmax(cosines(40, 900) / 0.02), 1, 1),
    "2x2": (softmax(np.array([[1.0, 0.2], [0.1, 0.5]])), 1, 1),
    "3x3": (softmax(np.random.default_rng(0).normal(size=(3, 3))), 1, 1),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_at_any_precision(name):
    x, axis, scale = SOFTMAX[name]
    r = read_kind(x)
    assert (r.kind, r.verdict.axis, r.verdict.scale) == ("softmax", axis, scale), r.why
    assert r.sure
    out = scores_of(x)
    floor = np.mean(x == 0) > 0.5  # most pairs rounded to 0: no score
    assert r.unscored == (0 if floor else None) and r.verdict.rounded == floor
    assert np.isfinite(out[(x > 0) | (not floor)]).all() and ("(rounded)" in r.why) == floor
    p = x.astype(np.float64) / scale
    np.testing.assert_allclose(out[p > 0], np.log(p[p > 0]), rtol=1e-5, atol=1e-6)


UNITS = {
    "per mille": (1000, None),
    "per mille, float16": (1000, np.float16),
    "per mille, whole": (1000, "whole"),
    "per mille, one decimal": (1000, "tenths"),
    "one byte": (255, "whole"),
    "two bytes": (65535, "whole"),
    "10000, whole": (10_000, "whole"),
    "a million": (1e6, None),
    "number of items": (200, None),
    "one for all pairs": (1 / 240, None),
    "half": (0.5, np.float64),
}


@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("tau", [0.015, 0.04])
@pytest.mark.parametrize("name", UNITS)
def test_a_softmax_in_any_unit_is_the_softmax(name, tau, axis):
    unit, kept = UNITS[name]
    p = softmax(S / tau, axis=axis).astype(np.float64)
    x = p * unit
    x = np.rint(x) if kept == "whole" else x.round(1) if kept == "tenths" else x
    x = x.astype(np.float32 if kept in (None, "whole", "tenths") else kept)
    for said in ("auto", "softmax"):
        r, out = read_kind(x, scores_are=said), scores_of(x, scores_are=said).astype(np.float64)
        side = "rows" if axis else "columns"
        assert (r.kind, r.verdict.axis) == ("softmax", axis), r.why
        assert r.verdict.scale == pytest.approx(unit, rel=0.01) and f"{side} sum to" in r.why
        assert f"{unit:.10g}" in r.why or f"about {unit:.4g}" in r.why
        held = (x > 0) & np.isfinite(out)
        exact = np.log(x[held].astype(np.float64) / r.verdict.scale)
        np.testing.assert_allclose(out[held], exact, atol=2e-3)


CENTRED = S - S.mean(axis=0) - S.mean(axis=1, keepdims=True) + S.mean()
SAME_SUMS = {
    "centred on both sides": CENTRED,
    "centred, moved above 0": CENTRED - CENTRED.min(),
    "standardised rows, moved above 0": (
        lambda z: z - z.min())((S - S.mean(1, keepdims=True)) / S.std(1, keepdims=True)
    ),
    "standardised rows around 5": 5 + (S - S.mean(1, keepdims=True)) / S.std(1, keepdims=True),
    "five of forty": np.stack(
        [np.isin(np.arange(40), np.random.default_rng(i).permutation(40)[:5]) for i in range(60)]
    ).astype(np.float32),
    "counts of 20": np.random.default_rng(0).multinomial(20, np.ones(40) / 40, 60).astype(float),
    "counts of 300": np.random.default_rng(0)
    .multinomial(300, np.random.default_rng(1).dirichlet(np.ones(40) / 2), 60).astype(float),
    "one-hot of 255": 255 * np.eye(60),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_SUMS)
def test_sums_that_are_alike_by_accident_are_no_softmax(name):
    r = read_kind(SAME_SUMS[name])
    assert r.kind in AS_THEY_ARE, r.why


def test_a_softmax_that_is_said_and_sums_to_nothing_is_refused():
    with pytest.raises(RerankError, match="neither rows nor columns sum to one number; divide by"):
        kinds.read(500 * P32, scores_are="softmax")


def test_doubly_stochastic_is_read_by_rows():
    x = np.exp(cosines(60, 60).astype(np.float64) / 0.05)
    for _ in range(500):
        x /= x.sum(axis=0)
        x /= x.sum(axis=1, keepdims=True)
    assert read_kind(x.astype(np.float32)).verdict.axis == 1


def test_underflowed_zeros_of_a_softmax_are_scores_not_gaps():
    x = Q.astype(np.float16)
    assert (x == 0).any()
    read_kind(x)
    out = scores_of(x)
    np.testing.assert_allclose(out[x == 0], math.log(2.0**-25), rtol=1e-6)


def test_padded_rows_of_a_softmax():
    x = Q.copy()
    x[::7] = 0
    r = read_kind(x)
    assert r.kind == "softmax" and r.constant_rows == len(x[::7])
    assert np.isneginf(scores_of(x)[::7]).all()


@pytest.mark.parametrize("k", [10, 32])
@pytest.mark.parametrize("scale", [1, 100, 1000, 255, 1e4])
def test_a_cut_softmax_is_match_probabilities(k, scale):
    x = cut(softmax(S / (0.03 if scale <= 100 else 0.015)) * np.float32(scale), k, 0)
    r = read_kind(x)
    assert r.kind == "probabilities" and r.verdict.scale == scale and r.unscored == 0, r.why
    assert (np.isneginf(scores_of(x)) == (x == 0)).all()


# --------------------------------------------------------------------------- match probabilities

MATCH = {
    "float32": P32,
    "float64": P,
    "float16": P.astype(np.float16),
    "bfloat16": bf16(P),
    "four decimals": np.round(P32, 4),
    "three decimals": np.round(P32, 3),
    "two decimals": np.round(P32, 2),
    "percent": 100 * P32,
    "percent, bfloat16": bf16(100 * P32),
    "percent, one decimal": np.round(100 * P32, 1),
    "mostly near 0": match(S, shift=5)[1].astype(np.float32),
    "sharp": match(S, tau=0.007)[1].astype(np.float32),
    "with ones": np.where(P > 0.9, 1, P).astype(np.float32),
    "few rows": P32[:40],
}


@pytest.mark.parametrize("name", MATCH)
def test_match_probabilities_at_any_precision(name):
    x = MATCH[name]
    r = read_kind(x)
    floor = np.mean(x == 0) > 0.5
    assert r.kind == "probabilities" and r.verdict.axis is None, r.why
    assert r.unscored == (0 if floor else None) and r.verdict.rounded == floor
    assert r.share == pytest.approx(np.mean(x == 0) if floor else 0)
    out = scores_of(x).astype(np.float64)
    np.testing.assert_array_equal(np.isneginf(out), (x == 0) & floor)
    p = x.astype(np.float64) / r.verdict.scale
    inner = (p > 0) & (p < 1 - r.verdict.half_high)
    np.testing.assert_allclose(out[inner], np.log(p[inner] / (1 - p[inner])), rtol=1e-5, atol=1e-5)
    order = np.argsort(-x[0], kind="stable")
    assert (out[0][order][1:] <= out[0][order][:-1]).all()


@pytest.mark.parametrize(("keep", "tau"), [(None, 0.012), (None, 0.02), (50, 0.012)])
def test_rows_that_lean_are_read_as_log_odds_where_tails_are_alike(keep, tau):
    rng = np.random.default_rng(0)
    # Tails of unlike lengths that start alike: the map then changes all of them alike.
    x = 0.04 * np.exp(0.3 * rng.normal(size=(300, 1))) * rng.normal(size=(300, 260))
    odds, p = match(x - np.sort(x, axis=1)[:, [-11]], tau)
    p = p if keep is None else cut(p, keep, 0)
    r = read_kind(p)
    assert r.kind == "probabilities", r.why
    kept = p > 0
    np.testing.assert_allclose(scores_of(p)[kept], odds[kept], atol=1e-6)
    assert np.isneginf(scores_of(p)[~kept]).all()


def test_reciprocal_ranks_are_read_without_a_warning():
    ranks = np.argsort(np.argsort(-cosines(60, 60), axis=1), axis=1) + 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_kind(1 / ranks).kind == "similarities"


@pytest.mark.parametrize("keep", [None, 30, 60])
@pytest.mark.parametrize("mean", [0.05, 0.2, 0.4])
def test_cosines_do_not_lean(keep, mean):
    for seed in range(3):
        x = np.maximum(cosines(m=300, seed=seed, mean=mean, noise=0.06), 1e-4)
        stretched = (x - x.min() + 1e-3) / np.ptp(x)
        for y in (x, np.minimum(stretched, 1)):
            for fill in (0, -100):
                z = y if keep is None else cut(y, keep, fill)
                assert read_kind(z.astype(np.float32)).kind == "similarities"


@pytest.mark.parametrize("k", [5, 10, 50])
@pytest.mark.parametrize("fill", [0, -1, -100, -1e4, -1e9, -np.inf])
def test_match_probabilities_of_the_best(k, fill):
    x = cut(P32, k, fill)
    r = read_kind(x)
    assert r.kind == "probabilities", r.why
    np.testing.assert_array_equal(np.isneginf(scores_of(x)), x == np.float32(fill))
    assert r.share == pytest.approx(1 - k / 200)
    assert "not scored" in r.why


@pytest.mark.parametrize(
    "x, zero, one",
    [
        (P.astype(np.float16), 2.0**-25, 2.0**-12),
        (bf16(P), 2.0**-150, 2.0**-9),
        (np.round(BROAD, 3), 5e-4, 5e-4),
        (np.round(100 * BROAD, 1), 5e-4, 5e-4),
        (bf16(100 * P32), 2.0**-150 / 100, 0.0025),
    ],
    ids=["float16", "bfloat16", "3 decimals", "percent, 1 decimal", "percent, bfloat16"],
)
def test_rounded_zeros_and_ones_take_half_a_unit(x, zero, one):
    x = x.copy()
    top = 100 if x.max() > 1 else 1
    x[3, 5], x[4, 6] = 0, top
    r = read_kind(x)
    assert r.kind == "probabilities"
    assert (r.verdict.half_low, r.verdict.half_high) == pytest.approx((zero, one), rel=1e-6)
    out = scores_of(x)
    assert out[4, 6] == pytest.approx(math.log((1 - one) / one), rel=1e-5)
    assert out[3, 5] == pytest.approx(math.log(zero), rel=1e-4)
    assert out[4, 6] == out.max() and out[3, 5] == out.min()


def test_zeros_at_random_are_not_scored_where_smaller_numbers_are_missing():
    x = P32.copy()
    gone = np.random.default_rng(0).random(x.shape) < 0.6
    x[gone] = 0
    r = read_kind(x)
    assert r.kind == "probabilities" and r.unscored == 0
    assert (np.isneginf(scores_of(x)) == gone).all()


# ------------------------------------------------------------------------------------- unscored

FILLS = [
    -1.0,
    -10.0,
    -100.0,
    -1e3,
    -1e4,
    -1e5,
    -1e6,
    -1e7,
    -1e8,
    -1e9,
    -65504.0,
    -3.4028235e38,
    -9999.0,
]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
@pytest.mark.parametrize("scale", [1, 50])
def test_a_fill_far_below_is_found(fill, share, scale):
    if scale == 50 and fill > -100:
        return
    gone = np.random.default_rng(0).random(S.shape) < share
    x = np.where(gone, np.float32(fill), (S - 0.2) * np.float32(scale))
    r = read_kind(x)
    assert r.unscored == pytest.approx(fill) and r.share == pytest.approx(gone.mean())
    assert (np.isneginf(scores_of(x)) == gone).all()
    rounded = bf16(x)
    assert (np.isneginf(scores_of(rounded)) == gone).all()


def test_one_masked_pair_is_enough_where_it_is_far_away():
    x = S.copy()
    x[3, 4] = -1e9
    assert np.isneginf(scores_of(x))[3, 4]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
def test_zero_between_the_scores_is_found(share):
    gone = np.random.default_rng(0).random(S.shape) < share
    x = np.where(gone, 0, (S - 0.2) * 10).astype(np.float32)
    r = read_kind(x)
    assert r.unscored == 0 and (np.isneginf(scores_of(x)) == gone).all()
    assert "0 = not scored" in r.why


def test_no_zero_is_missed_in_rounded_cosines():
    for d in (1, 2, 3):
        assert read_kind(np.round(S - 0.2, d)).unscored is None


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0, -1e8])
@pytest.mark.parametrize("side", ["rows", "columns", "both"])
def test_padding_takes_no_part(value, side):
    x = S.copy()
    rows, columns = slice(None, None, 9), slice(None, None, 11)
    if side != "columns":
        x[rows] = value
    if side != "rows":
        x[:, columns] = value
    out = scores_of(x)
    np.testing.assert_array_equal(np.isneginf(out), x == np.float32(value))


def test_declared_values_win():
    x = S.copy()
    x[2, 3] = 0.25
    read_kind(x, unscored=0.25)
    assert np.isneginf(scores_of(x, unscored=0.25))[2, 3]
    assert np.isneginf(scores_of(x, unscored=0.25)).sum() == 1
    x[2, 3] = np.nan
    with pytest.raises(RerankError, match=r'NaN.*unscored=float\("nan"\)'):
        read_kind(x)
    assert np.isneginf(scores_of(x, unscored=math.nan))[2, 3]
    x = bf16(np.where(S > 0.25, S, -1e9))
    assert (np.isneginf(scores_of(x, unscored=-1e9)) == (S <= 0.25)).all()


def test_plus_infinity_and_text_are_refused():
    x = S.copy()
    x[1, 2] = np.inf
    with pytest.raises(RerankError, match=r"row 1, column 2 is \+inf"):
        read_kind(x)
    with pytest.raises(RerankError, match="real"):
        read_kind(np.array([["a", "b"]]))
    with pytest.raises(RerankError, match="two dimensions"):
        read_kind(np.zeros(3))


# ------------------------------------------------------------------------------------- overrides


def test_a_stated_kind_wins():
    assert read_kind(Q, scores_are="similarities").kind == "similarities"
    r = read_kind(S.clip(0), scores_are="probabilities")
    assert r.kind == "probabilities"
    p = S.clip(0).astype(np.float64)
    inner = p > 0
    np.testing.assert_allclose(
        scores_of(S.clip(0), scores_are="probabilities")[inner],
        np.log(p[inner] / (1 - p[inner])),
        rtol=1e-4,
        atol=1e-5,
    )
    assert read_kind(Q, scores_are="probabilities").kind == "probabilities"
    assert read_kind(100 * Q, scores_are="softmax").verdict.scale == 100
    assert read_kind(softmax(S, 0), scores_are="softmax").verdict.axis == 0
    assert read_kind(S - 1, scores_are="log-odds").kind == "log-odds"
    with pytest.raises(RerankError, match="negative"):
        read_kind(S - 1, scores_are="probabilities")
    with pytest.raises(RerankError, match="no probability"):
        read_kind(S * 1000, scores_are="softmax")
    with pytest.raises(RerankError, match="expected auto"):
        read_kind(S, scores_are="cosines")


def test_where_the_numbers_do_not_tell_it_is_said():
    r = read_kind(np.array([[0.9, 0.2], [0.1, 0.8]], np.float32))
    assert r.kind == "similarities" and not r.sure and 'scores_are="probabilities"' in r.why


def test_every_reading_is_one_sentence():
    for x in (*NOT_PROBABILITIES.values(), *(v[0] for v in SOFTMAX.values()), *MATCH.values()):
        why = read_kind(x).why
        assert why and "\n" not in why and len(why) < 240


# ----------------------------------------------------------------------------- storage and shards


SHARDED = {
    "cosines": S,
    "softmax": Q,
    "columns": softmax(S / 0.015, 0),
    "match": P32,
    "top": cut(P32, 10, 0),
    "fill": bf16(cut(S, 10, -1e9)),
    "rounded": np.round(P32, 3),
}


@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("at", [(1,), (100,), (3, 90, 239)])
def test_facts_of_shards_give_the_same_reading(name, at):
    x = SHARDED[name]
    ends = [0, *at, len(x)]
    parts = [collect(x[a:b], first=a, total=len(x)) for a, b in zip(ends, ends[1:])]
    assert reading_of(merge(parts)) == reading_of(collect(x))


@pytest.mark.parametrize("layout", ["F", "strided", "reversed", "read-only", "big-endian"])
def test_layouts(layout):
    x = {
        "F": np.asfortranarray(Q),
        "strided": np.repeat(Q, 2, 1)[:, ::2],
        "reversed": Q[::-1],
        "read-only": Q.copy(),
        "big-endian": Q.astype(">f4"),
    }[layout]
    if layout == "read-only":
        x.flags.writeable = False
    before = x.copy()
    scores_of(x)
    assert read_kind(x).kind == "softmax" and (x == before).all()


def test_order_is_kept():
    for x in (Q, P32, 100 * Q, S):
        out = scores_of(x).astype(np.float64)
        for a, b in ((x, out), (x.T, out.T)):
            i = np.argsort(a, axis=1, kind="stable")
            assert (np.diff(np.take_along_axis(b, i, 1), axis=1) >= 0).all()


# ------------------------------------------------------------------------------------------ data


def divided(p, axis, precision):
    """Probabilities by the sums of their rows, or columns, at some precision."""
    p = p / p.sum(axis=axis, keepdims=True)
    made = {"float16": lambda: p.astype(np.float16), "bfloat16": lambda: bf16(p),
            "percent": lambda: 100 * p, "5 decimals": lambda: np.round(p, 5)}  # fmt: skip
    return made.get(precision, lambda: p)().astype(np.float32)


@pytest.mark.parametrize("precision", ["", "float16", "bfloat16", "percent", "5 decimals"])
@pytest.mark.parametrize("axis", [1, 0])
def test_match_probabilities_by_their_sums_are_no_softmax(axis, precision):
    """A softmax does not saturate; the best of every line stays its best, surely."""
    _, p = match(S, tau=0.015, shift=-4.0)
    x = divided(p, axis, precision)
    found = read_kind(x)
    assert found.divided and found.verdict.axis == axis and not found.sure
    assert "divided by their sums" in found.why and 'scores_are="softmax"' in found.why
    assert read_kind(x, scores_are="softmax").kind == "softmax"
    made = scores_of(x).astype(np.float64)
    q = x / x.max(axis=axis, keepdims=True)
    some = (q < 0.5) & (q > 0.01)
    np.testing.assert_allclose(made[some], np.log(q[some] / (1 - q[some])), rtol=1e-4, atol=1e-4)
    beside = read_bank(x[:, ::-1].copy(), read_both(x)).sim.scores().numpy()
    np.testing.assert_array_equal(beside[:, ::-1], made.astype(np.float32))
    assert not read_kind(divided(Q.astype(np.float64) ** 0.1, axis, precision)).divided


@needs_data
@pytest.mark.parametrize("axis", [1, 0])
def test_match_probabilities_of_the_data_by_their_sums_are_no_worse_than_raw(axis):
    dense = np.load(DATA / "match_probabilities" / "dense.npy").astype(np.float32)
    x = divided(dense, axis, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = apply(scores=x)
    for sims, got in ((dense, made.t2v), (dense.T, made.v2t)):
        own = sims == sims.max(axis=1, keepdims=True)
        raw = 100 * np.where(np.diag(own), 1 / own.sum(axis=1), 0).mean()
        found = 100 * float((got.topk.indices[:, 0].numpy() == np.arange(len(x))).mean())
        assert found > raw - 1.5


@needs_data
def test_match_probabilities_of_the_data():
    folder = DATA / "match_probabilities"
    dense = read_kind(np.load(folder / "dense.npy"))
    assert (dense.kind, dense.unscored, dense.precision) == ("probabilities", None, "float16")
    with np.load(folder / "top50.npz") as held:
        top = read_kind(held["arr_0"])
    assert (top.kind, top.unscored, round(top.share, 6)) == ("probabilities", 0, 0.95)
    percent = read_kind(np.load(folder / "softmax_percent_bf16.npy"))
    assert (percent.kind, percent.verdict.axis, percent.verdict.scale, percent.precision) == (
        "softmax",
        1,
        100,
        "bfloat16",
    )
    torch = pytest.importorskip("torch")
    both = torch.load(folder / "two_directions.pth", weights_only=True)
    for name in ("t2v", "v2t"):
        r = read_kind(both[name].numpy())
        assert r.kind in AS_THEY_ARE and r.unscored == -100


@needs_data
@pytest.mark.parametrize("k", [10, 20])
def test_the_best_of_the_data_are_match_probabilities_whatever_the_fill(k):
    dense = np.load(DATA / "match_probabilities" / "dense.npy").astype(np.float32)
    for fill in (0, -np.inf, -100, -1e4):
        r = read_kind(cut(dense, k, fill))
        assert r.kind == "probabilities" and r.share == pytest.approx(1 - k / 1000), r.why


# ------------------------------------------------------------------------------- lexical scores


def lexical(n=300, words=900, seed=0):
    """TF-IDF cosines and BM25 of made documents: Zipf words, and those of a topic."""
    rng = np.random.default_rng(seed)
    common = 1 / np.arange(1, words + 1)
    topics = rng.dirichlet(np.full(words, 0.02), n)
    mixed = 0.5 * common / common.sum() + 0.5 * topics
    query, document = (
        np.stack([rng.multinomial(length, p / p.sum()) for p in mixed]) for length in (8, 40)
    )
    inverse = np.log((1 + n) / (1 + (document > 0).sum(axis=0))) + 1

    def unit(x):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)

    weights = document * 2.2 / (document + 1.2)
    bm25 = ((query > 0) * inverse) @ weights.T
    return {
        "tf-idf": unit(query * inverse) @ unit(document * inverse).T,
        "log tf-idf": unit(np.log1p(query) * inverse) @ unit(np.log1p(document) * inverse).T,
        "counts": unit(query) @ unit(document).T,
        "bm25": bm25,
        "bm25 up to 1": bm25 / bm25.max(),
        "bm25 / 100": bm25 / 100,
    }


@pytest.mark.parametrize("seed", range(3))
def test_lexical_scores_are_no_probabilities(seed):
    for name, x in lexical(seed=seed).items():
        for y in (x.astype(np.float32), x.round(3), x.astype(np.float16)):
            r = read_kind(y)
            assert r.kind in AS_THEY_ARE or not r.sure, name


@pytest.mark.parametrize("bias", [0, 1, 1.5, 2])
def test_cosines_of_sparse_features_are_no_probabilities(bias):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(64, 256))
    base = rng.normal(size=(300, 64))
    sides = [
        np.maximum((base + 0.7 * rng.normal(size=base.shape)) @ mixing / 8 - bias, 0) for _ in "ab"
    ]
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in sides)
    assert read_kind((a @ b.T).astype(np.float32)).kind == "similarities"


# ------------------------------------------------------------------------- where it is not certain


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1.3, 2.0, 3.0])
def test_broad_probabilities_are_read_as_log_odds_even_where_that_is_not_certain(
    scale, seed, width
):
    x = cosines(seed=seed)
    odds = width * (x - x.mean()) / x.std()
    x = (scale / (1 + np.exp(-odds.astype(np.float64)))).astype(np.float32)
    r = read_kind(x)
    assert r.kind == "probabilities" and r.verdict.scale == scale, r.why
    assert r.sure or 'not certain: scores_are="similarities"' in r.why
    inner = np.abs(odds) < 8  # float32 rounds those that are nearer to 1
    np.testing.assert_allclose(scores_of(x)[inner], odds[inner], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fill", [0, -np.inf, -100, -1e4])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "3 decimals"])
def test_the_best_of_narrow_probabilities(fill, precision):
    narrow = match(S, tau=0.01)[1].astype(np.float32)
    x = cut(narrow, 10, fill)
    x = bf16(x) if precision == "bfloat16" else x.round(3) if precision[0] == "3" else x
    assert read_kind(x).kind == "probabilities", read_kind(x).why


# ----------------------------------------------------------------------------------- distances


DISTANCES = {
    "euclidean": np.sqrt(2 - 2 * S),
    "squared": 2 - 2 * S,
    "1 - cosine": 1 - S,
    "angles": np.arccos(S),
    "float16": np.sqrt(2 - 2 * S).astype(np.float16),
    "bfloat16": bf16(np.sqrt(2 - 2 * S)),
    "up to 1": np.sqrt(2 - 2 * S) / np.sqrt(2 - 2 * S).max(),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_noticed_and_left_as_they_are(name):
    x = DISTANCES[name]
    r = read_kind(x)
    assert r.verdict.near and not r.sure and 'scores_are="distances"' in r.why, r.why
    np.testing.assert_array_equal(scores_of(x), x)


@pytest.mark.parametrize("name", DISTANCES)
def test_stated_distances_are_turned_round(name):
    x = DISTANCES[name]
    r = read_kind(x, scores_are="distances")
    assert r.kind == "distances" and r.sure and "the smallest is best" in r.why
    np.testing.assert_array_equal(scores_of(x, scores_are="distances"), -x)


@pytest.mark.parametrize("fill", [np.inf, 1e9, 1e4])
def test_a_distance_that_was_not_measured_is_no_score(fill):
    gone = np.random.default_rng(0).random(S.shape) < 0.3
    x = np.where(gone, np.float32(fill), DISTANCES["euclidean"]).astype(np.float32)
    r = read_kind(x, scores_are="distances")
    out = scores_of(x, scores_are="distances")
    assert (np.isneginf(out) == gone).all() and r.share == pytest.approx(gone.mean())
    assert f"{np.float32(fill):g} = not scored" in r.why
    stated = scores_of(x, scores_are="distances", unscored=fill)
    np.testing.assert_array_equal(stated, out)


FAR = np.sqrt(2 - 2 * S)
NEAREST = np.argsort(np.argsort(FAR, axis=1), axis=1) < 60
OTHER_DISTANCES = {
    "few rows": FAR[:20],
    "few columns": FAR[:, :15],
    "bits that differ, of 64": np.rint((1 - S) * 32).astype(np.float32),
    "bits that differ, a few rows": np.rint((1 - S) * 32).astype(np.float32)[:30],
    "the nearest, else 0": np.where(NEAREST, FAR, 0),
    "the nearest, else -inf": np.where(NEAREST, FAR, -np.inf),
}


@pytest.mark.parametrize("name", OTHER_DISTANCES)
def test_distances_are_noticed_in_few_lines_whole_numbers_and_lists(name):
    r = read_kind(OTHER_DISTANCES[name])
    assert r.verdict.near and 'scores_are="distances"' in r.why, r.why
    x = {"few rows": S[:20], "few columns": S[:, :15]}.get(name, S)
    turned = np.rint(x * 32) + 32 if name.startswith("bits") else x
    turned = np.where(NEAREST, turned, 0) if name.startswith("the") else turned
    assert not read_kind(turned).verdict.near, name


def test_zeros_amid_negative_scores_are_no_scores_where_nothing_comes_near():
    gone = np.random.default_rng(0).random(S.shape) < 0.3
    for x in (np.log(Q), -FAR, -FAR.astype(np.float16), -100 * FAR):
        y = np.where(gone, x.dtype.type(0), x)
        r = read_kind(y)
        assert r.unscored == 0 and r.share == pytest.approx(gone.mean(), abs=1e-3), r.why
        assert (np.isneginf(scores_of(y)) == gone).all()
    turned = read_kind(np.where(gone, 0, FAR), scores_are="distances")
    assert turned.unscored == 0 and "; 0 = not scored" in turned.why
    best = np.sort(S, axis=1)[:, -20:-19]
    for x in (np.minimum(S - best, 0), -np.logaddexp(0, -3 - L).astype(np.float16)):
        assert read_kind(x).unscored is None  # cut off at 0, or rounded to it


@pytest.mark.parametrize("fill", [-1, -2, -0.5])
def test_a_number_that_too_many_pairs_have_is_told(fill):
    gone = np.random.default_rng(0).random(S.shape) < 0.3
    x = np.where(gone, np.float32(fill), np.log(Q))
    r = read_kind(x)
    said = f"{fill} stands in {100 * gone.mean():.3g} % of the pairs: unscored={fill} if it means"
    assert said in r.why and said in read_both(x).sentence
    assert "stands in" not in read_kind(x, unscored=fill).why
    assert "stands in" not in read_kind(x, unscored="none").why
    two = np.where(gone, np.where(np.arange(200) % 2, -100, -1e9), S).astype(np.float32)
    assert "write -inf for it and for -1e+09 if" in read_kind(two).why


@pytest.mark.parametrize("said", ["similarities", "logits", "distances"])
@pytest.mark.parametrize("fill", [-1, -3, 999])
def test_a_number_that_too_many_pairs_have_is_told_where_the_kind_is_said(said, fill):
    gone = np.random.default_rng(0).random(S.shape) < 0.3
    x = np.where(gone, np.float32(fill), 1 - S if said == "distances" else S)
    plain = np.where(gone, np.inf if said == "distances" else -np.inf, x)
    found = read_both(x, scores_are=said)
    asked = f"; {fill} stands in {100 * gone.mean():.3g} % of the pairs: unscored={fill} if it"
    if found.reading.unscored is None:
        assert asked in found.sentence
    again = read_both(x, scores_are=said, unscored=fill)
    assert "stands in" not in again.sentence
    np.testing.assert_array_equal(
        again.t2v.scores(), read_both(plain, scores_are=said).t2v.scores()
    )
    assert "stands in" not in read_both(x, scores_are=said, unscored="none").sentence


def test_no_number_of_scores_is_too_frequent():
    for name, x in DISTANCES.items():
        assert "stands in" not in read_kind(x, scores_are="distances").why, name
    for name, x in {**NOT_PROBABILITIES, **{k: v[0] for k, v in SOFTMAX.items()}, **MATCH}.items():
        assert "stands in" not in read_kind(x).why, name


@pytest.mark.parametrize("unit", [255, 1000, 10_000, 65535])
def test_match_probabilities_in_other_units(unit):
    for p in (P, BROAD):
        x = (p / p.max() * unit).astype(np.float32)
        r = read_kind(x)
        assert (r.kind, r.verdict.scale) == ("probabilities", unit), r.why
        shown = "per mille" if unit == 1000 else f"of {unit}"
        assert shown in r.why
    assert read_kind((S / S.max() * unit).astype(np.float32)).kind == "logits"


def test_an_infinite_number_is_told_to_fit_distances():
    x = np.where(NEAREST, FAR, np.inf)
    with pytest.raises(RerankError, match='no pair is that good; scores_are="distances" if the sm'):
        kinds.read(x)
    assert read_kind(x, scores_are="distances").share == pytest.approx(0.7)


def test_no_similarity_looks_like_a_distance():
    for name, x in {**NOT_PROBABILITIES, "clipped": S.clip(0), "1 + c": (1 + S) / 2}.items():
        assert not read_kind(x).verdict.near, name


def test_the_diagonal_tells_where_the_tails_do_not():
    rng = np.random.default_rng(0)
    x = 3 + rng.random((60, 60)).astype(np.float32)
    assert not read_kind(x).verdict.near
    low = x.copy()
    low[range(60), range(60)] = 2.999
    assert read_kind(low).verdict.near and not read_kind(9 - low).verdict.near
    parts = [collect(low[:7], first=0, total=60), collect(low[7:], first=7, total=60)]
    assert reading_of(merge(parts)) == reading_of(collect(low))


# -------------------------------------------------------------------- both directions, and doors


def test_padding_changes_no_reading_and_no_score():
    x = cosines(60, 50)
    for fill in (0, -100, -np.inf):
        wide = np.full((75, 62), fill, np.float32)
        wide[:60, :50] = x
        found = scores_of(wide)
        np.testing.assert_array_equal(found[:60, :50], x)
        assert np.isneginf(found[60:]).all() and np.isneginf(found[:, 50:]).all()
        plain, padded = quietly(x), quietly(wide)[:60, :50]
        for axis in (0, 1):
            np.testing.assert_array_equal(plain.argsort(axis=axis), padded.argsort(axis=axis))


def quietly(x, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return rerank(x, **settings)


@pytest.mark.parametrize("fill", [0, -np.inf, -1e4])
def test_an_unscored_pair_stays_below_every_score(fill):
    x = cut(P32, 15, fill)
    x[:, 7] = fill  # a dead column, and a dead row
    x[9] = fill
    out = quietly(x)
    none = x == np.float32(fill)
    assert np.isneginf(out[none]).all() and np.isfinite(out[~none]).all()


def test_the_reading_is_said_once():
    with pytest.warns(UserWarning, match="rows sum to 1: a softmax") as caught:
        rerank(Q)
    assert len([w for w in caught if "softmax" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_both(S)
        assert read_both(S).sentence == ""


@pytest.mark.parametrize(("k", "raw"), [(3, True), (5, True), (10, False)])
def test_few_scores_of_each_query_stay_raw_unless_asked(k, raw):
    x = cut(S, k, -np.inf)
    found = apply(scores=x)
    assert (found.t2v.fitted is None) == raw
    assert any("too few" in note for note in found.t2v.notes) == raw
    assert apply(scores=x, method="sinkhorn").t2v.fitted is not None
    assert apply(scores=x, tau=0.05).t2v.fitted is not None
    if raw:
        np.testing.assert_array_equal(found.t2v.sim.scores().numpy(), x)


def test_two_matrices_are_ranked_each_by_its_own():
    back = np.ascontiguousarray(cosines(240, 200, seed=5).T)
    both = apply(scores={"t2v": S, "v2t": back}, tau=0.05)
    np.testing.assert_array_equal(both.t2v.topk.indices, apply(scores=S, tau=0.05).t2v.topk.indices)
    alone = apply(scores=np.ascontiguousarray(back.T), tau=0.05)
    np.testing.assert_array_equal(both.v2t.topk.indices, alone.v2t.topk.indices)
    turned = apply(scores=(S, np.ascontiguousarray(back.T)), tau=0.05)
    np.testing.assert_array_equal(both.v2t.topk.indices, turned.v2t.topk.indices)
    with pytest.raises(RerankError, match="two matrices"):
        both.scores()
    with pytest.raises(RerankError, match="expected \\(200, 240\\)"):
        apply(scores=(S, back[:-1]))
    with pytest.raises(RerankError, match="'t2v' and 'v2t'"):
        apply(scores={"t2v": S})


def test_a_square_second_matrix_is_turned_where_it_resembles_the_first():
    x = cosines(120, 120)
    noise = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
    near = x + 0.01 * noise
    assert read_both((x, near)).turned
    assert not read_both((x, np.ascontiguousarray(near.T))).turned
    a, b = read_both((x, near)).v2t, read_both((x, np.ascontiguousarray(near.T))).v2t
    np.testing.assert_array_equal(a.scores(), b.scores())


def test_unscored_items_are_nobodys_neighbours():
    x = cut(S, 3, -np.inf)
    x[4] = -np.inf
    found = hubness.summary(Dense(x, unscored=True), 10)
    counts = np.isfinite(x).sum(axis=0)
    np.testing.assert_array_equal(found.counts, counts)
    assert found.firsts.sum() == len(x) - 1
    near = reduce.k_occurrence(Dense(x, unscored=True), 10)
    np.testing.assert_array_equal(near.numpy(), counts)
    ranked = apply(scores=x, method="sinkhorn").t2v
    np.testing.assert_array_equal(ranked.before.counts, counts)


def test_what_unscored_may_be():
    assert parse_unscored("-100") == -100 and math.isnan(parse_unscored("nan"))
    with pytest.raises(RerankError, match="^unscored: got 'x'"):
        parse_unscored("x")
    x = cut(S, 10, -100)
    assert np.isfinite(scores_of(x, unscored="none")).all()


@needs_data
@pytest.mark.parametrize("first", [1, 3])
def test_tf_idf_of_captions_is_no_probability(first):
    captions = json.loads((DATA / "msvd" / "test_captions.json").read_text())
    grouped: dict[str, list[str]] = {}
    for name, text in captions.items():
        grouped.setdefault(name.split("#")[0], []).append(text.lower())
    grouped = {k: v for k, v in grouped.items() if len(v) >= first + 5}
    words = sorted({w for texts in grouped.values() for text in texts for w in text.split()})
    at = {word: i for i, word in enumerate(words)}

    def counts(part):
        out = np.zeros((len(grouped), len(words)))
        for row, texts in enumerate(grouped.values()):
            for word in " ".join(texts[part]).split():
                out[row, at[word]] += 1
        return out

    query, document = counts(slice(0, first)), counts(slice(first, first + 5))
    inverse = np.log((1 + len(query)) / (1 + (document > 0).sum(axis=0))) + 1
    for weigh in (np.log1p, np.asarray):
        a, b = (weigh(x) * inverse for x in (query, document))
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        r = read_kind((a @ b.T).astype(np.float32))
        assert r.kind == "similarities" or not r.sure, r.why
    bm25 = ((query > 0) * inverse) @ (document * 2.2 / (document + 1.2)).T
    for x in (bm25, bm25 / bm25.max(), bm25 / 100):
        assert read_kind(x.astype(np.float32)).kind in AS_THEY_ARE


@needs_data
def test_two_directions_from_a_file_and_from_arrays_are_one():
    verb = importlib.import_module("rerank").apply
    file = DATA / "match_probabilities" / "two_directions.pth"
    read = read_scores(file)
    a, b = quiet(verb, scores=file), quiet(verb, scores={"t2v": read.scores, "v2t": read.reverse})
    for name in ("t2v", "v2t"):
        np.testing.assert_array_equal(getattr(a, name).topk.indices, getattr(b, name).topk.indices)
    assert a.stored.as_dict()["v2t"]["rows"] == "videos"


def quiet(call, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(**settings)


@pytest.mark.parametrize("power", [300, 100, 38, -30, -100])
def test_scores_beyond_every_temperature_are_refused_with_the_power_that_helps(power):
    scores = 3 * np.random.default_rng(0).normal(size=(40, 30)) + 2 * np.eye(40, 30)
    with pytest.raises(RerankError, match=r"^scores: they reach from .* them by 1e\d+$") as refused:
        rerank(scores * 10.0**power)
    way = str(refused.value).rpartition("; ")[2].split()
    factor = float(way[-1]) ** (1 if way[0] == "multiply" else -1)
    read_both(scores * 10.0**power * factor)


@pytest.mark.parametrize("power", [29, -24])
def test_scores_of_unusual_sizes_are_ranked_as_usual_ones(power):
    scores = cosines(60, 50).astype(float)
    one, two = rerank(scores), rerank(scores * 10.0**power)
    assert (one.argmax(axis=1) == two.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize(("number", "said"), [(-np.inf, None), (np.nan, np.nan), (-100.0, -100)])
def test_a_matrix_without_a_single_score_is_refused(number, said):
    with pytest.raises(RerankError, match=r"none of the 6 x 5 pairs is scored"):
        read_both(np.full((6, 5), number), unscored=said)


ORDER = (-cosines(60, 50)).argsort(axis=1).argsort(axis=1)
DOWN = (-cosines(60, 50)).argsort(axis=0).argsort(axis=0)


def shared(method):
    from scipy.stats import rankdata

    return rankdata(-cosines(60, 50).round(2), axis=1, method=method).astype(float)


RANKS = {
    "negative": -1.0 - ORDER,
    "from one": ORDER + 1.0,
    "from zero, 100": (-cosines(60, 100)).argsort(axis=1).argsort(axis=1).astype(np.float32),
    "float16": -(ORDER.astype(np.float16)),
    "best 20": np.where(ORDER < 20, -1.0 - ORDER, -np.inf),
    "largest is best": 50.0 - ORDER,
    "1 / rank": 1 / (1.0 + ORDER),
    "1 / (60 + rank)": (1 / (61.0 + ORDER)).astype(np.float32),
    "rank / m": (ORDER + 1.0) / 50,
    "rank / (m - 1), rows sum to 100": (-cosines(60, 200)).argsort(1).argsort(1) / 199,
    "of columns": DOWN + 1.0,
    "of columns, largest is best": 60.0 - DOWN,
    "1 / rank of columns": 1 / (1.0 + DOWN),
    "equal ones share the mean": shared("average"),
    "equal ones share the first": shared("min"),
    "equal ones share the last": shared("max"),
}


def fused(*added: int, depth: int = 10_000, items: int = 50) -> np.ndarray:
    """Reciprocal ranks of several searches, added up."""
    rng = np.random.default_rng(3)
    scores = [cosines(60, items) + rng.normal(size=(60, items)) for _ in added]
    ranks = [(-s).argsort(1).argsort(1) + 1 for s in scores]
    parts = [np.where(r <= depth, 1 / (c + r), 0) for c, r in zip(added, ranks, strict=True)]
    return np.add.reduce(parts).astype(np.float32)


FUSED = {
    "two": fused(60, 60),
    "three": fused(60, 60, 60),
    "without 60": fused(0, 0),
    "turned": fused(60, 60, items=70).T,
    "best 20 of each": fused(60, 60, depth=20, items=90),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_ranks_are_told_to_be_no_scores(name):
    found = kinds.read_both(FUSED[name])
    assert "they look like ranks" in found.sentence
    assert found.reading.kind in AS_THEY_ARE
    shaken = FUSED[name] * (1 + 0.01 * np.random.default_rng(1).normal(size=FUSED[name].shape))
    assert "ranks" not in kinds.read_both(shaken).sentence


@pytest.mark.parametrize("items", [18, 24, 60])
def test_shares_are_never_taken_for_fused_ranks(items):
    # With so many items 1 is a sum of reciprocal ranks too.
    flat = np.exp(4 * cosines(60, items))
    scores = flat / flat.sum(axis=1, keepdims=True)
    assert "ranks" not in kinds.read_both(scores).sentence


@pytest.mark.parametrize("name", RANKS)
def test_ranks_are_told_to_be_no_scores(name):
    scores = RANKS[name]
    found = kinds.read_both(scores)
    assert "they look like ranks" in found.sentence and "probabilities" not in found.sentence
    assert found.reading.kind in AS_THEY_ARE
    np.testing.assert_array_equal(found.t2v.scores().numpy()[scores > -99], scores[scores > -99])
    smallest = "from" in name or "share" in name or name in ("of columns", "rank / m")
    smallest |= name.startswith("rank / (m")
    assert ('scores_are="distances" if the smallest is' in found.sentence) == smallest
    assert "look like distances" not in found.sentence
    noise = np.random.default_rng(1).normal(size=scores.shape)
    shaken = scores * (1 + 0.01 * noise)
    assert "ranks" not in kinds.read_both(shaken).sentence


def test_ranks_that_are_said_to_be_distances_and_what_is_none():
    found = kinds.read_both(ORDER + 1.0, scores_are="distances")
    assert "they look like ranks" in found.sentence
    rng = np.random.default_rng(2)
    for whole in (rng.integers(-50, 50, (60, 50)), rng.poisson(3, (60, 50)), rng.permutation(3000)):
        assert "ranks" not in read_kind(whole.reshape(60, 50).astype(float)).why


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cut_keeps_the_doubt_whether_they_are_probabilities(seed):
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=(200, 200)) + 3 * np.eye(200)
    odds = odds + 0.8 * rng.normal(size=(200, 1)) + 0.8 * rng.normal(size=200)
    shares = 1 / (1 + np.exp(2.5 - odds))
    best = np.where(shares >= np.sort(shares, axis=1)[:, -50:][:, :1], shares, 0)
    with pytest.warns(UserWarning, match='not certain: scores_are="probabilities"'):
        rerank(best)
