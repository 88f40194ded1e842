"""One file that is given for both sides."""

import os
from pathlib import Path

from rerank.core.errors import RerankError
from rerank.core.shell import words
from rerank.io.files import named
from rerank.io.layouts.own_side import names_of_sides
from rerank.io.opening import open_container
from rerank.io.reading import Reading


def same_for_both(videos: Path, texts: Path, reading: Reading) -> bool:
    """Whether both sides are one file of several arrays, and nothing was said to tell them apart.

    Raises:
        RerankError: one file of one array, or whose arrays are called like both sides.
    """
    if os.path.realpath(videos) != os.path.realpath(texts):
        return False
    said = {
        setting: [reading.named(setting, side)[0] for side in ("videos", "texts")]
        for setting in ("dataset", "embedding_column")
    }
    if any(one != other for one, other in said.values()):
        return False
    with open_container(videos) as container:
        several = [name for name, item in container.fields.items() if item.kind == "float"]
        way = next((item.fix for item in container.fields.values() if item.fix), "")
        own, per_item = names_of_sides(container), container.per_item
    if own and not any(map(any, said.values())):
        kind = "dataset" if per_item else "embedding-column"
        ways = words(x for s in ("videos", "texts") for x in (f"--{kind}", f"{s}={own[s]}"))
        raise RerankError(
            f"{videos}: has both sides, {named([own['videos']])} and {named([own['texts']])}; say "
            f"which is which: {ways}"
        )
    if len(several) > 1:
        return True
    raise said_to_be_same(videos, way)


def said_to_be_same(path: Path, way: str = "") -> RerankError:
    """What is said of one file of the same embeddings for both sides; `way`: what makes more."""
    return RerankError(
        f"--videos and --texts are the same embeddings, {path}; give each side its own (or its "
        "own array: --dataset videos=NAME --dataset texts=NAME)" + (f"; {way}" if way else "")
    )
