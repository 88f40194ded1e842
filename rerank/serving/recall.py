"""What a search of an export finds of the exact top 10, with the bias and without it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import thinned
from rerank.core.similarity import ArrayLike, Metric, as_matrix, unit_rows
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import Model
from rerank.serving import standins
from rerank.serving.fold import Folding, QuerySide, Space, plan_folding
from rerank.serving.model import item_hashes
from rerank.serving.routes import MOST_QUERIES
from rerank.serving.searcher import exact_topk
from rerank.serving.stores import databases, indexes
from rerank.serving.stores.indexes import IndexKind

_K = 10
# Enough for an overlap to three digits; more would make an export slow.
_MEASURED_QUERIES = 500
# Two scores this close are one place in the ranking.
_TIE = 1e-6


def folding_of(
    fitted: FittedPipeline, vectors: Tensor, metric: Metric, query_side: QuerySide
) -> tuple[Folding, Tensor]:
    """The exact inner-product folding that others are measured against."""
    return plan_folding(fitted, vectors, metric, query_side=query_side)


def bank_of(model: Model, bank: ArrayLike | None) -> Tensor | None:
    """The bank queries that the model was fitted on, where they are known.

    Raises:
        RerankError: others were given.
    """
    if bank is None:
        return model.kept.get("bank.queries")
    known = model.kept.get("bank.hashes")
    if known is not None and not torch.equal(item_hashes(bank), known):
        raise RerankError(
            f"bank: these {len(bank)} queries are not the {len(known)} that the model was fitted "
            f"on; give the file of `rerank fit`"
        )
    return as_matrix(bank, "bank").cpu()


def queries_of(
    model: Model, vectors: Tensor, queries: ArrayLike | None, bank: Tensor | None
) -> tuple[Tensor, str, Tensor | None]:
    """Queries to measure an index with, where they came from, and others to teach it.

    It is measured with the given queries, else with the last quarter of the bank, else with some
    stand-ins (`rerank.serving.standins`), else with gallery items; taught with the bank and stand-ins, or
    with nothing (None). Those that measure do not teach, and at most 20,000 do.

    Args:
        model: a fitted model.
        vectors: (m, d) its gallery.
        queries: (n, d) to measure with.
        bank: (p, d) bank queries, as `bank_of` found them.
    """
    sample, source = None, "gallery"
    if queries is not None:
        sample = as_matrix(queries, "queries")
        source = "videos" if model.manifest["direction"] == "v2t" else "texts"
    elif bank is not None and len(bank) > 1:
        # Whole: neighbouring rows are often captions of one video.
        sample, source = bank[-(len(bank) // 4 or 1) :], "bank"
        bank = bank[: -len(sample)]
    metric: Metric = model.manifest["metric"]
    moments = standins.from_kept(model.kept)
    if bank is not None and len(bank) > 1:
        # Without those that measure.
        moments = standins.moments_of(unit_rows(bank, "bank") if metric == "cosine" else bank)
    teaching = [] if bank is None else [thinned(bank, MOST_QUERIES // 2)]
    if moments is not None:
        items = thinned(vectors, MOST_QUERIES - sum(map(len, teaching)))
        made = standins.stand_ins(moments, items[:], metric)
        if sample is None and len(made) > 1:
            measuring = torch.zeros(len(made), dtype=torch.bool)
            measuring[:: max(4, len(made) // _MEASURED_QUERIES)] = True
            sample, made, source = made[measuring], made[~measuring], "stand-ins"
        teaching.append(made)
    sample = thinned(vectors if sample is None else sample, _MEASURED_QUERIES)[:]
    return sample.float(), source, torch.cat([x[:] for x in teaching]) if teaching else None


class Truth:
    """The exact top k of some queries, and how much of it a search has found."""

    def __init__(self, queries: Tensor, items: Tensor) -> None:
        self.k = min(_K, len(items))
        self._queries, self._items = queries.double(), items.double()
        self._last = exact_topk(queries, items, self.k).scores[:, -1].double()

    def overlap(self, rows: Tensor) -> float:
        """Mean share of the k found rows that score as well as the exact k-th."""
        return float(self.each(rows).mean())

    def each(self, rows: Tensor) -> Tensor:
        """(n,) that share for every query, float64."""
        hits = torch.empty(len(rows), dtype=torch.float64)
        for i, (query, last, found) in enumerate(zip(self._queries, self._last, rows, strict=True)):
            good = found[found >= 0].unique()
            scale = max(1.0, float(query.norm()))
            hits[i] = (self._items[good] @ query >= last - _TIE * scale).sum()
        return hits / self.k


def without_bias(
    fitted: FittedPipeline, vectors: Tensor, sample: Tensor, metric: Metric, to: str, space: Space,
    index: IndexKind, options: Mapping[str, int],
) -> dict[str, float]:  # fmt: skip
    """What the same kind of index, at the same effort, finds on vectors without a bias."""
    maps = FittedPipeline(tuple(s for s in fitted.stages if not hasattr(s, "gallery_bias")))
    folding, items = plan_folding(maps, vectors, metric, space=space)
    exact = folding_of(maps, vectors, metric, "mapped")
    truth, asked = Truth(exact[0].queries(sample), exact[1]), folding.queries(sample)
    if to == "faiss":
        built = indexes.build_index(items, index, asked=None, **options)
        rows, taken = indexes.search_counted(built, asked, truth.k)
        return {"overlap_without_bias": truth.overlap(rows), "distances_without_bias": taken}
    store = databases.STORES[to]
    with TemporaryDirectory() as folder:
        names = [str(row) for row in range(len(items))]
        target = store.write(Path(folder) / "plain", items.numpy(), names, space=space, url=None)
        found = store.search(target, asked.numpy(), truth.k, space=space)["overlap_graph"]
    return {"overlap_without_bias": truth.overlap(torch.from_numpy(found))}
