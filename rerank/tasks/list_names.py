"""Names of lists that a ground truth has without folders and file endings, or with them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from rerank import io
from rerank.io.truths.bare_names import CHANGES
from rerank.io.truths.forms import readings_of


def as_named(gt: Path, lists: io.RankedLists) -> io.RankedLists:
    """Lists whose queries and items are called as a ground truth calls them.

    A side of which no name fits as it is written loses file endings, then folders, as names of
    embeddings do; a note says so.
    """
    if str(gt) == "diagonal":
        return lists
    known = {
        name: None for one in readings_of(gt) for pair in one.pairs
        for name in (pair.first, pair.second)
    }  # fmt: skip
    queries, without = _renaming(lists.query_ids, known)
    listed = dict.fromkeys(name for items in lists.items for name in items)
    items, said = _renaming((*listed, *(lists.gallery_ids or ())), known)
    if not queries and not items:
        return lists
    gallery = lists.gallery_ids
    note = f"{lists.source}: names are matched with {gt} without {without or said}"
    return replace(
        lists,
        query_ids=tuple(queries.get(name, name) for name in lists.query_ids),
        items=tuple(tuple(items.get(name, name) for name in line) for line in lists.items),
        gallery_ids=None if gallery is None else tuple(items.get(name, name) for name in gallery),
        notes=(*lists.notes, note),
    )


def _renaming(names: Iterable[str], known: Mapping[str, None]) -> tuple[dict[str, str], str]:
    """What names are called in a ground truth, and what was left out; nothing where one fits."""
    names = dict.fromkeys(names)
    if known.keys() & names.keys():
        return {}, ""
    for change, without in CHANGES:
        mine, theirs = _by_change(names, change), _by_change(known, change)
        found = {mine[bare]: theirs[bare] for bare in mine if bare in theirs}
        if found and len(mine) == len(names) and len(theirs) == len(known):
            return found, without
    return {}, ""


def _by_change(names: Iterable[str], change: Callable[[str], str]) -> dict[str, str]:
    return {change(name): name for name in names}
