"""MRR, MAP, nDCG and every other ranked measure of ir_measures, without a file of runs.

A run is made of the places of a ranking, not of its scores: trec_eval sorts by float32 scores and
breaks ties by document name, so that a constant matrix would be judged by the alphabet. Ties are
put in an order by the caller's policy instead; "expected" averages over seeded random orders.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerank.core import progress
from rerank.core.errors import RerankError
from rerank.core.pairs import Positives, as_positives
from rerank.core.similarity import Similarity
from rerank.metrics.ranks import Ties

ALIASES = {"MRR": "RR", "MAP": "AP"}
# Random orders that "expected" averages over, for queries in which items tie.
TIE_ORDERS = 32


def parse(name: str) -> Any:  # noqa: ANN401  ir_measures is imported late
    """An ir_measures measure from its usual name: `nDCG@10`, `MRR`, `MRR@10`, `MAP`, `P@5`.

    Raises:
        RerankError: a name that ir_measures does not know or cannot compute here.
    """
    import ir_measures

    base, at, cutoff = name.partition("@")
    try:
        measure = ir_measures.parse_measure(ALIASES.get(base, base) + at + cutoff)
        ir_measures.evaluator([measure], [])
    except Exception as error:
        # ir_measures raises NameError, ValueError and SyntaxError for what it cannot read.
        raise RerankError(
            f"measure: got {name!r}, expected a name of ir_measures such as nDCG@10, MRR or MAP"
        ) from error
    return measure


def ranked_measures(
    sim: Similarity,
    positives: Positives,
    names: Sequence[str],
    *,
    ties: Ties = "expected",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Measures of every judged query, (q,) each, in percent.

    Rankings reach as deep as the largest cutoff or, for a measure without one, as the worst-placed
    positive: what follows it cannot change AP, RR or nDCG.

    Args:
        sim: (n, m) queries x gallery.
        positives: see `rerank.core.pairs.as_positives`.
        names: see `parse`.
        ties: "expected", "optimistic" or "pessimistic".
        seed: of the random orders of tied items.

    Raises:
        RerankError: an unknown measure, NaN among the scores, or `ties="mid"`.
    """
    import ir_measures

    if ties == "mid":
        raise RerankError("ties: 'mid' is a rank, not an order; use 'expected' for this measure")
    measures = {name: parse(name) for name in names}
    cutoffs = [measure.params.get("cutoff") for measure in measures.values()]
    depth = None if None in cutoffs else max(cutoffs, default=0)
    rows_of = as_positives(positives, *sim.shape)
    rng = np.random.default_rng(seed)
    out: dict[str, list[float]] = {name: [] for name in names}
    with progress.task("ranked measures", sim.shape[0]) as advance:
        for panel, block in sim.blocks():
            scores = block.cpu().numpy()
            if np.isnan(scores).any():
                raise RerankError("scores contain NaN: no ranking is defined; fix what wrote them")
            for row, line in zip(range(panel.start, panel.stop), scores, strict=True):
                right = rows_of[row]
                if not len(right):
                    continue
                orders = _orders(line, right, depth, ties, rng)
                qrels = [ir_measures.Qrel("q", str(j), 1) for j in right]
                totals = dict.fromkeys(names, 0.0)
                for order in orders:
                    run = [
                        ir_measures.ScoredDoc("q", str(j), float(len(order) - place))
                        for place, j in enumerate(order)
                    ]
                    found = ir_measures.calc_aggregate(set(measures.values()), qrels, run)
                    for name, measure in measures.items():
                        totals[name] += found[measure]
                for name in names:
                    out[name].append(100 * totals[name] / len(orders))
            advance(len(block))
    return {name: np.array(values) for name, values in out.items()}


def _orders(
    line: np.ndarray,
    right: np.ndarray,
    depth: int | None,
    ties: Ties,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Rankings of one query, best first, cut where nothing further can count."""
    if depth is None:
        floor = line[right].min()
    else:
        floor = -np.partition(-line, depth - 1)[depth - 1] if depth < len(line) else -np.inf
    items = np.flatnonzero(line >= floor)
    good = np.isin(items, right)
    scores = line[items]
    if ties == "expected":
        # Only a tie between a right and a wrong item can change a measure.
        tied = len(np.intersect1d(scores[good], scores[~good])) > 0
        keys = [rng.random(len(items)) for _ in range(TIE_ORDERS if tied else 1)]
    else:
        keys = [~good if ties == "optimistic" else good]
    return [items[np.lexsort((key, -scores))][:depth] for key in keys]
