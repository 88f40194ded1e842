"""What the gate saw, as numbers and as sentences."""

from dataclasses import dataclass

from rerank.selection.candidates import PIPELINE, Candidate
from rerank.selection.foreign import Foreign
from rerank.selection.trials import NAMES

_NONE = Candidate("none", 0.0, "", 0.0, 0.0, 0.0)
# A pipeline that cannot be scaled is left out where less than this share of a bias would remain.
_LEAST_WHOLE = 0.5
# Below this shrinkage (an AUC above .625) a person is told that the bank looks foreign; sampling
# error of small banks stays above it.
_FOREIGN = 0.75


@dataclass(frozen=True)
class GateReport:
    """Outcome of the do-no-harm gate.

    Attributes:
        chosen: the winner; its figures are from pairs that it was not fitted on.
        candidates: all that was judged, besides "none" (gain 0 by definition).
        foreign: how far the bank is from the searched gallery.
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

    @classmethod
    def too_few(cls, n_groups: int, least: int) -> "GateReport":
        """The report of a bank with too few pairs to judge anything by."""
        note = f"The bank has {n_groups} groups of known pairs, the gate needs {least}"
        return cls(_NONE, (), Foreign(None, None), (0.0,) * len(NAMES), n_groups, 0, note)

    @property
    def shrink(self) -> float:
        """Factor on the correction for a foreign bank, 1 = none."""
        return self.foreign.shrink

    @property
    def does_nothing(self) -> bool:
        """Whether the ranking is left as it is."""
        return (
            (self.chosen.name == "none" and not self.chosen.mapped)
            or self.shrink == 0
            or (self.unscaled and self.shrink < _LEAST_WHOLE)
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
        foreign = self.foreign.auc is not None and self.shrink < _FOREIGN
        if self.does_nothing:
            return ("The bank looks foreign to this gallery; the ranking stays as it is.",)
        used = f"{100 * self.shrink:.0f} % of the correction is used"
        if foreign:
            used += ", because the bank looks foreign to this gallery"
        gain = f"R@1 {self.chosen.recall_gain:+.1f} on its own pairs"
        return (f"The bank helps: {gain}; {used}.",)

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
