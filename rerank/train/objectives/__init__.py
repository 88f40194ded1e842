"""The training objectives by name."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from rerank.core.errors import RerankError
from rerank.train.objectives.base import Context, Features, Loss, Objective
from rerank.train.objectives.cali_nce import CaliNCE, CaliNCESettings
from rerank.train.objectives.emcl import EMCL, EMCLSettings
from rerank.train.objectives.infonce import InfoNCE, InfoNCESettings
from rerank.train.objectives.ncl import NCL, NCLSettings
from rerank.train.objectives.support_set import SupportSet, SupportSetSettings

OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "infonce": (InfoNCESettings, InfoNCE),
    "emcl": (EMCLSettings, EMCL),
    "ncl": (NCLSettings, NCL),
    "support-set": (SupportSetSettings, SupportSet),
    "cali-nce": (CaliNCESettings, CaliNCE),
}

__all__ = ["OBJECTIVES", "Context", "Features", "Loss", "Objective", "build", "full_settings"]


def full_settings(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All settings of an objective, the given ones over its defaults.

    Values may be text, as typed on the command line; they take the type of the default.

    Raises:
        RerankError: an unknown objective or setting, or a value of another type.
    """
    if name not in OBJECTIVES:
        raise RerankError(f"objective: got {name!r}, expected one of {', '.join(OBJECTIVES)}")
    settings = OBJECTIVES[name][0]
    known = {f.name: f.default for f in fields(settings)}
    values: dict[str, Any] = {}
    for key, value in (given or {}).items():
        if key not in known:
            names = ", ".join(known) or "none"
            raise RerankError(f"{name} has no setting {key!r}; its settings are: {names}")
        values[key] = _typed(value, known[key], f"{name}: {key}")
    return asdict(settings(**values))


def _typed(value: Any, default: Any, what: str) -> Any:  # noqa: ANN401  any field
    kind = type(default)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        out = value if isinstance(value, kind) else kind(value) if kind is not bool else None
    except (TypeError, ValueError):
        out = None
    if out is None or (kind is int and not isinstance(value, str) and out != value):
        raise RerankError(f"{what}: got {value!r}, expected {kind.__name__}, as in {default!r}")
    return out


def build(name: str, context: Context, settings: Mapping[str, Any] | None = None) -> Objective:
    """An objective with its parameters, on the CPU; see `full_settings`."""
    values = full_settings(name, settings)
    settings_class, objective = OBJECTIVES[name]
    return objective(settings_class(**values), context)
