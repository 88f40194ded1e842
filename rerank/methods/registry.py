"""Methods by name: "em+sinkhorn" -> Pipeline((EM(), Sinkhorn())).

Every method declares itself in its own file:

    @method("csls", help="half the mean of 10 nearest queries", source="Conneau et al., ICLR 2018")
    @dataclass(frozen=True)
    class CSLS: ...

Names, help and settings are read without importing those files (`rerank.core.registry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rerank.core.errors import RerankError
from rerank.core.registry import Card, Registry

if TYPE_CHECKING:
    from rerank.methods.base import Pipeline

_ORDER = {"embeddings": 0, "align": 1, "bias": 1, "rows": 2}
# Methods whose fitted form is a plan.
_PLANS = ("sinkhorn", "sinkhorn-sparse")


@dataclass(frozen=True)
class MethodFacts:
    """What is known of a method before it is imported.

    Attributes:
        source: paper or package.
        needs: of "bank", "gallery bank", "embeddings", "all queries", "dense matrix", "graph".
            The last two must be whole in one process.
        rows_only: whether it rewrites the row direction only (no transpose of the result).
        folds: whether it becomes a linear map and one number per gallery item, or centring first.
        preset: settings that differ from the defaults of the class.
        stage: "embeddings" rewrites vectors and comes first; "bias" adds a number per gallery
            item; "align" rewrites vectors from the plan of the bias before it, which it drops;
            "rows" answers one direction only and comes last.
        whole_bank: whether every one of several processes needs all of the bank.
        ranks_as: another method whose ranking is the same by its formula; lists of all methods
            show that one.
    """

    source: str
    needs: tuple[str, ...] = ("bank",)
    rows_only: bool = False
    folds: bool = True
    preset: Mapping[str, Any] = field(default_factory=dict)
    stage: Literal["embeddings", "align", "bias", "rows"] = "bias"
    whole_bank: bool = False
    ranks_as: str = ""

    @property
    def order(self) -> int:
        """Place in lists: in the order in which stages follow each other."""
        return _ORDER[self.stage]


METHODS = Registry(
    "method",
    "rerank.methods",
    MethodFacts,
    aliases={
        "qbnorm": "qb-norm",
        "qb_norm": "qb-norm",
        "dual-softmax": "dsl",
        "dualsoftmax": "dsl",
        "camoe": "dsl-camoe",
        "inverted-softmax": "is",
        "sinkhorn-knopp": "sinkhorn",
        "sk": "sinkhorn",
        "dbnorm": "dualis",
        "distribution-normalization": "dn",
        "mutual-proximity": "mp",
        "centering": "center",
        "centre": "center",
    },
)
method = METHODS.declare

# Settings a user may give for any method; stages without such a field ignore them.
SHARED_SETTINGS = ("tau",)


def cards_of(name: str) -> tuple[Card[MethodFacts], ...]:
    """The entries that a name stands for, in order; "none" is empty.

    Raises:
        RerankError: an unknown name, or an order that cannot be.
    """
    if not isinstance(name, str):
        raise RerankError(
            f"method: got {type(name).__name__}, expected a name such as 'em+sinkhorn'; "
            f"settings objects go into Pipeline((EM(), Sinkhorn()))"
        )
    names = [] if name.strip().lower() == "none" else name.split("+")
    cards = tuple(METHODS.find(part) for part in names)
    _check_order(cards)
    return cards


def canonical(name: str) -> str:
    """The name as the registry spells it: "QBNorm" -> "qb-norm"."""
    return "+".join(card.name for card in cards_of(name)) or "none"


def settings_of(card: Card[MethodFacts]) -> dict[str, Any]:
    """Defaults of a method's settings, its preset included."""
    return {s.name: card.facts.preset.get(s.name, s.default) for s in card.settings}


def name_of(stage: object) -> str:
    """The name under which a stage's settings class is registered; the plain one of several."""
    home = (type(stage).__module__, type(stage).__qualname__)
    names = [card.name for card in METHODS.cards().values() if card.home == home]
    if not names:
        raise RerankError(f"{home[1]} is no registered method; declare it with rerank.method")
    return min(names, key=len)


def pipeline(name: str, **settings: Any) -> Pipeline:  # noqa: ANN401  values of any stage's fields
    """Build the pipeline that a method name stands for.

    Args:
        name: names of `METHODS` joined by "+", applied from left to right; "none" is empty.
        **settings: handed to the stages that have a field of that name; None = its default.

    Raises:
        RerankError: an unknown name, an order that cannot be, or a setting that no stage has.

    >>> pipeline("center+csls", k=5)
    Pipeline(stages=(Centering(weight=1.0), CSLS(k=5)))
    """
    from rerank.methods.base import Pipeline

    cards = cards_of(name)
    given = {key: value for key, value in settings.items() if value is not None}
    stages, used = [], set()
    for card in cards:
        own = {setting.name for setting in card.settings} & given.keys()
        used |= own
        stages.append(card.load()(**{**card.facts.preset, **{key: given[key] for key in own}}))
    unused = given.keys() - used - set(SHARED_SETTINGS)
    if unused and cards:
        known = sorted({setting.name for card in cards for setting in card.settings})
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise RerankError(
            f"{sorted(unused)[0]}: method {name!r} has no such setting, {has}; leave it out"
        )
    return Pipeline(tuple(stages))


def _check_order(cards: tuple[Card[MethodFacts], ...]) -> None:
    """Vectors first, then biases, at most one row-wise method at the end."""
    for before, after in zip(cards, cards[1:], strict=False):
        if before.facts.stage == "rows":
            raise RerankError(
                f"method: {before.name!r} answers the row direction only, nothing can follow it, "
                f"got {after.name!r} after it; put {before.name!r} last and only one such method"
            )
        if after.facts.stage == "align" and before.facts.stage in ("align", "bias"):
            if before.name not in _PLANS:
                raise RerankError(
                    f"method: {after.name!r} follows a plan, got it after {before.name!r}; "
                    f"write sinkhorn+{after.name}"
                )
        if after.facts.order < before.facts.order:
            raise RerankError(
                f"method: {after.name!r} rewrites embeddings and must come before "
                f"{before.name!r}, which "
                f"{'aligns them' if before.facts.stage == 'align' else 'adds a bias'}: "
                f"write {after.name}+{before.name}"
            )
    aligned = [i for i, card in enumerate(cards) if card.facts.stage == "align"]
    for place, card in enumerate(cards[: aligned[-1] if aligned else 0]):
        follower = cards[place + 1].facts.stage
        if card.facts.stage == "bias" and follower != "align":
            raise RerankError(
                f"method: 'align' drops the biases before it, got {card.name!r} among them; "
                f"leave {card.name!r} out"
            )
    cards = cards[aligned[-1] :] if aligned else cards
    if len(cards) > 1 and "embeddings" in cards[-1].facts.needs:
        late = next((card for card in cards[:-1] if card.facts.stage == "bias"), None)
        if late is not None:
            raise RerankError(
                f"method: {cards[-1].name!r} works on embeddings and cannot follow "
                f"{late.name!r}, which adds a bias; leave {late.name!r} out"
            )
