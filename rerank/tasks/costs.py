"""The memory that each method of a comparison takes, each measured in a process of its own.

In one process what a method frees serves the next one, which then seems to need nothing.
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TypeAlias

from rerank.core.words import Label, Name
from rerank.metrics.tables import Comparison, Entry

# Bytes by method, label and direction; None where they cannot be measured.
Peaks: TypeAlias = dict[tuple[str, Label, Name], int | None]


def with_memory(
    found: Comparison, methods: Sequence[str], again: Callable[[str], Comparison]
) -> Comparison:
    """The same comparison with the memory of every method, measured alone.

    Args:
        found: the comparison.
        methods: its methods, but for the raw scores.
        again: compares one of them; picklable.
    """
    peaks: Peaks = {}
    for method in methods:
        # The raw scores are those of the first process.
        peaks = {**_alone(method, again), **peaks}

    def filled(entry: Entry) -> Entry:
        return replace(entry, peak_bytes=peaks.get(_key(entry)))

    tables = [
        replace(t, raw=filled(t.raw), entries=tuple(map(filled, t.entries))) for t in found.tables
    ]
    return replace(found, tables=tuple(tables))


def _key(entry: Entry) -> tuple[str, Label, Name]:
    return entry.method, entry.label, entry.direction


def _alone(method: str, again: Callable[[str], Comparison]) -> Peaks:
    """What one method takes; nothing where its process did not come to its end."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(sender, method, again), daemon=True)
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return {}
    finally:
        child.terminate()
        child.join()


def _measure(sender: Connection, method: str, again: Callable[[str], Comparison]) -> None:
    # The parent is interrupted too, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tables = again(method).tables
    sender.send(
        {
            _key(entry): entry.peak_bytes
            for table in tables
            for entry in (table.raw, *table.entries)
            if entry.method in (method, "none")
        }
    )
