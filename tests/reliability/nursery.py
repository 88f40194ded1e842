"""A process that imports everything, computes nothing, and forks the command line when asked.

Threads that a process has started are not there in its children, which may wait for them forever;
this one has none.
"""

import json
import os
import sys
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


def serve() -> None:
    """Answer every line that asks with a line, until there are no more."""
    import torch

    import rerank.io.embeddings
    import rerank.tasks.apply
    import rerank.tasks.evaluate_files
    import rerank.tasks.search
    import rerank_cli.app

    assert torch and rerank and rerank_cli
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        asked = json.loads(line)
        stdout = None if asked["stdout"] is None else Path(asked["stdout"])
        ended = forked(lambda asked=asked: command(asked), stdout=stdout)
        answers.write(json.dumps([ended.status, ended.out, ended.err]) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
