"""A fitted gallery as vectors with ids, in any store, and searches of what was written.

Beside every export lies `<name>.npz` (see `sidecar`) with all that a client needs to turn an
embedding into a query, and `<name>.query.py`, which does it. Every export is searched before it
gets its name, and the overlap with the exact top 10 is part of the result.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import ArrayLike
from rerank.core.wording import either, label, option
from rerank.core.words import Metric, QuerySide, Space
from rerank.io.files import folder_of, foreign, locked, safely, write_text
from rerank.io.identify import SCRIPT
from rerank.io.outputs import check_outputs
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import Saved
from rerank.passes.reduce import TopK, check_k
from rerank.serving import sidecar
from rerank.serving.fold import centres_of, folding_settings, plan_folding
from rerank.serving.matching import align, check_dimension, check_queries
from rerank.serving.recall import Truth, measured_with, reach
from rerank.serving.sidecar import DEFAULT_TABLE, SCHEMA, Exported, holds_export, side_car
from rerank.serving.snippets import snippet_path, snippet_text
from rerank.serving.stores.contract import Hits, Store, TableStore, check_finite
from rerank.serving.stores.registry import STORES, make_store

RECALL = 0.99
_TRIES = 5


def check_beside(out: Path, table: str, *, force: bool) -> None:
    """Refuse to replace files beside an export that are of no export.

    Raises:
        RerankError: one of them.
    """
    script, side = snippet_path(out, table), side_car(out, table)
    check_outputs([script], force=force, kind=SCRIPT)
    if not force and safely(side.is_file) and not holds_export(out, table):
        raise RerankError(
            f"{side}: is there and is no side-car of an export; choose another name, or replace "
            f"it{either(' with --force', ': force=True')}"
        )


def _check_place(to: str, out: Path, *, replace: bool) -> None:
    """Refuse a folder that is not there, and to replace the table of a store without any."""
    if not folder_of(out).is_dir():
        raise RerankError(f"{out}: the folder {str(out.parent)!r} does not exist; create it")
    if replace and STORES[to].facts.kind != "database":
        raise RerankError(
            f"{label('replace')}: store {to!r} has no tables; its file is replaced anyway"
        )


def export(
    saved: Saved,
    ids: Sequence[str],
    gallery: ArrayLike,
    out: Path,
    *,
    to: str = "faiss",
    query_side: QuerySide = "mapped",
    centre: bool | None = None,
    queries: ArrayLike | None = None,
    recall: float = RECALL,
    effort: int | None = None,
    replace: bool = False,
    force: bool = False,
    head: Mapping[str, np.ndarray] | None = None,
    **settings: Any,  # noqa: ANN401  fields of the store
) -> Exported:
    """Write folded vectors and their side-car, search them, and measure what is found.

    An approximate index is built plainly; then the effort of its searches is raised until the
    measured overlap with the exact top 10 reaches `recall`, and stored with it.

    Args:
        saved: a fitted model.
        ids: names of the gallery; matched with the model's by id and content.
        gallery: (m, d) embeddings.
        out: the file, or the folder for stores that are one; `<out>.npz` goes beside it.
        to: name of a store.
        query_side: "mapped", or "raw" where clients can only send unit embeddings.
        centre: subtract the gallery mean, which changes no order; by default for approximate
            indexes.
        queries: (n, d) embeddings to measure with; by default the bank where the model holds it,
            else gallery items.
        recall: overlap that is wanted of an approximate index.
        effort: search effort of an approximate index, instead of raising it.
        replace: whether a table or collection that is there may be replaced.
        force: whether files beside `out` that are of no export may be replaced.
        head: a trained head of the queries, for the side-car.
        **settings: of the store, such as index="hnsw", space="cosine", table="videos".

    Raises:
        RerankError: a method that does not fold, a gallery that is not the model's, a library that
            is missing, or an output that exists and is a folder.
    """
    to = STORES.find(to).name
    store: Store = make_store(to, **settings)
    table = table_of(store)
    _check_place(to, out, replace=replace)
    check_beside(out, table, force=force)
    _check_effort(store, effort)
    vectors = align(saved, ids, gallery)
    if queries is not None:
        check_queries(saved, queries)
    metric: Metric = saved.manifest["metric"]
    centre = store.graph if centre is None else centre
    folding, items = plan_folding(
        saved.fitted, vectors, metric, query_side=query_side, space=store.space, centre=centre
    )
    sample, source = measured_with(saved, vectors, queries)
    asked = np.ascontiguousarray(folding.queries(sample).numpy())
    plain, exact = plan_folding(saved.fitted, vectors, metric, query_side=query_side)
    truth = Truth(plain.queries(sample), exact)
    assert saved.gallery_ids is not None
    names = saved.gallery_ids
    stamp = _stamp(names, items.numpy())
    with sidecar.staged(store, out, replace=replace) as place:
        with sidecar.written_by(to, out):
            place.store.write(place.target, items.numpy(), names, stamp=stamp)

        def overlap(effort: int | None) -> float:
            with sidecar.written_by(to, out):
                found = place.store.search(place.target, asked, truth.k, effort=effort)
            return truth.overlap(found.rows)

        efforts = store.efforts(len(items)) if effort is None else (effort,)
        reached = reach(overlap, efforts, recall)
        if reached.effort is not None:
            with sidecar.written_by(to, out):
                place.store.settle(place.target, reached.effort)
        manifest = {
            "schema": SCHEMA,
            "to": to,
            "store": {k: v for k, v in _settings_of(to, store).items() if k != "url"},
            "server": store.server is not None,
            "space": store.space,
            "label": saved.fitted.label,
            "trained": bool(saved.manifest.get("trained")),
            **({"blocks": saved.manifest["blocks"]} if "blocks" in saved.manifest else {}),
            "direction": saved.manifest["direction"],
            "gallery": dict(saved.manifest["gallery"]),
            "fitted": fitted_hash(saved.fitted),
            "hash": place.store.fingerprint(place.target),
            "effort": reached.effort,
            "effort_name": store.effort_name,
            "recall": {
                "k": truth.k, "queries": len(sample), "queries_from": source,
                "overlap": reached.overlap,
                "wanted": recall if store.effort_name and effort is None else None,
            },
            **folding_settings(folding),
        }  # fmt: skip
        exported = Exported(names, folding, manifest, head or {})
        sidecar.commit(
            out, table, exported, vectors.shape[1], publish=place.publish,
            fingerprint=lambda: store.fingerprint(out),
        )  # fmt: skip
    write_text(snippet_path(out, table), [snippet_text(out, exported, store)])
    return exported


def table_of(store: Store) -> str:
    """The table of a store, which names its side-car; the usual one for files."""
    return store.table_name if isinstance(store, TableStore) else DEFAULT_TABLE


def _settings_of(to: str, store: Store) -> dict[str, Any]:
    return {setting.name: getattr(store, setting.name) for setting in STORES.find(to).settings}


def _check_effort(store: Store, effort: int | None) -> None:
    if effort is None:
        return
    if effort < 1:
        raise RerankError(f"{label('effort')}: got {effort}, expected at least 1")
    if not store.effort_name:
        able = ", ".join(n for n, card in STORES.cards().items() if card.facts.effort)
        raise RerankError(
            f"{label('effort')}: this store is searched exactly; leave it out, or use {able}"
        )


def _stamp(ids: Sequence[str], vectors: np.ndarray) -> str:
    """Content hash of what goes into a database."""
    digest = hashlib.blake2b("\0".join(ids).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()


def fitted_hash(fitted: FittedPipeline) -> str:
    """Content hash of map, biases and means, which ties an export to its model."""
    digest = hashlib.blake2b(digest_size=16)
    turned = [t for x in fitted.turns for t in (x.query_matrix, x.query_shift, x.item_matrix)]
    for tensor in (fitted.map, fitted.gallery_bias, *(centres_of(fitted) or ()), *turned):
        digest.update(b"-" if tensor is None else tensor.double().cpu().numpy().tobytes())
    return digest.hexdigest()


def open_export(
    out: Path, *, table: str | None = None, url: str | None = None
) -> tuple[Exported, Store]:
    """The side-car and the store of an export, checked against each other.

    Args:
        out: what `export` wrote.
        table: its table or collection.
        url: of the server that was loaded, which no file keeps.

    Raises:
        FormatError: a side-car that is missing, damaged, or of something else.
    """

    def store_of(exported: Exported) -> Store:
        server = exported.manifest["server"]
        if server and url is None:
            raise RerankError(
                f"{out}: this export is in a running {exported.manifest['to']}; give its "
                f"{option('url')}"
            )
        if url is not None and not server:
            raise RerankError(f"{label('url')}: this export is in files; leave {label('url')} out")
        given = {**exported.manifest["store"], **({"url": url} if server else {})}
        return make_store(exported.manifest["to"], **given)

    return sidecar.partner(out, table or DEFAULT_TABLE, store_of)


def check_index(saved: Saved, exported: Exported) -> None:
    """Refuse an index of another gallery or another fit.

    Raises:
        RerankError: naming what differs.
    """
    if exported.manifest["gallery"] != dict(saved.manifest["gallery"]):
        raise RerankError(
            f"{label('index')}: it holds {len(exported.ids)} items of another gallery than the "
            f"model's {len(saved.gallery_ids or ())}; export again from this model"
        )
    if exported.manifest["fitted"] != fitted_hash(saved.fitted):
        raise RerankError(f"{label('index')}: made from another fit of this gallery; export again")


def extend(
    out: Path, exported: Exported, saved: Saved, ids: Sequence[str], vectors: ArrayLike
) -> None:
    """Add items to a FAISS export in the folding and with the effort that it has.

    Args:
        out: the export.
        exported: its side-car.
        saved: the model, which has the new items last.
        ids: names of the new items.
        vectors: (p, d) their embeddings.
    """
    from rerank.serving.stores.faiss import add_rows

    bias = saved.fitted.gallery_bias
    rows = exported.folding.gallery(vectors, None if bias is None else bias[-len(ids) :])
    store: Store = make_store("faiss", **exported.manifest["store"])
    with sidecar.staged(store, out, replace=True) as place:
        held, grown_index = add_rows(out, rows.numpy())
        if held != len(exported.ids):
            raise FormatError(_of_other_items(out, held, exported))
        place.target.write_bytes(grown_index)
        manifest = {
            **exported.manifest,
            "gallery": dict(saved.manifest["gallery"]),
            "fitted": fitted_hash(saved.fitted),
            "hash": store.fingerprint(place.target),
            "recall": {**exported.manifest["recall"], "items": len(exported.ids)},
        }
        grown = Exported((*exported.ids, *ids), exported.folding, manifest, exported.head)
        sidecar.commit(
            out, DEFAULT_TABLE, grown, vectors.shape[1], publish=place.publish,
            fingerprint=lambda: store.fingerprint(out),
        )  # fmt: skip


def search_export(
    out: Path,
    queries: ArrayLike,
    k: int,
    *,
    table: str | None = None,
    url: str | None = None,
    effort: int | None = None,
) -> tuple[Exported, TopK]:
    """Search any export; scores are those of the rewritten similarity.

    Every query is searched by itself, so results do not depend on the batch.

    Args:
        out: what `export` wrote.
        queries: (n, d) embeddings.
        k: between 1 and the number of items.
        table: its table or collection.
        url: of the server that was loaded.
        effort: by default the one that was stored.

    Raises:
        RerankError: a k beyond the items, or an approximate index that found fewer.
    """
    for attempt in range(_TRIES):
        last = attempt + 1 == _TRIES
        with locked(out.parent, shared=True) if last else nullcontext():
            before = _stat(out)
            exported, store = open_export(out, table=table, url=url)
            k = check_k(k, len(exported.ids))
            _check_effort(store, effort)
            check_dimension(queries, exported.dimension, whose="the index was made of")
            asked = np.ascontiguousarray(exported.folding.queries(queries).numpy())
            with foreign(out, "the index that its side-car describes"):
                hits = store.search(out, asked, k, effort=effort or exported.manifest["effort"])
                check_finite(hits.scores[hits.rows >= 0])
                whole = _is_of(hits, exported)
        # What was replaced meanwhile is read again, so that ids and rows are of one export.
        if _stat(out) == before or last:
            if not whole:
                raise FormatError(_of_other_items(out, hits.items, exported))
            return exported, _checked(hits, asked, exported, store.space)
    raise AssertionError("unreachable")


def _is_of(hits: Hits, exported: Exported) -> bool:
    """Whether a store holds as many items as its side-car names, and found no others."""
    count = len(exported.ids)
    return hits.items in (None, count) and bool((hits.rows < count).all())


def _of_other_items(out: Path, items: int | None, exported: Exported) -> str:
    held = "other items" if items in (None, len(exported.ids)) else f"{items:,} items"
    return (
        f"{out}: holds {held}, and its side-car names {len(exported.ids):,}; one of the two was "
        "changed since, export again"
    )


def _checked(hits: Hits, asked: np.ndarray, exported: Exported, space: Space) -> TopK:
    """A whole result in scores of the rewritten similarity, or why it is none."""
    if (hits.rows < 0).any():
        query = int(np.flatnonzero((hits.rows < 0).any(axis=1))[0])
        raise RerankError(
            f"query {query}: the approximate index found fewer than k = {hits.rows.shape[1]} "
            f"items; give a higher {option('effort')}, or search with the model and its gallery"
        )
    scores = torch.from_numpy(_similarities(hits, asked, exported, space)).float()
    return TopK(scores, torch.from_numpy(np.ascontiguousarray(hits.rows)))


def _stat(out: Path) -> tuple[int, ...]:
    try:
        status = out.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_mtime_ns, status.st_size) if out.is_file() else ()


def _similarities(hits: Hits, q: np.ndarray, exported: Exported, space: Space) -> np.ndarray:
    """Scores of the rewritten similarity from those of a store."""
    folding = exported.folding
    scores, q = hits.scores.astype(np.float64), q.astype(np.float64)
    # numpy sums every contiguous row by itself, whatever the batch.
    squares = (q**2).sum(axis=1, keepdims=True)
    if folding.radius is not None and space == "l2":
        # -|q - v|^2 = 2 <q, v> - |q|^2 - R^2
        scores = (scores + squares + folding.radius**2) / 2
    if folding.radius is not None and space == "cosine":
        scores = scores * np.sqrt(squares) * folding.radius
    if folding.mean is not None:
        mean = folding.mean.double().numpy()
        scores = scores + (np.ascontiguousarray(q[:, : len(mean)]) * mean).sum(1, keepdims=True)
    if folding.query_side == "raw" and folding.has_bias and folding.metric == "cosine":
        width = q.shape[1] - (folding.radius is not None)
        scores = scores / q[:, width - 1 : width]
    return scores
