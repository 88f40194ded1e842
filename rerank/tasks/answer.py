"""What a task answers with: facts for programs, text for people."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rerank.core.errors import RerankWarning


@dataclass(frozen=True, eq=False)
class Answer:
    """What a task did.

    Attributes:
        manifest: the facts, JSON values; what `--json` prints.
        text: the same for a person.
        warnings: what to look at, one sentence each.
        notes: how it went, one sentence each.
    """

    manifest: Mapping[str, Any]
    text: str
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


@contextmanager
def caught() -> Iterator[list[str]]:
    """What Python would have been warned about inside the block; complete at its end."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield said
    said += [str(item.message) for item in found if issubclass(item.category, RerankWarning)]
