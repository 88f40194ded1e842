"""A model's gallery and queries, matched by name and checked by content."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.rows import slices
from rerank.core.similarity import ArrayLike, as_matrix
from rerank.core.wording import either
from rerank.core.words import Label
from rerank.io.scratch import joined
from rerank.methods.saved import Saved

SCHEMA = "rerank-model/1"
_HASHED_AT_ONCE = 2048


def item_hashes(vectors: ArrayLike) -> Tensor:
    """(m,) int64 content hashes of the rows as float32: equal rows have equal hashes."""
    x = as_matrix(vectors, "embeddings", keep_half=True)
    # No list of numbers: small objects between the blocks keep the memory of all of them.
    out = np.empty(len(x), dtype=np.int64)
    for rows in slices(len(x), _HASHED_AT_ONCE):
        block = x[rows].cpu().float() + 0.0  # turns -0.0 into 0.0
        digests = (
            hashlib.blake2b(row.data, digest_size=8).digest() for row in block.contiguous().numpy()
        )
        out[rows] = np.frombuffer(b"".join(digests), dtype="<i8")
    return torch.from_numpy(out)


def described(hashes: Tensor, vectors: ArrayLike) -> dict[str, Any]:
    """The manifest entry of vectors with these item hashes."""
    digest = hashlib.blake2b(hashes.numpy().tobytes(), digest_size=16).hexdigest()
    return {"count": len(hashes), "dimension": int(vectors.shape[1]), "hash": digest}


def describe_gallery(saved: Saved, hashes: Tensor) -> dict[str, Any]:
    """The manifest entry of a gallery with these item hashes."""
    digest = hashlib.blake2b(hashes.numpy().tobytes(), digest_size=16).hexdigest()
    return {**saved.manifest["gallery"], "count": len(hashes), "hash": digest}


def check_served(saved: Saved) -> None:
    """Refuse a model file that holds no gallery, such as one saved with `rerank.save` alone."""
    if saved.manifest.get("schema") != SCHEMA or saved.gallery_ids is None:
        raise RerankError(
            "the model names no gallery: it was saved from Python without one; write it with "
            "`rerank fit`, or give rerank.save(..., gallery_ids=...) and use rerank.load"
        )


def dimension_of(saved: Saved) -> int:
    """D of the gallery that a model was fitted on.

    Raises:
        RerankError: a manifest that does not say it.
    """
    gallery = saved.manifest.get("gallery")
    found = gallery.get("dimension") if isinstance(gallery, dict) else None
    if type(found) is not int or found < 1:
        raise RerankError(
            f"the model's manifest names no dimension of its gallery (got {found!r}): fit it again"
        )
    return found


def check_queries(saved: Saved, queries: ArrayLike) -> None:
    """Refuse queries of another dimension than the model was fitted on.

    Raises:
        RerankError: such queries.
    """
    check_dimension(queries, dimension_of(saved))


def check_dimension(
    rows: ArrayLike, expected: int, *, what: str = "queries", whose: str = "the model was fitted on"
) -> None:
    """Refuse rows of another dimension than the gallery has.

    Args:
        rows: (n, d) embeddings.
        expected: d of the gallery.
        what: what the rows are.
        whose: what says so.

    Raises:
        RerankError: such rows.
    """
    if rows.shape[1] != expected:
        raise RerankError(
            f"{what}: got d = {rows.shape[1]}, {whose} d = {expected}; both must come from the "
            "same encoder"
        )


def align(saved: Saved, ids: Sequence[str], vectors: ArrayLike) -> Tensor:
    """The gallery in the model's order, matched by id and checked by content.

    Raises:
        RerankError: items that are missing, new, or other than when the model was fitted; the
            message names the first.
    """
    check_served(saved)
    assert saved.gallery_ids is not None
    x = as_matrix(vectors, "gallery", keep_half=True).cpu()
    check_dimension(x, dimension_of(saved), what="gallery")
    rows = {name: row for row, name in enumerate(ids)}
    missing = [name for name in saved.gallery_ids if name not in rows]
    if len(missing) == len(saved.gallery_ids):
        raise RerankError(
            f"gallery: none of its {len(rows)} ids is in the model, which was fitted on a gallery "
            f"that begins with {missing[0]!r}; give that gallery, or fit one of this"
        )
    if missing:
        raise RerankError(
            f"gallery: {len(missing)} of the model's {len(saved.gallery_ids)} items are missing, "
            f"first {missing[0]!r}; give the gallery that was fitted, or take them out with "
            f"{either('`rerank update --remove`', 'model.remove(ids)')}"
        )
    if len(rows) > len(saved.gallery_ids):
        known = set(saved.gallery_ids)
        new = next(name for name in ids if name not in known)
        raise RerankError(
            f"gallery: {len(rows) - len(saved.gallery_ids)} items are not in the model, first "
            f"{new!r}; add them with `rerank update`, or take them out of the file where they were "
            f"removed from the model"
        )
    if tuple(ids) != saved.gallery_ids:
        order = torch.tensor([rows[name] for name in saved.gallery_ids])
        x = _in_order(x, order)
    changed = (item_hashes(x) != saved.kept["gallery.hashes"]).nonzero()
    if len(changed):
        name = saved.gallery_ids[int(changed[0])]
        raise RerankError(
            f"gallery: the embeddings of {len(changed)} items are not those that the model was "
            f"fitted on, first {name!r}; fit again on these embeddings"
        )
    return x


def _in_order(x: Tensor, order: Tensor) -> Tensor:
    """Rows in another order; a copy that is large lies in a file as `x` did."""
    if x.dtype == torch.bfloat16 or not memory.is_large(x.numel()):
        return x[order]
    blocks = (x[order[rows]].numpy() for rows in slices(len(order)))
    return as_matrix(joined(blocks, (len(order), x.shape[1]), "gallery"), "gallery", keep_half=True)


def label_of(saved: Saved, queries: ArrayLike) -> tuple[Label, str]:
    """What results for these queries may be called, and what the user should know.

    Queries that were in the bank were seen: with more than half of them it is transductive.
    """
    label = saved.fitted.label
    bank = saved.kept.get("bank.hashes")
    if bank is None or label == "none":
        return label, ""
    known = torch.isin(item_hashes(queries), bank)
    count = int(known.sum())
    if count == 0:
        return label, ""
    text = f"{count} of {len(known)} queries are also in the bank that the model was fitted on"
    if 2 * count > len(known):
        return "transductive", f"{text}: this is labelled transductive"
    return label, text


def with_manifest(saved: Saved, **changes: Any) -> Saved:  # noqa: ANN401  JSON values
    """A model with other manifest entries."""
    manifest: Mapping[str, Any] = {**saved.manifest, **changes}
    return replace(saved, manifest=manifest)
