"""Two files that were given for each other's side, or of which one was given for both."""

import re
from collections.abc import Collection, Mapping

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.shell import words
from rerank.core.wording import either, label
from rerank.core.words import Side
from rerank.io.embeddings import Embeddings
from rerank.io.padded_rows import said_of_padding

# What captions of a video are called: video#0, video_0, video-0.
_NUMBERED = re.compile(r"(.+)[#_-]\d+")


def said_of_sides(
    held: Mapping[str, Embeddings], *, called: Mapping[str, str] | None = None
) -> list[str]:
    """What `check_swapped` and `said_of_padding` say of a run and of its bank, by their roles.

    A bank that has one side alone is compared with the other side of the run. `called` has the
    words of a caller for its roles, where it says them otherwise.
    """
    texts = [role for role in ("texts", "bank_texts") if role in held]
    videos = [role for role in ("videos", "bank_videos") if role in held]
    pairs = [
        (one, other) for one in texts for other in videos
        if one.startswith("bank") == other.startswith("bank") or len(texts) == 1 == len(videos)
    ]  # fmt: skip
    words = called or {}
    found = [
        check_swapped(held[x], held[y], options=(words.get(x, x), words.get(y, y)))
        for x, y in pairs
    ]
    found += [said_of_padding(held[x], held[y]) for x, y in pairs]
    return [said for said in found if said]


def check_swapped(
    texts: Embeddings, videos: Embeddings, *, options: tuple[str, str] = ("texts", "videos")
) -> str:
    """Refuse files that both say the other side; what to know where one does and one says nothing.

    Args:
        texts: those given as texts.
        videos: those given as videos.
        options: what they were given as.

    Returns:
        A warning, or "".

    Raises:
        RerankError: the arrays or ids of each are called like those of the other side.
    """
    one, other = texts.said_side, videos.said_side
    names = [option.replace("_", "-") for option in options]
    if (one.side, other.side) == ("videos", "texts"):
        way = either(_typed(texts, videos), "give the arrays and ids themselves")
        raise RerankError(
            f"{label(names[1])} and {label(names[0])} seem to be swapped: {texts.source}, "
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
                f"of {wrong}; swap {label(names[1])} and {label(names[0])} if that is not meant"
            )
    return ""


def said_of_one(
    held: Embeddings, given: Side, *, beside: Collection[str] | None, called: str = ""
) -> str:
    """What to know of a file whose other side was read before, as by a model, where it says that.

    Args:
        held: what the file holds.
        given: the side that it was given as.
        beside: ids of the other side; None where they are not known, so that ids say nothing.
        called: what it was given as, where a caller has another word for it.

    Returns:
        A warning, or "".
    """
    said = held.said_side
    if said.side in ("", given):
        return ""
    # Texts may be called by the videos that they belong to.
    if not said.of_rows and (beside is None or set(held.ids) & set(beside)):
        return ""
    return (
        f"{held.source}: is given as {called or given}, and its {said.name!r} is called like those "
        f"of {said.side}; give the {given} if that is not meant"
    )


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


def refuse_same(texts: Embeddings, videos: Embeddings) -> None:
    """Refuse the same embeddings as texts and as videos, of which every one finds itself.

    Raises:
        RerankError: they are the same.
    """
    if (
        texts.vectors.shape == videos.vectors.shape
        and np.array_equal(texts.vectors[:1], videos.vectors[:1])
        and np.array_equal(texts.vectors, videos.vectors)
    ):
        raise RerankError(
            f"{texts.source} and {videos.source} hold the same embeddings; give "
            f"{either('--texts and --videos', 'texts and videos')} each its own"
        )


def check_captions(texts: Embeddings, videos: Embeddings) -> None:
    """Refuse sides that are the same, or that their ids show to be swapped.

    Raises:
        RerankError: the same embeddings, or most videos are called like captions `x#0, x#1` of
            texts x.
    """
    if not (len(texts) == texts.total_rows and len(videos) == videos.total_rows):
        return  # a share of them says nothing
    refuse_same(texts, videos)
    names = set(texts.ids)
    captions = [
        name
        for name in videos.ids
        if (found := _NUMBERED.fullmatch(name)) is not None and found[1] in names
    ]
    if 2 * len(captions) > len(videos.ids) and not names & set(videos.ids):
        raise RerankError(
            f"--videos and --texts seem to be swapped: {captions[0]!r} of {videos.source} is "
            f"called like a caption of a text of {texts.source}"
        )
