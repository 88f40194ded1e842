"""The architecture as a test: every import points down, read from the syntax trees."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The floors, from the ground up. A room imports from lower floors and from itself, never sideways.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("io", "passes"),
    ("methods",),
    ("metrics",),
    ("selection", "train"),
    ("serving",),
    ("tasks",),
    ("cli",),
)
MOST_ROOMS = 11

# Libraries that stay at one border, and the modules that may import them.
BORDERS: dict[str, tuple[str, ...]] = {
    "h5py": ("rerank.io", "rerank.methods.saved", "rerank.train"),
    # doctor imports it to report which build answers to the name
    "faiss": ("rerank.passes.topk", "rerank.serving.fold", "rerank_cli.doctor"),
    "typer": ("rerank_cli",),
    # asks for its room first, without which its BLAS never ends
    "scipy": ("rerank.core.scipy_parts",),
}

# Too slow, or not always installed, to be imported by merely importing a module of the package.
LAZY_IN_PACKAGE = ("faiss", "matplotlib", "pyarrow", "ir_measures", "tensorboard", "tokenizers")
# `rerank --help` has to answer at once, so commands import all of these inside their functions;
# but for the words that they offer.
LAZY_IN_CLI = (*LAZY_IN_PACKAGE, "rerank", "torch", "numpy", "scipy", "h5py", "numba")


class Import(NamedTuple):
    """One imported module and whether merely importing the file imports it."""

    target: str
    line: int
    eager: bool


class Module(NamedTuple):
    """One file: its import name, its path from the root, its imports."""

    name: str
    path: Path
    imports: tuple[Import, ...]


def import_name(path: Path) -> str:
    """`cli/app.py` -> `rerank_cli.app`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts[0] = {"cli": "rerank_cli"}.get(parts[0], parts[0])
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk(node: ast.AST, *, eager: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Every import statement, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, eager
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if is_type_checking(child):
            # Only the guarded half is lazy.
            for part in child.body:
                yield from walk(ast.Module([part], []), eager=False)
            for part in child.orelse:
                yield from walk(ast.Module([part], []), eager=eager)
        else:
            yield from walk(child, eager=eager and not lazy)


def read_imports(name: str, path: Path, known: set[str]) -> tuple[Import, ...]:
    """Resolve relative imports, and `from package import x` to `package.x` if that is a module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = []
    for node, eager in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, node.lineno, eager) for alias in node.names]
            continue
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        for alias in node.names:
            full = f"{base}.{alias.name}"
            imports.append(Import(full if full in known else base, node.lineno, eager))
    return tuple(imports)


def load() -> list[Module]:
    paths = sorted([*(ROOT / "rerank").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
    names = {path: import_name(path) for path in paths}
    known = set(names.values())
    return [
        Module(name, path.relative_to(ROOT), read_imports(name, path, known))
        for path, name in names.items()
    ]


MODULES = load()
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def inside(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def room(name: str) -> str:
    """The room of a module; "" for the face of the package."""
    top, _, rest = name.partition(".")
    return "cli" if top == "rerank_cli" else rest.partition(".")[0]


def floor(name: str) -> int | None:
    return next((i for i, rooms in enumerate(FLOORS) if room(name) in rooms), None)


def test_there_are_few_rooms() -> None:
    rooms = {room(module.name) for module in MODULES} - {"", "cli", "__main__"}
    assert rooms == {name for names in FLOORS for name in names} - {"cli"}
    assert len(rooms) <= MOST_ROOMS
    assert len(FLOORS) <= 8


@each_module
def test_imports_point_down(module: Module) -> None:
    if room(module.name) in ("", "__main__"):  # the face names every floor, lazily
        return
    here = floor(module.name)
    assert here is not None, f"{module.name}: give its room a floor in FLOORS"
    for target, line, _ in module.imports:
        at = f"{module.path}:{line}"
        assert not inside(target, ("cli",)), f"{at}: imports cli; it is installed as rerank_cli"
        if not inside(target, ("rerank", "rerank_cli")) or target == "rerank.samples":
            continue
        if target == "rerank":
            # The face belongs to users and to the command line.
            assert room(module.name) == "cli", f"{at}: imports rerank"
            continue
        there = floor(target)
        assert there is not None, f"{at}: {target} has no floor"
        assert there < here or room(target) == room(module.name), (
            f"{at}: {room(module.name)}, floor {here + 1}, imports {target} of floor {there + 1}"
        )


def test_no_two_modules_share_a_name() -> None:
    seen: dict[str, str] = {}
    for module in MODULES:
        last = module.name.rpartition(".")[2]
        if room(module.name) in ("", "cli") or module.path.name == "__init__.py":
            continue
        # A task is called like its command, a file format like the library that reads it.
        # Each registry lies in its own room.
        if last == "registry" or inside(
            module.name, ("rerank.tasks", "rerank.io.formats", "rerank.train.objectives")
        ):
            continue
        assert last not in seen, f"{module.name} and {seen[last]}: one of them needs another name"
        seen[last] = module.name


@each_module
def test_libraries_stay_at_their_border(module: Module) -> None:
    for target, line, _ in module.imports:
        allowed = BORDERS.get(target.partition(".")[0])
        assert allowed is None or inside(module.name, allowed), (
            f"{module.path}:{line}: {target} belongs to {', '.join(allowed or ())}"
        )


@each_module
def test_slow_libraries_are_imported_inside_functions(module: Module) -> None:
    if module.name == "rerank":
        banned = (*LAZY_IN_CLI, "rerank_cli")
    elif inside(module.name, ("rerank_cli",)):
        banned = LAZY_IN_CLI
    else:
        banned = LAZY_IN_PACKAGE
    for target, line, eager in module.imports:
        # Words and options, of the standard library alone.
        if target in ("rerank.core.words", "rerank.io.reading"):
            continue
        assert not (eager and inside(target, banned)), (
            f"{module.path}:{line}: import {target} inside the function that needs it"
        )


def test_no_import_cycles() -> None:
    names = {module.name for module in MODULES}
    graph = {
        module.name: {t for t, _, eager in module.imports if eager and t in names - {module.name}}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_the_package_list_names_every_folder() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        import_name(path) for top in ("rerank", "cli") for path in (ROOT / top).rglob("__init__.py")
    }
    folders |= {"rerank.samples", "rerank.metrics.templates"}
    # Equal: a name without a folder makes every installation fail.
    assert folders == set(settings["tool"]["setuptools"]["packages"])


def test_the_reader_sees_lazy_guarded_relative_and_nested_imports(tmp_path: Path) -> None:
    path = tmp_path / "apply.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from .passes import reduce, VERSION\n"
        "from .io.formats.hdf5 import read\n"
        "import rerank.methods.engine\n"
        "if TYPE_CHECKING:\n    import faiss\n"
        "else:\n    import numba\n"
        "try:\n    import pyarrow\nexcept ImportError:\n    raise\n"
        "class A:\n    import h5py\n    def f(self):\n        import torch\n"
    )
    imports = read_imports(
        "rerank.apply", path, known={"rerank", "rerank.passes.reduce", "rerank.methods.engine"}
    )
    assert [(target, eager) for target, _, eager in imports] == [
        ("typing", True),
        ("rerank.passes.reduce", True),
        ("rerank.passes", True),
        ("rerank.io.formats.hdf5", True),
        ("rerank.methods.engine", True),
        ("faiss", False),
        ("numba", True),
        ("pyarrow", True),
        ("h5py", True),
        ("torch", False),
    ]
