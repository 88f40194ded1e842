"""Right items of queries and items that have names: by name, or by the numbers of the rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rerank import io
from rerank.core.arrays import refuse_sparse
from rerank.core.errors import RerankError
from rerank.core.pair_forms import one_way, relevance_rows
from rerank.core.pairs import Grades, Positives, as_positives
from rerank.io.files import named
from rerank.io.given_ids import check_given_ids
from rerank.io.place_names import in_other_order

NamedPositives: TypeAlias = Mapping[str, str | Sequence[str]]
BY_ROWS = "rows without names, such as x.to_numpy(),"


def answers(
    shape: tuple[int, int],
    gt: Any,  # noqa: ANN401  a ground truth in any form but a file
    own: tuple[Sequence[str] | None, Sequence[str] | None],
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> tuple[tuple[np.ndarray, ...], Grades | None]:
    """Right video rows and grades, by the names that are given or that the scores have.

    Args:
        shape: (texts, videos).
        gt: see `named_answers`.
        own: names of rows and columns that the scores have, None of a side that has none.
        query_ids: names of the texts that are given.
        gallery_ids: names of the videos that are given.

    Raises:
        RerankError: see `named_answers`; names that are given in another order than the scores
            have them.
    """
    given = (query_ids, gallery_ids)
    for mine, names, what in zip(own, given, ("query_ids", "gallery_ids"), strict=True):
        if mine is not None and names is not None:
            check_given_ids([str(x) for x in names], mine, source=what, where="scores")
    if given != (None, None) or own == (None, None):
        return text_answers(shape, gt, query_ids=query_ids, gallery_ids=gallery_ids)
    numbered = (tuple(map(str, range(count))) for count in shape)
    texts, videos = (mine or usual for mine, usual in zip(own, numbered, strict=True))
    return named_answers(gt, texts, videos)


def named_answers(
    gt: Any,  # noqa: ANN401  a ground truth in any form but a file
    text_ids: Sequence[str],
    video_ids: Sequence[str],
) -> tuple[tuple[np.ndarray, ...], Grades | None]:
    """For each text the video rows that are right, and grades where there are any.

    >>> named_answers(["b", ["a", "b"]], ["x", "y"], ["a", "b"])[0]
    (array([1]), array([0, 1]))

    Args:
        gt: a dict of names or of rows (also {text: {video: grade}}), a list of rows or of names
            for each text, a matrix of truth values, or None for the diagonal.
        text_ids: names of the texts.
        video_ids: names of the videos.

    Raises:
        RerankError: a ground truth that does not fit; numbers that are rows and names.
    """
    shape = (len(text_ids), len(video_ids))
    if gt is None and shape[0] == shape[1]:
        truth = io.read_ground_truth("diagonal", text_ids, video_ids, by_rows=BY_ROWS)
        return truth.positives, None
    if _lists_names(gt):
        gt = _by_text(gt, text_ids, video_ids)
    if isinstance(gt, Mapping) and any(isinstance(key, str) for key in gt):
        return text_answers(shape, gt, query_ids=text_ids, gallery_ids=video_ids)
    if gt is not None and relevance_rows(gt, *shape) is None:
        _refuse_numbers(text_ids if isinstance(gt, Mapping) else (), video_ids)
    return text_answers(shape, gt)


def _refuse_numbers(text_ids: Sequence[str], video_ids: Sequence[str]) -> None:
    """Refuse numbers of rows where the names are such numbers in another order."""
    for side, ids in (("texts", text_ids), ("videos", video_ids)):
        if in_other_order(ids):
            raise RerankError(
                f"positives: numbers could be rows or names, as the {side} are called "
                f"{', '.join(ids[:3])}, ..., numbers of rows in another order; give names as text, "
                f"{{'0': ['2'], ...}}, or give the {side} as {BY_ROWS} if rows are meant"
            )


def _by_text(gt: Any, text_ids: Sequence[str], video_ids: Sequence[str]) -> Any:  # noqa: ANN401
    """A list of names for each text, or of pairs, as a dict; what is neither as it is.

    Raises:
        RerankError: pairs of a text and its video that may be two videos of each text.
    """
    texts, videos = set(text_ids), set(video_ids)
    pairs = [tuple(of) for of in gt if not isinstance(of, str) and len(of) == 2]
    is_pairs = len(pairs) == len(gt) and all(a in texts and b in videos for a, b in pairs)
    is_items = len(gt) == len(text_ids)
    if is_pairs and not (is_items and videos.issuperset(a for a, _ in pairs)):
        found: dict[str, list[str]] = {}
        for text, video in pairs:
            found.setdefault(text, []).append(video)
        return found
    if is_pairs and {a for a, _ in pairs} == texts and any(a != b for a, b in pairs):
        raise RerankError(
            f"positives: got {len(gt)} rows of two names, which are pairs of a text and its video, "
            "or the two right videos of each text; give dict(x) for pairs, or dict(zip(names, x)) "
            "for items, with the names of the texts"
        )
    return dict(zip(text_ids, gt, strict=True)) if is_items else gt


def _lists_names(gt: Any) -> bool:  # noqa: ANN401  of a program
    """Whether it is a list with names for every text."""
    if isinstance(gt, np.ndarray) and gt.dtype.kind in "UO":
        gt = gt.tolist()
    if not isinstance(gt, list | tuple) or not gt:
        return False
    return all(
        isinstance(of, str)
        or (isinstance(of, list | tuple) and bool(of) and all(isinstance(x, str) for x in of))
        for of in gt
    )


def text_positives(
    shape: tuple[int, int],
    positives: Positives | NamedPositives | None,
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> tuple[np.ndarray, ...]:
    """Video rows per text row, from any of the forms that `evaluate` takes.

    Args:
        shape: (texts, videos).
        positives: a dict of names or rows, a list of rows, None = the diagonal.
        query_ids: names of the texts.
        gallery_ids: names of the videos.

    Raises:
        RerankError: names that are not there, rows out of range, no diagonal.
    """
    n, m = shape
    if positives is None:
        if n != m:
            raise RerankError(
                f"positives: {n} texts x {m} videos have no diagonal; say which videos are right"
            )
        return as_positives(np.arange(n), n, m)
    if query_ids is None and gallery_ids is None:
        return as_positives(one_way(positives, n, m), n, m)  # type: ignore[arg-type]
    if query_ids is None or gallery_ids is None or not isinstance(positives, Mapping):
        raise RerankError(
            "positives by name need a dict from text id to video ids, query_ids and gallery_ids"
        )
    texts, videos = _places(query_ids, n, "query_ids"), _places(gallery_ids, m, "gallery_ids")
    rows: list[list[int]] = [[] for _ in range(n)]
    for text, given in positives.items():
        if text not in texts:
            raise RerankError(
                f"positives: no text is called {text!r}{_called(text, texts, videos)}"
            )
        for video in [given] if isinstance(given, str) else given:  # type: ignore[union-attr]
            if video not in videos:
                raise RerankError(
                    f"positives of {text!r}: no video is called {video!r}; the videos are called "
                    f"{named(list(videos))}"
                )
            rows[texts[text]].append(videos[video])  # type: ignore[index]
    return as_positives(rows, n, m)


def text_answers(
    shape: tuple[int, int],
    positives: Positives | NamedPositives | None,
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> tuple[tuple[np.ndarray, ...], Grades | None]:
    """The same, and grades where the dict holds {text: {video: grade}}; 0 and less are not right.

    Args:
        shape: (texts, videos).
        positives: as for `text_positives`, or such a dict of names or of rows.
        query_ids: names of the texts.
        gallery_ids: names of the videos.

    Raises:
        RerankError: as for `text_positives`; grades of some texts alone, or that are no numbers.
    """
    names: dict[str, Any] = {"query_ids": query_ids, "gallery_ids": gallery_ids}
    refuse_sparse(positives, "positives", "x.toarray() > 0")
    judged: dict[Any, Any] = dict(positives) if isinstance(positives, Mapping) else {}
    if not any(isinstance(known, Mapping) for known in judged.values()):
        return text_positives(shape, positives, **names), None
    right: dict[Any, list[Any]] = {}
    for text, known in judged.items():
        if not isinstance(known, Mapping):
            raise RerankError(
                f"positives of {text!r}: has no grades, and others have; give "
                f"{{text: {{video: grade}}}} for all"
            )
        odd = next((g for g in known.values() if not _is_grade(g)), None)
        if odd is not None:
            raise RerankError(f"positives of {text!r}: {odd!r} is not a grade; expected a number")
        right[text] = [video for video, grade in known.items() if grade > 0]
    # What is judged and not right must be there as well.
    text_positives(shape, {text: list(known) for text, known in judged.items()}, **names)
    rows = text_positives(shape, right, **names)
    texts, videos = (
        None if ids is None else {str(name): row for row, name in enumerate(ids)}
        for ids in (query_ids, gallery_ids)
    )
    grades: dict[int, dict[int, float]] = {
        text if texts is None else texts[text]: {
            video if videos is None else videos[video]: grade for video, grade in known.items()
        }
        for text, known in judged.items()
    }
    return rows, grades


def _called(text: object, texts: Mapping[str, int], videos: Mapping[str, int]) -> str:
    """What the texts are called instead of this, and what to give."""
    said = f"; the texts are called {named(list(texts))}"
    if text in videos:
        return f"{said}, and it is a video; give {{text: [videos]}}, or scores.T if rows are videos"
    if list(texts) == [str(row) for row in range(len(texts))]:
        return f"{said}; give texts and videos, or scores, with names, such as a DataFrame"
    return said


def _is_grade(grade: object) -> bool:
    number = isinstance(grade, int | float | np.integer | np.floating)
    return number and not isinstance(grade, bool) and math.isfinite(grade)


def _places(ids: Sequence[str], count: int, what: str) -> dict[str, int]:
    if len(ids) != count:
        raise RerankError(f"{what}: got {len(ids)} names, expected {count}")
    places = {str(name): row for row, name in enumerate(ids)}
    if len(places) != count:
        raise RerankError(f"{what}: some names occur twice; names must be unique")
    return places
