"""What the facts about a matrix say: which number means "not scored", and what the others are.

Fill values. -inf always. A number counts as "not scored" where it is far below every other score
(its gap is more than twice their range), or is a round number that occurs more than five times as
often as its neighbours, or is what is left out when every row (or column) has the same number of
scores.

Softmax. All rows (else columns) sum to one number, up to what their precision explains: see
`kinds_sums`. Ranks are told by `kinds_ranks`, first of all.

Probabilities or similarities? For a row let h = mean of its 10 hard negatives - the last of them
(the best is left out), and D(map) the spread of log h over the rows. One model makes the tails of
similarities alike, D(p) = D(logit p); on probabilities h follows the level of the row, and only the
logit makes the tails alike. The ratio D(p) / D(logit p) is about 1 on cosines of any range, also
where they are all positive, up to 1.3 on lexical scores, and 1.5 to 20 on match probabilities, on
rows *and* on columns (a scale for every row mimics it on the rows alone). Where the map is nearly
linear on the range in question the ratio is 1 and the choice makes no difference.

The map is far from linear all the same where a row's numbers lean: most of them near 0 and a few
near 1. The skewness of a row is 0 to 2 for cosines and what is made of them, 3 to 20 for match
probabilities of any breadth (the tails of which may be alike), and .5 to 1.5 as log-odds. The upper
end alone, which is what lists of the best hold, has a skewness of at most 1.6 on cosines, of no
more as log-odds than as they are, and of 2 where the tail is exponential; 1.8 to 4 on match
probabilities. Lexical scores lean like probabilities, and lose next to nothing as log-odds.

Lines that sum to one may be match probabilities that were divided by their sums. A softmax does not
saturate: D(log q) / D(logit q) with q = p / best of the line is at most 1.23 on a softmax of any
set at hand at any temperature, at any precision, and 2.3 and more on those of cap4video. They are
read as match probabilities q: a best that was less than 1 is taken for surer than it was, which
leaves it first.

Where the ratio is in between or the rows lean, log-odds are taken, and it is said that this is not
certain: read so, similarities lose at most half a point of R@1 (TF-IDF of captions, cosines
stretched to 0..1: .1 to 1.2), while probabilities that are read as similarities lose 4 and more.

Logarithms of match probabilities (all numbers at most 0) are told by the same ratio of log p and
log-odds, of which one side is enough: at most 1.06 on negative distances and shifted cosines, 1.2
to 13 where p is near 1 so often that it matters, 2.1 on those of cap4video. Logarithms of a softmax
are told by their sums.

Distances, of which the smallest is best, are noticed where no number is negative: see `kinds_near`.
They are used as they are unless the user says what they are, as nothing is turned round without
being asked.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.wording import option
from rerank.core.words import Kind, words_of
from rerank.methods.kinds_facts import HIGH, LOW, SUM, Live, Precision, precision_of
from rerank.methods.kinds_near import smallest_stick_out
from rerank.methods.kinds_ranks import are_ranks
from rerank.methods.kinds_sums import UNITS, Sums, constant_sums

KINDS = words_of(Kind)

_FAR = 2.0  # a fill is this many ranges below the other scores
_SHARE = 0.05  # of all pairs
_EXCESS = 5  # or this many times as frequent as its neighbours
# Ratios of the spread of tails, see the top: of match probabilities, of cut ones, of two sides.
_CLEAR, _CUT, _BOTH = 1.45, 1.15, 1.4
# From here on it is not certain, and log-odds are the safest. TF-IDF and BM25 reach 1.3, cosines of
# embeddings 1.1.
_DOUBT, _DOUBT_OF_SMALL = 1.2, 1.08
# Lists that were cut by rows say it in their rows: cosines reach 1.06, lexical scores 1.31.
_DOUBT_OF_CUT = 1.35
# And say in a note that they may be from here.
_SEEN = 1.08
# Skewness of rows from which they lean, of those that were cut, and by how much log-odds lean less.
_LEAN, _LEAN_OF_CUT, _LEANS_LESS = 3.0, 1.75, 0.5
_LONG_LINE = 20  # scores of a line whose skewness tells
_TAIL_ENTRIES = 2**19
_MOST_ZEROS = 0.5  # rounded zeros that are more than this share of the pairs are not scores
_PERCENT = 100.5
_REACHED = 0.9  # of another unit, by the highest
_PILED = 0.97  # of the unit: what the best of a softmax sum to
_GRADES = 8  # fewer numbers are grades
_TOPS = 12  # largest entries of a line that are looked at
_FEWEST_LINES = 10
_LOOSE = 0.03  # what half precision leaves of a sum of exponentials
_ENOUGH = 20  # rows and columns, fewer do not tell


@dataclass(frozen=True)
class Verdict:
    """What the numbers are.

    Attributes:
        kind: one of `KINDS`.
        unscored: the number that stands for "not scored", or None. -inf always does.
        axis: 1 where rows sum to one, 0 where columns do, else None: of a softmax, or of match
            probabilities that were divided by their sums, whose best counts as 1.
        scale: 1, 100 for percent, or what else the lines of a softmax sum to.
        half_low: half a unit of the precision at 0, as a share: what a rounded 0 becomes.
        half_high: half a unit below 1: a rounded 1 becomes 1 - half_high, a rounded log 1
            becomes -half_high.
        sure: False where the numbers do not tell and the safest reading was taken.
        rounded: zeros that count as not scored are small numbers, rounded.
        near: the smallest numbers look like the best.
        ranks: the numbers of every row, or of every column, are ranks or made of them.
        also: another number that may stand for "not scored", as the file has it, and its share of
            the pairs.
    """

    kind: Kind
    unscored: float | None
    axis: Literal[0, 1] | None = None
    scale: float = 1.0
    half_low: float = 0.0
    half_high: float = 0.0
    sure: bool = True
    rounded: bool = False
    near: bool = False
    ranks: bool = False
    also: tuple[float, float] | None = None


# To ask whether numbers are such.
_LOG = Verdict("log-probabilities", None)


@dataclass(frozen=True, eq=False)
class Look:
    """The live facts, their precision and the fill value that was found.

    Attributes:
        live: facts without padding.
        precision: of the sampled numbers.
        fill: the number for "not scored", or None.
        certain: whether its pattern proves it.
    """

    live: Live
    precision: Precision
    fill: float | None = None
    certain: bool = False

    @property
    def high(self) -> float:
        """The highest score."""
        top = self.live.rows[HIGH]
        if self.fill is not None:
            top = top[top != self.fill]
        return float(top.max(initial=-np.inf))

    @property
    def low(self) -> float:
        """The lowest score."""
        low = self.live.rows[LOW]
        numbers = self.live.values.numbers
        if self.fill is not None:
            low, numbers = low[low != self.fill], numbers[numbers != self.fill]
        ends = (float(low.min(initial=np.inf)), float(numbers[0]) if len(numbers) else math.inf)
        return min(ends)

    @property
    def decisions(self) -> bool:
        """One number beside zero: yes and no, not how probable."""
        few = len(self.live.values.above()) < 2
        return few or (self.precision.decimals == 0 and self.high <= 1)

    @property
    def few(self) -> bool:
        """Counts, grades or decisions: whole numbers of which there are few, or many zeros."""
        values = self.live.values
        whole = self.precision.decimals == 0 and self.high <= 100
        return self.decisions or (whole and (len(values.numbers) < _GRADES or values.zeros > 0))


def judge(
    live: Live, *, said: Kind | Literal["auto"], unscored: float | None, find: bool
) -> Verdict:
    """The verdict on (merged) facts.

    Args:
        live: facts without padding.
        said: what the user says the numbers are.
        unscored: what the user says stands for "not scored".
        find: look for a fill value, where the user named none.

    Raises:
        RerankError: what was said contradicts the numbers.
    """
    look = Look(live, precision_of(live.values.numbers))
    fill, certain = declared(live, unscored), unscored is not None
    if unscored is None and find:
        fill, certain = _fill(look)
    if fill is None and not certain:
        certain = _cut(live, -math.inf)  # which always means "not scored"
    look = replace(look, fill=fill, certain=certain)
    ranks = said not in ("softmax", "probabilities", "log-probabilities") and _are_ranks(look)
    if said == "auto":
        verdict = _of_ranks(look) if ranks else _recognised(look)
        return replace(verdict, also=_repeated(look) if find else None)
    if said == "log-probabilities":
        return _of_logarithms(look)
    if said not in ("softmax", "probabilities"):
        also = _repeated(look, turned=said == "distances") if find else None
        return Verdict(said, fill, ranks=ranks, also=also)
    if look.low < 0:
        raise RerankError(
            f"scores: {look.low:g} is negative and no probability; "
            f"{option('scores-are', 'similarities')}, logits or log-odds fits, or name what stands "
            f"for 'not scored' with {option('unscored')}"
        )
    summed = _sums(look, said=True) if said == "softmax" else None
    if math.isnan(_scale(look)) and summed is None:
        sums = ", and neither rows nor columns sum to one number" if said == "softmax" else ""
        raise RerankError(
            f"scores: {look.high:g} is no probability, nor percent{sums}; divide by what stands "
            f"for certain, or {option('scores-are', 'similarities')} fits"
        )
    axis, scale = None, _scale(look)
    if said == "softmax":
        axis, scale = summed or (1, scale)
    return _of_probabilities(Verdict(said, fill, axis, scale), look)


def _are_ranks(look: Look) -> bool:
    return are_ranks(look.live.picked, look.live.panel, look.fill)


def _of_ranks(look: Look) -> Verdict:
    """Ranks are used as they are; whole ones from 0 or 1 may have the best at either end."""
    high, low = look.high, look.low
    kind: Kind = "similarities" if abs(high) <= 1.01 and low >= -1.01 else "logits"
    lowest, highest = look.live.own
    near = lowest > highest or (lowest == highest and low in (0, 1) and high > 1.01)
    return Verdict(kind, look.fill, sure=not near, near=near, ranks=True)


def _sums(look: Look, *, said: bool = False) -> Sums | None:
    return constant_sums(look.live, look.precision, look.high, said=said)


# Sizes of scores at which every temperature that float32 carries is between its ends.
_LARGEST, _LEAST = 1e30, 1e-25


def check_size(live: Live, verdict: Verdict) -> None:
    """Refuse scores that are so large or small that no temperature fits them.

    Raises:
        RerankError: with a power of ten by which they become usual ones.
    """
    if verdict.kind in ("softmax", "probabilities", "log-probabilities"):
        return
    look = Look(live, precision_of(live.values.numbers), fill=verdict.unscored)
    low, high = look.low, look.high
    size = max(abs(low), abs(high))
    if not low < high or _LEAST <= size <= _LARGEST:
        return
    power = max(-300, math.floor(math.log10(size)))
    way = f"divide them by 1e{power}" if power > 0 else f"multiply them by 1e{-power}"
    # All but a few are usual: a number for "not scored" is what sticks out below.
    if low < -_LARGEST and abs(high) <= _LARGEST:
        way += f", or name what stands for 'not scored' with {option('unscored')}"
    raise RerankError(
        f"scores: they reach from {low:.3g} to {high:.3g}, expected sizes between {_LEAST:g} and "
        f"{_LARGEST:g}; {way}"
    )


def declared(live: Live, unscored: float | None) -> float | None:
    """What was said to stand for "not scored", as the numbers have it.

    Sentinels are rounded with the numbers: -1e9 is -999292928 in bfloat16.
    """
    if unscored is None or not math.isfinite(unscored):
        return unscored
    numbers = live.values.numbers
    near = np.abs(numbers - unscored) <= (2**-8 * abs(unscored) if abs(unscored) >= 99 else 0)
    narrow = np.float32(unscored) if numbers.dtype == np.float32 else unscored
    near |= numbers == narrow
    return float(numbers[near][0]) if near.any() else float(unscored)


# ------------------------------------------------------------------------------------ not scored


def _fill(look: Look) -> tuple[float | None, bool]:
    """The number that stands for "not scored", and whether its pattern proves it."""
    low = _low_fill(look)
    return low if low[0] is not None else _zero_fill(look)


def _low_fill(look: Look) -> tuple[float | None, bool]:
    values = look.live.values
    lowest = values.low(3)
    if len(lowest) < 2 or lowest[0][0] >= 0:
        return None, False
    (value, count), *others = lowest
    following = others[0][0]
    extent, gap = values.top - following, following - value
    distinct = len(others) >= 2 and extent > 0
    many = count > _EXCESS * sum(c for _, c in others) + 4
    if distinct and gap > _FAR * extent and (many or _is_round(value) or gap > 100 * extent):
        return value, True
    if _is_round(value) and gap > 0.5 * max(1.0, extent) and value <= -99:
        return value, True
    if distinct and many and float(value).is_integer():
        cut = _cut(look.live, value)
        if gap > 0.1 * extent or cut:
            return value, cut
    return None, False


def _repeated(look: Look, *, turned: bool = False) -> tuple[float, float] | None:
    """A number amid others, or far below them, that too many pairs have, and their share.

    It is given as the file has it, where the numbers were turned round.
    """
    numbers, counts = look.live.values.numbers, look.live.values.counts
    kept = numbers != look.fill
    numbers, counts = numbers[kept], counts[kept]
    if len(numbers) < 3 or look.precision.decimals == 0:
        return None
    at = int(counts.argmax())
    count, rest = counts[at], np.delete(counts, at)
    often = count > max(_SHARE * look.live.values.total, 4 * _EXCESS * rest.max())
    apart = numbers[1] - numbers[0] > _FAR * (numbers[-1] - numbers[1])
    number = 0.0 - float(numbers[at]) if turned else float(numbers[at])
    if not often or number in (1, 100) or (at == 0 and not apart):
        return None
    return number, float(count / look.live.values.total)


def _zero_fill(look: Look) -> tuple[float | None, bool]:
    live, values = look.live, look.live.values
    above, below, zeros = values.above(), values.below(), values.zeros
    if not zeros or not (above or below):
        return None, False
    beside = sum(c for _, c in ((above[:1] + below) if below else above))
    if zeros <= 2 * beside:
        return None, False
    many = zeros > _EXCESS * beside + 4
    cut = _cut(live, 0.0)
    if below and not above:
        # Zero is the best score of all (a distance of nothing), unless most pairs have it, or many
        # do and hardly any comes near it, as numbers do that were rounded or cut off there.
        alone = zeros > max(_SHARE * values.total, _EXCESS * 4 * values.near_zero())
        filled = many and ((cut and 2 * zeros > values.total) or alone)
        return (0.0, cut) if filled and look.precision.decimals != 0 else (None, False)
    if not below and not cut and _once(live):
        return None, False  # the lowest of every row, stretched to 0, or a diagonal
    few_values = len(above) < 2 and not below
    if few_values or (look.precision.decimals == 0 and not cut):
        return None, False  # decisions, counts, grades
    if not many and not cut:
        return None, False
    if not cut and not below and zeros < 0.01 * values.total:
        middle = values.median_positive()
        if above[0][0] < 0.25 * middle:
            return None, False  # numbers that go down to 0 and were clipped there
    return 0.0, cut


def _once(live: Live) -> bool:
    """Whether no row, or no column, has more than one zero."""
    return any(
        (lines == 0).sum(axis=axis).max(initial=0) <= 1
        for lines, axis in ((live.picked, 1), (live.panel, 0))
    )


def _is_round(value: float) -> bool:
    """-100, -1e3 ... -1e9, -9999 and the lowest number of a type, also in half precision."""
    if value >= 0:
        return False
    size = -value
    power = 10.0 ** round(math.log10(size))
    close = abs(size - power) <= 2**-8 * power and size >= 99
    ends = (65504, 3.4e38, 1.7976931348623157e308, 32768, 2**31)
    return close or any(abs(size / end - 1) < 0.01 for end in ends)


def _cut(live: Live, value: float) -> bool:
    """Whether every row, or every column, has the same number of scores: the best k were kept."""
    for lines, axis in ((live.picked, 1), (live.panel, 0)):
        other = lines.shape[axis]
        held = (np.isfinite(lines) & (lines != value)).sum(axis=axis)
        held = held[held > 0]
        if len(held) < 3 or other < 4 or held.max() > 0.9 * other:
            continue
        full, next_best = (np.count_nonzero(held == held.max() - d) for d in (0, 1))
        # Rounding takes some of the k: they still pile up at k, where free counts thin out.
        if 2 * full >= len(held) or (full >= max(3, 0.05 * len(held)) and full > 3 * next_best):
            return True
    return False


# ------------------------------------------------------------------------------------------ kinds


def _scale(look: Look) -> float:
    if look.high <= _PERCENT:
        return 100.0 if look.high > 1.001 else 1.0
    fits = (unit for unit in UNITS if _REACHED * unit < look.high <= 1.001 * unit)
    return next(fits, math.nan)


def _recognised(look: Look) -> Verdict:
    high, low = look.high, look.low
    sure = True
    positive = low >= 0 and high > 0 and not look.decisions
    summed = _sums(look) if positive else None
    if summed is not None:
        soft = _of_probabilities(Verdict("softmax", look.fill, *summed), look)
        # A softmax does not saturate: whoever divided match probabilities by their sums did that.
        divided = _saturates(look, soft)
        return replace(soft, kind="probabilities", sure=False) if divided else soft
    if positive and high > _PERCENT:
        found = _of_another_unit(look)
        if found is not None:
            return found
    if positive and high <= _PERCENT:
        found = _of_probabilities(Verdict("probabilities", look.fill, scale=_scale(look)), look)
        tails = _tails(look, found)
        if tails in ("probabilities", "doubt"):
            return replace(found, sure=tails == "probabilities")
        sure = tails == "similarities" and min(look.live.shape) >= _ENOUGH
    if math.log(0.5) < high <= 0 and not _of_a_softmax(look.live):
        ratios = [_spreads(side, _LOG) for side in (look.live.picked, look.live.panel.T)]
        known = [ratio for ratio in ratios if ratio is not None]
        if known and max(known) >= _DOUBT:
            return replace(_of_logarithms(look), sure=min(known) >= _CLEAR)
    kind: Kind = "similarities" if abs(high) <= 1.01 and low >= -1.01 else "logits"
    near = low >= 0 and smallest_stick_out(look.live, look.fill, few=look.few)
    return Verdict(kind, look.fill, sure=sure and not near, near=near)


def _of_another_unit(look: Look) -> Verdict | None:
    """Match probabilities, or the best of a softmax, beyond percent; None where it is not clear."""
    unit = _cut_unit(look)
    if unit is not None:
        return _of_probabilities(Verdict("probabilities", look.fill, scale=unit), look)
    unit = _scale(look)
    if math.isnan(unit):
        return None
    found = _of_probabilities(Verdict("probabilities", look.fill, scale=unit), look)
    return found if _tails(look, found) == "probabilities" else None


def _cut_unit(look: Look) -> float | None:
    """The unit of a softmax without its smallest, beyond percent: sums pile up just below it."""
    sums = look.live.rows[SUM]
    if not look.certain or len(sums) < _FEWEST_LINES:
        return None
    for unit in UNITS:
        most = unit * (1 + 1e-3 + 2.0**-look.precision.bits)
        piled = bool((sums <= most).all()) and np.quantile(sums, 0.9) >= _PILED * unit
        if piled and look.high > 0.5 * unit:
            return unit
    return None


def _halves(precision: Precision, scale: float) -> tuple[float, float]:
    """Half a unit at 0 and half a unit below the top, as shares of the scale."""
    below_top = 2.0 ** (math.floor(math.log2(scale * (1 - 1e-9))) + 1 - precision.bits) / scale
    at_zero = (2.0**-24 if precision.half else 2.0**-149) / scale
    unit = precision.unit / scale
    return max(unit, at_zero) / 2, max(unit, below_top) / 2


def _of_probabilities(found: Verdict, look: Look) -> Verdict:
    """Zeros of probabilities: rounded where numbers of a few units are there, else not scored.

    Rounded zeros are scores of half a unit, unless they are most of the pairs: such a floor would
    be lifted like any score (measured: 1 to 2 points of R@1) and is left out as "not scored".
    """
    values = look.live.values
    low, high = _halves(look.precision, found.scale)
    out = replace(found, half_low=low, half_high=high)
    above = values.above()
    if found.unscored not in (None, 0) or look.certain or not values.zeros or not above:
        return out
    rounded = above[0][0] / found.scale <= 8 * low
    most = values.zeros > _MOST_ZEROS * values.total
    none = most or (not rounded and found.unscored == 0)
    return replace(out, unscored=0.0 if none else None, rounded=rounded and none)


def _of_a_softmax(live: Live) -> bool:
    """Whether exponentials of all rows, or of all columns, sum to one."""
    for lines, axis in ((live.picked, 1), (live.panel, 0)):
        sums = np.exp(np.minimum(lines.astype(np.float64), 0)).sum(axis=axis)
        if sums.size and (np.abs(sums - 1) < _LOOSE).all():
            return True
    return False


def _of_logarithms(look: Look) -> Verdict:
    """Logarithms of match probabilities, of which those of 1 are rounded.

    Raises:
        RerankError: a positive number.
    """
    if look.high > 0:
        raise RerankError(
            f"scores: {look.high:g} is the logarithm of no probability; "
            f"{option('scores-are', 'logits')} or log-odds fits"
        )
    beside = look.live.values.below()
    half = -beside[0][0] / 2 if beside else 0.0
    return Verdict("log-probabilities", look.fill, half_high=half)


def _tails(
    look: Look, found: Verdict
) -> Literal["probabilities", "doubt", "unclear", "similarities"]:
    """What the tails of rows and columns say, the safest where they do not say it clearly."""
    live, values, scale = look.live, look.live.values, found.scale
    sums, certain = live.rows[SUM], look.certain
    most = scale * (1 + 1e-3 + 2.0**-look.precision.bits)
    cut = values.zeros > 0 and bool((sums <= most).all())
    if cut and len(sums) >= _FEWEST_LINES and np.quantile(sums, 0.9) >= _PILED * scale:
        return "probabilities"  # sums that pile up just below one: a softmax without its smallest
    if _rounded_away(look):
        return "probabilities"
    sides = (_spreads(live.picked, found), _spreads(live.panel.T, found))
    ratios = [side for side in sides if side is not None]
    if not ratios:
        return "similarities"
    weakest = max(ratios) if cut else min(ratios)
    two, reaches = len(ratios) == 2, look.high > 0.5 * scale
    if not reaches and not (cut and certain) and (not two or scale >= 100):
        return "similarities"
    if weakest >= (_CUT if cut and certain else _CLEAR):
        return "probabilities"
    # Lists that were cut are incomplete on the other side, which says less there.
    # Rows that all have the same numbers, such as 1 / rank, do not differ at all: a ratio of 0.
    mean = 0.0 if min(ratios) <= 0 else math.exp(float(np.mean(np.log(ratios))))
    if certain and two and weakest >= _DOUBT_OF_SMALL and mean >= _BOTH:
        return "probabilities"
    if not reaches:
        return "similarities"
    if weakest >= _DOUBT or (certain and max(ratios) >= _DOUBT_OF_CUT):
        return "doubt"
    if _leans(look, found):
        return "doubt"
    small = values.median_positive() < 0.02 and weakest >= _DOUBT_OF_SMALL
    # One side alone may come of a scale for every row, or column; it is used as it is, and said.
    one_side = max(ratios) >= _CLEAR
    return "unclear" if small or one_side or (certain and max(ratios) >= _SEEN) else "similarities"


def _leans(look: Look, found: Verdict) -> bool:
    """Whether rows and columns have most numbers near 0 and a few near 1, as log-odds do not."""
    sides = (_skewness(look.live.picked, found), _skewness(look.live.panel.T, found))
    known = [side for side in sides if side is not None]
    if not known:
        return False
    as_they_are, as_odds = min(known, key=lambda side: side[0])
    least = _LEAN_OF_CUT if look.certain else _LEAN
    return as_they_are >= least and as_they_are - as_odds >= _LEANS_LESS


def _skewness(lines: np.ndarray, found: Verdict) -> tuple[float, float] | None:
    """Median skewness of the scores of a line, as they are and as log-odds; None of short lines."""
    few = lines[:: max(1, lines.size // _TAIL_ENTRIES)].astype(np.float64) / found.scale
    held = np.isfinite(few) & ((few > 0) | ((few == 0) & (found.unscored != 0)))
    used = held.sum(axis=1) >= _LONG_LINE
    if used.sum() < _FEWEST_LINES or 2 * used.sum() < len(few):
        return None
    p, held = few[used], held[used]
    p = np.clip(np.where(held, p, 0.5), max(found.half_low, 1e-45), 1 - max(found.half_high, 1e-16))
    return tuple(float(np.median(_third_moment(x, held))) for x in (p, np.log(p) - np.log1p(-p)))  # type: ignore[return-value]


def _third_moment(x: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(n,) standardised third moment of the entries that are held."""
    count = held.sum(axis=1)
    off = np.where(held, x - (np.where(held, x, 0).sum(axis=1) / count)[:, None], 0)
    spread = np.sqrt((off**2).sum(axis=1) / count)
    return (off**3).sum(axis=1) / count / np.maximum(spread, 1e-300) ** 3


def _rounded_away(look: Look) -> bool:
    """Zeros, then one unit, then two, ever rarer as 1 / p: small probabilities, rounded."""
    above, unit = look.live.values.above(), look.precision.unit
    if not look.precision.decimals or len(above) < 2:
        return False
    (first, ones), (second, twos) = above
    steps = abs(first - unit) < 0.1 * unit and abs(second - 2 * unit) < 0.1 * unit
    return steps and twos >= 5 and look.live.values.zeros > 3 * ones and ones > 1.5 * twos


def _spreads(lines: np.ndarray, found: Verdict) -> float | None:
    """D(p) / D(logit p) over lines, or None where too few of them are long enough.

    Of log-probabilities D(log p) / D(logit p).
    """
    if len(lines) < _FEWEST_LINES:
        return None
    logarithms = found.kind == "log-probabilities"
    p = _largest(lines).astype(np.float64) / found.scale
    p = np.where((p == 0) & (found.unscored == 0), -np.inf, p)
    p = np.exp(p) if logarithms else p
    p = p[p[:, 0] > 0]
    size = np.count_nonzero(p > 0, axis=1)
    if len(p) < _FEWEST_LINES:
        return None
    k = min(11, int(np.quantile(size, 0.25)), max(4, p.shape[1] - 1))
    if k < 4:
        return None
    p = np.clip(p[size >= k, 1:k], max(found.half_low, 1e-45), 1 - max(found.half_high, 1e-16))
    odds = np.log(p) - np.log1p(-p)
    tails = [x.mean(axis=1) - x[:, -1] for x in (np.log(p) if logarithms else p, odds)]
    used = (tails[0] > 0) & (tails[1] > 0)
    if used.sum() < _FEWEST_LINES:
        return None
    ends = [np.quantile(np.log(h[used]), [0.1, 0.9]) for h in tails]
    spread = [float(high - low) / 2.563 for low, high in ends]
    return spread[0] / max(spread[1], 1e-3)


def _saturates(look: Look, found: Verdict) -> bool:
    """Whether tails of lines that sum to one are alike as log-odds of p / best, not as log p."""
    lines = look.live.picked if found.axis == 1 else look.live.panel.T
    best = np.where(np.isfinite(lines), lines, 0).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(lines / np.where(best > 0, best, 1))
    ratio = _spreads(logs, replace(_LOG, half_high=found.half_high))
    return ratio is not None and ratio >= _CLEAR


def _largest(lines: np.ndarray) -> np.ndarray:
    """(n, 12) the largest entries of every line, best first, -inf where there are fewer."""
    m = lines.shape[1]
    k = min(_TOPS, m)
    ok = np.isfinite(lines)
    ranked = np.ascontiguousarray(lines) if ok.all() else np.where(ok, lines, -np.inf)
    best = -np.sort(-np.partition(ranked, m - k, axis=1)[:, m - k :], axis=1)
    return np.pad(best, ((0, 0), (0, _TOPS - k)), constant_values=-np.inf)
