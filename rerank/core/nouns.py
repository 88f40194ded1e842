"""What the two sides are called in what people read: texts and videos, or captions and shoes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from rerank.core.errors import RerankError
from rerank.core.words import Name

Nouns: TypeAlias = tuple[str, str]
DEFAULT: Nouns = ("texts", "videos")
_nouns: ContextVar[Nouns] = ContextVar("rerank_nouns", default=DEFAULT)
_PLURALS = {"audio": "clips", "speech": "clips", "music": "tracks", "query": "queries"}


def sides() -> Nouns:
    """The plurals of the queries and of the gallery of text to video."""
    return _nouns.get()


def of(name: Name) -> Nouns:
    """Of a direction what asks and what is searched, as plurals.

    >>> with calling("captions,shoes"):
    ...     of("v2t")
    ('shoes', 'captions')
    """
    texts, videos = _nouns.get()
    return (texts, videos) if name == "t2v" else (videos, texts)


def singular(plural: str) -> str:
    """One of them.

    >>> singular("videos"), singular("queries"), singular("dresses"), singular("people")
    ('video', 'query', 'dress', 'people')
    """
    for end, one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("s", "")):
        if plural.endswith(end) and not plural.endswith("ss"):
            return plural.removesuffix(end) + one
    return plural


def counted(count: int, plural: str) -> str:
    """So many of them.

    >>> counted(1, "queries"), counted(2, "queries"), counted(0, "shoes"), counted(1, "bank texts")
    ('1 query', '2 queries', '0 shoes', '1 bank text')
    """
    return f"{count} {singular(plural) if count == 1 else plural}"


def against(size: tuple[int, int], named: Nouns) -> str:
    """What is searched by what.

    >>> against((1, 500), ("texts", "videos"))
    '1 text against 500 videos'
    """
    return f"{counted(size[0], named[0])} against {counted(size[1], named[1])}"


def plural(kind: str) -> str:
    """Several of what a file says that it holds.

    >>> plural("video"), plural("shoes"), plural("audio"), plural("dress")
    ('videos', 'shoes', 'clips', 'dresses')
    """
    kind = kind.strip().lower()
    if kind in _PLURALS:
        return _PLURALS[kind]
    if kind.endswith(("ss", "x", "ch")):
        return kind + "es"
    return kind if kind.endswith("s") else kind + "s"


def parse(text: str) -> Nouns:
    """The two plurals of "captions,shoes".

    Raises:
        RerankError: not two words.
    """
    found = [part.strip() for part in text.split(",")]
    if len(found) != 2 or not all(re.fullmatch(r"[^\W\d_][\w \-]{0,30}", part) for part in found):
        raise RerankError(
            f"--nouns: got {text!r}, expected two plurals joined by a comma, such as captions,shoes"
        )
    if found[0] == found[1]:
        raise RerankError(
            f"--nouns: got {text!r}, expected two different words, such as captions,shoes"
        )
    return found[0], found[1]


@contextmanager
def calling(nouns: str | Nouns | None) -> Iterator[None]:
    """Call the sides so inside the block; None changes nothing."""
    if nouns is None:
        yield
        return
    token = _nouns.set(parse(nouns) if isinstance(nouns, str) else nouns)
    try:
        yield
    finally:
        _nouns.reset(token)
