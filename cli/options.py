"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from rerank.core import words
from rerank_cli.named import complete_figures, complete_methods, endings, figures

Videos: TypeAlias = Annotated[
    Path | None,
    typer.Option("--videos", "--gallery", help=f"Gallery embeddings ({endings()})."),
]
Texts: TypeAlias = Annotated[
    Path | None, typer.Option("--texts", "--queries", help="Query embeddings of the same model.")
]
Sims: TypeAlias = Annotated[
    Path | None,
    typer.Option("--sims", help="A texts x videos matrix instead of embeddings."),
]
# A file for each of several models of the same texts and videos.
ManyVideos: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--videos", "--gallery", help=f"Gallery embeddings ({endings()}); one file a model."
    ),
]
ManyTexts: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--texts", "--queries", help="Query embeddings of the same model; one file a model."
    ),
]
ManySims: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--sims", help="A texts x videos matrix instead of embeddings; one a model."),
]
ScoresAre: TypeAlias = Annotated[
    words.ScoresAre,
    typer.Option("--scores-are", help="What --sims holds; auto reads it off the numbers."),
]
Unscored: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--unscored",
        metavar="VALUE",
        help="The number in --sims for 'not scored'; 'none' has none [default: recognised].",
    ),
]
BankTexts: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--bank-texts",
        "--bank-queries",
        help="Texts that are not test queries; fits text to video.",
    ),
]
BankVideos: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--bank-videos", "--bank-gallery", help="Videos outside the gallery; fits video to text."
    ),
]
BankSims: TypeAlias = Annotated[
    Path | None,
    typer.Option("--bank-sims", help="Bank texts x the videos of --sims; fits text to video."),
]
ManyBankTexts: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--bank-texts",
        "--bank-queries",
        help="Texts that are not test queries; fits text to video.",
    ),
]
ManyBankVideos: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--bank-videos", "--bank-gallery", help="Videos outside the gallery; fits video to text."
    ),
]
ModelWeights: TypeAlias = Annotated[
    str | None,
    typer.Option("--weights", help="Of several models: auto, or a number for each, as 1,.5."),
]
Bias: TypeAlias = Annotated[
    Path | None,
    typer.Option("--bias", help="A number of each gallery item from outside (.npy, .csv, .json)."),
]
BiasWeight: TypeAlias = Annotated[
    float, typer.Option("--bias-weight", help="What --bias is multiplied by, in score units.")
]
Sure: TypeAlias = Annotated[
    bool,
    typer.Option("--confidence", help="Also say how sure each first result is, if any is right."),
]
Threshold: TypeAlias = Annotated[
    float | None,
    typer.Option("--threshold", help="Answer only as far as this precision is reached, as .9."),
]
QueryGroups: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--query-groups",
        metavar="FILE",
        help="Texts of one query are pooled: a file of text ids and queries, or 'ids' (query#1).",
    ),
]
BankGt: TypeAlias = Annotated[
    Path | None, typer.Option("--bank-gt", help="Known pairs of the bank; turns the gate on.")
]
Gt: TypeAlias = Annotated[
    Path | None, typer.Option("--gt", help="Ground truth: which videos are right for which text.")
]
Metric: TypeAlias = Annotated[
    words.Metric, typer.Option("--metric", help="How embeddings are compared.")
]
Method: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Names joined by '+'; see `rerank methods`.",
        autocompletion=complete_methods,
    ),
]
OneToOne: TypeAlias = Annotated[
    bool, typer.Option("--one-to-one", help="No text has two videos, no video two texts.")
]
Grouped: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--grouped", help="The longer side is in groups: several texts of a video, or the reverse."
    ),
]
Tau: TypeAlias = Annotated[
    str | None, typer.Option("--tau", help="Temperature in score units, or 'auto'.")
]
Rho: TypeAlias = Annotated[
    float | None, typer.Option("--rho", help="Softness of the gallery marginal, 0 to 1.")
]
K: TypeAlias = Annotated[
    int | None, typer.Option("--k", help="Results per query, at most all items [default: 10].")
]
Device: TypeAlias = Annotated[words.Device, typer.Option("--device", help="Where to compute.")]
Memory: TypeAlias = Annotated[
    str | None,
    typer.Option("--memory", help="Memory to use, such as 8GB [default: a share of what is free]."),
]
Figures: TypeAlias = Annotated[
    str,
    typer.Option(
        "--figures",
        "--columns",
        help=f"What to measure: {figures()}; or of ir_measures, as nDCG@10, MRR, AP(rel=2).",
        autocompletion=complete_figures,
    ),
]
Heads: TypeAlias = Annotated[
    Path | None, typer.Option("--heads", help="Heads from `rerank train`, applied first.")
]
Nouns: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--nouns",
        metavar="QUERIES,GALLERY",
        help="What the two sides are called, such as 'captions,shoes' [default: texts,videos].",
    ),
]
Report: TypeAlias = Annotated[
    Path | None, typer.Option("--report", help="Also write one self-contained HTML page.")
]
Captions: TypeAlias = Annotated[
    Path | None,
    typer.Option("--captions", help="For the page: JSON {id: caption}, or CSV of id and caption."),
]
Thumbnails: TypeAlias = Annotated[
    Path | None, typer.Option("--thumbnails", help="For the page: folder of ID.jpg or .png.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Replace an existing file of another kind.")
]
