"""How many parts a pickled object has, read from its opcodes: nothing is made, nothing runs.

Parts that are shared are stored once and visited every time, so a file of five kilobytes can hold
more than any program can walk through. The opcodes say what each part is put together from; every
container counts one and what its parts count.
"""

import pickletools
from dataclasses import dataclass
from typing import Any, NamedTuple

# What hands a part on as it is.
_KEEPS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_TAKES = ("GET", "BINGET", "LONG_BINGET")
_EMPTY = ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE")
# What fills the object below its arguments, which stays the same one.
_FILLS = ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BUILD")


@dataclass(eq=False)
class _Part:
    """One object on the stack, with the containers that are met on a walk through it."""

    visits: int = 0
    depth: int = 0


class Walk(NamedTuple):
    """What a walk through the parts of a pickle meets.

    Attributes:
        visits: how many containers.
        depth: how many of them lie inside each other, at most.
    """

    visits: int = 0
    depth: int = 0


def walk(content: bytes) -> Walk:
    """Containers that are met on a walk through what this pickle stands for.

    None where it cannot be told; whoever reads it then says why.

    >>> import pickle
    >>> shared = []
    >>> walk(pickle.dumps([shared, shared, {"a": 1}]))
    Walk(visits=4, depth=2)
    >>> for _ in range(9):
    ...     shared = [shared] * 100
    >>> walk(pickle.dumps(shared)).visits > 10**17
    True
    """
    stack: list[Any] = []
    memo: dict[int, _Part] = {}
    mark = pickletools.markobject
    try:
        for code, given, _ in pickletools.genops(content):
            if code.name == "STOP":
                return Walk(stack[-1].visits, stack[-1].depth)
            if code.name in _KEEPS:
                memo[len(memo) if given is None else int(str(given))] = stack[-1]
            elif code.name in _TAKES:
                stack.append(memo[int(str(given))])
            elif code.name == "MARK":
                stack.append(mark)
            else:
                taken = _taken(stack, code.stack_before)
                inside = sum(part.visits for part in taken)
                if code.name in _FILLS:
                    filled = taken[0]
                    deep = (part.depth for part in taken[1:])
                    filled.visits = inside
                    filled.depth = max(filled.depth, 1 + max(deep, default=0))
                    stack.append(filled)
                else:
                    holds = bool(taken) or mark in code.stack_before or code.name in _EMPTY
                    deep = max((part.depth for part in taken), default=0) + holds
                    stack.extend(_Part(inside + holds, deep) for _ in code.stack_after)
    except (ValueError, LookupError, AttributeError, TypeError):
        pass
    return Walk()


def _taken(stack: list[Any], wanted: list[Any]) -> list[_Part]:
    """What an opcode takes from the stack, in its order."""
    if pickletools.stackslice in wanted:
        at = len(stack) - 1 - stack[::-1].index(pickletools.markobject)
        below = wanted.index(pickletools.markobject)
        taken = stack[at - below : at] + stack[at + 1 :]
        del stack[at - below :]
        return taken
    count = len(wanted)
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken
