"""`rerank eval --results` on lists of the best items: what they show, and what they cannot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rerank import io
from rerank.core.errors import FormatError, RerankError
from rerank.core.listed import Listed
from rerank.core.pairs import as_grades, transpose_grades, transpose_positives
from rerank.core.wording import option
from rerank.core.words import Name, Ties
from rerank.io.files import named
from rerank.io.truths.forms import readings_of
from rerank.io.truths.pair_splits import ALL
from rerank.metrics.figures import DEFAULT, Figure, find_all
from rerank.metrics.judge import Judgement, judge
from rerank.tasks.judged import Judged
from rerank.tasks.list_names import as_named

# How many places figures without a number behind an @ look at.
_DEPTHS = {"RSum": 10, "geo": 10}


def judge_lists(
    gt: Path,
    results: Path,
    *,
    ties: Ties = "expected",
    allow_unjudged: bool = False,
    figures: str | Sequence[str] = DEFAULT,
    reading: io.Reading | None = None,
) -> Judged:
    """Evaluate a file of rankings: a TREC run, JSON, JSON lines, CSV, parquet, a search's result.

    A right item outside its list counts as not found. Figures that need places behind the end of
    the lists are NaN, and a note says so.

    Args:
        gt: the ground truth; which direction the lists are follows from its ids.
        results: a file that `rerank.io.read_rankings` reads.
        ties: how equal scores count.
        allow_unjudged: skip queries of the file or of the ground truth that the other has not.
        figures: what to measure.
        reading: what the user said, of which `gt_direction` and the split of `gt` count.

    Raises:
        RerankError: a file that is none, or a ground truth that does not fit.
    """
    wanted = find_all(figures)
    said = reading or io.Reading()
    after: dict[Name, Judgement] = {}
    labels: dict[str, str] = {}
    notes: list[str] = []
    truth: io.GroundTruth | None = None
    for stored in io.read_rankings(results):
        lists = as_named(gt, stored)
        seen = _orient(gt, lists, said)
        notes += _without_list(gt, results, seen.without, allowed=allow_unjudged)
        texts, videos = lists.query_ids, seen.gallery
        if seen.name == "v2t":
            texts, videos = videos, texts
        truth = io.read_ground_truth(
            gt, texts, videos, allow_unjudged=allow_unjudged,
            **{**said.of_truth(), "direction": seen.direction},
        )  # fmt: skip
        right, grades = tuple(truth.positives), as_grades(truth.graded)
        if seen.name == "v2t":
            right = transpose_positives(right, len(videos))
            grades = None if grades is None else transpose_grades(grades)
        sim = _listed(lists, seen.gallery)
        found = judge(sim, right, figures=wanted, ties=ties, grades=grades)
        after[seen.name], said_of = _honest(found, sim, right, lists)
        labels[seen.name] = lists.label or "unknown"
        notes += [*lists.notes, *truth.notes, *seen.notes, *said_of]
    assert truth is not None
    return Judged(
        next(iter(labels.values())), labels, ties, None, after,
        truth.distractors if "t2v" in after else 0, len(truth.unjudged) if "t2v" in after else 0,
        tuple(dict.fromkeys(notes)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    """How lists lie to a ground truth."""

    name: Name
    gallery: tuple[str, ...]
    direction: str
    notes: tuple[str, ...] = ()
    # Queries that the ground truth has and the lists have not.
    without: tuple[str, ...] = ()


def _without_list(gt: Path, results: Path, names: Sequence[str], *, allowed: bool) -> list[str]:
    """What is said of queries of the ground truth that have no list.

    Raises:
        FormatError: there are some, and they may not be left out.
    """
    if not names:
        return []
    some = f"{results}: has no list for {len(names)} queries of {gt}, such as {named(names[:1])}"
    if not allowed:
        raise FormatError(f"{some}; leave them out with {option('allow-unjudged')}")
    return [f"{some}; they are left out"]


def _orient(gt: Path, lists: io.RankedLists, said: io.Reading) -> _Seen:
    """Which direction lists are, by the ids of the ground truth, and all items that are known.

    Raises:
        FormatError: the ground truth contradicts what the file says, or is the diagonal.
    """
    direction, split = said.gt_direction, said.of_truth()["split"]
    listed = dict.fromkeys(name for items in lists.items for name in items)
    stated: Name | None = lists.direction or None  # type: ignore[assignment]
    if str(gt) == "diagonal":
        if lists.gallery_ids is None:
            raise FormatError(
                f"diagonal: {lists.source} lists the best items only, not the order "
                "of the gallery; give a ground truth file"
            )
        return _Seen(stated or "t2v", lists.gallery_ids, direction)
    queries = set(lists.query_ids)
    best: tuple[float, _Seen] | None = None
    for one in readings_of(Path(gt)):
        if split not in (None, ALL, one.split):
            continue
        pairs = one.pairs
        left = [(p.first, p.second) for p in pairs]
        for first, sides in ((True, left), (False, [pair[::-1] for pair in left])):
            mine = [item for query, item in sides if query in queries]
            known = sum(item in listed for item in mine)
            share = (len(mine) + known) / max(1, 2 * len(pairs))
            if not share or (best is not None and share <= best[0]):
                continue
            texts_first = not (one.turns and direction == "video-text")
            if not one.fixed and direction == "auto":
                texts_first = first == (stated == "t2v") if stated else _texts_first(left)
            name: Name = "t2v" if first == texts_first else "v2t"
            gallery = lists.gallery_ids or tuple(dict.fromkeys([*listed, *mine]))
            told = direction
            if not one.fixed and direction == "auto":
                told = "text-video" if texts_first else "video-text"
            without = dict.fromkeys(query for query, _ in sides if query not in queries)
            none = () if known else (_none_known(gt, lists, mine[0]),)
            if known and lists.counted and not any(one.counted):
                none = (
                    f"{lists.source}: {named([lists.counted])} is called like numbers of rows, and "
                    f"is taken for the ids of {gt}: these figures mean nothing if rows are meant",
                )
            best = share, _Seen(name, gallery, told, none, tuple(without))
    if best is None:
        # It says what is wrong with the names.
        gallery = lists.gallery_ids or tuple(listed)
        sides = (lists.query_ids, gallery) if stated != "v2t" else (gallery, lists.query_ids)
        io.read_ground_truth(gt, *sides, **said.of_truth())
        raise FormatError(f"{gt}: none of its ids is a query of {lists.source}")
    seen = best[1]
    if stated is not None and seen.name != stated:
        raise FormatError(
            f"{lists.source}: says that it is {stated}, but its query "
            f"{named([lists.query_ids[0]])} is the id of a "
            f"{'video' if stated == 't2v' else 'text'} in {gt}; say which side stands on the left "
            "there with --gt-direction"
        )
    if stated is None:
        words = "texts, ranking videos" if seen.name == "t2v" else "videos, ranking texts"
        note = f"{lists.source}: its queries are taken for {words}, by the ids of {gt}"
        seen = replace(seen, notes=(note, *seen.notes))
    return seen


def _none_known(gt: Path, lists: io.RankedLists, item: str) -> str:
    """That no list holds an item of the ground truth, which names of two kinds look like."""
    first = next((name for items in lists.items for name in items), "")
    return (
        f"{lists.source}: none of its items, such as {named([first])}, is one that {gt} names, "
        f"such as {named([item])}: these figures mean nothing if both have names of their own"
    )


def _texts_first(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether texts stand on the left: not where every name on the left has captions of its own."""
    firsts, seconds = zip(*pairs, strict=True)
    return not (len(set(seconds)) == len(pairs) > len(set(firsts)))


def _listed(lists: io.RankedLists, gallery: Sequence[str]) -> Listed:
    """The lists as scores; behind a shorter one stand items that are right for nobody.

    So what it does not hold is behind the places of the longest, and not there by chance.
    """
    place = {name: column for column, name in enumerate(gallery)}
    depth = max(1, lists.depth)
    items = np.tile(len(gallery) + np.arange(depth), (len(lists.items), 1))
    values = np.full(items.shape, -np.inf)
    for row, (names, scores) in enumerate(zip(lists.items, lists.scores, strict=True)):
        items[row, : len(names)] = [place[name] for name in names]
        values[row, : len(names)] = scores
        lowest = min((score for score in scores if np.isfinite(score)), default=0.0)
        values[row, len(names) :] = np.nextafter(lowest, -np.inf)
    return Listed(torch.from_numpy(items), torch.from_numpy(values), len(gallery) + depth)


def _honest(
    found: Judgement, sim: Listed, right: Sequence[np.ndarray], lists: io.RankedLists
) -> tuple[Judgement, list[str]]:
    """Figures without those that the lists are too short for, and a sentence on each of these."""
    rows = found.ranks.rows
    held = [set(line[line >= 0].tolist()) for line in sim.items[torch.from_numpy(rows)]]
    best = np.array([bool(set(right[i].tolist()) & h) for i, h in zip(rows, held, strict=True)])
    whole = all(set(right[i].tolist()) <= h for i, h in zip(rows, held, strict=True))
    parts, notes = dict(found.parts), []
    for figure in found.figures:
        values = parts[figure.name]
        if figure.facts.combine == "median" and not whole:
            # Exact as long as the middle query found its item.
            values = np.where(best[:, None], values, np.inf)
            if np.isfinite(figure.value(values)):
                parts[figure.name] = values
                continue
        depth = _depth(figure)
        if whole or (depth is not None and depth <= lists.depth):
            continue
        need = "all ranks" if depth is None else f"{depth} places"
        notes.append(
            f"{figure.name}: needs {need}, but the lists of {lists.source} end at {lists.depth}"
        )
        parts[figure.name] = np.full_like(np.asarray(found.parts[figure.name], float), np.nan)
    # What is not listed ties with nothing that anybody saw.
    ranks = replace(found.ranks, tied=np.where(best, found.ranks.tied, found.ranks.tied_positives))
    return replace(found, parts=parts, ranks=ranks), notes


def _depth(figure: Figure) -> int | None:
    """How many places of a ranking a figure looks at; None for all."""
    _, at, cutoff = figure.name.rpartition("@")
    if at and cutoff.isdecimal():
        return int(cutoff)
    return _DEPTHS.get(figure.name)


def is_lists(results: Path) -> bool:
    """Whether a file holds lists alone, and not what `rerank apply` knows of its inputs."""
    if io.kind_of_file(results) != io.RESULTS_SCHEMA:
        return True
    manifest = io.read_results(results, scores=False).manifest
    return not {"settings", "inputs", "fits"} <= set(manifest)


def check_lists(gt: Path | None, report: Path | None, results: Path) -> Path:
    """The ground truth that lists are judged by.

    Raises:
        RerankError: none, or a page is asked for.
    """
    if report is not None:
        raise RerankError(
            f"--report: {results} holds lists alone; a page needs a file of rerank apply and the "
            "inputs it was made from"
        )
    if gt is None:
        raise RerankError("--gt is missing: lists are judged by a ground truth")
    return gt
