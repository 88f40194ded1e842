"""Confidence of the first results of a run, and what a result file and `eval` say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank.core.words import Name
from rerank.io import DirectionResult, Results
from rerank.methods.confidence import Confidence, Sure, bank_reference, confidence_of
from rerank.methods.engine import Fit
from rerank.metrics.certainty import auroc, calibration_error


@dataclass(frozen=True, eq=False)
class Answers:
    """One direction.

    Attributes:
        sure: confidence and "no match" of every query.
        settings: what turned scores into them.
        threshold: target precision that was asked for, or None.
        note: where they come from, one sentence.
    """

    sure: Sure
    settings: Confidence
    threshold: float | None
    note: str

    @property
    def cut(self) -> float | None:
        """The confidence from which on a query is answered."""
        return None if self.threshold is None else self.settings.cut(self.threshold)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        found = self.settings.as_dict()
        del found["cuts"]
        return {**found, "threshold": self.threshold, "cut": self.cut, "note": self.note}


def answers_of(fit: Fit, threshold: float | None = None) -> Answers:
    """Confidence of every query of a direction, calibrated on its bank's pairs where it has any.

    Raises:
        RerankError: scores without a temperature, or a threshold that is no target precision.
    """
    sim, bank = fit.sim, fit.direction.bank
    if bank is not None and bank.label != "transductive" and bank.pairs is not None:
        reference = bank_reference(fit.fitted, bank.pairs, bank.positives)
        settings = confidence_of(reference, bank.positives)
        note = (
            "confidence calibrated on the bank's known pairs" if settings.calibrated
            else "confidence from the bank's pairs, not calibrated: it orders queries"
        )  # fmt: skip
    else:
        settings = confidence_of(sim)
        note = "confidence read off the test queries, not calibrated: it orders queries"
    made = Answers(settings.of(sim), settings, threshold, note)
    _ = made.cut  # which refuses what is no precision
    return made


def judge_answers(
    result: DirectionResult, positives: Sequence[np.ndarray], cut: float | None
) -> dict[str, Any]:
    """How well confidence tells right first results from wrong, and what a cut lets through.

    A query without an entry in the ground truth is taken to have no answer in the gallery.

    Returns:
        `auroc`, `calibration_error`, and of a cut `coverage`, `precision`, and of queries without
        an answer `unanswerable` and `refused`, their share.
    """
    assert result.confidence is not None
    known = np.array([len(rows) > 0 for rows in positives])
    first = result.indices[:, 0]
    right = np.array([j in rows for j, rows in zip(first, positives, strict=True)])
    found: dict[str, Any] = {
        "auroc": auroc(result.confidence[known], right[known]),
        "calibration_error": calibration_error(result.confidence[known], right[known]),
    }
    if cut is None:
        return found
    answered = result.confidence >= cut
    taken = answered & known
    found["coverage"] = float(answered[known].mean()) if known.any() else 0.0
    found["precision"] = float(right[taken].mean()) if taken.any() else None
    found["unanswerable"] = int((~known).sum())
    found["refused"] = float((~answered[~known]).mean()) if (~known).any() else None
    return found


def judge_confidence(
    found: Results, positives: Mapping[Name, Sequence[np.ndarray]]
) -> dict[Name, dict[str, Any]]:
    """Of every direction of a result file that has confidence: its figures, and a `sentence`."""
    recorded = found.manifest.get("confidence", {})
    out: dict[Name, dict[str, Any]] = {}
    for name, right in positives.items():
        if found.directions[name].confidence is not None:
            settings = recorded[name]
            out[name] = judge_answers(found.directions[name], right, settings["cut"])
            out[name]["sentence"] = sentence_of(name, out[name], settings["threshold"])
    return out


def sentence_of(name: Name, found: Mapping[str, Any], threshold: float | None) -> str:
    """The same for a person."""
    if found["auroc"] is None:
        said = f"{name}: all first results are right, or all wrong: nothing to tell apart"
    else:
        said = (
            f"{name}: confidence tells right first results from wrong with AUROC "
            f"{found['auroc']:.3f}, calibration error {100 * found['calibration_error']:.1f} %"
        )
    if "coverage" not in found:
        return said
    exact = "nothing" if found["precision"] is None else f"{100 * found['precision']:.1f} % right"
    said += f"; threshold {threshold}: {100 * found['coverage']:.1f} % answered, {exact}"
    if found["refused"] is not None:
        said += (
            f"; {100 * found['refused']:.1f} % of {found['unanswerable']} queries without an "
            "entry refused"
        )
    return said
