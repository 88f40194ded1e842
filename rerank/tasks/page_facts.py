"""What a report says was done: with which files, with which settings, by which command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rerank.core import nouns
from rerank.core.shell import words as typed_words
from rerank.io import Reading, Results
from rerank.methods import engine
from rerank.tasks.read import Inputs

Facts: TypeAlias = tuple[tuple[str, str], ...]
# Settings with their usual values, which nobody gave.
_USUAL = {
    "metric": "cosine", "scores_are": "auto", "groups": "auto", "gate": True, "unscored": None,
    "pool": None, "scores": False,
}  # fmt: skip
_OWN_OPTIONS = ("tau", "rho", "k", "metric", "scores_are", "unscored", "pool")


def facts_of(found: Results, results: Path, gt: Path | None) -> Facts:
    """Of a result file, from its manifest."""
    manifest = found.manifest
    files = [(_role_words(role), _file_fact(entry)) for role, entry in manifest["inputs"].items()]
    return (
        *files,
        ("Ground truth", "" if gt is None else Path(gt).name),
        ("Result file", results.name),
        ("Method", str(manifest["settings"].get("method", ""))),
        ("Settings", _settings(manifest["settings"])),
        ("Re-ranked by", command_of(manifest, results)),
        ("It noted", _noted(manifest["fits"])),
    )


def _noted(fits: Mapping[str, Any]) -> str:
    """What the run said of each direction; once where it said the same of both."""
    said: dict[str, list[str]] = {}
    for name, fit in fits.items():
        for note in fit.get("notes", ()):
            said.setdefault(note, []).append(name)
    return "; ".join(
        note if len(names) == len(fits) else f"{names[0]}: {note}" for note, names in said.items()
    )


def facts_of_inputs(inputs: Inputs, gt: Path | None) -> Facts:
    """Of files that were read as they are."""
    named = [("texts", inputs.texts), ("videos", inputs.videos), ("sims", inputs.scores)]
    return (
        *(
            (_role_words(role), Path(found.source).name)
            for role, found in named
            if found is not None
        ),
        ("Ground truth", "" if gt is None else Path(gt).name),
    )


def _role_words(role: str) -> str:
    """A role in words: bank_texts -> Bank captions, where texts are called captions."""
    queries, items = nouns.sides()
    named = {"texts": queries, "videos": items, "sims": "matrix", "gt": "ground truth"}
    *bank, last = role.split("_")
    return " ".join([*bank, named.get(last, last)]).capitalize()


def _file_fact(entry: Mapping[str, Any]) -> str:
    name = Path(entry["path"]).name if "path" in entry else "an array"
    return name + (f", sha256 {entry['sha256'][:12]}" if "sha256" in entry else "")


def _settings(settings: Mapping[str, Any]) -> str:
    """What differs from the usual."""
    said = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in sorted(settings.items())
        if key not in ("method", "device") and value is not None and _USUAL.get(key) != value
    ]
    return ", ".join(said) or "defaults"


def command_of(manifest: Mapping[str, Any], results: Path) -> str:
    """The command that makes such a result file, from the folder it lies in; "" where none does."""
    words = ["rerank", "apply"]
    for role, entry in manifest["inputs"].items():
        if "path" not in entry:
            return ""
        # Of several models the role carries the number of the model.
        words += [f"--{role.partition(' ')[0].replace('_', '-')}", entry["path"]]
    settings = manifest["settings"]
    usual = engine.DEFAULT_FOR_SCORES if "sims" in manifest["inputs"] else (
        engine.DEFAULT_FOR_EMBEDDINGS
    )  # fmt: skip
    if settings.get("method", usual) != usual:
        words += ["--method", settings["method"]]
    for key in _OWN_OPTIONS:
        value = settings.get(key)
        if value is not None and value != _USUAL.get(key) and (key, value) != ("k", 10):
            words += [f"--{key.replace('_', '-')}", str(value)]
    words += [f"--{settings['groups']}"] if settings.get("groups") in _GROUPS else []
    said = {k: v for k, v in settings.get("reading", {}).items() if k not in _OWN_OPTIONS}
    words += Reading(**said).as_options()
    words += ["--no-gate"] if settings.get("gate") is False else []
    return typed_words([*words, "--out", results.name])


_GROUPS = ("one-to-one", "grouped")
