"""The files of a run: read, checked against each other, and described for a manifest."""

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import comm, io
from rerank.directions import transpose_positives
from rerank.errors import FormatError, RerankError
from rerank.io import Embeddings, ScoreMatrix
from rerank.similarity import ArrayLike


@dataclass(frozen=True, eq=False)
class Inputs:
    """The files of one run, read and checked."""

    texts: Embeddings | None = None
    videos: Embeddings | None = None
    scores: ScoreMatrix | None = None
    bank_texts: Embeddings | None = None
    bank_videos: Embeddings | None = None
    bank_positives: tuple[np.ndarray, ...] | None = None
    bank_gt: Path | None = None
    model: Path | None = None
    heads: Any = None
    pool: str | None = None
    sharded: bool = False
    whole_bank: bool = False

    def vectors(self, role: str) -> ArrayLike | None:
        """Embeddings of one file as they are compared: through the trained heads, if any."""
        embeddings: Embeddings | None = getattr(self, role)
        if embeddings is None:
            return None
        if self.heads is None:
            return embeddings.vectors
        head = self.heads.texts if role.endswith("texts") else self.heads.videos
        return head(embeddings.vectors)

    def norms(self, role: str) -> tuple[float, float, float]:
        """Smallest, mean and largest norm of a file's rows, those of all processes."""
        embeddings: Embeddings = getattr(self, role)
        low, mean, high = embeddings.norms
        split = role == "texts" or (role == "bank_texts" and not self.whole_bank)
        if not (self.sharded and split):
            return low, mean, high
        count = len(embeddings.ids)
        ends = torch.tensor([-low, high] if count else [-math.inf, -math.inf], dtype=torch.float64)
        sums = torch.tensor([mean * count, count], dtype=torch.float64)
        (low, high), (total, rows) = comm.all_max(ends).tolist(), comm.all_sum(sums).tolist()
        return -low, total / rows, high

    @property
    def text_ids(self) -> tuple[str, ...]:
        """Ids of the rows, of all processes."""
        mine = self.scores.query_ids if self.scores is not None else _given(self.texts).ids
        return comm.gather_names(mine) if self.sharded else mine

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the columns."""
        return self.scores.gallery_ids if self.scores is not None else _given(self.videos).ids


def _given(embeddings: Embeddings | None) -> Embeddings:
    if embeddings is None:
        raise RerankError("give --videos and --texts, or --sims")
    return embeddings


def parse_tau(text: str | None) -> float | str | None:
    """A temperature as typed: a positive number or "auto".

    Raises:
        RerankError: anything else.
    """
    if text is None or text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (value > 0 and value != float("inf")):
        raise RerankError(f"--tau: got {text!r}, expected a positive number or 'auto'")
    return value


def read_settings(path: Path) -> dict[str, Any]:
    """Settings as `rerank tune` writes them: a JSON object of method and stage fields.

    Raises:
        FormatError: not a file, not a JSON object.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path}: not readable as JSON settings ({error})") from error
    if not isinstance(settings, dict):
        raise FormatError(f"{path}: got a JSON {type(settings).__name__}, expected an object")
    return {key: value for key, value in settings.items() if not key.startswith("_")}


def pick_device(name: str) -> torch.device:
    """The device that a name stands for; "auto" takes a GPU where there is one.

    Raises:
        RerankError: "cuda" without CUDA.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RerankError("--device cuda: no CUDA device is available; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def read_inputs(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    metric: str = "cosine",
    pool: str | None = None,
    model: Path | None = None,
    sharded: bool = False,
    whole_bank: bool = False,
) -> Inputs:
    """Read and check the files of a run; with a trained `model`, both sides go through its heads.

    `sharded`: this process reads only its share of the texts, or of the rows of a matrix, and of
    the bank texts unless `whole_bank`.

    Raises:
        RerankError: a combination that makes no sense; FormatError: a file that is not usable.
    """
    if sims is not None:
        others = (videos, texts, bank_texts, bank_videos, bank_gt, model)
        if any(path is not None for path in others):
            raise RerankError(
                "--sims stands alone: leave out --videos, --texts, --model and the banks"
            )
        rows = comm.my_rows(io.read_scores(sims, rows=slice(0, 1)).total_rows) if sharded else None
        return Inputs(scores=io.read_scores(sims, rows=rows), sharded=sharded)
    if videos is None or texts is None:
        missing = "--texts" if videos is not None else "--videos"
        raise RerankError(f"{missing} is missing: give --videos and --texts, or --sims")

    def read(path: Path | None, *, share: bool = False) -> Embeddings | None:
        if path is None:
            return None
        rows = None
        if share:
            one = io.read_embeddings(path, rows=slice(0, 1), metric=metric, pool=pool)
            rows = comm.my_rows(one.total_rows)
        return io.read_embeddings(path, rows=rows, metric=metric, pool=pool)

    found = Inputs(
        texts=read(texts, share=sharded), videos=read(videos),
        bank_texts=read(bank_texts, share=sharded and not whole_bank), sharded=sharded,
        bank_videos=read(bank_videos), bank_gt=bank_gt, model=model, heads=_heads(model),
        pool=pool, whole_bank=whole_bank,
    )  # fmt: skip
    reference = _given(found.videos)
    for other in (found.texts, found.bank_texts, found.bank_videos):
        if (
            model is None
            and other is not None
            and other.vectors.shape[1] != reference.vectors.shape[1]
        ):
            raise FormatError(
                f"{other.source}: embeddings have d = {other.vectors.shape[1]} but "
                f"{reference.source} has d = {reference.vectors.shape[1]}; "
                f"both must come from the same model"
            )
    if bank_gt is None:
        return found
    if found.bank_texts is None or found.bank_videos is None:
        raise RerankError("--bank-gt needs --bank-texts and --bank-videos, which it refers to")
    texts_of_bank = found.bank_texts.ids
    if sharded and not whole_bank:
        texts_of_bank = comm.gather_names(texts_of_bank)
    truth = io.read_ground_truth(bank_gt, texts_of_bank, found.bank_videos.ids)
    return replace(found, bank_positives=tuple(truth.positives))


def _heads(model: Path | None) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """The projection heads of a trained model, or None."""
    if model is None:
        return None
    from rerank.train import is_trained_model, load_heads  # torch.nn, for trained models only

    if model.is_file() and not is_trained_model(model):
        raise FormatError(
            f"{model}: not a model that `rerank train` wrote; a fitted reranker is used by "
            f"`rerank search --model`"
        )
    return load_heads(model)


def _whole_hash(inputs: Inputs, role: str) -> str:
    """Content hash of a whole file; a process that holds a share of it looks through it again."""
    held: Embeddings | ScoreMatrix = getattr(inputs, role)
    mine = len(held.ids) if isinstance(held, Embeddings) else len(held.query_ids)
    if mine == held.total_rows:
        return held.content_sha256
    if isinstance(held, ScoreMatrix):
        return io.hash_scores(held.source)
    return io.hash_embeddings(held.source, pool=inputs.pool)


def describe_inputs(inputs: Inputs, *, folder: Path) -> dict[str, Any]:
    """Path (relative to the result file), content hash and size of every input."""
    described: dict[str, Any] = {}
    for role in ("texts", "videos", "bank_texts", "bank_videos"):
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            described[role] = {
                "path": os.path.relpath(embeddings.source, folder),
                "sha256": _whole_hash(inputs, role),
                "count": embeddings.total_rows,
                "dim": int(embeddings.vectors.shape[1]),
            }
    if inputs.scores is not None:
        described["sims"] = {
            "path": os.path.relpath(inputs.scores.source, folder),
            "sha256": _whole_hash(inputs, "scores"),
            "count": [inputs.scores.total_rows, len(inputs.scores.gallery_ids)],
        }
    if inputs.model is not None:
        digest = hashlib.sha256(inputs.model.read_bytes()).hexdigest()
        described["model"] = {"path": os.path.relpath(inputs.model, folder), "sha256": digest}
    if inputs.bank_gt is not None:
        described["bank_gt"] = {"path": os.path.relpath(inputs.bank_gt, folder)}
    return described


def positives_of(truth: io.GroundTruth, n_videos: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """Positives of both directions: per text, and per video."""
    texts = tuple(truth.positives)
    return texts, transpose_positives(texts, n_videos)
