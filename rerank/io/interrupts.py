"""Signals that wait while a library is in the middle of a file.

Python answers a signal wherever Python code runs, also in a function that a library calls back or
while an object is dropped; an exception from there is lost, and the file is not whole. Nothing
here imports more than the standard library.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = [n for n in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if n]


@contextlib.contextmanager
def signals_wait() -> Iterator[Callable[[], None]]:
    """Inside the block signals are only noted; whoever handles them does so afterwards.

    Signals that end the process without a handler, and blocks outside the main thread, stay as
    they are.

    Yields:
        What answers the signals that came, to be called between two pieces of long work.

    >>> with signals_wait() as answer:
    ...     answer()
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    came: list[int] = []
    waiting = True

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            came.append(number)
        else:  # between two handlers that are put back
            handle(number, frame)

    def handle(number: int, frame: FrameType | None = None) -> None:
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def answer() -> None:
        while came:
            handle(came.pop(0))

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, note)
    try:
        yield answer
    finally:
        waiting = False
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
    answer()
