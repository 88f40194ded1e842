"""The words that people choose from, each list written once.

Options of the command line, arguments of functions and checks of files share these; a list of
words that no other module needs stays where it is used. Imports nothing heavy, so that help and the
error for a wrong word answer at once. What can be added to (methods, formats, stores, figures,
objectives) is no list of words but a registry.
"""

from typing import Literal, TypeAlias, get_args

# Which side searches which.
Name: TypeAlias = Literal["t2v", "v2t"]
NAMES: tuple[Name, Name] = ("t2v", "v2t")
Side: TypeAlias = Literal["texts", "videos"]
# How embeddings are compared, and by what a store compares.
Metric: TypeAlias = Literal["cosine", "dot"]
Space: TypeAlias = Literal["ip", "cosine", "l2"]
QuerySide: TypeAlias = Literal["mapped", "raw"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
# What a matrix holds; "auto" reads it off the numbers.
Kind: TypeAlias = Literal[
    "similarities", "logits", "softmax", "probabilities", "log-probabilities", "log-odds",
    "distances",
]  # fmt: skip
ScoresAre: TypeAlias = Literal[
    "auto", "similarities", "logits", "softmax", "probabilities", "log-probabilities", "log-odds",
    "distances",
]  # fmt: skip
# What is known of rows and columns, and how queries that repeat share their mass.
GroupsWord: TypeAlias = Literal["auto", "one-to-one", "grouped"]
Counting: TypeAlias = Literal["share", "count"]
# Whose queries a fit has seen.
Label: TypeAlias = Literal["none", "inductive", "cross-fit", "transductive"]
# How figures are counted and shown.
Ties: TypeAlias = Literal["expected", "mid", "optimistic", "pessimistic"]
Protocol: TypeAlias = Literal[
    "auto", "pairs", "multi-caption", "rank-captions-take-best", "rank-videos-by-best-caption"
]
Format: TypeAlias = Literal["table", "latex", "markdown", "csv", "html", "json"]
# How files are read.
Pool: TypeAlias = Literal["mean", "max", "none"]
GtDirection: TypeAlias = Literal["auto", "text-video", "video-text"]
Content: TypeAlias = Literal["embeddings", "scores", "ground-truth", "results"]
# How heads are trained.
StartName: TypeAlias = Literal["auto", "identity", "video-to-text", "text-to-video", "both"]
ContrastName: TypeAlias = Literal["infonce", "hinge"]
Duplicates: TypeAlias = Literal["neutral", "negatives"]


def words_of(kind: object) -> tuple[str, ...]:
    """The words of a list, in order.

    >>> words_of(Metric)
    ('cosine', 'dot')
    """
    return tuple(map(str, get_args(kind)))
