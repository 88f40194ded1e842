"""Two files whose own names say that each was given for the other side."""

from collections.abc import Mapping

from rerank.core.errors import RerankError
from rerank.core.shell import words
from rerank.core.wording import either, label
from rerank.io import Embeddings


def said_of_sides(held: Mapping[str, Embeddings]) -> list[str]:
    """What `check_swapped` says of the files of a run, and of its bank, by their roles."""
    pairs = {False: ("texts", "videos"), True: ("bank_texts", "bank_videos")}
    found = [
        check_swapped(held[texts], held[videos], bank=bank)
        for bank, (texts, videos) in pairs.items()
        if texts in held and videos in held
    ]
    return [said for said in found if said]


def check_swapped(texts: Embeddings, videos: Embeddings, *, bank: bool = False) -> str:
    """Refuse files that both say the other side; what to know where one does and one says nothing.

    Args:
        texts: those given as texts.
        videos: those given as videos.
        bank: whether they are those of a bank.

    Returns:
        A warning, or "".

    Raises:
        RerankError: the arrays or ids of each are called like those of the other side.
    """
    one, other = texts.said_side, videos.said_side
    options = [f"{'bank-' * bank}{side}" for side in ("texts", "videos")]
    if (one.side, other.side) == ("videos", "texts"):
        way = either(_typed(texts, videos), "give the arrays and ids themselves")
        raise RerankError(
            f"{label(options[1])} and {label(options[0])} seem to be swapped: {texts.source}, "
            f"given as texts, has {one.name!r}, and {videos.source}, given as videos, has "
            f"{other.name!r}; swap them, or if they stand as meant: {way}"
        )
    for held, wrong, silent in ((texts, "videos", other), (videos, "texts", one)):
        said = held.said_side
        if said.side != wrong or silent.side:
            continue
        # Texts may be called by the videos that they belong to.
        if said.of_rows or not set(texts.ids) & set(videos.ids):
            given = "texts" if held is texts else "videos"
            return (
                f"{held.source}: is given as {given}, and its {said.name!r} is called like those "
                f"of {wrong}; swap {label(options[1])} and {label(options[0])} if that is not meant"
            )
    return ""


def _typed(texts: Embeddings, videos: Embeddings) -> str:
    """How to say which array, or which ids, of each file are meant."""
    typed = [
        each
        for side, held in (("texts", texts), ("videos", videos))
        for each in (
            "--dataset" if held.said_side.of_rows else "--id-column",
            f"{side}={held.said_side.name}",
        )
    ]
    return words(typed)
