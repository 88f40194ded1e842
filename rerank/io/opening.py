"""A file of arrays, opened by the reader of its kind."""

import contextlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.core.registry import Card
from rerank.core.shell import word as typed_word
from rerank.io.container import Container
from rerank.io.files import check_known, check_unpacked, foreign, regular_file, safely
from rerank.io.foreign_kinds import foreign_kind
from rerank.io.formats.registry import FORMATS, FormatFacts, by_content, by_ending, known_endings
from rerank.io.recipes import (
    PICKLES,
    free,
    from_matrix_market,
    from_numbers,
    from_pickle,
    is_old_torch,
    is_pickle,
)
from rerank.io.run_lines import are_run_lines, said_of_run
from rerank.io.text_table import is_number
from rerank.io.word_lines import has_named_vectors

# Enough for the longest mark at the start of a file, and for the first name in an archive.
_HEAD = 1 << 10
# Kinds of files that are text, and those that are not.
_TEXTS = ("csv", "json")
_BINARY = ("hdf5", "npy", "npz", "safetensors", "torch", "parquet")
# How JSON begins, and how it does and no table.
_JSON, _OBJECTS = re.compile(rb"[\[{]\s*[\"{\[\d-]"), re.compile(rb"[\[{]\s*[\"{]")
# How pickles begin and no text.
_NO_JSON = re.compile(rb"(?!true|false|null)[A-Za-z_#]")
# A line of names with marks between them; no pickle has one.
_TABLE = re.compile(rb"[A-Za-z_]\w*[,;\t]")
_TABS = re.compile(rb"[\t,;|]")
_MARKET = re.compile(rb"%%MatrixMarket\s+matrix\s+(\w+)", re.IGNORECASE)
_PICKLED = re.compile(rb"\x80[\x02-\x05][^\0]")


def opener(path: Path) -> Card[FormatFacts]:
    """The format of a file or folder: by what it begins with, else by its ending.

    Raises:
        FormatError: a pickle, text that is called otherwise, or nothing that is known.
    """
    if safely(path.is_dir):
        card = by_ending(path.name, folder=True)
        if card is None:
            raise FormatError(f"{path}: is a directory; name the file inside it")
        return card
    path = regular_file(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if (market := _MARKET.match(head)) is not None:
        made = from_matrix_market(path, dense=market[1].lower() == b"array")
        raise FormatError(f"{path}: is a matrix of Matrix Market; {made}")
    card = by_ending(path.name)
    called = card.name if card else ""
    text = called in _TEXTS
    is_text = _is_text(path, head)
    if path.suffix.lower() in PICKLES and is_text and _TABLE.match(head):
        raise FormatError(_called_otherwise(path))
    if is_pickle(path, head, named_for_it=card is None or called in _BINARY) or (
        text and _PICKLED.match(head)
    ):
        raise FormatError(f"{path}: is a pickle; {from_pickle(path)}")
    check_unpacked(path, head)
    check_known(path, foreign_kind(head))
    # A kind of one's own is what its ending says.
    told = None
    if card is None or text or called in _BINARY:
        told = _by_first_bytes(head, called)
        card = told or card
    if card is FORMATS["torch"] and called == "safetensors":
        # torch goes by that name.
        raise FormatError(
            f"{path}: is a file of torch.save by its content; give it a name that says so: "
            f"{_copied(path, '.pt')}"
        )
    if card is None and path.suffix.lower() in PICKLES:
        card = _misnamed(path, head)
    own = card is not None and not text and called not in _BINARY
    if is_text and told is None and not own and are_run_lines(head.decode("utf-8-sig", "replace")):
        raise FormatError(said_of_run(path))
    if is_text and told is None and not own and _has_blanks(head):
        raise FormatError(
            f"{path}: holds rows of numbers with blanks between them; make it an array: "
            f"{from_numbers(path)}"
        )
    with_blanks = card is None or (called == "csv" and told is None and not _TABS.search(head))
    if with_blanks and is_text and has_named_vectors(path):
        return FORMATS["words"]
    if card is None:
        way = f"; if it is a table: {_copied(path, '.csv')}" if is_text else ""
        raise FormatError(
            f"{path}: the ending {path.suffix!r} is not known; expected one of "
            f"{', '.join(known_endings())}{way}"
        )
    if (
        is_text
        and told is None
        and (called in _BINARY or (called == "json" and _NO_JSON.match(head)))
    ):
        raise FormatError(_called_otherwise(path))
    return card


def _by_first_bytes(head: bytes, called: str) -> Card[FormatFacts] | None:
    """The format that the first bytes leave no doubt about, whatever the file is called."""
    if is_old_torch(head):
        return FORMATS["torch"]
    if head.startswith(b"PK\x03\x04"):
        # An archive says in front of its first part what that is called.
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        kind = "torch" if first.endswith(b"/data.pkl") else "npz" if first.endswith(b".npy") else ""
        return FORMATS[kind] if kind else None
    if head[4:9] == b"\0\0\0\0{":
        return FORMATS["safetensors"]
    plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if called != "json" and (_OBJECTS if called == "csv" else _JSON).match(plain):
        return FORMATS["json"]
    return by_content(head)


def _is_text(path: Path, head: bytes) -> bool:
    """Whether what should hold numbers begins with a line of text."""
    line, ended, _ = head.partition(b"\n")
    # Of a long line the last character may be cut.
    line = line if ended or len(head) < _HEAD else line[:-4]
    try:
        readable = line.rstrip(b"\r").decode("utf-8-sig").replace("\t", " ").isprintable()
    except UnicodeDecodeError:
        return False
    if not (line and readable and (ended or len(head) == _HEAD)) or path.suffix.lower() == ".mat":
        return False
    # HDF5 may have anything in front of it.
    at, size = 512, path.stat().st_size
    with foreign(path, "a file"), path.open("rb") as stream:
        while at < size:
            stream.seek(at)
            if stream.read(8) == b"\x89HDF\r\n\x1a\n":
                return False
            at *= 2
    return True


def _has_blanks(head: bytes) -> bool:
    """Whether text begins with rows of numbers with blanks between them; remarks do not count."""
    *lines, last = head.decode("utf-8", "replace").split("\n")
    whole, cut = [
        [line.split() for line in part if line.strip() and not line.startswith("#")]
        for part in (lines, [last])
    ]
    # Of the last line the last number may be cut.
    rows = [*whole, *(row[:-1] for row in cut)]
    return (
        any(len(row) > 1 for row in rows)
        and len(set(map(len, whole))) <= 1
        and all(is_number(cell) for row in rows for cell in row)
    )


def _called_otherwise(path: Path) -> str:
    return (
        f"{path}: is text by its content, and is called {path.suffix}; if it is a table, give it "
        f"a name that says so: {_copied(path, '.csv')}"
    )


def _copied(path: Path, ending: str) -> str:
    out = free(path.with_suffix(ending))
    return f"cp {typed_word(path)} {typed_word(out)}"


def _misnamed(path: Path, head: bytes) -> Card[FormatFacts] | None:
    """The format of a file that is named like a pickle and is none."""
    if head.startswith(b"PK"):
        with foreign(path, "a zip archive"), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        torch = any(name.endswith("/data.pkl") for name in names)
        return FORMATS["torch" if torch else "npz"]
    return FORMATS["json" if head.lstrip()[:1] in (b"{", b"[") else "safetensors"]


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Any file of arrays, opened for reading by the reader of its kind.

    Raises:
        FormatError: missing, damaged or of an unknown kind.
    """
    path = Path(path)
    with opener(path).load()(path) as container:
        yield container
