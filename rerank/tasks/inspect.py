"""`rerank inspect`: hubness, geometry and what is odd in raw files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.pairs import WORDS, Name
from rerank.core.similarity import Pair, Similarity, as_matrix
from rerank.methods import directions
from rerank.methods.directions import Direction
from rerank.metrics import hubness
from rerank.tasks.read import (
    Inputs,
    check_names,
    pick_device,
    read_inputs,
    read_role,
    reading_of,
)


def read_directions(inputs: Inputs, *, metric: str, device: torch.device) -> dict[Name, Direction]:
    """Both directions of what was read, on a device."""
    if inputs.scores is not None:
        stored = inputs.stored.to(device)
        return directions.from_scores(stored.t2v, stored.v2t, scored=stored.scored)

    def on_device(role: str) -> torch.Tensor | None:
        vectors = inputs.vectors(role)
        return None if vectors is None else as_matrix(vectors, role, keep_half=True).to(device)

    texts, videos = on_device("texts"), on_device("videos")
    if texts is None or videos is None:
        raise RerankError("give --videos and --texts, or --sims")
    return directions.from_embeddings(
        texts,
        videos,
        bank_texts=on_device("bank_texts"),
        bank_videos=on_device("bank_videos"),
        bank_positives=inputs.bank_positives,
        metric=metric,  # type: ignore[arg-type]
    )


def inspect_files(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    heads: Path | None = None,
    metric: str = "cosine",
    k: int = 10,
    top: int = 5,
    pool: str | None = None,
    device: str = "auto",
    reading: io.Reading | None = None,
    scores_are: str = "auto",
    unscored: str | None = None,
) -> dict[str, Any]:
    """Hubness per direction and geometry of raw files.

    Returns:
        {"hubness": {direction: figures with "sentence"}, "geometry": {...}}.

    Raises:
        RerankError: no file, or one that is not usable.
    """
    target = pick_device(device)
    if sims is None and (videos is None or texts is None):
        path = videos or texts
        if path is None:
            raise RerankError("inspect: give --videos, --texts, both, or --sims")
        said = reading_of(reading, pool)
        role = "texts" if videos is None else "videos"
        check_names(said, [path])
        alone = read_role(path, role, said, metric=metric, row_numbers=True)
        return _alone(alone, metric, k, top, target)
    inputs = read_inputs(
        videos=videos, texts=texts, sims=sims, metric=metric, pool=pool, reading=reading,
        heads=heads, scores_are=scores_are, unscored=unscored,
    )  # fmt: skip
    both = read_directions(inputs, metric=metric, device=target)
    sim = both["t2v"].sim
    found: dict[str, Any] = {"hubness": {}, "geometry": {}}
    sides: tuple[tuple[Name, Similarity, Sequence[str]], ...] = (
        ("t2v", sim, inputs.video_ids),
        ("v2t", both["v2t"].sim, inputs.text_ids),
    )
    if inputs.scores is not None:
        found["scores"] = inputs.stored.as_dict()
    for name, side, ids in sides:
        found["hubness"][name] = _facts(hubness.summary(side, k), ids, top, WORDS[name][1])
    if isinstance(sim, Pair):
        shape = hubness.geometry(sim)
        found["geometry"] = {
            "dimension": shape.dimension,
            "modality_gap": shape.gap,
            "files": {
                "texts": _cloud(sim.shape[0], shape.text_anisotropy, shape.text_rank),
                "videos": _cloud(sim.shape[1], shape.video_anisotropy, shape.video_rank),
            },
        }
    return found


def _cloud(count: int, anisotropy: float, rank: float) -> dict[str, float]:
    return {"count": count, "anisotropy": anisotropy, "effective_rank": rank}


def _facts(found: hubness.Hubness, ids: Sequence[str], top: int, items: str) -> dict[str, Any]:
    return {**found.as_dict(ids, top=top), "sentence": hubness.sentence(found, items)}


def _alone(
    embeddings: io.Embeddings, metric: str, k: int, top: int, device: torch.device
) -> dict[str, Any]:
    """One file searched by itself: every item asks for its neighbours, itself left out."""
    vectors = as_matrix(embeddings.vectors, str(embeddings.source), keep_half=True).to(device)
    pair = Pair(vectors, vectors, metric=metric)  # type: ignore[arg-type]
    n = len(vectors)
    if n < 3:
        raise RerankError(f"{embeddings.source}: {n} items are too few to inspect; give three")
    lists = _neighbours(pair, min(k, (n - 1) // 2 or 1))
    shape = hubness.geometry(pair)
    found = hubness.from_lists(lists, n)
    facts = _facts(found, embeddings.ids, top, "items")
    # What to do depends on the queries, which are in another file.
    facts["sentence"] = f"{facts['sentence'].split(';')[0].rstrip('.')}, searched among themselves."
    return {
        "hubness": {"itself": facts},
        "geometry": {
            "dimension": shape.dimension,
            "files": {"items": _cloud(n, shape.text_anisotropy, shape.text_rank)},
        },
    }


def _neighbours(pair: Pair, k: int) -> np.ndarray:
    """(n, k) nearest other rows of each row."""
    out = np.empty((pair.shape[0], k), dtype=np.int64)
    for rows, block in pair.blocks():
        place = torch.arange(rows.start, rows.stop, device=block.device)
        block[place - rows.start, place] = -torch.inf
        out[rows] = torch.topk(block, k, dim=1).indices.cpu().numpy()
    return out
