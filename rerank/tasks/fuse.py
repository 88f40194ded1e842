"""`fuse`: several models of the same texts and videos as one, and several texts of a query as one.

    fused = rerank.fuse([texts_a, texts_b], [videos_a, videos_b])
    run = rerank.apply(fused.texts, fused.videos)
    model = rerank.fit(fused.videos, bank_texts=fused.join([bank_a, bank_b]), blocks=fused.blocks)
    model.search([new_a, new_b])

On the command line `--texts` and `--videos`, or `--sims`, are given once for each model.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.pair_forms import one_way
from rerank.core.pairs import as_positives
from rerank.core.rows import slices
from rerank.core.similarity import Pair, Similarity, as_matrix
from rerank.core.torch_state import usual_state
from rerank.core.words import Metric
from rerank.io import Embeddings, ScoreMatrix
from rerank.io.given_scores import names_of_scores
from rerank.io.scratch import joined
from rerank.methods.fusion import Blocks, Fusion, Weights, fused_scores
from rerank.methods.fusion import fuse as weigh
from rerank.selection.pair_weights import fuse_by_pairs
from rerank.tasks.models import (
    Order,
    Paths,
    check_order,
    files_of_models,
    in_one_order,
    one_path,
    prove,
    rows_like,
    several,
    similarity_of,
)
from rerank.tasks.query_groups import BY_IDS, group_names, pooled
from rerank.tasks.read import Inputs, read_inputs, read_role


@dataclass(frozen=True, eq=False, repr=False)
class Fused:
    """Several models as one.

    Attributes:
        inputs: what the fusion consists of: embeddings or a matrix, banks, ids.
        fusion: weights and scales; None for a single model.
        blocks: how rows of the models become rows of the fusion; None for matrices.
        orders: what showed that the models list their items in the same order.
        query_groups: what named the query of each text, where texts were pooled.
    """

    inputs: Inputs
    fusion: Fusion | None = None
    blocks: Blocks | None = None
    orders: tuple[Order, ...] = field(default=())
    query_groups: str | Path | None = None

    def __repr__(self) -> str:
        n, m = len(self.inputs.text_ids), len(self.inputs.video_ids)
        weights = "" if self.fusion is None else f", {self.fusion.sentence}"
        return f"Fused({n} texts x {m} videos{weights})"

    @property
    def texts(self) -> Embeddings | None:
        """Texts of all models as one."""
        return self.inputs.texts

    @property
    def videos(self) -> Embeddings | None:
        """Videos of all models as one."""
        return self.inputs.videos

    @property
    def scores(self) -> np.ndarray | None:
        """(n, m) fused matrix, where matrices were given."""
        return None if self.inputs.scores is None else self.inputs.scores.scores

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was done, one sentence each."""
        said = [f"{Path(order.source).name}: {order.sentence}" for order in self.orders]
        return (*said, *(() if self.fusion is None else (self.fusion.sentence,)))

    def recorded(self, folder: Path) -> dict[str, Any]:
        """How it was made, for a manifest; paths relative to the result file."""
        found: dict[str, Any] = {}
        if self.fusion is not None:
            found["fusion"] = self.fusion.as_dict()
        if self.query_groups is not None:
            word = str(self.query_groups)
            found["query_groups"] = word if word == BY_IDS else os.path.relpath(word, folder)
        return found

    @usual_state()
    def join(self, parts: Sequence[Any]) -> Embeddings:
        """Rows of every model as rows of the fusion, for banks and for queries to come.

        Args:
            parts: embeddings of every model in any form, in their order.

        Raises:
            RerankError: a fusion of matrices, or rows that do not fit together.
        """
        if self.blocks is None:
            raise RerankError("join: matrices have no rows to join; fuse them with scores=")
        metric = self.blocks.metric
        return join_rows([io.as_embeddings(x, metric=metric) for x in parts], self.blocks)


@usual_state()
def fuse(
    texts: Sequence[Any] | None = None,
    videos: Sequence[Any] | None = None,
    *,
    scores: Sequence[Any] | None = None,
    weights: Weights = "auto",
    bank_texts: Sequence[Any] | None = None,
    bank_videos: Sequence[Any] | None = None,
    bank_gt: Any = None,  # noqa: ANN401  a path, or rows for every bank text
    query_groups: str | Mapping[str, str] | Sequence[str] | None = None,
    metric: Metric = "cosine",
) -> Fused:
    """Several models of the same texts and videos as one.

    Scores are brought to one scale by the spacing of their hard negatives and added with weights.
    Nothing is added before ids, or the scores off the diagonal, show that all models list their
    items in the same order.

    Args:
        texts: embeddings of each model, in any form that `apply` takes.
        videos: likewise.
        scores: instead of embeddings, a texts x videos matrix of each model.
        weights: a number for each model, or "auto": from known pairs of the bank where there are
            any, else from what the plans agree on, without labels (`rerank.methods.fusion`).
        bank_texts: of each model; they and `bank_videos` become `inputs.bank_texts`, ...
        bank_videos: see `bank_texts`.
        bank_gt: known pairs of the bank.
        query_groups: several texts of one query are pooled, and it is ranked once: a query for
            each text, `{text id: query}`, or "ids" for what is before the # of the texts' ids.
        metric: "cosine" or "dot".

    Returns:
        A `Fused`, whose `texts` and `videos`, or `scores`, go into `apply`.

    Raises:
        RerankError: models that do not fit together, or whose order is not shown to be the same.

    >>> rng = np.random.default_rng(0)
    >>> videos = rng.normal(size=(60, 16))
    >>> texts = videos + rng.normal(size=(60, 16))
    >>> fused = fuse([texts[:, :12], texts[:, 4:]], [videos[:, :12], videos[:, 4:]], weights=[1, 1])
    >>> fused.texts
    Embeddings(60 x 24 float64, numbered rows, from texts)
    """
    if (scores is None) == (texts is None or videos is None):
        raise RerankError("fuse: give texts and videos, or scores, a list with one for each model")
    roles = {"texts": texts, "videos": videos, "bank_texts": bank_texts, "bank_videos": bank_videos}
    lists = {role: _listed(role, x) for role, x in roles.items() if x is not None}
    if scores is not None:
        parts = [Inputs(scores=_matrix(x)) for x in _listed("scores", scores)]
    else:
        count = len(lists["texts"])
        for role, found in lists.items():
            if len(found) != count:
                raise RerankError(f"{role}: got {len(found)} models, expected {count}")
        held: list[dict[str, Any]] = [
            {role: io.as_embeddings(x[k], role=role, metric=metric) for role, x in lists.items()}
            for k in range(count)
        ]
        parts = [Inputs(**found) for found in held]
    if bank_gt is not None:
        if bank_texts is None or bank_videos is None:
            raise RerankError("bank_gt needs bank_texts and bank_videos, which it refers to")
        parts[0] = replace(parts[0], bank_positives=_bank_pairs(bank_gt, parts[0]))
    made = fuse_inputs(in_one_order(parts), weights=weights, metric=metric)
    groups = group_names(query_groups, made.inputs.text_ids)
    return made if groups is None else _pooled(made, groups, metric)


def read_fused(
    *, weights: Weights = "auto", fusion: Fusion | None = None, query_groups: str | None = None,
    metric: Metric = "cosine", texts: Paths = None, videos: Paths = None, sims: Paths = None,
    bank_texts: Paths = None, bank_videos: Paths = None,
    **shared: Any,  # noqa: ANN401  the rest of `read_inputs`
) -> Fused:  # fmt: skip
    """Read one model or several, and make one of them.

    Args:
        weights: see `fuse`.
        fusion: what an earlier run found, to make the same again.
        query_groups: "ids" or a file, see `fuse`.
        metric: "cosine" or "dot".
        texts: a file for each model; so the other roles.
        videos: see `texts`.
        sims: see `texts`.
        bank_texts: see `texts`.
        bank_videos: see `texts`.
        **shared: see `read_inputs`.

    Raises:
        RerankError: see `fuse`.
    """
    files = {
        "texts": texts, "videos": videos, "sims": sims, "bank_texts": bank_texts,
        "bank_videos": bank_videos,
    }  # fmt: skip
    if several(*files.values()):
        if shared.get("heads") is not None:
            raise RerankError("--heads belongs to one model; leave it out where several are fused")
        parts = [
            read_inputs(**own, metric=metric, **shared)
            for own in files_of_models(files, sharded=shared.get("sharded", False))
        ]
        made = fuse_inputs(in_one_order(parts), weights=weights, fusion=fusion, metric=metric)
    else:
        if weights != "auto":
            raise RerankError(
                "--weights needs several models: give --texts and --videos, or --sims, for each"
            )
        alone = {role: one_path(paths) for role, paths in files.items()}
        made = Fused(read_inputs(**alone, metric=metric, **shared))
    groups = None if query_groups is None else group_names(query_groups, made.inputs.text_ids)
    if groups is None:
        return made
    return replace(_pooled(made, groups, metric), query_groups=query_groups)


def fuse_inputs(
    parts: Sequence[Inputs], *, weights: Weights = "auto", fusion: Fusion | None = None,
    metric: Metric = "cosine",
) -> Fused:  # fmt: skip
    """One model of several that list the same items in the same order, once that is proved."""
    if len(parts) == 1:
        return Fused(parts[0])
    sims = [similarity_of(part, metric=metric) for part in parts]
    orders: tuple[Order, ...] = ()
    if fusion is None:
        orders = prove(parts, metric=metric)
        check_order(orders)
        fusion = _weighed(parts, sims, weights, metric)
    if parts[0].scores is not None:
        return Fused(_fused_matrix(parts, sims, fusion), fusion, None, orders)
    widths = [part.vectors("texts").shape[1] for part in parts]  # type: ignore[union-attr]
    blocks = Blocks.of(fusion, widths, metric)
    roles = ("texts", "videos", "bank_texts", "bank_videos")
    made = {
        role: join_rows([getattr(part, role) for part in parts], blocks)
        for role in roles
        if getattr(parts[0], role) is not None
    }
    return Fused(replace(parts[0], **made, models=tuple(parts)), fusion, blocks, orders)


def _weighed(
    parts: Sequence[Inputs], sims: Sequence[Similarity], weights: Weights, metric: Metric
) -> Fusion:
    """The weights, from known pairs where there are any and nothing was said."""
    positives = parts[0].bank_positives
    if weights == "auto" and positives is not None and any(len(rows) for rows in positives):
        banks = [
            Pair(part.bank_texts.vectors, part.bank_videos.vectors, metric=metric)
            for part in parts
            if part.bank_texts is not None and part.bank_videos is not None
        ]
        return fuse_by_pairs(banks, positives)
    return weigh(sims, weights)


def _fused_matrix(parts: Sequence[Inputs], sims: Sequence[Similarity], fusion: Fusion) -> Inputs:
    if any(part.stored.v2t is not None for part in parts):
        raise RerankError(
            "a file with a matrix for each direction cannot be fused; give one matrix of each model"
        )
    first = parts[0].scores
    assert first is not None
    made = replace(first, scores=fused_scores(sims, fusion).cpu().numpy())
    # What the numbers held was read in each model's own file.
    return replace(
        parts[0], scores=made, scores_are="similarities", unscored=None, models=tuple(parts)
    )


def join_rows(parts: Sequence[Embeddings], blocks: Blocks) -> Embeddings:
    """Rows of every model as rows of one, in a file where they are large."""
    first = parts[0]

    def rows() -> Iterator[np.ndarray]:
        for part in slices(len(first)):
            yield blocks.join([x.vectors[part] for x in parts]).numpy()

    if len({len(part) for part in parts}) > 1:
        blocks.join([part.vectors for part in parts])  # which says so
    vectors = joined(rows(), (len(first), blocks.width), str(first.source))
    return replace(first, vectors=vectors)


def read_rows(
    paths: Sequence[Path], blocks: Blocks, *, reading: io.Reading, word: str = "texts"
) -> Embeddings:
    """Read a file of each model as rows of the fusion, items in the order of the first.

    Raises:
        RerankError: not a file of each model, or items that cannot be matched.
    """
    if len(paths) != len(blocks.widths):
        raise RerankError(
            f"--{word}: got {len(paths)} files, expected one of each of the {len(blocks.widths)} "
            "models that were fused, in their order"
        )
    parts = [read_role(path, word, reading, metric=blocks.metric) for path in paths]
    return join_rows([parts[0], *(rows_like(parts[0], part) for part in parts[1:])], blocks)


def _pooled(made: Fused, groups: Sequence[str], metric: Metric) -> Fused:
    return replace(made, inputs=pooled(made.inputs, groups, metric))


def _listed(role: str, given: Any) -> list[Any]:  # noqa: ANN401
    """One entry for each model."""
    if not isinstance(given, list | tuple) or not len(given):
        raise RerankError(
            f"{role}: got {type(given).__name__}, expected a list with one for each model: "
            f"fuse([texts_a, texts_b], [videos_a, videos_b])"
        )
    return list(given)


def _matrix(x: Any) -> ScoreMatrix:  # noqa: ANN401  an array, a tensor or a path
    if isinstance(x, ScoreMatrix):
        return x
    if isinstance(x, str | Path):
        return io.read_scores(x)
    names = names_of_scores(x)
    rows = as_matrix(np.asarray(x) if not isinstance(x, torch.Tensor) else x, "scores").cpu()
    n, m = rows.shape
    numbers = tuple(map(str, range(max(n, m))))
    return ScoreMatrix(
        rows.numpy(), names[0] or numbers[:n], names[1] or numbers[:m], "scores",
        ids_given=names != (None, None), total_rows=n,
    )  # fmt: skip


def _bank_pairs(gt: Any, first: Inputs) -> tuple[np.ndarray, ...]:  # noqa: ANN401
    assert first.bank_texts is not None and first.bank_videos is not None
    texts, videos = first.bank_texts, first.bank_videos
    if isinstance(gt, str | Path):
        return tuple(io.read_ground_truth(gt, texts.ids, videos.ids).positives)
    return as_positives(one_way(gt, len(texts), len(videos)), len(texts), len(videos))
