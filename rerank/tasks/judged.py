"""What evaluating a ranking gives, and how it was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerank import io
from rerank.core.pairs import as_grades
from rerank.core.similarity import Similarity
from rerank.core.words import Name, Ties
from rerank.metrics.browse import Browser
from rerank.metrics.figures import Figure
from rerank.metrics.hubness import Hubness
from rerank.metrics.judge import Judgement, bootstrap_of, judge_all, paired_changes, views
from rerank.metrics.pictures import Picture, Scores
from rerank.metrics.uncertainty import Difference


@dataclass(frozen=True, eq=False)
class Judged:
    """Exact ranks of both directions, before and after.

    Attributes:
        label: which queries the re-ranking used; "none" for raw input.
        labels: the same per direction.
        ties: how ties were resolved.
        raw: figures of the embeddings before trained heads, where both have one dimension.
        before: figures per direction of the similarity as it was re-ranked (behind trained heads,
            if there are any), or None where the inputs are gone.
        after: figures per direction of the rewritten one, or None for raw input.
        distractors: gallery videos without a text.
        unjudged: texts without an entry (only with `allow_unjudged`).
        notes: what the user should know.
        changes: of the figures but medians, paired by query, with 95 % intervals and p-values.
        hubness: before and after, where it was asked for.
        gallery_ids: names of the gallery items per direction.
        browsers: for the report, query by query, where it was asked for.
        scores: of right and other pairs, raw, where it was asked for.
        facts: files and settings, for the report.
        drawn: pictures of calibration and temperature per direction, where it was asked for.
        undrawn: for the report, which picture is missing and why.
        answers: how well confidence tells right from wrong, per direction that has any.
    """

    label: str
    labels: dict[str, str]
    ties: Ties
    before: dict[Name, Judgement] | None
    after: dict[Name, Judgement] | None
    distractors: int
    unjudged: int
    notes: tuple[str, ...] = ()
    raw: dict[Name, Judgement] | None = None
    changes: dict[Name, dict[str, Difference]] = field(default_factory=dict)
    hubness: dict[Name, tuple[Hubness, Hubness | None]] = field(default_factory=dict)
    gallery_ids: dict[Name, tuple[str, ...]] = field(default_factory=dict)
    browsers: tuple[Browser, ...] = ()
    scores: dict[Name, Scores] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    drawn: Mapping[Name, tuple[Picture, ...]] = field(default_factory=dict)
    undrawn: str = ""
    answers: dict[Name, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """One object: label, ties, and per direction the figures and the number of queries."""
        out: dict[str, Any] = {"label": self.label, "ties": self.ties}
        both = (("raw", self.raw), ("before", self.before), ("after", self.after))
        for when, judged in both:
            if judged is not None:
                out[when] = {
                    name: {
                        **found.table(),
                        "queries": len(found.ranks),
                        "tied_queries": found.ranks.tied_queries,
                    }
                    for name, found in judged.items()
                }
        for name, changes in self.changes.items():
            out.setdefault("change", {})[name] = {
                key: {"change": found.change, "low": found.low, "high": found.high, "p": found.p}
                for key, found in changes.items()
            }
        if self.answers:
            out["answers"] = self.answers
        out["labels"] = self.labels
        out["distractors"] = self.distractors
        out["unjudged"] = self.unjudged
        return out


@dataclass(frozen=True, eq=False)
class Asked:
    """How everything is judged."""

    truth: io.GroundTruth
    figures: tuple[Figure, ...]
    ties: Ties

    def of(self, both: Mapping[Name, Similarity]) -> dict[Name, Judgement]:
        """Figures of both directions."""
        grades = as_grades(self.truth.graded)
        seen = views(both, tuple(self.truth.positives), grades=grades)
        return judge_all(seen, figures=self.figures, ties=self.ties)

    def changes(
        self,
        both: Mapping[Name, Similarity],
        before: Mapping[Name, Judgement],
        after: Mapping[Name, Judgement],
    ) -> dict[Name, dict[str, Difference]]:
        """Paired changes with intervals; queries of one video are drawn together."""
        out: dict[Name, dict[str, Difference]] = {}
        for name, (sim, right, _) in views(both, tuple(self.truth.positives)).items():
            boot = bootstrap_of(right, sim.shape[1])
            out[name] = paired_changes(boot, before[name], after[name])
        return out
