"""The order in which layouts are tried, and what a user named instead."""

from collections.abc import Mapping
from dataclasses import replace

from rerank.core.errors import FormatError
from rerank.io.container import VECTOR_NAMES, Container, Found, listing, side_in
from rerank.io.field import Field, check_matrix
from rerank.io.files import named
from rerank.io.frames.masks import without_masks
from rerank.io.frames.masks_of_each import called_like_items
from rerank.io.frames.meanings import meaning_of
from rerank.io.ids import find_sidecar, is_list
from rerank.io.layouts.array_shapes import depth_of, has_many, is_item, is_rows
from rerank.io.layouts.asked_about import refuse_parameters
from rerank.io.layouts.canonical import canonical
from rerank.io.layouts.group_names import fields_below, without_one_group
from rerank.io.layouts.many_arrays import locate_items
from rerank.io.layouts.one_array import rows_and_ids
from rerank.io.layouts.one_split import rows_of_one_split
from rerank.io.layouts.settings_groups import only_matrix, without_settings
from rerank.io.layouts.stacked_items import stacked_items
from rerank.io.layouts.wanted import Wanted
from rerank.io.missing_items import with_whole_vectors
from rerank.io.numbered_parts import or_joined
from rerank.io.several_vectors import several_of_each
from rerank.io.splits import split_column


def locate(container: Container, wanted: Wanted | None = None) -> Found:
    """Find the embeddings and ids of a container, in the order of the documentation.

    1. The canonical schema `rerank/1`. 2. A float array called `embeddings`, `features`, ... with
    `ids`, `keys`, ... of equal length; 2-D, or 3-D with frames. 3. The only such array, with ids
    beside it or in a side-car. 4. One array per id: 1-D is a vector, 2-D are frames. 5. One group
    per id. 6. Refuse, listing what is there.

    Raises:
        FormatError: nothing fits, or more than one thing does.
    """
    wanted = wanted or Wanted()
    if container.schema is not None:
        return canonical(container, wanted)
    container, wanted = rows_of_one_split(container, wanted)
    if container.vectors is not None:
        container = replace(container, fields=container.vectors, vectors=None)
    fields = container.fields
    name = wanted.dataset if wanted.dataset is not None else wanted.embedding_column
    if name is not None and not (container.boxed and container.boxed == name.strip("/")):
        return _chosen(container, name, wanted)
    if container.per_item:
        fields = without_settings(fields)
        container = replace(container, fields=fields)
    if container.alike is not None and not any("/" in x or x in VECTOR_NAMES for x in fields):
        # What follows describes every array, and these would come to the same.
        refuse_parameters(container, wanted)
        return stacked_items(container, fields, wanted)
    masks = called_like_items(fields, folder=container.path.is_dir()) if container.per_item else ()
    root = {name: item for name, item in fields.items() if "/" not in name and name not in masks}
    arrays = without_masks({name: item for name, item in root.items() if is_rows(item)})
    called = [name for name in VECTOR_NAMES if name in root]
    good = [name for name in called if name in arrays]
    if len(good) == 1 and (side := side_in(good[0])):
        # The array of the other side may have a name that is not known.
        good += [name for name in arrays if side_in(name) not in ("", side)]
    if len(good) > 1:
        raise FormatError(
            f"{container.path}: {named(good)} could all be the embeddings; name one: "
            f"{wanted.say(_option(container), wanted.likely(good))}"
        )
    if called and not good and _says_what_it_is(root[called[0]], root):
        # Its name says what it should be, so say what is wrong with it.
        check_matrix(root[called[0]], "embeddings")
    if good:
        return rows_and_ids(container, good[0], root[good[0]], wanted)
    if len(arrays) == 1 and not container.per_item:
        return rows_and_ids(container, *next(iter(arrays.items())), wanted)
    if len(arrays) == 1 and _is_alone(container, root):
        return rows_and_ids(container, *next(iter(arrays.items())), wanted)
    floats = [name for name, item in fields.items() if item.kind == "float" and item.shape]
    if len(floats) == 1 and is_rows(fields[floats[0]]) and has_many(fields[floats[0]].shape):
        # The only one, in a group.
        return rows_and_ids(container, floats[0], fields[floats[0]], wanted)
    if (alone := only_matrix(fields)) is not None:
        return rows_and_ids(container, alone, fields[alone], wanted)
    if len(arrays) > 1 and _have_lists(arrays, root):
        raise FormatError(
            f"{container.path}: {named(list(arrays))} could all be the embeddings "
            f"({listing(container)}); name one: "
            f"{wanted.say(_option(container), wanted.likely(sorted(arrays)))}"
            f"{or_joined(container)}"
        )
    if (inside := _only_group(fields)) is not None:
        return locate(replace(container, fields=inside), wanted)
    if container.per_item and fields:
        refuse_parameters(container, wanted)
        return locate_items(container, dict(fields), wanted)
    if arrays:
        raise FormatError(
            f"{container.path}: {named(list(arrays))} could all be the embeddings; name one: "
            f"{wanted.say(_option(container), wanted.likely(list(arrays)))}"
        )
    odd = next((item for item in root.values() if item.odd and item.fix), None)
    if odd is not None:
        check_matrix(odd, "embeddings")
    integers = [item for item in root.values() if item.kind == "integer" and depth_of(item) == 2]
    if integers:
        check_matrix(integers[0], "embeddings")
    raise FormatError(f"{container.path}: no embeddings found; {listing(container)}")


def _have_lists(arrays: Mapping[str, Field], root: Mapping[str, Field]) -> bool:
    """Whether every array of rows has a list of as many, so that it is none of one item."""
    lists = {
        max(item.shape)
        for name, item in root.items()
        if item.kind in ("text", "integer")
        and is_list(item)
        # One number for each array says how many frames it has.
        and not (meaning_of(name) == "lengths" and max(item.shape) == len(arrays))
    }
    return {item.shape[0] for item in arrays.values()} <= lists


def _only_group(fields: Mapping[str, Field]) -> dict[str, Field] | None:
    """What lies in the one group that holds everything, where that is embeddings with their ids."""
    tops = {name.partition("/")[0] for name in fields if "/" in name}
    if len(tops) != 1 or any("/" not in name for name in fields):
        return None
    inside = {name.partition("/")[2]: item for name, item in fields.items()}
    rows = any(name in VECTOR_NAMES and is_rows(item) for name, item in inside.items())
    names = any(item.kind in ("text", "integer") and is_list(item) for item in inside.values())
    return inside if rows and names else None


def _option(container: Container) -> str:
    return "dataset" if container.per_item else "embedding_column"


def _says_what_it_is(item: Field, root: Mapping[str, Field]) -> bool:
    """Whether an array is named like embeddings, and not like one of several items."""
    return len(root) == 1 or any(is_list(other) for other in root.values() if other is not item)


def _is_alone(container: Container, root: Mapping[str, Field]) -> bool:
    """Whether the one array of rows is a matrix of items, and not the frames of one item."""
    rows = next(item for item in root.values() if is_rows(item)).shape[0]
    beside = any(other in root for tier in container.id_names for other in tier) or any(
        item.kind == "text" and item.shape == (rows,) for item in root.values()
    )
    item = next(item for item in root.values() if is_rows(item))
    alone = len(container.fields) == 1 or any(
        is_list(found) and max(found.shape) == rows for found in container.attached(item).values()
    )
    return alone or beside or find_sidecar(container.path) is not None


def _chosen(container: Container, dataset: str, wanted: Wanted) -> Found:
    """The array, the group, or the array in the group of every item, that a user named."""
    name = dataset.strip("/")
    chosen = container.fields.get(name)
    if chosen is not None:
        return rows_and_ids(container, name, chosen, wanted)
    inside = fields_below(container.fields, name)
    if inside:
        return locate_items(container, inside, wanted, group=name)
    ends = f"/{name}"
    streams = {
        key.removesuffix(ends): item for key, item in container.fields.items() if key.endswith(ends)
    }
    if streams and "*" not in name:
        streams = without_one_group(with_whole_vectors(streams))
        items = {key: item for key, item in streams.items() if is_item(item)}
        return stacked_items(container, items if len(streams) < 2 * len(items) else streams, wanted)
    raise FormatError(f"{container.path}: there is no {dataset!r}; {listing(container)}")


def holds(container: Container, dataset: str) -> bool:
    """Whether a name that a user gave for all files means something in this one.

    >>> from pathlib import Path
    >>> holds(Container(Path("x.h5"), {}), "clip")
    False
    """
    name = dataset.strip("/")
    found = split_column(container) or several_of_each(container)
    if found is not None and name in found[-1]:
        return True
    return name == (container.boxed or None) or any(
        key == name or key.startswith(f"{name}/") or key.endswith(f"/{name}") or name == ""
        for key in (*container.fields, *(container.vectors or ()))
    )
