"""Which reader opens which file."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.files import regular_file
from rerank.io.formats.hdf5 import is_hdf5, open_hdf5
from rerank.io.formats.hdf5_guard import text_attribute
from rerank.io.formats.npy import PICKLE_RECIPE, open_npy, open_npz
from rerank.io.formats.parquet import open_clip_retrieval, open_folder, open_parquet
from rerank.io.formats.tensors import open_safetensors, open_torch

_PICKLES = (".pkl", ".pickle", ".joblib", ".p", ".dill")

Opener: TypeAlias = Callable[[Path], contextlib.AbstractContextManager[Container]]


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[Container]:
    with open_hdf5(path) as (file, fields):
        yield Container(
            path,
            fields,
            schema=text_attribute(file, "rerank_schema", path),
            content_sha256=text_attribute(file, "content_sha256", path),
        )


def opener(path: Path) -> Opener:
    """The function that opens this kind of file, by its suffix, else by its first bytes.

    Raises:
        FormatError: a pickle, or nothing that is known.
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise FormatError(f"{path}: is a pickle; {PICKLE_RECIPE}")
    if suffix == ".npy" and re.fullmatch(r".+_emb_\d+", path.stem):
        return open_clip_retrieval
    known: dict[str, Opener] = {
        ".h5": _open_hdf5,
        ".hdf5": _open_hdf5,
        ".npy": open_npy,
        ".npz": open_npz,
        ".safetensors": open_safetensors,
        ".pt": open_torch,
        ".pth": open_torch,
        ".parquet": open_parquet,
    }
    if suffix in known:
        return known[suffix]
    if is_hdf5(path):
        return _open_hdf5
    raise FormatError(
        f"{path}: the ending {suffix!r} is not known; expected one of {', '.join(known)}"
    )


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Any file of embeddings, opened for reading by the opener of its kind.

    Raises:
        FormatError: missing, damaged or of an unknown kind.
    """
    path = Path(path)
    if path.is_dir():
        with open_folder(path) as container:
            yield container
        return
    with opener(regular_file(path))(path) as container:
        yield container
