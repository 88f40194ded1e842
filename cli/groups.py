"""Options that go together, each group one frozen object that a command hands on."""

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
    Bias,
    BiasWeight,
    Figures,
    Grouped,
    ManyBankTexts,
    ManyBankVideos,
    ManySims,
    ManyTexts,
    ManyVideos,
    Method,
    Metric,
    OneToOne,
    ScoresAre,
    Sims,
    Tau,
    Texts,
    Unscored,
    Videos,
)


def spread(
    command: Callable[..., None],
) -> tuple[inspect.Signature, dict[str, tuple[Any, list[str]]]]:
    """The options of a command, and its groups: each name with the dataclass and its options.

    The options of a parameter that is a group, a frozen dataclass, stand in the group's place. A
    field is an option by its annotation, or by its help, as those of `rerank.io.reading.Reading`.
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
    return own.replace(parameters=shown), groups


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

    @property
    def first(self) -> dict[str, Path | None]:
        """The file of the first model, of each role."""
        roles = {"videos": self.videos, "texts": self.texts, "sims": self.sims}
        return {role: paths[0] if paths else None for role, paths in roles.items()}


@dataclass(frozen=True)
class BankFiles:
    """What is none of the test set and may be fitted on."""

    bank_texts: BankTexts = None
    bank_videos: BankVideos = None
    bank_gt: BankGt = None
    bank_sims: BankSims = None


@dataclass(frozen=True)
class ManyBanks:
    """The same, embeddings of each of several models."""

    bank_texts: ManyBankTexts = None
    bank_videos: ManyBankVideos = None
    bank_gt: BankGt = None
    bank_sims: BankSims = None

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """All files."""
        banks = (*(self.bank_texts or ()), *(self.bank_videos or ()))
        return (*banks, self.bank_gt, self.bank_sims)


@dataclass(frozen=True)
class Fitting:
    """What is fitted, by what settings, and whether known pairs may veto it."""

    method: Method = None
    tau: Tau = None
    settings: Annotated[
        Path | None, typer.Option("--settings", help="Settings written by `rerank tune`.")
    ] = None
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Judge biases on the bank's known pairs.")
    ] = True

    def chosen(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401  further settings
        """What was said of the method; the file of settings has the rest.

        Raises:
            RerankError: a temperature that is none.
        """
        from rerank.methods.as_typed import parse_tau

        given = {"method": self.method, "tau": parse_tau(self.tau), **more}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Prior:
    """Numbers of the gallery items from outside."""

    bias: Bias = None
    bias_weight: BiasWeight = 1.0


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
