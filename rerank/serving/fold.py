"""A fitted reranker as vectors of any store: scores become plain inner products.

    mapped queries   [xA/|xA|, 1]  against  [vA/|vA|, g]
    raw unit queries [x, |xA|]     against  [vAA^T/|vA|, g]     (the same, times |xA| per query)

with the (d, d) map A and the bias g_j of the fitted pipeline. Where that begins with centring, x
and v are what it leaves of them. Where it aligns both sides (q -> q M + s, v -> v~), that follows:

    mapped queries   [q M, 1]  against  [v~, <s, v~> + g]      q = xA/|xA|
    raw unit queries [x, |xA|] against  [v~ M^T A^T, <s, v~> + g]

Three changes keep every query's order exactly and are there for
what a store can do:

    offset   a constant taken from all biases, so that they stay small in float32
    mean     the gallery mean taken from all items: shifts all scores of a query by one number;
             graph indexes (HNSW) need it, because the bias dimension breaks their geometry
    radius   one more dimension sqrt(R^2 - |v|^2) on items and 0 on queries gives all items the
             norm R, so that cosine and Euclidean stores rank like the inner product

The bias dimension is never scaled: that destroys the recall of approximate indexes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import slices
from rerank.core.similarity import ArrayLike, as_matrix, check_finite, unit_rows
from rerank.core.wording import label, option
from rerank.core.words import Metric, QuerySide, Space
from rerank.methods.base import Fitted, FittedPipeline, Turn

# Rounding of float32 norms; an item this little beyond the radius gets a zero last coordinate.
_RADIUS_SLACK = 1e-6
# Arrays of the side-car.
_CENTRES = ("query_mean", "gallery_mean")
_TURN = ("query_matrix", "query_shift", "item_matrix", "item_shift", "share", "unit")


@dataclass(frozen=True, eq=False)
class Folding:
    """How queries and gallery items become vectors; keep it with the vectors.

    Attributes:
        metric: "cosine" normalises embeddings, "dot" takes them as they are.
        query_side: "mapped" queries, or "raw" ones with the map folded into the gallery.
        matrix: (d, d) linear map of the fitted pipeline, or None.
        has_bias: whether there is a bias dimension.
        offset: taken from every bias.
        mean: (d + r,) taken from every item, or None.
        radius: norm that every item is completed to, or None.
        centres: (d,) means taken from queries and from items before the map, or None.
        unit_map: whether mapped rows get unit norm again where the metric is cosine.
        turns: maps of either side that come after the map, in order.
    """

    metric: Metric
    query_side: QuerySide
    matrix: Tensor | None
    has_bias: bool
    offset: float = 0.0
    mean: Tensor | None = None
    radius: float | None = None
    centres: tuple[Tensor, Tensor] | None = None
    unit_map: bool = True
    turns: tuple[Turn, ...] = ()

    @property
    def turn(self) -> tuple[Tensor, Tensor] | None:
        """(d, d) M and (d,) s of all turns together, float64, or None without any."""
        out: tuple[Tensor, Tensor] | None = None
        for turn in self.turns:
            m, s = turn.query_matrix.double().cpu(), turn.query_shift.double().cpu()
            out = (m, s) if out is None else (out[0] @ m, out[1] @ m + s)
        return out

    def queries(self, vectors: ArrayLike) -> Tensor:
        """(n, d) embeddings -> (n, d + r) float32 query vectors.

        Every row is computed by itself, with the same operations in the same order, so a query
        has the same bits alone as in any batch.

        Raises:
            RerankError: not finite, another dimension than the map, or a zero row with cosine.
        """
        x = as_matrix(vectors, "queries").cpu()
        check_finite(x, "queries")
        if self.metric == "cosine":
            x = _unit(x, "queries")
        if self.centres is not None:
            _check_width("queries", x, self.centres[0])
            x = x.double() - self.centres[0].double().cpu()
            if self.metric == "cosine":
                x = _unit(x, "queries after centring")
        raw, norms = x, torch.ones(len(x), dtype=torch.float64)
        if self.matrix is not None:
            x = map_each(x, self.matrix)
            if self.metric == "cosine" and self.unit_map:
                norms = torch.from_numpy(np.sqrt((x.numpy() ** 2).sum(axis=1)))
                x = _unit(x, "queries after the map")
        if self.turn is not None and self.query_side == "mapped":
            x = map_each(x, self.turn[0])
        parts = [x.float()]
        if self.query_side == "raw":
            parts = [raw.float()]
        if self.has_bias:
            last = norms if self.query_side == "raw" else torch.ones(len(x))
            parts.append(last[:, None].float())
        if self.radius is not None:
            parts.append(torch.zeros((len(x), 1)))
        return torch.cat(parts, dim=1)

    def gallery(self, vectors: ArrayLike, gallery_bias: Tensor | None) -> Tensor:
        """(m, d) embeddings and their (m,) biases -> (m, d + r) float32 item vectors.

        Raises:
            RerankError: other counts or dimensions, or an item beyond the stored radius.
        """
        width = vectors.shape[1] + self.has_bias + (self.radius is not None)
        out = torch.empty((len(vectors), width), dtype=torch.float32)
        for first, v in self._blocks(vectors, gallery_bias):
            if self.mean is not None:
                v = v - self.mean.to(v)
            if self.radius is not None:
                v = complete_norm(v, self.radius, first=first)
            out[first : first + len(v)] = v
        return out

    def check_gallery(self, x: Tensor, gallery_bias: Tensor | None) -> None:
        """Refuse a gallery and biases that are not those of the fit."""
        turned = [turn.item_matrix for turn in self.turns]
        for fitted in (self.matrix, None if self.centres is None else self.centres[1], *turned):
            if fitted is not None:
                _check_width("gallery", x, fitted)
        if self.has_bias != (gallery_bias is not None or bool(self.turns)):
            raise RerankError("gallery: biases were given to a folding without them, or left out")
        if gallery_bias is not None and gallery_bias.shape != (len(x),):
            raise RerankError(
                f"gallery: got {len(x)} items for {len(gallery_bias)} biases; "
                f"give the gallery that was fitted"
            )

    def _blocks(
        self, vectors: ArrayLike, gallery_bias: Tensor | None
    ) -> Iterator[tuple[int, Tensor]]:
        """[v, g] in float64, before mean and radius: row panels with the number of their first."""
        x = as_matrix(vectors, "gallery", keep_half=True)
        check_finite(x, "gallery")
        self.check_gallery(x, gallery_bias)
        matrix = None if self.matrix is None else self.matrix.double().cpu()
        centre = None if self.centres is None else self.centres[1].double().cpu()
        for rows in slices(len(x)):
            v = x[rows].cpu().double()
            if self.metric == "cosine":
                v = unit_rows(v, "gallery", first=rows.start)
            if centre is not None:
                v = v - centre
                if self.metric == "cosine":
                    v = unit_rows(v, "gallery after centring", first=rows.start)
            if matrix is not None:
                v = v @ matrix
                if self.metric == "cosine" and self.unit_map:
                    v = unit_rows(v, "gallery after the map", first=rows.start)
            bias = torch.zeros(len(v), dtype=torch.float64)
            for turn in self.turns:
                v = turn_items(v, turn, first=rows.start)
            if gallery_bias is not None:
                bias = gallery_bias[rows].detach().cpu().double() - self.offset
            if self.turn is not None:
                bias = bias + v @ self.turn[1]
            if self.query_side == "raw":
                v = v if self.turn is None else v @ self.turn[0].T
                v = v if matrix is None else v @ matrix.T
            if self.has_bias:
                v = torch.cat([v, bias[:, None]], dim=1)
            yield rows.start, v


def _unit(x: Tensor, what: str) -> Tensor:
    """Unit rows in float64, each row reduced by itself (numpy sums along contiguous rows)."""
    unit_rows(x, what)
    values = np.ascontiguousarray(x.double().numpy())
    return torch.from_numpy(values / np.sqrt((values**2).sum(axis=1, keepdims=True)))


def map_each(x: Tensor, matrix: Tensor) -> Tensor:
    """Map row by row, x A: a matrix product's last bits depend on how many rows it has."""
    _check_width("queries", x, matrix)
    transposed = matrix.double().cpu().T.contiguous()
    return torch.stack([torch.mv(transposed, row.double().clone()) for row in x])


def turn_items(v: Tensor, turn: Turn, *, first: int = 0) -> Tensor:
    """(b, d) float64 items as a turn leaves them; `first` numbers the rows in messages."""
    image = v @ turn.item_matrix.double().cpu() + turn.item_shift.double().cpu()
    if turn.unit:
        image = unit_rows(image, "gallery after align", first=first)
    return (1 - turn.share) * v + turn.share * image


def _check_width(what: str, x: Tensor, fitted: Tensor) -> None:
    if len(fitted) != x.shape[1]:
        raise RerankError(
            f"{what}: got d = {x.shape[1]}, the model was fitted on d = {len(fitted)}"
        )


def complete_norm(vectors: Tensor, radius: float, *, first: int = 0) -> Tensor:
    """[v, sqrt(R^2 - |v|^2)]: every item gets the norm R; `first` numbers the rows in messages.

    Raises:
        RerankError: an item is longer than the radius.
    """
    squared = vectors.double().square().sum(dim=1)
    gap = radius * radius - squared
    if bool((gap < -_RADIUS_SLACK * radius * radius).any()):
        row = int((gap < -_RADIUS_SLACK * radius * radius).nonzero()[0])
        raise RerankError(
            f"item {first + row} has norm {float(squared[row]) ** 0.5:.6g}, beyond the radius "
            f"{radius:.6g} that the index was built with; export again with `rerank export`"
        )
    return torch.cat([vectors, gap.clamp_min(0).sqrt()[:, None].to(vectors)], dim=1)


def plan_folding(
    fitted: Fitted,
    vectors: ArrayLike,
    metric: Metric = "cosine",
    *,
    query_side: QuerySide = "mapped",
    space: Space = "ip",
    centre: bool = False,
) -> tuple[Folding, Tensor]:
    """Choose offset, mean and radius for a gallery, and fold it.

    Args:
        fitted: a fitted pipeline that is a linear map and one number per gallery item, after
            centring or without it.
        vectors: (m, d) gallery embeddings in the order of the biases.
        metric: as in the fit.
        query_side: whether clients send mapped or raw unit queries.
        space: what the store compares by; "cosine" and "l2" get one more dimension.
        centre: subtract the gallery mean (for graph indexes).

    Returns:
        The `Folding`, and (m, D) float32 item vectors.

    Raises:
        RerankError: the method does not fold, or the gallery is not the fitted one.
    """
    folding, bias = plain_folding(fitted, metric, query_side)
    if space not in ("ip", "cosine", "l2"):
        raise RerankError(f"space: got {space!r}, expected 'ip', 'cosine' or 'l2'")
    if centre:
        total = sum(block.sum(dim=0) for _, block in folding._blocks(vectors, bias))
        folding = replace(folding, mean=(total / len(vectors)).float())  # type: ignore[union-attr]
    if space != "ip":
        mean = 0.0 if folding.mean is None else folding.mean.double()
        blocks = folding._blocks(vectors, bias)
        longest = [torch.linalg.vector_norm(v - mean, dim=1).max() for _, v in blocks]
        folding = replace(folding, radius=float(torch.stack(longest).max()))
    return folding, folding.gallery(vectors, bias)


def plain_folding(
    fitted: Fitted, metric: Metric, query_side: QuerySide = "mapped"
) -> tuple[Folding, Tensor | None]:
    """How a fitted pipeline folds without mean and radius, and its biases before the offset.

    Raises:
        RerankError: see `plan_folding`.
    """
    if query_side not in ("mapped", "raw"):
        raise RerankError(f"{label('query-side')}: got {query_side!r}, expected mapped or raw")
    pipeline = fitted if isinstance(fitted, FittedPipeline) else FittedPipeline((fitted,))
    centres = centres_of(pipeline)
    if centres is not None and query_side == "raw":
        raise RerankError(
            f"{option('query-side', 'raw')}: this method takes a mean from queries, which "
            f"clients that send them raw cannot do; export with {option('query-side', 'mapped')}"
        )
    if not folds(pipeline):
        raise RerankError(
            "this method is no linear map plus one number per item, so it cannot be folded into "
            "vectors; search with `rerank search --model`, or fit a method that `rerank methods` "
            "lists as folding"
        )
    bias, matrix = pipeline.gallery_bias, pipeline.map
    made = Folding(
        metric=metric,
        query_side=query_side,
        matrix=None if matrix is None else matrix.detach().cpu(),
        has_bias=bias is not None or bool(pipeline.turns),
        offset=0.0 if bias is None else float(bias.double().mean()),
        centres=centres,
        unit_map=pipeline.unit,
        turns=pipeline.turns,
    )
    return made, bias


def centres_of(fitted: FittedPipeline) -> tuple[Tensor, Tensor] | None:
    """The means that a pipeline begins by taking from queries and items, or None."""
    first = next(iter(fitted), None)
    return None if first is None or first.parts is None else first.parts.centres


def folds(fitted: FittedPipeline) -> bool:
    """Whether it is one linear map and one number per item, after centring or without it."""
    rest = fitted.stages[centres_of(fitted) is not None :]
    parts = [stage.parts for stage in rest]
    turned = [place for place, part in enumerate(parts) if part is not None and part.turn]
    return all(
        part is not None
        and part.centres is None
        and (part.matrix is None or place < min(turned, default=place + 1))
        for place, part in enumerate(parts)
    )


def fold_gallery(
    fitted: Fitted,
    vectors: ArrayLike,
    metric: Metric = "cosine",
    query_side: QuerySide = "mapped",
) -> Tensor:
    """(m, d + r) item vectors for an exact inner-product search; see the module's formulas."""
    return plan_folding(fitted, vectors, metric, query_side=query_side)[1]


def fold_queries(
    fitted: Fitted,
    vectors: ArrayLike,
    metric: Metric = "cosine",
    query_side: QuerySide = "mapped",
) -> Tensor:
    """(n, d + r) query vectors that go with `fold_gallery`."""
    pipeline = fitted if isinstance(fitted, FittedPipeline) else FittedPipeline((fitted,))
    return plain_folding(pipeline, metric, query_side)[0].queries(vectors)


def folding_to_arrays(folding: Folding, dimension: int) -> dict[str, np.ndarray]:
    """Plain arrays that a numpy user can query with; the map is the identity where there is none.

    Args:
        folding: what to write down.
        dimension: d of the embeddings.
    """
    matrix = np.eye(dimension) if folding.matrix is None else folding.matrix.numpy()
    arrays = {"map": matrix.astype(np.float32)}
    if folding.matrix is not None:
        arrays["map64"] = folding.matrix.double().numpy()
    if folding.mean is not None:
        arrays["mean"] = folding.mean.numpy()
    for name, centre in zip(_CENTRES, folding.centres or (), strict=False):
        arrays[name] = centre.double().cpu().numpy()
    if folding.turn is not None:
        arrays["turn"] = folding.turn[0].numpy()
    for place, turn in enumerate(folding.turns):
        for name in _TURN:
            value = torch.as_tensor(getattr(turn, name)).detach().cpu()
            arrays[f"turn{place}_{name}"] = value.double().numpy()
    return arrays


def folding_from(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Folding:
    """The inverse of `folding_to_arrays` and `folding_settings`."""
    mean = arrays.get("mean")
    matrix = arrays.get("map64")
    centres = [torch.from_numpy(arrays[name]) for name in _CENTRES if name in arrays]
    return Folding(
        metric=settings["metric"],
        query_side=settings["query_side"],
        matrix=None if matrix is None else torch.from_numpy(matrix),
        has_bias=settings["has_bias"],
        offset=settings["offset"],
        mean=None if mean is None else torch.from_numpy(mean),
        radius=settings["radius"],
        centres=(centres[0], centres[1]) if centres else None,
        unit_map=settings["unit_map"],
        turns=tuple(_turns_from(arrays)),
    )


def _turns_from(arrays: Mapping[str, np.ndarray]) -> Iterator[Turn]:
    place = 0
    while f"turn{place}_share" in arrays:
        found = {name: torch.from_numpy(arrays[f"turn{place}_{name}"]) for name in _TURN}
        share, unit = float(found.pop("share")), bool(found.pop("unit"))
        yield Turn(**found, share=share, unit=unit)
        place += 1


def folding_settings(folding: Folding) -> dict[str, Any]:
    """The numbers of a folding, as JSON values."""
    names = ("metric", "query_side", "has_bias", "offset", "radius", "unit_map")
    return {name: getattr(folding, name) for name in names}
