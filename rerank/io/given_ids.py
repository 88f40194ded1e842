"""Ids that are given for rows that have ids of their own: these may not say another order."""

from collections.abc import Sequence

from rerank.core.errors import FormatError
from rerank.io.files import named


def check_given_ids(given: Sequence[str], own: Sequence[str], *, source: str, where: str) -> None:
    """Refuse ids of another order than those that the rows have; other names are no contradiction.

    >>> check_given_ids(["a", "b"], ["7", "9"], source="ids.txt", where="v.npz")
    >>> check_given_ids(["a", "b"], ["b", "a"], source="ids.txt", where="v.npz")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: v.npz: has ids of its own in another order than ids.txt: row 0 \
is 'b' by its own and 'a' by these; leave these ids out to take its own, or give it without its own

    Args:
        given: the ids of another file, or of a program.
        own: those beside the rows; as many.
        source: where the others come from.
        where: the rows.

    Raises:
        FormatError: an id stands in one row by its own, and in another one by those given.
    """
    if tuple(given) == tuple(own) or len(given) != len(own):
        return
    if tuple(own) in (_numbers(0, len(own)), _numbers(1, len(own))) and set(given) != set(own):
        return  # no names, which those given are
    found = _elsewhere(given, own) or _elsewhere(_bare(given), _bare(own))
    if found:
        row = found[0]
        raise FormatError(
            f"{where}: has ids of its own in another order than {source}: row {row} is "
            f"{named([own[row]])} by its own and {named([given[row]])} by these; leave these ids "
            "out to take its own, or give it without its own"
        )


def _elsewhere(given: Sequence[str], own: Sequence[str]) -> list[int]:
    """Rows whose own id is given for another row."""
    place = {name: row for row, name in enumerate(given)}
    return [row for row, name in enumerate(own) if place.get(name, row) != row]


def _numbers(first: int, count: int) -> tuple[str, ...]:
    return tuple(map(str, range(first, first + count)))


def _bare(names: Sequence[str]) -> list[str]:
    """Names without their folders and the ending of a file; as they are where these tell apart."""
    bare = [name.rpartition("/")[2].rpartition(".")[0] or name for name in names]
    return bare if len(set(bare)) == len(bare) else list(names)
