"""Items that would be left out without a word: what is kept like them and holds no vector."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import NOTHING, Field
from rerank.io.files import named
from rerank.io.frames.meanings import is_something_else, meaning_of

_DIGITS = re.compile(r"\d+")
# What speaks of a file as a whole.
SETTINGS = {
    "meta", "metadata", "info", "config", "attrs", "args", "params", "settings", "options", "note",
    "notes", "comment", "readme", "model", "schema", "dim", "dims", "size", "shape",
    "format", "created", "license", "history", "stats", "mean", "std", "norm", "fp16", "sha256",
}  # fmt: skip


class NamesOfItems:
    """How the names of items are built.

    >>> like = NamesOfItems(["v0", "v1"]).has
    >>> like("v12"), like("config")
    (True, False)
    >>> NamesOfItems(["a8Fz-0pQ", "09xKw_eA"]).has("kqT9_x3b"), NamesOfItems(["cat"]).has("dim")
    (True, False)
    """

    def __init__(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        self.counted = {_DIGITS.sub("0", each) for each in ids}
        self.endings = {PurePosixPath(each).suffix for each in ids}
        self.lengths = set(map(len, ids))
        self.made_of = set(map(_made_of, ids))

    def has(self, name: str) -> bool:
        """Whether a name is built like them."""
        if _DIGITS.search(name) and _DIGITS.sub("0", name) in self.counted:
            return True
        if name.lower() in SETTINGS or is_something_else(name) or meaning_of(name):
            return False
        ending = PurePosixPath(name).suffix
        if ending and self.endings == {ending}:
            return True
        return self.lengths == {len(name)} and _made_of(name) in self.made_of


def _made_of(name: str) -> tuple[bool, bool]:
    """Whether there are letters and digits in a name."""
    return any(map(str.isalpha, name)), any(map(str.isdigit, name))


def with_whole_vectors(fields: dict[str, Field]) -> dict[str, Field]:
    """Arrays of which a few vectors of whole numbers, among those of decimals, are decimals too."""
    floats = {name: item for name, item in fields.items() if item.kind == "float" and item.shape}
    widths = {item.shape[-1] for item in floats.values()}
    whole = [
        name for name, item in fields.items()
        if item.kind == "integer" and 0 < len(item.shape) < 3 and item.shape[-1] in widths
    ]  # fmt: skip
    if len(widths) != 1 or widths == {1} or not 0 < len(whole) < len(floats):
        return fields
    leaves = {name.rpartition("/")[2] for name in floats if "/" in name}
    flat = NamesOfItems(name for name in floats if "/" not in name)
    dtype = np.result_type(np.float32, *{item.dtype for item in floats.values()})
    made = dict(fields)
    for name in whole:
        _, slash, leaf = name.rpartition("/")
        if (leaf in leaves) if slash else flat.has(name):
            made[name] = _as_decimals(fields[name], dtype)
    return made


def _as_decimals(item: Field, dtype: np.dtype) -> Field:
    blocks = item.blocks
    return replace(
        item,
        dtype=dtype,
        blocks=lambda start, stop: (block.astype(dtype) for block in blocks(start, stop)),
        mapped=None,
    )


def refuse_missing(container: Container, items: Mapping[str, Field]) -> None:
    """Refuse what is kept like the items and has no vector: it would be left out.

    Args:
        container: the file.
        items: an array for each id.

    Raises:
        FormatError: one is there.
    """
    place = _place(container.fields, items)
    if place is None:
        return
    before, after = place
    depth = next(iter(items)).count("/") + 1
    held: dict[str, list[str]] = {}
    for name in (*container.fields, *container.besides):
        if not name.startswith(before):
            continue
        parts = name[len(before) :].split("/")
        candidate = "/".join(parts[:depth])
        if candidate not in items:
            held.setdefault(candidate, []).append("/".join(parts[depth:]))
    said = {each: _what(container, before + each, inside, after) for each, inside in held.items()}
    empty = [each for each in held if said[each] == NOTHING and each.lower() not in SETTINGS]
    found = empty or list(filter(NamesOfItems(items).has, held))
    if 0 < len(found) < len(items):
        raise FormatError(
            f"{container.path}: {named([before + each for each in empty or found[:1]])} holds "
            f"{said[found[0]]}, and {len(items)} entries like it hold vectors; give it one, or "
            "leave it out of this file"
        )


def _place(fields: Mapping[str, Field], items: Mapping[str, Field]) -> tuple[str, str] | None:
    """What stands before and behind the ids in the names of arrays; None where that varies."""
    if len({item_id.count("/") for item_id in items}) != 1:
        return None
    (first, item), last = next(iter(items.items())), next(reversed(list(items)))
    found = (name for name in fields if first in name and fields[name].where == item.where)
    name = next(found, "")
    places = [
        (name[: at.start()], name[at.end() :])
        for at in re.finditer(f"(?<![^/]){re.escape(first)}(?![^/])", name)
    ]
    return next((x for x in places if x[0] + last + x[1] in fields), next(iter(places), None))


def _what(container: Container, name: str, inside: list[str], after: str) -> str:
    """What is there for one that is no item, in words."""
    names = [f"{name}/{leaf}" if leaf else name for leaf in inside]
    found = [container.besides.get(each) or _said(container.fields[each]) for each in names]
    if all(each == NOTHING for each in found):
        return NOTHING
    wanted = after.strip("/")
    if inside == [""] or wanted in inside:
        return found[inside.index(wanted) if wanted in inside else 0]
    return f"{named(sorted(inside))} and no {named([wanted])}" if wanted else named(sorted(inside))


def _said(item: Field) -> str:
    if item.shape == (0,):
        return NOTHING
    if item.odd:
        return item.odd
    if item.kind == "text":
        return "text"
    return "a single number" if item.shape in ((), (1,)) else item.describe()
