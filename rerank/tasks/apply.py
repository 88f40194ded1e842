"""`apply`: both directions of embeddings or of a matrix, re-ranked, from arrays or from files."""

import inspect
import json
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.core import comm, nouns
from rerank.core.arrays import ArrayLike, as_matrix
from rerank.core.errors import RerankError, RerankWarning
from rerank.core.memory import limit
from rerank.core.shell import words as typed_words
from rerank.core.similarity import Similarity
from rerank.core.torch_state import usual_state
from rerank.core.version import __version__
from rerank.core.wording import option
from rerank.core.words import Label, Metric, Name, ScoresAre
from rerank.io import DirectionResult, Embeddings
from rerank.io.files import folder_of
from rerank.methods import directions, engine
from rerank.methods.base import FittedPipeline
from rerank.methods.directions import Direction, Groups
from rerank.methods.engine import Fit, Gate, Run
from rerank.methods.fusion import Weights
from rerank.methods.kinds import Scores, Unscored, read_both
from rerank.methods.registry import cards_of
from rerank.methods.saved import decode, encode
from rerank.metrics import hubness
from rerank.metrics.hubness import Hubness, rise
from rerank.passes import gallery, padding, reduce
from rerank.passes import topk as search
from rerank.passes.reduce import TopK
from rerank.tasks.answer import Answer, caught
from rerank.tasks.confidence import Answers, answers_of
from rerank.tasks.fuse import read_fused
from rerank.tasks.models import Paths, paths_of
from rerank.tasks.query_groups import BY_IDS
from rerank.tasks.read import (
    Inputs,
    describe_inputs,
    pick_device,
    reading_of,
    recorded,
    with_bias,
)
from rerank.tasks.settings import settings_over

SCHEMA = "rerank-results/1"
# What rows may be stored as.
_KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Ranking:
    """One direction, re-ranked.

    Attributes:
        fit: what went in and what was fitted.
        topk: the k best gallery items per query.
        before: hubness of the raw ranking, over at most 2,000 queries.
        after: hubness of the rewritten ranking, over the same.
    """

    fit: Fit
    topk: TopK
    before: Hubness
    after: Hubness

    @property
    def direction(self) -> Direction:
        """Similarity, bank and warnings."""
        return self.fit.direction

    @property
    def fitted(self) -> FittedPipeline | None:
        """The fitted stages, or None where the direction stays raw."""
        return self.fit.fitted

    @property
    def label(self) -> Label:
        """Which queries the fit used."""
        return self.fit.label

    @property
    def sim(self) -> Similarity:
        """The rewritten similarity."""
        return self.fit.sim

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        return (*self.direction.warnings, *self.sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Of the fit, and of hubs where they weigh more than before."""
        hubs = rise(self.before, self.after)
        return (*self.fit.sentences, *((hubs,) if hubs else ()))


@dataclass(frozen=True, eq=False)
class Reranked:
    """Both directions, re-ranked.

    Attributes:
        run: the fits.
        t2v: texts rank videos.
        v2t: videos rank texts.
        stored: the score matrix that went in, and what it was taken for; None for embeddings.
    """

    run: Run
    t2v: Ranking
    v2t: Ranking
    stored: Scores | None = None

    @property
    def method(self) -> str:
        """What was applied."""
        return self.run.method

    @property
    def settings(self) -> Mapping[str, Any]:
        """As given."""
        return self.run.settings

    @property
    def label(self) -> Label:
        """The strongest label of the two."""
        return self.run.label

    @usual_state()
    def matrix(self) -> Similarity:
        """The rewritten similarity, texts x videos, S + f + g, for both directions."""
        return self.run.matrix()

    @usual_state()
    def scores(self) -> Tensor:
        """The rewritten matrix, texts x videos. Builds n x m."""
        return self.matrix().scores()


@dataclass(frozen=True, eq=False)
class Ready:
    """What the engine fits, as `prepare` made it of the data.

    Attributes:
        both: the two directions.
        gate: judges a direction whose bank has no test queries, or None.
        prior: numbers of each item from outside, by direction.
        stored: the score matrix that went in, and what it was taken for; None for embeddings.
    """

    both: Mapping[Name, Direction]
    gate: Gate | None
    prior: Mapping[Name, Tensor]
    stored: Scores | None

    def remembering(self) -> AbstractContextManager[None]:
        """Inside, the nearest lists of both directions are found once."""
        return search.remembering(*(direction.sim for direction in self.both.values()))

    def ranked(self, run: Run, k: int) -> Reranked:
        """Both directions with their k best items per query."""
        return Reranked(run, ranking(run.t2v, k), ranking(run.v2t, k), self.stored)


def prepare(
    texts: ArrayLike | None = None,
    videos: ArrayLike | None = None,
    *,
    scores: ArrayLike | Mapping[str, ArrayLike] | tuple[ArrayLike, ArrayLike | None] | None = None,
    bank_texts: ArrayLike | None = None,
    bank_videos: ArrayLike | None = None,
    bank_positives: tuple[np.ndarray, ...] | None = None,
    bank_scores: ArrayLike | None = None,
    method: str | None = None,
    metric: Metric = "cosine",
    k: int = 10,
    gate: bool = True,
    scores_are: ScoresAre = "auto",
    groups: Groups = "auto",
    unscored: Unscored = None,
    device: str | torch.device | None = None,
    sharded: bool = False,
    whole_bank: bool = False,
    bias: ArrayLike | None = None,
) -> Ready:
    """Two directions of embeddings, or of a texts x videos matrix, ready for the engine.

    Args:
        texts: (n, d) numpy or torch.
        videos: (m, d), of the same model.
        scores: (n, m) instead of embeddings; transductive. A dictionary of `t2v` (n, m) and `v2t`
            (m, n) has scores of its own for each direction.
        bank_texts: texts that are not test queries; they fit text to video.
        bank_videos: videos outside the test gallery; they fit video to text.
        bank_positives: for each bank text the bank video rows that are right, where known: the
            do-no-harm gate then judges the biases on the bank before they are used.
        bank_scores: bank texts x videos, beside `scores`; they fit text to video.
        method: what will be fitted, see `rerank methods`.
        metric: "cosine" or "dot".
        k: results per query, at most as many as items of the larger side.
        gate: judge biases on the bank's known pairs, where there are any.
        scores_are: see `rerank`.
        groups: what is known of the test set, see `rerank`; with `sharded`, ids of all texts.
        unscored: see `rerank`.
        device: where to compute; None = where the tensors are.
        sharded: `texts`, `bank_texts` and the rows of `scores` are this process's share of them
            (`comm.my_rows`), `bank_positives` are those of the whole bank; every process gets the
            whole top-k.
        whole_bank: with `sharded`, `bank_texts` are the whole bank's (see `wants_whole_bank`);
            shares of it are gathered where it is needed.
        bias: (m,) a number of each video from outside, in score units, added to what is fitted.

    Raises:
        RerankError: input that does not fit together.
    """
    if (scores is None) == (texts is None or videos is None):
        raise RerankError("apply: give texts and videos, or scores, not both and not neither")
    if bank_scores is not None and scores is None:
        raise RerankError("bank_scores stand beside scores; with embeddings give bank_texts")
    if scores is not None and (bank_texts is not None or bank_videos is not None):
        raise RerankError(
            "a bank of embeddings cannot be compared with stored scores: give --videos and "
            "--texts, or the bank's scores with --bank-sims (bank_scores in Python)"
        )
    stored = None
    if scores is not None:
        stored = read_both(scores, scores_are=scores_are, unscored=unscored, sharded=sharded)
        if stored.sentence:
            warnings.warn(stored.sentence, RerankWarning, stacklevel=4)
        both = directions.from_matrix(stored, bank_scores, groups=groups, device=device)
    else:
        gated = gate and bank_positives is not None
        if sharded and not whole_bank:
            whole_bank = wants_whole_bank(method, gated=gated)
            bank_texts = whole(bank_texts, "bank texts") if whole_bank else bank_texts
        texts, videos, bank_texts, bank_videos = (
            _on(x, device) for x in (texts, videos, bank_texts, bank_videos)
        )
        assert texts is not None and videos is not None
        both = directions.from_embeddings(
            texts, videos, bank_texts=bank_texts, bank_videos=bank_videos,
            # Those of the whole bank do not fit a share of it, and nobody asks for them.
            bank_positives=None if sharded and not gated else bank_positives, metric=metric,
            sharded=sharded, whole_bank=whole_bank, groups=groups,
        )  # fmt: skip
    sizes: dict[Name, int] = {
        name: reduce.total_queries(direction.sim.T) for name, direction in both.items()
    }
    larger: Name = max(sizes, key=lambda name: sizes[name])
    reduce.check_k(k, sizes[larger], nouns.of(larger)[1])
    judge = None
    if gate and any(d.bank is not None and d.bank.sim is not d.sim for d in both.values()):
        from rerank.selection.gate import gate as gate_of  # heavier than all the rest

        judge = gate_of(sharded=both["t2v"].sim.shard is not None)
    prior: dict[Name, Tensor] = {} if bias is None else {"t2v": torch.as_tensor(bias)}
    return Ready(both, judge, prior, stored)


_DATA = frozenset(inspect.signature(prepare).parameters)


def apply(
    texts: ArrayLike | None = None,
    videos: ArrayLike | None = None,
    *,
    method: str | None = None,
    k: int = 10,
    **given: Any,  # noqa: ANN401  the rest of `prepare`, and fields of the method
) -> Reranked:
    """Re-rank both directions of embeddings, or of a texts x videos matrix.

    Args:
        texts: (n, d) numpy or torch; see `prepare`.
        videos: (m, d), of the same model.
        method: see `rerank methods`; by default "sinkhorn+align+sinkhorn" for embeddings and
            "sinkhorn" for scores.
        k: results per query, in each direction at most its number of items.
        **given: what else `prepare` takes, such as `scores` and `bank_texts`; and fields of the
            stages, such as tau, n_iters, strength.

    Returns:
        A `Reranked`. With no bank both directions are transductive; with a bank, a direction that
        misses its own stays raw with label "none" and a warning.

    Raises:
        RerankError: input that does not fit together, unknown settings.
    """
    data = {name: given.pop(name) for name in _DATA & given.keys()}
    ready = prepare(texts, videos, method=method, k=k, **data)
    with ready.remembering():
        run = engine.fit(ready.both, method, given, gate=ready.gate, prior=ready.prior)
        return ready.ranked(run, k)


def usual_k(n: int, m: int) -> int:
    """Results per query where nobody asks for a number: 10, or the larger side."""
    return min(10, max(n, m))


def wants_whole_bank(method: str | None, *, gated: bool) -> bool:
    """Whether several processes each need all bank texts to fit a method on embeddings.

    The gate does, which judges all known pairs, and so does a method that compares the bank's own
    gallery with the searched one: from video to text both are texts, and shares of both would
    leave most pairs out.
    """
    cards = cards_of(engine.DEFAULT_FOR_EMBEDDINGS if method is None else method)
    return gated or any(card.facts.whole_bank for card in cards)


def ranking(fit: Fit, k: int) -> Ranking:
    """The k best items per query, or all where there are fewer; hubness before and after."""
    raw, sim = fit.direction.sim, fit.sim
    items = reduce.total_queries(raw.T)
    found = search.topk(sim, min(max(k, 10), items))
    kept = TopK(found.scores[:, :k].contiguous(), found.indices[:, :k].contiguous())
    before, after = _hubs(raw, sim, found, items)
    return Ranking(fit=fit, topk=kept, before=before, after=after)


def _hubs(raw: Similarity, sim: Similarity, found: TopK, items: int) -> tuple[Hubness, Hubness]:
    """Before and after, counted over a sample, whose raw lists the temperature knows."""
    live = padding.live(raw)
    deep = hubness.depth(10, int(live.items.sum()))
    if not live.whole:
        before, after = (
            hubness.summary(side, deep, raw=raw, most=search.SAMPLE) for side in (raw, sim)
        )
        return before, after
    rows = gallery.drawn(raw, search.SAMPLE)
    lists = found if rows is None else TopK(found.scores[rows], found.indices[rows])
    raw_lists = lists
    if sim is not raw:
        few = min(10, items)
        raw_lists = search.topk(raw, few) if raw.shard else search.nearest(raw, few)
    before, after = (
        hubness.from_lists(hubness.scored_lists(x), items, deep) for x in (raw_lists, lists)
    )
    return before, after


def _on(x: ArrayLike | None, device: str | torch.device | None) -> ArrayLike | None:
    if x is None or device is None:
        return x
    if isinstance(x, np.ndarray) and torch.device(device).type == "cpu":
        # Where it is: a large one may be a file mapped into memory.
        return x
    tensor = torch.from_numpy(x) if isinstance(x, np.ndarray) and x.flags.writeable else x
    return tensor.to(device) if isinstance(tensor, Tensor) else torch.tensor(tensor).to(device)


def whole(rows: ArrayLike | None, what: str) -> Tensor | None:
    """The rows of all processes, in every process, of a type that holds them all."""
    if rows is None:
        return None
    mine = as_matrix(rows, what, keep_half=True, no_rows=True)
    # A share that is large to its process is left half, a smaller one may have been widened.
    there = comm.all_max(torch.tensor([int(mine.dtype == kind) for kind in _KINDS])).tolist()
    kinds = [kind for kind, is_there in zip(_KINDS, there, strict=True) if is_there]
    return comm.gather_rows(mine.to(_widest(kinds)).contiguous())


def _widest(kinds: Sequence[torch.dtype]) -> torch.dtype:
    found = kinds[0]
    for kind in kinds[1:]:
        found = torch.promote_types(found, kind)
    return found


def prepare_inputs(
    inputs: Inputs, *, method: str | None, metric: str, k: int, gate: bool, device: torch.device,
    groups: Groups = "auto",
) -> Ready:  # fmt: skip
    """`prepare` on what was read."""
    return prepare(
        inputs.vectors("texts"),
        inputs.vectors("videos"),
        scores=None if inputs.scores is None else (inputs.scores.scores, inputs.scores.reverse),
        bank_texts=inputs.vectors("bank_texts"),
        bank_videos=inputs.vectors("bank_videos"),
        bank_positives=inputs.bank_positives,
        bank_scores=None if inputs.bank_scores is None else inputs.bank_scores.scores,
        method=method,
        metric=metric,  # type: ignore[arg-type]
        k=k,
        scores_are=inputs.scores_are,
        unscored=inputs.unscored,
        groups=inputs.groups_as(groups),
        gate=gate,
        device=device,
        sharded=inputs.sharded,
        whole_bank=inputs.whole_bank,
        bias=inputs.bias,
    )


def apply_files(
    *, videos: Paths = None, texts: Paths = None, sims: Paths = None, bank_texts: Paths = None,
    bank_videos: Paths = None, bank_gt: Path | None = None, bank_sims: Path | None = None,
    weights: Weights = "auto", query_groups: str | None = None, bias: Path | None = None,
    bias_weight: float = 1.0, confidence: bool = False, threshold: float | None = None,
    metric: Metric = "cosine", k: int | None = None, scores_are: str = "auto",
    unscored: str | None = None, groups: str = "auto", gate: bool = True,
    out: Path = Path("reranked.h5"), store_scores: bool = False, device: str = "auto",
    pool: str | None = None, memory: str | None = None, heads: Path | None = None,
    settings: Mapping[str, Any] | None = None, settings_file: Path | None = None,
    reading: io.Reading | None = None, force: bool = False,
) -> Answer:  # fmt: skip
    """Read, re-rank both directions, write `out`, and report.

    `settings` go before those of `settings_file`, which `rerank tune` wrote.

    Raises:
        RerankError: input, settings or paths that do not work; nothing is written then.
    """
    settings = settings_over(settings_file, settings)
    said = reading_of(reading, pool)
    named = None if query_groups in (None, BY_IDS) else query_groups
    files = (paths_of(paths) for paths in (videos, texts, sims, bank_texts, bank_videos))
    io.check_outputs(
        {"--out": out},
        (*chain(*files), bank_gt, bank_sims, bias, heads, settings_file, named, said.text_ids,
         said.video_ids),
        force=force, kind=SCHEMA,
    )  # fmt: skip
    io.check_place(out)
    sharded = comm.start_from_environment()
    target = pick_device(device)
    method, fields = settings.get("method"), {k: v for k, v in settings.items() if k != "method"}
    gated = gate and bank_gt is not None
    whole_bank = sharded and sims is None and wants_whole_bank(method, gated=gated)
    with limit(memory):
        made = read_fused(
            weights=weights, query_groups=query_groups, videos=videos, texts=texts, sims=sims,
            bank_texts=bank_texts, bank_videos=bank_videos, bank_gt=bank_gt, bank_sims=bank_sims,
            metric=metric, heads=heads, sharded=sharded, whole_bank=whole_bank, reading=said,
            scores_are=scores_are, unscored=unscored,
        )  # fmt: skip
        inputs = with_bias(made.inputs, bias, bias_weight)
        k = usual_k(len(inputs.text_ids), len(inputs.video_ids)) if k is None else k
        with caught() as warned:
            ready = prepare_inputs(
                inputs, method=method, metric=metric, k=k, gate=gate, device=target,
                groups=groups,  # type: ignore[arg-type]
            )  # fmt: skip
            with ready.remembering():
                run = engine.fit(ready.both, method, fields, gate=ready.gate, prior=ready.prior)
                result = ready.ranked(run, k)
        fits = (result.t2v.fit, result.v2t.fit) if confidence or threshold is not None else ()
        answers: dict[Name, Answers] = {f.direction.name: answers_of(f, threshold) for f in fits}
        # Of all processes, so asked before the first one writes alone.
        regime, read = _sweeps(result), _read_lines(inputs, result.stored)
        asked = {
            "method": result.method, "metric": None if sims else metric, "k": k,
            "scores_are": scores_are, "unscored": unscored, "groups": groups, "gate": gate,
            "device": target.type, "pool": said.pool, **made.recorded(folder_of(out)),
            **_files_facts(said, bias, bias_weight, folder_of(out)), **fields,
        }  # fmt: skip
        manifest = write(
            out, inputs, result, scores=store_scores, force=force, settings=asked, answers=answers
        )
    if comm.rank() > 0:
        return Answer({}, "")
    cautions, notes = _messages(result, warned)
    notes = (
        *made.notes,
        *inputs.of_names,
        *notes,
        *dict.fromkeys(found.note for found in answers.values()),
    )
    # Only the first of several processes is here, and names of all are gathered by all.
    ids = ((), ()) if inputs.sharded else (inputs.text_ids, inputs.video_ids)
    sources = [found.source for found in (inputs.texts, inputs.videos, inputs.scores) if found]
    upnext = next_command(out, sources, *ids)
    text = _text(read, result, out, regime, store_scores, upnext)
    return Answer(manifest, text, cautions, notes)


def _files_facts(
    said: io.Reading, bias: Path | None, bias_weight: float, folder: Path
) -> dict[str, Any]:
    """What was said about the files and the numbers from outside; nothing where nothing was."""
    facts: dict[str, Any] = {}
    if bias is not None:
        facts = {"bias": os.path.relpath(bias, folder), "bias_weight": bias_weight}
    found = recorded(said, folder)
    return {**facts, "reading": found} if found else facts


def _messages(result: Reranked, warned: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Warnings and notes, each said once."""
    both = (result.t2v, result.v2t)
    cautions = [*warned, *_said(both, lambda outcome: outcome.direction.warnings)]
    notes = _said(both, lambda outcome: outcome.sentences)
    notes += [text] if (text := reduce.advice(result.t2v.direction.sim)) else []
    if result.stored is not None and result.stored.sure:
        # What the numbers say clearly is no warning.
        cautions = [text for text in cautions if text != result.stored.sentence]
        notes = [text for text in (result.stored.sentence, *notes) if text]
    return tuple(_unique(cautions)), tuple(_unique(notes))


def write(
    out: Path,
    inputs: Inputs,
    result: Reranked,
    *,
    settings: Mapping[str, Any],
    scores: bool = False,
    force: bool = False,
    answers: Mapping[Name, Answers] | None = None,
) -> dict[str, Any]:
    """Write a result file; of several processes the first one writes. Returns its manifest.

    Raises:
        RerankError: a path that is an input of the run, or that cannot be written.
    """
    sources = [
        Path(found.source)
        for model in inputs.models or (inputs,)
        for role in ("texts", "videos", "bank_texts", "bank_videos", "scores", "bank_scores")
        if (found := getattr(model, role)) is not None
    ]
    io.check_outputs({"--out": out}, sources, force=force, kind=SCHEMA)
    found = {
        "t2v": _direction_result(result.t2v, inputs.text_ids, inputs.video_ids),
        "v2t": _direction_result(result.v2t, inputs.video_ids, inputs.text_ids),
    }
    for name, said in (answers or {}).items():
        found[name] = replace(found[name], **vars(said.sure))
    matrix = _rows_of(result) if scores else None
    swept = _sweeps(result)
    if comm.rank() > 0:
        for _ in matrix or ():
            pass
        comm.barrier()
        return {}
    em_map = _em_map(result)
    manifest = _manifest(inputs, result, em_map, folder=folder_of(out), settings=dict(settings))
    if swept:
        # Sweeps of 8 bits and of rounded products may move places that others keep.
        manifest["sweeps"] = swept
    if answers:
        manifest["confidence"] = {name: said.as_dict() for name, said in answers.items()}
    io.write_results(
        out, directions=found, manifest=manifest, em_map=em_map, scores=matrix,
        fitted=_fitted(result),
    )  # fmt: skip
    comm.barrier()
    return manifest


def _rows_of(result: Reranked) -> Iterator[np.ndarray]:
    """The rewritten matrix a block of rows at a time, all of it in the first process."""
    sim = result.matrix()
    blocks = (block.cpu() for _, block in sim.blocks())
    return (block.numpy() for block in comm.rows_to_first(blocks, dtype=sim.dtype))


def _sweeps(result: Reranked) -> str:
    """How the sweeps of the fit were done; "" for methods that sweep nothing."""
    facts = [outcome.fit.facts for outcome in (result.t2v, result.v2t)]
    if not any("iterations" in found for found in facts):
        return ""
    sparse = next((found["sparse"] for found in facts if "sparse" in found), "")
    return sparse or reduce.regime(result.t2v.direction.sim)


def _said(both: Sequence[Ranking], sentences: Callable[[Ranking], Sequence[str]]) -> list[str]:
    """Sentences of both directions, each with the name of its own."""
    return [f"{o.direction.name}: {text}" for o in both for text in sentences(o)]


def _unique(notes: list[str]) -> list[str]:
    """Say once what holds for both directions."""
    bodies = [note.split(": ", 1)[-1] if note[:4] in ("t2v:", "v2t:") else note for note in notes]
    out: list[str] = []
    for note, body in zip(notes, bodies, strict=True):
        text = body if bodies.count(body) > 1 else note
        if text not in out:
            out.append(text)
    return out


def _direction_result(
    outcome: Ranking, query_ids: tuple[str, ...], gallery_ids: tuple[str, ...]
) -> DirectionResult:
    bias = None
    if outcome.fitted is None:
        bias = np.zeros(len(gallery_ids), dtype=np.float32)
    elif outcome.fitted.biased:
        found = outcome.fitted.gallery_bias
        if found is not None and outcome.direction.sim.shard == "gallery":
            found = comm.gather_rows(found)
        bias = np.zeros(len(gallery_ids)) if found is None else found.cpu().numpy()
    return DirectionResult(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        indices=outcome.topk.indices.cpu().numpy(),
        scores=outcome.topk.scores.cpu().numpy(),
        gallery_bias=bias,
        label=outcome.label,
    )


def _em_map(result: Reranked) -> np.ndarray | None:
    """The linear map, of the first direction that has one (both share it, but for the gate)."""
    maps = (_map_of(outcome) for outcome in (result.t2v, result.v2t))
    return next((matrix for matrix in maps if matrix is not None), None)


def _map_of(outcome: Ranking) -> np.ndarray | None:
    found = None if outcome.fitted is None else outcome.fitted.map
    return None if found is None else found.cpu().numpy()


_DOCUMENT = "document"


def _fitted(result: Reranked) -> dict[str, np.ndarray]:
    """Both fits as arrays, where maps and biases are all that they are; else nothing."""
    both = (result.t2v, result.v2t)
    fits = {o.direction.name: o.fitted for o in both if o.fitted is not None}
    whole = all(o.direction.sim.shard != "gallery" for o in both)
    if not whole or not all(fitted.biased for fitted in fits.values()):
        return {}
    document, tensors = encode(fits)
    text = json.dumps(document, sort_keys=True).encode()
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    return {_DOCUMENT: np.frombuffer(text, dtype=np.uint8), **arrays}


def fitted_of(found: io.Results, device: torch.device) -> dict[str, FittedPipeline] | None:
    """The fits that `apply` wrote, by direction; None where they are not in the file."""
    if _DOCUMENT not in found.fitted:
        return None
    document = json.loads(found.fitted[_DOCUMENT].tobytes())
    tensors = {
        key: torch.from_numpy(array).to(device)
        for key, array in found.fitted.items()
        if key != _DOCUMENT
    }
    return decode(document, tensors)


def _stored(outcome: Ranking, em_map: np.ndarray | None) -> bool:
    """Whether the file's bias and map are all that this direction's rewriting consists of."""
    if outcome.fitted is None:
        return True
    own = _map_of(outcome)
    return outcome.fitted.foldable and (
        own is None or (em_map is not None and np.array_equal(own, em_map))
    )


def _manifest(
    inputs: Inputs,
    result: Reranked,
    em_map: np.ndarray | None,
    *,
    folder: Path,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "label": result.label,
        "labels": {"t2v": result.t2v.label, "v2t": result.v2t.label},
        "inputs": describe_inputs(inputs, folder=folder),
        "settings": settings,
        **({} if nouns.sides() == nouns.DEFAULT else {"nouns": list(nouns.sides())}),
        **({} if result.stored is None else {"scores": result.stored.as_dict()}),
        "fits": {
            o.direction.name: describe_fit(o)
            | {"stored": _stored(o, em_map), "mapped": _map_of(o) is not None}
            for o in (result.t2v, result.v2t)
        },
        "versions": {
            "rerank": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def describe_fit(outcome: Ranking) -> dict[str, Any]:
    """The figures of a fit and of its hubness, for the manifest."""
    facts: dict[str, Any] = {
        "hub_skewness_before": round(outcome.before.skewness, 4),
        "hub_skewness_after": round(outcome.after.skewness, 4),
        "antihubs_before": round(outcome.before.antihub_share, 4),
        "antihubs_after": round(outcome.after.antihub_share, 4),
        "hub_queries": outcome.before.n_queries,
        "notes": list(outcome.notes),
    }
    if outcome.fit.gate is not None:
        facts["gate"] = dict(outcome.fit.gate)
    if outcome.fit.idle:
        facts["idle"] = outcome.fit.idle
    return facts | dict(outcome.fit.facts)


def _read_lines(inputs: Inputs, stored: Scores | None = None) -> list[str]:
    """What was read, a line per file; of scores also what they are, unless a note tells more."""
    if inputs.models:
        return [line for model in inputs.models for line in _read_lines(model)]
    lines: list[str] = []
    queries, items = nouns.sides()
    for role, unit in (
        ("texts", queries), ("videos", items),
        ("bank_texts", f"bank {queries}"), ("bank_videos", f"bank {items}"),
    ):  # fmt: skip
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            low, mean, high = inputs.norms(role)
            lines.append(
                f"read  {Path(embeddings.source).name}: "
                f"{nouns.counted(embeddings.total_rows, unit)}, "
                f"d = {embeddings.vectors.shape[1]}, norms {low:.3g} to {high:.3g} "
                f"(mean {mean:.3g}){_padding(inputs.zeros(role), embeddings.total_rows)}"
            )
    if inputs.scores is not None:
        n, m = inputs.scores.total_rows, len(inputs.scores.gallery_ids)
        way = f"{option('scores-are')} tells if they are something else"
        by_name = inputs.scores.is_of_distances
        told = inputs.scores_are != "auto" and not by_name
        kind = ""
        if stored is not None and not told and (by_name or not stored.sentence):
            kind = f", taken as {stored.reading.kind}; {way}"
        lines.append(
            f"read  {Path(inputs.scores.source).name}: {_times(n, queries, m, items)}{kind}"
        )
    if inputs.bank_scores is not None:
        n, m = inputs.bank_scores.scores.shape
        bank = Path(inputs.bank_scores.source).name
        lines.append(f"read  {bank}: {_times(n, f'bank {queries}', m, items)}")
    return lines


def _padding(zeros: int, total: int) -> str:
    """What is said of rows without a direction; where there are no others they count."""
    some = "1 is all zeros and counts" if zeros == 1 else f"{zeros:,} are all zeros and count"
    return f"; {some} in no figure of hubs" if 0 < zeros < total else ""


def _times(n: int, queries: str, m: int, items: str) -> str:
    return f"{nouns.counted(n, queries)} x {nouns.counted(m, items)}"


# A ground truth that is looked at for a hint; a larger one takes too long. From so many bytes on a
# few of its names tell whose it is.
_GLANCE, _LONG, _FEW = 20_000_000, 20_000, 20


def next_command(
    out: Path, sources: Sequence[str], text_ids: Sequence[str], video_ids: Sequence[str]
) -> str:
    """What to type next: with the ground truth beside the files, if it is one of theirs.

    >>> next_command(Path("reranked.h5"), ["data_samples/texts.h5"], ["text0001"], ["video0314"])
    'rerank eval --report report.html'
    """
    beside = dict.fromkeys(Path(source).parent / "gt.json" for source in sources)
    found: Path | None = None
    for gt in beside if text_ids else ():
        # One that does not know all of these texts and videos is the truth of others.
        with suppress(OSError, ValueError):
            if gt.stat().st_size <= _GLANCE:
                if not _names(gt, text_ids, video_ids):
                    io.read_ground_truth(gt, text_ids, video_ids)
                found = gt
                break
    # Without one a page still shows what moved.
    words = ["rerank", "eval"]
    words += ["--report", "report.html"] if found is None else ["--gt", str(found)]
    words += [] if out == Path("reranked.h5") else ["--results", str(out)]
    return typed_words(words)


def _names(gt: Path, text_ids: Sequence[str], video_ids: Sequence[str]) -> bool:
    """Whether a long JSON document has some of these texts in it, drawn evenly, and of the videos.

    It says nothing of a short one, nor of one in other words, which are read.
    """
    if gt.stat().st_size < _LONG:
        return False
    document = gt.read_bytes().strip()
    if document[-1:] not in (b"}", b"]"):
        return False

    def there(ids: Sequence[str]) -> list[bool]:
        step = max(1, len(ids) // _FEW)
        return [json.dumps(name, ensure_ascii=False).encode() in document for name in ids[::step]]

    return all(there(text_ids)) and any(there(video_ids))


def _text(
    read: list[str], result: Reranked, out: Path, regime: str, store_scores: bool, upnext: str
) -> str:
    shifts = [
        o.fit.facts["em_shift"] for o in (result.t2v, result.v2t) if "em_shift" in o.fit.facts
    ]
    moved = f"; EM moved the embeddings by {shifts[0]:.1%} of their norm" if shifts else ""
    swept = [f"sweeps  {regime}"] if regime else []
    lines = [*read, "", f"method  {result.method}{moved}", *swept, ""]
    header = ["", "label", "tau", "steps", "marginal error", "hub skewness", "antihubs"]
    rows = [_row(outcome) for outcome in (result.t2v, result.v2t)]
    header, *rows = _filled([header, *rows])
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, *rows):
        lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    stored = " and the rewritten matrix" if store_scores else ""
    lines += ["", f"wrote {out}: {_listed(result)}{stored}", f"next  {upnext}"]
    return "\n".join(lines)


def _filled(table: list[list[str]]) -> list[list[str]]:
    """The columns that say something in any row but the head."""
    told = [any(cell != "-" for cell in column) for column in zip(*table[1:], strict=True)]
    return [[cell for cell, keep in zip(row, told, strict=True) if keep] for row in table]


def _listed(result: Reranked) -> str:
    """How long the lists are."""
    down, up = (side.topk.indices.shape[1] for side in (result.t2v, result.v2t))
    return f"top {down} of both directions" if down == up else f"top {down} (t2v) and {up} (v2t)"


def _row(outcome: Ranking) -> list[str]:
    facts = describe_fit(outcome)
    before, after = outcome.before, outcome.after
    return [
        outcome.direction.name,
        outcome.label,
        f"{facts['tau']:.4g}" if facts.get("tau", 0) > 0 else "-",
        str(facts.get("iterations", "-")),
        f"{facts['marginal_error']:.1e}" if facts.get("tau", 0) > 0 else "-",
        f"{before.skewness:z.2f} -> {after.skewness:z.2f}",
        f"{before.antihub_share:.1%} -> {after.antihub_share:.1%}",
    ]
