"""Columns of numbers beside a named table of scores that are no items: a label, a rank, a mean.

The names of the items tell: those that the ground truth names, or all that are of one kind. Where
the names are of no kind, it is the numbers that tell, or a word that is known.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.core.wording import either
from rerank.io.column_names import says_something_else
from rerank.io.files import named
from rerank.io.frames.meanings import words_in
from rerank.io.missing_items import SETTINGS, NamesOfItems
from rerank.io.recipes import free, without_columns

_DIGITS = re.compile(r"\d+")
# Fewer items, or rows, show nothing for certain; more rows are not looked at.
_FEW, _ROWS = 5, 1000
# So many columns for each that is of another kind.
_MOST = 4
# What a column is called that says something of a row of scores.
_WORDS = {
    "gt", "label", "labels", "target", "truth", "true", "argmax", "argmin", "rank", "ranks",
    "pred", "prediction", "correct", "hit", "max", "min", "mean", "avg", "average", "median",
    "sum", "std", "var", "margin", "entropy", "confidence", "weight", "category", "class",
    "cluster", "fold", "split",
}  # fmt: skip


def odd_columns(
    names: Sequence[str],
    scores: np.ndarray,
    judged: Collection[int] | None = None,
    positives: Sequence[np.ndarray] = (),
) -> list[int]:
    """Places of the columns of a table of scores that are no items.

    Args:
        names: of the columns.
        scores: (n, m).
        judged: places of those that the ground truth names; None without one.
        positives: of each row the places of its right items.

    >>> x = np.random.default_rng(0).normal(size=(6, 7))
    >>> names = [f"video{i}" for i in range(6)]
    >>> odd_columns([*names, "gt"], x, range(6)), odd_columns([*names, "video31"], x, range(6))
    ([6], [])
    """
    sure = range(len(names)) if judged is None else judged
    forms = Counter(_DIGITS.sub("0", names[at]) for at in sure)
    form, often = forms.most_common(1)[0] if forms else ("", 0)
    if judged is None:
        sure = [at for at in sure if _DIGITS.sub("0", names[at]) == form]
    inside = set(sure)
    left = [at for at in range(len(names)) if at not in inside]
    if len(inside) < _FEW or not left or (judged is None and "0" not in form):
        return []
    one_form = often == len(inside) and "0" in form
    like = NamesOfItems(names[at] for at in inside)
    plain = all(names[at].replace(" ", "").isalpha() for at in inside)
    scores = scores[:_ROWS]
    others = scores[:, sorted(inside)]
    right = [scores[row, places] for row, places in enumerate(positives[:_ROWS])]
    found = []
    for at in left:
        name = names[at]
        if _DIGITS.search(name) and _DIGITS.sub("0", name) in forms:
            continue
        known = bool(set(words_in(name)) & (_WORDS | SETTINGS)) or says_something_else(name)
        if _says_of_rows(scores[:, at], others, right):
            found.append(at)
        elif not like.has(name) or known:
            alone = one_form and judged is not None and not _DIGITS.search(name)
            if (known and not plain) or alone:
                found.append(at)
    return found if _MOST * len(found) <= len(inside) else []


def _says_of_rows(column: np.ndarray, others: np.ndarray, right: Sequence[np.ndarray]) -> bool:
    """Whether numbers are no scores of one item by what they are.

    Whole numbers among others, or of each row its largest, its smallest, its mean, or the score of
    its right item.
    """
    if len(column) < _FEW or not np.isfinite(column).all() or np.ptp(column) == 0:
        return False
    if (column == np.floor(column)).all():
        return bool(2 * np.count_nonzero(others != np.floor(others)) > others.size)
    same = bool((others == column[:, None]).all(axis=0).any())  # an item that is there twice
    if same:
        return False
    if any(np.array_equal(column, edge(others, axis=1)) for edge in (np.max, np.min)):
        return True
    if np.isfinite(others).all() and np.allclose(column, others.mean(axis=1), rtol=1e-5, atol=0):
        return True
    judged = [at for at, found in enumerate(right) if len(found)]
    return len(judged) >= _FEW and all(column[at] in right[at] for at in judged)


def refuse_odd_columns(
    source: str, names: Sequence[str], scores: np.ndarray, judged: Collection[int],
    positives: Sequence[np.ndarray],
) -> None:  # fmt: skip
    """Refuse columns of a table of scores that would be items, and are none; see `odd_columns`.

    Raises:
        FormatError: one is there that the ground truth does not name.
    """
    found = [names[at] for at in odd_columns(names, scores, judged, positives)]
    if not found:
        return
    path = Path(source)
    line = without_columns(path, found)
    without = f"write the table without: {line}" if line else "leave it out"
    out = free(path.with_suffix(".h5"))
    call = f"rerank.io.convert_scores({source!r}, {str(out)!r})"
    typed = f"rerank convert {word(source)} {word(str(out))} --what scores"
    raise FormatError(
        f"{source}: {said_of_odd(found)}, and the ground truth does not name "
        f"{'it' if len(found) == 1 else 'them'}; {without}; if all are items: "
        f"{either(typed, call)}, and give {out}"
    )


def said_of_odd(found: Sequence[str]) -> str:
    """What is wrong with some columns.

    >>> said_of_odd(["gt"])
    "its column 'gt' stands among those of the items and seems to be none"
    """
    one = len(found) == 1
    return (
        f"its column{'' if one else 's'} {named(list(found))} stand{'s' if one else ''} among "
        f"those of the items and seem{'s to be none' if one else ' to be none'}"
    )
