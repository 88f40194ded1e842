"""Numbers of points as ids, where names of the items lie deeper: in a payload of Qdrant, say."""

import re
from collections.abc import Mapping

from rerank.core.errors import FormatError
from rerank.io.container import Container, Found
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.ids import first_duplicate, is_list, read_ids
from rerank.io.layouts.wanted import Wanted
from rerank.io.side_words import names_one_side

# What a store calls the key of a point, which it made itself.
_KEYS = ("id", "point_id", "_id", "uuid", "key")
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def said_of_deeper_ids(container: Container, found: Found, wanted: Wanted) -> str:
    """What a person should know where ids are numbers of points, and names lie beside them; "".

    Args:
        container: the file.
        found: what was found in it.
        wanted: what the user said; a list that was named is meant.
    """
    deeper = [name for name in container.fields if "/" in name]
    key = next((name for name in _KEYS if name in container.fields), None)
    if wanted.names_parts or not found.ids_given or key is None or not deeper:
        return ""
    if not all(each.isdecimal() or _UUID.fullmatch(each) for each in found.ids):
        return ""
    known = [name for tier in container.id_names for name in tier]
    leaves = {name: name.rpartition("/")[2] for name in deeper}
    called = [name for name, leaf in leaves.items() if names_one_side(leaf)]
    called += [name for name, leaf in leaves.items() if leaf in known and name not in called]
    names = next(((x, ids) for x in called if (ids := _names(container.fields, x, found))), None)
    if names is None:
        return ""
    name, ids = names
    return (
        f"{container.path}: its ids are the keys of its points, such as {named(found.ids[:1])}, "
        f"and {name!r} names each, such as {named(ids[:1])}; if these are meant, give "
        f"{wanted.say('id_column', name)}, else {wanted.say('id_column', key)} says so"
    )


def _names(fields: Mapping[str, Field], name: str, found: Found) -> tuple[str, ...]:
    """The text in a list, where it names every row, and each by another name; else nothing."""
    item = fields[name]
    if item.kind != "text" or item.odd or not is_list(item):
        return ()
    try:
        ids = read_ids(item)
    except FormatError:
        return ()
    return ids if len(ids) == len(found.ids) and first_duplicate(ids) is None else ()
