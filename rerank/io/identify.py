"""What a file is, from its content and not from its name."""

import re
from pathlib import Path

from rerank.io.files import PACKED, PathLike, regular_file, safely
from rerank.io.foreign_kinds import foreign_kind

_MAGIC = (
    (b"\x93NUMPY", "an array of numpy"),
    (b"PK\x03\x04", "a zip archive, such as .npz or .pt"),
    (b"\x80", "a pickle"),
)
PAGE, RANKINGS, LOG, PAIR_SCORES = "an HTML page", "rankings", "a training log", "pair scores"
TRUTH = "a ground truth"
SCRIPT = "the script of an export"

# A name in JSON without its end, which may lie behind what is looked at.
_NAME = r'"(\\.|[^"\\])*\\?'
# Texts of this package, told by how they begin.
_TEXTS = (
    (re.compile(r'\{\s*"schema"\s*:\s*"(rerank-[a-z]+/\d+)"'), ""),
    (re.compile(rf'\{{\n"(t2v|v2t)": \{{\n{_NAME}(": \[\{{"id": "|\Z)'), RANKINGS),
    (re.compile(rf'\{{"direction": "(t2v|v2t)", "query": {_NAME}(", "ids": \[|\Z)'), RANKINGS),
    # Every line that was looked at is of this tool, by its tag.
    (re.compile(r"(\S+ Q0 \S+ \d+ \S+ rerank\n)+[^\n]*\Z"), RANKINGS),
    (re.compile(r'\{"epoch": \d+'), LOG),
    (re.compile(r'\{\s*"(\\.|[^"\\])*"\s*:\s*\[\s*[01](\.\d+)?\s*[,\]]'), PAIR_SCORES),
    (re.compile(r'\[\n\{"query_id": "(\\.|[^"\\])*", "video_id": "'), TRUTH),
    (re.compile(r"# Query it: python \S.* QUERIES\.npy \d+\n"), SCRIPT),
)
# Numbers that are no confidence: beyond 0 to 1, or of more digits than are written.
_NO_CONFIDENCE = re.compile(r"[\[,]\s*(-|[2-9]|1\d|1\.0*[1-9])|\.\d{7}")
# How pages of this package begin, which show nothing from elsewhere.
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';"""
_RANKING_COLUMNS = ["direction", "query_id", "rank", "gallery_id", "score"]
_HEAD = 4096


def kind_of_file(path: PathLike) -> str:
    """What a file is, from its content: a schema of this package, else what its bytes say.

    >>> kind_of_file("data_samples/texts.h5"), kind_of_file("data_samples/gt.json")
    ('rerank/1', 'JSON')

    Raises:
        FormatError: missing, or no ordinary file.
    """
    path = Path(path)
    if safely(path.is_file) and path.stat().st_size == 0:
        return "empty"
    # A pipe would be waited for.
    with regular_file(path).open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _schema(Path(path)) or "an HDF5 file"
    if head.startswith(b"PAR1"):
        return _table(Path(path))
    for magic, what in _MAGIC:
        if head.startswith(magic) and (magic != b"\x80" or head[1:2] <= b"\x05"):
            return what
    if head.startswith(_PAGE):
        return PAGE
    packed = (f"a file packed by {what}" for magic, what, *_ in PACKED if head.startswith(magic))
    if found := foreign_kind(head) or next(packed, None):
        return found
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return _tensors(Path(path))
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "a binary file"
        text = head[: error.start].decode("utf-8")
    for pattern, what in _TEXTS:
        if (found := pattern.match(text)) and not (
            what == PAIR_SCORES and _NO_CONFIDENCE.search(text, found.start(2))
        ):
            return what or found[1]
    return "JSON" if text.lstrip()[:1] in ("{", "[") else "text"


def _schema(path: Path) -> str | None:
    return attribute_of(path, "rerank_schema")


def attribute_of(path: PathLike, name: str) -> str | None:
    """What an HDF5 file says about itself under a name; None where it, or the file, says nothing.

    >>> attribute_of("data_samples/texts.h5", "kind"), attribute_of("data_samples/gt.json", "kind")
    ('text', None)
    """
    from rerank.core.errors import FormatError
    from rerank.io.formats.hdf5 import open_hdf5
    from rerank.io.formats.hdf5_guard import text_attribute

    if not Path(path).is_file():
        return None
    try:
        with open_hdf5(path) as (file, _):
            return text_attribute(file, name, path)
    except FormatError:
        return None


def _table(path: Path) -> str:
    from rerank.core.errors import RerankError
    from rerank.io.files import foreign
    from rerank.io.formats.parquet import import_arrow

    try:
        arrow = import_arrow()
        with foreign(path, "a parquet table"):
            names = arrow.read_schema(path).names
    except RerankError:
        return "a parquet table"
    return RANKINGS if names == _RANKING_COLUMNS else "a parquet table"


def _tensors(path: Path) -> str:
    from rerank.io import tensorfile  # torch, for files of tensors only

    return tensorfile.kind_of(path) or "a safetensors file"
