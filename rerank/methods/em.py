"""EM basis decomposition of the embeddings (EMCL, Jin et al., NeurIPS 2022).

The published module repeats, for stacked rows X (b, d) and K bases,

    Z = softmax_k(X^T M / lamd)            (d, K) which base explains which feature dimension
    Z = Z / (eps + column sums)
    M = X Z / (eps + column norms)         (b, K)

and returns X + beta M Z^T. With d_k = |X z_k| that is one linear map of every row,

    X A,   A = I + beta Z diag(1 / (eps + d)) Z^T,

and Z depends on the data only through G = X^T X (d, d) and, because the published initialisation
repeats one row, through the column sums of X: X^T M = G Z / d and d_k = sqrt(z_k^T G z_k). So the
number of rows leaves the loop, fitting streams and shards, and an unseen query is just mapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.wording import option
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Parts, Reranker, as_bank
from rerank.methods.registry import method
from rerank.passes import reduce

_EPS = 1e-6
# The published command feeds 64 videos and 64 texts at a time; its settings are tuned for that,
# so the statistics are scaled to 64 rows of each modality.
REFERENCE_ROWS = 64.0
DEFAULT_BASES = 32


def em_basis(
    gram: Tensor, logits: Tensor, *, n_iters: int = 10, lamd: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Run the published EM loop on the second moments alone.

    Args:
        gram: (d, d) G = X^T X.
        logits: (d, K) the first E-step's X^T M. For the published initialisation, one row `m`
            repeated b times, that is outer(column sums of X, m).
        n_iters: E-steps, at least 1 (the published code is undefined at 0).
        lamd: temperature of the responsibilities; divides.

    Returns:
        bases Z (d, K), columns summing to one, and scale d (K,) = |X z_k| + eps, so that the
        reconstruction of a row x is ((x Z) / scale) Z^T.

    Differs from the published code: no rows, any leading statistics; equal to it in exact
    arithmetic. Autograd-safe; the published training module stops the gradient here.
    """
    if n_iters < 1:
        raise RerankError(f"n_iters: got {n_iters}, expected at least 1")
    if not lamd > 0:
        raise RerankError(f"lamd: got {lamd}, expected a positive number")
    bases, scale = logits, logits.new_ones(logits.shape[1])
    for _ in range(n_iters):
        resp = torch.softmax(logits / lamd, dim=1)
        bases = resp / (_EPS + resp.sum(dim=0, keepdim=True))
        projected = gram @ bases  # (d, K)
        scale = _EPS + (bases * projected).sum(dim=0).clamp_min(0).sqrt()
        logits = projected / scale
    return bases, scale


def reconstruction(bases: Tensor, scale: Tensor) -> Tensor:
    """R = Z diag(1 / scale) Z^T, (d, d), symmetric, positive semi-definite, rank at most K."""
    return (bases / scale) @ bases.T


def published_map(
    rows: Tensor, init_row: Tensor, *, n_iters: int = 10, lamd: float = 0.1, beta: float = 4.0
) -> Tensor:
    """The (d, d) map A of EMCL's inference module for one batch of stacked rows.

    Args:
        rows: (b, d) the batch as published: 64 videos, then 64 texts.
        init_row: (1, K) or (K,) the module's `mu`, the row that is repeated.
        n_iters: stage_num.
        lamd: temperature (divides).
        beta: weight of the reconstruction.

    `rows @ published_map(...)` equals the published output; no renormalisation follows there.
    """
    logits = torch.outer(rows.sum(dim=0), init_row.reshape(-1))
    bases, scale = em_basis(rows.T @ rows, logits, n_iters=n_iters, lamd=lamd)
    eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return eye + beta * reconstruction(bases, scale)


def momentum_row(
    rows: Tensor, init_row: Tensor, *, n_iters: int, lamd: float, momentum: float
) -> Tensor:
    """(1, K) the published `mu` after one training step: momentum mu + (1 - momentum) mean_b M."""
    logits = torch.outer(rows.sum(dim=0), init_row.reshape(-1))
    bases, scale = em_basis(rows.T @ rows, logits, n_iters=n_iters, lamd=lamd)
    mean = (rows.mean(dim=0) @ bases / scale)[None]
    return momentum * init_row.reshape(1, -1) + (1 - momentum) * mean


@method(
    "em",
    help="linear map from EM bases",
    source="EMCL, NeurIPS 2022",
    needs=("embeddings", "bank", "gallery bank"),
    stage="embeddings",
)
@dataclass(frozen=True)
class EM(Reranker):
    """EM basis decomposition of both modalities: x -> x A, A = I + strength R / |R|.

    R is the reconstruction operator of the fitted bases and |R| its largest eigenvalue, so
    `strength` is relative: +1 doubles the strongest direction that EM found, -1 removes it, 0 does
    nothing. The other directions are weighted in proportion to their eigenvalues. EM finds what
    many rows share, and what everything shares is what modality gap and hubs are made of: on real
    embeddings a negative weight helped and a positive one did not.

    Fitted from the moments G = 64 (mean t t^T + mean v v^T) and 64 (mean t + mean v): the size of
    the data does not matter and both modalities weigh the same. The first responsibilities are
    drawn in feature space from `seed`, so neither row order nor sharding changes them.

    Args:
        n_bases: K, at most d; None stands for 32, or d where that is smaller.
        n_iters: E-steps.
        lamd: temperature of the responsibilities (divides, as published).
        strength: weight of the strongest direction, at least -1. The default was chosen on real
            sets (`tests/bench/em_default.py`): before Sinkhorn it never cost more than noise.
        seed: of the initialisation.

    Source: Jin et al., NeurIPS 2022. Differs from the published inference module, which fits on
    each 64 x 64 block of the test set (results change with batch and order), starts from K nearly
    equal bases, and weights absolutely, so that the effect grows with the rows fed. For those
    numbers use `published_map`.
    """

    n_bases: int | None = None
    n_iters: int = 10
    lamd: float = 0.1
    strength: float = -0.75
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strength >= -1:
            raise RerankError(
                f"strength: got {self.strength}, expected at least -1 "
                f"(which removes the strongest direction altogether)"
            )
        for name in ("n_bases", "n_iters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RerankError(f"{name}: got {value}, expected at least 1")

    maps: ClassVar[bool] = True

    def idle(self, bank: Bank) -> str:
        """Without a bank gallery there is nothing to fit on; at strength 0 nothing is done."""
        if self.strength == 0:
            return "EM inactive: its strength is 0"
        if bank.pairs is None:
            return f"EM inactive: it needs both {option('bank-texts')} and {option('bank-videos')}"
        return ""

    def varied(self, fitted: Fitted) -> "Basis":
        """Bases do not depend on their weight."""
        assert isinstance(fitted, Basis)
        return replace(fitted, strength=self.strength)

    def fit(self, bank: Similarity | Bank) -> "Basis":
        """Fit on the embeddings of `bank.pairs`: bank queries and bank gallery.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
            RerankError: the bank has no gallery of its own, or K exceeds d.
        """
        bank = as_bank(bank)
        sim = bank.pairs
        if sim is None:
            raise RerankError(
                "EM needs bank queries and a bank gallery: got bank queries alone; give "
                f"both sides of the bank ({option('bank-texts')} and {option('bank-videos')})"
            )
        gram, colsum = reduce.gram(
            sim, query_mass=reduce.query_masses(sim), gallery_mass=reduce.gallery_masses(sim)
        )
        d = gram.shape[0]
        n_bases = min(DEFAULT_BASES, d) if self.n_bases is None else self.n_bases
        if n_bases > d:
            raise RerankError(f"n_bases: got {n_bases}, expected at most d = {d}")
        # Drawn on the CPU so that every device starts from the same numbers.
        generator = torch.Generator().manual_seed(self.seed)
        init = torch.randn((d, n_bases), generator=generator, dtype=torch.float64).to(gram)
        # The published first logits have the size of the column sums; a full-rank draw of that
        # size replaces their repeated row.
        init = init * (REFERENCE_ROWS * colsum).abs().mean().clamp_min(_EPS)
        bases, scale = em_basis(REFERENCE_ROWS * gram, init, n_iters=self.n_iters, lamd=self.lamd)
        update = reconstruction(bases, scale)
        norm = torch.linalg.eigvalsh(update)[-1]
        moved = torch.trace(update @ gram @ update) / torch.trace(gram)
        shift = abs(self.strength) * float(moved.clamp_min(0).sqrt() / norm)
        return Basis(
            bases=bases, scale=scale * norm, strength=self.strength, shift=shift, label=bank.label
        )


@dataclass(frozen=True, eq=False)
class Basis(Fitted):
    """Fitted EM bases, a linear map of rank at most K beside the identity.

    Attributes:
        bases: (d, K) responsibilities, columns summing to one.
        scale: (K,) coefficient norms, normalised so that the strongest direction has weight 1.
        strength: relative weight of the reconstruction.
        shift: how far the map moves the embeddings, root mean square as a share of their norm.
        label: which queries it was estimated from.
    """

    bases: Tensor
    scale: Tensor
    strength: float
    shift: float
    label: Label

    @property
    def matrix(self) -> Tensor:
        """A = I + strength Z diag(1 / scale) Z^T, (d, d)."""
        eye = torch.eye(self.bases.shape[0], dtype=self.bases.dtype, device=self.bases.device)
        return eye + self.strength * reconstruction(self.bases, self.scale)

    def transform(self, sim: Similarity) -> Similarity:
        """Map both sides; unit norm again when the metric is cosine."""
        return sim.map(self.matrix)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(matrix=self.matrix)

    @property
    def facts(self) -> Mapping[str, Any]:  # noqa: D102
        return {"em_shift": self.shift}
