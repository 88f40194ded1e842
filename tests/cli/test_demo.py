"""`rerank demo`: the sample data, the commands it prints, and what it never does."""

import errno
import shlex
from pathlib import Path

import pytest

from rerank.tasks.demo import FILES, MADE, commands
from tests.cli.test_cli import run


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, *run("demo", cwd=folder)


def test_it_writes_the_sample_data_and_a_report(demo, samples):
    folder, _, _ = demo
    for name in FILES:
        assert (folder / "rerank-demo" / name).read_bytes() == (samples / name).read_bytes()
    assert "<html" in (folder / "rerank-demo" / "report.html").read_text(encoding="utf-8")


def test_it_prints_four_commands_that_run(demo):
    folder, said, _ = demo
    printed = [line.strip() for line in said.splitlines() if line.startswith("  rerank ")]
    assert len(printed) == 4
    for line in printed:
        run(*shlex.split(line)[1:], cwd=folder)


def test_it_never_overwrites(demo):
    folder, _, _ = demo
    before = {path: path.read_bytes() for path in (folder / "rerank-demo").iterdir()}
    _, error = run("demo", cwd=folder, code=2)
    assert "rerank-demo-2" in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in (folder / "rerank-demo").iterdir()} == before
    (folder / "file").write_text("mine")
    run("demo", "file", cwd=folder, code=2)
    assert (folder / "file").read_text() == "mine"


def test_a_folder_with_spaces_is_quoted(tmp_path):
    words = shlex.split(shlex.join(("rerank", *commands(tmp_path / "my demo")[1])))
    assert words[1] == "apply" and any("my demo" in word for word in words)


@pytest.mark.parametrize("last", [FILES[1], FILES[-1], *MADE])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_full_disk_leaves_all_of_its_files_or_none(tmp_path, monkeypatch, last, fault):
    """The disk is full, or somebody stops it, at one of its files; what others have there stays."""
    real, code = Path.replace, 2 if isinstance(fault, OSError) else 130

    def replace(path, target):
        if Path(target).name == last:
            raise fault
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    _, error = run("demo", "a/b/demo", cwd=tmp_path, code=code)
    assert code == 130 or f"{last}: cannot be written: no room on this disk" in error
    assert not list(tmp_path.iterdir())
    if last in MADE:  # after the work; once is enough
        return
    (tmp_path / "empty").mkdir()
    run("demo", "empty", cwd=tmp_path, code=code)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]
