"""What the names of columns of numbers say: which are of another kind, and whether two tables fit.

A vector that is kept as a column for each number is taken by the places of its columns. Where these
have names, the names say whether two tables mean the same numbers by the same places.
"""

import re
from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix

from rerank.io.files import named
from rerank.io.frames.meanings import is_something_else, meaning_of
from rerank.io.number_columns import counted
from rerank.io.place_names import is_row_number

# Fewer columns of one kind are no vector for certain.
_FEW = 4
# So many times as large as all others, numbers are of another scale.
_WILD = 20.0
# What a column of a table is called that is no number of a vector.
_WORDS = {
    "duration", "durations", "secs", "sec", "ms", "len", "length", "size", "views", "likes",
    "count", "counts", "num", "start", "end", "stop", "lat", "lon", "latitude", "longitude",
}  # fmt: skip
_NUMBERED = re.compile(r"(.*?)(\d+)")


def says_something_else(name: str) -> bool:
    """Whether a column of numbers is called what is known to be no number of a vector.

    >>> [says_something_else(name) for name in ("duration", "start_time", "year", "Aa", "f7")]
    [True, True, True, False, False]
    """
    words = set(re.findall("[a-z]+", name.lower()))
    known = is_row_number(name) or is_something_else(name) or meaning_of(name) != ""
    return len(name) > 2 and (known or bool(words & _WORDS))


def odd_columns(names: Sequence[str], sizes: Sequence[float] = ()) -> list[str]:
    """The few columns that are called otherwise than all others, which are of one kind.

    Where names are words, which are of no kind, those are found that say something else and hold
    numbers of another scale.

    Args:
        names: of columns of numbers; those that count are a vector of their own.
        sizes: how large the numbers of each are.

    >>> odd_columns(["Aa", "Ab", "Ba", "Bb", "duration"]), odd_columns(["f0", "f2", "f3", "f5"])
    (['duration'], [])
    >>> odd_columns(["mean", "peak", "low", "length"], [1, 1, 1, 90]), odd_columns(["x", "year"])
    (['length'], [])
    """
    kinds = list(map(_kind, names))
    usual, often = Counter(kinds).most_common(1)[0] if kinds else ("", 0)
    others = [name for name, kind in zip(names, kinds, strict=True) if kind != usual]
    if often >= _FEW and 4 * len(others) <= often and all(len(name) > 2 for name in others):
        if others:
            return others
    elif others and often >= _FEW and 2 * len(others) <= often:
        # A number more than a few: only what says so.
        if all(map(says_something_else, others)):
            return others
    called = [at for at, name in enumerate(names) if says_something_else(name)]
    if not sizes or 2 * len(called) >= len(names) or len(names) < _FEW:
        return []
    most = max(size for at, size in enumerate(sizes) if at not in called)
    return [names[at] for at in called if sizes[at] > _WILD * most]


def _kind(name: str) -> str:
    """What names of one vector have in common: what stands before the last mark, or their letters.

    >>> _kind("f12"), _kind("Ab"), _kind("pca_x"), _kind("duration"), _kind("year")
    ('f0', 'Aa', 'pca_', 'a+', 'a+')
    """
    head = re.match(r"(.+[_.:/ -])[^_.:/ -]+", name)
    if head is not None:
        return head[1]
    stem = _NUMBERED.fullmatch(name)
    if stem is not None:
        return f"{stem[1]}0"
    shape = re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub(r"\d+", "0", name)))
    return re.sub("a{4,}", "a+", shape)


def unlike(left: Sequence[str], right: Sequence[str]) -> str:
    """Why columns of two tables do not stand for the same numbers place by place; "" if they do.

    What counts, and what counts under another name, stands for its place.

    >>> unlike(["a", "b"], ["a", "b"]), unlike(["f0", "f1"], ["v0", "v1"]), unlike([], ["a"])
    ('', '', '')
    >>> unlike(["a", "b", "c"], ["a", "c", "b"])
    "the same columns in another order: column 2 is 'b' in one and 'c' in the other"
    >>> unlike(["f0", "f1", "f3"], ["f0", "f2", "f3"])
    "other columns: 'f1' is in one only, and 'f2' in the other"
    """
    if not left or not right or len(left) != len(right):
        return ""
    one, other = _bare(left), _bare(right)
    if one == other:
        return ""
    stems = [_stem(names) for names in (left, right)]
    counts = [len(counted(names)) == 1 and stem is not None
              for names, stem in zip((left, right), stems, strict=True)]  # fmt: skip
    if any(counts) and (stems[0] != stems[1] or stems[0] == ""):
        return ""
    if set(one) == set(other):
        at = next(at for at, name in enumerate(one) if name != other[at])
        return (
            f"the same columns in another order: column {at + 1} is {named([left[at]])} in one and "
            f"{named([right[at]])} in the other"
        )
    alone = next(name for name, bare in zip(left, one, strict=True) if bare not in set(other))
    more = next(name for name, bare in zip(right, other, strict=True) if bare not in set(one))
    return f"other columns: {named([alone])} is in one only, and {named([more])} in the other"


def _stem(names: Sequence[str]) -> str | None:
    """What stands before the number of every name; None where that differs or is all."""
    found = {match and match[1].lower() for match in map(_NUMBERED.fullmatch, names)}
    return found.pop() if len(found) == 1 else None


def _bare(names: Sequence[str]) -> list[str]:
    """Names without what all begin with, up to a mark, such as `text_`; numbers as such."""
    plain = [name.strip().lower() for name in names]
    if _stem(plain) is not None:
        return [str(int(match[2])) for match in map(_NUMBERED.fullmatch, plain) if match]
    head = re.match(r".*[_.:/ -]", commonprefix(plain))
    tail = re.match(r".*[_.:/ -]", commonprefix([name[::-1] for name in plain]))
    start, end = (len(found[0]) if found else 0 for found in (head, tail))
    return [name[start : len(name) - end] or name for name in plain]
