"""Figures of whole rankings: every measure of ir_measures, and those of graded relevance.

A run is made of the places of a ranking, not of its scores: trec_eval sorts by float32 scores and
breaks ties by document name, so that a constant matrix would be judged by the alphabet. Ties are
put in an order by the caller's policy instead; "expected" averages over seeded random orders.

Where scores do not tie, each value is what ir_measures gives on the full run: rankings are cut only
where nothing further can count. ERR, nDCG with exponential gains and RBP, which ir_measures hands
to Perl or to packages that are seldom installed, are computed here from the same formulas.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rerank.core import progress
from rerank.core.errors import RerankError
from rerank.core.pairs import Grades, Positives, as_positives
from rerank.core.similarity import Similarity
from rerank.core.words import Ties

ALIASES = {"MRR": "RR", "MAP": "AP"}
# Random orders that "expected" averages over, for queries in which items tie.
TIE_ORDERS = 32
# Places of a chunk of runs that is handed over at once.
_CHUNK = 500_000
# Counts, which are no shares and get no percent.
_COUNTS = ("NumQ", "NumRet", "NumRel", "NumRelRet")
# What follows the last right item of a ranking cannot change these.
_END_AT_THE_LAST = ("RR", "AP", "nDCG")
# What follows the cutoff cannot change these.
_END_AT_THE_CUT = ("RR", "AP", "nDCG", "P", "R", "Success", "Judged", "ERR", "RBP", "Accuracy")
# Grades of the four-point scale of the TREC web track, the largest that gdeval takes.
_MAX_GRADE = 4

OfRanking = Callable[[np.ndarray], float]


@runtime_checkable
class Measure(Protocol):
    """A measure of ir_measures, which is imported late."""

    NAME: str
    params: dict[str, Any]

    def aggregator(self) -> Any:  # noqa: ANN401  of ir_measures
        """What makes one number of those of the queries."""
        ...


def adds_up(measure: Measure) -> bool:
    """Whether the figure of two queries is the sum of theirs, as that of a count; else the mean.

    >>> adds_up(parse("NumRel")), adds_up(parse("AP"))
    (True, False)
    """
    both = measure.aggregator()
    both.add(1.0)
    both.add(1.0)
    return both.result() == 2.0


def parse(name: str, hint: str = "") -> Any:  # noqa: ANN401  ir_measures is imported late
    """An ir_measures measure from its usual name: `nDCG@10`, `MRR`, `AP(rel=2)`, `P@5`.

    Args:
        name: of the measure.
        hint: what to add to the message, such as a likelier name.

    Raises:
        RerankError: a name that ir_measures does not know or cannot compute here.
    """
    import ir_measures

    base = name.partition("@")[0].partition("(")[0]
    try:
        measure = ir_measures.parse_measure(ALIASES.get(base, base) + name[len(base) :])
    except Exception as error:
        # ir_measures raises NameError, ValueError and SyntaxError for what it cannot read.
        raise RerankError(
            f"figure: got {name!r}, expected R@k, MdR, MnR, RSum, geo or a name of ir_measures "
            f"such as nDCG@10, AP(rel=2) or MRR{hint}"
        ) from error
    if native(measure) is not None:
        return measure
    try:
        ir_measures.evaluator([measure], [])
    except Exception as error:
        raise RerankError(f"figure {name}: {_why_not(measure, error)}") from error
    return measure


def _why_not(measure: Any, error: Exception) -> str:  # noqa: ANN401  an ir_measures measure
    """Why a measure cannot be computed, and what can be done."""
    import ir_measures

    missing = [
        name
        for name, info in measure.SUPPORTED_PARAMS.items()
        if info.required and name not in measure.params
    ]
    if measure.NAME in ("P", "R", "ERR", "Success", "Judged", "IPrec") and not measure.params:
        # Precision is interpolated at a recall.
        at = "0.1" if measure.NAME == "IPrec" else "10"
        return f"needs a cutoff; write {measure.NAME}@{at}"
    if missing:
        whole = measure(**{name: measure.SUPPORTED_PARAMS[name].dtype(1) for name in missing})
        try:
            if native(whole) is None:
                ir_measures.evaluator([whole], [])
        except Exception as lacking:
            return _why_not(whole, lacking)
        return f"needs {', '.join(f'{name}=' for name in missing)} in brackets behind its name"
    if "pyndeval" in str(error):
        return (
            "is about subtopics, which no ground truth here can name; use nDCG@10 or ERR@10 instead"
        )
    return "is not computed here (ir_measures has no provider for it); use nDCG@10, ERR@10 or RBP"


# --- graded relevance from the formulas ----------------------------------------------------------


def _gains(grades: np.ndarray, depth: int | None) -> np.ndarray:
    return np.maximum(np.nan_to_num(grades[:depth]), 0.0)


def expected_reciprocal_rank(grades: np.ndarray, *, depth: int | None = None) -> float:
    """Expected reciprocal rank of a user who stops at an item in proportion to its gain.

    With R_i = (2^g_i - 1) / 2^4: ERR = sum_i R_i / i * prod_{j<i} (1 - R_j) (Chapelle et al., CIKM
    2009), on the four-point scale of gdeval.

    Args:
        grades: (m,) of the gallery in the order of the ranking, NaN where unjudged.
        depth: places that count.
    """
    stop = (2.0 ** _gains(grades, depth) - 1) / 2**_MAX_GRADE
    reach = np.concatenate([[1.0], np.cumprod(1 - stop)[:-1]])
    return float((stop * reach / np.arange(1, len(stop) + 1)).sum())


def exponential_ndcg(grades: np.ndarray, *, depth: int | None = None) -> float:
    """NDCG with gains 2^g - 1 and discounts log2(i + 1) (Burges et al., ICML 2005).

    Args:
        grades: as for `expected_reciprocal_rank`.
        depth: places that count.
    """
    return _ndcg(2.0 ** _gains(grades, None) - 1, depth)


def linear_ndcg(grades: np.ndarray, *, depth: int | None = None) -> float:
    """NDCG with the grades as gains and discounts log2(i + 1), as trec_eval for whole grades.

    Args:
        grades: as for `expected_reciprocal_rank`.
        depth: places that count.
    """
    return _ndcg(_gains(grades, None), depth)


def _ndcg(gains: np.ndarray, depth: int | None) -> float:
    """Discounted gains of a ranking by those of its best order."""

    def dcg(gains: np.ndarray) -> float:
        return float((gains / np.log2(np.arange(len(gains)) + 2)).sum())

    ideal = dcg(np.sort(gains)[::-1][:depth])
    return dcg(gains[:depth]) / ideal if ideal > 0 else 0.0


def rank_biased_precision(
    grades: np.ndarray, *, persistence: float, least: int, depth: int | None = None
) -> float:
    """(1 - p) sum_i p^(i-1) [g_i >= least] (Moffat and Zobel, TOIS 2008).

    Args:
        grades: as for `expected_reciprocal_rank`.
        persistence: p, the chance of looking at the next place.
        least: the grade from which on an item counts.
        depth: places that count.
    """
    gains = (_gains(grades, depth) >= least).astype(float)
    return float((1 - persistence) * (gains * persistence ** np.arange(len(gains))).sum())


def native(measure: Any) -> OfRanking | None:  # noqa: ANN401  an ir_measures measure
    """The function that computes a measure here, or None where ir_measures does."""
    params = measure.params
    depth = params.get("cutoff")
    if measure.NAME == "ERR":
        return lambda grades: expected_reciprocal_rank(grades, depth=depth)
    if (
        measure.NAME == "nDCG"
        and params.get("dcg") == "exp-log2"
        and not (params.get("judged_only") or params.get("gains"))
    ):
        return lambda grades: exponential_ndcg(grades, depth=depth)
    if measure.NAME == "RBP":
        return lambda grades: rank_biased_precision(
            grades, persistence=params.get("p", 0.8), least=params.get("rel", 1), depth=depth
        )
    return None


# --- rankings --------------------------------------------------------------------------------


def ranked_measures(
    sim: Similarity,
    positives: Positives,
    measures: Mapping[str, Any],
    *,
    ties: Ties = "expected",
    grades: Grades | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Measures of every judged query, (q,) each, in percent (counts as they are).

    Args:
        sim: (n, m) queries x gallery.
        positives: see `rerank.core.pairs.as_positives`.
        measures: by name: of ir_measures (see `parse`), or a function from the grades of a ranking
            to a number, which is taken as it is.
        ties: "expected", "optimistic" or "pessimistic".
        grades: how right each judged item is; a positive without a grade has 1.
        seed: of the random orders of tied items.

    Raises:
        RerankError: NaN among the scores, grades that a measure cannot take, or `ties="mid"`.
    """
    if ties == "mid":
        raise RerankError("ties: 'mid' is a rank, not an order; use 'expected' for this figure")
    rows_of = as_positives(positives, *sim.shape)
    whole = _are_whole(grades)
    own: dict[str, tuple[OfRanking, float]] = {}
    theirs: dict[str, Any] = {}
    for name, measure in measures.items():
        if not isinstance(measure, Measure):
            own[name] = measure, 1.0
        elif (function := native(measure)) is not None:
            own[name] = function, 100.0
            _check_grades(name, measure, grades)
        elif not whole and measure.NAME == "nDCG":
            _check_unit(name, measure, grades)
            own[name] = partial(linear_ndcg, depth=measure.params.get("cutoff")), 100.0
        else:
            theirs[name] = measure
            if not whole:
                _check_unit(name, measure, grades)
    depth = _depth(list(measures.values()))
    if any(getattr(function, "func", None) is linear_ndcg for function, _ in own.values()):
        depth = None
    totals: dict[int, np.ndarray] = {}
    chunk: list[tuple[int, np.ndarray, dict[int, float], int]] = []
    held = 0
    names = [str(j) for j in range(sim.shape[1])]

    def flush() -> None:
        nonlocal held
        for row, values in _theirs(chunk, theirs, names, whole=whole):
            totals[row][: len(theirs)] += values
        chunk.clear()
        held = 0

    for row, order, known, count in _orders(sim, rows_of, depth, ties, grades, seed):
        sums = totals.setdefault(row, np.zeros(len(theirs) + len(own)))
        if theirs:
            chunk.append((row, order, known, count))
            held += len(order)
        if own:
            line = np.array([known.get(int(j), np.nan) for j in order])
            for place, (function, unit) in enumerate(own.values()):
                sums[len(theirs) + place] += unit * float(function(line)) / count
        if held > _CHUNK:
            flush()
    flush()
    table = np.array([totals[row] for row in sorted(totals)]).reshape(len(totals), -1)
    found = dict(zip([*theirs, *own], table.T, strict=True))
    return {name: found[name] for name in measures}


def _check_grades(name: str, measure: Any, grades: Grades | None) -> None:  # noqa: ANN401
    largest = max((g for known in (grades or {}).values() for g in known.values()), default=0)
    if measure.NAME in ("ERR", "nDCG") and largest > _MAX_GRADE:
        raise RerankError(
            f"figure {name}: got a grade of {largest}, expected 0 to {_MAX_GRADE}, the scale it is "
            f"defined on; use nDCG@10"
        )
    if measure.NAME == "RBP" and "rel" not in measure.params and largest not in (0, 1):
        raise RerankError(
            f"figure {name}: got grades up to {largest:g}; say from which grade on an item counts, "
            f"as in RBP(rel=1)"
        )


def _are_whole(grades: Grades | None) -> bool:
    return all(float(g).is_integer() for known in (grades or {}).values() for g in known.values())


def _check_unit(name: str, measure: Any, grades: Grades | None) -> None:  # noqa: ANN401
    """Refuse what depends on the unit of grades that are no whole numbers.

    Raises:
        RerankError: such a measure.
    """
    unit = {"rel", "gains", "max_rel", "min_rel", "judged_only"} & set(measure.params)
    if unit or measure.params.get("dcg", "log2") != "log2":
        every = (g for known in (grades or {}).values() for g in known.values())
        odd = next(g for g in every if not float(g).is_integer())
        raise RerankError(
            f"figure {name}: counts whole grades, and the ground truth has others, such as {odd:g};"
            f" use nDCG@10, or multiply its grades"
        )


def _depth(measures: Sequence[Any]) -> tuple[int, bool] | None:
    """Places that can count, and whether all down to the last positive do; None for all."""
    deepest, to_the_last = 0, False
    for measure in measures:
        if not isinstance(measure, Measure) or measure.params.get("judged_only"):
            return None
        cutoff = measure.params.get("cutoff")
        # The ideal order of exponential gains is taken from the whole ranking.
        if native(measure) is not None and measure.NAME == "nDCG":
            return None
        if isinstance(cutoff, int) and measure.NAME in _END_AT_THE_CUT:
            deepest = max(deepest, cutoff)
        elif not isinstance(cutoff, int) and measure.NAME in _END_AT_THE_LAST:
            to_the_last = True
        else:
            return None
    return deepest, to_the_last


def _theirs(
    chunk: Sequence[tuple[int, np.ndarray, dict[int, float], int]],
    measures: Mapping[str, Any],
    names: Sequence[str],
    *,
    whole: bool,
) -> Iterator[tuple[int, np.ndarray]]:
    """Values of ir_measures for runs of one order each, in percent, by query row.

    It takes whole grades. Of others their signs are left, which is all that counts then.
    """
    if not chunk:
        return
    import ir_measures

    run, qrels = {}, {}
    for place, (_, order, known, _) in enumerate(chunk):
        length = len(order)
        run[str(place)] = {names[j]: float(length - i) for i, j in enumerate(order.tolist())}
        qrels[str(place)] = {
            names[j]: int(grade) if whole else int(np.sign(grade)) for j, grade in known.items()
        }
    index = {measure: i for i, measure in enumerate(measures.values())}
    values = np.full((len(chunk), len(index)), np.nan)
    try:
        for group in _by_gains(index):
            # Gains of one are written into the grades, which the next would read.
            copy = {query: dict(known) for query, known in qrels.items()}
            for found in ir_measures.iter_calc(group, copy, run):
                unit = 1.0 if found.measure.NAME in _COUNTS else 100.0
                values[int(found.query_id), index[found.measure]] = unit * found.value
    except (ArithmeticError, LookupError, ValueError, RuntimeError, OSError) as error:
        raise RerankError(
            f"figures {', '.join(measures)}: ir_measures cannot compute them on this ranking "
            f"({error}); leave one out at a time to see which"
        ) from error
    for name, measure in measures.items():
        if np.isnan(values[:, index[measure]]).any():
            raise RerankError(
                f"figure {name}: is not defined for a query without a right item in the places "
                f"that it looks at; use AP or nDCG@10"
            )
    # Two names of one measure, such as MRR and RR, share a column.
    columns = [index[measure] for measure in measures.values()]
    for place, (row, _, _, count) in enumerate(chunk):
        yield row, values[place, columns] / count


def _by_gains(measures: Iterable[Any]) -> list[list[Any]]:
    """Measures in groups of the same gains of grades; ir_measures mixes those of one call up."""
    groups: dict[str, list[Any]] = {}
    for measure in measures:
        groups.setdefault(str(measure.params.get("gains")), []).append(measure)
    return list(groups.values())


def _orders(
    sim: Similarity,
    rows_of: Sequence[np.ndarray],
    depth: tuple[int, bool] | None,
    ties: Ties,
    grades: Grades | None,
    seed: int,
) -> Iterator[tuple[int, np.ndarray, dict[int, float], int]]:
    """(row, gallery rows best first, grades of the judged, number of orders of this row)."""
    rng = np.random.default_rng(seed)
    with progress.task("ranked measures", sim.shape[0]) as advance:
        for panel, block in sim.blocks():
            scores = block.cpu().numpy()
            if np.isnan(scores).any():
                raise RerankError("scores contain NaN: no ranking is defined; fix what wrote them")
            for row, line in zip(range(panel.start, panel.stop), scores, strict=True):
                if not len(rows_of[row]):
                    continue
                known = dict.fromkeys(rows_of[row].tolist(), 1.0)
                known |= {int(j): float(g) for j, g in ((grades or {}).get(row, {})).items()}
                orders = _of_one(line, rows_of[row], known, depth, ties, rng)
                for order in orders:
                    yield row, order, known, len(orders)
            advance(len(block))


def _of_one(
    line: np.ndarray,
    right: np.ndarray,
    known: Mapping[int, float],
    depth: tuple[int, bool] | None,
    ties: Ties,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Rankings of one query, best first, cut where nothing further can count."""
    floor, cut = -np.inf, None
    if depth is not None and depth[0] < len(line):
        first, to_the_last = depth
        floors = [-np.partition(-line, first - 1)[first - 1]] if first else []
        floors += [line[right].min()] if to_the_last else []
        floor = min(floors)
        cut = None if to_the_last else first
    items = np.flatnonzero(line >= floor)
    grade = np.zeros(len(line))
    judged = np.zeros(len(line), dtype=bool)
    rows = np.fromiter(known, dtype=np.int64, count=len(known))
    grade[rows], judged[rows] = list(known.values()), True
    scores, worth = line[items], grade[items]
    if ties == "expected":
        # Only a tie between items that differ in what is known of them can change a measure.
        order = np.lexsort((worth, judged[items], scores))
        s, w, k = scores[order], worth[order], judged[items][order]
        same = s[1:] == s[:-1]
        tied = bool((same & ((w[1:] != w[:-1]) | (k[1:] != k[:-1]))).any())
        keys = [rng.random(len(items)) for _ in range(TIE_ORDERS if tied else 1)]
    else:
        keys = [-worth if ties == "optimistic" else worth]
    return [items[np.lexsort((key, -scores))][:cut] for key in keys]
