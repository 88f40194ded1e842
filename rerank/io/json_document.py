"""One JSON document, read an entry at a time, so that a long one costs no more than a short one.

The entries of the outermost object or list are found in turn, and those of a list of lists or
objects inside that object. Each is parsed by the parser that reads small files, so values,
refusals and their words are the same.
"""

import codecs
import json
import re
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io.files import STRICT_JSON, named, one_line, parse_json
from rerank.io.ids import first_duplicate
from rerank.io.text_table import opener

# Characters read at once.
_PIECE = 1 << 22
# Longer entries are asked about before they are put together.
_LONGEST = 1 << 24
# Bytes that what an entry holds takes, for each of its characters.
_HELD = 30
# No word or escape of JSON is longer: an error nearer to the end of a piece may be that of the cut.
_NEAR = 16
_BLANKS = re.compile(r"[ \t\n\r]*")
_NESTED = re.compile(r"\[[ \t\n\r]*[\[{]")

# What stands for a value that was not parsed: the start of a list, the end of what is open.
_OPEN, _END = object(), object()


class NotInPieces(Exception):
    """A document of another sort, or with an entry that is too long: parse the whole."""


class Entry(NamedTuple):
    """One value of a document.

    Attributes:
        key: its name in the outermost object, or that of the list it stands in; None in a list.
        inside: whether it is an element of the list of that name.
        value: as Python holds it.
        start: byte of the file where its text begins.
        end: and where it ends.
    """

    key: str | None
    inside: bool
    value: Any
    start: int
    end: int


class Places:
    """Values of a document by the bytes where they stand, parsed again when asked for."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self.stream, self.where = stream, where
        self.starts, self.ends = array("q"), array("q")

    def add(self, entry: Entry) -> None:
        """One more."""
        self.starts.append(entry.start)
        self.ends.append(entry.end)

    def values(self, start: int, stop: int) -> Iterator[Any]:
        """Those from number `start` up to `stop`."""
        for low, high in zip(self.starts[start:stop], self.ends[start:stop], strict=True):
            self.stream.seek(low)
            text = self.stream.read(high - low).decode("utf-8", "replace")
            yield parse_json(text, self.where)


def entries(path: Path) -> Iterator[Entry]:
    """The entries of a document of UTF-8, in their order.

    Raises:
        FormatError: not JSON, in the words of `parse_json`.
        NotInPieces: no object or list, an entry of many megabytes, one that is nested too deeply.
    """
    with path.open("rb") as raw:
        head = raw.read(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotInPieces
    skipped = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    with opener(path)() as stream:
        text = _Text(stream, str(path), skipped)
        kind = text.take(_opening)[0]
        if kind == "[":
            yield from text.elements(None, "[", '[""')
        else:
            yield from _members(text)
        text.before = '""'
        text.take(_nothing)


def _members(text: "_Text") -> Iterator[Entry]:
    names: list[str] = []
    while True:
        text.before = '{"":""' if names else "{"
        key, value, start, end = text.take(partial(_member, first=not names))
        if value is _END:
            break
        names.append(key)
        if value is _OPEN:
            yield from text.elements(key, '{"":[', '{"":[""')
        else:
            yield Entry(key, False, value, text.offset(start), text.offset(end))
    if twice := first_duplicate(names):
        raise FormatError(
            f"{text.where}: the key {named(twice[:1])} appears twice in one object; correct the "
            "file"
        )


class _Text:
    """The text that was read and not used, and what lies before it.

    `text[:good]` is used, and `before` is the shortest text that leaves the parser where that does.
    """

    def __init__(self, stream: IO[str], where: str, skipped: int) -> None:
        self.stream, self.where, self.before = stream, where, ""
        self.text, self.good, self.ended = "", 0, False
        self._seen, self._bytes = 0, skipped
        self._chars = self._lines = self._column = 0

    def offset(self, at: int) -> int:
        """The byte of the file where a character stands; asked for in their order."""
        part = self.text[self._seen : at]
        self._bytes += len(part) if part.isascii() else len(part.encode())
        self._seen = at
        return self._bytes

    def take(self, parse: Callable[[str, int], tuple[Any, ...]]) -> tuple[Any, ...]:
        """What is parsed next, after as much was read as it takes; its end comes last."""
        while True:
            try:
                found = parse(self.text, self.good)
            except json.JSONDecodeError as error:
                near = error.pos > len(self.text) - _NEAR or error.msg.startswith("Unterminated")
                if self.ended or not near:
                    self._refuse()
            except FormatError as error:
                raise FormatError(f"{self.where}: {error}; correct the file") from None
            except (ValueError, RecursionError, MemoryError) as error:
                raise NotInPieces from error
            else:
                # A number at the end may go on.
                if found[-1] < len(self.text) or self.ended:
                    self.good = found[-1]
                    return found
            self._more()

    def elements(self, key: str | None, first: str, later: str) -> Iterator[Entry]:
        """The elements of a list, to its end; what stands before the first and the others."""
        self.before = first
        while True:
            value, start, end = self.take(partial(_element, first=self.before is first))
            if value is _END:
                return
            self.before = later
            yield Entry(key, key is not None, value, self.offset(start), self.offset(end))

    def _more(self) -> None:
        """Let go of what is used, and read as much again as is left at least."""
        used, left = self.text[: self.good], self.text[self.good :]
        if len(left) > _LONGEST and _HELD * len(left) > memory.budget():
            raise NotInPieces
        self.offset(self.good)
        self._chars, self._lines, self._column = self._place(used)
        read = self.stream.read(max(_PIECE, len(left)))
        self.text, self.good, self._seen, self.ended = left + read, 0, 0, not read

    def _place(self, used: str) -> tuple[int, int, int]:
        """Characters, line ends, and characters of the last line, at the end of some text."""
        column = len(used) - used.rfind("\n") - 1 if "\n" in used else self._column + len(used)
        return self._chars + len(used), self._lines + used.count("\n"), column

    def _refuse(self) -> NoReturn:
        """Say what the parser says of the whole."""
        try:
            STRICT_JSON.decode(self.before + self.text[self.good :])
        except json.JSONDecodeError as error:
            at = error.pos - len(self.before) + self.good
            chars, lines, column = self._place(self.text[:at])
            reason = f"{error.msg}: line {lines + 1} column {column + 1} (char {chars})"
            raise FormatError(f"{self.where}: is not valid JSON: {one_line(reason)}") from error
        raise NotInPieces


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _expect(text: str, at: int, words: str) -> None:
    if at >= len(text) or text[at] not in words:
        raise json.JSONDecodeError("", text, at)


def _opening(text: str, at: int) -> tuple[str, int]:
    at = _blanks(text, at)
    if at < len(text) and text[at] not in "[{":
        raise NotInPieces
    _expect(text, at, "[{")
    return text[at], at + 1


def _nothing(text: str, at: int) -> tuple[int]:
    at = _blanks(text, at)
    if at < len(text):
        # Not even near the end can it become right.
        raise json.JSONDecodeError("", text, at)
    return (at,)


def _member(text: str, at: int, *, first: bool) -> tuple[str | None, Any, int, int]:
    """Name and value of the next member of an object, and where the value begins and ends."""
    at = _blanks(text, at)
    if text[at : at + 1] == "}":
        return None, _END, at, at + 1
    if not first:
        _expect(text, at, ",")
        at = _blanks(text, at + 1)
    _expect(text, at, '"')
    key, at = STRICT_JSON.raw_decode(text, at)
    at = _blanks(text, at)
    _expect(text, at, ":")
    at = _blanks(text, at + 1)
    if _NESTED.match(text, at):
        return key, _OPEN, at, at + 1
    value, end = STRICT_JSON.raw_decode(text, at)
    return key, value, at, end


def _element(text: str, at: int, *, first: bool) -> tuple[Any, int, int]:
    """The next element of a list, and where it begins and ends."""
    at = _blanks(text, at)
    if text[at : at + 1] == "]":
        return _END, at, at + 1
    if not first:
        _expect(text, at, ",")
        at = _blanks(text, at + 1)
    value, end = STRICT_JSON.raw_decode(text, at)
    return value, at, end
