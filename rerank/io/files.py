"""Files as such: looked at before they are opened, replaced whole or not at all.

Nothing here knows what a file holds. Every exception of the operating system or of a library that
reads a format becomes one `FormatError` that names the file.

Hashes of content: of arrays and ids, so that the kind of file does not matter.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from rerank.core import memory
from rerank.core.errors import FormatError, RerankError
from rerank.core.exhausted import ran_out
from rerank.core.shell import word as typed_word
from rerank.io import cut
from rerank.io.foreign_kinds import ARROW, ARROW_STREAM, HEAD, HTML, POINTER, TAR, foreign_kind
from rerank.io.interrupts import signals_wait
from rerank.io.recipes import from_arrow

PathLike: TypeAlias = str | os.PathLike[str]

# Large enough that the Python loop does not show, small enough not to show in memory.
BLOCK_BYTES = 8 << 20

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def printable(text: str) -> str:
    r"""Text with everything that would act on a terminal escaped.

    >>> printable("a\x1b[31mb\u202ec")
    'a\\x1b[31mb\\u202ec'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(message: object, *, limit: int = 200) -> str:
    """A foreign message as one printable line of bounded length."""
    text = printable(" ".join(str(message).split()))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def named(items: Sequence[object], *, limit: int = 5) -> str:
    """The first few of a list, quoted, and how many more there are."""
    shown = ", ".join(one_line(repr(item), limit=80) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


@contextlib.contextmanager
def foreign(path: PathLike, expected: str) -> Iterator[None]:
    """Turns what a library raises on a bad file into one `FormatError` that names the file.

    Damaged files make the readers raise a dozen kinds of exception, so all of them are caught.
    Keep the body down to calls of the library, so that our own mistakes are not taken for a bad
    file.
    """
    try:
        yield
    except RerankError:
        raise
    except Exception as error:
        if ran_out(error):
            raise no_room(path) from error
        reason = one_line(error) or type(error).__name__
        raise FormatError(f"{path}: cannot be read as {expected}: {reason}") from error


def no_room(path: PathLike) -> FormatError:
    """The error of a file for which no memory is left."""
    return FormatError(f"{path}: does not fit into the memory that is left; free some")


def as_path(path: PathLike, what: str) -> Path:
    """A path, or an error in plain words for what is none."""
    if not isinstance(path, str | os.PathLike):
        raise RerankError(f"{what}: got {type(path).__name__}, expected the path of a file")
    return Path(path)


def regular_file(path: PathLike) -> Path:
    """The path, after looking: an existing, readable, ordinary file that is not empty.

    Raises:
        FormatError: missing, a directory, a device or pipe, empty, or not readable.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be opened ({one_line(error)})") from error
    if stat.S_ISDIR(status.st_mode):
        raise FormatError(f"{path}: is a directory; name the file inside it")
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"{path}: is not an ordinary file; copy its content into one")
    if status.st_size == 0:
        raise FormatError(f"{path}: is empty (0 bytes); write it again")
    if not os.access(path, os.R_OK):
        raise FormatError(f"{path}: is not readable by this user; change its permissions")
    return path


def safely(question: Callable[[], bool]) -> bool:
    """What a path answers; no where the system cannot say, as for a name that is too long."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def folder_of(path: PathLike) -> Path:
    """The folder in which a file really lies; links that lead in a circle stay as they are."""
    return Path(os.path.realpath(path)).parent


# First bytes of files that were packed, by what, and what unpacks them beside themselves.
PACKED = (
    (b"\x1f\x8b", "gzip", "gunzip -k", ".gz"), (b"BZh", "bzip2", "bunzip2 -k", ".bz2"),
    (b"\xfd7zXZ", "xz", "unxz -k", ".xz"), (b"\x28\xb5\x2f\xfd", "zstd", "unzstd", ".zst"),
)  # fmt: skip


def check_unpacked(path: Path, head: bytes) -> None:
    """Refuse a file that was packed, by its first bytes.

    Raises:
        FormatError: it was; the message says how to unpack it.
    """
    for magic, what, command, ending in PACKED:
        if head.startswith(magic):
            way = f"{command} {typed_word(path)}"
            if path.suffix.lower() != ending:
                # The programs ask for their ending; from a stream they take anything.
                out = path.with_name(f"{path.stem}.plain{path.suffix}")
                way = f"{command.partition(' ')[0]} < {typed_word(path)} > "
                way += typed_word(out)
            raise FormatError(f"{path}: is compressed by {what}; unpack it first: {way}")


def check_known(path: Path, found: str | None) -> None:
    """Refuse a page, a picture and the like, as `foreign_kind` calls it.

    Raises:
        FormatError: it is one.
    """
    if found == TAR:
        way = f"tar -xf {typed_word(path)}"
        raise FormatError(f"{path}: is {found}; unpack it and name the file in it: {way}")
    if found == HTML:
        raise FormatError(
            f"{path}: is a page of HTML, which holds nothing to read; if it was downloaded, get "
            "the file itself"
        )
    if found == POINTER:
        raise FormatError(
            f"{path}: is {found} and not the file itself; get that, in its repository: git lfs pull"
        )
    if found in (ARROW, ARROW_STREAM):
        way = from_arrow(path, stream=found == ARROW_STREAM)
        raise FormatError(f"{path}: is {found}; make it a table of parquet: {way}")
    if found is not None:
        raise FormatError(f"{path}: is {found}, which holds nothing to read; name another file")


def check_whole(path: Path, what: str) -> None:
    """Refuse an archive that begins like one, but whose end is missing.

    Raises:
        FormatError: it is cut short.
    """
    with foreign(path, what), path.open("rb") as stream:
        head = stream.read(4)
    if head == b"PK\x03\x04":
        raise FormatError(f"{path}: is {what} that was cut short; copy or write it again")


def read_text(path: PathLike) -> str:
    """The whole text of a UTF-8 file, or of UTF-16 that says so; a byte order mark is skipped.

    Raises:
        FormatError: see `regular_file`; or the bytes are not UTF-8.
    """
    path = regular_file(path)
    with foreign(path, "a text file"):
        raw = path.read_bytes()
    check_unpacked(path, raw[:HEAD])
    check_known(path, foreign_kind(raw[:HEAD]))
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FormatError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            # The standard library would silently keep the last one.
            raise FormatError(f"the key {named([key])} appears twice in one object")
        made[key] = value
    return made


def _no_constant(word: str) -> float:
    raise FormatError(f"{word} is not JSON")


# The parser of `parse_json`, for text of which a value is a part.
STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)


def parse_json(text: str, where: str) -> Any:  # noqa: ANN401  JSON is any of six types
    """JSON as Python objects; strict, which the standard library is not.

    Raises:
        FormatError: not JSON, a key given twice in one object, NaN or Infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except FormatError as error:
        raise FormatError(f"{where}: {error}; correct the file") from None
    except MemoryError as error:
        raise no_room(where) from error
    except RecursionError as error:
        raise FormatError(
            f"{where}: is JSON with lists or objects inside each other hundreds deep, which "
            "nothing that is read here has; look at what wrote it"
        ) from error
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: is not valid JSON: {one_line(error)}") from error
    except ValueError as error:  # what Python says of it is advice for programmers
        raise FormatError(
            f"{where}: has a whole number of more than {sys.get_int_max_str_digits():,} digits, "
            "which is no id, no score and no part of a vector; correct the file"
        ) from error


def read_json(path: PathLike) -> Any:  # noqa: ANN401  JSON is any of six types
    """The content of a JSON file; see `parse_json`.

    Raises:
        FormatError: more than memory holds, or see `parse_json`.
    """
    need, room = 2 * regular_file(path).stat().st_size, memory.budget()
    if need > room:
        raise FormatError(
            f"{path}: its text takes {need:,} bytes of memory, more than the {room:,} that this "
            "run may use; is it the right file?"
        )
    return parse_json(read_text(path), str(path))


def cannot_write(path: Path, error: OSError) -> FormatError:
    """The error of an output that the system does not take."""
    if error.errno in _NO_ROOM:
        return FormatError(
            f"{path}: cannot be written: no room on this disk (or a size limit is reached); "
            "nothing was changed; free some space or choose another place"
        )
    # The system names the temporary file, which nobody asked for.
    reason = one_line(error.strerror or error)
    return FormatError(f"{path}: cannot be written: {reason}; choose another place")


@contextlib.contextmanager
def replacing(
    path: str | Path, *, like: Path | None = None, called: Path | None = None
) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and leaves no trace else.

    It has the permissions of another one, `like`, where that is there, and is `called` in errors
    by another name, where it has one.
    """
    placed = atomic_path(Path(path), like=like, called=called)
    with placed as temporary, temporary.open("wb") as file:
        yield file


@contextlib.contextmanager
def atomic_path(
    path: PathLike, *, like: Path | None = None, called: Path | None = None
) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of `path` when the body succeeds.

    At every moment `path` is the old file or the whole new one. The body writes the temporary
    file, which then reaches the disk before it is renamed. After any exception, an interrupt from
    the keyboard included, the temporary file is gone and the old file untouched. A symbolic link
    stays one: the file it points to is replaced.

    Args:
        path: where the file shall lie in the end.
        like: a file whose permissions it gets, where that is there; `path` by default.
        called: its name in errors; `path` by default.

    Yields:
        The temporary path, an empty file of the same suffix.

    Raises:
        FormatError: the folder is missing or not writable, `path` is not an ordinary file, or the
            disk is full.
    """
    path = Path(path)
    target = _target_of(path)
    remove_dead(target)
    temporary = _temporary_of(target)
    try:
        with signals_wait():
            created(temporary, target if like is None else like)
            cut.temporary(temporary, there=True)
        yield temporary
        with temporary.open("rb+") as written:
            sync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        remove(temporary)
        raise cannot_write(path if called is None else called, error) from error
    except BaseException:
        remove(temporary)
        raise
    finally:
        cut.temporary(temporary, there=False)
    # The rename itself; some file systems cannot sync a folder, and then it is not asked for.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_place(path: PathLike | None) -> None:
    """Refuse a place where `atomic_path` could write nothing, before the work for it is done.

    >>> check_place(None), check_place("data_samples/new.h5")
    (None, None)
    >>> check_place("data_samples")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: data_samples: is a directory; choose another name for the output

    Raises:
        FormatError: it is one.
    """
    if path is None:
        return
    path = Path(path)
    target = _target_of(path)
    temporary = _temporary_of(target)
    remove_dead(target)
    try:
        with signals_wait():
            try:
                created(temporary, target)
            finally:
                remove(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error


def _target_of(path: Path) -> Path:
    """The file behind links that shall be written."""
    try:
        if _is_stream(path):
            raise FormatError(
                f"{path}: is a stream and no file, and results are renamed into place; choose a "
                "name for the output"
            )
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise FormatError(f"{path}: is a circle of links; choose another name for the output")
        if target.exists() and not target.is_file():
            kind = "a directory" if target.is_dir() else "not an ordinary file"
            raise FormatError(f"{path}: is {kind}; choose another name for the output")
        if not target.parent.is_dir():
            raise FormatError(
                f"{path}: the folder {str(target.parent)!r} does not exist; create it or choose "
                "another place"
            )
    except (OSError, ValueError) as error:
        if isinstance(error, RerankError):
            raise
        raise FormatError(f"{path}: cannot be written: {one_line(error)}") from error
    return target


def _temporary_of(target: Path) -> Path:
    # Libraries look at the ending; one as long as a sentence is none.
    return temporary_beside(target, target.suffix if len(target.suffix) < 20 else "")


def _is_stream(path: Path) -> bool:
    """Whether a path names what a program was given, such as /dev/stdout, and not a place."""
    where = os.path.abspath(path)  # noqa: PTH100  links, such as these, are not followed
    streams = ("/dev/stdin", "/dev/stdout", "/dev/stderr")
    return where in streams or where.startswith(("/dev/fd/", "/proc/"))


def created(temporary: Path, target: Path) -> None:
    """Make an empty file that will take the place of another, so that nothing else is taken.

    A replaced file keeps its permissions, and nobody else can read the first byte; a new one has
    those that the umask decides.
    """
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    handle = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
    finally:
        os.close(handle)


def remove(temporary: Path) -> None:
    """Remove a temporary file or folder, if it is there; an interrupt waits until it is gone."""
    with signals_wait():
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def beside(path: Path, ending: str) -> Path:
    """The file whose name is that of another and an ending.

    >>> beside(Path("a/x.faiss"), ".npz").name
    'x.faiss.npz'

    Raises:
        FormatError: a folder without a name, such as `.`
    """
    if not path.name:
        raise FormatError(f"{path}: is a directory; name a file inside it")
    return path.with_name(path.name + ending)


def sync(handle: int) -> None:
    """Wait until the disk has it; where the file system cannot say, it is taken on trust."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS):
            raise


def temporary_beside(target: Path, suffix: str = "") -> Path:
    """A name beside a file that nothing has, and that says whose it is (see `remove_dead`)."""
    return target.with_name(f".{_short(target)}.{owner()}-{secrets.token_hex(6)}.tmp{suffix}")


def _short(target: Path) -> str:
    """The start of a name; file systems count bytes, and there have to be some for the rest."""
    return target.stem.encode("utf-8", "ignore")[:80].decode("utf-8", "ignore")


def owner() -> str:
    """This process, as it stands in the names of its temporary files: machine and number."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return f"{machine}-{os.getpid()}"


def is_of_the_dead(name: str) -> bool:
    """Whether an owner (see `owner`) is a process of this machine that is no more."""
    machine, _, number = name.partition("-")
    if machine != owner().partition("-")[0] or not number.isdecimal():
        return False
    return not _is_alive(int(number))


def remove_dead(target: Path) -> None:
    """Remove what runs that were killed left beside a file; those of other machines stay."""
    left = re.compile(r"\.(?P<stem>.*)\.(?P<owner>[0-9a-f]{8}-\d+)-[0-9a-f]{12}\.tmp.*", re.DOTALL)
    with contextlib.suppress(OSError):
        for beside in target.parent.iterdir():
            found = left.fullmatch(beside.name)
            if found is None or found["stem"] != _short(target):
                continue
            if is_of_the_dead(found["owner"]):
                with contextlib.suppress(OSError):
                    shutil.rmtree(beside) if beside.is_dir() else beside.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """A lock on a folder, which ends with the process; nothing is written for it.

    Args:
        folder: which; processes that ask for the same one wait for each other.
        shared: whether others may share it.
        wait: whether to wait for those who have it.

    Yields:
        Whether it was had; True where the system has no such locks.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield True
        return
    try:
        had = True
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            had = error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        yield had
    finally:
        os.close(handle)


def write_text(path: PathLike, pieces: Iterable[str]) -> None:
    """Write UTF-8 text whole or not at all; lines end in a newline on every system."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(pieces)


def write_json(path: PathLike, value: object) -> None:
    """Write a value as indented JSON with the keys in their order, whole or not at all.

    Raises:
        FormatError: not writable.
        RerankError: the value holds NaN, an infinity or something JSON has no word for.
    """
    write_text(path, [to_json(value, indent=2), "\n"])


def to_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON: no NaN, no infinities, text as it is.

    Raises:
        RerankError: the value cannot be written as JSON.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
        # Names of files that are not UTF-8 come back from these escapes as they were.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise RerankError(f"cannot be written as JSON: {one_line(error)}") from error


def sha256_of(content: np.ndarray | Sequence[str]) -> str:
    """Hash of the content of an array or of a list of ids, not of the file it lies in.

    An array counts with its shape and its type of number, read row by row in little-endian order,
    so that memory layout and byte order do not matter; float16 counts as the float32 it is
    widened to. A list counts with the length of every entry.

    Returns:
        64 hexadecimal digits.
    """
    if not isinstance(content, np.ndarray):
        digest = hashlib.sha256(f"text {len(content)}\n".encode())
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            whole = "".join(part)
            joined = whole.encode("utf-8")
            # Letters are bytes where there are as many of them.
            sized = part if len(joined) == len(whole) else [item.encode("utf-8") for item in part]
            digest.update(" ".join(map(str, map(len, sized))).encode() + b"\n")
            digest.update(joined)
        return digest.hexdigest()
    hashed = ArrayHash(content.dtype, content.shape)
    hashed.update(content)
    return hashed.hexdigest()


class ArrayHash:
    """`sha256_of` an array that arrives in blocks of rows."""

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        widened = np.dtype(np.float32) if dtype == np.float16 else dtype
        self._dtype = widened.newbyteorder("<")
        self._digest = hashlib.sha256(f"{self._dtype.str} {tuple(shape)}\n".encode())

    def update(self, rows: np.ndarray) -> None:
        """The next rows."""
        array = rows.reshape(1) if rows.ndim == 0 else rows
        row_bytes = max(1, self._dtype.itemsize * int(np.prod(array.shape[1:])))
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, len(array), step):
            block = np.ascontiguousarray(array[start : start + step], dtype=self._dtype)
            self._digest.update(block.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._digest.hexdigest()


def sha256_of_file(path: PathLike) -> str:
    """Hash of the bytes of a file; 64 hexadecimal digits."""
    path = regular_file(path)
    with foreign(path, "a file"), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
