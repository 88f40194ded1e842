"""The public verbs on whatever people hold, and the objects with ids that they return.

Arrays, frames, lists, `Embeddings` or paths in; each verb reads its arguments and hands over to the
task of the same name.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.core.arrays import is_rows, pandas_module, refuse_sparse
from rerank.core.errors import RerankError, RerankWarning
from rerank.core.handed import readable
from rerank.core.similarity import ArrayLike, Similarity, as_matrix
from rerank.core.torch_state import usual_state
from rerank.core.words import Metric, Name, Ties
from rerank.io.files import PathLike
from rerank.io.given_scores import check_turned, columns_in_order, names_of_scores
from rerank.io.swapped_files import refuse_same, said_of_sides
from rerank.methods.directions import Direction
from rerank.methods.kinds import as_scores_are, parse_unscored
from rerank.metrics.judge import Evaluation, latex_rows
from rerank.metrics.judge import evaluate as judged
from rerank.metrics.tables import Comparison
from rerank.selection.tune import TuneReport
from rerank.serving.trained import load_heads_from
from rerank.tasks import apply as task
from rerank.tasks import compare as comparing
from rerank.tasks import inspect as inspecting
from rerank.tasks import tune as tuning
from rerank.tasks.apply import Ranking, Reranked
from rerank.tasks.column_order import check_columns
from rerank.tasks.confidence import Answers, answers_of
from rerank.tasks.inspect import Inspection, read_directions
from rerank.tasks.read import Inputs, bytes_of, pick_device, right_answers

# Above this many scores a saved result keeps the matrix only where it is asked for.
_KEPT_SCORES = 4_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Side(Ranking):
    """One direction of a result.

    Attributes:
        query_ids: names of the queries.
        gallery_ids: names of the gallery items.
    """

    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]

    @property
    def ids(self) -> np.ndarray:
        """(n, k) names of the k best items of every query, best first."""
        return np.asarray(self.gallery_ids, dtype=object)[self.topk.indices.cpu().numpy()]

    @property
    def scores(self) -> np.ndarray:
        """(n, k) re-ranked scores of `ids`."""
        return self.topk.scores.cpu().numpy()

    def __repr__(self) -> str:
        n, k = self.topk.indices.shape
        return f"Side({self.direction.name}: {n} queries x top {k}, label {self.label})"

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """A table of `query`, `rank` (from 1), `id` and `score`.

        Raises:
            RerankError: pandas is not installed.
        """
        pandas = pandas_module()
        n, k = self.topk.indices.shape
        return pandas.DataFrame(
            {
                "query": np.repeat(np.asarray(self.query_ids, dtype=object), k),
                "rank": np.tile(np.arange(1, k + 1), n),
                "id": self.ids.reshape(-1),
                "score": self.scores.reshape(-1),
            }
        )


@dataclass(frozen=True, eq=False, repr=False)
class Result(Reranked):
    """What `apply` found: both directions, with ids.

    Attributes:
        t2v: texts rank videos.
        v2t: videos rank texts.
        inputs: what went in.
        asked: metric, k, gate and the like, as given.
    """

    t2v: Side
    v2t: Side
    inputs: Inputs = field(default_factory=Inputs)
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        n, m = len(self.t2v.query_ids), len(self.v2t.query_ids)
        return f"Result({n} texts x {m} videos, {self.method}, label {self.label})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        said = (
            f"{side.direction.name}: {note}" for side in (self.t2v, self.v2t) for note in side.notes
        )
        return tuple(dict.fromkeys(said))

    @usual_state()
    def evaluate(
        self,
        gt: PathLike | Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        figures: str | Sequence[str] = ("R@1", "R@5", "R@10", "MdR", "MnR"),
        ties: Ties = "expected",
        protocol: str = "auto",
    ) -> "BeforeAfter":
        """Figures of the raw and of the re-ranked scores.

        Args:
            gt: a path of any ground truth that `rerank eval` reads, a dict of names or of rows, a
                list of rows, or None for the diagonal.
            figures: names of figures.
            ties: see `rerank.metrics.ranks`.
            protocol: see `rerank.metrics.protocols`.

        Raises:
            RerankError: a ground truth that does not fit.
        """
        positives, grades = right_answers(gt, self.t2v.query_ids, self.t2v.gallery_ids)
        given = {"figures": figures, "ties": ties, "protocol": protocol, "grades": grades}
        raw: dict[Name, Similarity] = {
            "t2v": self.t2v.direction.sim, "v2t": self.v2t.direction.sim,
        }  # fmt: skip
        rewritten: dict[Name, Similarity] = {"t2v": self.t2v.sim, "v2t": self.v2t.sim}
        before, after = (judged(sims, positives, **given) for sims in (raw, rewritten))
        return BeforeAfter(before, after, self.label)

    @usual_state()
    def confidence(self, threshold: float | None = None) -> dict[Name, Answers]:
        """How sure the first result of every query is, and whether anything is right.

        Args:
            threshold: target precision, of which `cut` is the confidence that reaches it.

        Returns:
            For "t2v" and "v2t" what `rerank.tasks.confidence.Answers` holds: `.sure.confidence`
            and `.sure.no_match`, (n,) each; probabilities where the bank has known pairs.

        Raises:
            RerankError: scores without a temperature.
        """
        return {
            side.direction.name: answers_of(side.fit, threshold) for side in (self.t2v, self.v2t)
        }

    @usual_state()
    def save(
        self, path: PathLike, *, scores: bool | None = None, force: bool = False,
        confidence: bool = False, threshold: float | None = None,
    ) -> None:  # fmt: skip
        """Write what `rerank apply` writes; `rerank eval` reads it.

        Args:
            path: a file, usually `reranked.h5`; replaced as a whole or not at all.
            scores: keep the rewritten matrix too; by default where it is small and the inputs are
                no files that could be read again.
            force: replace an existing file of another kind.
            confidence: keep how sure every first result is, see `confidence`.
            threshold: see `confidence`.

        Raises:
            RerankError: a path that is an input or cannot be written.
        """
        if not isinstance(path, str | Path):
            raise RerankError(f"save: got {type(path).__name__}, expected a path")
        files = all(_is_file(e.source) for e in (self.inputs.texts, self.inputs.videos) if e)
        if scores is None:
            n, m = len(self.t2v.query_ids), len(self.v2t.query_ids)
            folds = all(s.fitted is None or s.fitted.foldable for s in (self.t2v, self.v2t))
            scores = not files and folds and n * m <= _KEPT_SCORES
        asked = confidence or threshold is not None
        task.write(
            Path(path), self.inputs, self, settings=self.asked, scores=scores, force=force,
            answers=self.confidence(threshold) if asked else None,
        )  # fmt: skip

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """Both directions as one table, with a column `direction`.

        Raises:
            RerankError: pandas is not installed.
        """
        pandas = pandas_module()
        parts = [s.to_pandas().assign(direction=s.direction.name) for s in (self.t2v, self.v2t)]
        return pandas.concat(parts, ignore_index=True)

    def to_latex(self, gt: Any = None, **options: Any) -> str:  # noqa: ANN401  of `evaluate`
        """`evaluate` as a LaTeX table."""
        return self.evaluate(gt, **options).to_latex()

    def _repr_html_(self) -> str:
        from markupsafe import escape

        rows = "".join(
            f"<tr><td>{side.direction.name}</td><td>{side.label}</td>"
            f"<td>{side.before.skewness:z.2f} &rarr; {side.after.skewness:z.2f}</td></tr>"
            for side in (self.t2v, self.v2t)
        )
        return (
            f"<p>{escape(repr(self))}</p><table><tr><th></th><th>label</th>"
            f"<th>hub skewness</th></tr>{rows}</table>"
        )


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """Figures before and after re-ranking, with the label that the second carry.

    Attributes:
        before: of the raw scores.
        after: of the re-ranked ones; `found["t2v"]` is `found.after["t2v"]`.
        label: which queries were used to fit.
    """

    before: Evaluation
    after: Evaluation
    label: str

    def __getitem__(self, name: Name) -> dict[str, Any]:
        return self.after[name]

    def __repr__(self) -> str:
        return f"before ({self.before!r}) after, {self.label} ({self.after!r})"

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """A row for each direction, before and after; the label stands beside it.

        Raises:
            RerankError: pandas is not installed.
        """
        parts = [
            found.to_pandas().assign(when=when, label=label)
            for found, when, label in (
                (self.before, "before", "none"), (self.after, "after", self.label),
            )
        ]  # fmt: skip
        return pandas_module().concat(parts)

    def to_latex(self) -> str:
        """Both as one LaTeX table, with the label of the second."""
        return latex_rows({"before": self.before, f"after, {self.label}": self.after})

    def _repr_html_(self) -> str:
        return (
            f"<p>before</p>{self.before._repr_html_()}"
            f"<p>after, {self.label}</p>{self.after._repr_html_()}"
        )


@usual_state()
def apply(
    texts: Any = None,  # noqa: ANN401  embeddings in any form
    videos: Any = None,  # noqa: ANN401
    *,
    scores: ArrayLike | None = None,
    bank_texts: Any = None,  # noqa: ANN401
    bank_videos: Any = None,  # noqa: ANN401
    bank_gt: Any = None,  # noqa: ANN401
    bank_scores: Any = None,  # noqa: ANN401
    method: str | None = None,
    metric: Metric = "cosine",
    heads: str | Path | None = None,
    k: int | None = None,
    gate: bool = True,
    bias: Any = None,  # noqa: ANN401  numbers, {id: number} or a path
    bias_weight: float = 1.0,
    device: str | torch.device | None = None,
    **settings: Any,  # noqa: ANN401  of the scores and of the method
) -> Result:
    """Re-rank both directions of embeddings, or of a texts x videos matrix.

    Args:
        texts: (n, d) embeddings: an array, a tensor, lists, a frame of pandas or polars,
            `Embeddings`, or a path.
        videos: (m, d), of the same model.
        scores: (n, m) instead of embeddings; transductive. Names of the rows and columns of a
            DataFrame are those of texts and videos.
        bank_texts: texts that are not test queries; they fit text to video.
        bank_videos: videos outside the test gallery; they fit video to text.
        bank_gt: known pairs of the bank: a path, a dict, or for each bank text the bank video rows
            that are right; the do-no-harm gate then judges the biases before they are used.
        bank_scores: bank texts x videos beside `scores`, in any form that these have; they fit
            text to video.
        method: see `rerank methods`.
        metric: "cosine" or "dot".
        heads: a file of `rerank train`; both sides go through them first.
        k: results per query, in each direction at most its number of items; 10 by default.
        gate: judge biases on the bank's known pairs, where there are any.
        bias: a number of each video from outside, such as its popularity or the logarithm of a
            prior, in score units: numbers, `{id: number}` or a file. It counts in text to video.
        bias_weight: what they are multiplied by; below 0 they are taken away.
        device: where to compute; None = where the tensors are.
        **settings: of `rerank.tasks.apply.prepare`, such as `scores_are`, and fields of the stages,
            such as tau, n_iters, strength.

    Returns:
        A `Result`. With no bank both directions are transductive; with a bank, a direction that
        misses its own stays raw with label "none". Its `notes` are warnings too.

    Raises:
        RerankError: input that does not fit together, unknown settings.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> videos = rng.normal(size=(30, 8))
    >>> run = apply(videos + 0.3 * rng.normal(size=(30, 8)), videos, k=2)
    >>> run
    Result(30 texts x 30 videos, sinkhorn+align+sinkhorn, label transductive)
    >>> run.t2v.ids.shape, run.evaluate()["t2v"]["R@1"] > 80
    ((30, 2), True)
    """
    if isinstance(method, (list, tuple, np.ndarray, Tensor)):
        raise RerankError("method: got data, expected a name; apply(texts, videos, method='...')")
    if isinstance(device, str):
        device = pick_device(device)
    if "unscored" in settings:
        settings["unscored"] = parse_unscored(settings["unscored"])
    inputs, arrays = _read(
        scores=scores, bank_scores=bank_scores, bank_gt=bank_gt, metric=metric, heads=heads,
        texts=texts, videos=videos, bank_texts=bank_texts, bank_videos=bank_videos,
        nan=_is_nan(settings.get("unscored")),
    )  # fmt: skip
    if k is None:
        k = task.usual_k(len(inputs.text_ids), len(inputs.video_ids))
    numbers = None
    if bias is not None:
        numbers = bias_weight * io.item_numbers(bias, inputs.video_ids)
    groups = inputs.groups_as(settings.get("groups", "auto"))
    if inputs.scores is not None and inputs.scores.is_of_distances:
        settings = {"scores_are": "distances", **settings}
    found = task.apply(
        **arrays, method=method, metric=metric, k=k, gate=gate, device=device, bias=numbers,
        **{**settings, "groups": groups},
    )  # fmt: skip
    asked = {
        "method": found.method, "metric": None if scores is not None else metric, "k": k,
        "gate": gate, "device": str(device or "cpu"), "pool": None,
        "scores_are": "auto", "unscored": None, "groups": "auto",
        **({} if bias is None else {"bias": _said_bias(bias), "bias_weight": bias_weight}),
        **{
            # JSON has a word for NaN only as text.
            key: str(value) if _is_nan(value) else value
            for key, value in settings.items()
            if value is not None
        },
    }  # fmt: skip
    names = (inputs.text_ids, inputs.video_ids)
    t2v = Side(**vars(found.t2v), query_ids=names[0], gallery_ids=names[1])
    v2t = Side(**vars(found.v2t), query_ids=names[1], gallery_ids=names[0])
    result = Result(found.run, t2v, v2t, stored=found.stored, inputs=inputs, asked=asked)
    for note in result.notes:
        warnings.warn(note, RerankWarning, stacklevel=3)
    return result


@usual_state()
def compare(
    texts: Any = None,  # noqa: ANN401  embeddings in any form
    videos: Any = None,  # noqa: ANN401
    gt: Any = None,  # noqa: ANN401
    *,
    scores: ArrayLike | None = None,
    methods: str | Sequence[str] = "all",
    figures: str | Sequence[str] = ("R@1", "R@5", "R@10"),
    metric: Metric = "cosine",
    bank_texts: Any = None,  # noqa: ANN401
    bank_videos: Any = None,  # noqa: ANN401
    bank_gt: Any = None,  # noqa: ANN401
    bank_scores: Any = None,  # noqa: ANN401
    heads: str | Path | None = None,
    scores_are: str = "auto",
    unscored: Any = None,  # noqa: ANN401  a number, or its text
    device: str | torch.device | None = None,
    **options: Any,  # noqa: ANN401  of `rerank.tasks.compare.compare`
) -> Comparison:
    """Methods side by side, with paired intervals; see `rerank.tasks.compare.compare`.

    Args:
        texts: embeddings in any form that `apply` takes.
        videos: likewise.
        gt: ground truth: a path, a dict of names or of rows, a list of rows, None = the diagonal.
        scores: a matrix instead of embeddings.
        methods: "all", or names.
        figures: names of figures.
        metric: "cosine" or "dot".
        bank_texts: other texts; methods are then fitted on them, and labelled inductive.
        bank_videos: likewise for video to text.
        bank_gt: known pairs of the bank; also shows the do-no-harm gate.
        bank_scores: bank texts x videos beside `scores`.
        heads: a file of `rerank train`; both sides go through them first.
        scores_are: what `scores` hold, as in `rerank.rerank`; "auto" reads it off the numbers.
        unscored: the number in them that stands for "not scored".
        device: where to compute; None = where the tensors are.
        **options: cross_fit, transductive, ties, protocol, resamples, seed, settings.

    Raises:
        RerankError: input that does not fit together.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> videos = rng.normal(size=(30, 8))
    >>> found = compare(videos + rng.normal(size=(30, 8)), videos, methods=["csls"], resamples=50)
    >>> [entry.method for table in found.tables for entry in table.entries]
    ['csls', 'csls']
    """
    known = signature(comparing.compare).parameters
    wrong = next((name for name in options if name not in known), None)
    if wrong is not None:
        raise RerankError(
            f"compare: got {wrong!r}, expected of its options: {', '.join(list(known)[2:])}"
        )
    inputs, both = _directions(
        scores=scores, metric=metric, device=device, bank_gt=bank_gt, heads=heads,
        texts=texts, videos=videos, bank_texts=bank_texts, bank_videos=bank_videos,
        bank_scores=bank_scores, scores_are=scores_are, unscored=unscored,
    )  # fmt: skip
    rows, grades = right_answers(gt, inputs.text_ids, inputs.video_ids)
    return comparing.compare(both, rows, methods=methods, figures=figures, grades=grades, **options)


@usual_state()
def tune(
    texts: Any = None,  # noqa: ANN401  embeddings in any form
    videos: Any = None,  # noqa: ANN401
    gt: Any = None,  # noqa: ANN401
    *,
    scores: Any = None,  # noqa: ANN401
    bank_texts: Any = None,  # noqa: ANN401
    bank_videos: Any = None,  # noqa: ANN401
    methods: str | Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    metric: Metric = "cosine",
    heads: str | Path | None = None,
    bank_scores: Any = None,  # noqa: ANN401
    scores_are: str = "auto",
    unscored: Any = None,  # noqa: ANN401  a number, or its text
    device: str | torch.device | None = None,
) -> TuneReport:
    """Method and settings by the likelihood of labelled pairs; "none" always competes.

    Args:
        texts: embeddings in any form that `apply` takes.
        videos: likewise.
        gt: labelled pairs: a path, a dict of names or of rows, a list of rows, None = the diagonal.
        scores: a matrix instead of embeddings.
        bank_texts: other texts, from which text to video is corrected.
        bank_videos: other videos, from which video to text is corrected.
        methods: names to choose from; None = Sinkhorn, and EM before it on embeddings.
        folds: of the nested cross-validation.
        seed: of the folds.
        metric: "cosine" or "dot".
        heads: a file of `rerank train`; both sides go through them first.
        bank_scores: bank texts x videos beside `scores`.
        scores_are: what `scores` hold, as in `rerank.rerank`; "auto" reads it off the numbers.
        unscored: the number in them that stands for "not scored".
        device: where to compute; None = where the tensors are.

    Returns:
        What was chosen, `report.chosen`, and what it gains on pairs that it did not see.
        `report.save(path)` writes the settings file of `rerank apply --settings`.

    Raises:
        RerankError: input that does not fit together, too few pairs for the folds.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> videos = rng.normal(size=(40, 8))
    >>> texts = videos + rng.normal(size=(40, 8)) + 0.5
    >>> report = tune(texts, videos, methods="sinkhorn", folds=2)
    >>> report.label, report.n_pairs, sorted(report.chosen)[:2]
    ('transductive', 40, ['method', 'rho'])
    >>> apply(texts, videos, **report.chosen).method
    'sinkhorn'
    """
    inputs, both = _directions(
        scores=scores, metric=metric, device=device, heads=heads, bank_scores=bank_scores,
        texts=texts, videos=videos, bank_texts=bank_texts, bank_videos=bank_videos,
        scores_are=scores_are, unscored=unscored,
    )  # fmt: skip
    rows, _ = right_answers(gt, inputs.text_ids, inputs.video_ids, allow_unjudged=True)
    return tuning.tune_directions(both, rows, methods=methods, folds=folds, seed=seed)


@usual_state()
def inspect(
    texts: Any = None,  # noqa: ANN401  embeddings in any form
    videos: Any = None,  # noqa: ANN401
    *,
    scores: Any = None,  # noqa: ANN401
    bank_texts: Any = None,  # noqa: ANN401
    bank_scores: Any = None,  # noqa: ANN401
    metric: Metric = "cosine",
    heads: str | Path | None = None,
    k: int = 10,
    top: int = 5,
    scores_are: str = "auto",
    unscored: Any = None,  # noqa: ANN401  a number, or its text
    device: str | torch.device | None = None,
) -> Inspection:
    """Hubness, geometry and what is odd in embeddings or in a matrix, before any re-ranking.

    Args:
        texts: embeddings in any form that `apply` takes; alone they are searched among themselves.
        videos: likewise.
        scores: a matrix instead of embeddings.
        bank_texts: other texts, whose hubs are looked for too.
        bank_scores: the same beside `scores`: bank texts x videos.
        metric: "cosine" or "dot".
        heads: a file of `rerank train`; both sides go through them first.
        k: length of the lists that are counted.
        top: how many hubs are named.
        scores_are: what `scores` hold, as in `rerank.rerank`; "auto" reads it off the numbers.
        unscored: the number in them that stands for "not scored".
        device: where to compute; None = where the tensors are.

    Returns:
        A dict of "hubness" per direction, "geometry" and "checks".

    Raises:
        RerankError: input that does not fit together.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> found = inspect(rng.normal(size=(30, 8)), rng.normal(size=(20, 8)))
    >>> sorted(found), sorted(found["hubness"])
    (['advice', 'checks', 'geometry', 'hubness'], ['t2v', 'v2t'])
    """
    if scores is None and (texts is None) != (videos is None):
        role, alone = ("texts", texts) if videos is None else ("videos", videos)
        found, rows = io.held(alone, role=role, metric=metric)
        return inspecting.inspect_alone(
            found, metric=metric, k=k, top=top, device=_place(device, rows)
        )
    inputs, both = _directions(
        scores=scores, metric=metric, device=device, heads=heads,
        texts=texts, videos=videos, bank_texts=bank_texts, bank_scores=bank_scores,
        scores_are=scores_are, unscored=unscored,
    )  # fmt: skip
    return inspecting.inspect_directions(both, inputs, metric=metric, k=k, top=top)


def _directions(
    *,
    metric: Metric,
    device: str | torch.device | None,
    scores_are: str,
    unscored: Any,  # noqa: ANN401  a number, or its text
    **given: Any,  # noqa: ANN401
) -> tuple[Inputs, dict[Name, Direction]]:
    """What was given, read, and both directions of it, not fitted."""
    unscored = parse_unscored(unscored)
    inputs, arrays = _read(metric=metric, nan=_is_nan(unscored), **given)
    if inputs.scores is not None and scores_are == "auto" and inputs.scores.is_of_distances:
        scores_are = "distances"
    inputs = replace(inputs, scores_are=as_scores_are(scores_are), unscored=unscored)
    place = _place(device, arrays.get("texts", arrays.get("scores")))
    return inputs, read_directions(inputs, metric=metric, device=place)


def _place(device: str | torch.device | None, rows: Any) -> torch.device:  # noqa: ANN401
    """The device that was named, or the one where the rows are."""
    if isinstance(device, str):
        return pick_device(device)
    if device is not None:
        return device
    return rows.device if isinstance(rows, Tensor) else torch.device("cpu")


def _read(
    *,
    scores: Any = None,  # noqa: ANN401
    bank_scores: Any = None,  # noqa: ANN401
    bank_gt: Any = None,  # noqa: ANN401
    metric: Metric = "cosine",
    heads: str | Path | None = None,
    nan: bool = False,
    **roles: Any,  # noqa: ANN401  embeddings in any form
) -> tuple[Inputs, dict[str, Any]]:
    """Everything with its ids, and the arrays to compute with, by the names that `apply` has."""
    held = {
        role: io.held(x, role=role.replace("_", " "), metric=metric)
        for role, x in roles.items()
        if x is not None
    }
    sides = held.keys() & {"texts", "videos"}
    if len(sides) != (2 if scores is None else 0):
        raise RerankError("give texts and videos, or scores, not both and not neither")
    arrays = {role: rows for role, (_, rows) in held.items()}
    read: dict[str, Any] = {role: found for role, (found, _) in held.items()}
    if scores is None:
        refuse_same(read["texts"], read["videos"])
        for note in said_of_sides({role: x for role, (x, _) in held.items()}):
            warnings.warn(note, RerankWarning, stacklevel=3)
        for role in () if heads is not None else held.keys() - {"videos"}:
            check_columns(read["videos"], read[role])
    if bank_gt is not None:
        if "bank_texts" not in read or "bank_videos" not in read:
            raise RerankError("bank_gt needs bank_texts and bank_videos, which it refers to")
        positives, _ = right_answers(bank_gt, read["bank_texts"].ids, read["bank_videos"].ids)
        read["bank_positives"] = arrays["bank_positives"] = positives
    if scores is not None:
        arrays["scores"], read["scores"] = _matrix(scores, nan=nan)
    if bank_scores is not None:
        bank, found = _matrix(bank_scores, nan=nan)
        order = columns_in_order(read["scores"], found) if scores is not None else None
        bank = bank[0] if isinstance(bank, tuple) else bank
        if order is not None:
            bank, found = (
                bank[:, order],
                replace(
                    found, scores=found.scores[:, order], gallery_ids=read["scores"].gallery_ids
                ),
            )
        arrays["bank_scores"], read["bank_scores"] = bank, found
    if heads is None:
        return Inputs(**read), arrays
    inputs = Inputs(**read, heads_file=Path(heads), heads=load_heads_from(bytes_of(Path(heads))))
    return inputs, {**arrays, **{role: inputs.vectors(role) for role in held}}


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _matrix(scores: Any, *, nan: bool) -> tuple[Any, io.ScoreMatrix]:  # noqa: ANN401  a matrix or a path
    if isinstance(scores, str | Path):
        found = io.read_scores(scores, nan=nan, inf=True)  # among distances, which is told later
        return (found.scores, found.reverse), found
    if isinstance(scores, io.ScoreMatrix):
        return (scores.scores, scores.reverse), scores
    refuse_sparse(scores, "scores")
    if isinstance(scores, Mapping) and set(scores) == {"t2v", "v2t"}:
        scores = scores["t2v"], scores["v2t"]
    if isinstance(scores, tuple) and len(scores) == 2 and not is_rows(scores):
        (first, found), (second, other) = (_matrix(each, nan=nan) for each in scores)
        check_turned(names_of_scores(found), names_of_scores(other))
        return (first, second), replace(found, reverse=other.scores)
    rows, columns = names_of_scores(scores)
    if isinstance(scores, Tensor):
        scores = readable(scores, "scores", scores=True)
    elif type(scores) is not np.ndarray or scores.dtype.kind != "f":
        scores = as_matrix(scores, "scores", keep_half=True).numpy()  # type: ignore[arg-type]
    if scores.ndim != 2:
        raise RerankError(f"scores: got shape {tuple(scores.shape)}, expected texts x videos")
    shown: Any = scores
    if isinstance(scores, Tensor):
        shown = as_matrix(scores, "scores", keep_half=True).cpu()
        shown = (shown.float() if shown.dtype == torch.bfloat16 else shown).numpy()
    n, m = shown.shape
    return scores, io.ScoreMatrix(
        shown, rows or _numbers(n), columns or _numbers(m), "scores",
        ids_given=(rows, columns) != (None, None), total_rows=n,
    )  # fmt: skip


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _said_bias(bias: Any) -> str:  # noqa: ANN401
    """The file of a bias, or that it was none."""
    return str(Path(bias).resolve()) if isinstance(bias, str | Path) else ""


def _is_file(source: object) -> bool:
    return isinstance(source, str | Path) and Path(source).exists()
