"""A fitted gallery as vectors with ids, for FAISS, plain files and vector stores.

Beside every export lies `<name>.npz`: ids, the map and the numbers of the folding, all that a
client needs to turn an embedding into a query (`rerank.serving.fold`). Every export is
searched after writing, and the overlap with the exact top 10 is part of the result.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import ArrayLike, Metric
from rerank.io.files import replacing
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import Model
from rerank.passes.reduce import TopK, check_k
from rerank.serving.fold import (
    Folding,
    QuerySide,
    Space,
    centres_of,
    folding_from,
    folding_settings,
    folding_to_arrays,
    plan_folding,
)
from rerank.serving.model import align
from rerank.serving.recall import Truth, bank_of, folding_of, queries_of, without_bias
from rerank.serving.searcher import exact_topk
from rerank.serving.stores import databases, indexes
from rerank.serving.stores.indexes import IndexKind
from rerank.serving.stores.plain_files import Usearch

SCHEMA = "rerank-export/1"


@dataclass(frozen=True, eq=False)
class Exported:
    """What lies beside an export.

    Attributes:
        ids: names of the items, in the order of the rows.
        folding: how queries become vectors.
        manifest: settings, hashes and the measured overlap, as JSON values.
        head: `head` (d_in, d) and `head_bias` (d,) that queries pass first, for trained models.
    """

    ids: tuple[str, ...]
    folding: Folding
    manifest: Mapping[str, Any]
    head: Mapping[str, np.ndarray] = field(default_factory=dict)


def export(
    model: Model,
    ids: Sequence[str],
    gallery: ArrayLike,
    out: Path,
    *,
    to: str = "faiss",
    index: IndexKind = "flat",
    query_side: QuerySide = "mapped",
    space: Space = "ip",
    centre: bool | None = None,
    queries: ArrayLike | None = None,
    bank: ArrayLike | None = None,
    effort: int | None = None,
    url: str | None = None,
    head: Mapping[str, np.ndarray] | None = None,
) -> Exported:
    """Write folded vectors and their side-car, search them, and measure what is found.

    Args:
        model: a fitted model.
        ids: names of the gallery; matched with the model's by id and content.
        gallery: (m, d) embeddings.
        out: the file, or the folder for stores that are one; `<out>.npz` goes beside it.
        to: one of `databases.NAMES`.
        index: kind of FAISS index.
        query_side: "mapped", or "raw" where clients can only send unit embeddings.
        space: what the store compares by; "cosine" and "l2" get one more dimension. FAISS
            indexes choose their own.
        centre: subtract the gallery mean; by default for graph indexes (hnsw, usearch).
        queries: (n, d) embeddings to measure the overlap with; by default the last quarter of
            the bank, else stand-ins for its queries (`rerank.serving.standins`).
        bank: (p, d) the bank queries of the fit, which approximate indexes are taught beside
            stand-ins (`rerank.serving.routes`); by default the stored ones. Those that measure do not
            teach.
        effort: ef_search of hnsw, lists read of ivf.
        url: of a running Qdrant or PostgreSQL to load instead of `out`.
        head: a trained head of the queries, for the side-car.

    Raises:
        RerankError: a method that does not fold, a gallery or bank that is not the model's, a
            library that is missing, or an output that exists and is a folder.
    """
    if to not in databases.NAMES:
        raise RerankError(f"--to: got {to!r}, expected one of {', '.join(databases.NAMES)}")
    if url is None:
        # Before the work; the writers look again.
        if not out.resolve().parent.is_dir():
            raise RerankError(f"{out}: the folder {str(out.parent)!r} does not exist; create it")
        if to in databases.FOLDERS:
            databases.check_new(out)
    vectors = align(model, ids, gallery)
    metric: Metric = model.manifest["metric"]
    graph = to == "usearch"
    if to == "faiss":
        space, graph = indexes.space_of(index)
    folding, items = plan_folding(
        model.fitted, vectors, metric, query_side=query_side, space=space,
        centre=graph if centre is None else centre,
    )  # fmt: skip
    assert model.gallery_ids is not None
    sample, source, teaching = queries_of(model, vectors, queries, bank_of(model, bank))
    asked = folding.queries(sample)
    plain = folding_of(model.fitted, vectors, metric, query_side)
    truth = Truth(plain[0].queries(sample), plain[1])
    options = indexes.effort(index, effort)
    recall: dict[str, Any] = {"k": truth.k, "queries": len(sample), "queries_from": source}
    routes = None
    approximate = to == "usearch" or (to == "faiss" and index != "flat")
    if approximate and folding.has_bias and teaching is not None:
        routes = folding.queries(teaching)
    if to == "faiss":
        built = indexes.build_index(items, index, asked=routes, **options)
        data = indexes.index_bytes(built)
        with replacing(out) as file:
            file.write(data)
        rows, taken = indexes.search_counted(built, asked, truth.k)
        recall["overlap"] = truth.overlap(rows)
        if approximate:
            recall["distances"] = taken
    else:
        store = Usearch(routes) if to == "usearch" else databases.STORES[to]
        target = store.write(out, items.numpy(), model.gallery_ids, space=space, url=url)
        for name, found in store.search(target, asked.numpy(), truth.k, space=space).items():
            recall[name] = truth.overlap(torch.from_numpy(found))
    if approximate:
        recall["taught_by"] = 0 if routes is None else len(routes)
        recall |= without_bias(model.fitted, vectors, sample, metric, to, space, index, options)
    manifest = {
        "schema": SCHEMA,
        "to": to,
        "space": space,
        "label": model.fitted.label,
        "trained": bool(model.manifest.get("trained")),
        "direction": model.manifest["direction"],
        "gallery": dict(model.manifest["gallery"]),
        "fitted": fitted_hash(model.fitted),
        "recall": recall,
        **folding_settings(folding),
    }
    if to == "faiss":
        manifest |= {"index": index, "hash": content_hash(out.read_bytes()), **options}
    exported = Exported(model.gallery_ids, folding, manifest, head or {})
    write_side_car(out, exported, vectors.shape[1])
    return exported


def fitted_hash(fitted: FittedPipeline) -> str:
    """Content hash of map, biases and means, which ties an export to its model."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in (fitted.map, fitted.gallery_bias, *(centres_of(fitted) or ())):
        digest.update(b"-" if tensor is None else tensor.double().cpu().numpy().tobytes())
    return digest.hexdigest()


def content_hash(data: bytes) -> str:
    """Content hash of a file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def side_car(out: Path) -> Path:
    """Where the ids and the map of an export lie: `videos.faiss` -> `videos.faiss.npz`."""
    return out.with_name(out.name + ".npz")


def write_side_car(out: Path, exported: Exported, dimension: int) -> None:
    """Write ids, map, mean and manifest as plain numpy arrays."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array(exported.ids),
        manifest=np.array(json.dumps(dict(exported.manifest), sort_keys=True)),
        **folding_to_arrays(exported.folding, dimension),  # type: ignore[arg-type]
        **exported.head,  # type: ignore[arg-type]
    )
    with replacing(side_car(out)) as file:
        file.write(buffer.getvalue())


def read_side_car(out: Path) -> Exported:
    """Read what `write_side_car` wrote.

    Raises:
        FormatError: missing, damaged, or not of an export.
    """
    path = side_car(out)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        manifest = json.loads(str(arrays["manifest"]))
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']!r}, expected {SCHEMA!r}")
        ids = tuple(str(name) for name in arrays["ids"])
        head = {name: arrays[name] for name in ("head", "head_bias") if name in arrays}
        return Exported(ids, folding_from(manifest, arrays), manifest, head)
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror or error}); it lies beside the index that "
            f"`rerank export` wrote, keep the two together"
        ) from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: not the side-car of an export ({error}); export again"
        ) from None


def open_index(path: Path) -> tuple[Exported, Any]:
    """A FAISS export and its side-car, checked against each other.

    Raises:
        FormatError: a file that is no index, or not the one that the side-car belongs to.
    """
    exported = read_side_car(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    if exported.manifest.get("hash") != content_hash(data):
        raise FormatError(
            f"{path}: not the index that {side_car(path).name} belongs to, or damaged; export again"
        )
    return exported, indexes.read_index(path)


def check_index(model: Model, exported: Exported) -> None:
    """Refuse an index of another gallery or another fit.

    Raises:
        RerankError: naming what differs.
    """
    if exported.manifest["gallery"] != dict(model.manifest["gallery"]):
        raise RerankError(
            f"--index: it holds {len(exported.ids)} items of another gallery than the model's "
            f"{len(model.gallery_ids or ())}; export again from this model"
        )
    if exported.manifest["fitted"] != fitted_hash(model.fitted):
        raise RerankError("--index: made from another fit of this gallery; export again")


def search_index(exported: Exported, index: Any, queries: ArrayLike, k: int) -> TopK:  # noqa: ANN401
    """Search a FAISS export; scores are those of the rewritten similarity.

    A flat index is exact. Every query is searched by itself, so results do not depend on the batch.

    Args:
        exported: the side-car.
        index: the FAISS index.
        queries: (n, d) embeddings.
        k: between 1 and the number of items.
    """
    k = check_k(k, len(exported.ids))
    folding = exported.folding
    asked = folding.queries(queries)
    if exported.manifest["index"] == "flat":
        found = exact_topk(asked, torch.from_numpy(index.reconstruct_n(0, index.ntotal)), k)
        scores, rows = found.scores, found.indices
    else:
        scores, rows = indexes.search_each(index, asked, k)
    q = asked.double().numpy()  # numpy sums every contiguous row by itself, whatever the batch
    if folding.radius is not None:
        # |q - v|^2 = |q|^2 + R^2 - 2 <q, v>
        norms = torch.from_numpy((q**2).sum(axis=1, keepdims=True))
        scores = (norms + folding.radius**2 - scores) / 2
    if folding.mean is not None:
        mean = folding.mean.double().numpy()
        shift = (np.ascontiguousarray(q[:, : len(mean)]) * mean).sum(axis=1, keepdims=True)
        scores = scores + torch.from_numpy(shift)
    if folding.query_side == "raw" and folding.has_bias and folding.metric == "cosine":
        width = asked.shape[1] - (folding.radius is not None)
        scores = scores / asked[:, width - 1 : width]
    return TopK(scores.float(), rows)
