"""The settings file of `rerank tune`, read strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from rerank.core.errors import FormatError, RerankError
from rerank.core.typed import fits, word_of
from rerank.io.files import read_json
from rerank.methods.engine import DEFAULT_FOR_EMBEDDINGS
from rerank.methods.registry import SHARED_SETTINGS, cards_of
from rerank.selection.settings_file import ABOUT, SETTINGS, settings_hash


def read_settings(path: Path) -> dict[str, Any]:
    """Settings as `rerank tune` writes them, or as one writes them by hand.

    A JSON object of `method` and of fields of its stages; keys that begin with an underscore are
    for people. A file with a schema must match its hash.

    Raises:
        FormatError: no such object, a key given twice, NaN, a value of another type, an unknown
            method, or a file that was edited.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise FormatError(
            f"{path}: got a JSON {type(found).__name__}, expected an object of settings such as "
            '{"method": "sinkhorn", "tau": 0.05}'
        )
    if "schema" in found or "sha256" in found:
        if found.get("schema") != SETTINGS:
            raise FormatError(
                f"{path}: is of the schema {found.get('schema')!r}, expected {SETTINGS!r}, as "
                "rerank tune writes it"
            )
        try:
            made = settings_hash(found)
        except RerankError:  # 1e999
            raise FormatError(f"{path}: holds a number that is too large; correct it") from None
        if found.get("sha256") != made:
            raise FormatError(
                f"{path}: does not match its hash, the file is damaged or was edited; tune again, "
                "or take out schema and sha256 to make it your own"
            )
    settings = {k: v for k, v in found.items() if k not in ABOUT and not k.startswith("_")}
    try:
        _check(settings)
    except RerankError as error:
        raise FormatError(f"{path}: {error}") from None
    return settings


def settings_over(path: Path | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a file, if there is one, with those that were given over them."""
    return {**({} if path is None else read_settings(path)), **(given or {})}


def _check(settings: Mapping[str, Any]) -> None:
    """Every setting is one of the method and of its type.

    Raises:
        RerankError: it is not.
    """
    method = settings.get("method")
    if method is not None and not isinstance(method, str):
        raise RerankError(f"method: got {method!r}, expected a name of `rerank methods`")
    cards = cards_of(DEFAULT_FOR_EMBEDDINGS if method is None else method)
    kinds: dict[str, Any] = {}
    for card in cards:
        hints = get_type_hints(card.load())
        kinds |= {setting.name: hints[setting.name] for setting in card.settings}
    for name, value in settings.items():
        if name == "method" or value is None:
            continue
        if name not in kinds and name not in SHARED_SETTINGS:
            raise RerankError(
                f"unknown setting {name!r}, expected of: method, {', '.join(sorted(kinds))}"
            )
        kind = kinds.get(name, float)
        if not fits(value, kind):
            raise RerankError(f"{name}: got {value!r}, expected {word_of(kind)}")
