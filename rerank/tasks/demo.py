"""`rerank demo`: the sample data in a folder, and the commands to run on it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from rerank.core.errors import RerankError
from rerank.io.files import atomic_path

FILES = ("texts.h5", "videos.h5", "gt.json", "bank_texts.h5", "bank_videos.h5", "bank_gt.json")
# What the commands add.
MADE = ("reranked.h5", "report.html")
Command: TypeAlias = tuple[str, ...]


@contextmanager
def samples() -> Iterator[Path]:
    """The folder of the sample data: of the installed package, or of a checkout."""
    try:
        found = resources.files("rerank.samples")
    except ModuleNotFoundError:
        yield Path(__file__).resolve().parents[2] / "data_samples"
        return
    with resources.as_file(found) as folder:
        yield folder


@contextmanager
def all_or_none(folder: Path) -> Iterator[None]:
    """Take back what the demo wrote to a new or empty folder, and the folder, if it fails inside.

    Raises:
        RerankError: a folder that holds something, or a place that is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise RerankError(f"{folder}: is a file, expected a new folder; name another")
    if folder.is_dir() and any(folder.iterdir()):
        raise RerankError(
            f"{folder}: is not empty, and nothing is overwritten; name another, such as "
            f"`rerank demo {_free(folder)}`"
        )
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        for name in (*FILES, *MADE):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else put something there
            for each in new:
                each.rmdir()
        raise


def write_samples(folder: Path) -> tuple[Path, ...]:
    """Write the sample data to a folder, which is made.

    Raises:
        RerankError: a place that cannot be one, or takes no files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RerankError(f"{folder}: cannot be made ({error.strerror}); name another") from error
    with samples() as source:
        for name in FILES:
            with atomic_path(folder / name) as temporary:
                Path(temporary).write_bytes((source / name).read_bytes())
    return tuple(folder / name for name in FILES)


def _free(folder: Path) -> Path:
    """A name beside it that is not taken; of `.` or `..` inside."""
    near = folder if folder.name.strip(".") else folder / "demo"
    return next(
        found for n in range(2, 10_000)
        if not (found := near.with_name(f"{near.name}-{n}")).exists()
    )  # fmt: skip


def commands(folder: Path) -> tuple[Command, ...]:
    """What the demo runs: a look at the files, the re-ranking, its report, other methods.

    >>> [command[0] for command in commands(Path("demo"))]
    ['inspect', 'apply', 'eval', 'compare']
    """
    inputs = ("--texts", str(folder / "texts.h5"), "--videos", str(folder / "videos.h5"))
    out, truth = str(folder / "reranked.h5"), ("--gt", str(folder / "gt.json"))
    return (
        ("inspect", *inputs),
        ("apply", *inputs, "--out", out),
        ("eval", "--results", out, *truth, "--report", str(folder / "report.html")),
        ("compare", *inputs, *truth, "--methods", "sinkhorn,csls,is"),
    )
