"""What to do about the scores of a bank alone, where every option counts for the scores too."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rerank import io
from rerank.core.errors import FormatError
from rerank.core.shell import words
from rerank.core.wording import either, label
from rerank.io import ScoreMatrix
from rerank.io.ids import is_list, read_ids
from rerank.io.opening import open_container

# Options that settle how one matrix is read, as they are typed and as they are called.
_TYPED = re.compile(
    r"(?:give )?((?:--(?:sims-rows|text-ids|video-ids|id-column|dataset) "
    r"(?:'[^']*'|[^\s,;]+)(?: (?=--))?)+)"
)
_CALLED = re.compile(
    r"(?:give )?((?:(?:sims_rows|query_ids|gallery_ids|id_column|dataset)="
    r"(?:\"[^\"]*\"|'[^']*'|\{[^}]*\})(?:, (?=query_ids|gallery_ids|sims_rows|id_column))?)+)"
)
_OPTIONS = {
    "dataset": "--dataset",
    "sims_rows": "--sims-rows",
    "nan": "--unscored",
    "inf": "--unscored",
}


def of_bank_alone(
    error: FormatError, bank: Path, sims: str, said: Mapping[str, Any]
) -> FormatError:
    """An error about the scores of a bank, with ways out that leave the scores as they are read.

    An option that settles how the bank is read would turn or rename the scores as well, so the
    bank is written first as it is meant.

    >>> found = FormatError('b.npz: is stored videos x texts; give sims_rows="videos"')
    >>> print(of_bank_alone(found, Path("b.npz"), "s.npz", {}))
    b.npz: is stored videos x texts; write it first, as that would count for the scores too: \
rerank.io.convert_scores('b.npz', 'b.scores.h5', sims_rows="videos"), and give b.scores.h5

    Args:
        error: what is wrong with the bank.
        bank: its file.
        sims: the file of the scores.
        said: what was said of both, as `read_scores` takes it.
    """
    text = str(error)
    leave = either("leave out --sims-rows", "leave out sims_rows=")
    if text.endswith(leave):
        command = _write(Path(sims), {"sims_rows": "videos"}, "")
        return FormatError(
            f"{text.removesuffix(leave)}write the scores first, as that counts for them too: "
            f"{command}, and give {_out(Path(sims))}; then {leave}"
        )
    pattern = either(_TYPED.pattern, _CALLED.pattern)
    first = re.search(pattern, text)
    if first is None:
        return error
    turned = said.get("sims_rows") == "videos"
    cause, _, start = text[: first.start()].rpartition("; ")
    rest = re.sub(pattern, lambda way: _write(bank, said, way[1]), text[first.start() :])
    after = f", and give {_out(bank)}"
    if turned:
        command = _write(Path(sims), {"sims_rows": "videos"}, "")
        after = f", and {command}; give {_out(bank)} and {_out(Path(sims))}, and {leave}"
    return FormatError(
        f"{cause}; {start}write it first, as that would count for the scores too: {rest}{after}"
    )


def without_video(
    video: str, path: Path, bank: ScoreMatrix, scores: ScoreMatrix, said: Mapping[str, Any]
) -> FormatError:
    """What to say of the scores of a bank without a column for a video of the scores.

    Where the videos are its rows it is turned, by a command that was tried.

    Args:
        video: the name that is missing.
        path: the file of the bank.
        bank: what was read from it.
        scores: those of the same videos.
        said: what was said of both, as `read_scores` takes it.
    """
    cause = f"{label('bank-sims')} {path}: has no column for {video!r}, a video of {scores.source}"
    if not set(scores.gallery_ids) <= set(bank.query_ids):
        return FormatError(f"{cause}; it holds bank texts x the same videos")
    cause = f"{cause}, and a row for each"
    if said.get("sims_rows") == "videos":
        way = either("leave out --sims-rows", "leave out sims_rows=")
        return of_bank_alone(FormatError(f"{cause}; {way}"), path, scores.source, said)
    turn, names = {"sims_rows": "videos"}, _names_of_sides(path, bank)
    for way, columns in ((turn, {}), ({**turn, "id_column": names}, names)):
        with suppress(FormatError):
            made = io.read_scores(path, **{**said, **way})
            if set(scores.gallery_ids) <= set(made.gallery_ids):
                typed = [words(["--id-column", f"{side}={name}"]) for side, name in columns.items()]
                called = [f"id_column={columns!r}"] if columns else []
                how = either(
                    " ".join(["--sims-rows videos", *typed]),
                    ", ".join(['sims_rows="videos"', *called]),
                )
                return of_bank_alone(FormatError(f"{cause}; give {how}"), path, scores.source, said)
    return FormatError(f"{cause}; write it the other way, bank texts x the same videos")


def _names_of_sides(path: Path, bank: ScoreMatrix) -> dict[str, str]:
    """Which lists in a file name the sides of a matrix that is stored the other way."""
    found: dict[str, str] = {}
    with open_container(path) as container:
        for name, item in container.fields.items():
            with suppress(FormatError):
                ids = read_ids(item) if is_list(item) else ()
                found |= {"texts": name} if ids == bank.gallery_ids else {}
                found |= {"videos": name} if ids == bank.query_ids else {}
    return found


def _write(path: Path, said: Mapping[str, Any], way: str) -> str:
    """How a file of scores is written as it is meant, typed or called."""
    given = {name: said[name] for name in _OPTIONS if said.get(name) not in (None, "texts", False)}
    head = words(["rerank", "convert", str(path), _out(path), "--what", "scores"])
    typed, called = [head], [repr(str(path)), repr(_out(path))]
    for name, value in given.items():
        number = name in ("nan", "inf")
        typed.append(words([_OPTIONS[name], name if number else value]))
        called.append(f"unscored=float({name!r})" if number else f"{name}={value!r}")
    return either(
        " ".join(filter(None, [*typed, way.strip()])),
        f"rerank.io.convert_scores({', '.join(filter(None, [*called, way]))})",
    )


def _out(path: Path) -> str:
    return str(path.with_suffix(".scores.h5"))
