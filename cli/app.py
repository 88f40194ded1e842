"""The `rerank` command: one line per command, and the one place that turns errors into exit 2."""

import atexit
import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NoReturn

from rerank_cli.endings import (
    INTERRUPTED,
    NO_MEMORY,
    SIGNALS,
    check_room,
    complain,
    end,
    ending_at_once,
    flush,
    free_signals,
    line_of,
    prepare_streams,
    settle_stdout,
)

with ending_at_once():
    import typer
    import typer.core
    import typer.main

    from rerank_cli.console import noting
    from rerank_cli.early import look_early
    from rerank_cli.examples import epilog
    from rerank_cli.groups import spread

# Threads of torch that wait must not spin on the cores that the compiled sweeps need; read by the
# OpenMP runtime when torch is imported, which no command has done yet. Half of the time of a run.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

COMMANDS = (
    "demo", "apply", "eval", "compare", "inspect",
    "fit", "search", "update", "export", "tune", "train",
    "convert", "methods", "plan", "doctor",
)  # fmt: skip


class _Commands(Mapping[str, Any]):
    """Every command by name, made when it is asked for: all their options take .3 seconds."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  a command of click's kind
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(typer.core.TyperGroup):
    """The commands under one name."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  what typer gives
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment]  nothing is added later

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  of click or typer
        """Refuse empty values, as of a variable that is not set; an empty path would be "."."""
        from rerank.core.errors import RerankError

        for before, value in zip(["", *args], args, strict=False):
            if not value or (value.startswith("--") and value.endswith("=")):
                option = value.removesuffix("=") or before
                raise RerankError(
                    f"{option}: got an empty value; give one, or leave {option} out"
                    if option.startswith("-")
                    else "got an empty argument; give a value, or leave it out"
                )
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="rerank",
    cls=_Group,
    help="Re-rank cross-modal retrieval from precomputed embeddings, without training.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_interrupted = threading.Event()
_ended_by = [signal.SIGINT]


def _on_interrupt(number: int = signal.SIGINT, *_: object) -> None:
    # Torch swallows some of what is raised while it is imported; no output was begun by then.
    if getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False):
        end(number)
    _interrupted.set()
    _ended_by[0] = signal.Signals(number)
    raise KeyboardInterrupt


def _repeat_lost(lost: "sys.UnraisableHookArgs") -> None:
    """Send a signal again whose exception was lost, as in code that drops an object."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), _ended_by[0]))
    again.daemon = True
    with contextlib.suppress(RuntimeError):  # Python ends, and starts no thread any more
        again.start()


# Seconds; by then the object is gone.
_AGAIN = 0.02

# Commands that compute nothing.
_LIGHT = ("methods_command",)


def _called(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command as it is called: with its options, which it gets in groups.

    Ctrl-C and the like are said in our words and end with the status that shells expect.
    """
    options, groups = spread(command)

    @functools.wraps(command)
    def run(**given: Any) -> Any:  # noqa: ANN401  whatever the command takes
        try:
            if command.__name__ not in _LIGHT:
                check_room()
                look_early(command.__name__, given)
            made = {
                name: kind(**{part: given.pop(part) for part in parts})
                for name, (kind, parts) in groups.items()
            }
            with noting():
                return command(**given, **made)
        except (KeyboardInterrupt, Exception) as error:
            # A library that is interrupted while it is imported raises what it likes.
            if not isinstance(error, KeyboardInterrupt) and not _interrupted.is_set():
                raise
            _leave(str(error) if isinstance(error, KeyboardInterrupt) else "")

    run.__signature__ = options  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in options.parameters.items()}
    return run


def _leave(said: str = "") -> NoReturn:
    """End with the status of the signal, and with what the command says of its checkpoint."""
    if said:
        from rerank_cli.console import say

        say(said)
    else:
        complain(INTERRUPTED)
    sys.exit(128 + _ended_by[0])


def _leave_pipe() -> NoReturn:
    """End as programs do whose reader has enough, without a word."""
    settle_stdout()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(141)


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


@functools.cache
def _made(name: str) -> Any:  # noqa: ANN401  a command of click's kind
    """One command, whose module is imported for it."""
    if name not in COMMANDS:
        raise KeyError(name)
    with ending_at_once():
        # Command modules import nothing heavy at their top, so help answers at once.
        module = import_module(f"rerank_cli.{name}")
        command = getattr(module, f"{name}_command")
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(
            name,
            cls=getattr(module, "Command", None),
            # The whole first sentence; click would cut what it takes from the help itself.
            short_help=(command.__doc__ or "").split("\n\n")[0],
            epilog=epilog(name),
        )(_called(command))
        return typer.main.get_command(alone)


# Every wrong option and command; the base of a public class, since its own place moves.
_WrongUse: type[Exception] = typer.BadParameter.__mro__[1]


def _said(error: Any) -> str:  # noqa: ANN401  a usage error
    """A wrong option in one line, with the page that lists the right ones; or the help itself."""
    from rerank.io.files import printable  # of the standard library alone

    said = error.format_message()
    if "\n" in said:
        return said
    path = error.ctx.command_path if error.ctx is not None else "rerank"
    said = " ".join(said.split()).replace(": Value error, ", ": ").rstrip(".")
    return f"error: {printable(said)}; `{path} -h` lists what there is"


# Characters of an error that a person reads; the longest recipe has a third of it.
_LONGEST = 3000


def _one_line(text: str) -> str:
    """Lines as one; blanks inside a line stay, because a path or a recipe may have two."""
    line = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ... ({len(line):,} characters)"


def main() -> None:
    """Run; an error on purpose is one line and exit 2, anything else keeps its traceback."""
    try:
        for number in free_signals():
            signal.signal(number, _on_interrupt)
        sys.unraisablehook = _repeat_lost
        from rerank.io.cut import exit_when_cut  # of the standard library alone

        exit_when_cut()
        prepare_streams()
        from rerank.core.wording import typed  # of the standard library alone

        with warnings.catch_warnings(), typed():
            # Libraries warn those who program; what a user should know is said by the commands.
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            status = app(standalone_mode=False)
        if status == 128 + signal.SIGINT and _interrupted.is_set():
            _leave()  # while options were read, which is no part of a command
        flush()
        sys.exit(status or 0)
    except _WrongUse as error:
        complain(_said(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        # Abort is what the parser of options makes of an interrupt.
        _leave()
    except BrokenPipeError:
        _leave_pipe()
    except SystemExit as ended:
        # The parser of options makes it of a pipe that is closed while a command prints.
        if isinstance(ended.__context__, BrokenPipeError):
            _leave_pipe()
        raise
    except Exception as error:
        said = _answer(error)
        if said is None:
            raise
        settle_stdout()
        complain(f"error: {said}")
        sys.exit(2)


def _answer(error: Exception) -> str | None:
    """An error on purpose, or one of the system, as one line; None for a bug."""
    try:
        said = line_of(error)
        if said is None:
            return None
        said = _one_line(said)
        if said.isprintable():
            return said  # without an import, for which there may be no room
        from rerank.io.files import printable

        return printable(said)
    except (MemoryError, ImportError, SystemError):
        return NO_MEMORY  # not even room for the words


# When rings of objects are searched for: importing makes hundreds of thousands and drops few.
_COLLECT = (20_000, 10, 100)


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """The process ends with what is inside; taking torch down would cost .3 seconds.

    What was registered to run at the end does so; a profiler or debugger sees the usual end.
    """
    gc.set_threshold(*_COLLECT)
    try:
        yield
    except SystemExit as ended:
        # The run is over; a signal from here on changes nothing.
        for number in SIGNALS:
            if signal.getsignal(number) is _on_interrupt:
                signal.signal(number, signal.SIG_IGN)
        watched = sys.gettrace() or sys.getprofile()
        # Python ends by a signal where an interrupt went through code that was made from text.
        if watched or not ("torch" in sys.modules or _interrupted.is_set()):
            raise
        settle_stdout()
        atexit._run_exitfuncs()
        settle_stdout()  # what they printed
        os._exit(ended.code if isinstance(ended.code, int) else 1)


# What the installed script calls: `main` as a process of its own.
program = _ending_at_once()(main)
