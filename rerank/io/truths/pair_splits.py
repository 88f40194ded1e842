"""Pairs of several splits in one ground truth: which is meant is asked, and they are never merged.

A split that names every text which any of them names is taken: nothing is lost by it.
"""

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from rerank.core.errors import FormatError
from rerank.core.wording import either, option
from rerank.io.files import named
from rerank.io.splits import split_of_file
from rerank.io.truths.records import Pair, Reading

_TESTS = ("test", "testing")
# The word for all splits together.
ALL = "/"


class Decision(NamedTuple):
    """The pairs of one reading as (text, video), names with an empty entry, what is said of it.

    `listed`: its numbers are those of lists in the same file, see `Reading`.
    """

    pairs: Sequence[Pair]
    empty: Sequence[str]
    notes: tuple[str, ...] = ()
    listed: bool = False


class UnfitError(FormatError):
    """No pair of a reading has two names that are known; `near`: how many names are."""

    def __init__(self, said: str, near: float) -> None:
        super().__init__(said)
        self.near = near


class Decide(Protocol):
    """Finds the reading that the ids fit."""

    def __call__(self, readings: Iterable[Reading], *, enough: int = 0) -> Decision:
        """Its pairs; `enough`: about so many that fit would show a reading that does."""
        ...


class Wanted(NamedTuple):
    """What was said of the splits of a file.

    Attributes:
        where: the file.
        split: the one that is meant, "/" for all, None where nothing was said.
        role: the option that names the file, without its dashes.
        allow_unjudged: whether texts may be without a pair.
    """

    where: str
    split: str | None
    role: str
    allow_unjudged: bool

    def say(self, split: str, *, whole: bool) -> str:
        """How to choose a split, as the reader types it; `whole`: it has a pair for every text."""
        typed = shlex.quote(f"{self.role}={split}")
        said = either(f"--dataset {typed}", f"split={split!r}")
        if whole or self.allow_unjudged:
            return said
        return f"{said}{either(' ', ', ')}{option('allow-unjudged')}"


def of_one_split(
    readings: Iterable[Reading],
    decide: Decide,
    texts: dict[str, int],
    videos: dict[str, int],
    wanted: Wanted,
) -> Decision:
    """The pairs of the split that is meant, of the reading that fits it.

    Args:
        readings: of all splits, those of one after those of another.
        decide: finds the reading that the ids fit.
        texts: rows of the texts by their ids.
        videos: rows of the videos by their ids.
        wanted: what was said.

    Raises:
        FormatError: several could be meant, or there is none of that name.
    """
    found: dict[str, Decision] = {}
    unfit: dict[str, UnfitError] = {}
    enough, unnamed = 0, False
    for (name, said), group in groupby(readings, key=lambda one: (one.split, one.unnamed)):
        unnamed = unnamed or said
        if not name and wanted.split is None:
            return decide(group)
        if wanted.split in (None, ALL, name) and name not in found:
            try:
                found[name] = decide(group, enough=enough)
            except UnfitError as error:
                unfit[name] = error
                continue
            if len(_held(found[name], texts, videos)) == len(texts):
                # Another one matters only where it has all of them as well.
                enough = len(texts)
        else:
            unfit.setdefault(name, UnfitError("", 0))
    if wanted.split == ALL and found:
        return _together(list(found.values()))
    if wanted.split not in (None, ALL):
        _check_there([name for name in (*found, *unfit) if name], wanted)
        found = {name: one for name, one in found.items() if name == wanted.split}
        unfit = {name: error for name, error in unfit.items() if name == wanted.split}
    if not found:
        if unfit:
            raise max(unfit.values(), key=lambda error: error.near)
        return decide(())
    if len(found) == 1:
        ((name, chosen),) = found.items()
        if unfit:
            note = (
                f"{wanted.where}: holds the splits {_listed([*found, *unfit])}; {name!r} is read, "
                "the only one that names these texts"
            )
            return chosen._replace(notes=(*chosen.notes, note))
        return chosen
    if unnamed and not unfit and not any(_has_strange(x, texts, videos) for x in found.values()):
        held = [_held(one, texts, videos) for one in found.values()]
        if sum(map(len, held)) == len(set().union(*held)):
            # All names are known, and no text is of two splits: all are meant.
            return _together(list(found.values()))
        if len({frozenset(one.pairs) for one in found.values()}) > 1:
            raise _asked(found, texts, videos, wanted)
    return _chosen(found, texts, videos, wanted, [*found, *unfit])


def first_of_splits(readings: Iterable[Reading], wanted: Wanted) -> list[Reading]:
    """The first reading of the split that is meant, or of each where all are, by no ids at all.

    Raises:
        FormatError: there are several, and no word on which is meant; none at all.
    """
    found: dict[str, Reading] = {}
    for reading in readings:
        if not reading.missing:
            found.setdefault(reading.split, reading)
            if not reading.split:
                break
    if not found:
        raise FormatError(
            f"{wanted.where}: is a ground truth without a single pair; check the file"
        )
    if wanted.split not in (None, ALL):
        _check_there([name for name in found if name], wanted)
        return [found[wanted.split]]
    if len(found) > 1 and wanted.split is None:
        order = _test_first(found)
        counts = ", ".join(f"{name!r} ({found[name].count} pairs)" for name in order)
        raise FormatError(
            f"{wanted.where}: holds several splits: {counts}; say which is meant: "
            f"{wanted.say(order[0], whole=True)}, or {wanted.say(ALL, whole=True)} for all"
        )
    return list(found.values())


def _test_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (split_of_file(name).lower() not in _TESTS, name))


def _together(parts: Sequence[Decision]) -> Decision:
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return Decision(
        [pair for part in parts for pair in part.pairs],
        [name for part in parts for name in part.empty],
        tuple(notes),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _check_there(names: Sequence[str], wanted: Wanted) -> None:
    if wanted.split in names:
        return
    has = f"its splits are {_listed(names)}" if names else "it has no splits; leave it out"
    raise FormatError(f"{wanted.where}: there is no split {named([wanted.split])}; {has}")


def _known(one: Decision, texts: dict[str, int], videos: dict[str, int]) -> set[Pair]:
    return {pair for pair in one.pairs if pair.first in texts and pair.second in videos}


def _held(one: Decision, texts: dict[str, int], videos: dict[str, int]) -> set[str]:
    return {pair.first for pair in _known(one, texts, videos)}


def _has_strange(one: Decision, texts: dict[str, int], videos: dict[str, int]) -> bool:
    return len(_known(one, texts, videos)) < len(set(one.pairs))


def _chosen(
    found: dict[str, Decision],
    texts: dict[str, int],
    videos: dict[str, int],
    wanted: Wanted,
    names: Sequence[str],
) -> Decision:
    """Of several splits that fit, the one that names every text which any of them names."""
    known = {name: _known(one, texts, videos) for name, one in found.items()}
    held = {name: {pair.first for pair in pairs} for name, pairs in known.items()}
    every = set().union(*held.values())
    whole = [name for name in found if held[name] == every]
    if whole and all(known[name] == known[whole[0]] for name in whole):
        name = min(whole, key=lambda name: len(found[name].pairs))
        note = (
            f"{wanted.where}: holds the splits {_listed(names)}; {name!r} is read, which names "
            "all of these texts that they name"
        )
        return found[name]._replace(notes=(*found[name].notes, note))
    raise _asked(found, texts, videos, wanted)


def _asked(
    found: dict[str, Decision], texts: dict[str, int], videos: dict[str, int], wanted: Wanted
) -> FormatError:
    """The question which of several splits is meant."""
    held = {name: _held(one, texts, videos) for name, one in found.items()}
    every = set().union(*held.values())
    order = _test_first(found)
    counts = ", ".join(f"{name!r} ({len(held[name])} of these texts)" for name in order)
    strange = {name for name, one in found.items() if _has_strange(one, texts, videos)}
    first = order[0]
    one = wanted.say(first, whole=len(held[first]) == len(texts) and first not in strange)
    both = wanted.say(ALL, whole=len(every) == len(texts) and not strange)
    return FormatError(
        f"{wanted.where}: holds several splits: {counts}; say which is meant: {one}, or {both} for "
        "all"
    )
