"""The `rerank` command: one line per command, and the one place that turns errors into exit 2."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

# Threads of torch that wait must not spin on the cores that the compiled sweeps need; read by the
# OpenMP runtime when torch is imported, which no command has done yet. Half of the time of a run.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

COMMANDS = (
    "apply", "eval", "compare", "inspect",
    "fit", "search", "update", "export", "tune", "train",
    "methods", "plan", "doctor",
)  # fmt: skip

app = typer.Typer(
    name="rerank",
    help="Re-rank cross-modal retrieval from precomputed embeddings, without training.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_interrupted = threading.Event()


def _on_interrupt(*_: object) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """Ctrl-C is said in our words and ends with the status that shells expect."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever the command takes
        try:
            return command(*args, **kwargs)
        except (KeyboardInterrupt, Exception) as error:
            # A library that is interrupted while it is imported raises what it likes.
            if not isinstance(error, KeyboardInterrupt) and not _interrupted.is_set():
                raise
            sys.stderr.write("interrupted: no partial output was left behind\n")
            sys.exit(130)

    return run


def _version(wanted: bool) -> None:
    if wanted:
        from rerank.core.version import __version__

        sys.stdout.write(f"rerank {__version__}\n")
        raise typer.Exit


@app.callback()
def _shared(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Re-rank cross-modal retrieval from precomputed embeddings, without training."""


for _name in COMMANDS:
    # Command modules import nothing heavy at their top, so help answers at once.
    _module = import_module(f"rerank_cli.{_name}")
    _command = getattr(_module, f"{_name}_command")
    app.command(_name, cls=getattr(_module, "Command", None))(_interruptible(_command))


def main() -> None:
    """Run; an error on purpose is one line and exit 2, anything else keeps its traceback."""
    # Not where interrupts are ignored on purpose, as in jobs that a script puts in the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
    try:
        app()
    except BrokenPipeError:
        sys.exit(141)
    except ValueError as error:
        from rerank.core.errors import RerankError

        if not isinstance(error, RerankError):
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
