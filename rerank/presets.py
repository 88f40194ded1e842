"""Names for `--method` and Python: "em+sinkhorn" -> Pipeline((EM(), Sinkhorn()))."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from rerank.errors import RerankError
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.softmax import InvertedSoftmax
from rerank.reranker import Pipeline, Reranker


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    Attributes:
        build: the settings class.
        source: paper or package.
        needs: of "bank", "gallery bank", "embeddings", "all queries", "dense matrix".
        rows_only: whether it rewrites the row direction only (no transpose of the result).
        folds: whether it becomes a linear map and one number per gallery item.
    """

    build: Callable[..., Reranker]
    source: str
    needs: tuple[str, ...] = ("bank",)
    rows_only: bool = False
    folds: bool = True


METHODS: dict[str, Method] = {
    "em": Method(EM, "EMCL, NeurIPS 2022", ("embeddings", "bank", "gallery bank")),
    "sinkhorn": Method(Sinkhorn, "NCL, EMNLP 2022; Cuturi, NeurIPS 2013"),
    "is": Method(InvertedSoftmax, "Smith et al., ICLR 2017"),
}

# Settings a user may give for any method; stages without such a field ignore them.
SHARED_SETTINGS = ("tau",)


def pipeline(method: str, **settings: Any) -> Pipeline:  # noqa: ANN401  values of any stage's fields
    """Build the pipeline that a method name stands for.

    Args:
        method: names of `METHODS` joined by "+", applied from left to right; "none" is empty.
        **settings: handed to the stages that have a field of that name; None = its default.

    Raises:
        RerankError: an unknown name, or a setting that no stage has.
    """
    names = [] if method == "none" else method.split("+")
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise RerankError(
            f"method: got {unknown[0]!r}, expected 'none' or names joined by '+' of: "
            f"{', '.join(METHODS)}"
        )
    given = {key: value for key, value in settings.items() if value is not None}
    stages, used = [], set()
    for name in names:
        build = METHODS[name].build
        own = {f.name for f in fields(build)} & given.keys()  # type: ignore[arg-type]
        used |= own
        stages.append(build(**{key: given[key] for key in own}))
    unused = given.keys() - used - set(SHARED_SETTINGS)
    if unused and names:
        raise RerankError(
            f"{sorted(unused)[0]}: method {method!r} has no such setting; leave it out"
        )
    return Pipeline(tuple(stages))
