"""How deep a command walks: the longest chain of our functions, each called by the one before it.

    python tests/walks.py apply --texts texts.h5 --videos videos.h5

runs the command in this process and prints its walk, `file:function` one a line, from the door to
the deepest function. Counted is every function of `rerank/` and `cli/`, wrappers included, also
across the threads that it starts; not those of libraries. A comprehension or a lambda belongs to
the function that it stands in.
"""

import contextlib
import functools
import gc
import inspect
import io
import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDED = ("<lambda>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

Walk = tuple[str, ...]


class Watch:
    """The longest walk of a run; `walks` has the longest that ends in each function."""

    def __init__(self) -> None:
        self.walks: dict[str, Walk] = {}
        self._names: dict[CodeType, str] = {}
        self._started = threading.local()

    @property
    def longest(self) -> Walk:
        """The first of the longest ones."""
        return max(self.walks.values(), key=len, default=())

    def __enter__(self) -> "Watch":
        watch, self._submit = self, ThreadPoolExecutor.submit

        def submit(pool: Any, work: Callable[..., Any], *args: Any, **more: Any) -> Any:
            before = watch._walk(sys._getframe(1))

            def run() -> Any:
                watch._started.by = before
                return work(*args, **more)

            return watch._submit(pool, run)

        ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
        threading.setprofile(self._seen)
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        ThreadPoolExecutor.submit = self._submit  # type: ignore[method-assign]

    def _seen(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not (name := self._name(frame.f_code)):
            return
        walk = self._walk(frame)
        if len(walk) > len(self.walks.get(name, ())):
            self.walks[name] = walk

    def _walk(self, frame: FrameType | None) -> Walk:
        names: list[str] = []
        while frame is not None:
            if name := self._name(frame.f_code):
                names.append(name)
            frame = frame.f_back
        return (*getattr(self._started, "by", ()), *reversed(names))

    def _name(self, code: CodeType) -> str:
        """`file:function`; "" for libraries, for what is folded, and for modules and classes."""
        if code not in self._names:
            self._names[code] = ""
            path = Path(code.co_filename).resolve()
            ours = any(path.is_relative_to(ROOT / room) for room in ("rerank", "cli"))
            function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name not in FOLDED
            if ours and function:
                self._names[code] = f"{path.relative_to(ROOT)}:{code.co_qualname}"
        return self._names[code]


def forget() -> None:
    """Empty our caches, so that what is done once in a process is walked again."""
    for made in gc.get_objects():
        if isinstance(made, functools._lru_cache_wrapper):
            if str(made.__module__).startswith("rerank"):
                made.cache_clear()
        elif type(made).__name__ == "Registry" and type(made).__module__ == "rerank.core.registry":
            made._cards = None


def walk_of(words: Sequence[str]) -> Watch:
    """Run a command, from the function that its installed script calls, and watch it.

    Raises:
        SystemExit: the command failed.
    """
    from rerank_cli.app import program

    forget()
    sys.argv = ["rerank", *words]
    watch = Watch()
    try:
        with watch:
            program()
    except SystemExit as ended:
        if ended.code:
            raise
    return watch


def main() -> None:
    """One command from the arguments; or, without any, a JSON list of commands from stdin."""
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:]:
        print("\n".join(walk_of(sys.argv[1:]).longest))
        return
    walks = []
    for words in json.load(sys.stdin):
        with contextlib.redirect_stdout(io.StringIO()):
            walks.append(walk_of(words).longest)
    json.dump(walks, sys.stdout)


if __name__ == "__main__":
    main()
