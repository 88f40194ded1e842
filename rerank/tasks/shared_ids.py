"""Two sides of one file that are called by the same list of ids."""

import os
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.core.wording import either
from rerank.io import Embeddings, Reading
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
