"""Matrices of one file that are called by numbers: they may be parts of one, such as batches."""

import re
from collections.abc import Mapping
from pathlib import Path

from rerank.io.field import Field

# What arrays are called by the numbers of their rows; numpy says arr_0.
NUMBER = re.compile(r"(?:arr_)?(0|[1-9][0-9]{0,9})")


def are_parts(path: Path, fields: Mapping[str, Field]) -> bool:
    """Whether the arrays of an npz are matrices of one width, called 0, 1, ... without a gap."""
    found = [NUMBER.fullmatch(name) for name in fields]
    numbers = sorted(int(match[1]) for match in found if match is not None)
    counted = len(numbers) == len(fields) > 1 and numbers == list(range(len(numbers)))
    widths = {field.shape[1:] for field in fields.values() if len(field.shape) == 2}
    matrices = all(len(field.shape) == 2 for field in fields.values())
    return path.suffix == ".npz" and counted and matrices and len(widths) == 1
