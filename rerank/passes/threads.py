"""A few threads for the CPU's kernels, and how many of its own torch may use beside them.

torch's second thread waits for more work in a busy loop and takes the core that ours needs. So
they take turns: where ours run, torch has one thread, and a panel is computed and used by one.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from threading import Event
from typing import Any, TypeVar

import torch

# Bytes of all panels that are computed at the same time.
_IN_FLIGHT = 96 * 1024 * 1024

Found = TypeVar("Found")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use some number of threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _started(count: int, share: int | None = None) -> ThreadPoolExecutor | None:
    """Threads that all run, with a share of torch's each; None where there is no room for them.

    They start before they are given work: half of it done could not be taken back.
    """
    pool = (
        ThreadPoolExecutor(count) if share is None
        else ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,))
    )  # fmt: skip
    go = Event()
    try:
        for _ in range(count):
            pool.submit(go.wait)
    except RuntimeError:  # can't start new thread
        go.set()
        pool.shutdown()
        return None
    go.set()
    return pool


class Workers:
    """A few threads that live as long as one fit; kernels release the interpreter's lock."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or max(1, torch.get_num_threads())

    @cached_property
    def _pool(self) -> ThreadPoolExecutor | None:
        return _started(self.threads) if self.threads > 1 else None

    def run(self, kernel: Callable[..., Any], before: Sequence[Any], after: Sequence[Any]) -> None:
        """Call kernel(*before, t, threads, *after) for every thread t."""
        if self._pool is None:
            kernel(*before, 0, 1, *after)
            return
        calls = [
            self._pool.submit(kernel, *before, t, self.threads, *after)
            for t in range(self.threads)
        ]  # fmt: skip
        for call in calls:
            call.result()

    def map(self, work: Callable[[slice], Found], parts: Sequence[slice]) -> Iterator[Found]:
        """Results of work(part), in order."""
        return map(work, parts) if self._pool is None else self._pool.map(work, parts)

    def each(
        self, work: Callable[[slice], Found], panels: Sequence[slice], row_bytes: int
    ) -> Iterator[Found]:
        """Results of work(rows) for panels of rows, in order; every call has a thread to itself.

        Args:
            work: what to do; torch is limited to this thread's share inside.
            panels: the slices of rows, the first one no shorter than the others.
            row_bytes: memory of one row of a panel: large panels are computed fewer at a time, and
                torch then shares the idle threads.
        """
        if not panels:
            return
        room = _IN_FLIGHT // (row_bytes * (panels[0].stop - panels[0].start))
        count = max(1, min(self.threads, len(panels), room))
        share = self.threads // count
        with torch_threads(share):
            pool = None if count == 1 else _started(count, share)
            if pool is None:
                yield from map(work, panels)
                return
            with pool:
                yield from pool.map(work, panels)
