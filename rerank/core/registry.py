"""Registries: what there is by name, known without importing it.

An entry is declared in its own file, by a decorator with literal arguments above a class or a
function:

    @method("csls", help="half the mean of 10 nearest queries", source="Conneau et al., ICLR 2018")
    @dataclass(frozen=True)
    class CSLS:
        k: int = 10

A registry reads such declarations from the syntax trees of its room's files. So lists, help texts
and the error for a wrong name cost no import, and a file is imported when its entry is used. Adding
an entry is one new file. Entries of other packages are declared the same way, in a module that is
named by the environment variable `RERANK_PLUGINS` (several joined by commas) or by an entry point
of the group `rerank.plugins`; such modules are imported when a registry is first read.
"""

import ast
import difflib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from importlib import import_module, util
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from rerank.core.errors import RerankError

PLUGINS = "RERANK_PLUGINS"
GROUP = "rerank.plugins"

Facts = TypeVar("Facts")
Declared = TypeVar("Declared")


@dataclass(frozen=True)
class Setting:
    """One setting of an entry: its name, its type as text, its default, and what it means."""

    name: str
    kind: str
    default: Any
    help: str = ""


@dataclass(frozen=True)
class Card(Generic[Facts]):
    """What is known of an entry before its file is imported.

    Attributes:
        name: as the user writes it.
        help: one line.
        facts: what the registry wants to know of its entries.
        home: (module, attribute) of the class or function.
        settings: its settings, in order.
    """

    name: str
    help: str
    facts: Facts
    home: tuple[str, str]
    settings: tuple[Setting, ...] = ()

    def load(self) -> Any:  # noqa: ANN401  whatever was declared
        """The class or function itself; imports its file."""
        if self.home in _OBJECTS:
            return _OBJECTS[self.home]
        module, attribute = self.home
        return getattr(import_module(module), attribute)


# Objects of modules that are no files of a registry's room: they were there when declared.
_OBJECTS: dict[tuple[str, str], Any] = {}


@dataclass(eq=False)
class Registry(Generic[Facts]):
    """The entries of one kind, by name.

    Attributes:
        kind: a word for messages, such as "method"; also, with underscores, the name of the
            decorator.
        package: the room whose files declare entries.
        facts: a frozen dataclass; the decorator's further arguments are its fields.
        aliases: other names that people use, lower case, each for an entry.
    """

    kind: str
    package: str
    facts: type[Facts]
    aliases: Mapping[str, str] = field(default_factory=dict)
    _added: dict[str, Card[Facts]] = field(default_factory=dict, init=False)
    _cards: dict[str, Card[Facts]] | None = field(default=None, init=False)

    @property
    def _declared(self) -> tuple[str, str]:
        """Where entries are declared, and by what decorator."""
        return self.package, self.kind.replace(" ", "_")

    def declare(
        self,
        name: str,
        *,
        help: str,
        settings: str = "",
        **facts: Any,  # noqa: ANN401  fields of the facts
    ) -> Callable[[Declared], Declared]:
        """The decorator. In a file of the room it only marks; elsewhere it adds the entry.

        Args:
            name: as users write it; names of other entries are refused.
            help: one line for lists.
            settings: name of the dataclass in the same module that holds the settings; by default
                the decorated class itself, where it is a dataclass.
            **facts: fields of the registry's facts.

        Raises:
            RerankError: a name that is taken, or a fact that this registry does not know.
        """
        made = self._facts_of(name, facts)

        def mark(declared: Declared) -> Declared:
            module = str(getattr(declared, "__module__", ""))
            if module == self.package or module.startswith(self.package + "."):
                return declared
            room = {card.name: card for card in map(self._made, _read_room(*self._declared))}
            taken = {**room, **self._added}.get(name)
            attribute = str(getattr(declared, "__qualname__", name))
            if taken is not None and taken.home != (module, attribute):
                raise RerankError(
                    f"{self.kind} {name!r}: the name is taken by {'.'.join(taken.home)}; "
                    f"choose another"
                )
            home = (module, attribute)
            _OBJECTS[home] = declared
            source = getattr(import_module(module), settings) if settings else declared
            self._added[name] = Card(name, help, made, home, _settings_of(source))
            self._cards = None
            return declared

        return mark

    def _facts_of(self, name: str, facts: Mapping[str, Any]) -> Facts:
        known = {f.name for f in fields(self.facts)}  # type: ignore[arg-type]
        unknown = sorted(facts.keys() - known)
        if unknown:
            raise RerankError(
                f"{self.kind} {name!r}: unknown fact {unknown[0]!r}, expected of: "
                f"{', '.join(sorted(known))}"
            )
        return self.facts(**facts)

    def _made(self, found: "Found") -> Card[Facts]:
        name, help, facts, home, settings = found
        return Card(name, help, self._facts_of(name, dict(facts)), home, settings)

    def cards(self) -> Mapping[str, Card[Facts]]:
        """All entries, those of the house first, in the order of `order` in their facts or name."""
        load_plugins()
        if self._cards is None:
            room = [self._made(found) for found in _read_room(*self._declared)]
            ranked = sorted(room, key=lambda c: (getattr(c.facts, "order", 0), c.name))
            self._cards = {card.name: card for card in [*ranked, *self._added.values()]}
        return self._cards

    def find(self, name: str) -> Card[Facts]:
        """The entry of a name, whatever its case, or of an alias.

        Raises:
            RerankError: no such entry; the message lists them and names the likeliest.
        """
        cards = self.cards()
        if name in cards:
            return cards[name]
        lower = {known.lower(): card for known, card in cards.items()}
        wanted = name.strip().lower()
        wanted = self.aliases.get(wanted, wanted)
        if wanted in lower:
            return lower[wanted]
        near = difflib.get_close_matches(wanted, [*lower, *self.aliases], n=1)
        hint = f"; did you mean {self.aliases.get(near[0], near[0])!r}?" if near else ""
        raise RerankError(f"{self.kind}: got {name!r}, expected one of {', '.join(cards)}{hint}")

    def __getitem__(self, name: str) -> Card[Facts]:
        return self.find(name)

    def __contains__(self, name: object) -> bool:
        return name in self.cards()

    def __iter__(self) -> Iterator[str]:
        return iter(self.cards())

    def __len__(self) -> int:
        return len(self.cards())


@cache
def load_plugins() -> None:
    """Import the modules that declare entries of other packages, once.

    Raises:
        RerankError: a module that cannot be imported.
    """
    names = [name.strip() for name in os.environ.get(PLUGINS, "").split(",") if name.strip()]
    names += [point.value for point in entry_points(group=GROUP)]
    for name in dict.fromkeys(names):
        try:
            import_module(name)
        except ImportError as error:
            raise RerankError(
                f"plugin {name!r} cannot be imported ({error}); install it, or take it out of "
                f"{PLUGINS}"
            ) from error


Found = tuple[str, str, tuple[tuple[str, Any], ...], tuple[str, str], tuple[Setting, ...]]


@cache
def _read_room(package: str, decorator: str) -> tuple[Found, ...]:
    """Declarations in the files of a package, read from their syntax trees."""
    spec = util.find_spec(package)
    folder = None if spec is None else next(iter(spec.submodule_search_locations or ()), None)
    if folder is None:
        return ()
    found: list[Found] = []
    for path in sorted(Path(folder).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"@{decorator}(" not in text:
            continue
        tree = ast.parse(text)
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == decorator:
                    given = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
                    name = str(ast.literal_eval(call.args[0]))
                    help, own = str(given.pop("help")), given.pop("settings", node.name)
                    module = package if path.stem == "__init__" else f"{package}.{path.stem}"
                    settings = _settings_in(_with_bases(classes.get(own), classes))
                    found.append((name, help, tuple(given.items()), (module, node.name), settings))
    return tuple(found)


def _with_bases(
    node: ast.ClassDef | None, classes: Mapping[str, ast.ClassDef]
) -> list[ast.ClassDef]:
    """A class of a syntax tree behind its bases in the same file."""
    if node is None:
        return []
    bases = [_with_bases(classes.get(ast.unparse(base)), classes) for base in node.bases]
    return [*itertools.chain(*bases), node]


def _settings_in(nodes: Sequence[ast.ClassDef]) -> tuple[Setting, ...]:
    """Fields of a dataclass in a syntax tree, whose bases come first."""
    out: dict[str, Setting] = {}
    for node in nodes:
        said = _attributes_of(ast.get_docstring(node) or "")
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                kind = ast.unparse(line.annotation)
                if kind.startswith("ClassVar"):
                    continue
                name, default = line.target.id, MISSING
                if line.value is not None:
                    try:
                        default = ast.literal_eval(line.value)
                    except ValueError:
                        default = ast.unparse(line.value)
                out[name] = Setting(name, kind, default, said.get(name, ""))
    return tuple(out.values())


def _settings_of(declared: object) -> tuple[Setting, ...]:
    if not (isinstance(declared, type) and is_dataclass(declared)):
        return ()
    said = _attributes_of(declared.__doc__ or "")
    return tuple(
        Setting(f.name, _kind_of(f.type), f.default, said.get(f.name, ""))
        for f in fields(declared)
        if f.init
    )


def _kind_of(kind: object) -> str:
    """A type as its file writes it, such as "int" or "Literal['ip', 'l2']"."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _attributes_of(doc: str) -> dict[str, str]:
    """What a docstring's "Attributes:" says of each name, on one line each."""
    out: dict[str, str] = {}
    inside, indent, name = False, 0, ""
    for line in doc.expandtabs().splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if text in ("Attributes:", "Args:"):
            inside, indent, name = True, depth, ""
        elif inside and text and depth <= indent:
            inside = False
        elif inside and text and depth == indent + 4 and ":" in text:
            name, _, said = text.partition(":")
            out[name] = said.strip()
        elif inside and text and name:
            out[name] = f"{out[name]} {text}"
    return out
