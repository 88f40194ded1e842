"""The ids of the rows of one array: given, beside it in the file, or in a side-car."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from rerank.core.errors import FormatError
from rerank.io.container import Container, contents, side_in
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.ids import (
    check_count,
    check_unique,
    find_sidecar,
    first_duplicate,
    how_to_give_ids,
    is_list,
    read_ids,
    read_sidecar,
)
from rerank.io.layouts.array_shapes import is_rows
from rerank.io.layouts.wanted import Wanted
from rerank.io.place_names import OF_PANDAS
from rerank.io.row_numbers import check_order
from rerank.io.side_words import side_of_ids, sounds_like

Ids = tuple[tuple[str, ...], tuple[str, ...] | None]


@dataclass(frozen=True)
class Named:
    """What names rows, as it is stored: a name may come again.

    Attributes:
        ids: as many as there are rows.
        where: what they were read from.
        groups: the group of every row, where a file says it.
    """

    ids: tuple[str, ...]
    where: str
    groups: tuple[str, ...] | None


def ids_of_rows(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Ids | None:
    """Ids and groups: those that were given, those in the file, those in a side-car."""
    found = names_of_rows(container, siblings, item, wanted)
    if found is None:
        return None
    check_unique(found.ids, found.where)
    return found.ids, found.groups


def names_of_rows(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Named | None:
    """What `ids_of_rows` checks for names that come again."""
    groups = siblings.get("group_ids")
    if wanted.ids is not None:
        return _named(wanted.ids, item, wanted.ids_from, groups)
    if wanted.id_column is not None:
        elsewhere = {**container.numbers, **container.fields}.get(wanted.id_column)
        field = siblings.get(wanted.id_column.strip("/"), elsewhere)
        if field is None:
            field = {**container.noted(item), **container.attached(item)}.get(wanted.id_column)
        if field is None:
            raise FormatError(
                f"{container.path}: there is no {wanted.id_column!r}; it holds {contents(siblings)}"
            )
        return _named(read_ids(field), item, field.where, groups)
    other_side = _of_the_other_side(siblings, item, wanted, container.id_names)
    tiers = [
        [
            other
            for other in tier
            if other in siblings
            and siblings[other] is not item
            and other not in other_side
            and not _of_the_whole(other, siblings[other], item)
        ]
        for tier in container.id_names
    ]
    there = [present for present in tiers if present]
    if there:
        # Names that come again are those of classes, or of groups, where others name every row.
        own = (x for x in there if not all(_repeats(siblings[name], item) for name in x))
        present = there[0] if len(there) == 1 else next(own, there[0])
        return _choose_ids(siblings, present, item, wanted, container)
    side = find_sidecar(container.path)
    if side is None:
        return _told_with(container, item, groups)
    check_order({**container.numbers, **siblings}, item, partial(wanted.say, "id_column"))
    ids, labels = read_sidecar(side)
    if labels is not None:
        check_count(labels, item.shape[0], str(side), item.where)
    check_count(ids, item.shape[0], str(side), item.where)
    return Named(ids, str(side), labels)


def _named(ids: tuple[str, ...], item: Field, where: str, groups: Field | None) -> Named:
    check_count(ids, item.shape[0], where, item.where)
    return Named(ids, where, groups_of_rows(groups, item))


def ids_of_own_side(siblings: Mapping[str, Field], item: Field, wanted: Wanted) -> Ids | None:
    """Ids and groups by a list of names that says whose they are, such as `qids`; None without.

    A list that names a row twice is of something else: the right video of a text, say.
    """
    side = _side_of_rows(siblings, item, wanted)
    unique: set[tuple[str, ...]] = set()
    for name, field in siblings.items():
        if side and side_of_ids(name) == side and _may_name(field, item):
            with contextlib.suppress(FormatError):
                ids = read_ids(field)
                unique |= {ids} if first_duplicate(ids) is None else set()
    if len(unique) != 1:
        return None
    return unique.pop(), groups_of_rows(siblings.get("group_ids"), item)


def _side_of_rows(siblings: Mapping[str, Field], item: Field, wanted: Wanted) -> str:
    """The side of an array, by its name or by the option that gave its file; "" for none."""
    own = next((name for name, field in siblings.items() if field is item), "")
    return side_in(own) or wanted.side


def _may_name(field: Field, item: Field) -> bool:
    """Whether an array is a list of text or whole numbers, one for each row of another."""
    listed = is_list(field) and max(field.shape) == item.shape[0]
    return listed and not field.odd and field.kind in ("text", "integer")


def _repeats(field: Field, item: Field) -> bool:
    """Whether a list, one entry for each row of an array, has an entry twice."""
    if not _may_name(field, item):
        return False
    try:
        return first_duplicate(read_ids(field)) is not None
    except FormatError:
        return False  # which is said where they are read


def _of_the_whole(name: str, found: Field, item: Field) -> bool:
    """Whether one value, such as the `id` of an answer of a server, names no row of several."""
    return item.shape[0] > 1 and not found.shape and not name.endswith("s")


def ids_if_they_fit(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Ids | None:
    """The ids of as many rows as an array is said to have; None where there are others, or none."""
    try:
        return ids_of_rows(container, siblings, item, wanted)
    except FormatError:
        return None


def _told_with(container: Container, item: Field, groups: Field | None) -> Named | None:
    """Ids of attributes or metadata, where the array is read as it is stored."""
    for name, found in container.attached(item).items():
        count = max(found.shape, default=0)
        if is_list(found) and count == item.shape[0]:
            return _named(read_ids(found), item, found.where, groups)
        # Under other names there may be those of the columns, or of anything.
        if name.endswith("ids") and found.shape:
            check_count([""] * count, item.shape[0], found.where, item.where)
    return None


def _of_the_other_side(
    siblings: Mapping[str, Field], item: Field, wanted: Wanted, tiers: Sequence[Sequence[str]]
) -> set[str]:
    """Names of ids that belong to the other side, where an array has ids of its own side too."""
    side = _side_of_rows(siblings, item, wanted)
    names = [name for tier in tiers for name in tier if name in siblings]
    sides = {name: side_in(name) for name in names}
    others = {name for name, found in sides.items() if found not in ("", side)}
    if not side or not others or side in sides.values():
        return others if side else set()
    # Those of its own side may have a name that is less usual.
    return others if ids_of_own_side(siblings, item, wanted) is not None else set()


def _choose_ids(
    siblings: Mapping[str, Field],
    present: list[str],
    item: Field,
    wanted: Wanted,
    container: Container,
) -> Named:
    """The one array of ids; of several only those that name every row once can be it."""
    usable = [
        name
        for name in present
        if not siblings[name].odd and siblings[name].kind != "other" and is_list(siblings[name])
    ]
    fitting = [name for name in usable if max(siblings[name].shape) == item.shape[0]]
    if not fitting:
        # What they are is said by whoever reads them, or they are too few.
        odd = siblings[(usable or present)[0]]
        if not usable:
            read_ids(odd)
        raise FormatError(
            f"{odd.where}: {max(odd.shape, default=0)} ids for the {item.shape[0]} rows of "
            f"{item.where}; every row needs its id"
        )
    lists = {name: read_ids(siblings[name]) for name in fitting}
    unique = {name: ids for name, ids in lists.items() if first_duplicate(ids) is None}
    if len(set(unique.values())) > 1:
        raise FormatError(
            f"{item.where}: {named(list(unique))} could all be its ids; name one: "
            f"{wanted.say('id_column', next(iter(unique)))}"
        )
    name = next(iter(unique or lists))
    groups = siblings.get("group_ids")
    return _named(lists[name], item, siblings[name].where, groups)


def groups_of_rows(groups: Field | None, rows: Field) -> tuple[str, ...] | None:
    """The group of every row, where a file says it."""
    if groups is None:
        return None
    made = read_ids(groups)
    check_count(made, rows.shape[0], groups.where, rows.where)
    return made


def named_rows(ids: tuple[str, ...], rows: Field, where: str) -> tuple[str, ...]:
    """Ids that name every row once; `where` is what they were read from."""
    check_count(ids, rows.shape[0], where, rows.where)
    check_unique(ids, where)
    return ids


def refuse_without_ids(container: Container, item: Field, wanted: Wanted, folder: str) -> NoReturn:
    """Refuse rows without ids, with what beside them may be the ids."""
    columns = ""
    side = _side_of_rows(container.fields, item, wanted)
    lists = {**container.fields, **container.noted(item)}
    fitting = [
        name for name, other in lists.items()
        if _may_name(other, item) and (other.kind == "text" or sounds_like(name))
        and not _repeats(other, item)
    ]  # fmt: skip
    # Other groups have items of their own.
    fitting = [name for name in fitting if name.rpartition("/")[0] in ("", folder)] or fitting
    # Those that are called like the other side are named where there is nothing else.
    own = [name for name in fitting if sounds_like(name) in ("", side) or not side] or fitting
    own.sort(key=lambda name: sounds_like(name) == "")
    if container.per_item and own:
        # Of several the first is meant where its name says so.
        sure = len(own) == 1 or (side and sounds_like(own[0]) == side)
        columns = f"; {named(own)} {'has' if len(own) == 1 else 'have'} one entry for each: if "
        columns += "these are the ids, " if len(own) == 1 else "one of these is the ids, "
        columns += f"name it with {wanted.say('id_column', own[0] if sure else 'NAME')}"
    if not container.per_item and len(container.fields) > 1:
        others = [
            name for name, other in container.fields.items()
            if not is_rows(other) and not _repeats(other, item)
        ]  # fmt: skip
        numbers = {name for name in others if container.fields[name].kind != "text"}
        others.sort(key=lambda name: (name in numbers, name in numbers and name != OF_PANDAS))
        others.sort(key=lambda name: bool(side) and sounds_like(name) not in ("", side))
        if others:
            columns = f"; its other columns are {named(others)}: name one with "
            columns += wanted.say("id_column", OF_PANDAS if others[0] == OF_PANDAS else "NAME")
    raise FormatError(f"{item.where}: there are no ids for its rows{columns}; {how_to_give_ids()}")
