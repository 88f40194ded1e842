"""Selection that does no harm: the gate, and tuning on labelled pairs.

`gated_fit` decides what a bank may change, and `tune` chooses settings on labelled pairs. None of
them looks at the answers of the queries that are to be ranked.
"""

from rerank.selection.candidates import Candidate
from rerank.selection.gate import gated_fit
from rerank.selection.gate_report import GateReport
from rerank.selection.tune import Settings, TuneReport, tune

__all__ = [
    "Candidate",
    "GateReport",
    "Settings",
    "TuneReport",
    "gated_fit",
    "tune",
]
