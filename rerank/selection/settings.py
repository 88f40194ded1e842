"""Settings that tuning chooses, and the similarity that they make of a direction."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rerank import presets
from rerank.reranker import Pipeline

# What tuning may set; a method has those that one of its stages has.
TUNED = ("tau", "rho", "strength", "n_bases")


@dataclass(frozen=True)
class Settings:
    """A method and the settings that were tuned; None = the method has none, or its default.

    Attributes:
        method: a name for `--method`, "none" included.
        tau: temperature in score units.
        rho: softness of the gallery marginal.
        strength: weight of the EM reconstruction.
        n_bases: number of EM bases.
    """

    method: str
    tau: float | None = None
    rho: float | None = None
    strength: float | None = None
    n_bases: int | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Settings":
        """From a JSON object; keys that are not settings are left alone."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def as_dict(self) -> dict[str, str | float | int | None]:
        """For JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def own(self) -> "Settings":
        """Without the settings that no stage of the method has."""
        names = tunable(self.method)
        return replace(self, **{name: None for name in TUNED if name not in names})

    def pipeline(self) -> Pipeline:
        """The stages, unfitted."""
        values = {name: getattr(self, name) for name in tunable(self.method)}
        return presets.pipeline(self.method, **values)


def tunable(method: str) -> tuple[str, ...]:
    """Which of `TUNED` the stages of a method have.

    Raises:
        RerankError: an unknown method.
    """
    presets.pipeline(method)
    names = [] if method == "none" else method.split("+")
    builds = [presets.METHODS[name].build for name in names]
    have = {f.name for build in builds for f in fields(build)}  # type: ignore[arg-type]
    return tuple(name for name in TUNED if name in have)
