"""The principal axes of scores, which stand for embeddings where there are none.

S - row means - column means = U W        U: (n, r) orthonormal, W: (r, m)
"""

import torch
from torch import Tensor

from rerank.core.arrays import inner
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.marginals import Masses

# A correlation this close to one is that of a copy.
COPY = 1e-5
# Axes that carry less of the scores than this share of the first are rounding.
_ROUNDING = 1e-6
# Lines of the shorter side, from which axes would take too long.
_MOST = 1000


def as_pair(sim: Similarity, found: Masses) -> Pair | None:
    """Scores less what rows and columns have alike, as products over their axes.

    None where some of them are dead, or of another process, or too many.

    Args:
        sim: (n, m) scores.
        found: which queries and items are live.
    """
    whole = sim.shard is None and sim.shape == (found.rows, found.columns)
    if not isinstance(sim, Dense) or not whole or min(sim.shape) > _MOST:
        return None
    block = centred(sim.scores())
    if sim.shape[0] > sim.shape[1]:
        weights, axes = axes_of(block.T.contiguous())
        queries, items = axes.T, weights
    else:
        queries, items = axes_of(block)
        items = items.T
    return Pair(queries.contiguous(), items.contiguous(), metric="dot") if items.shape[1] else None


def centred(block: Tensor) -> Tensor:
    """Scores less what a row or a column has alike; unscored ones are the lowest."""
    finite = torch.isfinite(block)
    if not bool(finite.all()):
        block = torch.where(finite, block, block[finite].min())
    block = block - block.mean(dim=1, keepdim=True)
    return block - block.mean(dim=0)


def axes_of(block: Tensor, *, copies: bool = True) -> tuple[Tensor, Tensor]:
    """U and W, as many axes as are no rounding; of copies the first unless they count."""
    gram = inner(block, block).double()
    if not copies:
        length = gram.diagonal().sqrt().clamp_min(1e-300)
        again = (gram / length / length[:, None] > 1 - COPY).tril(-1).any(dim=1)
        block, gram = block[~again], gram[~again][:, ~again]
    size, axes = torch.linalg.eigh(gram)
    axes = axes.flip(1)[:, : int((size > _ROUNDING * size[-1]).sum())].to(block.dtype).contiguous()
    return axes, inner(axes.T.contiguous(), block.T.contiguous())
