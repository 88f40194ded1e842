"""Makes cli/README.md: `python tests/cli_readme.py`. Every example is run, what is shown is real.

The commands run in one folder, one after the other, as `rerank_cli.examples` lists them.
"""

import contextlib
import io
import re
import shlex
import sys
import tempfile
from pathlib import Path
from unittest import mock

PAGE = Path(__file__).resolve().parent.parent / "cli" / "README.md"
LINES, WIDTH = 18, 110
HEAD = """# The command line

Every command with its examples and what they print, on the sample data.
This page is made by `python tests/cli_readme.py`; a test makes it again and compares.
`rerank demo` writes the files that the examples read; `rerank COMMAND --help` lists all options.

- Results go to stdout and to files, messages to stderr; `--json` prints one object for programs.
- `--queries` and `--gallery` are other names for `--texts` and `--videos`.
- `--nouns captions,shoes` calls the sides so; files that say their `kind` need not be told.
- A mistake is one line on stderr and the status 2; inputs are never changed,
  but for the model and the index of `rerank update`.
- `rerank --install-completion` completes options, methods, stores, figures and objectives.
"""


def run(command: str) -> str:
    """What a command prints, messages after results; fails with it."""
    from rerank_cli.app import main

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", shlex.split(command)),
    ):
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"{command}: {err.getvalue()}") from stop
    said = [line for line in err.getvalue().splitlines() if not line.startswith("progress: ")]
    return "\n".join([out.getvalue().rstrip("\n"), *said])


def shortened(text: str) -> str:
    """The first lines, cut where they are too long for a page."""
    lines = [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in text.splitlines()]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 4], "...", *lines[-3:]]
    return "\n".join(lines).strip("\n")


def page(folder: Path) -> str:
    """The whole page; the commands leave their files in the folder."""
    import inspect
    from importlib import import_module

    from rerank.tasks.demo import write_samples
    from rerank_cli.examples import EXAMPLES, shown

    write_samples(folder)
    parts = [HEAD]
    with contextlib.chdir(folder):
        for name, commands in EXAMPLES.items():
            said = [run(command) for command in commands]
            command = getattr(import_module(f"rerank_cli.{name}"), f"{name}_command")
            text = inspect.cleandoc(command.__doc__ or "")
            both = "\n".join(shown(each, indent="") for each in commands)
            parts.append(
                f"## rerank {name}\n\n{text}\n\n```bash\n{both}\n```\n\nThe first prints:\n\n"
                f"```text\n{shortened(said[0])}\n```\n"
            )
    return "\n".join(parts)


def masked(text: str) -> list[str]:
    """Lines without what differs between machines and runs: numbers, and what `doctor` found."""
    text = re.sub(r"## rerank doctor.*", lambda found: _keys(found.group()), text, flags=re.DOTALL)
    text = re.sub(r"[-+−]?\d[\d.,:e+-]*( (ms|s|min|h)\b)?", "#", text)
    return [re.sub(r"[\s…]+", " ", line).strip() for line in text.splitlines()]


def _keys(text: str) -> str:
    return "\n".join(line[:8] for line in text.splitlines())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Path(folder) / "demo"), encoding="utf-8")
