"""The public verbs on whatever people hold, and the objects with ids that they return.

Arrays, frames, lists, `Embeddings` or paths in; each verb reads its arguments and hands over to the
task of the same name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.pairs import as_positives
from rerank.core.similarity import ArrayLike, Similarity
from rerank.core.words import Metric, Name, Ties
from rerank.io import Embeddings
from rerank.io.files import PathLike
from rerank.metrics.judge import Evaluation
from rerank.metrics.judge import evaluate as judged
from rerank.metrics.tables import Comparison
from rerank.tasks import apply as task
from rerank.tasks import compare as comparing
from rerank.tasks import inspect as inspecting
from rerank.tasks.apply import Ranking, Reranked
from rerank.tasks.read import Inputs

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
        pandas = _pandas()
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
        named = {"query_ids": self.t2v.query_ids, "gallery_ids": self.t2v.gallery_ids}
        positives: Any = gt
        grades = None
        if isinstance(gt, str | Path):
            found = io.read_ground_truth(gt, *named.values())
            positives, grades, named = tuple(found.positives), found.grades, {}
        elif not isinstance(gt, Mapping) or not any(isinstance(key, str) for key in gt):
            named = {}
        given = {"figures": figures, "ties": ties, "protocol": protocol, "grades": grades, **named}
        raw: dict[Name, Similarity] = {
            "t2v": self.t2v.direction.sim, "v2t": self.v2t.direction.sim,
        }  # fmt: skip
        rewritten: dict[Name, Similarity] = {"t2v": self.t2v.sim, "v2t": self.v2t.sim}
        before, after = (judged(sims, positives, **given) for sims in (raw, rewritten))
        return BeforeAfter(before, after, self.label)

    def save(self, path: PathLike, *, scores: bool | None = None, force: bool = False) -> None:
        """Write what `rerank apply` writes; `rerank eval` reads it.

        Args:
            path: a file, usually `reranked.h5`; replaced as a whole or not at all.
            scores: keep the rewritten matrix too; by default where it is small and the inputs are
                no files that could be read again.
            force: replace an existing file of another kind.

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
        task.write(Path(path), self.inputs, self, settings=self.asked, scores=scores, force=force)

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """Both directions as one table, with a column `direction`.

        Raises:
            RerankError: pandas is not installed.
        """
        pandas = _pandas()
        parts = [s.to_pandas().assign(direction=s.direction.name) for s in (self.t2v, self.v2t)]
        return pandas.concat(parts, ignore_index=True)

    def _repr_html_(self) -> str:
        from markupsafe import escape

        rows = "".join(
            f"<tr><td>{side.direction.name}</td><td>{side.label}</td>"
            f"<td>{side.before.skewness:.2f} &rarr; {side.after.skewness:.2f}</td></tr>"
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

    def _repr_html_(self) -> str:
        return (
            f"<p>before</p>{self.before._repr_html_()}"
            f"<p>after, {self.label}</p>{self.after._repr_html_()}"
        )


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
    k: int | None = None,
    gate: bool = True,
    device: str | torch.device | None = None,
    **settings: Any,  # noqa: ANN401  of the scores and of the method
) -> Result:
    """Re-rank both directions of embeddings, or of a texts x videos matrix.

    Args:
        texts: (n, d) embeddings: an array, a tensor, lists, a frame of pandas or polars,
            `Embeddings`, or a path.
        videos: (m, d), of the same model.
        scores: (n, m) instead of embeddings; transductive.
        bank_texts: texts that are not test queries; they fit text to video.
        bank_videos: videos outside the test gallery; they fit video to text.
        bank_gt: known pairs of the bank: a path, a dict, or for each bank text the bank video rows
            that are right; the do-no-harm gate then judges the biases before they are used.
        bank_scores: bank texts x videos beside `scores`, in any form that these have; they fit
            text to video.
        method: see `rerank methods`.
        metric: "cosine" or "dot".
        k: results per query; 10, or all of a smaller gallery.
        gate: judge biases on the bank's known pairs, where there are any.
        device: where to compute; None = where the tensors are.
        **settings: of `rerank.tasks.apply.apply`, such as `scores_are`, and fields of the stages,
            such as tau, n_iters, strength.

    Returns:
        A `Result`. With no bank both directions are transductive; with a bank, a direction that
        misses its own stays raw with label "none" and a warning.

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
    roles = {"texts": texts, "videos": videos, "bank_texts": bank_texts, "bank_videos": bank_videos}
    held = {role: _held(x, role, metric) for role, x in roles.items() if x is not None}
    arrays = {role: array for role, (_, array) in held.items()}
    read: dict[str, Any] = {role: found for role, (found, _) in held.items()}
    if bank_gt is not None:
        read["bank_positives"] = arrays["bank_positives"] = _bank_pairs(bank_gt, read)
    if scores is not None:
        scores, read["scores"] = _matrix(scores)
    if bank_scores is not None:
        bank_scores, read["bank_scores"] = _matrix(bank_scores)
        if isinstance(bank_scores, tuple):
            bank_scores = bank_scores[0]
    if k is None:
        n, m = _sizes(read)
        k = min(10, n, m)
    found = task.apply(
        **arrays, scores=scores, bank_scores=bank_scores, method=method, metric=metric, k=k,
        gate=gate, device=device, **settings,
    )  # fmt: skip
    inputs = Inputs(**read)
    asked = {
        "method": found.method, "metric": None if scores is not None else metric, "k": k,
        "gate": gate, "device": str(device or "cpu"), "pool": None,
        "scores_are": "auto", "unscored": None, "groups": "auto",
        **{key: value for key, value in settings.items() if value is not None},
    }  # fmt: skip
    names = (inputs.text_ids, inputs.video_ids)
    t2v = Side(**vars(found.t2v), query_ids=names[0], gallery_ids=names[1])
    v2t = Side(**vars(found.v2t), query_ids=names[1], gallery_ids=names[0])
    return Result(found.run, t2v, v2t, stored=found.stored, inputs=inputs, asked=asked)


def compare(
    texts: Any = None,  # noqa: ANN401  embeddings in any form
    videos: Any = None,  # noqa: ANN401
    gt: Any = None,  # noqa: ANN401
    *,
    scores: ArrayLike | None = None,
    methods: str | Sequence[str] = "all",
    figures: str | Sequence[str] = ("R@1", "R@5", "R@10"),
    metric: Metric = "cosine",
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
    run = apply(texts, videos, scores=scores, method="none", metric=metric, k=1)
    both = {"t2v": run.t2v.direction, "v2t": run.v2t.direction}
    n, m = both["t2v"].sim.shape
    positives: Any = gt
    if isinstance(gt, str | Path):
        truth = io.read_ground_truth(gt, run.t2v.query_ids, run.t2v.gallery_ids)
        positives = tuple(truth.positives)
    elif isinstance(gt, Mapping) and any(isinstance(key, str) for key in gt):
        places = {name: row for row, name in enumerate(run.t2v.gallery_ids)}
        listed = (gt.get(name, ()) for name in run.t2v.query_ids)
        positives = [[places[v] for v in ([x] if isinstance(x, str) else x)] for x in listed]
    elif gt is None:
        positives = np.arange(n)
    rows = as_positives(positives, n, m)
    return comparing.compare(both, rows, methods=methods, figures=figures, **options)  # type: ignore[arg-type]


def inspect(
    texts: PathLike | None = None, videos: PathLike | None = None, *, sims: PathLike | None = None,
    **options: Any,  # noqa: ANN401  of `rerank.tasks.inspect.inspect_files`
) -> dict[str, Any]:  # fmt: skip
    """Hubness and geometry of raw files; see `rerank.tasks.inspect.inspect_files`."""
    paths = [None if path is None else Path(path) for path in (texts, videos, sims)]
    return inspecting.inspect_files(texts=paths[0], videos=paths[1], sims=paths[2], **options)


def _held(x: Any, role: str, metric: str) -> tuple[Embeddings, Any]:  # noqa: ANN401
    """Embeddings with ids, and what is computed with: arrays and tensors as they are."""
    if type(x) is np.ndarray and x.ndim == 2 and x.dtype.kind == "f":
        return Embeddings(_numbers(len(x)), x, role, None, len(x), ids_given=False), x
    if isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point() and not x.is_sparse:
        shown = x.detach().cpu()
        vectors = (shown.float() if shown.dtype == torch.bfloat16 else shown).numpy()
        return Embeddings(_numbers(len(x)), vectors, role, None, len(x), ids_given=False), x
    found = io.as_embeddings(x, role=role.replace("_", " "), metric=metric)
    return found, found.vectors


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _matrix(scores: Any) -> tuple[Any, io.ScoreMatrix]:  # noqa: ANN401  a matrix or a path
    if isinstance(scores, str | Path):
        found = io.read_scores(scores)
        return (found.scores, found.reverse), found
    if isinstance(scores, Mapping) and set(scores) == {"t2v", "v2t"}:
        scores = scores["t2v"], scores["v2t"]
    if isinstance(scores, tuple) and len(scores) == 2:
        (first, found), (second, other) = _matrix(scores[0]), _matrix(scores[1])
        return (first, second), replace(found, reverse=other.scores)
    if not isinstance(scores, Tensor):
        scores = np.ma.asarray(scores) if np.ma.isMaskedArray(scores) else np.asarray(scores)
    if scores.ndim != 2:
        raise RerankError(f"scores: got shape {tuple(scores.shape)}, expected texts x videos")
    shown = scores.detach().cpu().float().numpy() if isinstance(scores, Tensor) else scores
    n, m = shown.shape
    return scores, io.ScoreMatrix(
        shown, _numbers(n), _numbers(m), "scores", ids_given=False, total_rows=n
    )


def _sizes(read: Mapping[str, Any]) -> tuple[int, int]:
    if "scores" in read:
        return read["scores"].scores.shape
    if "texts" not in read or "videos" not in read:
        raise RerankError("apply: give texts and videos, or scores, not both and not neither")
    return len(read["texts"]), len(read["videos"])


def _bank_pairs(gt: Any, read: Mapping[str, Any]) -> tuple[np.ndarray, ...]:  # noqa: ANN401
    if "bank_texts" not in read or "bank_videos" not in read:
        raise RerankError("bank_gt needs bank_texts and bank_videos, which it refers to")
    texts, videos = read["bank_texts"], read["bank_videos"]
    if isinstance(gt, str | Path):
        return tuple(io.read_ground_truth(gt, texts.ids, videos.ids).positives)
    return as_positives(gt, len(texts), len(videos))


def _is_file(source: object) -> bool:
    return isinstance(source, str | Path) and Path(source).exists()


def _pandas() -> Any:  # noqa: ANN401  the module
    try:
        import pandas
    except ImportError as error:
        raise RerankError("pandas is not installed: pip install pandas") from error
    return pandas
