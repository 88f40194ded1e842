"""Which frames of an item are there: what masks and lengths beside them say.

Names that say it are taken. What only may say it is asked about.
"""

from collections.abc import Mapping

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import LENGTH_NAMES, MASK_NAMES, side_in
from rerank.io.field import Field
from rerank.io.frames.contradictions import Source, agreed
from rerank.io.frames.doubts import ask, ask_by_values, ask_of_bounds
from rerank.io.frames.mask_shapes import fits, numbers_of, zeros_outside
from rerank.io.frames.mask_values import is_added, kept_by, refuse_values
from rerank.io.frames.meanings import (
    Meaning,
    counts_of_videos,
    meaning_of,
    says_number_of_padding,
)

_SURE: tuple[Meaning, ...] = ("mask", "lengths", "padding")


def says_something(name: str, found: Field, n: int, frames: int) -> bool:
    """Whether an array says, or may say, which of (n, frames) count."""
    meaning = meaning_of(name)
    if name in (*MASK_NAMES, *LENGTH_NAMES):
        return True
    return bool(meaning) and fits(found, meaning, n, frames)


def frames_there(cube: Field, beside: Mapping[str, Field]) -> np.ndarray | None:
    """(n, frames) booleans: which frames of (n, frames, d) are there; None where nothing says so.

    Raises:
        FormatError: a mask or lengths that do not fit, or an array that may be one.
    """
    n, frames, _ = cube.shape
    side = next((side_in(name) for name, other in beside.items() if other is cube), "")
    of_side = {
        name: found
        for name, found in beside.items()
        if found is not cube and not (side and side_in(name) not in ("", side))
    }
    sources = list(_sure(of_side, cube, side))
    if sources:
        return agreed(sources, cube, side)
    asked: dict[str, Meaning] = {}
    for name, found in of_side.items():
        meaning = meaning_of(name)
        if not fits(found, meaning, n, frames):
            continue
        if meaning in _SURE or (meaning.endswith("?") and _is_clear(found, n, frames)):
            asked[name] = meaning
    for name, meaning in asked.items():
        ask(name, of_side[name], meaning, cube)
    for name, found in of_side.items():
        if name not in asked:
            ask_by_values(name, found, cube)
    return None


def named_sure(beside: Mapping[str, Field], n: int, frames: int) -> list[str]:
    """Arrays that say, by their names, which of (n, frames) count; in words."""

    def does(name: str, found: Field) -> bool:
        meaning = meaning_of(name)
        fit = fits(found, meaning, n, frames) or fits(found, "lengths", n, frames)
        return meaning in _SURE and fit

    return [
        found.where.rpartition(": ")[2] for name, found in beside.items() if does(name, found)
    ] or ["what lies beside it"]


def of_these_frames(item: Field, beside: Mapping[str, Field], side: str) -> dict[str, Field]:
    """What stands beside frames, without masks and lengths of other frames there.

    Args:
        item: the frames.
        beside: all arrays beside them.
        side: "texts" or "videos", the side that they are read for; "" where nothing says it.
    """
    others = [other for other in beside.values() if other is not item and _is_cube(other)]
    if not others or not _is_cube(item):
        return dict(beside)

    def of_others(name: str, found: Field) -> bool:
        meaning = meaning_of(name)
        if meaning not in _SURE or not any(fits(found, meaning, *x.shape[:2]) for x in others):
            return False
        of_other_side = bool(side) and side_in(name) not in ("", side)
        return of_other_side or not fits(found, meaning, *item.shape[:2])

    return {name: found for name, found in beside.items() if not of_others(name, found)}


def without_masks(arrays: Mapping[str, Field]) -> dict[str, Field]:
    """Arrays without masks and lengths of floats, which fit frames among them and say it."""
    cubes = [item for item in arrays.values() if _is_cube(item) and item.shape[2] > 1]

    def says_it(name: str, found: Field) -> bool:
        meaning = meaning_of(name)
        return meaning in _SURE and any(
            fits(found, meaning, *cube.shape[:2]) for cube in cubes if cube is not found
        )

    return {name: found for name, found in arrays.items() if not says_it(name, found)}


def _is_cube(item: Field) -> bool:
    return item.kind == "float" and len(item.shape) == 3


def _is_clear(found: Field, n: int, frames: int) -> bool:
    """Whether an array is of numbers of frames, or has the values of a mask."""
    return fits(found, "lengths", n, frames) or kept_by(numbers_of(found)) is not None


def _sure(of_side: Mapping[str, Field], cube: Field, side: str) -> list[Source]:
    """What arrays say that are called masks, lengths or padding, as they are believed."""
    n, frames, _ = cube.shape
    sources: list[Source] = []

    def add(name: str, wanted: Meaning, *, strict: bool = False) -> None:
        found = of_side[name]
        if strict and not sources:
            there = None
            if not (counts_of_videos(name) and _of_whole_videos(found, n, frames)):
                there = _strictly(found, cube, masks=wanted == "mask")
        else:
            there = _taken(name, found, wanted, cube) if fits(found, wanted, n, frames) else None
        if there is not None:
            sources.append(Source(name, found, wanted, there))

    for name in MASK_NAMES:
        if name in of_side:
            add(name, "mask", strict=True)
    if not sources:
        # A first frame counts whatever the length is.
        ask_of_bounds(of_side, cube)
    for name in LENGTH_NAMES:
        if name in of_side:
            add(name, "lengths", strict=True)
    for wanted in _SURE:
        for name, found in of_side.items():
            if meaning_of(name) != wanted or name in (*MASK_NAMES, *LENGTH_NAMES):
                continue
            if not sources and found.odd and found.shape[:1] == (n,):
                raise FormatError(f"{found.where}: is {found.describe()}; store it as one array")
            # Whose frames these are is not said, and a name that speaks of texts may mean others.
            if side or side_in(name) != "texts":
                add(name, wanted)
    return sources


def _of_whole_videos(found: Field, n: int, frames: int) -> bool:
    """Whether numbers of all items are of more frames than are kept; one does not show it."""
    if n < 2 or not fits(found, "lengths", n, frames):
        return False
    return bool((numbers_of(found) >= frames).all() and (numbers_of(found) > frames).any())


def _strictly(found: Field, cube: Field, *, masks: bool) -> np.ndarray:
    """What an array says whose name leaves no doubt: it fits, or it is refused."""
    n, frames, _ = cube.shape
    if masks and fits(found, "mask", n, frames):
        values = numbers_of(found)
        kept = kept_by(values)
        if kept is None:
            # Where padding is zeros, weights of other frames say nothing new.
            kept = values > values.min()
            if not zeros_outside(cube, kept.reshape(n, frames)):
                refuse_values(found, values, n, frames)
        return kept.reshape(n, frames)
    if fits(found, "lengths", n, frames):
        lengths = numbers_of(found).reshape(-1)
        if (lengths > frames).any() or (lengths < 1).any():
            row = int(np.flatnonzero((lengths > frames) | (lengths < 1))[0])
            raise FormatError(
                f"{found.where}: row {row} says {lengths[row]:g} frames, expected 1 to {frames}; "
                f"store how many of the {frames} count, or leave it out of this file"
            )
        return np.arange(frames) < lengths[:, None]
    raise FormatError(
        f"{found.where}: is {found.describe()}, but the frames are {cube.shape}; expected a "
        f"mask ({n}, {frames}) or {n} lengths"
    )


def _taken(name: str, found: Field, meaning: Meaning, cube: Field) -> np.ndarray | None:
    """What an array says that has the values of its meaning; None where it has others."""
    n, frames, _ = cube.shape
    values = numbers_of(found)
    if meaning == "lengths":
        lengths = values.reshape(-1)
        good = np.isin(lengths, np.arange(1, frames + 1)).all()
        return np.arange(frames) < lengths[:, None] if good else None
    if meaning == "padding" and fits(found, "lengths", n, frames):
        return _without_padding(name, values.reshape(-1), cube)
    kept = kept_by(values)
    if kept is None or (
        meaning == "padding" and values.min(initial=0) < 0 and not is_added(values)
    ):
        return None
    ones = kept.reshape(n, frames)
    if meaning == "mask" or is_added(values):
        return ones if ones.any(axis=1).all() else None
    # Of torch: True is padding. It is believed where padding comes last in every item.
    last = (np.diff(ones.astype(np.int8), axis=1) >= 0).all() and not ones.all(axis=1).any()
    return ~ones if last else None


def _without_padding(name: str, padded: np.ndarray, cube: Field) -> np.ndarray | None:
    """Which frames numbers of padded ones leave; None where they may say something else."""
    frames, places = cube.shape[1], np.arange(cube.shape[1])
    flags = padded.max(initial=0) <= 1 and not says_number_of_padding(name)
    if flags or not np.isin(padded, places).all():
        return None
    # Where it comes first and is zeros, it is none of the last frames.
    if zeros_outside(cube, places >= padded[:, None]):
        return np.ones(cube.shape[:2], bool)
    return places < (frames - padded)[:, None]
