"""Two models in one order are accepted, in others refused, whatever their diagonals say."""

import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.methods.same_order import same_order


def two(n, seed, correlation=0.3, diagonal=4.0, m=None):
    """Noisy scores of two models of the same pairs, both with their matches on the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    shared, *own = torch.randn((3, n, m or n), generator=generator)
    share = correlation**0.5, (1 - correlation) ** 0.5
    high = diagonal * torch.eye(n, m or n)
    return [share[0] * shared + share[1] * noise + high for noise in own]


def order(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def proved(a, b):
    return same_order(Dense(a), Dense(b)).proved


@pytest.mark.parametrize(("n", "draws"), [(60, 100), (150, 20)])
def test_permuted_copies_are_refused_and_noisy_pairs_accepted(n, draws):
    accepted, refused = 0, 0
    for seed in range(draws):
        a, b = two(n, seed)
        p = order(n, seed)
        accepted += proved(a, b)
        refused += not proved(a, b[p][:, p])
    assert refused == draws
    assert accepted >= 0.99 * draws


def test_a_copy_of_itself_in_another_order_is_refused():
    for seed in range(20):
        a, _ = two(80, seed, diagonal=0.0)
        p, q = order(80, seed), order(80, seed + 100)
        assert proved(a, a)
        for other in (a[p][:, p], a[p], a[:, q], a[p][:, q]):
            assert not proved(a, other)


def test_the_sentence_warns_of_diagonals_that_agree():
    a, b = two(100, 0)
    p = order(100, 0)
    found = same_order(Dense(a), Dense(b[p][:, p]))
    assert min(found.diagonal) > 3
    assert "order their items differently" in found.sentence
    assert "although their diagonals agree" in found.sentence
    alone = same_order(Dense(a), Dense(torch.randn(100, 100)))
    assert "nothing shows" in alone.sentence


def test_hubs_that_both_models_share_prove_nothing():
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn((2, 100), generator=generator) * 5
    a, b = (torch.randn((100, 100), generator=generator) + rows[:, None] + columns for _ in "ab")
    assert not proved(a, b)


@pytest.mark.parametrize("shift", [1, -2])
def test_sorted_files_a_few_places_apart_are_refused(shift):
    """Neighbours of sorted files are alike, so even a wrong order correlates."""
    place = torch.linspace(0, 12, 120)
    common = torch.cos(place[:, None] - place)
    for seed in range(10):
        a, b = (2 * common + x for x in two(120, seed, correlation=0.5))
        assert proved(a, b)
        moved = b.roll((shift, shift), (0, 1))
        found = same_order(Dense(a), Dense(moved))
        assert found.correlation > 0.3 and not found.proved
        assert "a few places apart" in found.sentence


def test_captions_in_blocks_count_as_a_diagonal():
    """Five captions of each video in a row: whole blocks in another order keep the matches."""
    for seed in range(10):
        a, b = (x.repeat_interleave(5, dim=0) for x in two(60, seed, correlation=0.0))
        a, b = a + torch.randn_like(a), b + torch.randn_like(b)
        p = order(60, seed)
        rows = (5 * p[:, None] + torch.arange(5)).reshape(-1)
        assert not proved(a, b[rows][:, p])


def test_unscored_pairs_take_no_part():
    a, b = two(80, 3, correlation=0.5)
    a[torch.rand(80, 80) < 0.3] = -torch.inf
    sims = [Dense(x, unscored=True) for x in (a, b)]
    assert same_order(*sims).proved
    p = order(80, 1)
    assert not same_order(sims[0], Dense(b[p][:, p])).proved


def test_a_sample_decides_large_ones_and_embeddings_too():
    generator = torch.Generator().manual_seed(0)
    texts, videos = torch.randn((2, 700, 32), generator=generator)
    noisy = [x + 0.5 * torch.randn(x.shape, generator=generator) for x in (texts, videos)]
    assert same_order(Pair(texts, videos), Pair(*noisy)).proved
    assert not same_order(Pair(texts, videos), Pair(noisy[0].flip(0), noisy[1].flip(0))).proved


def test_few_scores_show_nothing_and_sizes_must_agree():
    a, b = two(8, 0, correlation=0.9)
    found = same_order(Dense(a), Dense(b))
    assert not found.proved and "too few" in found.sentence
    with pytest.raises(RerankError, match="8 x 8 and 8 x 7"):
        same_order(Dense(a), Dense(b[:, :7]))
