"""A process that imports everything, computes nothing, and forks the command line when asked.

Threads that a process has started are not there in its children, which may wait for them forever;
this one has none.
"""

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tests.reliability.child import forked, room


def command(asked: dict) -> None:
    """One run of the command line, or of a line of Python, as it was asked for."""
    from rerank_cli.app import main

    os.chdir(asked["folder"])
    if "code" in asked:
        sys.argv = ["-c", *asked["arguments"]]
        exec(asked["code"], {"__name__": "__main__"})  # noqa: S102  the line that is tested
        return
    sys.argv = ["rerank", *asked["arguments"]]
    if asked["room"]:
        room(asked["room"])
    main()


def grow(*, torch: bool) -> None:
    """Import what the command line needs; without torch, what it needs before that."""
    names = ["rerank_cli.app", "rerank.io.first_look", "h5py", "pyarrow.parquet"]
    if torch:
        names += ["torch", "rerank.io.embeddings", "rerank.tasks.apply", "rerank.tasks.search",
                  "rerank.tasks.evaluate_files"]  # fmt: skip
    for name in names:
        with suppress(ModuleNotFoundError):
            import_module(name)
    assert ("torch" in sys.modules) == torch


def serve() -> None:
    """Answer every line that asks with a line, until there are no more."""
    grow(torch=sys.argv[1:] != ["False"])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        asked = json.loads(line)
        stdout = None if asked["stdout"] is None else Path(asked["stdout"])
        ended = forked(lambda asked=asked: command(asked), stdout=stdout)
        answers.write(json.dumps([ended.status, ended.out, ended.err]) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
