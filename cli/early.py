"""What is wrong with a command's options, said before anything heavy is loaded."""

import contextlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

# Options of files of arrays, of other files, and of ground truths, that are read.
_ARRAYS = ("videos", "texts", "sims", "bank_videos", "bank_texts", "bank_sims")
_FILES = ("model", "heads", "settings", "bias", "captions", "query_groups", "text_ids", "video_ids",
          "results", "remove")  # fmt: skip
# What stands in the place of such a file.
_NO_FILES = ("ids", "rows")
_TRUTHS = ("gt", "bank_gt", "val_gt", "test_gt")

# What is converted, as what it is looked at.
_CONVERTED = {"embeddings": "videos", "scores": "sims", "ground-truth": "gt"}

# What a command writes, as `kind_of_file` calls it.
_WRITTEN = {
    "apply_command": "rerank-results/1", "tune_command": "rerank-settings/1",
    "fit_command": "rerank/fitted",
}  # fmt: skip

# Whose output is a folder, which is made.
_FOLDERS = ("demo_command",)


def look_early(command: str, given: Mapping[str, Any]) -> None:
    """Say what is wrong whatever the data are, then with files at first sight.

    Args:
        command: the name of the command's function.
        given: its options, by their names.

    Raises:
        RerankError: settings, inputs or an output that cannot be.
    """
    look_at_settings(given)
    look_at_files(given)
    out, report = given.get("out"), given.get("report")
    if isinstance(out, Path) and isinstance(report, Path) and {out, report} & _around(out, report):
        return  # one in the other, which is said with both names
    look_at_output(command, out)
    look_at_output("", given.get("target"))
    look_at_output("", report)


def _around(*paths: Path) -> set[Path]:
    return {folder for path in paths for folder in path.parents}


def look_at_files(given: Mapping[str, Any]) -> None:
    """Say what is wrong with an input at first sight, before anything heavy is loaded."""
    from rerank.io.files import regular_file
    from rerank.io.first_look import look, look_at_sides, look_at_truth
    from rerank.io.reading import Reading

    reading = Reading(**{each.name: given[each.name] for each in fields(Reading)
                         if each.name in given})  # fmt: skip
    if isinstance(source := given.get("source"), Path) and given.get("what") in _CONVERTED:
        role = _CONVERTED[given["what"]]
        given = {**given, given.get("side") or role if role == "videos" else role: source}
    elif isinstance(source, Path):
        given = {**given, "results": source}
    for role in (*_ARRAYS, *_FILES, *_TRUTHS):
        paths = given.get(role)
        for path in paths if isinstance(paths, list) else [paths]:
            path = _as_path(path)
            if path is None:
                continue
            if role in _FILES:
                regular_file(path)
            elif role in _TRUTHS:
                look_at_truth(path)
            else:
                look(path, role, reading)
    for videos, texts in zip(*(_listed(given.get(x)) for x in ("videos", "texts")), strict=False):
        if isinstance(videos, Path) and isinstance(texts, Path):
            look_at_sides(videos, texts, reading)


def look_at_settings(given: Mapping[str, Any]) -> None:
    """Say what is wrong with a setting whatever the data are."""
    from rerank.core import memory
    from rerank.methods.as_typed import check_typed

    tau = given.get("tau")  # a number where it is the temperature of a loss
    check_typed(
        methods=given.get("methods") or given.get("method"), rho=given.get("rho"),
        k=given.get("k"), tau=tau if isinstance(tau, str) else None,
    )  # fmt: skip
    if given.get("memory") is not None:
        memory.parse(given["memory"])


def _listed(paths: Any) -> list[Any]:  # noqa: ANN401  a path, several, or none
    return paths if isinstance(paths, list) else [paths]


def _as_path(given: Any) -> Path | None:  # noqa: ANN401  whatever an option takes
    """The file that an option names; None for none, and for a word or a number in its place."""
    if given is None or isinstance(given, bool) or str(given) in _NO_FILES:
        return None
    if isinstance(given, str):
        with contextlib.suppress(ValueError):  # `rerank plan` takes numbers as well
            return None if float(given) else None
    return Path(given) if isinstance(given, str | Path) else None


def look_at_output(command: str, out: Any) -> None:  # noqa: ANN401  whatever an option takes
    """Say at once that an output is called as what is not written, or has no place."""
    from rerank.io.files import check_place, safely
    from rerank.io.outputs import check_ending

    if not isinstance(out, Path) or safely(out.exists):
        return  # what is there is said with the inputs
    if command in _WRITTEN:
        check_ending(out, f"--out {out}", _WRITTEN[command])
    if command not in _FOLDERS:
        check_place(out)
