"""Two sides that share their ids: by one list in a file, or as texts among the videos."""

import os
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

    A list that says no side, such as `ids`, names pairs.

    Args:
        texts: all of them.
        videos: all of them.
        reading: what the user said about the files.

    Raises:
        FormatError: the file has ids of the other side too.
    """
    if not (texts.ids_given and texts.ids == videos.ids):
        return ""
    if os.path.realpath(texts.source) != os.path.realpath(videos.source):
        return ""
    if reading.text_ids is not None or reading.video_ids is not None:
        return ""
    path = Path(texts.source)
    with open_container(path) as container:
        lists = {
            name: read_ids(field)
            for name, field in container.fields.items()
            if side_of_ids(name) and is_list(field) and max(field.shape) == len(texts)
            and not field.odd and field.kind in ("text", "integer")
        }  # fmt: skip
    by_side = {side_of_ids(name): name for name, ids in lists.items() if ids == texts.ids}
    if len(by_side) != 1:
        return ""
    ((side, name),) = by_side.items()
    other = _OTHER[side]
    if reading.named("id_column", other)[1]:
        return ""  # so it was said
    for own, ids in lists.items():
        if side_of_ids(own) == other and first_duplicate(ids) is None:
            way = either(
                f"--id-column {word(f'{other}={own}')} --id-column {word(f'{side}={name}')}",
                f"id_column=({f'{other}={own}'!r}, {f'{side}={name}'!r}) of Reading",
            )
            raise FormatError(
                f"{path}: {name!r} would name both sides, and {own!r} is called like the ids of "
                f"the {other}; say which names which: {way}"
            )
    return (
        f"{path}: {name!r}, called like ids of the {side}, names the {other} too, so that row i of "
        f"both has one id; if the {other} have ids of their own, give them with "
        + either(f"--{other[:-1]}-ids FILE", f"{other[:-1]}_ids=FILE")
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
