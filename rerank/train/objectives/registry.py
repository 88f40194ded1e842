"""The training objectives by name; names, help and settings are known without torch.

An objective is one file: a settings dataclass and a class, declared by the decorator.

    @dataclass(frozen=True)
    class MineSettings:
        sharpness: float = 2.0

    @objective("mine", help="what it does, in a line", settings="MineSettings", source="paper")
    class Mine(Objective):
        def __init__(self, settings: MineSettings, context: Context) -> None: ...

        def forward(self, features: Features) -> Loss: ...

The same lines in a module outside the package, named by `RERANK_PLUGINS`, add it to
`rerank train --objective`.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from rerank.core.errors import RerankError
from rerank.core.registry import Card, Registry
from rerank.core.wording import either

if TYPE_CHECKING:
    from rerank.train.objectives.base import Context, Objective


@dataclass(frozen=True)
class ObjectiveFacts:
    """What is known of an objective.

    Attributes:
        source: the paper, or what it is after.
        order: place in lists.
        needs: "captions" where it cannot do without them.
        otherwise: the objective that it is without what it needs.
    """

    source: str = ""
    order: int = 100
    needs: str = ""
    otherwise: str = ""


OBJECTIVES: Registry[ObjectiveFacts] = Registry(
    "objective", "rerank.train.objectives", ObjectiveFacts,
    aliases={"clip": "infonce", "info-nce": "infonce", "emcl-net": "emcl", "ssb": "support-set"},
)  # fmt: skip

objective = OBJECTIVES.declare


def full_settings(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All settings of an objective, the given ones over its defaults.

    Values may be text, as typed on the command line; they take the type of the default.

    Raises:
        RerankError: an unknown objective or setting, or a value of another type or out of range.
    """
    card = OBJECTIVES.find(name)
    known = {setting.name: setting.default for setting in card.settings}
    values: dict[str, Any] = {}
    for key, value in (given or {}).items():
        if key not in known:
            names = ", ".join(known) or "none"
            raise RerankError(f"{name} has no setting {key!r}; its settings are: {names}")
        if known[key] is MISSING:
            values[key] = value
        else:
            values[key] = typed(value, known[key], f"{name}: {key}")
    made = settings_class(card)(**values)
    return {f.name: getattr(made, f.name) for f in fields(made)}


def settings_class(card: Card[ObjectiveFacts]) -> Any:  # noqa: ANN401  a dataclass
    """The settings class of an objective: the type of its constructor's first argument."""
    made = card.load()
    hints = get_type_hints(made.__init__)
    found = hints.get("settings")
    if not (isinstance(found, type) and is_dataclass(found)):
        raise RerankError(
            f"objective {card.name!r}: got a constructor whose `settings` is annotated as "
            f"{found!r}, expected its settings dataclass"
        )
    return found


def typed(value: Any, default: Any, what: str) -> Any:  # noqa: ANN401  any field
    """A value as the type of its default; text is read as that type.

    Raises:
        RerankError: another type, or a number that is not finite.
    """
    kind = type(default)
    out: Any = None
    if isinstance(value, str) and kind is bool:
        out = {"true": True, "false": False}.get(value.lower())
    elif isinstance(value, str) and kind in (int, float):
        try:
            out = kind(value)
        except ValueError:
            out = None
    elif isinstance(value, bool) or kind is bool:
        out = value if isinstance(value, kind) else None
    elif kind is float and isinstance(value, int):
        out = float(value)
    elif kind is int and isinstance(value, float) and value == round(value):
        out = int(value)
    elif isinstance(value, kind):
        out = value
    if out is None or (kind is float and not math.isfinite(out)):
        word = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
        raise RerankError(
            f"{what}: got {value!r}, expected {word.get(kind, kind.__name__)}, as in {default!r}"
        )
    return out


def check_range(
    settings: object, low: Mapping[str, float], high: Mapping[str, float] | None = None
) -> None:
    """Numbers of a settings class within their ranges, bounds included.

    Raises:
        RerankError: the first that is not, with what would be right.
    """
    high = high or {}
    for name in (*low, *(n for n in high if n not in low)):
        value, least, most = getattr(settings, name), low.get(name), high.get(name)
        if (least is not None and not value >= least) or (most is not None and not value <= most):
            wanted = (
                f"{least:g} to {most:g}" if least is not None and most is not None
                else f"at least {least:g}" if least is not None else f"at most {most:g}"
            )  # fmt: skip
            raise RerankError(f"{name}: got {value}, expected {wanted}")


def check_positive(settings: object, *names: str) -> None:
    """Numbers of a settings class above zero.

    Raises:
        RerankError: the first that is not.
    """
    for name in names:
        value = getattr(settings, name)
        if not (value > 0 and math.isfinite(value)):
            raise RerankError(f"{name}: got {value}, expected a number above 0")


def check_choice(settings: object, name: str, choices: tuple[str, ...]) -> None:
    """A word of a settings class among its choices.

    Raises:
        RerankError: it is not.
    """
    value = getattr(settings, name)
    if value not in choices:
        raise RerankError(f"{name}: got {value!r}, expected one of {', '.join(choices)}")


def effective(name: str, *, captions: bool) -> str:
    """The name of what an objective is with this data.

    Raises:
        RerankError: it needs captions and is nothing without.
    """
    card = OBJECTIVES.find(name)
    if card.facts.needs != "captions" or captions:
        return card.name
    if not card.facts.otherwise:
        raise RerankError(
            f"{card.name} needs captions; give {either('--captions captions.json', 'captions=')}"
        )
    return card.facts.otherwise


def build(name: str, context: "Context", settings: Mapping[str, Any] | None = None) -> "Objective":
    """An objective with its parameters, on the CPU; see `full_settings`.

    Raises:
        RerankError: see `full_settings`; or one that needs captions where there are none.
    """
    card = OBJECTIVES.find(name)
    if card.facts.needs == "captions" and context.data.captions is None:
        otherwise = card.facts.otherwise
        hint = f", or use {otherwise!r}" if otherwise else ""
        way = either("--captions captions.json", "captions=")
        raise RerankError(f"{card.name} needs captions; give {way}{hint}")
    values = full_settings(card.name, settings)
    return card.load()(settings_class(card)(**values), context)
