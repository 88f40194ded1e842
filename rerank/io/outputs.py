"""No output ever takes the place of an input, nor of a file of another kind."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rerank.core.errors import RerankError
from rerank.core.wording import either
from rerank.io.called import called
from rerank.io.files import PathLike, safely
from rerank.io.identify import LOG, PAGE, PAIR_SCORES, kind_of_file
from rerank.io.ids import find_sidecar

# What is written in one format only, by kind: what to say, and the endings that say the same.
_MODEL = ("a model is written as safetensors", (".safetensors",))
_FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rerank-results/1": (
        "results of both directions are written as HDF5 (`rerank search --out` writes lists in "
        "other formats)",
        (".h5", ".hdf5"),
    ),
    "rerank/fitted": _MODEL,
    "rerank/trained": _MODEL,
    "rerank-settings/1": ("settings are written as JSON", (".json",)),
    PAGE: ("the page is written as HTML", (".html", ".htm")),
    LOG: ("the log is written as JSON lines", (".jsonl", ".json", ".txt")),
    PAIR_SCORES: ("these scores are written as JSON", (".json",)),
    # Stores of `rerank export`.
    "faiss": ("--to faiss writes an index of FAISS", (".faiss",)),
    "npy": ("--to npy writes an array of numpy", (".npy",)),
    "parquet": ("--to parquet writes a table", (".parquet", ".pq")),
}
# Endings that promise a format.
_PROMISES = frozenset(
    ".h5 .hdf5 .json .jsonl .ndjson .html .htm .safetensors .parquet .pq .feather .arrow .csv .tsv "
    ".txt .trec .run .npz .npy .pt .pth .pkl .pickle .mat .faiss .xlsx .zip .gz".split()
)
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}


def check_outputs(
    outputs: Mapping[str, PathLike | None] | Iterable[PathLike | None],
    inputs: Iterable[PathLike | None] = (),
    *,
    force: bool = False,
    kind: str | Mapping[str, str] | None = None,
) -> None:
    """Refuse outputs that are inputs, each other, of another kind, or named like another format.

    Paths are compared as files: links, hard and symbolic, side-cars of ids and of indexes and the
    files of a folder that is read count as well.

    >>> check_outputs({"--out": "new.h5"}, ["data_samples/texts.h5"])
    >>> check_outputs({"--out": "data_samples/texts.h5"}, ["data_samples/texts.h5"])
    Traceback (most recent call last):
    rerank.core.errors.RerankError: --out data_samples/texts.h5: is an input of this run; choose \
another name
    >>> check_outputs({"--out": "data_samples/gt.json"}, kind="rerank-results/1")
    Traceback (most recent call last):
    rerank.core.errors.RerankError: --out data_samples/gt.json: is there and is JSON that reads as \
a ground truth, not results (rerank-results/1); choose another name, such as data_samples/gt.h5

    Args:
        outputs: what will be written; names of options for messages, where there are any.
        inputs: what is read; None and missing files are skipped.
        force: whether a file of another kind may be replaced. An input never is.
        kind: what will be written, as `kind_of_file` calls it, or this by name of output; outputs
            without a kind are not checked for it.

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
        label, keys = _label(name, path), _identities(path)
        if any(key in read for key in keys):
            raise RerankError(f"{label}: is an input of this run; choose another name")
        if (folder := _inside(path, inputs)) is not None:
            _check_folder(folder)
            raise RerankError(
                f"{label}: lies in the folder {folder}, which is an input of this run; choose "
                "another place"
            )
        _check_apart(keys, label, written)
        written |= dict.fromkeys(keys, label)
    for name, path in named:
        label = _label(name, path)
        wanted = kind.get(name) if isinstance(kind, Mapping) else kind
        if wanted is None:
            continue
        found = kind_of_file(path) if not force and safely(path.is_file) else "empty"
        if found not in (wanted, "empty"):
            other = _better_name(path, wanted)
            way = f", or replace it{either(' with --force', ': force=True')}"
            here, needed = called(found, path), called(wanted)
            if here.endswith(f" {needed}"):
                needed = "one that this toolkit wrote"
            raise RerankError(
                f"{label}: is there and is {here}, not {needed}; choose "
                f"another name{way if other is None else f', such as {other}'}"
            )
        if found != wanted:
            check_ending(path, label, wanted)


def _label(name: str, path: Path) -> str:
    return f"{name} {path}" if name.startswith("-") else str(path)


def _check_apart(keys: list[object], label: str, written: Mapping[object, str]) -> None:
    """Refuse an output in the place of another one, or inside it.

    Raises:
        RerankError: it is there.
    """
    for other, name in written.items():
        if other in keys:
            raise RerankError(f"{label} and {name} have one place; choose another name for one")
        for inner, outer, file, folder in (
            (keys[0], other, label, name), (other, keys[0], name, label),
        ):  # fmt: skip
            if isinstance(outer, str) and Path(outer) in Path(str(inner)).parents:
                raise RerankError(
                    f"{file}: lies in {folder}, which will be a file; choose another place"
                )


def check_ending(path: Path, label: str, kind: str) -> None:
    """Refuse a new file whose name promises another format than the one that is written.

    Raises:
        RerankError: it does; kinds and stores that are written in any format never do.
    """
    if (other := _better_name(path, kind)) is not None:
        raise RerankError(f"{label}: {_FORMATS[kind][0]}; call it {other}")


def _better_name(path: Path, kind: str) -> Path | None:
    """The name with another ending, where it promises a format that is not written."""
    said, endings = _FORMATS.get(kind, ("", ()))
    ending = path.suffix.lower()
    wrong = said and ending in _PROMISES and ending not in endings
    return path.with_suffix(endings[0]) if wrong else None


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
                  if safely((side := path.with_name(stem + end)).is_file)]  # fmt: skip
        if safely((export := Path(f"{path}.npz")).is_file):
            found.append(export)  # of an index
        with contextlib.suppress(ValueError):
            side = find_sidecar(path)
            if side is not None:
                found.append(side)
    return found


def _inside(path: Path, inputs: Iterable[PathLike | None]) -> Path | None:
    """The folder that is read in which a file lies that is there."""
    if not safely(path.exists):
        return None
    real = Path(os.path.realpath(path))
    folders = [Path(given) for given in inputs if given is not None and safely(Path(given).is_dir)]
    return next((f for f in folders if Path(os.path.realpath(f)) in real.parents), None)


def _check_folder(folder: Path) -> None:
    """Refuse a folder without arrays and images, such as `.`; that is the fault then.

    Raises:
        FormatError: it is one.
    """
    from rerank.io.opening import open_container

    if not any(part.suffix.lower() in _IMAGES for part in folder.iterdir()):
        with open_container(folder):
            pass
