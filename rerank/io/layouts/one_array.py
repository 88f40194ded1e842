"""One array of rows, a row for each item: the embeddings in it, and the ids beside it."""

from collections.abc import Mapping
from dataclasses import replace

from rerank.core.errors import FormatError
from rerank.io.container import Container, Found
from rerank.io.field import Field, check_last_axis, check_matrix
from rerank.io.frames.masks import of_these_frames
from rerank.io.frames.pooling import one_matrix, pooled_cube
from rerank.io.frames.side_files import of_side_files
from rerank.io.frames.told_with import beside_rows
from rerank.io.given_ids import check_given_ids
from rerank.io.id_column import refuse_id_column
from rerank.io.ids import check_unique
from rerank.io.layouts.array_shapes import depth_of
from rerank.io.layouts.divided_frames import frames_of_fewer_items
from rerank.io.layouts.group_names import fields_below
from rerank.io.layouts.odd_columns import ask_of_odd_columns
from rerank.io.layouts.repeated_ids import frames_by_repeated_ids
from rerank.io.layouts.row_ids import (
    ids_if_they_fit,
    ids_of_own_side,
    ids_of_rows,
    names_of_rows,
    refuse_without_ids,
)
from rerank.io.layouts.wanted import Wanted
from rerank.io.row_numbers import check_no_order, check_order, check_padded


def rows_and_ids(container: Container, name: str, item: Field, wanted: Wanted) -> Found:
    """Layouts 2 and 3: one array of rows; ids from beside it, else from a side-car."""
    folder = name.rpartition("/")[0]
    siblings = fields_below(container.fields, folder)
    check_last_axis(item)
    # An array beside it is believed before an attribute of the same name.
    stored = item
    beside = of_these_frames(item, beside_rows(item, container.told(item)) | siblings, wanted.side)
    if depth_of(item) == 3 and item.kind == "float":
        if wanted.pooling is not None and item.shape[1] > 1:
            beside |= of_side_files(container.path, item, beside, wanted.side)
        rows = one_matrix(item, beside)
        if rows is None or _names_one(container, siblings, item, wanted):
            rows = pooled_cube(item, beside, wanted.pooling)
        else:
            stored = rows
        item = rows
    check_matrix(item, "embeddings")
    if item.shape[1] == 1:
        raise FormatError(
            f"{item.where}: is one column {item.shape}, and embeddings have at least 2 dimensions; "
            "store one row for each item"
        )
    item.check()
    if item.columns:
        ask_of_odd_columns(container, item, wanted)
    if stored is item:
        refuse_id_column(item, path=container.path, name=name, id_column=wanted.id_column or "")
    if (framed := frames_of_fewer_items(container, beside, item, wanted)) is not None:
        return framed
    found = None
    if not wanted.force_rows:
        names = names_of_rows(container, siblings, item, wanted)
        if names is not None:
            if framed := frames_by_repeated_ids(container, siblings, item, names, wanted):
                return framed
            check_unique(names.ids, names.where)
            found = names.ids, names.groups
        if found is None and folder:
            found = ids_of_rows(container, container.fields, item, wanted)
        found = found or ids_of_own_side(siblings, item, wanted)
        if found is None and folder:
            root = {name: field for name, field in container.fields.items() if "/" not in name}
            found = ids_of_own_side(root, item, wanted)
    by_place = found is None and (wanted.row_numbers or wanted.force_rows)
    if wanted.force_rows:
        own = _own_ids(container, siblings, item, wanted)
        check_padded(own or (), item.where, lambda: wanted.unpadded(container.path))
    if by_place or wanted.ids is not None:
        # Where numbers are the ids, the ground truth may speak of places.
        way = lambda name: f"{wanted.say('id_column', name)} in place of the ids given"  # noqa: E731
        check_order({**container.numbers, **siblings}, item, None if by_place else way)
    if found is not None and wanted.ids is not None:
        _check_given(container, siblings, item, wanted)
    if found is not None:
        if container.per_item and wanted.ids is None and wanted.id_column is None:
            check_no_order(siblings, item, [found[0]], _way_to_say(container, siblings, wanted))
        return Found(item, *found)
    if by_place:
        return Found(item, tuple(map(str, range(item.shape[0]))), ids_given=False)
    refuse_without_ids(container, item, wanted, folder)


def _check_given(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> None:
    """Refuse ids that are given in another order than those that the rows have.

    Raises:
        FormatError: they are.
    """
    own = _own_ids(container, siblings, item, wanted)
    if own is not None and wanted.ids is not None:
        check_given_ids(wanted.ids, own, source=wanted.ids_from, where=item.where)


def _own_ids(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> tuple[str, ...] | None:
    """The ids that rows have beside them, where others are given."""
    alone = replace(wanted, ids=None, id_column=None)
    own = ids_if_they_fit(container, siblings, item, alone) or ids_of_own_side(
        siblings, item, alone
    )
    return None if own is None else own[0]


def _way_to_say(container: Container, siblings: Mapping[str, Field], wanted: Wanted) -> str:
    """How to say that the ids beside rows are theirs; "" where they are no array there."""
    names = [name for tier in container.id_names for name in tier if name in siblings]
    return wanted.say("id_column", names[0]) if names else ""


def _names_one(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> bool:
    """Whether a matrix with an axis of one before it has one id, which makes its rows frames."""
    return not wanted.force_rows and (
        ids_if_they_fit(container, siblings, item, wanted) is not None
    )
