"""What the gate saw, as numbers and as sentences."""

import math
from dataclasses import dataclass

from rerank.selection.candidates import PIPELINE, Candidate
from rerank.selection.drift import Drift
from rerank.selection.foreign import Foreign
from rerank.selection.trials import NAMES

_NONE = Candidate("none", 0.0, "", 0.0, 0.0, 0.0)
# A pipeline that cannot be scaled is left out where less than this share of a bias would remain.
LEAST_WHOLE = 0.5
# A gain of R@1 in points that does not round to 0.0.
_SHOWN = 0.05


@dataclass(frozen=True)
class GateReport:
    """Outcome of the do-no-harm gate.

    Attributes:
        chosen: the winner; its figures are from pairs that it was not fitted on.
        candidates: all that was judged, besides "none" (gain 0 by definition).
        foreign: how far the bank is from the searched gallery, where queries are not known or few.
        drift: how it suits the queries that will be ranked, where they are known.
        weights: weight of each bias of `rerank.selection.trials.NAMES`, before `shrink`.
        n_groups: independent groups of known pairs (a video with its captions is one).
        n_pairs: known pairs.
        note: "" or why nothing was judged.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    foreign: Foreign
    weights: tuple[float, ...]
    n_groups: int
    n_pairs: int
    note: str = ""
    drift: Drift | None = None

    @classmethod
    def unjudged(cls, n_groups: int, note: str) -> "GateReport":
        """The report of a bank by which nothing can be judged, and why."""
        return cls(_NONE, (), Foreign(None, None), (0.0,) * len(NAMES), n_groups, 0, note)

    @property
    def shrink(self) -> float:
        """Factor on the correction for other queries or a foreign bank, 1 = none."""
        return min(self.foreign.shrink, 1.0 if self.drift is None else self.drift.shrink)

    @property
    def by_queries(self) -> bool:
        """Whether the queries that will be ranked lowered it; such a fit is no longer inductive."""
        return self.drift is not None and self.drift.shrink < self.foreign.shrink

    @property
    def does_nothing(self) -> bool:
        """Whether the ranking is left as it is."""
        return (
            (self.chosen.name == "none" and not self.chosen.mapped)
            or self.shrink == 0
            or (self.unscaled and self.shrink < LEAST_WHOLE)
        )

    @property
    def unscaled(self) -> bool:
        """Whether the winner is a pipeline that is not one number per item."""
        return self.chosen.name == PIPELINE and not any(
            c.name == PIPELINE and c.strength != 1 for c in self.candidates
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should be told; the figures behind it are in `as_dict`."""
        if self.note:
            return (f"{self.note}; the ranking stays as it is",)
        if self.chosen.name == "none" and not self.chosen.mapped:
            return (
                f"The bank does not help (none): its {self.n_pairs} known pairs show no gain "
                f"beyond noise, and the ranking stays as it is.",
            )
        why = self._why
        if self.does_nothing:
            return (f"{why[:1].upper()}{why[1:]}; the ranking stays as it is.",)
        used = f"{100 * self.shrink:.0f} % of the correction is used"
        if self.shrink == 1:
            said = f"{self._gain}; {used}."
            found = "" if self.drift is None else self.drift.sentence
            return (said, f"{found}.") if found else (said,)
        return (f"{self._gain}; {used}, because {why}.",)

    @property
    def _gain(self) -> str:
        """What its own pairs gain: R@1, or where it stays as it is what was judged by."""
        best = self.chosen
        if best.recall_gain >= _SHOWN:
            return f"The bank helps: R@1 {best.recall_gain:+.1f} on its own pairs"
        more = 100 * math.expm1(best.gain)
        shown = f"{more:.2g}" if more < 10 else f"{more:.0f}"
        return (
            f"The bank leaves R@1 as it is on its own pairs; their right answers get {shown} % "
            f"more likely, beyond noise"
        )

    @property
    def _why(self) -> str:
        """Why less than all is used."""
        if self.drift is not None and self.by_queries:
            return self.drift.different
        return "the bank looks foreign to this gallery"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "chosen": self.chosen.name if not self.does_nothing else "none",
            "strength": self.chosen.strength,
            "mapped": self.chosen.mapped,
            "map": self.chosen.lead or None,
            "gain": self.chosen.gain,
            "error": self.chosen.error,
            "recall_gain": self.chosen.recall_gain,
            "weights": dict(zip(NAMES, self.weights, strict=True)),
            "foreign_auc": {"gallery": self.foreign.gallery, "queries": self.foreign.queries},
            "drift": None if self.drift is None else self.drift.as_dict(),
            "shrink": self.shrink,
            "n_groups": self.n_groups,
            "n_pairs": self.n_pairs,
            "candidates": [
                {
                    "name": c.name,
                    "map": c.lead or None,
                    "strength": c.strength,
                    "gain": c.gain,
                    "error": c.error,
                    "recall_gain": c.recall_gain,
                }
                for c in self.candidates
            ],
            "sentences": list(self.sentences),
        }
