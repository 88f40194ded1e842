"""Names of texts and videos without what files add to them: folders, endings, numbers."""

import re
from collections.abc import Callable, Mapping

_ENDINGS = tuple(
    ".mp4 .avi .mkv .webm .mov .mpg .mpeg .wmv .3gp .flv .m4v .jpg .jpeg .png .webp .gif .bmp "
    ".wav .flac .mp3 .npy".split()
)
_NUMBERED_NAME = re.compile(r"(.+?)((?:#|_|-)\d+)?", re.DOTALL)


def without_ending(name: str) -> str:
    """A name without the ending of a file.

    >>> without_ending("a.mp4"), without_ending("a.b")
    ('a', 'a.b')
    """
    head, dot, ending = name.rpartition(".")
    whole = head and not head.endswith("/")
    return head if whole and f"{dot}{ending.lower()}" in _ENDINGS else name


def without_folder(name: str) -> str:
    r"""A name without the folders before it.

    >>> without_folder("/data/a.mp4"), without_folder("C:\\data\\a.mp4")
    ('a.mp4', 'a.mp4')
    """
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def bare(name: str) -> str:
    """A name without the ending of a file, also where a number follows.

    >>> bare("a.mp4#3")
    'a#3'
    """
    stem, number = _NUMBERED_NAME.fullmatch(name).groups(default="")  # type: ignore[union-attr]
    return without_ending(stem) + number


def barest(name: str) -> str:
    """The same without folders.

    >>> barest("/data/a.mp4#3")
    'a#3'
    """
    return bare(without_folder(name) or name)


# What may be left out of names, for those that fit in no other way.
CHANGES = ((bare, "file endings"), (barest, "folders and file endings"))


def stem_of(name: str) -> str:
    """What a name says without a number at its end and the ending of a file.

    >>> stem_of("a.mp4#3"), stem_of("a_0"), stem_of("a.mp4")
    ('a', 'a', 'a')
    """
    return without_ending(_NUMBERED_NAME.fullmatch(name).groups()[0])  # type: ignore[union-attr]


def renamed(ids: Mapping[str, int], change: Callable[[str], str]) -> dict[str, int] | None:
    """Rows by ids that are called otherwise; None where two would be one, or none changes.

    >>> renamed({"a.jpg": 0, "b.jpg": 1}, bare), renamed({"a.jpg#0": 0, "b#0": 1}, bare)
    ({'a': 0, 'b': 1}, {'a#0': 0, 'b#0': 1})
    >>> renamed({"a.jpg": 0, "a.png": 1}, bare), renamed({"a": 0}, bare)
    (None, None)
    """
    made = {change(name): row for name, row in ids.items()}
    return made if len(made) == len(ids) and made != ids else None
