"""Whether a value from a file is of a type, and what to call the type in a message."""

import math
from typing import Any, Literal, Union, get_args, get_origin


def fits(value: object, kind: Any) -> bool:  # noqa: ANN401  a type or a form of typing
    """Whether a value, such as one of a JSON file, is of a type; whole numbers count as numbers.

    >>> fits(3, float | Literal["auto"]), fits("auto", float | Literal["auto"]), fits("3", float)
    (True, True, False)
    """
    parts = get_args(kind)
    origin = get_origin(kind)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(parts) and all(
            fits(*each) for each in zip(value, parts, strict=True)
        )  # fmt: skip
    if origin is Literal:
        return value in parts
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if parts and (origin is Union or not isinstance(kind, type)):
        return any(fits(value, part) for part in parts)
    if kind is float:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (math.isfinite(value))
        )
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def word_of(kind: Any) -> str:  # noqa: ANN401  a type or a form of typing
    """A type in words.

    >>> word_of(float | Literal["auto"])
    "a finite number or 'auto'"
    """
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))}"
    if get_origin(kind) is Literal and len(get_args(kind)) == 1:
        return repr(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is dict:
        return "an object of settings"
    if get_args(kind):
        return " or ".join(word_of(part) for part in get_args(kind))
    words = {
        int: "a whole number", float: "a finite number", bool: "true or false", str: "text",
        type(None): "nothing",
    }  # fmt: skip
    return words.get(kind, str(kind))
