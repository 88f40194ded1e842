"""Options that go together, each group one frozen object that a command hands on."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rerank.core import words
from rerank.io.reading import Reading as Reading  # of the standard library alone
from rerank_cli.options import (
    BankGt,
    BankSims,
    BankTexts,
    BankVideos,
    Figures,
    Grouped,
    ManySims,
    ManyTexts,
    ManyVideos,
    Metric,
    OneToOne,
    ScoresAre,
    Sims,
    Texts,
    Unscored,
    Videos,
)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of each parameter that is a group, a frozen dataclass.

    The options stand in the group's place, and the command gets the group as one object. A field
    is an option by its annotation, or by its help, as those of `rerank.io.reading.Reading`.
    """
    own = inspect.signature(command, eval_str=True)
    shown: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, each in own.parameters.items():
        if is_dataclass(each.annotation):
            parts = list(_options_of(each.annotation))
            groups[name] = (each.annotation, [part.name for part in parts])
            shown += parts
        else:
            shown.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401  whatever the command takes
        made = {
            name: kind(**{part: given.pop(part) for part in parts})
            for name, (kind, parts) in groups.items()
        }
        command(**given, **made)

    run.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


def _options_of(group: Any) -> Iterator[inspect.Parameter]:  # noqa: ANN401  a dataclass
    """The parameters that stand for the fields of a group."""
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        hint, default = hints[each.name], each.default
        if "help" in each.metadata:
            flag, help = f"--{each.name.replace('_', '-')}", each.metadata["help"]
            if hint == tuple[str, ...]:
                default = []
                hint = Annotated[list[str], typer.Option(flag, help=help, metavar="NAME")]
            else:
                hint = Annotated[hint, typer.Option(flag, help=help)]
        default = inspect.Parameter.empty if default is MISSING else default
        yield inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
        )


@dataclass(frozen=True)
class Files:
    """What is compared with what: embeddings of two sides, or a matrix."""

    videos: Videos = None
    texts: Texts = None
    sims: Sims = None
    scores_are: ScoresAre = "auto"
    unscored: Unscored = None
    metric: Metric = "cosine"

    @property
    def given(self) -> bool:
        """Whether there is any file."""
        return any(path is not None for path in (self.videos, self.texts, self.sims))


@dataclass(frozen=True)
class ManyFiles:
    """The same, a file for each of several models."""

    videos: ManyVideos = None
    texts: ManyTexts = None
    sims: ManySims = None
    scores_are: ScoresAre = "auto"
    unscored: Unscored = None
    metric: Metric = "cosine"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (*(self.videos or ()), *(self.texts or ()), *(self.sims or ()))


@dataclass(frozen=True)
class BankFiles:
    """What is none of the test set and may be fitted on."""

    bank_texts: BankTexts = None
    bank_videos: BankVideos = None
    bank_gt: BankGt = None
    bank_sims: BankSims = None


@dataclass(frozen=True)
class Belonging:
    """What is known of which texts and videos belong together."""

    one_to_one: OneToOne = False
    grouped: Grouped = False

    @property
    def groups(self) -> str:
        """The word that the tasks know.

        Raises:
            RerankError: both.
        """
        from rerank.core.errors import RerankError

        if self.one_to_one and self.grouped:
            raise RerankError("--one-to-one and --grouped contradict each other: give one of them")
        return "one-to-one" if self.one_to_one else "grouped" if self.grouped else "auto"


@dataclass(frozen=True)
class Judging:
    """How figures are counted, and which are shown."""

    ties: Annotated[words.Ties, typer.Option("--ties", help="How equal scores count.")] = "expected"
    allow_unjudged: Annotated[
        bool, typer.Option("--allow-unjudged", help="Leave texts without an entry out.")
    ] = False
    figures: Figures = "R@1,R@5,R@10,MdR,MnR"
