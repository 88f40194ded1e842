"""EMCL's published inference module (Jin et al., NeurIPS 2022), by its own settings.

`emcl` is the module as one map: its statistics scaled to the 64 + 64 rows that it was published
for, so that it folds like any map. `emcl-blockwise` is the published evaluation itself: every
64 x 64 block of the test set through the module, in the order of the files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Similarity
from rerank.core.wording import option
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Parts, Reranker, as_bank
from rerank.methods.checks import MAX_DENSE, need_pair
from rerank.methods.em import REFERENCE_ROWS, em_basis, published_map, reconstruction
from rerank.methods.registry import method
from rerank.passes import reduce

# Rows of each modality in one published batch.
BLOCK = 64
_EPS = 1e-6


def initial_row(n_bases: int, seed: int) -> Tensor:
    """(1, K) the row `mu` that the published module repeats.

    m ~ N(0, 2 / K), then m / (1e-6 + |m|) entry by entry: nearly a row of signs. The published
    code draws it when the module is built, after whatever was drawn before; here from `seed`.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty((1, n_bases), dtype=torch.float32)
    drawn.normal_(0, math.sqrt(2.0 / n_bases), generator=generator)
    return drawn / (_EPS + drawn.abs())


def _row(mu: tuple[float, ...] | None, n_bases: int, seed: int) -> Tensor:
    if mu is None:
        return initial_row(n_bases, seed)
    if len(mu) != n_bases or not all(math.isfinite(x) for x in mu):
        raise RerankError(f"mu: got {len(mu)} numbers, expected {n_bases} finite ones (n_bases)")
    return torch.tensor([mu], dtype=torch.float64)


@method(
    "emcl",
    help="EMCL's published module as one map: K 7, lambda .1, beta 4",
    source="Jin et al., NeurIPS 2022",
    needs=("embeddings", "bank", "gallery bank"),
    stage="embeddings",
)
@dataclass(frozen=True)
class EMCL(Reranker):
    """x -> x A, A = I + beta Z diag(1 / scale) Z^T, without renormalisation, as published.

    Fitted from the moments 64 (mean t t^T + mean v v^T) and 64 (mean t + mean v), which are those
    of the published 64 texts and 64 videos.

    Attributes:
        n_bases: K.
        n_iters: stage_num, E-steps.
        lamd: temperature of the responsibilities; divides.
        beta: weight of the reconstruction.
        seed: of the initial row.
        mu: the initial row itself, K numbers, instead of a drawn one.

    Source: jpthu17/EMCL, `video_retrieval/As_an_inference_module`. Differs from it: one map for
    all, where the module fits each batch; with one batch of 64 + 64 rows both are the same.
    """

    n_bases: int = 7
    n_iters: int = 10
    lamd: float = 0.1
    beta: float = 4.0
    seed: int = 0
    mu: tuple[float, ...] | None = None

    maps: ClassVar[bool] = True

    def idle(self, bank: Bank) -> str:
        """Without a bank gallery there is nothing to fit on."""
        if bank.pairs is None:
            return (
                f"EMCL inactive: it needs both {option('bank-texts')} and {option('bank-videos')}"
            )
        return ""

    def fit(self, bank: Similarity | Bank) -> "PublishedMap":
        """Fit on the embeddings of `bank.pairs`.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
            RerankError: the bank has no gallery of its own.
        """
        bank = as_bank(bank)
        if bank.pairs is None:
            raise RerankError(
                "emcl needs bank queries and a bank gallery: got bank queries alone; give both "
                f"({option('bank-texts')} and {option('bank-videos')})"
            )
        sim = bank.pairs
        gram, colsum = reduce.gram(
            sim, query_mass=reduce.query_masses(sim), gallery_mass=reduce.gallery_masses(sim)
        )
        row = _row(self.mu, self.n_bases, self.seed).to(gram)
        logits = torch.outer(REFERENCE_ROWS * colsum, row.reshape(-1))
        bases, scale = em_basis(REFERENCE_ROWS * gram, logits, n_iters=self.n_iters, lamd=self.lamd)
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        matrix = eye + self.beta * reconstruction(bases, scale)
        return PublishedMap(matrix, row.reshape(-1), bank.label)


@dataclass(frozen=True, eq=False)
class PublishedMap(Fitted):
    """The fitted module.

    Attributes:
        matrix: A, (d, d).
        mu: (K,) the initial row that it was fitted from.
        label: which queries it was estimated from.
    """

    matrix: Tensor
    mu: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Map both sides; norms stay as the map makes them."""
        return need_pair(sim, "emcl").map(self.matrix, renormalise=False)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(matrix=self.matrix, unit=False)

    @property
    def facts(self) -> Mapping[str, Any]:  # noqa: D102
        return {"mu": [float(x) for x in self.mu]}


@method(
    "emcl-blockwise",
    help="EMCL's published evaluation: every 64 x 64 block through the module",
    source="Jin et al., NeurIPS 2022",
    needs=("embeddings", "all queries", "dense matrix"),
    stage="embeddings",
    folds=False,
)
@dataclass(frozen=True)
class EMCLBlockwise(Reranker):
    """The published evaluation: each block of 64 texts and 64 videos has a map of its own.

        X = [64 videos; 64 texts],  A = published_map(X),  S_block = (T A) (V A)^T

    The result depends on the order of the files and on the size of a block: right pairs that
    stand at the same place in both files share a block. For parity with published figures only.

    Attributes:
        n_bases: K.
        n_iters: stage_num, E-steps.
        lamd: temperature of the responsibilities; divides.
        beta: weight of the reconstruction.
        seed: of the initial row.
        mu: the initial row itself, K numbers.
        block: rows of each modality in a batch.
    """

    n_bases: int = 7
    n_iters: int = 10
    lamd: float = 0.1
    beta: float = 4.0
    seed: int = 0
    mu: tuple[float, ...] | None = None
    block: int = BLOCK

    def fit(self, bank: Similarity | Bank) -> "Blockwise":
        """Nothing is estimated before the blocks are seen.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
        """
        bank = as_bank(bank)
        need_pair(bank.sim, "emcl-blockwise")
        row = _row(self.mu, self.n_bases, self.seed).reshape(-1)
        return Blockwise(row, self.n_iters, self.lamd, self.beta, self.block)


@dataclass(frozen=True, eq=False)
class Blockwise(Fitted):
    """The published evaluation, ready to see its blocks.

    Attributes:
        mu: (K,) the initial row.
        n_iters: E-steps; lamd: temperature; beta: weight; block: rows of each modality.
        label: the blocks are those of the test set.
    """

    mu: Tensor
    n_iters: int
    lamd: float
    beta: float
    block: int
    label: Label = "transductive"

    def transform(self, sim: Similarity) -> Similarity:
        """(n, m) scores, each block by its own map.

        Raises:
            RerankError: more than 50 million scores.
        """
        pair = need_pair(sim, "emcl-blockwise")
        n, m = pair.shape
        if n * m > MAX_DENSE:
            raise RerankError(
                f"emcl-blockwise writes all {n} x {m} scores, the limit is {MAX_DENSE}; take emcl"
            )
        out = torch.empty((n, m), dtype=pair.dtype, device=pair.device)
        for i in range(0, n, self.block):
            texts = pair.queries[i : i + self.block]
            for j in range(0, m, self.block):
                videos = pair.gallery[j : j + self.block]
                matrix = published_map(
                    torch.cat([videos, texts]), self.mu.to(pair.queries[:1]),
                    n_iters=self.n_iters, lamd=self.lamd, beta=self.beta,
                )  # fmt: skip
                out[i : i + self.block, j : j + self.block] = (texts @ matrix) @ (videos @ matrix).T
        return Dense(out)

    @property
    def facts(self) -> Mapping[str, Any]:  # noqa: D102
        return {"mu": [float(x) for x in self.mu]}

    @property
    def notes(self) -> tuple[str, ...]:  # noqa: D102
        return (
            f"emcl-blockwise depends on the order of the files and on blocks of {self.block}: "
            f"for parity with published figures only",
        )
