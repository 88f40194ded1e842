"""What lies beside an export: ids, map and numbers of the folding, and its index's hash.

Nothing is lost for pairs. Writing goes: the index under a temporary name, the complete side-car
(with the index's hash in its content and its name) beside its final name, the index's rename, the
side-car's rename. After an end at any point a reader finds the old pair, or the new index with the
new side-car beside the old one, and completes the swap.
"""

import contextlib
import glob
import io
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.core.exhausted import ran_out
from rerank.core.wording import option
from rerank.io.files import (
    beside,
    cannot_write,
    created,
    foreign,
    is_of_the_dead,
    locked,
    no_room,
    one_line,
    owner,
    remove,
    remove_dead,
    replacing,
    sync,
    temporary_beside,
)
from rerank.io.formats.npy import Header
from rerank.io.ids import check_ids, check_unique
from rerank.io.interrupts import signals_wait
from rerank.serving.fold import Folding, folding_from, folding_to_arrays
from rerank.serving.stores.contract import Store, TableStore

SCHEMA = "rerank-export/2"
# Name of the table that needs no word in the side-car's name.
DEFAULT_TABLE = "gallery"
_TRIES = 5
# What every manifest says.
_NEEDED = (
    "to", "store", "server", "label", "trained", "direction", "gallery", "fitted", "hash", "effort",
    "recall",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Exported:
    """What lies beside an export.

    Attributes:
        ids: names of the items, in the order of the rows.
        folding: how queries become vectors.
        manifest: settings, hashes and the measured overlap, as JSON values.
        head: `head` (d_in, d) and `head_bias` (d,) that queries pass first, for trained models.
    """

    ids: tuple[str, ...]
    folding: Folding
    manifest: Mapping[str, Any]
    head: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Of the embeddings that it was made of, behind a trained head."""
        return int(self.manifest["gallery"]["dimension"])

    def __repr__(self) -> str:
        about = self.manifest
        found = about["recall"]
        return (
            f"Exported({len(self.ids)} items to {about['to']}, found {found['overlap']:.4f} of "
            f"the exact top {found['k']}, label {about['label']})"
        )


def side_car(out: Path, table: str = DEFAULT_TABLE) -> Path:
    """Where ids and map of an export lie: `videos.faiss` -> `videos.faiss.npz`."""
    middle = "" if table == DEFAULT_TABLE else f".{table}"
    return beside(out, f"{middle}.npz")


def pending(out: Path, table: str, fingerprint: str) -> Path:
    """Where this run's side-car of an index with this hash waits for the index."""
    return out.with_name(f".{side_car(out, table).name}.{owner()}.{fingerprint}.npz")


def _drop_dead(out: Path, table: str, keep: str) -> None:
    """Remove side-cars of runs that were killed; they wait for an index that never comes.

    Args:
        out: the export.
        table: its table.
        keep: hash of an index that still waits for its side-car.
    """
    name = glob.escape(side_car(out, table).name)
    with contextlib.suppress(OSError):
        # With two dots: those that were not even complete.
        for path in (*out.parent.glob(f".{name}.*.npz"), *out.parent.glob(f"..{name}.*.npz")):
            words = path.name.removesuffix(".npz").split(".")
            whose = next((word for word in words if is_of_the_dead(word)), None)
            if whose is not None and words[-1] != keep:
                path.unlink(missing_ok=True)


def to_bytes(exported: Exported, dimension: int) -> bytes:
    """Ids, map, mean and manifest as plain numpy arrays."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array(exported.ids),
        manifest=np.array(json.dumps(dict(exported.manifest), sort_keys=True)),
        **folding_to_arrays(exported.folding, dimension),  # type: ignore[arg-type]
        **exported.head,  # type: ignore[arg-type]
    )
    return buffer.getvalue()


def read_side_car(path: Path) -> Exported:
    """Read what `to_bytes` made.

    Raises:
        FormatError: missing, damaged, or not of an export.
    """
    try:
        arrays = _arrays(path)
        manifest = json.loads(str(arrays["manifest"]))
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']!r}, expected {SCHEMA!r}")
        if lacks := [name for name in _NEEDED if name not in manifest]:
            raise ValueError(f"its manifest has no {lacks[0]!r}")
        if manifest["direction"] not in ("t2v", "v2t"):
            raise ValueError(f"direction {manifest['direction']!r}, expected 't2v' or 'v2t'")
        if arrays["ids"].dtype.kind != "U":
            raise ValueError(f"ids of the type {arrays['ids'].dtype}")
        ids = check_ids(arrays["ids"], str(path))
        check_unique(ids, str(path))
        head = {name: arrays[name] for name in ("head", "head_bias") if name in arrays}
        found = Exported(ids, folding_from(manifest, arrays), manifest, head)
        if found.dimension < 1:
            raise ValueError(f"a gallery of dimension {found.dimension}")
        return found
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read ({error.strerror or error}); it lies beside the index that "
            f"`rerank export` wrote, keep the two together"
        ) from None
    except RerankError:
        raise
    except Exception as error:  # damage makes the libraries raise a dozen kinds
        raise FormatError(
            f"{path}: not the side-car of an export ({one_line(error)}); export again"
        ) from None


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, which is asked for their sizes before any memory is taken."""
    size = 0
    if path.exists() and not path.is_file():
        raise ValueError("not an ordinary file")
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                header = Header(stream, str(path))
            header.check(info.file_size - header.offset, str(path))
            size += info.file_size
    if size > path.stat().st_size + 4096:  # they are stored as they are
        raise FormatError(
            f"{path}: declares {size:,} bytes, more than it holds; it is damaged, export again"
        )
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def holds_export(out: Path, table: str = DEFAULT_TABLE) -> bool:
    """Whether a side-car of an export lies at its place, or waits to."""
    path = side_car(out, table)
    for candidate in (path, *out.parent.glob(f".{glob.escape(path.name)}.*.npz")):
        with contextlib.suppress(FormatError):
            read_side_car(candidate)
            return True
    return False


def partner(out: Path, table: str, store_of: Callable[[Exported], Store]) -> tuple[Exported, Store]:
    """The side-car of what lies at `out`, and its store; completes a swap that was cut short.

    Args:
        out: the export.
        table: the table that is meant.
        store_of: the store that a side-car is of.

    Raises:
        FormatError: no side-car, or that of something else.
    """
    path = side_car(out, table)
    error: RerankError | None = None
    for attempt in range(_TRIES):  # read afresh: somebody may be writing
        with contextlib.ExitStack() as stack:
            if attempt + 1 == _TRIES:  # and now waits
                stack.enter_context(locked(out.parent, shared=True))
            waiting = out.parent.glob(f".{glob.escape(path.name)}.*.npz")
            for candidate in (path, *sorted(waiting)):
                try:
                    found = read_side_car(candidate)
                    with foreign(candidate, "the side-car of an export"):
                        store, claimed = store_of(found), found.manifest["hash"]
                    now = store.fingerprint(out)
                except OSError as failed:
                    raise FormatError(
                        f"{out}: cannot be read ({failed.strerror or failed}); export again"
                    ) from None
                except RerankError as failed:
                    error = error or failed
                    continue
                if claimed == now:
                    if candidate != path:
                        _complete(out, candidate, path, lambda: store.fingerprint(out) == now)
                    return found, store
                error = FormatError(
                    f"{out}: not the index that {path.name} belongs to, or damaged; export again"
                )
    assert error is not None
    raise error


def _complete(out: Path, waiting: Path, path: Path, still: Callable[[], bool]) -> None:
    """Give a side-car that waits its name, unless somebody is just replacing the index."""
    with contextlib.suppress(OSError), locked(out.parent, wait=False) as had:
        if had and still():
            waiting.replace(path)


@dataclass(frozen=True, eq=False)
class Staged:
    """Where an export is built before it gets its name.

    Attributes:
        store: the store, with a temporary table where it gets one.
        target: the temporary place, or the database that holds the temporary table.
        publish: gives the whole its name, at once.
    """

    store: Store
    target: Path
    publish: Callable[[], None]


@contextlib.contextmanager
def staged(store: Store, out: Path, *, replace: bool) -> Iterator[Staged]:
    """A temporary place, of which nothing is left when the block ends.

    Args:
        store: the store.
        out: where the export shall lie.
        replace: whether a table that is there may be replaced.

    Raises:
        RerankError: something is there that is not replaced.
    """
    token, folder = secrets.token_hex(6), store.folder
    if isinstance(store, TableStore) and (store.server or (folder and out.exists())):
        if store.exists(out) and not replace:
            raise RerankError(
                f"{out.name}: {store.table_name!r} is there already; give {option('replace')}, or "
                f"another name for it"
            )
        held = store.named(f"{store.table_name}_{token}")
        try:
            yield Staged(held, out, lambda: store.publish(out, held.table_name))
        except BaseException:
            with contextlib.suppress(Exception), signals_wait():
                held.drop(out)
            raise
        return
    real = Path(os.path.realpath(out))
    if real.exists() and (folder or not real.is_file()):
        kind = "exists" if folder else "is a folder"
        raise RerankError(f"{out}: {kind}; remove it or choose another {option('out')}")
    remove_dead(real)
    temporary = temporary_beside(real)
    try:
        with signals_wait():
            if folder:
                temporary.mkdir()
            elif real.exists():
                created(temporary, real)
        yield Staged(store, temporary, lambda: _renamed(temporary, real))
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        remove(temporary)


@contextlib.contextmanager
def written_by(to: str, out: Path) -> Iterator[None]:
    """Turns what the library of a store raises while it writes into one error.

    Keep the body down to calls of the store.

    Args:
        to: name of the store.
        out: the export.
    """
    try:
        yield
    except (RerankError, OSError):
        raise  # an `OSError` becomes one in `staged`
    except Exception as error:
        if ran_out(error):
            raise no_room(out) from error
        reason = one_line(error) or type(error).__name__
        raise FormatError(
            f"{out}: {to} cannot write it: {reason}; see that the disk has room, or choose another "
            f"place or store, such as {option('to')} npy"
        ) from error


def _renamed(temporary: Path, out: Path) -> None:
    """A file or a folder on the disk, under its name."""
    parts = sorted(temporary.rglob("*")) if temporary.is_dir() else [temporary]
    for part in parts:
        if part.is_file():
            with part.open("rb+") as file:
                sync(file.fileno())
    temporary.replace(out)


def commit(
    out: Path, table: str, exported: Exported, dimension: int, *, publish: Callable[[], None],
    fingerprint: Callable[[], str],
) -> None:  # fmt: skip
    """Give an index that is complete its name, and its side-car too.

    Args:
        out: the export.
        table: its table.
        exported: what the side-car holds; its manifest's "hash" is the index's.
        dimension: d of the embeddings.
        publish: gives the index its name, at once.
        fingerprint: of what lies at `out` now.
    """
    waiting, side = pending(out, table, exported.manifest["hash"]), side_car(out, table)
    try:
        with replacing(waiting, like=side, called=side) as file:
            file.write(to_bytes(exported, dimension))
        # One at a time: the side-car that is renamed last is that of the last index. A database
        # goes on where an interrupt stops waiting for it, so there both have their names first.
        with locked(out.parent), signals_wait():
            publish()
            with contextlib.suppress(FileNotFoundError):  # a reader was faster
                waiting.replace(side)
    except BaseException:
        # It may have happened all the same; the side-car goes only where it surely has not.
        with contextlib.suppress(Exception):
            if fingerprint() == exported.manifest["hash"]:
                waiting.replace(side)
            else:
                remove(waiting)
        raise
    _sync(out.parent)
    with contextlib.suppress(Exception):
        now = fingerprint()
        _drop_dead(out, table, "" if now == exported.manifest["hash"] else now)


def _sync(folder: Path) -> None:
    """Renames reach the disk; some file systems cannot be asked for that."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
