"""`rerank compare --cost`: the memory of a method is that of a process of its own."""

import os
from dataclasses import replace

import numpy as np

import rerank
from rerank.tasks.costs import with_memory


def compared(method):
    """A small comparison, whose memory is the number of the process."""
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(30, 8))
    found = rerank.compare(texts, texts + rng.normal(size=(30, 8)), methods=method, resamples=5)
    tables = [
        replace(
            table,
            raw=replace(table.raw, peak_bytes=os.getpid()),
            entries=tuple(replace(entry, peak_bytes=os.getpid()) for entry in table.entries),
        )
        for table in found.tables
    ]
    return replace(found, tables=tuple(tables))


def ended(method):
    """A process that does not come to its end."""
    os._exit(9)


def test_every_method_is_measured_in_a_process_of_its_own():
    here = compared("csls,is")
    found = with_memory(here, here.methods, compared)
    seen = {e.method: e.peak_bytes for table in found.tables for e in table.entries}
    assert set(seen) == {"csls", "is"} and len({*seen.values(), os.getpid()}) == 3
    assert {table.raw.peak_bytes for table in found.tables} == {seen[here.methods[0]]}
    figures = [[e.figures for e in table.entries] for table in (*here.tables, *found.tables)]
    assert figures[: len(here.tables)] == figures[len(here.tables) :]


def test_what_does_not_come_to_its_end_has_no_figure():
    here = compared("csls")
    found = with_memory(here, here.methods, ended)
    assert {e.peak_bytes for table in found.tables for e in (table.raw, *table.entries)} == {None}
