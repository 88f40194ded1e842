"""Names for `--method` and Python: "em+sinkhorn" -> Pipeline((EM(), Sinkhorn()))."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from rerank.core.errors import RerankError
from rerank.methods.base import Pipeline, Reranker
from rerank.methods.centering import Centering, DistributionNormalization
from rerank.methods.corrected_rank import GloballyCorrectedRank, MutualProximity
from rerank.methods.dual_bank import DualBankSinkhorn, DualDIS, DualIS
from rerank.methods.dual_softmax import DualSoftmax
from rerank.methods.em import EM
from rerank.methods.expansion import AlphaQE
from rerank.methods.inverted_softmax import DynamicInvertedSoftmax, InvertedSoftmax
from rerank.methods.ncl import NCL
from rerank.methods.neighbors import CSLS, NNN
from rerank.methods.reciprocal import KReciprocal
from rerank.methods.sinkhorn import Sinkhorn


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    Attributes:
        build: the settings class.
        source: paper or package.
        needs: of "bank", "gallery bank", "embeddings", "all queries", "dense matrix".
        rows_only: whether it rewrites the row direction only (no transpose of the result).
        folds: whether it becomes a linear map and one number per gallery item, or centring first.
        preset: settings that differ from the defaults of the class.
        stage: "embeddings" rewrites vectors and comes first; "bias" adds a number per gallery
            item; "rows" answers one direction only and comes last.
        what: one line for lists.
    """

    build: Callable[..., Reranker]
    source: str
    needs: tuple[str, ...] = ("bank",)
    rows_only: bool = False
    folds: bool = True
    preset: Mapping[str, Any] = field(default_factory=dict)
    stage: Literal["embeddings", "bias", "rows"] = "bias"
    what: str = ""


_TWO = ("bank", "gallery bank")


def _rows(
    build: Callable[..., Reranker], source: str, what: str, *needs: str, **preset: object
) -> Method:
    return Method(
        build, source, needs or ("bank",), rows_only=True, folds=False, preset=preset,
        stage="rows", what=what,
    )  # fmt: skip


def _bias(
    build: Callable[..., Reranker], source: str, what: str, *needs: str, **preset: object
) -> Method:
    return Method(build, source, needs or ("bank",), preset=preset, what=what)


METHODS: dict[str, Method] = {
    "em": Method(
        EM, "EMCL, NeurIPS 2022", ("embeddings", "bank", "gallery bank"), stage="embeddings",
        what="linear map from EM bases",
    ),
    "center": Method(
        Centering, "Liang et al., NeurIPS 2022", ("embeddings", "bank"), stage="embeddings",
        what="each modality minus its mean, unit norm again",
    ),
    "alpha-qe": Method(
        AlphaQE, "Radenovic et al., TPAMI 2019", ("embeddings",), folds=False,
        stage="embeddings", what="query plus its 10 nearest items, alpha 3",
    ),
    "sinkhorn": _bias(
        Sinkhorn, "NCL, EMNLP 2022; Cuturi, NeurIPS 2013", "every item equally probable",
    ),
    "sinkhorn-sparse": Method(
        Sinkhorn, "the same, on a graph", ("embeddings", "bank"), preset={"neighbours": 128},
        what="from 128 neighbours and samples: beyond 1e11 pairs",
    ),
    "is": _bias(InvertedSoftmax, "Smith et al., ICLR 2017", "inverted softmax"),
    "csls": _bias(CSLS, "Conneau et al., ICLR 2018", "half the mean of 10 nearest queries"),
    "nnn": _bias(NNN, "Chowdhury et al., EMNLP 2024", ".75 of the mean of 128 nearest queries"),
    "dn": _bias(
        DistributionNormalization, "Zhou et al., NeurIPS 2023", ".25 of the mean over the bank",
    ),
    "ncl": _bias(NCL, "Park et al., EMNLP 2022", "published loop, temperature from the scores"),
    "ncl-published": _bias(
        NCL, "Park et al., EMNLP 2022", "published loop and logit scale 100", tau=0.01
    ),
    "dualis": _bias(DualIS, "DBNorm, EMNLP 2023", "inverted softmax by two banks", *_TWO),
    "dualis-published": _bias(
        DualIS, "DBNorm, EMNLP 2023", "published temperatures", *_TWO, tau=1.99, tau_gallery=1 / 3
    ),
    "dbsn": _bias(DualBankSinkhorn, "DBSN, ACM MM 2025", "Sinkhorn on two galleries", *_TWO),
    "dbsn-1": _bias(
        DualBankSinkhorn, "DBSN, ACM MM 2025", "the same, one iteration", *_TWO, n_iters=1
    ),
    "dbsn-published": _bias(
        DualBankSinkhorn, "DBSN, ACM MM 2025", "published temperature .01", *_TWO, tau=0.01
    ),
    "dis": _rows(
        DynamicInvertedSoftmax, "QB-Norm, CVPR 2022", "inverted softmax where a hub leads",
    ),
    "qb-norm": _rows(
        DynamicInvertedSoftmax, "QB-Norm, CVPR 2022", "published: tau 1/20, k 1",
        tau=0.05, k=1, min_count=1,
    ),
    "dualdis": _rows(DualDIS, "DBNorm, EMNLP 2023", "product of two gated softmaxes", *_TWO),
    "dualdis-published": _rows(
        DualDIS, "DBNorm, EMNLP 2023", "published temperatures", *_TWO,
        tau=1.99, tau_gallery=1 / 3,
    ),
    "dsl": _rows(DualSoftmax, "CAMoE, 2021", "scores times their softmax over the queries"),
    "dsl-camoe": _rows(
        DualSoftmax, "CAMoE, 2021; EMCL-Net++", "published: tau .01", tau=0.01, form="camoe"
    ),
    "dsl-clip-vip": _rows(
        DualSoftmax, "CLIP-ViP, ICLR 2023; T-MASS", "published: tau .01", tau=0.01, form="clip-vip"
    ),
    "dsl-internvideo": _rows(
        DualSoftmax, "InternVideo, 2022", "published: logits times their softmax",
        tau=0.01, form="internvideo",
    ),
    "mp": _rows(MutualProximity, "Schnitzer et al., JMLR 2012", "mutual proximity, Gaussian"),
    "mp-empirical": _rows(
        MutualProximity, "Schnitzer et al., JMLR 2012", "mutual proximity, by counting",
        "bank", "dense matrix", form="empirical",
    ),
    "gc": _rows(
        GloballyCorrectedRank, "Dinu et al., ICLR workshop 2015", "rank of the query in each list",
        "bank", "dense matrix",
    ),
    "k-reciprocal": _rows(
        KReciprocal, "Zhong et al., CVPR 2017", "reciprocal-neighbour sets, k1 20, k2 6, .3",
        "embeddings", "all queries", "dense matrix",
    ),
}  # fmt: skip

# Settings a user may give for any method; stages without such a field ignore them.
SHARED_SETTINGS = ("tau",)

_ORDER = {"embeddings": 0, "bias": 1, "rows": 2}


def pipeline(method: str, **settings: Any) -> Pipeline:  # noqa: ANN401  values of any stage's fields
    """Build the pipeline that a method name stands for.

    Args:
        method: names of `METHODS` joined by "+", applied from left to right; "none" is empty.
        **settings: handed to the stages that have a field of that name; None = its default.

    Raises:
        RerankError: an unknown name, an order that cannot be, or a setting that no stage has.
    """
    names = [] if method == "none" else method.split("+")
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise RerankError(
            f"method: got {unknown[0]!r}, expected 'none' or names joined by '+' of: "
            f"{', '.join(METHODS)}"
        )
    _check_order(names)
    given = {key: value for key, value in settings.items() if value is not None}
    stages, used = [], set()
    for name in names:
        entry = METHODS[name]
        own = {f.name for f in fields(entry.build)} & given.keys()  # type: ignore[arg-type]
        used |= own
        stages.append(entry.build(**{**entry.preset, **{key: given[key] for key in own}}))
    unused = given.keys() - used - set(SHARED_SETTINGS)
    if unused and names:
        raise RerankError(
            f"{sorted(unused)[0]}: method {method!r} has no such setting; leave it out"
        )
    return Pipeline(tuple(stages))


def _check_order(names: list[str]) -> None:
    """Vectors first, then biases, at most one row-wise method at the end."""
    for before, after in zip(names, names[1:], strict=False):
        one, two = METHODS[before].stage, METHODS[after].stage
        if one == "rows":
            raise RerankError(
                f"method: {before!r} answers the row direction only, nothing can follow it, got "
                f"{after!r} after it; put {before!r} last and only one such method"
            )
        if _ORDER[two] < _ORDER[one]:
            raise RerankError(
                f"method: {after!r} rewrites embeddings and must come before {before!r}, which "
                f"adds a bias: write {after}+{before}"
            )
    if len(names) > 1 and "embeddings" in METHODS[names[-1]].needs:
        late = next((n for n in names[:-1] if METHODS[n].stage == "bias"), None)
        if late is not None:
            raise RerankError(
                f"method: {names[-1]!r} works on embeddings and cannot follow {late!r}, which "
                f"adds a bias; leave {late!r} out"
            )
