"""Whether two similarities list their texts and videos in the same order, shown without ids.

Scores of two models are added entry by entry, which means something only where entry (i, j) is
about the same pair in both. Two models of the same pairs agree away from the matches too: what is
left of S after the means of its rows and columns are taken away correlates,

    r = <A, B> / (|A| |B|)       over pairs off the diagonal, cut off at three deviations

Where the order differs r is 0, although matches that both files keep on their diagonals agree. What
chance gives is measured on the same scores with their items permuted. Items may also be a few
places apart in files that are sorted alike, so neighbours are permuted and shifted as well: an
order that is right loses by that, one that is wrong does not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.passes import gallery, reduce

# Rows and columns that are looked at: enough for r = .02.
_SAMPLE = 500
_PERMUTATIONS = 100
# Widths of the windows within which neighbours change places, each done so many times.
_WINDOWS, _LOCAL = (2, 5, 20, 100), 5
_CUT = 3.0
# How far above all permutations, in their deviations.
_MARGIN = 2.0
_FEWEST = 10


@dataclass(frozen=True)
class SameOrder:
    """What was found.

    Attributes:
        correlation: r of the scores as they are.
        chance: the largest r of permuted items, and how much they vary.
        deviation: see `chance`.
        neighbours: the largest r of items that change places with neighbours.
        diagonal: mean of each one's diagonal above the rest, in deviations; 0 where the numbers of
            texts and videos say nothing of a diagonal.
        proved: whether the order is the same.
        sentence: for a person.
    """

    correlation: float
    chance: float
    deviation: float
    neighbours: float
    diagonal: tuple[float, float]
    proved: bool
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def same_order(one: Similarity, other: Similarity, *, seed: int = 0) -> SameOrder:
    """Look whether two similarities are about the same texts and videos in the same order.

    Args:
        one: (n, m) scores, as they are ranked.
        other: (n, m) scores of another model.
        seed: of the sample and of the permutations.

    Raises:
        RerankError: other sizes.

    >>> from rerank.core.similarity import Dense
    >>> generator = torch.Generator().manual_seed(0)
    >>> shared = torch.randn(60, 60, generator=generator)
    >>> a, b = (shared + torch.randn(60, 60, generator=generator) for _ in range(2))
    >>> same_order(Dense(a), Dense(b)).proved, same_order(Dense(a), Dense(b.flip(0, 1))).proved
    (True, False)
    """
    sizes = [(reduce.total_queries(sim), reduce.total_gallery(sim)) for sim in (one, other)]
    if sizes[0] != sizes[1]:
        (n, m), (p, q) = sizes
        raise RerankError(
            f"two models of the same pairs have equal sizes: got {n} x {m} and {p} x {q}"
        )
    n, m = sizes[0]
    generator = torch.Generator().manual_seed(seed)
    rows, columns, match = _sample(n, m, generator)
    a, b = (gallery.corner(sim, rows, columns).cpu().double() for sim in (one, other))
    scored = torch.isfinite(a) & torch.isfinite(b)
    diagonal = (_above(a, match, scored), _above(b, match, scored))
    if len(rows) < _FEWEST or len(columns) < _FEWEST:
        said = f"{n} x {m} scores are too few to show it"
        return SameOrder(0.0, 0.0, 0.0, 0.0, diagonal, False, said)
    kept = scored & ~match
    a, b = _residual(a, kept), _residual(b, kept)
    found = _correlation(a, b)
    tied, size = n == m, (len(rows), len(columns))
    far = _correlations(a, b, _permuted(size, tied, generator))
    local = [_correlations(a, b, orders) for orders in _neighbours(size, tied, generator)]
    near = max(float(r.mean()) for r in local)
    chance, deviation = float(far.max()), float(far.std())
    spread = max(deviation, *(float(r.std(correction=0)) for r in local[: len(_WINDOWS)]))
    proved = found > chance + _MARGIN * deviation and found > near + _MARGIN * spread
    said = _sentence(found, chance, near, deviation, diagonal, proved=proved)
    return SameOrder(found, chance, deviation, near, diagonal, proved, said)


def _sample(n: int, m: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns in their order, and (rows, columns) which may be matches by their places."""
    columns = torch.randperm(m, generator=generator)[:_SAMPLE].sort().values
    rows = columns if n == m else torch.randperm(n, generator=generator)[:_SAMPLE].sort().values
    # As many texts of every video in a row are a diagonal too, and the reverse.
    own = rows // (n // m) if n % m == 0 else rows
    place = columns // (m // n) if m % n == 0 else columns
    match = own[:, None] == place
    return rows, columns, match if n % m == 0 or m % n == 0 else torch.zeros_like(match)


def _above(x: Tensor, match: Tensor, scored: Tensor) -> float:
    """How far the possible matches lie above the rest, in deviations of the rest."""
    own, rest = x[match & scored], x[~match & scored]
    if not len(own) or len(rest) < 2:
        return 0.0
    spread = float(rest.std())
    return float(own.mean() - rest.mean()) / spread if spread > 0 else 0.0


def _residual(x: Tensor, kept: Tensor) -> Tensor:
    """Scores without the means of rows and columns, cut off; 0 where not kept."""
    x = torch.where(kept, x, 0.0)
    # Twice is exact where everything is scored; holes need a few rounds.
    for _ in range(4):
        for axis in (1, 0):
            count = kept.sum(dim=axis, keepdim=True).clamp_min(1)
            x = torch.where(kept, x - x.sum(dim=axis, keepdim=True) / count, 0.0)
    limit = _CUT * float((x.square().sum() / kept.sum().clamp_min(1)).sqrt())
    return x.clamp(-limit, limit)


def _correlation(a: Tensor, b: Tensor) -> float:
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else 0.0


def _correlations(a: Tensor, b: Tensor, orders: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The first with the second in other orders."""
    return torch.tensor([_correlation(a, b[p][:, q]) for p, q in orders])


def _permuted(
    size: tuple[int, int], tied: bool, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Orders of rows and columns; the same of both where a diagonal is to stay one."""
    n, m = size
    for _ in range(_PERMUTATIONS):
        rows = torch.randperm(n, generator=generator)
        yield rows, rows if tied else torch.randperm(m, generator=generator)


def _neighbours(
    size: tuple[int, int], tied: bool, generator: torch.Generator
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Orders in which items are a few places off: some of every window, and every shift."""
    n, m = size
    for width in _WINDOWS:
        drawn = [
            (_within(n, width, generator), _within(m, width, generator)) for _ in range(_LOCAL)
        ]
        yield [(rows, rows if tied else columns) for rows, columns in drawn]
    for step in (-2, -1, 1, 2):
        yield [(torch.arange(n).roll(step), torch.arange(m).roll(step))]


def _within(count: int, width: int, generator: torch.Generator) -> Tensor:
    """An order in which items change places within windows of this width."""
    start = int(torch.randint(width, (1,), generator=generator))
    window = (torch.arange(count) + start) // width
    return (window + torch.rand(count, generator=generator, dtype=torch.float64)).argsort()


def _sentence(
    found: float, chance: float, near: float, deviation: float, diagonal: tuple[float, float], *,
    proved: bool,
) -> str:  # fmt: skip
    level = f"off the diagonal the two correlate by {found:.3f}"
    if proved:
        return f"the same order: {level}, items in other orders by {max(chance, near):.3f} at most"
    if found > chance + _MARGIN * deviation:
        return (
            f"the files order their items differently: {level}, and by {near:.3f} with neighbours "
            "in other places, so items are a few places apart"
        )
    if min(diagonal) > 1:
        return (
            f"the files order their items differently: {level}, which is chance, although their "
            "diagonals agree; their sum would find right pairs that neither model knows"
        )
    return f"nothing shows that the files order their items alike: {level}, which is chance"
