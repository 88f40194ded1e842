"""Which frames of items that are kept one by one are there: what lies beside each of them.

It lies in the group of the item (`v0/features`, `v0/mask`), in a group of its own kind
(`features/v0`, `mask/v0`), or is called like the item and more (`v0`, `v0_mask`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import LENGTH_NAMES, MASK_NAMES, Told
from rerank.io.field import Field, in_memory
from rerank.io.frames.blanks import behind_blanks
from rerank.io.frames.doubts import before_padding, could_be_lengths, could_be_masks
from rerank.io.frames.mask_shapes import fits, numbers_of
from rerank.io.frames.mask_values import is_added, is_flags, kept_by
from rerank.io.frames.masks import says_something
from rerank.io.frames.meanings import (
    NUMBER_OF_PADDING,
    counts_of_videos,
    end_of,
    is_something_else,
    is_weight,
    meaning_of,
    says_absent,
    says_last,
    says_number_of_padding,
)
from rerank.io.frames.told_with import of_each

# Groups that are kinds of arrays; more are items.
_MOST_KINDS = 16
# So many arrays with frames are items, and no matrices of several kinds.
_MANY = 5
_MARKS = "_-."


def beside_items(fields: Mapping[str, Field]) -> dict[str, dict[str, Field]]:
    """For every group with frames (F, d): the arrays in it that say which of them are there."""
    groups: dict[str, dict[str, Field]] = {}
    for name, item in fields.items():
        head, slash, leaf = name.rpartition("/")
        if slash and meaning_of(leaf) in ("mask", "lengths", "padding"):
            groups.setdefault(head, {})[leaf] = item
    framed: dict[str, set[int]] = {}
    for head, frames in _framed(fields, groups):
        framed.setdefault(head, set()).add(frames)
    return {
        head: {leaf: item for leaf, item in inside.items()
               if any(says_something(leaf, item, 1, frames) for frames in framed[head])}
        for head, inside in groups.items() if head in framed
    }  # fmt: skip


def _framed(
    fields: Mapping[str, Field], groups: Mapping[str, Mapping[str, Field]]
) -> Iterator[tuple[str, int]]:
    """Groups and the number of the frames in them."""
    for name, item in fields.items():
        head, _, leaf = name.rpartition("/")
        inside = groups.get(head)
        if inside is None or leaf in inside or item.kind != "float":
            continue
        if is_frames(item):
            yield head, item.shape[-2]


def called_like_items(fields: Mapping[str, Field], *, folder: bool) -> set[str]:
    """Masks and lengths of most of the items beside them, called like these and more: `v0_mask`.

    Args:
        fields: the arrays of a file or folder.
        folder: whether every array is a file, so that a few of them are items too.
    """
    framed = {name: item.shape[-2] for name, item in fields.items() if is_frames(item)}
    found: dict[str, str] = {}
    for name, field in fields.items():
        for stem, more in _parts(name):
            if stem in framed and _says_of_frames(more, field, framed[stem]):
                found[name] = stem
    items = [name for name in framed if name not in found]
    told = set(found.values()) & set(items)
    few = len(items) < (2 if folder else _MANY)
    return set() if few or 2 * len(told) <= len(items) else set(found)


def _says_of_frames(name: str, field: Field, frames: int) -> bool:
    """Whether what is called so beside the frames of an item is no item itself."""
    meaning = meaning_of(name)
    if meaning not in ("mask", "lengths", "padding") or field.odd:
        return False
    if name in (*MASK_NAMES, *LENGTH_NAMES) and len(field.shape) < 2:
        return True  # what does not fit is said when it is read
    # What has any values is the vector of another item.
    return fits(field, meaning, 1, frames) and (
        field.kind != "float" or _is_number(field) or is_flags(numbers_of(field))
    )


def is_frames(item: Field) -> bool:
    """Whether an array may be the frames of one item."""
    depth = len(item.shape)
    return item.kind == "float" and (depth == 2 or (depth == 3 and item.shape[0] == 1))


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """A name taken apart at each of its marks: what may be called so, and what is said of it."""
    for at in (place for place, mark in enumerate(name) if mark in _MARKS):
        yield name[:at], name[at + 1 :]
        yield name[at + 1 :], name[:at]


def said_of_items(
    fields: Mapping[str, Field], items: Mapping[str, Field], told: Mapping[str, Told] | None = None
) -> dict[str, dict[str, Field]]:
    """For each id with frames what says which of them are there, by the name of it.

    Args:
        fields: all arrays of a file.
        items: the frames of each id.
        told: by id what is told with them and is no array.

    Raises:
        FormatError: something that every item has may say it, or says it and cannot be read.
    """
    _check_read(fields, items)
    said: dict[str, dict[str, Field]] = {}
    companions = of_each(told or {}, items)
    for name, held in _companions(fields, items).items():
        companions[name] = companions.get(name, {}) | held
    last = {end_of(name) for name in companions} - {""}
    for name, held in companions.items():
        meaning = meaning_of(name)
        if meaning in ("mask", "lengths", "padding"):
            take(name, held, items, said)
        elif len(held) == len(items) and (
            is_weight(name) or not is_something_else(name) or _end_in_blanks(held, items)
        ):
            _ask_of_all(name, held, items, bounded=name in last)
    return said


def _check_read(fields: Mapping[str, Field], items: Mapping[str, Field]) -> None:
    """Refuse a mask or lengths of an item that are there and cannot be read."""
    for name, held in _companions(fields, items, unread=True).items():
        meaning = meaning_of(name)
        for item_id, found in held.items():
            there = meaning in ("mask", "lengths", "padding") and found.shape
            numbers = replace(found, odd="", dtype=np.dtype(np.float64))
            if there and fits(numbers, meaning, 1, _frames(items[item_id])):
                raise FormatError(
                    f"{found.where}: is {found.describe()}, and says which frames count; "
                    f"{found.fix or 'store numbers'}"
                )


def take(
    name: str,
    held: Mapping[str, Field],
    items: Mapping[str, Field],
    said: dict[str, dict[str, Field]],
) -> None:
    """Add to what is said of each item what one name says of it.

    Raises:
        FormatError: it may say something else.
    """
    if counts_of_videos(name) and _of_whole_videos(held, items):
        return
    numbers = meaning_of(name) == "padding" and all(map(_is_number, held.values()))
    if numbers and not says_number_of_padding(name) and len(held) == len(items):
        if all(np.isin(numbers_of(found), (0, 1)).all() for found in held.values()):
            # Perhaps whether there is any.
            _ask_of_all(name, held, items)
            return
    added = _added(name, held, items)
    for item_id, found in held.items():
        if item_id in added:
            # What is called padding is none where it is added.
            key = name if meaning_of(name) == "mask" else MASK_NAMES[0]
            said.setdefault(item_id, {})[key] = added[item_id]
        elif says_something(name, found, 1, _frames(items[item_id])):
            # What all items say together shows what each says.
            said.setdefault(item_id, {})[NUMBER_OF_PADDING if numbers else name] = found


def _added(name: str, held: Mapping[str, Field], items: Mapping[str, Field]) -> dict[str, Field]:
    """Which frames masks keep by the values of all of them, of which one item may have one only."""
    if meaning_of(name) not in ("mask", "padding"):
        return {}
    masks = {
        item_id: found for item_id, found in held.items()
        if not _is_number(found) and fits(found, "mask", 1, _frames(items[item_id]))
    }  # fmt: skip
    if all(found.dtype.kind in "bu" for found in masks.values()):
        return {}
    values = [numbers_of(found).reshape(-1) for found in masks.values()]
    together = np.concatenate(values)
    kept = None if np.isin(together, (0, 1)).all() else kept_by(together)
    if kept is None or (meaning_of(name) == "padding" and not is_added(together)):
        return {}
    parts = np.split(kept, np.cumsum([len(each) for each in values])[:-1])
    rows = zip(masks.items(), parts, strict=True)
    return {item_id: in_memory(part, found.where) for (item_id, found), part in rows}


def _end_in_blanks(held: Mapping[str, Field], items: Mapping[str, Field]) -> bool:
    """Whether numbers, one for each frame, end in what stands for nothing."""
    if not all(found.shape == (_frames(items[item_id]),) for item_id, found in held.items()):
        return False
    values = [numbers_of(found) for found in held.values()]
    flags = kept_by(np.concatenate(values)) is not None
    return not flags and behind_blanks(values) is not None


def _of_whole_videos(held: Mapping[str, Field], items: Mapping[str, Field]) -> bool:
    """Whether numbers are of as many frames as every item has, or more."""
    if not all(map(_is_number, held.values())):
        return False
    counts = [(numbers_of(x).reshape(-1)[0], _frames(items[i])) for i, x in held.items()]
    return all(count >= frames for count, frames in counts)


def _is_number(found: Field) -> bool:
    return found.shape in ((), (1,), (1, 1))


def _companions(
    fields: Mapping[str, Field], items: Mapping[str, Field], *, unread: bool = False
) -> dict[str, dict[str, Field]]:
    """What lies beside items and could be a mask or a length: by its name, then by id.

    Args:
        fields: all arrays of a file.
        items: the frames of each id.
        unread: whether those are meant that nothing here reads.
    """
    # Of what was made of an array the place is that of the array.
    ids = {item.where: item_id for item_id, item in items.items()}
    places = {name: ids[field.where] for name, field in fields.items() if field.where in ids}
    groups = {name.rpartition("/")[0]: item_id for name, item_id in places.items()}
    alone = len(groups) == len(places)
    tops = {name.partition("/")[0] for name in fields}
    kinds = len(tops) <= _MOST_KINDS and len({name.partition("/")[0] for name in places}) == 1
    below = {name.partition("/")[2]: item_id for name, item_id in places.items()} if kinds else {}
    found: dict[str, dict[str, Field]] = {}
    for name, field in fields.items():
        numbers = not field.odd and field.dtype.kind in "iubf"
        if name in places or not (field.odd if unread else numbers):
            continue
        head, slash, leaf = name.rpartition("/")
        kind, _, rest = name.partition("/")
        if slash and alone and head in groups:
            found.setdefault(leaf, {})[groups[head]] = field
        elif slash and rest in below:
            found.setdefault(kind, {})[below[rest]] = field
        else:
            for stem, more in _parts(name):
                if stem in places:
                    found.setdefault(more, {})[places[stem]] = field
    return found


def _frames(item: Field) -> int:
    return item.shape[-2] if len(item.shape) > 1 else 1


def _ask_of_all(
    name: str, held: Mapping[str, Field], items: Mapping[str, Field], *, bounded: bool = False
) -> None:
    """Refuse numbers of which every item has one, or one for each frame, and which may count.

    Args:
        name: what they are called.
        held: those of each item.
        items: the frames.
        bounded: whether there is a first frame too.
    """
    shapes = [(field.shape, _frames(items[item_id])) for item_id, field in held.items()]
    single = all(map(_is_number, held.values()))
    if not single and not all(shape in ((f,), (f, 1), (1, f)) for shape, f in shapes):
        return
    values = [numbers_of(field).reshape(-1) for field in held.values()]
    absent = says_absent(name)
    if single:
        lengths, most = np.concatenate(values), np.array([frames for _, frames in shapes])
        if not absent and not could_be_lengths(name, lengths, most):
            return
        if not np.isin(lengths, np.arange(most.max() + 1)).all() or (lengths > most).any():
            return
        each = list(zip(lengths.tolist(), most.tolist(), strict=True))
        ways = [[np.arange(f) < (f - v if absent else v) for v, f in each]]
        ways += [[np.arange(f) >= v for v, f in each]] if absent else []
        ways += [[np.arange(f) <= v for v, f in each]] if says_last(name) else []
        word = "mask" if absent or bounded or says_last(name) else "length"
    elif is_flags(together := np.concatenate(values)) and (kept := kept_by(together)) is not None:
        ones = np.split(kept, np.cumsum([len(value) for value in values])[:-1])
        if not is_weight(name) and not is_added(together) and not could_be_masks(name, ones):
            return
        ways, word = [ones, [~each for each in ones]], "mask"
    elif (there := behind_blanks(values) or before_padding(name, values)) is not None:
        ways, word = [there], "mask"
    else:
        return
    if any(_zeros_outside(items, dict(zip(held, way, strict=True))) for way in ways):
        return
    what = "how many" if single else "which"
    first = next(iter(held.values()))
    how = f"call them {word!r}" if word == "length" or not single else f"store a {word!r} of each"
    raise FormatError(
        f"{first.where}: its numbers, and those of the other items, may say {what} of the frames "
        f"{'do not count' if absent and single else 'count'}; if they do, {how}"
        f"{'' if word == 'length' else ', with 1 for a frame that counts'}; if they do not, leave "
        "them out of this file"
    )


def _zeros_outside(items: Mapping[str, Field], there: Mapping[str, np.ndarray]) -> bool:
    """Whether all frames that are not there are zeros, which are padding anyway."""
    for item_id, kept in there.items():
        if kept.all():
            continue
        item = items[item_id]
        rows = np.concatenate(list(item.blocks(0, item.shape[0]))).reshape(-1, item.shape[-1])
        if rows[~kept].any():
            return False
    return True
