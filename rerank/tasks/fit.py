"""`rerank fit` and `rerank.fit`: a gallery and a bank in, a model that serves unseen queries out.

A gallery is videos for "t2v" and texts for "v2t"; queries are the other. Heads that `rerank train`
learned travel inside the model file and are applied to everything that is read.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core import nouns
from rerank.core.errors import RerankError, RerankWarning
from rerank.core.nouns import counted
from rerank.core.pairs import transpose_positives
from rerank.core.rows import StoredRows
from rerank.core.shell import words as typed_words
from rerank.core.similarity import Pair
from rerank.core.torch_state import usual_state
from rerank.core.wording import label, option
from rerank.core.words import NAMES, Metric, Name, Side
from rerank.io.reading import ROWS
from rerank.io.swapped_files import said_of_sides
from rerank.methods.fusion import Blocks, Weights
from rerank.methods.saved import KIND, Saved
from rerank.passes import reduce
from rerank.serving.fitting import fit_model
from rerank.serving.matching import with_manifest
from rerank.serving.model import Model, Named, named_vectors
from rerank.serving.trained import kept_heads, load_heads_from, through
from rerank.tasks.answer import Answer
from rerank.tasks.comparable import check_lengths, check_widths
from rerank.tasks.fuse import read_fused, read_rows
from rerank.tasks.models import Paths, one_path, paths_of, several
from rerank.tasks.read import (
    bytes_of,
    check_said,
    pick_device,
    read_role,
    right_answers,
)
from rerank.tasks.settings import settings_over


@usual_state()
def fit(
    gallery: Any,  # noqa: ANN401  embeddings of any kind
    *,
    bank_texts: Any = None,  # noqa: ANN401
    bank_videos: Any = None,  # noqa: ANN401
    bank_gt: Any = None,  # noqa: ANN401
    ids: Sequence[str] | None = None,
    direction: Name = "t2v",
    method: str | None = None,
    metric: Metric = "cosine",
    heads: str | Path | None = None,
    keep_bank: bool = True,
    keep_gallery: bool = True,
    gate: bool = True,
    device: str | torch.device | None = None,
    blocks: Blocks | None = None,
    confidence: bool = False,
    bias: Any = None,  # noqa: ANN401  numbers, {id: number} or a path
    bias_weight: float = 1.0,
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Model:
    """Fit a model of one gallery on a bank of queries that are not the ones to come.

    Embeddings are arrays, tensors, lists, DataFrames, `Embeddings` or paths.

    Args:
        gallery: (m, d) what will be searched: videos for "t2v", texts for "v2t".
        bank_texts: (n, d) texts that no test query is among; the bank of "t2v".
        bank_videos: (p, d) videos outside the gallery; the bank of "v2t". For "t2v" they let EM in.
        bank_gt: known pairs of the bank, which turn the gate on: a path, or for every bank text
            the rows of its bank videos, or a `GroundTruth`.
        ids: names of the gallery items, where `gallery` has none; by default "0", "1", ...
        direction: "t2v" (texts search videos) or "v2t".
        method: names of `rerank methods` joined by "+".
        metric: "cosine" or "dot".
        heads: file of heads that `rerank train` learned.
        keep_bank: hold the bank, so that `Model.add` can give new items their bias.
        keep_gallery: hold the gallery, so that the model searches on its own.
        gate: whether known pairs may veto or shrink the biases.
        device: where to fit.
        blocks: of `rerank.fuse`, where the embeddings are those of several models: queries may
            then come as a list with those of each.
        bias: a number of each item from outside, such as its popularity or the logarithm of a
            prior, in score units: numbers, `{id: number}` or a file.
        bias_weight: what they are multiplied by; below 0 they are taken away.
        confidence: learn from the bank's pairs how sure a first result is, for
            `search(..., confidence=True)`; with `bank_gt` it becomes a probability.
        **settings: fields of the method, such as tau.

    Raises:
        RerankError: data that do not fit together, or a method that cannot serve unseen queries.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> videos, bank = rng.normal(size=(50, 8)), rng.normal(size=(40, 8))
    >>> model = fit(videos, bank_texts=bank, method="sinkhorn", tau=0.1)
    >>> model.search(rng.normal(size=(2, 8)), k=3).ids.shape
    (2, 3)
    """
    if direction not in NAMES:
        raise RerankError(f"direction: got {direction!r}, expected 't2v' or 'v2t'")
    bank, other = (bank_texts, bank_videos) if direction == "t2v" else (bank_videos, bank_texts)
    words: tuple[Side, Side] = ("videos", "texts") if direction == "t2v" else ("texts", "videos")
    if bank is None:
        raise RerankError(
            f"fit: bank_{words[1]} is missing: unseen queries are served by biases from a bank of "
            f"other {words[1]}; to re-rank known queries use rerank.apply"
        )
    searched = named_vectors(gallery, ids, None, metric, side=words[0])
    names, vectors = searched.names, searched.vectors
    if names is None:
        names = [str(row) for row in range(len(vectors))]
    sides = [named_vectors(bank, None, None, metric, side=words[1])]
    if other is not None:
        sides.append(named_vectors(other, None, None, metric, side=words[0]))
    roles: tuple[str, ...] = (words[0], f"bank_{words[1]}", f"bank_{words[0]}")
    read: dict[str, io.Embeddings] = dict(
        zip(roles, (part.held for part in (searched, *sides)), strict=False)
    )
    for note in said_of_sides(read, called={words[0]: "gallery"}):
        warnings.warn(note, RerankWarning, stacklevel=3)
    positives = None if bank_gt is None else _positives(bank_gt, sides, direction)
    data = None if heads is None else bytes_of(Path(heads))
    trained = None if data is None else load_heads_from(data)
    x = through(trained, vectors, words[0])
    saved = fit_model(
        names,
        x,
        through(trained, sides[0].vectors, words[1]),
        bank_gallery=None if other is None else through(trained, sides[1].vectors, words[0]),
        bank_positives=positives,
        direction=direction,
        method=method,
        metric=metric,
        keep_bank=keep_bank,
        gate=gate,
        device=device,
        blocks=blocks,
        confidence=confidence,
        bias=None if bias is None else bias_weight * io.item_numbers(bias, names),
        **settings,
    )
    if data is not None:
        saved = with_manifest(replace(saved, kept={**saved.kept, **kept_heads(data)}), trained=True)
    if not keep_gallery:
        return Model(saved)
    return Model(saved, x.cpu().float() if x.dtype == torch.float64 else x.cpu())


def _positives(
    truth: Any,  # noqa: ANN401  a path, or rows for every text
    sides: Sequence[Named],
    direction: Name,
) -> tuple[np.ndarray, ...]:
    """For every bank query the rows of the bank's gallery that are right."""
    if len(sides) < 2:
        raise RerankError("bank_gt needs bank_texts and bank_videos, which it refers to")
    numbered = [[str(r) for r in range(len(v))] if ids is None else ids for ids, v, _ in sides]
    texts, videos = numbered if direction == "t2v" else numbered[::-1]
    positives, _ = right_answers(truth, texts, videos)
    return positives if direction == "t2v" else transpose_positives(positives, len(videos))


def fit_files(
    out: Path,
    *,
    videos: Paths,
    texts: Paths,
    bank_texts: Paths,
    bank_videos: Paths,
    bank_gt: Path | None = None,
    weights: Weights = "auto",
    confidence: bool = False,
    bias: Path | None = None,
    bias_weight: float = 1.0,
    direction: Name = "t2v",
    heads: Path | None = None,
    metric: str = "cosine",
    settings: Mapping[str, Any] | None = None,
    settings_file: Path | None = None,
    keep_bank: bool = False,
    keep_gallery: bool = False,
    gate: bool = True,
    device: str = "auto",
    reading: io.Reading | None = None,
    force: bool = False,
) -> Answer:
    """Fit a model of one gallery and write it.

    `settings` go before those of `settings_file`, which `rerank tune` wrote.

    Raises:
        RerankError: files that are missing or do not fit together; nothing is written then.
    """
    words = ("videos", "texts") if direction == "t2v" else ("texts", "videos")
    roles = _roles(direction, words, (videos, texts), (bank_texts, bank_videos))
    said = reading or io.Reading()
    io.check_outputs(
        {"--out": out},
        (*(path for paths in roles.values() for path in paths_of(paths)), bank_gt, bias, heads,
         settings_file, said.text_ids, said.video_ids),
        force=force, kind=KIND,
    )  # fmt: skip
    io.check_place(out)
    target = pick_device(device)
    held = _read_sides(roles, said, bank_gt, direction=direction, metric=metric, weights=weights,
                       heads=heads)  # fmt: skip
    gallery, bank, other, positives = held.gallery, held.bank, held.other, held.positives
    data = None if heads is None else bytes_of(heads)
    trained = None if data is None else load_heads_from(data)
    model = fit_model(
        gallery.ids,
        through(trained, gallery.vectors, words[0]),
        through(trained, bank.vectors, words[1]),
        bank_gallery=None if other is None else through(trained, other.vectors, words[0]),
        bank_positives=positives,
        direction=direction,
        metric=metric,  # type: ignore[arg-type]
        keep_bank=keep_bank,
        gate=gate,
        device=target,
        bias=None if bias is None else bias_weight * io.item_numbers(bias, gallery.ids),
        blocks=held.blocks,
        confidence=confidence,
        **settings_over(settings_file, settings),
    )
    if keep_bank and not model.manifest["grows"]:
        raise RerankError(
            f"{label('keep-bank')}: {model.manifest['notes'][-1]}; or leave "
            f"{label('keep-bank')} out"
        )
    if data is not None:
        model = with_manifest(replace(model, kept={**model.kept, **kept_heads(data)}), trained=True)
    items = through(trained, gallery.vectors, words[0]) if keep_gallery else None
    Model(model, items).save(out)
    double = trained is None and np.float64 in (gallery.vectors.dtype, bank.vectors.dtype)
    kept = {"bank": keep_bank, "gallery": keep_gallery}
    # Rows of a bank need no names here, but queries do.
    named = said if bank.ids_given else replace(said, **{f"{words[1][:-1]}_ids": Path(ROWS)})
    text = _text(out, model, roles, named, kept=kept, device=target, double=double)
    warnings = [*held.notes, *model.manifest["notes"]]
    if gate and bank_gt is None:
        warnings.append(
            f"the gate is off: without {option('bank-gt')} nothing judges whether the bank helps"
        )
    return Answer({**model.manifest, "out": str(out)}, text, tuple(warnings))


def _roles(
    direction: Name, words: tuple[str, str], sides: tuple[Paths, Paths], banks: tuple[Paths, Paths]
) -> dict[str, Paths]:
    """The files of the gallery, of the bank, and of the bank's gallery, by their roles.

    Raises:
        RerankError: no gallery, or no bank.
    """
    gallery = sides[0] if direction == "t2v" else sides[1]
    bank, other = banks if direction == "t2v" else banks[::-1]
    if not gallery:
        raise RerankError(f"--{words[0]} is missing: {direction} searches {words[0]}")
    if not bank:
        raise RerankError(
            f"--bank-{words[1]} is missing: unseen queries are served by biases from a bank of "
            f"other {words[1]}; to re-rank known queries use `rerank apply`"
        )
    return {words[0]: gallery, f"bank_{words[1]}": bank, f"bank_{words[0]}": other}


def _text(
    out: Path, model: Saved, roles: Mapping[str, Paths], said: io.Reading, *,
    kept: Mapping[str, bool], device: torch.device, double: bool,
) -> str:  # fmt: skip
    """What was fitted, and the command that searches with it: the bank stands for new queries."""
    manifest, (word, other) = model.manifest, [role.removeprefix("bank_") for role in roles][:2]
    sizes = {role: manifest[role]["count"] for role in ("gallery", "bank")}
    beside = manifest.get("bank_gallery")
    swept = any(
        "iterations" in stage.facts and "sparse" not in stage.facts for stage in model.fitted.stages
    )
    regime = _regime(
        sizes["bank"], sizes["gallery"], manifest["gallery"]["dimension"], device, double=double
    )
    searched, asked, _ = roles.values()
    typed = ["rerank", "search", "--model", str(out)]
    for role, paths in ((word, () if kept["gallery"] else searched), (other, asked)):
        for path in paths_of(paths):
            typed += [f"--{role}", str(path)]
    queries, items = nouns.of(manifest["direction"])
    return "\n".join([
        f"gallery: {counted(sizes['gallery'], items)}, d = {manifest['gallery']['dimension']}; "
        f"bank: {counted(sizes['bank'], queries)}"
        + (f" and {counted(beside['count'], items)}" if beside else ""),
        f"{manifest['direction']}: {manifest['method']}, label {model.fitted.label}"
        f"{_numbers(model)}",
        *([f"sweeps: {regime}"] if swept else []),
        f"written: {out}"
        + (" (with its bank, so that the gallery can grow)" if kept["bank"] else "")
        + (" (with its gallery, so that it searches on its own)" if kept["gallery"] else ""),
        f"next  {typed_words([*typed, *said.as_options()])}",
    ])  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Sides:
    """What a fit reads, of one model or of several as one."""

    gallery: io.Embeddings
    bank: io.Embeddings
    other: io.Embeddings | None
    positives: tuple[np.ndarray, ...] | None
    blocks: Blocks | None = None
    notes: tuple[str, ...] = ()


def _read_sides(
    roles: Mapping[str, Paths], said: io.Reading, bank_gt: Path | None, *, direction: Name,
    metric: str, weights: Weights, heads: Path | None,
) -> _Sides:  # fmt: skip
    """Read the gallery, the bank and the bank's gallery; several models become one.

    Raises:
        RerankError: files that do not fit together.
    """
    if several(*roles.values()):
        if heads is not None:
            raise RerankError("--heads belongs to one model; leave it out where several are fused")
        return _fused_sides(roles, said, bank_gt, direction, metric, weights)
    if weights != "auto":
        raise RerankError("--weights needs several models: give every file once for each")
    check_said(said, roles)  # type: ignore[arg-type]
    # Nothing asks for names in a bank but its ground truth.
    free = bank_gt is None or str(bank_gt) == "diagonal"
    gallery, bank, other = (
        None if (path := one_path(paths)) is None
        else read_role(path, role, said, metric=metric, row_numbers=free and k > 0,
                       named_by=bank_gt if k else None)
        for k, (role, paths) in enumerate(roles.items())
    )  # fmt: skip
    assert gallery is not None and bank is not None
    files = zip(roles, (gallery, bank, other), strict=True)
    for note in said_of_sides({role: held for role, held in files if held is not None}):
        warnings.warn(note, RerankWarning, stacklevel=2)
    if heads is None:
        check_widths(gallery, bank, other)
        if metric == "dot":
            check_lengths(bank, gallery)
            check_lengths(bank, other)
    return _Sides(gallery, bank, other, _bank_pairs(bank_gt, bank, other, direction, said))


def _bank_pairs(
    bank_gt: Path | None, bank: io.Embeddings, other: io.Embeddings | None, direction: Name,
    said: io.Reading,
) -> tuple[np.ndarray, ...] | None:  # fmt: skip
    """For every bank query the rows of the bank's gallery that are right."""
    if bank_gt is None:
        return None
    if other is None:
        raise RerankError("--bank-gt needs --bank-texts and --bank-videos, which it refers to")
    pair = (bank, other) if direction == "t2v" else (other, bank)
    truth = io.read_ground_truth(bank_gt, pair[0].ids, pair[1].ids, **said.of_truth("bank-gt"))
    positives = tuple(truth.positives)
    return positives if direction == "t2v" else transpose_positives(positives, len(bank))


def _fused_sides(
    roles: Mapping[str, Paths], said: io.Reading, bank_gt: Path | None, direction: Name,
    metric: str, weights: Weights,
) -> _Sides:  # fmt: skip
    """Models as one, with weights from the bank: its queries have their matches in it."""
    (word, gallery), (_, asking), (_, others) = roles.items()
    if not others:
        raise RerankError(
            "several models need --bank-texts and --bank-videos of each: weights and the order of "
            "the items show in them"
        )
    texts, videos = (asking, others) if direction == "t2v" else (others, asking)
    known = bank_gt is not None
    made = read_fused(
        texts=texts, videos=videos, bank_texts=texts if known else None,
        bank_videos=videos if known else None, bank_gt=bank_gt, weights=weights, reading=said,
        metric=metric,  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.blocks is not None and made.texts is not None and made.videos is not None
    held = read_rows(paths_of(gallery), made.blocks, reading=said, word=word)
    bank, other = (made.texts, made.videos)[:: 1 if direction == "t2v" else -1]
    positives = _bank_pairs(bank_gt, bank, other, direction, said)
    return _Sides(held, bank, other, positives, made.blocks, made.notes)


def _regime(n: int, m: int, d: int, device: torch.device, *, double: bool) -> str:
    """How sweeps of so many queries and items are done, without any of their numbers."""
    one = torch.ones((1, 1), dtype=torch.float64 if double else torch.float32, device=device)
    sides = [one.expand(n, d), one.expand(m, d)]
    if device.type == "cpu" and not double:
        sides = [StoredRows(side) for side in sides]  # not looked through, however many
    return reduce.regime(Pair(*sides, metric="dot"))


def _numbers(model: Saved) -> str:
    parts = []
    for stage in model.fitted.stages:
        found = {
            word: getattr(stage, name, None)
            for name, word in (
                ("tau", "tau"), ("n_iters", "iterations"), ("error", "marginal error"),
            )
        }  # fmt: skip
        found = {word: value for word, value in found.items() if value is not None}
        # Where there was too little to fit, a note says so.
        if not any(math.isnan(value) for value in found.values()):
            parts += [f"{word} {value:.4g}" for word, value in found.items()]
    return "".join(f", {part}" for part in parts)
