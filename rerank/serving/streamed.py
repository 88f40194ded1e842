"""The folded gallery of a search that is never made: scores of rows as they are stored.

    score_j = (<x_j, q A^T> - s_j <q, c A>) / n_j + g_j

is what `fold` has as <q, v_j> for a folded query q: the map A goes to the query, and an
item keeps its norm n_j, its bias g_j and, after centring by c, the factor s_j of the mean. Four
bytes an item each, where a folded copy of the item takes 4 d.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core import progress
from rerank.core.arrays import row_norms
from rerank.core.rows import StoredRows, slices
from rerank.core.similarity import ArrayLike, Pair, as_matrix, check_finite
from rerank.core.words import Metric
from rerank.methods.base import Fitted
from rerank.serving.fold import Folding, map_each, plain_folding

# Rows made float64 at once, 8 MB at d = 512.
_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries as they meet stored rows, every one computed by itself.

    Attributes:
        rows: (n, d) float64 q A^T.
        means: (n,) float64 <q, c A>.
    """

    rows: Tensor
    means: Tensor

    def __getitem__(self, rows: slice) -> "Asked":
        return Asked(self.rows[rows], self.means[rows])


@dataclass(frozen=True, eq=False)
class Streamed:
    """Items of a gallery that stays where it is.

    Attributes:
        stored: (m, d) float16, bfloat16 or float32, often a mapped file.
        norms: (m,) n, or None for 1.
        factors: (m,) s / n, or None without centring.
        bias: (m,) g, or None for 0.
        matrix: (d, d) float64 A, or None.
        mean: (d,) float64 c A, or None.
        reach: largest |x_j| / n_j, s_j / n_j and |g_j|: what bounds rounding.
    """

    stored: Tensor
    norms: Tensor | None
    factors: Tensor | None
    bias: Tensor | None
    matrix: Tensor | None
    mean: Tensor | None
    reach: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.stored)

    def asked(self, queries: Tensor) -> Asked:
        """Folded queries (n, d + r), `Folding.queries`, as `Asked`."""
        q = queries[:, : self.stored.shape[1]].double()
        means = torch.zeros(len(q), dtype=torch.float64)
        if self.mean is not None:
            means = torch.from_numpy((q.numpy() * self.mean.numpy()).sum(axis=1))
        return Asked(q if self.matrix is None else map_each(q, self.matrix.T), means)

    def pair(self, asked: Asked) -> Pair:
        """The scores in float32."""
        made = Pair(asked.rows.float(), StoredRows(self.stored, self.norms), metric="dot")
        if self.factors is not None:
            made = made.add(-asked.means[:, None], self.factors[:, None])
        return made if self.bias is None else made.add_gallery_bias(self.bias)

    def rounding(self, asked: Asked) -> np.ndarray:
        """(n,) how far a score of `pair` can be from the exact one, in any order of summation."""
        long, factor, bias = self.reach
        size = torch.linalg.vector_norm(asked.rows, dim=1) * long + asked.means.abs() * factor
        return (1.01 * (self.stored.shape[1] + 10) * 2.0**-24 * (size + bias)).numpy()

    def exact(self, asked: Asked, candidates: np.ndarray) -> np.ndarray:
        """(n, p) scores in float64 of some items (n, p), each computed by itself."""
        x = self.stored[torch.from_numpy(candidates).flatten()].double().numpy()
        x = x.reshape(*candidates.shape, -1)
        out = (x * asked.rows.numpy()[:, None, :]).sum(axis=2)
        return self._completed(out, asked.means.numpy()[:, None], candidates)

    def everything(self, asked: Asked) -> np.ndarray:
        """(m,) scores in float64 of one query against all items, the bits of `exact`."""
        row, out = asked.rows[0].numpy(), np.empty(len(self))
        for rows in slices(len(self), _AT_ONCE):
            out[rows] = (self.stored[rows].double().numpy() * row).sum(axis=1)
        return self._completed(out, asked.means.numpy(), slice(None))

    def _completed(
        self, products: np.ndarray, means: np.ndarray, items: np.ndarray | slice
    ) -> np.ndarray:
        if self.norms is not None:
            products = products / self.norms.numpy()[items].astype(np.float64)
        if self.factors is not None:
            products = products - means * self.factors.numpy()[items].astype(np.float64)
        return products if self.bias is None else products + self.bias.numpy()[items]


def stream_gallery(
    fitted: Fitted, vectors: ArrayLike, metric: Metric = "cosine"
) -> tuple[Folding, Streamed]:
    """What `fold.plan_folding` does, for a gallery that is not to be copied.

    Args:
        fitted: a pipeline that folds.
        vectors: (m, d) gallery embeddings in the order of the biases.
        metric: as in the fit.

    Raises:
        RerankError: the method does not fold, or the gallery is not the fitted one.
    """
    folding, bias = plain_folding(fitted, metric)
    x = as_matrix(vectors, "gallery", keep_half=True).cpu()
    check_finite(x, "gallery")
    folding.check_gallery(x, bias)
    matrix = None if folding.matrix is None else folding.matrix.double()
    centre = None if folding.centres is None else folding.centres[1].double().cpu()
    norms, factors, longest = torch.ones(len(x)), torch.ones(len(x)), 0.0
    with progress.task("norms", len(x)) as advance:
        for rows in slices(len(x), _AT_ONCE):
            v = x[rows].double()
            length = torch.linalg.vector_norm(v, dim=1)
            size = last = _norms(v, metric, "gallery", rows.start)
            if centre is not None:
                factors[rows] = size
                v = v - size[:, None] * centre
                last = _norms(v, metric, "gallery after centring", rows.start)
            if matrix is not None:
                v = v @ matrix
                if folding.unit_map:
                    last = _norms(v, metric, "gallery after the map", rows.start)
            norms[rows] = last
            longest = max(longest, float((length / last).max()))
            advance(len(v))
    factors = factors / norms
    mean = None
    if centre is not None:
        mean = centre if matrix is None else centre @ matrix
    g = None if bias is None else (bias.detach().cpu().double() - folding.offset).float()
    made = Streamed(
        x,
        norms if metric == "cosine" else None,
        None if centre is None else factors,
        g,
        matrix,
        mean,
        (longest, float(factors.max()), 0.0 if g is None else float(g.abs().max())),
    )
    return folding, made


def _norms(v: Tensor, metric: Metric, what: str, first: int) -> Tensor:
    """(b,) what rows are divided by; a zero row is refused."""
    if metric != "cosine":
        return torch.ones(len(v), dtype=torch.float64)
    return row_norms(v, what, first=first)[:, 0]
