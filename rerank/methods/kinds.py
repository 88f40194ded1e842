"""What kind of numbers a matrix of scores holds, and the scores that are ranked.

    similarities, logits, log-odds     S                      used as they are
    softmax (rows or columns)          log p
    probabilities (each pair its own)  log p - log(1 - p)
    the same by their sums             log q - log(1 - q), q = p / the best of its row (or column)
    log-probabilities (the same)       log p - log(1 - p)
    distances (only where that is said) -d
    unscored                           -inf

The facts are collected by `kinds_facts`, judged by `kinds_rules`; here the door: `read` and what it
tells. Unscored pairs are -inf and stay so: no method lifts them, and they take no part in
temperature, spread or hubness.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.arrays import BLOCK_ELEMENTS, ArrayLike, as_matrix, is_rows, refuse_sparse
from rerank.core.errors import RerankError
from rerank.core.similarity import Axis, Dense
from rerank.core.wording import either, label, option
from rerank.core.words import Kind, ScoresAre, words_of
from rerank.methods.kinds_facts import Facts, collect, merge, precision_of, without_padding
from rerank.methods.kinds_rules import KINDS, Verdict, check_size, judge
from rerank.methods.kinds_sums import is_known

SCORES_ARE = words_of(ScoresAre)
# Kinds whose numbers are not the scores that are ranked.
CHANGED = ("softmax", "probabilities", "log-probabilities")
# A number, or "none": every number is a score.
Unscored: TypeAlias = float | Literal["none"] | None

__all__ = [
    "CHANGED", "KINDS", "SCORES_ARE", "Reading", "Scores", "Unscored", "as_scores", "as_scores_are",
    "facts_of", "parse_unscored", "read", "read_both", "reading_of",
]  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a matrix holds and how it becomes scores.

    Attributes:
        verdict: kind, fill value, and how probabilities are read.
        precision: what the numbers were rounded to: "float32", "float16", "bfloat16", "3 decimals".
        minus_inf: whether the matrix has -inf, which always means "not scored".
        padding: the numbers of rows that hold one number only and take no part.
        constant_rows: how many rows those are.
        constant_columns: indices of such columns.
        share: share of the pairs that have no score.
        scored_per_query: mean number of scores of the rows that have any.
        scored_per_item: mean number of scores of the columns that have any.
    """

    verdict: Verdict
    precision: str
    minus_inf: bool = False
    padding: tuple[float, ...] = ()
    constant_rows: int = 0
    constant_columns: tuple[int, ...] = ()
    share: float = 0.0
    scored_per_query: float = math.inf
    scored_per_item: float = math.inf

    @property
    def kind(self) -> Kind:
        """One of `KINDS`."""
        return self.verdict.kind

    @property
    def unscored(self) -> float | None:
        """The number that stands for "not scored", besides -inf, as the file has it."""
        value = self.verdict.unscored
        # A zero has no sign.
        return 0.0 - value if value is not None and self.kind == "distances" else value

    @property
    def sure(self) -> bool:
        """False where the numbers do not tell and the safest reading was taken."""
        return self.verdict.sure

    @property
    def divided(self) -> bool:
        """Whether they are match probabilities that were divided by their sums."""
        return self.kind == "probabilities" and self.verdict.axis is not None

    @property
    def as_they_are(self) -> bool:
        """Whether the scores are the numbers themselves, all of them."""
        plain = self.kind not in CHANGED
        return plain and not self.minus_inf and not self.padded and self.unscored is None

    @property
    def padded(self) -> bool:
        """Whether rows or columns are padding."""
        return bool(self.padding or self.constant_columns)

    @property
    def why(self) -> str:
        """One sentence for a person."""
        return _sentence(self)

    def as_dict(self) -> dict[str, Any]:
        """Facts for a manifest; everything in it is JSON."""
        value = self.unscored
        out: dict[str, Any] = {
            "kind": self.kind,
            "unscored": str(value) if value is not None and not math.isfinite(value) else value,
            "share": round(self.share, 6),
            "precision": self.precision,
            "sure": self.sure,
            "why": self.why,
        }
        if math.isfinite(self.scored_per_query):
            out["scored_per_query"] = round(self.scored_per_query, 2)
            out["scored_per_item"] = round(self.scored_per_item, 2)
        return out


@dataclass(frozen=True, eq=False)
class Scores:
    """Both directions of stored scores, as they are ranked.

    Attributes:
        t2v: texts x videos.
        reading: of the matrix, or of the first of two.
        v2t: videos x texts, where that direction has a matrix of its own.
        reading_v2t: of the second.
        turned: whether the second was given as texts x videos.
        said: the number that was said to stand for "not scored", see `read`.
    """

    t2v: Dense
    reading: Reading
    v2t: Dense | None = None
    reading_v2t: Reading | None = None
    turned: bool = False
    said: Unscored = None

    def as_dict(self) -> dict[str, Any]:
        """Facts for a manifest."""
        out = self.reading.as_dict()
        if self.reading_v2t is not None:
            out["v2t"] = self.reading_v2t.as_dict() | {"rows": "texts" if self.turned else "videos"}
        return out

    def to(self, device: torch.device) -> "Scores":
        """The same on a device."""
        back = self.v2t
        return replace(
            self,
            t2v=replace(self.t2v, base=self.t2v.base.to(device)),
            v2t=None if back is None else replace(back, base=back.base.to(device)),
        )

    @property
    def scored(self) -> tuple[float, float]:
        """Mean number of scores of a text and of a video, each in its own direction."""
        back = self.reading_v2t
        return (
            self.reading.scored_per_query,
            self.reading.scored_per_item if back is None else back.scored_per_query,
        )

    @property
    def sure(self) -> bool:
        """Whether the numbers told."""
        return self.reading.sure and (self.reading_v2t is None or self.reading_v2t.sure)

    @property
    def sentence(self) -> str:
        """What a person should know, or "" where nothing was done to the numbers."""
        said = [] if _plain(self.reading) else [f"scores: {self.reading.why}"]
        if self.reading_v2t is not None:
            side = "texts x videos" if self.turned else "videos x texts"
            same = replace(
                self.reading_v2t, share=self.reading.share, precision=self.reading.precision
            )
            rest = "read likewise" if same.why == self.reading.why else self.reading_v2t.why
            said = [f"scores: {self.reading.why}", f"v2t has its own matrix ({side}): {rest}"]
        return "; ".join(said)


def _plain(reading: Reading) -> bool:
    plain = reading.as_they_are and reading.sure and not reading.verdict.ranks
    return plain and reading.kind != "distances" and reading.verdict.also is None


def parse_unscored(text: str | float | None) -> Unscored:
    """What `--unscored` says: a number, nan, -inf, or "none"; numbers are what they are.

    >>> parse_unscored("-1e9"), parse_unscored("none"), parse_unscored(None)
    (-1000000000.0, 'none', None)

    Raises:
        RerankError: anything else.
    """
    if text == "none" or not isinstance(text, str):
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise RerankError(
            f"{label('unscored')}: got {text!r}, expected a number, nan, -inf, or none where "
            "every number is a score"
        ) from None


def as_scores_are(text: str) -> ScoresAre:
    """One of `SCORES_ARE`.

    Raises:
        RerankError: anything else.
    """
    if text not in SCORES_ARE:
        raise RerankError(f"{label('scores-are')}: got {text!r}, expected {', '.join(SCORES_ARE)}")
    return text  # type: ignore[return-value]


def read(
    scores: ArrayLike,
    *,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
    sharded: bool = False,
) -> tuple[Dense, Reading]:
    """Stored scores as a similarity in the log domain, and what they were taken for.

    Args:
        scores: (n, m) numpy or torch, real floating point. Not modified.
        scores_are: what they are; "auto" reads it off the numbers.
        unscored: the number that stands for "not scored"; None finds it, "none" has none. -inf
            always means that, NaN only where it is said.
        sharded: these are this process's share of the rows; all processes get one reading.

    Raises:
        RerankError: not a matrix of real numbers, NaN or +inf, numbers against what is said.

    >>> sim, reading = read(np.array([[0.3, -np.inf], [0.2, -0.4]]))
    >>> reading.kind, reading.share
    ('similarities', 0.25)
    """
    shard: Axis | None = "queries" if sharded else None
    base = as_matrix(scores, "scores", no_rows=sharded)
    if scores_are == "distances":
        # From here on the largest is best; an infinite distance is no score.
        base = -base
        unscored = -unscored if isinstance(unscored, float | int) else unscored
    if unscored == math.inf or (scores_are == "distances" and bool((base == math.inf).any())):
        # Either infinity may be said, and stands for no distance.
        base = base.masked_fill(base == math.inf, -math.inf)
        unscored = -math.inf if unscored == math.inf else unscored
    facts = facts_of(base.cpu().numpy(), sharded=sharded)
    reading = reading_of(facts, scores_are=scores_are, unscored=unscored)
    if reading.as_they_are:
        return Dense(base, shard=shard), reading
    out = as_scores(base, reading, sharded=sharded)
    return Dense(out, unscored=True, shard=shard), _counted(reading, out, sharded=sharded)


def read_both(
    scores: ArrayLike | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike | None],
    *,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
    sharded: bool = False,
) -> Scores:
    """Scores of both directions: of one matrix, or of two that are no transposes of each other.

    Args:
        scores: texts x videos; or {"t2v": texts x videos, "v2t": ...}, or the two as a pair. The
            second has the videos as rows; one that is texts x videos is recognised by its shape,
            and a square one where it is closer to the first than to its transpose.
        scores_are: see `read`, for both.
        unscored: see `read`, for both.
        sharded: see `read`; two matrices cannot be split.

    Raises:
        RerankError: see `read`; two matrices that do not fit together.
    """
    unscored = parse_unscored(unscored)
    first, second = _two(scores)
    sim, reading = read(first, scores_are=scores_are, unscored=unscored, sharded=sharded)
    if second is None:
        return Scores(sim, reading, said=unscored)
    if sharded:
        raise RerankError("two matrices, t2v and v2t, need one process; run without torchrun")
    back = as_matrix(second, "v2t")
    turned = _is_turned(as_matrix(first, "t2v"), back)
    back_sim, back_reading = read(
        back.T.contiguous() if turned else back, scores_are=scores_are, unscored=unscored
    )
    return Scores(sim, reading, back_sim, back_reading, turned, unscored)


def _two(
    scores: ArrayLike | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike | None],
) -> tuple[ArrayLike, ArrayLike | None]:
    refuse_sparse(scores, "scores")
    if isinstance(scores, Mapping):
        if set(scores) != {"t2v", "v2t"}:
            raise RerankError(
                f"scores: got a dictionary of {', '.join(map(str, scores)) or 'nothing'}, expected "
                f"'t2v' and 'v2t'"
            )
        return scores["t2v"], scores["v2t"]
    if is_rows(scores):
        rows: Any = scores
        return rows, None
    if isinstance(scores, tuple):
        if len(scores) != 2:
            raise RerankError(f"scores: got {len(scores)} matrices, expected t2v and v2t")
        return scores
    return scores, None


def _is_turned(first: Tensor, second: Tensor) -> bool:
    """Whether the second matrix is texts x videos as the first, and not videos x texts."""
    n, m = first.shape
    if second.shape == (n, m) and n != m:
        return True
    if second.shape != (m, n):
        raise RerankError(
            f"v2t: got shape {tuple(second.shape)}, expected ({m}, {n}), videos x texts, beside "
            f"t2v of ({n}, {m})"
        )
    return n == m and _alike(first, second) > _alike(first, second.T) + 0.05


def _alike(a: Tensor, b: Tensor) -> float:
    """Correlation of the ranks of some entries."""
    step = max(1, len(a) // 256)
    x, y = a[::step].double().flatten(), b[::step].double().flatten()
    x, y = (torch.nan_to_num(z, nan=-1e9).argsort().argsort().double() for z in (x, y))
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def facts_of(scores: np.ndarray, *, sharded: bool = False) -> Facts:
    """Facts of a matrix, or of all processes' shares of its rows."""
    if not sharded:
        return collect(scores)
    counts = comm.gather_counts(len(scores))
    mine = collect(scores, first=sum(counts[: comm.rank()]), total=sum(counts))
    return merge(comm.gather_objects(mine))


def reading_of(
    facts: Facts, *, scores_are: ScoresAre = "auto", unscored: Unscored = None
) -> Reading:
    """The reading of (merged) facts; shares are counted once the scores are made.

    Raises:
        RerankError: NaN that was not declared, +inf, a kind that the numbers contradict.
    """
    said = as_scores_are(scores_are)
    if isinstance(unscored, str) and unscored != "none":
        raise RerankError(f"unscored: got {unscored!r}, expected a number, None or 'none'")
    if facts.plus_inf is not None:
        row, column = facts.plus_inf
        way = option("scores-are", "distances")
        raise RerankError(
            f"scores: row {row}, column {column} is +inf; no pair is that good; {way} if the "
            "smallest is best"
        )
    value = None if unscored == "none" or unscored is None else float(unscored)
    if facts.nan and not (value is not None and math.isnan(value)):
        row, column = facts.first_nan or (0, 0)
        nan = either("--unscored nan", 'unscored=float("nan")')
        raise RerankError(
            f"scores: row {row} has NaN or infinite values (column {column}, {facts.nan} in all); "
            f"if NaN means 'not scored', say so: {nan}"
        )
    live = without_padding(facts)
    verdict = judge(live, said=said, unscored=value, find=unscored is None)
    check_size(live, verdict)
    return Reading(
        verdict=verdict,
        precision=str(precision_of(live.values.numbers)),
        minus_inf=facts.minus_inf > 0,
        padding=live.padding_rows,
        constant_rows=live.constant_rows,
        constant_columns=live.constant_columns,
    )


# ----------------------------------------------------------------------------------------- scores


def as_scores(base: Tensor, reading: Reading, *, sharded: bool = False) -> Tensor:
    """Scores in the log domain in fresh memory, -inf where there is none.

    Order within rows and columns is kept but for rounded zeros and ones, which stay tied.
    """
    out = torch.empty_like(base, memory_format=torch.contiguous_format)
    step = max(1, BLOCK_ELEMENTS // base.shape[1])
    changed, best = reading.kind in CHANGED, None
    if reading.divided:
        best = _best(base, reading, step, sharded=sharded)
    for start in range(0, len(base), step):
        block = base[start : start + step]
        none = _none(block, reading)
        if changed:
            some = -0.5 if reading.kind == "log-probabilities" else 0.5
            block = torch.where(none, some, block.double())
            if best is not None:
                block = block / (best[start : start + step] if len(best) > 1 else best)
            block = _logarithms(block, reading.verdict)
        out[start : start + step] = torch.where(none, -math.inf, block)
    return out


def _best(base: Tensor, reading: Reading, step: int, *, sharded: bool) -> Tensor:
    """(n, 1) or (1, m) what the best of every row, or column, is in the unit of the sums."""
    axis = 1 if reading.verdict.axis == 1 else 0
    found = []
    for block in base.split(step):
        scored = torch.where(_none(block, reading), 0, block.double())
        found.append(scored.amax(dim=axis, keepdim=True))
    best = torch.cat(found) if axis == 1 else torch.cat(found).amax(dim=0, keepdim=True)
    if axis == 0 and sharded:
        best = comm.all_max(best)
    return torch.where(best > 0, best / reading.verdict.scale, 1.0)


def _none(block: Tensor, reading: Reading) -> Tensor:
    """Which entries have no score."""
    none = block == -math.inf
    value = reading.verdict.unscored
    if value is not None:
        none |= torch.isnan(block) if math.isnan(value) else block == value
    columns = list(reading.constant_columns)
    if reading.padding:
        kept = torch.ones(block.shape[1], dtype=torch.bool, device=block.device)
        kept[columns] = False
        left = block if not columns else block[:, kept]
        first = left[:, :1]
        padding = torch.tensor(reading.padding, dtype=block.dtype, device=block.device)
        none |= ((left == first).all(dim=1) & torch.isin(first[:, 0], padding))[:, None]
    if columns:
        none[:, columns] = True
    return none


def _logarithms(p: Tensor, verdict: Verdict) -> Tensor:
    if verdict.kind == "log-probabilities":
        x = p.clamp(max=-max(verdict.half_high, 2.0**-1022))
        return x - torch.log(-torch.expm1(x))
    p = p / verdict.scale
    p = p.masked_fill(p <= 0, max(verdict.half_low, 2.0**-1074))
    if verdict.kind == "softmax":
        return p.log()
    p = p.clamp(max=1 - max(verdict.half_high, 2.0**-53))
    return p.log() - torch.log1p(-p)


def _counted(reading: Reading, out: Tensor, *, sharded: bool) -> Reading:
    """With the share of unscored pairs, and how many scores a row and a column have."""
    scored = out != -math.inf
    rows, columns = scored.sum(dim=1), scored.sum(dim=0)
    totals = torch.stack([rows.sum(), (rows > 0).sum(), torch.tensor(len(out)).to(rows)])
    if sharded:
        totals, columns = comm.all_sum(totals), comm.all_sum(columns)
    total, live, n = (int(x) for x in totals)
    if not total:
        raise RerankError(
            f"scores: none of the {n} x {out.shape[1]} pairs is scored; give a matrix with scores, "
            f"or say which number stands for 'not scored': {option('unscored')}"
        )
    live_columns = int((columns > 0).sum())
    if total == n * out.shape[1]:
        return reading
    return replace(
        reading,
        share=1 - total / (n * out.shape[1]),
        scored_per_query=total / max(1, live),
        scored_per_item=total / max(1, live_columns),
    )


# ------------------------------------------------------------------------------------------ words


def _sentence(r: Reading) -> str:
    v = r.verdict
    shown = {1.0: "", 100.0: "percent, ", 1000.0: "per mille, "}.get(v.scale, "")
    if v.kind == "probabilities" and not shown and v.scale != 1:
        shown = f"of {v.scale:.10g}, "
    exact = "" if r.precision in ("float32", "float64") else f", kept in {r.precision}"
    if r.kind == "softmax":
        side = "rows" if v.axis == 1 else "columns"
        total = f"{v.scale:.10g}" if is_known(v.scale) else f"about {v.scale:.4g}"
        text = f"{side} sum to {total}: a softmax ({shown}logarithms are re-ranked{exact})"
    elif r.divided:
        side, line = ("rows", "row") if v.axis == 1 else ("columns", "column")
        text = (
            f"{side} sum to {v.scale:.10g}, and seem to be match probabilities divided by their "
            f"sums, as many come near the best of their {line}, which counts as certain "
            f"({shown}log-odds are re-ranked{exact}); not certain: "
            f"{option('scores-are', 'softmax')} if they are one"
        )
    elif r.kind == "probabilities":
        text = f"match probabilities, each pair its own ({shown}log-odds are re-ranked{exact})"
        if not r.sure:
            text += f"; not certain: {option('scores-are', 'similarities')} if they are none"
    elif r.kind == "log-probabilities":
        text = (
            f"logarithms of match probabilities, each pair its own (log-odds are re-ranked{exact})"
        )
        if not r.sure:
            text += f"; not certain: {option('scores-are', 'logits')} if they are none"
    elif r.kind == "distances":
        text = "distances, the smallest is best (turned round)"
    else:
        text = f"{r.kind}, used as they are"
        way = option("scores-are", "distances")
        if v.near and v.ranks:
            text += f", the largest is best; {way} if the smallest is"
        elif v.near:
            text += f"; they look like distances: {way} if the smallest is best"
        elif not r.sure:
            text += (
                f"; not certain: {option('scores-are', 'probabilities')} if each pair has its own"
            )
    if v.ranks:
        text += (
            "; they look like ranks, which do not tell how near an item is: re-ranked they can get "
            "worse, so give the scores"
        )
    value = r.unscored
    if r.minus_inf or value is not None:
        end = "inf" if r.kind == "distances" else "-inf"
        own = value is not None and not math.isinf(value)
        names = [f"{value:g}{' (rounded)' if v.rounded else ''}"] if own else []
        names += [end] if r.minus_inf or (value is not None and math.isinf(value)) else []
        text += f"; {' and '.join(names)} = not scored ({100 * r.share:.3g} % of the pairs)"
    if v.also is not None:
        number, share = v.also
        number = int(number) if number.is_integer() else number
        way = option("unscored", number)
        way = way if value is None else f"write -inf for it and for {value:g}"
        text += (
            f"; {number} stands in {100 * share:.3g} % of the pairs: {way} if it means 'not scored'"
        )
    for count, side in ((r.constant_rows, "row"), (len(r.constant_columns), "column")):
        if count == 1:
            text += f"; 1 {side} holds one number only and takes no part"
        elif count:
            text += f"; {count} {side}s hold one number only and take no part"
    return text
