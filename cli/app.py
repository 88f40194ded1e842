"""The `rerank` command: one line per command, and the one place that turns errors into exit 2."""

import sys
from importlib import import_module

import typer

COMMANDS = ("apply", "eval", "compare", "inspect", "doctor", "methods")

app = typer.Typer(
    name="rerank",
    help="Re-rank cross-modal retrieval from precomputed embeddings, without training.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _name in COMMANDS:
    # Command modules import nothing heavy at their top, so help answers at once.
    app.command(_name)(getattr(import_module(f"rerank_cli.{_name}"), f"{_name}_command"))


def main() -> None:
    """Run; an error on purpose is one line and exit 2, anything else keeps its traceback."""
    try:
        app()
    except ValueError as error:
        from rerank.errors import RerankError

        if not isinstance(error, RerankError):
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
