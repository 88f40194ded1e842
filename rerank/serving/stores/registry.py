"""Stores by name: where folded vectors can go. One file in this folder each.

A store of another package is declared the same way, `@rerank.store("name", help=...)`, in a module
that `RERANK_PLUGINS` names; see `rerank.serving.stores.contract` for what it must do.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rerank.core import words
from rerank.core.errors import RerankError
from rerank.core.registry import Registry, Setting


@dataclass(frozen=True)
class StoreFacts:
    """What is known of a store before its file is imported.

    Attributes:
        kind: "file" or "folder" for what is written, "database" for what has tables.
        package: what pip installs for it, or "".
        effort: what its searches call their effort, or "" where they are exact.
        order: place in lists.
    """

    kind: Literal["file", "folder", "database"] = "file"
    package: str = ""
    effort: str = ""
    order: int = 100


STORES: Registry[StoreFacts] = Registry("store", "rerank.serving.stores", StoreFacts)
store = STORES.declare


def make_store(name: str, **settings: Any) -> Any:  # noqa: ANN401  a Store
    """A store with these settings; those that are None keep their defaults.

    Raises:
        RerankError: no such store, a setting that it has not, or a value that it does not know.
    """
    card = STORES.find(name)
    known = {setting.name: setting for setting in card.settings}
    given = {key: value for key, value in settings.items() if value is not None}
    for key, value in given.items():
        if key not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise RerankError(f"--{key}: store {card.name!r} has no such setting; {has}")
        allowed = choices(known[key])
        if allowed and value not in allowed:
            raise RerankError(f"--{key}: got {value!r}, expected one of {', '.join(allowed)}")
    return card.load()(**given)


def choices(setting: Setting) -> tuple[str, ...]:
    """The values of a setting of type Literal[...] or a list of `rerank.core.words`, or ()."""
    if not setting.kind.startswith("Literal["):
        return words.words_of(getattr(words, setting.kind, None))
    node = ast.parse(setting.kind, mode="eval").body
    assert isinstance(node, ast.Subscript)
    found = ast.literal_eval(node.slice)
    return tuple(map(str, found if isinstance(found, tuple) else (found,)))


def all_choices(setting: str) -> Mapping[str, tuple[str, ...]]:
    """For every store that has a setting of this name the values that it can have."""
    return {
        name: choices(found)
        for name, card in STORES.cards().items()
        for found in card.settings
        if found.name == setting
    }
