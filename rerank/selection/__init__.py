"""Selection that does no harm: the gate, tuning on labelled pairs, and marginals.

`gated_fit` decides what a bank may change, `tune` chooses settings on labelled pairs, and
`recommend_marginals` sees repeated queries and items without queries. None of them looks at the
answers of the queries that are to be ranked.
"""

from rerank.methods.marginals import Marginals, recommend_marginals
from rerank.selection.candidates import Candidate
from rerank.selection.gate import gated_fit
from rerank.selection.gate_report import GateReport
from rerank.selection.tune import Settings, TuneReport, tune

__all__ = [
    "Candidate",
    "GateReport",
    "Marginals",
    "Settings",
    "TuneReport",
    "gated_fit",
    "recommend_marginals",
    "tune",
]
