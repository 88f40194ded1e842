"""What may say which frames count, by its name or its values, is asked about; never passed over.

It is asked about where it makes a difference: where all that it leaves out is zeros, it makes none.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from rerank.core.errors import FormatError, RerankWarning
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.frames.blanks import behind_blanks, behind_no_text
from rerank.io.frames.mask_shapes import fits, numbers_of, zeros_outside
from rerank.io.frames.mask_values import is_added, is_flags, kept_by, refuse_values
from rerank.io.frames.meanings import (
    Meaning,
    end_of,
    is_place,
    is_something_else,
    is_weight,
    may_be_length,
    meaning_of,
    says_absent,
    says_last,
    says_number_of_padding,
)
from rerank.io.frames.shares import ask_of_shares


def could_be_lengths(name: str, values: np.ndarray, frames: np.ndarray) -> bool:
    """Whether whole numbers, one for each item, look like numbers of frames.

    As a rule the longest item has all frames. Zeros and ones are flags.

    >>> could_be_lengths("zzz", np.array([3, 5, 1]), np.array([5, 5, 5]))
    True
    >>> could_be_lengths("zzz", np.array([3, 4, 1]), np.array([5, 5, 5]))
    False
    """
    if not (np.isfinite(values).all() and (values == np.floor(values)).all() and len(values)):
        return False
    if values.min() < 0 or (values > frames).any() or values.max() <= 1:
        return False
    if may_be_length(name):
        return True
    return values.min() >= 1 and bool((values == frames).any())


def could_be_masks(name: str, rows: Sequence[np.ndarray] | np.ndarray) -> bool:
    """Whether zeros and ones, one for each frame, look like masks: they change once, one way.

    >>> could_be_masks("zzz", np.array([[1, 1, 0], [1, 0, 0]]))
    True
    >>> could_be_masks("zzz", np.array([[1, 0, 1], [1, 0, 0]]))
    False
    """
    if not all(np.isin(row, (0, 1)).all() for row in rows):
        return False
    if meaning_of(name) == "mask?":
        return True
    steps = [np.diff(np.asarray(row).reshape(-1).astype(np.int8)) for row in rows]
    return any(all((way * step >= 0).all() for step in steps) for way in (1, -1))


def before_padding(name: str, rows: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray] | None:
    """Which frames stand before the padding that numbers, one for each frame, end with.

    Padding is zeros, or one negative number. Weights may have zeros anywhere. None where there is
    no such end, where nothing stands before it, and where all rows have the same.

    >>> before_padding("zzz", [np.array([0.5, 0.2, 0]), np.array([0.1, 0, 0])])
    [array([ True,  True, False]), array([ True, False, False])]
    >>> before_padding("zzz", [np.array([0.5, 0, 0.2])]) is None
    True

    Times and places begin with 0 and count up:

    >>> before_padding("seconds", [np.array([0, 2, 4]), np.array([0, 2, 0])])
    [array([ True,  True,  True]), array([ True,  True, False])]
    """
    values = [np.asarray(row).reshape(-1) for row in rows]
    if not all(np.isfinite(row).all() for row in values):
        return None
    least = min(row.min(initial=0) for row in values)
    there = [row != least for row in values]
    if any((row[kept] < 0).any() for row, kept in zip(values, there, strict=True)):
        return None
    if not is_weight(name) and any(len(kept) and not kept[0] for kept in there):
        there = [np.concatenate([[True], kept[1:]]) if len(kept) else kept for kept in there]
        grows = (np.diff(row[kept]) > 0 for row, kept in zip(values, there, strict=True))
        if not all(steps.all() for steps in grows):
            return None
    if all(kept.all() for kept in there) or not all(kept.any() for kept in there):
        return None
    if not is_weight(name) and 1 < len(there) == [kept.tolist() for kept in there].count(
        there[0].tolist()
    ):
        return None
    last = all((np.diff(kept.astype(np.int8)) <= 0).all() for kept in there)
    return there if last or (is_weight(name) and least == 0) else None


def ask_by_values(name: str, found: Field, cube: Field) -> None:
    """Ask about an array with an unknown name whose values may say which frames count.

    What stands for nothing, such as -1 or NaN, is asked about whatever it is called. Numbers that
    are called something else, such as times, are warned of where they end in zeros.
    """
    n, frames, _ = cube.shape
    if (there := behind_no_text(found, n, frames)) is not None:
        _ask_of_blanks(found, "missing texts", there, cube)
        return
    known = is_something_else(name)
    if fits(found, "lengths", n, frames):
        lengths = numbers_of(found).reshape(-1)
        if not known and could_be_lengths(name, lengths, np.full(n, frames)):
            ask(name, found, "lengths?", cube)
        ask_of_shares(name, found, lengths, cube)
        return
    if not fits(found, "mask", n, frames):
        if not known or is_place(name):
            _ask_of_ends(found, cube)
        return
    values, weight = numbers_of(found).reshape(n, frames), is_weight(name)
    kept = kept_by(values) if is_flags(values) else None
    if kept is not None:
        if weight or is_added(values) or (not known and could_be_masks(name, kept)):
            ask(name, found, "mask?", cube)
        if not known or weight:
            return
        values = values.astype(np.float64)
    if (there := behind_blanks(values)) is not None:
        blank = "NaN" if np.isnan(values).any() else f"{values.min():g}"
        _ask_of_blanks(found, blank, there, cube)
        return
    there = before_padding(name, values)
    if there is None or zeros_outside(cube, np.array(there)):
        return
    if not known or weight:
        raise FormatError(f"{found.where}: {_of_padding(values, cube)}")
    warnings.warn(
        f"{found.where}: {_of_padding(values, cube)}; all frames counted", RerankWarning,
        stacklevel=2,
    )  # fmt: skip


def _ask_of_blanks(found: Field, blank: str, there: list[np.ndarray], cube: Field) -> None:
    """Ask about numbers or texts that end in what stands for nothing."""
    n, frames, _ = cube.shape
    if zeros_outside(cube, np.array(there)):
        return
    fix = f"store x != {blank} as 'mask' ({n}, {frames})"
    if blank == "NaN":
        fix = f"store ~numpy.isnan(x) as 'mask' ({n}, {frames})"
    elif blank == "missing texts":
        fix = f"store a 'mask' ({n}, {frames}) with 1 for a frame that has a text"
    raise FormatError(
        f"{found.where}: its {blank} {found.shape} may say which of the {frames} frames of an item "
        f"are padding; if they do, {fix}; if they do not, leave it out of this file"
    )


def _of_padding(values: np.ndarray, cube: Field) -> str:
    """What is said of numbers that end in padding."""
    n, frames, _ = cube.shape
    least = values.min(initial=0)
    blank = "zeros" if least == 0 else f"{least:g}"
    return (
        f"its {blank} {values.shape} may say which of the {frames} frames of an item are padding; "
        f"if they do, store x != {least:g} as 'mask' ({n}, {frames}); if they do not, leave it out "
        "of this file"
    )


def _ask_of_ends(found: Field, cube: Field) -> None:
    """Ask about n + 1 whole numbers whose steps may be the numbers of the frames."""
    n, frames, _ = cube.shape
    if found.odd or found.kind != "integer" or found.shape != (n + 1,) or n < 2:
        return
    ends = numbers_of(found).astype(np.int64)
    steps = np.diff(ends)
    if ends[0] or (steps < 1).any() or steps.max() != frames:
        return
    if not zeros_outside(cube, np.arange(frames) < steps[:, None]):
        raise FormatError(
            f"{found.where}: its {n + 1} whole numbers from 0 to {ends[-1]} may say where the "
            f"frames of each item begin, of which there are {frames} then; if they do, store "
            "numpy.diff(x) as 'lengths'; if they do not, leave it out of this file"
        )


def ask_of_bounds(beside: Mapping[str, Field], cube: Field) -> None:
    """Ask about a first and a last frame of every item."""
    n, frames, _ = cube.shape
    for name, found in beside.items():
        last = beside.get(end_of(name))
        if last is None or not all(fits(each, "lengths", n, frames) for each in (found, last)):
            continue
        start, end = (numbers_of(each).reshape(-1, 1) for each in (found, last))
        whole = all((x == np.floor(x)).all() for x in (start, end))
        if not whole or (start < 0).any() or (start > end).any() or (end > frames).any():
            continue
        places = np.arange(frames)
        if not zeros_outside(cube, (places >= start) & (places < end)):
            raise FormatError(
                f"{found.where}: it and {named([end_of(name)])} may say which of the {frames} "
                f"frames of an item count; if they do, store a 'mask' ({n}, {frames}) with 1 for a "
                "frame that counts; if they do not, leave both out of this file"
            )


def ask(name: str, found: Field, meaning: Meaning, cube: Field) -> None:
    """Ask about an array that may say which frames count, unless it makes no difference."""
    n, frames, _ = cube.shape
    values = numbers_of(found)
    if fits(found, "lengths", n, frames):
        _ask_of_numbers(name, found, values.reshape(-1), meaning, cube)
        return
    kept = kept_by(values)
    if kept is None:
        if not zeros_outside(cube, (values > values.min()).reshape(n, frames)):
            refuse_values(found, values, n, frames)
        return
    ones = kept.reshape(n, frames)
    if zeros_outside(cube, ones) or zeros_outside(cube, ~ones):
        return
    raise FormatError(
        f"{found.where}: its {_called(values)} {found.shape} may say which of the {frames} frames "
        "of an item count; if they do, store it as 'mask', with 1 for a frame that counts and at "
        "least one for each item; if they do not, leave it out of this file"
    )


def _called(values: np.ndarray) -> str:
    """What two values are called."""
    return "zeros and ones" if np.isin(values, (0, 1)).all() else "two values"


def _ask_of_numbers(
    name: str, found: Field, lengths: np.ndarray, meaning: Meaning, cube: Field
) -> None:
    n, frames, _ = cube.shape
    # By a name that says it, more than there are may be those before some were left out.
    sure = meaning == "lengths" or says_number_of_padding(name)
    most = np.inf if sure else frames
    if not ((lengths >= 0) & (lengths <= most) & (lengths == np.floor(lengths))).all():
        ask_of_shares(name, found, lengths, cube)
        return
    absent, places = says_absent(name), np.arange(frames)
    last = says_last(name)
    if last and zeros_outside(cube, places <= lengths[:, None]):
        return
    if zeros_outside(cube, places < (frames - lengths if absent else lengths)[:, None]):
        return
    if absent and zeros_outside(cube, places >= lengths[:, None]):
        return
    how, fix = "count", "store it as 'lengths', with at least 1 for each"
    if last:
        fix = "store how many count as 'lengths' (x + 1 where x is the last that counts)"
    if absent:
        how = "do not count"
        fix = f"store a 'mask' ({n}, {frames}), with 1 for a frame that counts"
    raise FormatError(
        f"{found.where}: its {n} whole numbers from {lengths.min():g} to {lengths.max():g} may "
        f"say how many of the {frames} frames of an item {how}; if they do, {fix}; if they do not, "
        "leave it out of this file"
    )
