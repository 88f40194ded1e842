"""A file of arrays, opened by the reader of its kind."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.core.registry import Card
from rerank.io.container import Container
from rerank.io.files import check_known, check_unpacked, foreign, regular_file, safely
from rerank.io.foreign_kinds import HEAD, foreign_kind
from rerank.io.formats.registry import FORMATS, FormatFacts, by_content, by_ending, known_endings
from rerank.io.recipes import PICKLES, from_pickle, is_pickle


def opener(path: Path) -> Card[FormatFacts]:
    """The format of a file or folder: by its ending, else by its first bytes.

    Raises:
        FormatError: a pickle, or nothing that is known.
    """
    if safely(path.is_dir):
        card = by_ending(path.name, folder=True)
        if card is None:
            raise FormatError(f"{path}: is a directory; name the file inside it")
        return card
    path = regular_file(path)
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    card = by_ending(path.name)
    if is_pickle(path, head, named_for_it=card is None):
        raise FormatError(f"{path}: is a pickle; {from_pickle(path)}")
    check_unpacked(path, head)
    check_known(path, foreign_kind(head))
    card = card or by_content(head)
    if card is None and path.suffix.lower() in PICKLES:
        card = _misnamed(path, head)
    if card is None:
        raise FormatError(
            f"{path}: the ending {path.suffix!r} is not known; expected one of "
            f"{', '.join(known_endings())}"
        )
    return card


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
