"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class MetricName(StrEnum):
    """How embeddings are compared."""

    cosine = "cosine"
    dot = "dot"


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Videos: TypeAlias = Annotated[
    Path | None, typer.Option("--videos", help="Gallery embeddings (.h5, .npy, .npz, ...).")
]
Texts: TypeAlias = Annotated[
    Path | None, typer.Option("--texts", help="Query embeddings of the same model.")
]
Sims: TypeAlias = Annotated[
    Path | None,
    typer.Option("--sims", help="A texts x videos matrix (.npy or .h5) instead of embeddings."),
]
BankTexts: TypeAlias = Annotated[
    Path | None,
    typer.Option("--bank-texts", help="Texts that are not test queries; fits text to video."),
]
BankVideos: TypeAlias = Annotated[
    Path | None,
    typer.Option("--bank-videos", help="Videos outside the gallery; fits video to text."),
]
BankGt: TypeAlias = Annotated[
    Path | None, typer.Option("--bank-gt", help="Known pairs of the bank; turns the gate on.")
]
Gt: TypeAlias = Annotated[
    Path | None, typer.Option("--gt", help="Ground truth: which videos are right for which text.")
]
Metric: TypeAlias = Annotated[
    MetricName, typer.Option("--metric", help="How embeddings are compared.")
]
Method: TypeAlias = Annotated[
    str | None,
    typer.Option("--method", help="Names joined by '+'; see `rerank methods`."),
]
Tau: TypeAlias = Annotated[
    str | None, typer.Option("--tau", help="Temperature in score units, or 'auto'.")
]
K: TypeAlias = Annotated[int, typer.Option("--k", help="How many results per query.")]
Device: TypeAlias = Annotated[DeviceName, typer.Option("--device", help="Where to compute.")]
Memory: TypeAlias = Annotated[
    str | None,
    typer.Option("--memory", help="Memory to use, such as 8GB [default: a share of what is free]."),
]
FIGURES = "R@1,R@5,R@10,MdR,MnR"
Figures: TypeAlias = Annotated[
    str,
    typer.Option(
        "--figures",
        "--columns",
        help="What to measure: R@k, MdR, MnR, RSum, geo, nDCG@10, MRR, AP(rel=2), ...",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
