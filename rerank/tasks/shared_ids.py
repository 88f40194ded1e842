"""Two sides that share their ids: by one list in a file, or as texts among the videos."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.core.wording import either
from rerank.io import Embeddings, Reading
from rerank.io.field import rows_per_block
from rerank.io.files import named
from rerank.io.ids import first_duplicate, is_list, read_ids
from rerank.io.opening import open_container
from rerank.io.side_words import side_of_ids

_OTHER = {"texts": "videos", "videos": "texts"}


def said_of_shared(texts: Embeddings, videos: Embeddings, reading: Reading) -> str:
    """What a person should know where one list of ids, called like those of a side, names both.

    A list that says no side, such as `ids`, names pairs, unless another names each row as well.

    Args:
        texts: all of them.
        videos: all of them.
        reading: what the user said about the files.

    Raises:
        FormatError: the file has ids of the other side too.
    """
    if not (texts.ids_given and texts.ids == videos.ids):
        return ""
    if reading.text_ids is not None or reading.video_ids is not None:
        return ""
    bare, own = reading.named("id_column", "texts")
    said = None if own or reading.named("id_column", "videos")[1] else bare
    if os.path.realpath(texts.source) != os.path.realpath(videos.source):
        side = side_of_ids(said or "")
        if side:
            held = _lists(texts if side == "videos" else videos)
            _refuse_own(texts if side == "videos" else videos, held, str(said), side)
        return ""
    lists = _lists(texts, any_name=said is not None and not side_of_ids(said))
    alike = {name for name, ids in lists.items() if ids == texts.ids}
    by_side = {side_of_ids(name): name for name in alike if side_of_ids(name)}
    if not by_side and said is not None:
        # Captions have blanks in them.
        names = [n for n, ids in lists.items() if n not in alike and " " not in "".join(ids)]
        return _said_of_pairs(texts.source, said, names)
    if len(by_side) != 1:
        return ""
    ((side, name),) = by_side.items()
    other = _OTHER[side]
    if reading.named("id_column", other)[1]:
        return ""  # so it was said
    _refuse_own(texts, lists, name, side)
    return (
        f"{texts.source}: {name!r}, called like ids of the {side}, names the {other} too, so that "
        f"row i of both has one id; if the {other} have ids of their own, give them with "
        + either(f"--{other[:-1]}-ids FILE", f"{other[:-1]}_ids=FILE")
    )


def _lists(held: Embeddings, *, any_name: bool = False) -> dict[str, tuple[str, ...]]:
    """Lists of a file that name each row, and only once; with `any_name` text of any name too."""
    found: dict[str, tuple[str, ...]] = {}
    with open_container(Path(held.source)) as container:
        for name, field in container.fields.items():
            kinds = ("text", "integer") if side_of_ids(name) else ("text",) if any_name else ()
            if field.kind in kinds and is_list(field) and max(field.shape) == len(held):
                with contextlib.suppress(FormatError):
                    ids = read_ids(field)
                    found |= {name: ids} if first_duplicate(ids) is None else {}
    return found


def _refuse_own(held: Embeddings, lists: Iterable[str], name: str, side: str) -> None:
    """Refuse a list of one side for the other, which has its own in its file."""
    other = _OTHER[side]
    for own in lists:
        if side_of_ids(own) == other:
            raise FormatError(
                f"{held.source}: {name!r} would name both sides, and {own!r} is called like the "
                f"ids of the {other}; say which names which: {_way(other, own, side, name)}"
            )


def _said_of_pairs(source: str, said: str, others: Sequence[str]) -> str:
    if not others:
        return ""
    return (
        f"{source}: {said!r} names both sides, so that row i of both has one id; {others[0]!r} "
        "names each row too: if it names one of the sides, say which, such as "
        f"{_way('texts', said, 'videos', others[0])}"
    )


def _way(other: str, own: str, side: str, name: str) -> str:
    return either(
        f"--id-column {word(f'{other}={own}')} --id-column {word(f'{side}={name}')}",
        f"id_column=({f'{other}={own}'!r}, {f'{side}={name}'!r}) of Reading",
    )


def said_of_texts_among(texts: Embeddings, videos: Embeddings) -> str:
    """What a person should know where the gallery holds every text, and each finds itself first.

    Args:
        texts: all of them.
        videos: all of them.
    """
    given = texts.ids_given and videos.ids_given
    if not given or len(texts) >= len(videos) or texts.vectors.shape[1] != videos.vectors.shape[1]:
        return ""
    ends = (texts.ids[0], texts.ids[-1])
    if not all(each in videos.ids for each in ends):
        return ""
    places = {name: row for row, name in enumerate(videos.ids)}
    rows = [places.get(name, -1) for name in texts.ids]
    if -1 in rows:
        return ""
    step = rows_per_block(8 * texts.vectors.shape[1])
    for at in range(0, len(rows), step):
        one, other = texts.vectors[at : at + step], videos.vectors[rows[at : at + step]]
        if not np.array_equal(one, other):
            return ""
    return (
        f"{videos.source}: holds all {len(texts):,} texts too, by id and by vector, such as "
        f"{named(texts.ids[:1])}, so that each finds itself first; leave them out of it if they "
        "are no videos"
    )
