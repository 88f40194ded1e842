"""Facts about the numbers of a matrix: one cheap pass over all of it, and samples of its lines.

Exact are the lowest and highest score of every row, the sums of the rows and how many entries are
NaN or infinite. Whatever costs more is found on evenly spaced rows and columns, all of them where
the matrix is small. Which rows are looked at depends on the size of the whole matrix alone, so that
processes that hold shares of it find together what one process would find.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_BLOCK_BYTES = 2**20  # as much as a core keeps near
_SMALL = 2**22  # entries of a matrix that is looked at whole
_LINES, _LINES_OF_SMALL = 256, 2048
_VALUES = 2**18  # entries whose values are sorted
# Fewer equal numbers in a line are an accident, not padding.
_LONG = 8

SUM, LOW, HIGH, FINITE = range(4)


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of some rows; `merge` joins the facts of consecutive rows.

    Attributes:
        shape: (n, m) of these rows.
        nan: entries that are NaN.
        minus_inf: entries that are -inf.
        plus_inf: row and column of the first +inf, or None.
        first_nan: row and column of the first NaN, or None.
        rows: (4, n) sum of the positive scores, lowest, highest and how many finite ones; a sum is
            NaN where several negative scores stand beside, which are no probabilities.
        flat: (m,) the one number of a column that holds no other, else NaN.
        picked: (r, m) evenly spaced rows.
        panel: (n, c) evenly spaced columns.
        strides: from one picked row, and one column of the panel, to the next.
        own: how many rows i have their lowest, and their highest, score in column i.
    """

    shape: tuple[int, int]
    nan: int
    minus_inf: int
    plus_inf: tuple[int, int] | None
    first_nan: tuple[int, int] | None
    rows: np.ndarray
    flat: np.ndarray
    picked: np.ndarray
    panel: np.ndarray
    strides: tuple[int, int]
    own: tuple[int, int] = (0, 0)


def collect(scores: np.ndarray, *, first: int = 0, total: int | None = None) -> Facts:
    """Facts of a matrix, or of the rows `first`.. of one that has `total` rows.

    >>> facts = collect(np.array([[0.5, -np.inf], [0.25, 1.0]]))
    >>> facts.minus_inf, facts.rows[HIGH].tolist()
    (1, [0.5, 1.0])
    """
    n, m = scores.shape
    whole = n if total is None else total
    lines = _LINES_OF_SMALL if whole * m <= _SMALL else _LINES
    stride, across = -(-whole // lines) or 1, -(-m // lines)
    rows = np.empty((4, n))
    rows[FINITE] = m
    counts = {"nan": 0, "minus_inf": 0}
    plus_inf = first_nan = None
    step = max(1, _BLOCK_BYTES // (scores.itemsize * m))
    for start in range(0, n, step):
        block = scores[start : start + step]
        part = rows[:, start : start + step]
        part[LOW], part[HIGH] = block.min(axis=1), block.max(axis=1)
        if not np.isfinite(part[LOW : HIGH + 1]).all():
            ok, nan = np.isfinite(block), np.isnan(block)
            plus = block == np.inf
            counts["nan"] += int(nan.sum())
            counts["minus_inf"] += int(np.count_nonzero(block == -np.inf))
            plus_inf = plus_inf or _first(plus, first + start)
            first_nan = first_nan or _first(nan, first + start)
            part[LOW] = np.where(ok, block, np.inf).min(axis=1)
            part[HIGH] = np.where(ok, block, -np.inf).max(axis=1)
            part[FINITE] = ok.sum(axis=1)
            block = np.where(ok, block, 0)
        part[SUM] = _positive_sums(block, part[LOW])
    return Facts(
        shape=(n, m), **counts, plus_inf=plus_inf, first_nan=first_nan, rows=rows,
        flat=_flat(scores), picked=scores[(-first) % stride :: stride],
        panel=np.ascontiguousarray(scores[:, ::across]), strides=(stride, across),
        own=_own(scores, rows, first),
    )  # fmt: skip


def _own(scores: np.ndarray, rows: np.ndarray, first: int) -> tuple[int, int]:
    """How many rows have their lowest, and their highest, score on the diagonal."""
    count = max(0, min(len(scores), scores.shape[1] - first))
    line = np.arange(count)
    own, low, high = scores[line, first + line], rows[LOW, :count], rows[HIGH, :count]
    two = low < high
    return int(np.count_nonzero(two & (own == low))), int(np.count_nonzero(two & (own == high)))


def _first(mask: np.ndarray, first: int) -> tuple[int, int] | None:
    if not mask.any():
        return None
    at = int(mask.argmax())
    return first + at // mask.shape[1], at % mask.shape[1]


def _positive_sums(block: np.ndarray, low: np.ndarray) -> np.ndarray:
    negative = low[low < 0]
    if len(negative):
        # One negative number may stand for "not scored"; more are scores.
        some = block[0]
        if len(np.unique(some[some < 0][:64])) > 2:
            return np.full(len(block), np.nan)
        block = np.maximum(block, 0)
    with np.errstate(over="ignore"):
        return block.sum(axis=1)


def _flat(scores: np.ndarray) -> np.ndarray:
    """(m,) the number of every column that holds no other; candidates thin out row by row."""
    out = np.full(scores.shape[1], np.nan)
    if not len(scores):
        return out
    left = np.flatnonzero(np.isfinite(scores[0]))
    at, step = 1, 4
    while at < len(scores) and len(left):
        part = scores[at : at + step]
        part = part if len(left) == part.shape[1] else part[:, left]
        left = left[(part == scores[0, left]).all(axis=0)]
        at, step = at + step, min(4 * step, 256)
    out[left] = scores[0, left]
    return out


def merge(parts: Sequence[Facts]) -> Facts:
    """Facts of all rows, from the facts of consecutive rows in order; empty shares take no part."""
    parts = [part for part in parts if part.shape[0]] or list(parts[:1])
    flat = parts[0].flat
    for part in parts[1:]:
        flat = np.where(flat == part.flat, flat, np.nan)
    return Facts(
        shape=(sum(part.shape[0] for part in parts), parts[0].shape[1]),
        nan=sum(part.nan for part in parts),
        minus_inf=sum(part.minus_inf for part in parts),
        plus_inf=next((part.plus_inf for part in parts if part.plus_inf), None),
        first_nan=next((part.first_nan for part in parts if part.first_nan), None),
        rows=np.concatenate([part.rows for part in parts], axis=1),
        flat=flat,
        picked=np.concatenate([part.picked for part in parts]),
        panel=np.concatenate([part.panel for part in parts]),
        strides=parts[0].strides,
        own=(sum(part.own[0] for part in parts), sum(part.own[1] for part in parts)),
    )


@dataclass(frozen=True, eq=False)
class Values:
    """The distinct finite numbers of a sample, ascending, and how often each occurs."""

    numbers: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, *, low: float, high: float) -> "Values":
        """Values of some rows; `low` and `high` are the ends of all rows."""
        few = rows[:: -(-rows.size // _VALUES) or 1]
        flat = few[np.isfinite(few)]
        numbers, counts = np.unique(flat, return_counts=True)
        for end, at in ((low, 0), (high, len(numbers))):
            there = len(numbers) and numbers[min(at, len(numbers) - 1)] == end
            if np.isfinite(end) and not there:
                numbers, counts = np.insert(numbers, at, end), np.insert(counts, at, 1)
                at += 1
        return cls(numbers, counts)

    @cached_property
    def total(self) -> int:
        """How many entries were looked at."""
        return int(self.counts.sum())

    @cached_property
    def zeros(self) -> int:
        """How many of them are 0."""
        return self.count(0.0)

    def count(self, value: float) -> int:
        """How many of them are `value`."""
        at = int(np.searchsorted(self.numbers, value))
        return int(self.counts[at]) if at < len(self.numbers) and self.numbers[at] == value else 0

    def low(self, count: int = 3) -> list[tuple[float, int]]:
        """The lowest, upwards."""
        return self._pairs(np.arange(min(count, len(self.numbers))))

    def above(self, count: int = 2) -> list[tuple[float, int]]:
        """The next after 0, upwards."""
        at = int(np.searchsorted(self.numbers, 0, side="right"))
        return self._pairs(np.arange(at, min(at + count, len(self.numbers))))

    def below(self, count: int = 1) -> list[tuple[float, int]]:
        """The next below 0, downwards."""
        at = int(np.searchsorted(self.numbers, 0))
        return self._pairs(np.arange(at - 1, max(at - 1 - count, -1), -1))

    def near_zero(self) -> int:
        """How many of them are below 0 by at most a fiftieth of their range."""
        if not len(self.numbers):
            return 0
        near = (self.numbers < 0) & (self.numbers >= self.numbers[0] / 50)
        return int(self.counts[near].sum())

    @property
    def top(self) -> float:
        """The highest."""
        return float(self.numbers[-1]) if len(self.numbers) else math.nan

    def _pairs(self, at: np.ndarray) -> list[tuple[float, int]]:
        return [(float(self.numbers[i]), int(self.counts[i])) for i in at]

    def median_positive(self) -> float:
        """Median of the positive ones, or NaN."""
        some = self.numbers > 0
        if not some.any():
            return math.nan
        counts = self.counts[some].cumsum()
        return float(self.numbers[some][np.searchsorted(counts, counts[-1] / 2)])


@dataclass(frozen=True, eq=False)
class Live:
    """Facts without padding: rows and columns that hold one number only.

    Attributes:
        shape: without them.
        rows: as in `Facts`.
        picked: sampled rows.
        panel: sampled columns.
        values: of the sampled rows.
        padding_rows: the numbers of the rows that were left out.
        constant_rows: how many those are.
        constant_columns: indices of the columns that were left out.
        own: as in `Facts`.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    picked: np.ndarray
    panel: np.ndarray
    values: Values
    padding_rows: tuple[float, ...] = ()
    constant_rows: int = 0
    constant_columns: tuple[int, ...] = ()
    own: tuple[int, int] = (0, 0)


def without_padding(facts: Facts) -> Live:
    """Leave out the rows and the columns that hold one number only."""
    n, m = facts.shape
    everything = _values(facts.picked, facts.rows)
    low, high = facts.rows[LOW], facts.rows[HIGH]
    rows = (low == high) & (facts.rows[FINITE] == m) & (m >= _LONG)
    columns = np.isfinite(facts.flat) & (n >= _LONG)
    rows = _padding(rows, low, everything)
    columns = _padding(columns, facts.flat, everything)
    if rows.any() and columns.any() and rows.mean() > 0.5:
        rows = np.zeros_like(rows)
    if not rows.any() and not columns.any():
        return Live(facts.shape, facts.rows, facts.picked, facts.panel, everything, own=facts.own)
    kept, (down, across) = ~columns, facts.strides
    picked = facts.picked[~rows[::down]][:, kept]
    panel = facts.panel[~rows][:, kept[::across]]
    left = facts.rows[:, ~rows].copy()
    left[SUM] -= np.maximum(facts.flat[columns], 0).sum()
    left[FINITE] -= columns.sum()
    if columns.any():
        # Their number may be the lowest or the highest: what is left is known from the sample.
        ends = _ends(picked)
        mine = np.isin(left[LOW], facts.flat[columns])
        left[LOW] = np.where(mine, np.maximum(left[LOW], ends[0]), left[LOW])
        mine = np.isin(left[HIGH], facts.flat[columns])
        left[HIGH] = np.where(mine, np.minimum(left[HIGH], ends[1]), left[HIGH])
    return Live(
        (int((~rows).sum()), int(kept.sum())), left, picked, panel, _values(picked, left),
        tuple(np.unique(low[rows]).tolist()), int(rows.sum()),
        tuple(np.flatnonzero(columns).tolist()), facts.own,
    )  # fmt: skip


def _ends(picked: np.ndarray) -> tuple[float, float]:
    ok = picked[np.isfinite(picked)]
    return (float(ok.min()), float(ok.max())) if ok.size else (math.inf, -math.inf)


def _values(picked: np.ndarray, rows: np.ndarray) -> Values:
    return Values.of(
        picked,
        low=float(rows[LOW].min(initial=np.inf)),
        high=float(rows[HIGH].max(initial=-np.inf)),
    )


def _padding(same: np.ndarray, value: np.ndarray, everything: Values) -> np.ndarray:
    """Lines of one number that are padding: not all lines, and no number that is common."""
    if not same.any() or same.all():
        return np.zeros_like(same)
    same = same.copy()
    for number in np.unique(value[same]):
        lines = np.mean(same & (value == number))
        common = everything.count(number) / max(1, everything.total)
        if common - lines > 0.5 * (1 - lines):
            same &= value != number
    return same


@dataclass(frozen=True)
class Precision:
    """What numbers were rounded to.

    Attributes:
        bits: significant bits that are needed; 24 is float32.
        half: whether float16 holds them all.
        decimals: digits after the point, or None where there are more than six.
    """

    bits: int
    half: bool
    decimals: int | None

    @property
    def unit(self) -> float:
        """The step of rounded decimals, or 0."""
        return 0.0 if self.decimals is None else 10.0**-self.decimals

    def __str__(self) -> str:
        if self.decimals == 0:
            return "whole numbers"
        if self.decimals is not None and self.bits > 8:
            return f"{self.decimals} decimal{'' if self.decimals == 1 else 's'}"
        if self.bits <= 8:
            return "bfloat16"
        return "float16" if self.half else "float32" if self.bits <= 24 else "float64"


_MOST_DECIMALS = 6


def precision_of(numbers: np.ndarray) -> Precision:
    """The precision of distinct numbers; those beyond 1000 may be fill values and say nothing.

    >>> str(precision_of(np.array([0.125, 0.25, 0.375]).round(2)))
    '2 decimals'
    """
    numbers = numbers[np.abs(numbers) <= 1000]
    if not numbers.size:
        return Precision(0, True, 0)
    single = numbers.astype(np.float32)
    if numbers.dtype == np.float64 and not np.array_equal(single.astype(np.float64), numbers):
        bits, half = 53, False
    else:
        mantissa = int(np.bitwise_or.reduce(single.view(np.uint32))) & 0x7FFFFF
        bits = 24 - ((mantissa & -mantissa).bit_length() - 1 if mantissa else 23)
        half = bits <= 14 and np.array_equal(single.astype(np.float16).astype(np.float32), single)
    eps = 2.0 ** -(24 if bits <= 24 and numbers.dtype != np.float64 else 50)
    found = None
    # Most matrices have no few decimals, and a few numbers show it.
    for some in (numbers[:: -(-len(numbers) // 4096)], numbers):
        found = _decimals(some.astype(np.float64), eps)
        if found is None:
            break
    return Precision(bits, half, found)


def _decimals(wide: np.ndarray, eps: float) -> int | None:
    for digits in range(_MOST_DECIMALS + 1):
        slack = np.abs(wide) * 10.0**digits * eps * 2
        told = slack < 0.02  # where the type itself does not swallow the decimals
        if np.count_nonzero(told) * 2 < len(wide):
            return None
        off = np.abs(wide[told] * 10.0**digits - np.rint(wide[told] * 10.0**digits))
        if (off <= slack[told] + 1e-12).all():
            return digits
    return None
