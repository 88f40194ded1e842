"""What row-wise methods share: results without a transpose, the size limit, automatic scales.

A method is row-wise when it rewrites each query's ranking by something that belongs to that query,
a gate or a rank, or by an elementwise map. Such a matrix answers one direction only: its columns
mix scales. The result says so when it is transposed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor

from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.core.views import Mapped
from rerank.passes import reduce

# Methods that must hold scores as a matrix refuse above this: 50 million numbers are 200 MB in
# float32, and they need a few such matrices at a time.
MAX_DENSE = 50_000_000


def _refuse(what: str) -> RerankError:
    return RerankError(
        f"{what} rewrites the row direction only; for the other direction call it on the "
        f"transposed similarity (sim.T) instead of transposing its result"
    )


@dataclass(frozen=True, eq=False)
class RowsPair(Pair):
    """A `Pair` that has no transpose: its corrections depend on each query."""

    what: str = "this method"

    @property
    def T(self) -> Pair:  # noqa: D102, N802
        raise _refuse(self.what)


@dataclass(frozen=True, eq=False)
class RowsDense(Dense):
    """A `Dense` that has no transpose."""

    what: str = "this method"

    @property
    def T(self) -> Dense:  # noqa: D102, N802
        raise _refuse(self.what)


def rows_only(sim: Similarity, what: str) -> Similarity:
    """The same scores, with a transpose that refuses; a `Pair` stays one, so FAISS can search."""
    given = {f.name: getattr(sim, f.name) for f in fields(sim) if f.init}
    if type(sim) is Pair:
        return RowsPair(**given, what=what)
    if type(sim) is Dense:
        return RowsDense(**given, what=what)
    return mapped(sim, lambda rows, block: block, what)


def mapped(sim: Similarity, function: Callable[[slice, Tensor], Tensor], what: str) -> Mapped:
    """`Mapped`, with the masses and the sharding of its source, and unscored entries kept."""

    def keep_unscored(rows: slice, block: Tensor) -> Tensor:
        unscored = block == -math.inf
        return function(rows, block).masked_fill_(unscored, -math.inf)

    return Mapped(
        sim,
        keep_unscored,
        what,
        query_mass=sim.query_mass,
        gallery_mass=sim.gallery_mass,
        shard=sim.shard,
        block_size=sim.block_size,
    )


def check_columns(sim: Similarity, columns: int, what: str) -> None:
    """Refuse a gallery of another size than the fitted one."""
    if sim.shape[1] != columns:
        raise RerankError(
            f"{what} was fitted on a gallery of {columns} items, got {sim.shape[1]}; "
            f"fit on the gallery that is searched"
        )


def check_whole_rows(sim: Similarity, what: str) -> None:
    """Refuse a gallery that is split over processes, for methods that sort whole rows."""
    if sim.shard == "gallery":
        raise RerankError(
            f"{what} needs whole rows, but the gallery is split over processes; "
            f"run it in one process"
        )


def whole_matrix(sim: Similarity, what: str, *, limit: int | None = None) -> Tensor:
    """The (n, m) scores, for methods that cannot do without.

    Raises:
        RerankError: more than `limit` (MAX_DENSE) numbers, or rows split over processes.
    """
    if sim.shard is not None:
        raise RerankError(f"{what} needs the whole matrix in one process; run it on one process")
    n, m = sim.shape
    limit = MAX_DENSE if limit is None else limit
    if n * m > limit:
        raise RerankError(
            f"{what} needs the dense matrix: {n} x {m} scores would take "
            f"{n * m * sim.dtype.itemsize / 1e9:.1f} GB, the limit is {limit} scores; take a "
            f"smaller bank, or a method that streams such as sinkhorn, csls or nnn"
        )
    return sim.scores()


def need_pair(sim: Similarity, what: str) -> Pair:
    """The similarity as a `Pair` without corrections, for methods that rewrite embeddings.

    Raises:
        NeedsEmbeddings: it stores scores only.
        RerankError: it already carries biases.
    """
    if not isinstance(sim, Pair):
        raise NeedsEmbeddings.by(f"{what} works on embeddings", sim)
    if sim.left is not None:
        raise RerankError(f"{what} must come before the biases: put it first in the pipeline")
    return sim


def check_temperature(tau: float | str, name: str = "tau") -> None:
    """A positive number in score units, or "auto"."""
    if tau == "auto":
        return
    if isinstance(tau, str):
        raise RerankError(f"{name}: got {tau!r}, expected a positive number or 'auto'")
    reduce.check_tau(tau)


def bank_tau(tau: float | Literal["auto"], sim: Similarity, *, share: float = 0.5) -> float:
    """A number as it is; "auto" = share of sigma, the mean standard deviation of a query's scores.

    Constant scores have no scale, and any temperature gives every item the same bias: 1 then.
    """
    if tau != "auto":
        return float(tau)
    return share * reduce.spread(sim)[1] or 1.0
