"""The one abstraction: scores of n queries against m gallery items, stored or not.

    S_ij = base_ij + <left_i, right_j>

`Dense` stores the base, `Pair` computes it from embeddings block by block, `Mapped` (a file of its
own) passes another similarity through an elementwise map. `left` (n, r) and `right` (m, r) are
thin corrections: a number per gallery item is `left = 1, right = g`. Methods never ask which kind
they hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import torch
from torch import Tensor

from rerank.core import memory
from rerank.core.arrays import (
    BLOCK_ELEMENTS,
    FEWEST_ROWS,
    ArrayLike,
    as_matrix,
    check_finite,
    check_products,
    inner,
    unit_rows,
)
from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.exhausted import ran_out
from rerank.core.handed import numbers_of
from rerank.core.products import are_kept, keep, known
from rerank.core.rows import Rows, StoredRows, mapped, ready
from rerank.core.torch_state import usual_state
from rerank.core.words import Metric, words_of

__all__ = [
    "BLOCK_ELEMENTS", "ArrayLike", "Axis", "Dense", "Pair", "Similarity",
    "as_matrix", "check_finite", "unit_rows",
]  # fmt: skip

Axis: TypeAlias = Literal["queries", "gallery"]


@dataclass(frozen=True)
class Making:
    """What a block of rows takes to be made.

    Attributes:
        columns: numbers of a row.
        widened: numbers of a query that are made float32 for it, of stored ones; 0 for none.
        block_size: rows at a time that were asked for, or None.
    """

    columns: int
    widened: int = 0
    block_size: int | None = None

    def rows(self, n: int, device: torch.device) -> int:
        """How many of n rows a block has."""
        elements = BLOCK_ELEMENTS * (16 if device.type == "cuda" else 1)
        # Fewer rows than this at a time would read a large gallery from memory for nearly nothing.
        most = max(FEWEST_ROWS, elements // max(1, self.columns))
        rows = self.block_size or max(1, min(-(-n // 2), most))
        # Stored queries made float32 do not outgrow a panel either.
        return min(rows, max(1, BLOCK_ELEMENTS // self.widened)) if self.widened else rows


@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity(ABC):
    """Scores of n queries (rows) against m gallery items (columns), corrections included.

    Attributes:
        left: (n, r) query factors of the correction, or None.
        right: (m, r) gallery factors of the correction, or None.
        query_mass: (n,) positive weights of the queries, or None.
        gallery_mass: (m,) positive weights of the gallery items, or None.
        shard: the axis that is split over processes, or None. Shapes are local.
        block_size: rows in a block, or None for a size that keeps a block at 16 MB.
    """

    left: Tensor | None = None
    right: Tensor | None = None
    query_mass: Tensor | None = None
    gallery_mass: Tensor | None = None
    shard: Axis | None = None
    block_size: int | None = None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, m)."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """float32 or float64."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where blocks are computed."""

    @property
    @abstractmethod
    def T(self) -> "Similarity":  # noqa: N802  the mathematical transpose, as in numpy
        """The other direction: gallery items become queries."""

    @abstractmethod
    def block(self, rows: slice) -> Tensor:
        """(b, m) scores of some rows, corrections included, in fresh memory."""

    def corrected(self, block: Tensor, rows: slice) -> Tensor:
        """(b, m) scores of some rows with the corrections added, in place."""
        if self.left is not None and self.right is not None:
            block.addmm_(self.left[rows], self.right.T)
        return block

    @property
    def making(self) -> Making:
        """What a block of rows takes to be made."""
        return Making(self.shape[1], block_size=self.block_size)

    def rows_per_block(self) -> int:
        """Rows in one block of `blocks`: never the whole matrix at once, however small it is."""
        return self.making.rows(self.shape[0], self.device)

    def blocks(self, rows_per_block: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Row panels in order: (rows, (b, m) scores). The receiver may overwrite a panel.

        Where memory runs out panels are halved, down to a single row.
        """
        n, start = self.shape[0], 0
        step = rows_per_block or self.making.rows(n, self.device)
        while start < n:
            rows = slice(start, min(start + step, n))
            try:
                block = self.block(rows)
            except (MemoryError, RuntimeError) as error:
                if step == 1 or not ran_out(error):
                    raise
                step //= 2
                continue
            yield rows, block
            start = rows.stop

    @usual_state()
    def scores(self) -> Tensor:
        """The whole (n, m) matrix. Allocates it: only for results that are asked for."""
        out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for rows, block in self.blocks():
            out[rows] = block
        return out

    def add(self, left: Tensor, right: Tensor) -> Self:
        """A new similarity with <left_i, right_j> added; left (n, r), right (m, r)."""
        left = left.to(device=self.device, dtype=self.dtype)
        right = right.to(device=self.device, dtype=self.dtype)
        n, m = self.shape
        if left.shape[0] != n or right.shape[0] != m or left.shape[1] != right.shape[1]:
            raise RerankError(
                f"correction of shapes {tuple(left.shape)} and {tuple(right.shape)} does not fit "
                f"a similarity of {n} queries x {m} gallery items"
            )
        if self.left is not None and self.right is not None:
            left = torch.cat([self.left, left], dim=1)
            right = torch.cat([self.right, right], dim=1)
        return replace(self, left=left, right=right)

    def add_gallery_bias(self, gallery_bias: Tensor) -> Self:
        """A new similarity with one number added per gallery item: S_ij + g_j."""
        if gallery_bias.ndim != 1 or gallery_bias.shape[0] != self.shape[1]:
            raise RerankError(
                f"gallery bias of {tuple(gallery_bias.shape)} does not fit a gallery of "
                f"{self.shape[1]} items; fit on the gallery that is searched"
            )
        ones = torch.ones((self.shape[0], 1), dtype=self.dtype, device=self.device)
        return self.add(ones, gallery_bias[:, None])

    def add_query_bias(self, query_bias: Tensor) -> Self:
        """A new similarity with one number added per query: S_ij + f_i (no ranking changes)."""
        ones = torch.ones((self.shape[1], 1), dtype=self.dtype, device=self.device)
        return self.add(query_bias[:, None], ones)

    def with_mass(
        self, *, queries: ArrayLike | None = None, gallery: ArrayLike | None = None
    ) -> Self:
        """A new similarity whose rows and columns carry weights (positive, any scale)."""
        return replace(
            self,
            query_mass=self._mass(queries, self.shape[0], "query"),
            gallery_mass=self._mass(gallery, self.shape[1], "gallery"),
        )

    def _mass(self, mass: ArrayLike | None, count: int, side: str) -> Tensor | None:
        if mass is None:
            return self.query_mass if side == "query" else self.gallery_mass
        out = torch.from_numpy(numbers_of(mass, f"{side} mass")).to(self.device)
        if out.shape != (count,) or not bool(torch.isfinite(out).all()) or bool((out <= 0).any()):
            raise RerankError(
                f"{side} mass: got shape {tuple(out.shape)}, expected {count} positive numbers"
            )
        return out

    def map(self, matrix: Tensor, *, renormalise: bool = True) -> "Pair":
        """Map the embeddings of both sides linearly. Only a `Pair` has embeddings."""
        raise NeedsEmbeddings.by("EM rewrites embeddings", self)


@dataclass(frozen=True, eq=False)
class Dense(Similarity):
    """Stored scores (n, m), rows = queries.

    Args:
        base: (n, m) numpy or torch, real floating point; half precision is computed in float32.
        unscored: allow -inf, which stands for "not scored" and stays -inf.
    """

    base: Tensor
    unscored: bool = False
    _checked: bool = False

    if TYPE_CHECKING:
        # What may be given; the field holds the tensor that `__post_init__` makes of it.
        def __init__(
            self,
            base: ArrayLike,
            unscored: bool = False,
            *,
            block_size: int | None = None,
            shard: Axis | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not self._checked:
            base = as_matrix(self.base, "scores", no_rows=self.shard == "queries")
            check_finite(base, "scores", unscored=self.unscored)
            object.__setattr__(self, "base", base)
            object.__setattr__(self, "_checked", True)

    def __repr__(self) -> str:
        return f"Dense({self.shape[0]} x {self.shape[1]} scores)"

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.base.shape[0], self.base.shape[1]

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.base.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.base.device

    @property
    def T(self) -> "Dense":  # noqa: D102, N802
        return replace(self, base=self.base.T, **_swapped(self))

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        return self.corrected(self.base[rows].clone(memory_format=torch.contiguous_format), rows)


@dataclass(frozen=True, eq=False)
class Pair(Similarity):
    """Inner products of embeddings; the (n, m) matrix is never built unless asked for.

    Args:
        queries: (n, d) numpy or torch, real floating point.
        gallery: (m, d), of the same model.
        metric: "cosine" normalises the rows here, once, and again after a `map`; "dot" does not.

    A side whose copies would not fit the memory budget stays as it is, as `StoredRows`.
    """

    queries: Rows
    gallery: Rows
    metric: Metric = "cosine"
    _checked: bool = False

    if TYPE_CHECKING:
        # What may be given; the fields hold the tensors that `__post_init__` makes of it.
        def __init__(
            self,
            queries: ArrayLike | StoredRows,
            gallery: ArrayLike | StoredRows,
            metric: Metric = "cosine",
            *,
            block_size: int | None = None,
            shard: Axis | None = None,
        ) -> None: ...

    def __repr__(self) -> str:
        n, m = self.shape
        return f"Pair({n} queries x {m} items, d = {self.queries.shape[1]}, {self.metric})"

    def __post_init__(self) -> None:
        if self._checked:
            return
        if self.metric not in words_of(Metric):
            raise RerankError(f"metric: got {self.metric!r}, expected 'cosine' or 'dot'")
        queries = _side(self.queries, "queries", no_rows=self.shard == "queries")
        gallery = _side(self.gallery, "gallery", no_rows=self.shard == "gallery")
        if queries.shape[1] != gallery.shape[1]:
            raise RerankError(
                f"queries have d = {queries.shape[1]} but gallery has d = {gallery.shape[1]}; "
                f"both must come from the same model"
            )
        dtype = torch.promote_types(queries.dtype, gallery.dtype)
        device, unit = queries.device, self.metric == "cosine"
        for name, rows in (("queries", queries), ("gallery", gallery)):
            if isinstance(rows, Tensor) or device.type != "cpu" or dtype != torch.float32:
                rows = rows[:].to(device=device, dtype=dtype)
            object.__setattr__(self, name, ready(rows, name, unit=unit))
        if not unit and isinstance(self.queries, Tensor) and isinstance(self.gallery, Tensor):
            check_products(self.queries, self.gallery)
        object.__setattr__(self, "_checked", True)

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.queries.shape[0], self.gallery.shape[0]

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.queries.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.queries.device

    @property
    def T(self) -> "Pair":  # noqa: D102, N802
        return replace(self, queries=self.gallery, gallery=self.queries, **_swapped(self))

    @property
    def making(self) -> Making:  # noqa: D102
        queries, gallery = self.queries, self.gallery
        widened = 0 if isinstance(queries, Tensor) else queries.shape[1]
        return Making(gallery.shape[0], widened, self.block_size)

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        queries, gallery = self.queries, self.gallery
        if isinstance(gallery, StoredRows):
            block = gallery.inner(queries[rows])
        elif self.block_size or isinstance(queries, StoredRows) or not are_kept(queries, gallery):
            block = inner(queries[rows], gallery)
        else:
            whole = known(queries, gallery)
            if whole is None:
                whole = keep(queries, gallery, inner(queries, gallery))
            block = whole[rows].clone(memory_format=torch.contiguous_format)
        return self.corrected(block, rows)

    def map(self, matrix: Tensor, *, renormalise: bool = True) -> "Pair":
        """Map both sides, x -> x A, with unit norm afterwards when the metric is cosine.

        Without `renormalise` rows keep the norm that the map gives them, and the metric becomes
        "dot".

        Corrections are kept; they must have been estimated after the map, so a similarity
        that already carries some refuses.
        """
        if self.left is not None:
            raise RerankError(
                "a linear map must come before the biases: put EM first in the pipeline"
            )
        if matrix.shape != (self.queries.shape[1],) * 2:
            raise RerankError(
                f"a map of {tuple(matrix.shape)} does not fit embeddings of d = "
                f"{self.queries.shape[1]}; fit on embeddings of the same model"
            )
        matrix = matrix.to(device=self.device, dtype=self.dtype)
        unit = renormalise and self.metric == "cosine"
        return replace(
            self,
            metric="cosine" if unit else "dot",
            queries=mapped(self.queries, matrix, "queries after the map", unit=unit),
            gallery=mapped(self.gallery, matrix, "gallery after the map", unit=unit),
        )

    def augmented(self) -> tuple[Tensor, Tensor]:
        """([q, left] (n, d + r), [v, right] (m, d + r)): the corrections as extra dimensions."""
        return self.augmented_rows("queries"), self.augmented_rows("gallery")

    def augmented_rows(self, side: Axis, rows: slice | Tensor = slice(None)) -> Tensor:
        """Some rows of one side of `augmented`."""
        held, thin = (self.queries, self.left) if side == "queries" else (self.gallery, self.right)
        return held[rows] if thin is None else torch.cat([held[rows], thin[rows]], dim=1)


def pair_called(
    called: tuple[str, str], queries: ArrayLike | StoredRows, gallery: ArrayLike | StoredRows, *,
    metric: Metric = "cosine", shard: Axis | None = None,
) -> Pair:  # fmt: skip
    """A `Pair` whose messages call the sides what the user calls them.

    >>> pair_called(("bank_texts", "videos"), torch.zeros(2, 3), torch.ones(2, 3))
    Traceback (most recent call last):
    ...
    rerank.core.errors.RerankError: bank_texts: row 0 is zero and has no direction; remove it or \
use metric="dot"
    """
    try:
        return Pair(queries, gallery, metric=metric, shard=shard)
    except RerankError:
        # Looked through again, one side after the other, under its own name.
        sides = [
            _side(x, what, no_rows=shard == axis)
            for x, what, axis in zip(
                (queries, gallery), called, ("queries", "gallery"), strict=True
            )
        ]
        if sides[0].shape[1] != sides[1].shape[1]:
            raise RerankError(
                f"{called[0]}: got d = {sides[0].shape[1]}, but {called[1]} have d = "
                f"{sides[1].shape[1]}; both must come from the same model"
            ) from None
        for x, what in zip(sides, called, strict=True):
            ready(x, what, unit=metric == "cosine")
        if metric == "dot":
            check_products(sides[0][:], sides[1][:], called)
        raise


def place(sim: Similarity) -> Any:  # noqa: ANN401  anything that can be a key
    """Where the numbers of a similarity lie: the same for its transposed transposed.

    It says so while the similarity is there.
    """
    if not isinstance(sim, Pair | Dense):
        return id(sim)
    sides = (sim.queries, sim.gallery) if isinstance(sim, Pair) else (sim.base,)
    return tuple(where(x) for x in (*sides, sim.left, sim.right))


def where(x: Rows | None) -> Any:  # noqa: ANN401  anything that can be a key
    """Where an array lies in memory, and how."""
    # Tensors without numbers all lie nowhere.
    if isinstance(x, Tensor) and x.numel():
        return x.data_ptr(), x.shape, x.stride(), x.dtype
    return id(x)


def _side(x: ArrayLike | StoredRows, what: str, *, no_rows: bool) -> Rows:
    """One side as given: large ones on the CPU are not copied, half precision included."""
    if isinstance(x, StoredRows):
        return x
    x = as_matrix(x, what, keep_half=True, no_rows=no_rows)
    if x.device.type == "cpu" and x.itemsize <= 4 and memory.is_large(x.numel()):
        check_finite(x, what)
        return StoredRows(x)
    return as_matrix(x, what, no_rows=no_rows)


def _swapped(sim: Similarity) -> dict:
    """What changes sides in a transposed similarity."""
    flipped: dict[str | None, Axis | None] = {"queries": "gallery", "gallery": "queries"}
    return {
        "left": sim.right,
        "right": sim.left,
        "query_mass": sim.gallery_mass,
        "gallery_mass": sim.query_mass,
        "shard": flipped.get(sim.shard),
        "block_size": sim.block_size,
    }
