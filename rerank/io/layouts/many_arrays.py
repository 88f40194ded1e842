"""An array for each item, or a group for each: which arrays these are, and what names them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rerank.core.errors import FormatError
from rerank.io.axes import without_axes_of_one
from rerank.io.container import VECTOR_NAMES, Container, Found, contents, listing
from rerank.io.field import Field, check_matrix
from rerank.io.files import named
from rerank.io.frames.masks_of_all import without_tables
from rerank.io.frames.masks_of_each import beside_items, called_like_items
from rerank.io.ids import check_unique, read_ids
from rerank.io.layouts.array_shapes import depth_of, few_matrices, is_item
from rerank.io.layouts.asked_about import (
    ask_for_one_of_each,
    ask_for_one_of_few,
    refuse_collections,
    refuse_other_name,
    refuse_other_type,
)
from rerank.io.layouts.group_names import prefix_of, top_of
from rerank.io.layouts.one_array import rows_and_ids
from rerank.io.layouts.settings_groups import without_values
from rerank.io.layouts.stacked_items import stacked_items
from rerank.io.layouts.wanted import Wanted
from rerank.io.missing_items import with_whole_vectors
from rerank.io.numbered_parts import NUMBER, or_joined


def locate_items(
    container: Container, fields: dict[str, Field], wanted: Wanted, *, group: str | None = None
) -> Found:
    """Layouts 4 and 5: one array per id, or one group per id with the array inside.

    Args:
        container: the file.
        fields: its arrays, or those of one group, by names below that group.
        wanted: what the user said.
        group: the group that the user named; None when he named none.

    Raises:
        FormatError: the file is of neither layout, the ids could be read two ways, several groups
            or streams could be meant, or frames come without a word on how to combine them.
    """
    path = container.path
    masks = called_like_items(fields, folder=path.is_dir())
    fields = {name: item for name, item in fields.items() if name not in masks}
    fields = without_axes_of_one(path, _without(fields, beside_items(fields)))
    fields = with_whole_vectors(without_values(without_tables(fields)))
    if group is None:
        refuse_collections(container, fields, wanted)
        if (named_so := _names_of_numbered(container, fields, wanted)) is not None:
            return stacked_items(container, *named_so)
    arrays = {name: item for name, item in fields.items() if is_item(item)}
    matrices = [name for name in arrays if name in VECTOR_NAMES and depth_of(arrays[name]) > 1]
    if group is not None and len(matrices) == 1:
        name = f"{group}/{matrices[0]}" if group else matrices[0]
        return rows_and_ids(container, name, arrays[matrices[0]], wanted)
    if not arrays or _mostly_other(fields, arrays):
        odd = next((item for item in fields.values() if item.odd and item.fix), None)
        if odd is not None and all(item.odd and item.fix for item in fields.values()):
            check_matrix(odd, "embeddings")
        whole = [item for item in fields.values() if item.kind == "integer" and depth_of(item)]
        named_so = any(name in fields for tier in container.id_names for name in tier)
        if len(whole) > 1 and len(whole) == len(fields) and not named_so:
            raise FormatError(
                f"{path}: no embeddings found; it holds integers alone: {contents(fields)}; if "
                "these are vectors by id, store them as float32"
            )
        if group is None:
            ask_for_one_of_each(path, fields, arrays, wanted)
        elif len(single := few_matrices(fields, group)) == 1:
            return rows_and_ids(container, prefix_of(group) + single[0], fields[single[0]], wanted)
        ask_for_one_of_few(path, fields, wanted, group)
        ask_for_one_of_each(path, fields, arrays, wanted)
        refuse_other_type(path, fields, arrays)
        raise FormatError(
            f"{path}: no embeddings found; {listing(container)}{or_joined(container)}"
        )
    groups: dict[str, list[str]] = {}
    for name in arrays:
        head, slash, leaf = name.rpartition("/")
        if slash:
            groups.setdefault(head, []).append(leaf)
    if group == "" or not groups:
        return stacked_items(container, _without_last(arrays), wanted)
    flat = [name for name in arrays if "/" not in name]
    if flat:
        # Ids such as a/b nest groups; a few of them among others are no groups of items.
        if len(arrays) - len(flat) <= len(flat) and max(map(len, groups.values())) < len(flat):
            return stacked_items(container, arrays, wanted)
        first = prefix_of(group) + top_of(next(iter(groups)))
        raise FormatError(
            f"{path}: holds items and groups of items side by side ({contents(arrays)}); say which "
            f"are meant: {wanted.say('dataset', first)}, or "
            f"{_for_all(arrays, wanted)}"
        )
    return _nested(container, arrays, groups, wanted, named_group=group, above=prefix_of(group))


def _names_of_numbered(
    container: Container, fields: Mapping[str, Field], wanted: Wanted
) -> tuple[dict[str, Field], Wanted] | None:
    """Arrays that are called 0, 1, ... beside a list of their ids, and what names them; else None.

    A list that was named is taken where it is one.
    """
    items = {name: item for name, item in fields.items() if NUMBER.fullmatch(name)}
    known = [wanted.id_column] if wanted.id_column else [x for t in container.id_names for x in t]
    named_so = [name for name in known if name in fields and name not in items]
    if len(items) < 2 or not all(map(is_item, items.values())) or len(named_so) != 1:
        return None
    ids = fields[named_so[0]]
    if wanted.ids is not None or wanted.force_rows or max(ids.shape, default=0) != len(items):
        return None
    if {str(at) for at in range(len(items))} != items.keys():
        return None
    names = read_ids(ids)
    check_unique(names, ids.where)
    return items, replace(wanted, ids=names, ids_from=ids.where)


def _nested(
    container: Container,
    arrays: dict[str, Field],
    groups: Mapping[str, Sequence[str]],
    wanted: Wanted,
    *,
    named_group: str | None,
    above: str,
) -> Found:
    """Groups only: one for each item, or several collections of items; they lie in `above`."""
    path = container.path
    tops: dict[str, set[str]] = {}
    for name in arrays:
        top, _, rest = name.partition("/")
        tops.setdefault(top, set()).add(rest)
    leaves = next(iter(tops.values()))
    if len(tops) == 1:
        top = next(iter(tops))
        deeper = {rest.partition("/")[0] for rest in leaves}
        if all("/" in rest for rest in leaves) and len(deeper) > 1:
            # test/<id>/features: the group in which all items lie says nothing.
            inside = {name.partition("/")[2]: item for name, item in arrays.items()}
            below = {head.partition("/")[2]: list(names) for head, names in groups.items()}
            return _nested(
                container, inside, below, wanted, named_group=named_group, above=f"{above}{top}/"
            )
        if len(leaves) == 1:
            return stacked_items(container, {top: next(iter(arrays.values()))}, wanted)
        if named_group is not None:
            return stacked_items(
                container, {name.partition("/")[2]: item for name, item in arrays.items()}, wanted
            )
        first = next(iter(arrays))
        raise FormatError(
            f"{path}: everything lies in the group {named([top])}, so the ids could be "
            f"{named([first])} or {named([first.partition('/')[2]])}; say which: "
            f"{wanted.say('dataset', '/')} or {wanted.say('dataset', above + top)}"
        )
    if all(rest == leaves for rest in tops.values()) and len(leaves) <= len(tops):
        if len(leaves) == 1:
            leaf = next(iter(leaves))
            return stacked_items(
                container,
                {name[: -len(leaf) - 1]: item for name, item in arrays.items()},
                wanted,
            )
        called = [leaf for leaf in VECTOR_NAMES if leaf in leaves]
        if len(called) == 1:
            leaf = called[0]
            return stacked_items(container, {top: arrays[f"{top}/{leaf}"] for top in tops}, wanted)
        raise FormatError(
            f"{path}: each of its {len(tops)} items, such as {named([next(iter(tops))])}, holds "
            f"several arrays: {named(sorted(leaves))}; name one: "
            f"{wanted.say('dataset', wanted.likely(sorted(leaves)))}"
        )
    called = {top: [leaf for leaf in VECTOR_NAMES if leaf in rest] for top, rest in tops.items()}
    if all(len(found) == 1 for found in called.values()) and len(set(map(tuple, tops.values()))):
        return stacked_items(
            container, {top: arrays[f"{top}/{found[0]}"] for top, found in called.items()}, wanted
        )
    shared, every = set.intersection(*tops.values()), set.union(*tops.values())
    refuse_other_name(path, tops)
    if shared and len(every) <= len(tops) + 1 and len(every) < 9:
        lacking = next(top for top, rest in tops.items() if rest != every)
        raise FormatError(
            f"{path}: its items hold {named(sorted(every))}, but {named([lacking])} lacks "
            f"{named(sorted(every - tops[lacking]))}; name one that all have: "
            f"{wanted.say('dataset', wanted.likely(sorted(shared)))}"
        )
    sizes = [f"{top!r} ({len(rest)} arrays)" for top, rest in list(tops.items())[:6]]
    raise FormatError(
        f"{path}: holds several groups: {', '.join(sizes)}; say which one is meant: "
        f"{wanted.say('dataset', above + wanted.likely(list(tops)))}, or "
        f"{_for_all(arrays, wanted, above)}"
    )


def _without_last(arrays: Mapping[str, Field]) -> Mapping[str, Field]:
    """Arrays of all groups by what tells them apart in test/v0/feat: v0 alone, of one group."""
    leaves = {name.rpartition("/")[2] for name in arrays}
    if len(leaves) > 1 or len(arrays) < 3 or any("/" not in name for name in arrays):
        return arrays
    heads = {name.rpartition("/")[0]: item for name, item in arrays.items()}
    if len({top_of(head) for head in heads}) == 1:
        return {head.partition("/")[2]: item for head, item in heads.items()}
    return heads


def _for_all(arrays: Mapping[str, Field], wanted: Wanted, above: str = "") -> str:
    """How to take all groups, and what the ids are then."""
    ids = _without_last({above + name: item for name, item in arrays.items()})
    first = next((name for name in ids if "/" in name), next(iter(ids)))
    return f"{wanted.say('dataset', '/')} for all, with ids such as {named([first])}"


def _mostly_other(fields: Mapping[str, Field], arrays: Mapping[str, Field]) -> bool:
    """Whether what is no item could be one of another type, so that items would be left out."""
    other = [item for name, item in fields.items() if name not in arrays and item.shape != (0,)]
    # A number of each item, such as a year, is never its vector.
    more = [item for item in other if item.shape or item.kind != "integer"]
    return any(item.kind != "other" and depth_of(item) > 0 for item in other) or (
        len(more) > len(arrays)
    )


def _without(
    fields: dict[str, Field], beside: Mapping[str, Mapping[str, Field]]
) -> dict[str, Field]:
    """Arrays that are no masks and lengths of the frames beside them."""
    gone = {f"{head}/{leaf}" for head, inside in beside.items() for leaf in inside}
    return {name: item for name, item in fields.items() if name not in gone} if gone else fields
