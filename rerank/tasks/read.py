"""The files of a run: read, checked against each other, and described for a manifest.

What the serving commands read and say: embeddings, galleries of several files, trained heads.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.core import comm
from rerank.core.errors import FormatError, RerankError
from rerank.core.rows import slices
from rerank.core.similarity import ArrayLike, as_matrix
from rerank.io import Embeddings, ScoreMatrix
from rerank.io.scratch import joined
from rerank.methods.saved import Saved, save


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
    def groups(self) -> Literal["auto"] | tuple[str, ...]:
        """What each text belongs to, of all processes, or each video; "auto" where none say."""
        for held, split in ((self.texts, self.sharded), (self.videos, False)):
            if held is None:
                continue
            own = held.group_ids or _before_number(held.ids)
            whole = comm.gather_names(own) if split else own
            if whole and len(set(whole)) < len(whole):
                return whole
        if self.scores is not None:
            for ids in (self.text_ids, self.video_ids):
                whole = _before_number(ids)
                if whole and len(set(whole)) < len(whole):
                    return whole
        return "auto"

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the columns."""
        return self.scores.gallery_ids if self.scores is not None else _given(self.videos).ids


def _before_number(ids: Sequence[str]) -> tuple[str, ...]:
    """`x` of ids `x#k`, where all of them are such; else nothing."""
    parts = [name.rpartition("#") for name in ids]
    if not all(sign and name and number.isdigit() for name, sign, number in parts):
        return ()
    return tuple(name for name, _, _ in parts)


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


# The file that `rerank train` wrote, kept whole inside a model.
HEADS = "heads.file"


@dataclass(frozen=True, eq=False)
class Said:
    """What a command did.

    Attributes:
        manifest: for a program.
        text: for a person.
        warnings: what to look at, one sentence each.
    """

    manifest: dict[str, Any]
    text: str
    warnings: tuple[str, ...] = ()


def write_model(out: Path, model: Saved) -> None:
    """Write everything in a model."""
    save(out, model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest, kept=model.kept)


def read(path: Path, metric: str, pool: str | None) -> Embeddings:
    """Read embeddings."""
    return io.read_embeddings(path, metric=metric, pool=pool)  # type: ignore[arg-type]


def sides(
    direction: str, videos: Sequence[Path], texts: Sequence[Path]
) -> tuple[Sequence[Path], Sequence[Path], tuple[str, str]]:
    """(gallery files, query files, their words) of a direction."""
    if direction == "t2v":
        return videos, texts, ("videos", "texts")
    return texts, videos, ("texts", "videos")


def one_file(paths: Sequence[Path], word: str) -> Path:
    """The one file of queries.

    Raises:
        RerankError: none, or more than one.
    """
    if len(paths) != 1:
        raise RerankError(f"--{word}: got {len(paths)} files of queries, expected one")
    return paths[0]


def gallery_of(
    model: Saved, paths: Sequence[Path], metric: str, pool: str | None
) -> tuple[tuple[str, ...], Tensor]:
    """One gallery from one or more files, through the model's head."""
    if not paths:
        raise RerankError("the gallery is missing: --videos, or --texts for v2t")
    word = "videos" if model.manifest["direction"] == "t2v" else "texts"
    parts = [read(path, metric, pool) for path in paths]
    ids = tuple(name for part in parts for name in part.ids)
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise RerankError(f"{', '.join(map(str, paths))}: {twice!r} is in more than one of them")
    widths = {part.vectors.shape[1] for part in parts}
    if len(widths) > 1:
        raise RerankError(f"{', '.join(map(str, paths))}: dimensions differ: {sorted(widths)}")
    vectors = parts[0].vectors
    if len(parts) > 1:
        dtype = np.result_type(*(part.vectors.dtype for part in parts))
        blocks = (part.vectors[s].astype(dtype) for part in parts for s in slices(len(part)))
        vectors = joined(blocks, (len(ids), *widths), ", ".join(map(str, paths)))
    return ids, through(heads_of(model), vectors, word)


def bytes_of(path: Path) -> bytes:
    """A whole file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None


def lines_of(path: Path) -> list[str]:
    """Lines of a text file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a text file of ids, one a line ({error})") from None


def heads_of(model: Saved | None) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """The trained heads that travel inside a model, or None."""
    if model is None or HEADS not in model.kept:
        return None
    return load_heads_from(model.kept[HEADS].numpy().tobytes())


def load_heads_from(data: bytes) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """Heads from the bytes of a file that `rerank train` wrote."""
    from rerank.train.saved_heads import load_heads  # torch.nn and more, for trained models only

    with TemporaryDirectory() as folder:
        path = Path(folder) / "trained.safetensors"
        path.write_bytes(data)
        return load_heads(path)


def through(heads: Any, vectors: np.ndarray, word: str) -> Tensor:  # noqa: ANN401
    """Embeddings as the model sees them: through the trained head of their kind, if any."""
    if heads is None:
        return as_matrix(vectors, word, keep_half=True)
    return (heads.texts if word == "texts" else heads.videos)(vectors)


def each_through(heads: Any, vectors: np.ndarray, word: str) -> Tensor:  # noqa: ANN401
    """The same for queries, every one by itself, so that the batch changes no last bit."""
    if heads is None:
        return through(heads, vectors, word)
    return torch.cat([through(heads, row[None], word) for row in vectors])


def folded_head(heads: Any, word: str) -> dict[str, np.ndarray]:  # noqa: ANN401
    """The query head as one affine map; nothing without a head, or where it is an MLP."""
    if heads is None or heads.text.hidden or heads.video.hidden:
        return {}
    weight, bias = heads.folded()[0 if word == "texts" else 1]
    names = ("head", "head_bias")
    return {n: t.detach().numpy() for n, t in zip(names, (weight, bias), strict=True)}
