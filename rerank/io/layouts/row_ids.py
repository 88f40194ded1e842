"""The ids of the rows of one array: given, beside it in the file, or in a side-car."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from rerank.core.errors import FormatError
from rerank.core.wording import option
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
from rerank.io.row_numbers import check_order

Ids = tuple[tuple[str, ...], tuple[str, ...] | None]


def ids_of_rows(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Ids | None:
    """Ids and groups: those that were given, those in the file, those in a side-car."""
    groups = siblings.get("group_ids")
    if wanted.ids is not None:
        return named_rows(wanted.ids, item, wanted.ids_from), groups_of_rows(groups, item)
    if wanted.id_column is not None:
        elsewhere = {**container.numbers, **container.fields}.get(wanted.id_column)
        field = siblings.get(wanted.id_column.strip("/"), elsewhere)
        if field is None:
            raise FormatError(
                f"{container.path}: there is no {wanted.id_column!r}; it holds {contents(siblings)}"
            )
        return named_rows(read_ids(field), item, field.where), groups_of_rows(groups, item)
    other_side = _of_the_other_side(siblings, item, wanted, container.id_names)
    for tier in container.id_names:
        present = [
            other
            for other in tier
            if other in siblings
            and siblings[other] is not item
            and other not in other_side
            and not _of_the_whole(other, siblings[other], item)
        ]
        if present:
            return _choose_ids(siblings, present, item, wanted, container)
    side = find_sidecar(container.path)
    if side is None:
        return _told_with(container, item, groups)
    check_order({**container.numbers, **siblings}, item, wanted.say("id_column", "NAME"))
    ids, labels = read_sidecar(side)
    if labels is not None:
        check_count(labels, item.shape[0], str(side), item.where)
    return named_rows(ids, item, str(side)), labels


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


def _told_with(container: Container, item: Field, groups: Field | None) -> Ids | None:
    """Ids of attributes or metadata, where the array is read as it is stored."""
    for name, found in container.attached(item).items():
        count = max(found.shape, default=0)
        if is_list(found) and count == item.shape[0]:
            return named_rows(read_ids(found), item, found.where), groups_of_rows(groups, item)
        # Under other names there may be those of the columns, or of anything.
        if name.endswith("ids") and found.shape:
            check_count([""] * count, item.shape[0], found.where, item.where)
    return None


def _of_the_other_side(
    siblings: Mapping[str, Field], item: Field, wanted: Wanted, tiers: Sequence[Sequence[str]]
) -> set[str]:
    """Names of ids that belong to the other side, where an array has ids of its own side too."""
    own = next((name for name, field in siblings.items() if field is item), "")
    side = side_in(own) or wanted.side
    names = [name for tier in tiers for name in tier if name in siblings]
    sides = {name: side_in(name) for name in names}
    if not side or not any(found == side for found in sides.values()):
        return set()
    return {name for name, found in sides.items() if found not in ("", side)}


def _choose_ids(
    siblings: Mapping[str, Field],
    present: list[str],
    item: Field,
    wanted: Wanted,
    container: Container,
) -> Ids:
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
    return named_rows(lists[name], item, siblings[name].where), groups_of_rows(groups, item)


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


def refuse_without_ids(container: Container, item: Field) -> NoReturn:
    """Refuse rows without ids, with what beside them may be the ids."""
    columns = ""
    fitting = [
        name for name, other in container.fields.items()
        if other.kind == "text" and other.shape == item.shape[:1]
    ]  # fmt: skip
    if container.per_item and fitting:
        say = "has one entry for each: if these are the ids"
        if len(fitting) > 1:
            say = "have one entry for each: if one of them holds the ids"
        columns = f"; {named(fitting)} {say}, name it with {option('id-column', fitting[0])}"
    if not container.per_item and len(container.fields) > 1:
        others = [name for name, other in container.fields.items() if not is_rows(other)]
        others.sort(key=lambda name: container.fields[name].kind != "text")
        if others:
            columns = (
                f"; its other columns are {named(others)}: name one with {option('id-column')}"
            )
    raise FormatError(f"{item.where}: there are no ids for its rows{columns}; {how_to_give_ids()}")
