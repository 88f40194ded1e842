"""Rows of embeddings that are too many to be copied: read as they are stored, a block at a time.

A large side of a `Pair` stays float16, or in a file that is mapped into memory. What the tensor of
a small side holds is made of each block when it is needed:

    row_i = (x_i A - s_i C) / n_i

with the norm n_i of what is above it (none where the metric is "dot"), a map A and, after centring,
means C with a factor s_i of every row: the mean was taken from x_i / s_i. Products take the map to
the other side,

    <q, row_i> = (<q A^T, x_i> - <q C^T, s_i>) / n_i

so that map and mean cost a block of queries nothing worth mentioning, however long the gallery.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from rerank.core.arrays import check_finite, inner, row_norms, unit_rows

# Rows made float32 at once, 8 MB at d = 512: the product reads them from the cache.
_AT_ONCE = 4096


Each: TypeAlias = Callable[[Callable[[slice], None], Sequence[slice]], Iterator[None]]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """(n, d) rows of float32 over memory that holds something else; sliced like a tensor.

    Attributes:
        stored: (n, d) float16, bfloat16 or float32 on the CPU, often a mapped file.
        norms: (n,) what every row is divided by in the end, or None for 1.
        matrix: (d, d) the map A, or None.
        factors: (n, r) s of every row for each of the means, or None without any.
        means: (r, d) C, through the maps that came after them, or None.
    """

    stored: Tensor
    norms: Tensor | None = None
    matrix: Tensor | None = None
    factors: Tensor | None = None
    means: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """(n, d)."""
        return self.stored.shape

    @property
    def dtype(self) -> torch.dtype:
        """float32, of what is read."""
        return torch.float32

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return self.stored.device

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Some rows as the tensor they stand for; [:] is a whole copy."""
        block = self.stored[rows].float()
        if self.matrix is not None:
            block = block @ self.matrix
        if self.factors is not None and self.means is not None:
            block = block - self.factors[rows] @ self.means
        return block if self.norms is None else block / self.norms[rows][..., None]

    def inner(self, queries: Tensor, each: Each = map) -> Tensor:
        """(b, n) inner products of (b, d) queries with all rows, in fresh memory.

        `each` calls a function for slices of the rows, perhaps in threads.
        """
        shift = None if self.means is None else queries @ self.means.T
        if self.matrix is not None:
            queries = queries @ self.matrix.T
        out = torch.empty((len(queries), len(self)), dtype=self.dtype)

        def part(rows: slice) -> None:
            out[:, rows] = inner(queries, self.stored[rows].float())

        for _ in each(part, list(slices(len(self), _AT_ONCE))):
            pass
        if shift is not None and self.factors is not None:
            out.addmm_(shift, self.factors.T, alpha=-1)
        return out if self.norms is None else out.div_(self.norms)

    def __matmul__(self, vector: Tensor) -> Tensor:
        """(n,) inner products with one vector (d,)."""
        return self.inner(vector[None])[0]

    def less(self, mean: Tensor) -> "StoredRows":
        """The same rows less a mean (d,): (x A - s C) / n - mean = (x A - [s, n] [C; mean]) / n."""
        factors = (torch.ones(len(self)) if self.norms is None else self.norms)[:, None]
        means = mean[None].to(self.dtype)
        if self.factors is not None and self.means is not None:
            factors, means = torch.cat([self.factors, factors], 1), torch.cat([self.means, means])
        return replace(self, factors=factors, means=means)

    def times(self, matrix: Tensor) -> "StoredRows":
        """The same rows under a map (d, d), with the norms that they had."""
        both = matrix if self.matrix is None else self.matrix @ matrix
        return replace(self, matrix=both, means=None if self.means is None else self.means @ matrix)

    def unit(self, what: str) -> "StoredRows":
        """The same rows with norm one; a zero row is refused."""
        bare = replace(self, norms=None)
        norms = torch.empty(len(self))
        for rows in slices(len(self)):
            norms[rows] = row_norms(bare[rows], what, first=rows.start)[:, 0]
        return replace(self, norms=norms)


@dataclass(frozen=True, eq=False)
class _Composed(StoredRows):
    """Rows that no single map makes: what comes behind is asked of them, block by block."""

    def less(self, mean: Tensor) -> StoredRows:
        """The same rows less a mean (d,)."""
        return MovedRows(self.stored, base=self, by=-mean.to(self.dtype))

    def times(self, matrix: Tensor) -> StoredRows:
        """The same rows under a map (d, d), of no norm in particular."""
        return MovedRows(self.stored, base=self, by=None, matrix=matrix)

    def unit(self, what: str) -> StoredRows:
        """The same rows with norm one; a zero row is refused."""
        norms = torch.empty(len(self))
        for rows in slices(len(self)):
            norms[rows] = row_norms(self[rows], what, first=rows.start)[:, 0]
        return MovedRows(self.stored, base=self, by=None, norms=norms)


@dataclass(frozen=True, eq=False, kw_only=True)
class BlendedRows(_Composed):
    """Rows next to their image under an affine map, without a copy of either.

        (1 - x) row_i + x (row_i B + b) / r_i

    Attributes:
        base: the rows.
        blend: (d, d) B.
        shift: (d,) b.
        share: x.
        lengths: (n,) r, or None for 1.
    """

    base: StoredRows
    blend: Tensor
    shift: Tensor
    share: float
    lengths: Tensor | None

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Some rows as the tensor they stand for."""
        block = self.base[rows]
        image = block @ self.blend + self.shift
        if self.lengths is not None:
            image = image / self.lengths[rows][..., None]
        return (1 - self.share) * block + self.share * image

    def inner(self, queries: Tensor, each: Each = map) -> Tensor:
        """(b, n) inner products of (b, d) queries with all rows, in fresh memory."""
        image = self.base.inner(queries @ self.blend.T, each).add_((queries @ self.shift)[:, None])
        if self.lengths is not None:
            image.div_(self.lengths)
        return self.base.inner(queries, each).mul_(1 - self.share).add_(image, alpha=self.share)


@dataclass(frozen=True, eq=False, kw_only=True)
class MovedRows(_Composed):
    """Rows that were blended, with what comes behind: (row_i A + b) / n_i.

    Attributes:
        base: the rows.
        by: (d,) b, or None for 0.
    """

    base: StoredRows
    by: Tensor | None

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Some rows as the tensor they stand for."""
        block = self.base[rows]
        if self.matrix is not None:
            block = block @ self.matrix
        if self.by is not None:
            block = block + self.by
        return block if self.norms is None else block / self.norms[rows][..., None]

    def inner(self, queries: Tensor, each: Each = map) -> Tensor:
        """(b, n) inner products of (b, d) queries with all rows, in fresh memory."""
        turned = queries if self.matrix is None else queries @ self.matrix.T
        out = self.base.inner(turned, each)
        if self.by is not None:
            out.add_((queries @ self.by)[:, None])
        return out if self.norms is None else out.div_(self.norms)


Rows: TypeAlias = Tensor | StoredRows


def slices(count: int, step: int = 8192) -> Iterator[slice]:
    """Consecutive slices of so many rows."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def thinned(x: Rows, count: int) -> Rows:
    """At most so many rows, evenly spaced."""
    if len(x) <= count:
        return x
    # float32 could round the last place up to len(x).
    return x[torch.linspace(0, len(x) - 1, count, dtype=torch.float64).long()]


def equal(one: Rows, two: Rows) -> bool:
    """Whether two sides hold the same numbers."""
    return one is two or (
        one.shape == two.shape
        and all(torch.equal(one[rows], two[rows]) for rows in slices(len(one)))
    )


def ready(x: Rows, what: str, *, unit: bool) -> Rows:
    """Rows of a side, of norm one if `unit`; a tensor is checked, which stored rows were before."""
    if isinstance(x, StoredRows):
        return x.unit(what) if unit and x.norms is None else x
    check_finite(x, what)
    return unit_rows(x, what) if unit else x


def mapped(x: Rows, matrix: Tensor, what: str, *, unit: bool) -> Rows:
    """Rows x A, with norm one if `unit`."""
    if isinstance(x, StoredRows):
        made = x.times(matrix)
        return made.unit(what) if unit else made
    image = inner(x, matrix.T.contiguous())
    return unit_rows(image, what) if unit else image


def centred(x: Rows, mean: Tensor, what: str, *, unit: bool) -> Rows:
    """Rows x - mean, with norm one if `unit`."""
    if isinstance(x, StoredRows):
        made = x.less(mean)
        return made.unit(what) if unit else made
    return unit_rows(x - mean, what) if unit else x - mean


def blended(x: Rows, matrix: Tensor, shift: Tensor, share: float, what: str, *, unit: bool) -> Rows:
    """Rows (1 - share) x + share (x A + a), the image with norm one if `unit`."""
    if not isinstance(x, StoredRows):
        image = inner(x, matrix.T.contiguous()).add_(shift)
        return (1 - share) * x + share * (unit_rows(image, what) if unit else image)
    lengths = None
    if unit:
        lengths = torch.empty(len(x))
        for rows in slices(len(x)):
            lengths[rows] = row_norms(x[rows] @ matrix + shift, what, first=rows.start)[:, 0]
    return BlendedRows(x.stored, base=x, blend=matrix, shift=shift, share=share, lengths=lengths)


def shifted(x: Rows, by: Tensor) -> Rows:
    """Rows x + by."""
    return x.less(-by) if isinstance(x, StoredRows) else x + by
