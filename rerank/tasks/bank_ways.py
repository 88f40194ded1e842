"""What to do about the scores of a bank alone, where every option counts for the scores too."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerank.core.errors import FormatError
from rerank.core.shell import words
from rerank.core.wording import either

# Options that settle how one matrix is read, as they are typed and as they are called.
_TYPED = re.compile(
    r"(?:give )?((?:--(?:sims-rows|text-ids|video-ids|id-column|dataset) "
    r"(?:'[^']*'|[^\s,;]+)(?: (?=--))?)+)"
)
_CALLED = re.compile(
    r"(?:give )?((?:(?:sims_rows|query_ids|gallery_ids|id_column|dataset)="
    r"(?:\"[^\"]*\"|'[^']*'|\{[^}]*\})(?:, (?=query_ids|gallery_ids|sims_rows|id_column))?)+)"
)
_OPTIONS = {"dataset": "--dataset", "sims_rows": "--sims-rows", "nan": "--unscored"}


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


def _write(path: Path, said: Mapping[str, Any], way: str) -> str:
    """How a file of scores is written as it is meant, typed or called."""
    given = {name: said[name] for name in _OPTIONS if said.get(name) not in (None, "texts", False)}
    head = words(["rerank", "convert", str(path), _out(path), "--what", "scores"])
    typed, called = [head], [repr(str(path)), repr(_out(path))]
    for name, value in given.items():
        nan = name == "nan"
        typed.append(words([_OPTIONS[name], "nan" if nan else value]))
        called.append("unscored=float('nan')" if nan else f"{name}={value!r}")
    return either(
        " ".join(filter(None, [*typed, way.strip()])),
        f"rerank.io.convert_scores({', '.join(filter(None, [*called, way]))})",
    )


def _out(path: Path) -> str:
    return str(path.with_suffix(".scores.h5"))
