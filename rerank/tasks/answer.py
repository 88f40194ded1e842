"""What a task answers with: facts for programs, text for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
