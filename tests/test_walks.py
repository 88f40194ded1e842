"""A command is walked in few steps: from the door to the deepest function at most 15 of ours."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rerank import io

ROOT = Path(__file__).resolve().parent.parent
MOST_HOPS = 15
MOST_LINES = 80
N, M, D = 60, 50, 12

EMBEDDINGS = ("--texts", "texts.h5", "--videos", "videos.h5")
BANK = ("--bank-texts", "bank_texts.h5", "--bank-videos", "bank_videos.h5")
PAIRS = ("--bank-gt", "bank_gt.json")
TRUTH = ("--gt", "gt.json")

# Each with what it needs from those before it.
COMMANDS = {
    "apply embeddings": ("apply", *EMBEDDINGS, "--out", "plain.h5"),
    "apply with a bank": ("apply", *EMBEDDINGS, *BANK, "--out", "bank.h5"),
    "apply with known pairs": ("apply", *EMBEDDINGS, *BANK, *PAIRS, "--out", "gated.h5"),
    "apply scores": ("apply", "--sims", "sims.npy", "--out", "sims.h5"),
    "apply row by row": ("apply", *EMBEDDINGS, "--method", "em+dsl", "--out", "rows.h5"),
    "eval embeddings": ("eval", *EMBEDDINGS, *TRUTH),
    "eval scores": ("eval", "--sims", "sims.npy", *TRUTH),
    "eval a result": ("eval", "--results", "plain.h5", *TRUTH),
    "eval one of a bank": ("eval", "--results", "gated.h5", *TRUTH),
    "eval one of scores": ("eval", "--results", "sims.h5", *TRUTH),
    "eval one that is applied again": ("eval", "--results", "rows.h5", *TRUTH),
    "fit": ("fit", "--videos", "videos.h5", *BANK, *PAIRS, "--out", "model.safetensors"),
    "export": ("export", "--model", "model.safetensors", "--videos", "videos.h5", "--to", "npy",
               "--out", "index.npy"),
    "eval a model": ("eval", "--model", "model.safetensors", *EMBEDDINGS, *TRUTH),
    "search": ("search", "--model", "model.safetensors", *EMBEDDINGS, "--out", "found.jsonl"),
    "search an index": ("search", "--index", "index.npy", "--texts", "texts.h5"),
    "eval lists": ("eval", "--results", "found.jsonl", *TRUTH),
}  # fmt: skip


def files(folder: Path) -> None:
    rng = np.random.default_rng(0)

    def sides(count: int, texts: int, prefix: str) -> tuple[np.ndarray, np.ndarray]:
        videos = rng.normal(size=(count, D)) + rng.normal(size=D)
        videos[: count // 10] += videos.mean(axis=0)
        captions = videos[np.arange(texts) % count] + 0.5 * rng.normal(size=(texts, D))
        for role, rows in (("texts", captions), ("videos", videos)):
            ids = [f"{role[0]}{i}" for i in range(len(rows))]
            io.write_embeddings(folder / f"{prefix}{role}.h5", ids, rows.astype(np.float32))
        truth = {f"t{i}": [f"v{i % count}"] for i in range(texts)}
        (folder / f"{prefix}gt.json").write_text(json.dumps(truth))
        return captions, videos

    texts, videos = sides(M, N, "")
    sides(80, 160, "bank_")
    np.save(folder / "sims.npy", (texts @ videos.T).astype(np.float32))
    for side, letter, count in (("query", "t", N), ("gallery", "v", M)):
        names = [f"{letter}{i}" for i in range(count)]
        (folder / f"sims.{side}_ids.json").write_text(json.dumps(names))


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The longest walk of each command, all in one new process."""
    folder = tmp_path_factory.mktemp("walks")
    files(folder)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "walks.py"],
        input=json.dumps(list(COMMANDS.values())), cwd=folder, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout), strict=True))


def listed(walk: list[str]) -> str:
    return "\n".join(f"{place:3d} {name}" for place, name in enumerate(walk, start=1))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.split()[0] in
                                  ("apply", "eval", "search")])  # fmt: skip
def test_a_command_is_walked_in_few_hops(walks: dict[str, list[str]], name: str) -> None:
    walk = walks[name]
    assert walk[0] == "cli/app.py:main"
    assert len(walk) > 8, f"too short to be all of it:\n{listed(walk)}"
    assert len(walk) <= MOST_HOPS, f"{name}: {len(walk)} hops\n{listed(walk)}"


def functions() -> Iterator[tuple[str, int]]:
    """Every function and its lines of code: without blank lines, comments and the docstring."""
    for path in sorted([*(ROOT / "rerank").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            said = node.body[0] if ast.get_docstring(node) is not None else None
            numbers = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            if said is not None:
                numbers -= set(range(said.lineno, (said.end_lineno or said.lineno) + 1))
            code = [lines[number - 1].strip() for number in numbers]
            name = f"{path.relative_to(ROOT)}:{node.name}"
            yield name, sum(bool(line) and not line.startswith("#") for line in code)


def test_no_function_is_long() -> None:
    long = {name: count for name, count in functions() if count > MOST_LINES}
    assert not long


def test_the_watch_sees_wrappers_threads_and_generators_and_folds_comprehensions(
    tmp_path: Path,
) -> None:
    """On a project of its own, whose walk is known."""
    (tmp_path / "rerank").mkdir()
    (tmp_path / "rerank" / "made.py").write_text(
        "import functools\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def wrapped(f):\n"
        "    @functools.wraps(f)\n"
        "    def run(*a):\n        return f(*a)\n"
        "    return run\n"
        "def leaf(x):\n    return x\n"
        "def rows():\n    for x in (1, 2):\n        yield leaf(x)\n"
        "def inside(x):\n    return [leaf(y) for y in [x]]\n"
        "@wrapped\n"
        "def threads():\n"
        "    with ThreadPoolExecutor(2) as pool:\n"
        "        return list(pool.map(inside, [1, 2]))\n"
        "def generators():\n    return list(rows())\n"
    )
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(tmp_path / 'rerank')!r}]\n"
        "import pathlib, walks, made\n"
        f"walks.ROOT = pathlib.Path({str(tmp_path)!r})\n"
        "for f in (made.threads, made.generators):\n"
        "    with walks.Watch() as watch:\n        f()\n"
        "    print(*(name.partition(':')[2] for name in watch.longest))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "wrapped.<locals>.run threads inside leaf",
        "generators rows leaf",
    ]
