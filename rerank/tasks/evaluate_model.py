"""`rerank eval --model`: a served model judged on queries that it has not seen."""

from collections.abc import Sequence
from pathlib import Path

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Name, Ties
from rerank.metrics.figures import DEFAULT, find_all
from rerank.serving.matching import align, check_queries, check_served, label_of
from rerank.serving.model import load
from rerank.serving.trained import each_through, heads_of
from rerank.tasks.gallery import look_at_side, read_gallery, read_queries, sides
from rerank.tasks.judged import Asked, Judged
from rerank.tasks.read import check_said, pick_device


def judge_model(
    gt: Path,
    model: Path,
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    ties: Ties = "expected",
    allow_unjudged: bool = False,
    device: str = "auto",
    figures: str | Sequence[str] = DEFAULT,
    reading: io.Reading | None = None,
) -> Judged:
    """Evaluate a model of `rerank fit` in its direction: the raw scores before, its own after.

    Args:
        gt: the ground truth.
        model: what `rerank fit` wrote.
        videos: the gallery of a "t2v" model, which may hold it itself; else the queries.
        texts: the other side.
        ties: how equal scores count.
        allow_unjudged: leave queries without an entry out.
        device: where to compute.
        figures: what to measure.
        reading: what the user said about the files.

    Raises:
        RerankError: a model, gallery and queries that do not belong together.
    """
    wanted = find_all(figures)
    said = reading or io.Reading()
    target = pick_device(device)
    held = load(model)
    saved = held.saved
    check_served(saved)
    direction: Name = saved.manifest["direction"]
    metric = saved.manifest["metric"]
    given = {"videos": [videos] if videos else [], "texts": [texts] if texts else []}
    gallery, queries, words = sides(direction, given["videos"], given["texts"])
    check_said(said, given)
    if not gallery and held.gallery is None:
        raise RerankError(
            f"--{words[0]} is missing: {model} does not hold its gallery; give it, or fit with "
            "--keep-gallery"
        )
    asked = read_queries(queries, words[1], metric, said)
    x = each_through(heads_of(saved), asked.vectors, words[1]).to(target)
    check_queries(saved, x)
    rows = held.gallery
    look_at_side(asked, words[1], gallery, saved.gallery_ids)
    if gallery:
        rows = align(saved, *read_gallery(saved, gallery, metric, said, asked))
    assert rows is not None and saved.gallery_ids is not None
    label, caution = label_of(saved, x)
    raw = Pair(x, rows.to(target), metric=metric)
    names = (asked.ids, saved.gallery_ids)
    truth = io.read_ground_truth(
        gt, *(names if direction == "t2v" else names[::-1]), allow_unjudged=allow_unjudged,
        **said.of_truth(),
    )  # fmt: skip
    judged_by = Asked(truth, wanted, ties)
    both: dict[Name, Similarity] = {direction: raw}
    before = judged_by.of(both)
    after = judged_by.of({direction: saved.fitted.transform(raw)})
    return Judged(
        label, {direction: label}, ties, before, after, truth.distractors, len(truth.unjudged),
        (*truth.notes, *([caution] if caution else ())),
        changes=judged_by.changes(both, before, after),
    )  # fmt: skip
