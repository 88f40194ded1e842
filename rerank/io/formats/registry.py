"""Kinds of files that embeddings and scores are read from, by name; known without importing them.

A format is one file with one function, which takes a path and gives the arrays that lie there:

    @file_format("npy", help="one array saved by numpy", endings=(".npy",))
    @contextlib.contextmanager
    def open_npy(path: Path) -> Iterator[Container]:
        ...
"""

from dataclasses import dataclass

from rerank.core.registry import Card, Registry


@dataclass(frozen=True)
class FormatFacts:
    """What is known of a kind of file before its reader is imported.

    Attributes:
        endings: of names, lower case, with the dot.
        begins: first bytes by which a file with another ending is known.
        folder: whether it is a folder; one without endings takes the folders that no ending names.
        heavy: whether its reader needs torch, which takes a second to import.
        glance: a function of its file that refuses what can be told without.
        order: place in lists.
    """

    endings: tuple[str, ...] = ()
    begins: tuple[bytes, ...] = ()
    folder: bool = False
    heavy: bool = False
    glance: str = ""
    order: int = 9


FORMATS: Registry[FormatFacts] = Registry("file format", "rerank.io.formats", FormatFacts)
file_format = FORMATS.declare


def known_endings() -> list[str]:
    """All endings of names that are read, in the order of the formats.

    >>> known_endings()[:3]
    ['.h5', '.hdf5', '.mat']
    """
    return [end for name in FORMATS for end in FORMATS[name].facts.endings]


def by_ending(name: str, *, folder: bool = False) -> Card[FormatFacts] | None:
    """The format of files, or of folders, with this name; None where no ending fits.

    >>> by_ending("clip.NPY").name, by_ending("clip.xyz")
    ('npy', None)
    """
    lower = name.lower()
    cards = [card for card in FORMATS.cards().values() if card.facts.folder == folder]
    named = (card for card in cards if any(lower.endswith(end) for end in card.facts.endings))
    # A folder may have any name.
    other = (card for card in cards if folder and not card.facts.endings)
    return next(named, None) or next(other, None)


def by_content(head: bytes) -> Card[FormatFacts] | None:
    r"""The format of a file that begins with these bytes; None where it is not known.

    >>> by_content(b"\x93NUMPY\x01\x00").name, by_content(b"hello")
    ('npy', None)
    """
    for card in FORMATS.cards().values():
        if not card.facts.folder and any(head.startswith(b) for b in card.facts.begins):
            return card
    return None
