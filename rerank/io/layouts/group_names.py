"""Names such as `test/v0/features`: what lies below a group, and what stands at either end."""

from collections.abc import Mapping

from rerank.io.field import Field


def fields_below(fields: Mapping[str, Field], group: str) -> dict[str, Field]:
    """What lies in a group, by names below it; everything where the group has no name."""
    if group == "":
        return dict(fields)
    start = f"{group}/"
    return {name[len(start) :]: item for name, item in fields.items() if name.startswith(start)}


def without_one_group(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Arrays by their names below the group in which all of them lie, which says nothing.

    >>> list(without_one_group({"test/v0": None, "test/v1": None}))
    ['v0', 'v1']
    >>> list(without_one_group({"train/v0": None, "test/v0": None}))
    ['train/v0', 'test/v0']
    """
    found = dict(fields)
    while len(found) > 1 and len({top_of(name) for name in found}) == 1:
        found = {name.partition("/")[2]: item for name, item in found.items()}
    return found


def prefix_of(group: str | None) -> str:
    """What stands before the names in a group."""
    return f"{group}/" if group else ""


def top_of(name: str) -> str:
    """The first part of a name."""
    return name.partition("/")[0]


def head_of(name: str) -> str:
    """The group that an array lies in; "" where it lies in none."""
    return name.rpartition("/")[0]
