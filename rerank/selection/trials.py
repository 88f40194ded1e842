"""Rehearsals of a bank: biases of one half, judged on the known pairs of the other half.

The other half brings its own gallery, so a judged item is as unknown to the biases' queries as an
item of the real gallery is to the bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.items import taken
from rerank.reranker import Bank, Pipeline, Reranker
from rerank.selection.biases import bank_biases
from rerank.selection.likelihood import Judged
from rerank.selection.parts import Groups, Half, halves, part_bank
from rerank.similarity import Similarity

SPLITS = 3
# Judged blocks are thinned to about this many scores, but never below MIN_JUDGED queries: the
# standard error of a mean log-probability over 256 queries is about 0.1.
MAX_ELEMENTS = 600_000
MIN_JUDGED = 256


@dataclass(frozen=True, eq=False)
class Trial:
    """One half judged by biases of the other.

    Attributes:
        judged: raw scores, the columns of `bank_biases`, and the known pairs.
        given: (m,) bias of the user's stages; None without any, or where it is not a bias.
        rewritten: (n, m) scores of user's stages that are not one number per item, or None.
    """

    judged: Judged
    given: Tensor | None
    rewritten: Tensor | None


def rehearse(
    bank: Bank, groups: Groups, stages: Sequence[Reranker], *, seed: int
) -> list[tuple[Trial, Trial]]:
    """Three random halvings of the bank, both ways; the same halves for the same seed."""
    generator = np.random.default_rng([seed, 3])
    made = []
    for _ in range(SPLITS):
        first, second = halves(groups, generator)
        made.append(
            (
                _trial(bank, groups, stages, first, second, generator),
                _trial(bank, groups, stages, second, first, generator),
            )
        )
    return made


def _trial(
    bank: Bank,
    groups: Groups,
    stages: Sequence[Reranker],
    fit: Half,
    target: Half,
    generator: np.random.Generator,
) -> Trial:
    assert bank.pairs is not None
    part = part_bank(bank.pairs, fit, target, label=bank.label)
    found = bank_biases(part)
    rows, pair_rows, pair_columns = _known(bank, target, generator)
    sim = taken(bank.pairs, rows, target.gallery)
    scores = _finite(sim)
    judged = Judged(
        scores, found.columns, pair_rows.to(sim.device), pair_columns.to(sim.device),
        groups.queries[rows.numpy()], found.sigma,
    )  # fmt: skip
    if not stages:
        return Trial(judged, None, None)
    fitted = Pipeline(tuple(stages)).fit(part)
    if not fitted.foldable:
        return Trial(judged, None, _finite(fitted.transform(sim)))
    bias = fitted.gallery_bias
    return Trial(judged, torch.zeros_like(scores[0]) if bias is None else bias.to(scores), None)


def _known(
    bank: Bank, target: Half, generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Judged queries (rows of the bank), and their pairs as (row among them, column of the half).

    Groups are split and thinned whole, so every positive of a judged query is in its half.
    """
    assert bank.positives is not None
    queries = target.queries.numpy()
    queries = queries[[len(bank.positives[i]) > 0 for i in queries]]
    most = max(MIN_JUDGED, MAX_ELEMENTS // max(1, len(target.gallery)))
    queries = np.sort(generator.permutation(queries)[:most])
    known = [np.unique(np.asarray(bank.positives[i], dtype=np.int64)) for i in queries]
    lengths = [len(items) for items in known]
    columns = np.searchsorted(target.gallery.numpy(), np.concatenate(known))
    return (
        torch.from_numpy(queries),
        torch.from_numpy(np.repeat(np.arange(len(queries)), lengths)),
        torch.from_numpy(columns),
    )


def _finite(sim: Similarity) -> Tensor:
    """Scores with unscored entries put at the lowest score: they must not win, nor be infinite."""
    scores = sim.scores()
    finite = torch.isfinite(scores)
    return scores if bool(finite.all()) else torch.where(finite, scores, scores[finite].min())
