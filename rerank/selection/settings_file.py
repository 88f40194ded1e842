"""The settings file that tuning writes: JSON that says what it is and carries its hash."""

from collections.abc import Mapping
from typing import Any

from rerank.io.files import sha256_of, to_json

SETTINGS = "rerank-settings/1"
# Keys that are about the file.
ABOUT = ("schema", "sha256")


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as the text of such a file."""
    head = {"schema": SETTINGS, "sha256": settings_hash(settings)}
    return to_json({**head, **settings}, indent=2) + "\n"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Hash of the content, whatever the order of its keys."""
    return sha256_of([to_json({k: settings[k] for k in sorted(settings) if k not in ABOUT})])
