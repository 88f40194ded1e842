"""What readers call an option: `--tau` on the command line, `tau=` in Python."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_typed: ContextVar[bool] = ContextVar("rerank_typed", default=False)
# Flags that are a value of an argument, or an argument of another name.
_ARGUMENTS = {
    "one-to-one": 'groups="one-to-one"',
    "grouped": 'groups="grouped"',
    "no-gate": "gate=False",
    "allow-unjudged": "allow_unjudged=True",
    "keep-bank": "keep_bank=True",
    "replace": "replace=True",
}


def option(name: str, value: str | float | None = None) -> str:
    """An option, or one with its value, as the reader writes it.

    >>> option("tau"), option("rho", 1), option("one-to-one"), option("scores-are", "distances")
    ('tau=', 'rho=1', 'groups="one-to-one"', 'scores_are="distances"')
    >>> with typed():
    ...     option("tau"), option("rho", 1), option("one-to-one")
    ('--tau', '--rho 1', '--one-to-one')
    """
    if _typed.get():
        return f"--{name}" if value is None else f"--{name} {value}"
    if name in _ARGUMENTS:
        return _ARGUMENTS[name]
    said = "" if value is None else f'"{value}"' if isinstance(value, str) else f"{value}"
    return f"{name.replace('-', '_')}={said}"


def label(name: str) -> str:
    """An option at the head of an error about it.

    >>> label("query-side")
    'query_side'
    """
    return f"--{name}" if _typed.get() else name.replace("-", "_")


def either(command: str, call: str) -> str:
    """What to do, where a command and a call have not the same words.

    >>> either("`rerank update --remove`", "model.remove(ids)")
    'model.remove(ids)'
    """
    return command if _typed.get() else call


def with_memory(size: str) -> str:
    """How to let a run use more memory.

    >>> with_memory("8GB")
    'work inside `with rerank.core.memory.limit("8GB"):`'
    """
    return either(
        f"give --memory {size}", f'work inside `with rerank.core.memory.limit("{size}"):`'
    )


@contextmanager
def typed() -> Iterator[None]:
    """Whoever reads what is said inside the block types commands."""
    token = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(token)
