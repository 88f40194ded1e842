"""No output ever takes the place of an input, nor of a file of another kind."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rerank.core.errors import RerankError
from rerank.io.files import PathLike
from rerank.io.ids import find_sidecar

_MAGIC = (
    (b"\x93NUMPY", "an array of numpy"),
    (b"PK\x03\x04", "a zip archive, such as .npz or .pt"),
    (b"PAR1", "a parquet table"),
    (b"\x80", "a pickle"),
)
_TEXTS = ("text", "JSON")


def check_outputs(
    outputs: Mapping[str, PathLike | None] | Iterable[PathLike | None],
    inputs: Iterable[PathLike | None] = (),
    *,
    force: bool = False,
    kind: str | None = None,
) -> None:
    """Refuse outputs that are inputs, that are each other, or that are files of another kind.

    Paths are compared as files: links, hard and symbolic, side-cars of ids and the files of a
    folder that is read count as well.

    >>> check_outputs({"--out": "new.h5"}, ["data_samples/texts.h5"])
    >>> check_outputs({"--out": "data_samples/texts.h5"}, ["data_samples/texts.h5"])
    Traceback (most recent call last):
    rerank.core.errors.RerankError: --out data_samples/texts.h5: is an input of this run; choose \
another name
    >>> check_outputs({"--out": "data_samples/gt.json"}, kind="rerank-results/1")
    Traceback (most recent call last):
    rerank.core.errors.RerankError: --out data_samples/gt.json: is there and is JSON, not \
rerank-results/1; choose another name, or replace it with --force

    Args:
        outputs: what will be written; names of options for messages, where there are any.
        inputs: what is read; None and missing files are skipped.
        force: whether a file of another kind may be replaced. An input never is.
        kind: what will be written, as `kind_of_file` calls it; None skips this check.

    Raises:
        RerankError: one of them.
    """
    listed: list[tuple[str, PathLike | None]]
    if isinstance(outputs, Mapping):
        listed = [(str(name), path) for name, path in outputs.items()]
    else:
        listed = [(str(number), path) for number, path in enumerate(outputs)]
    inputs = list(inputs)
    named = [(name, Path(path)) for name, path in listed if path is not None]
    read = {key: path for path in _with_sidecars(inputs) for key in _identities(path)}
    written: dict[object, str] = {}
    for name, path in named:
        label = f"{name} {path}" if name.startswith("-") else str(path)
        keys = _identities(path)
        if any(key in read for key in keys) or _inside(path, inputs):
            raise RerankError(f"{label}: is an input of this run; choose another name")
        for key in keys:
            if key in written:
                raise RerankError(f"{label}: is also {written[key]}; choose another name")
            written[key] = label
        if kind is None or force or not path.is_file():
            continue
        found = kind_of_file(path)
        if found not in (kind, "empty") and not (found in _TEXTS and kind in _TEXTS):
            raise RerankError(
                f"{label}: is there and is {found}, not {kind}; choose another name, or replace it "
                "with --force"
            )


def _identities(path: Path) -> list[object]:
    """What makes a file the same as another: its real path, and its place on the disk."""
    keys: list[object] = [os.path.realpath(path)]
    with contextlib.suppress(OSError, ValueError):
        status = path.stat()
        keys.append((status.st_dev, status.st_ino))
    return keys


def _with_sidecars(inputs: Iterable[PathLike | None]) -> list[Path]:
    found = []
    for given in inputs:
        if given is None:
            continue
        path = Path(given)
        found.append(path)
        names = [f".{name}{end}" for name in ("ids", "query_ids", "gallery_ids")
                 for end in (".json", ".txt")]  # fmt: skip
        stems = (path.stem, path.name) if path.name else ()
        found += [side for stem in stems for end in names
                  if (side := path.with_name(stem + end)).is_file()]  # fmt: skip
        with contextlib.suppress(ValueError):
            side = find_sidecar(path)
            if side is not None:
                found.append(side)
    return found


def _inside(path: Path, inputs: Iterable[PathLike | None]) -> bool:
    """Whether a file that is there lies in a folder that is read."""
    if not path.exists():
        return False
    real = Path(os.path.realpath(path))
    folders = [Path(os.path.realpath(given)) for given in inputs if given is not None]
    return any(folder.is_dir() and folder in real.parents for folder in folders)


def kind_of_file(path: PathLike) -> str:
    """What a file is, from its content: a schema of this package, else what its bytes say.

    >>> kind_of_file("data_samples/texts.h5"), kind_of_file("data_samples/gt.json")
    ('rerank/1', 'JSON')
    """
    with Path(path).open("rb") as stream:
        head = stream.read(4096)
    if not head:
        return "empty"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _schema(Path(path)) or "an HDF5 file"
    for magic, what in _MAGIC:
        if head.startswith(magic) and (magic != b"\x80" or head[1:2] <= b"\x05"):
            return what
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file"
    if head.lstrip()[:1] in (b"{", b"["):
        return "JSON"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return "a binary file"
    return "text"


def _schema(path: Path) -> str | None:
    from rerank.core.errors import FormatError
    from rerank.io.formats.hdf5 import open_hdf5
    from rerank.io.formats.hdf5_guard import text_attribute

    try:
        with open_hdf5(path) as (file, _):
            return text_attribute(file, "rerank_schema", path)
    except FormatError:
        return None
