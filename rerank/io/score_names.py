"""What files given as scores hold besides, by its names: embeddings, and rankings in rows."""

import re
from collections.abc import Sequence

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.io.container import Container
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.ids import first_duplicate, is_list, read_ids
from rerank.io.run_columns import says_good
from rerank.io.run_sides import item_field, query_field
from rerank.io.run_wrappers import LISTS
from rerank.io.side_words import TEXT_FIELDS, VIDEO_FIELDS, direction_in, first_field, plain

_EMBEDDINGS = re.compile(r"embed|embs?(\b|_|$)|feat|hidden|pooler|vectors?(\b|_|$)")
_SCORES = re.compile(r"logits?|sims?(\b|_|$)|similarit|scores?")
# A column of places, and one of scores, beside what counts.
_MOST_COLUMNS = 4


def refuse_ranking(container: Container) -> None:
    """Refuse rows of a text, a video and a score, and scores by query, which are a ranking.

    Raises:
        FormatError: it holds such rows.
    """
    fields = container.fields
    if container.nested:
        raise FormatError(
            f"{container.path}: holds objects in an object: {{query: {{item: score}}}} is a "
            f"ranking: rerank eval reads it with --results {word(str(container.path))}; of a "
            "matrix, which may be written either way, write rows (to_json(orient='split'))"
        )
    if any(not _is_column(item) for item in fields.values()):
        return
    text = first_field(fields, TEXT_FIELDS)
    video = first_field([name for name in fields if name != text], VIDEO_FIELDS)
    way = f"rerank eval reads it with --results {word(str(container.path))}"
    if text is None or video is None:
        text, video = _of_pairs(container)
        if (query := query_field(fields)) is None or item_field(list(fields), query) is None:
            way = f"call these query_id and video_id, and {way}"
    if not text or not video:
        return
    numbers = [*container.columns, *(x for x, item in fields.items() if item.kind != "text")]
    good = next((x for x in numbers if says_good(x) and x not in (text, video)), None)
    if good is not None and len(container.columns) <= _MOST_COLUMNS:
        raise FormatError(
            f"{container.path}: has a row for each pair of {named([text])} and {named([video])} "
            f"with its {named([good])}, which is a ranking and no matrix of scores; {way}"
        )


def _of_pairs(container: Container) -> tuple[str, str]:
    """Two columns of names, each of which come again and no two together; else ("", "")."""
    own = {id(item): name for name, item in container.fields.items() if item.kind == "text"}
    columns = [name for name in own.values() if is_list(container.fields[name])]
    if len(columns) != 2:
        return "", ""
    one, other = (read_ids(container.fields[name]) for name in columns)
    if len(set(zip(one, other, strict=False))) < len(one) or len(one) != len(other):
        return "", ""
    again = first_duplicate(one) is not None and first_duplicate(other) is not None
    return (columns[0], columns[1]) if again else ("", "")


def way_of_ranking(container: Container) -> str:
    """The end of a message about a file without a matrix that may be a ranking; "" for others."""
    fields, reads = container.fields, "rerank eval reads it with --results"
    found = [*map(plain, fields)]
    if fields and all(item.odd.startswith("{") for item in fields.values()):
        what = "; {query: {item: score}} is a ranking: "
    elif (
        container.per_item
        and fields
        and all(item.kind == "text" and len(item.shape) == 1 for item in fields.values())
    ):
        what = "; if it is {query: [items]}, a ranking: "
    elif first_field(fields, TEXT_FIELDS) and any(name in LISTS for name in found):
        what = "; a list of items for each query is a ranking: "
    else:
        return ""
    return f"{what}{reads} {word(str(container.path))}"


def _is_column(item: Field) -> bool:
    return len(item.shape) == 1 or (len(item.shape) == 2 and item.shape[1] <= _MOST_COLUMNS)


def likely_scores(found: Sequence[str]) -> list[str]:
    """Which of some matrices may be the scores, by their names; the likeliest first.

    >>> likely_scores(["text_embeds", "image_embeds", "logits_per_image", "logits_per_text"])
    ['logits_per_text', 'logits_per_image']
    >>> likely_scores(["a", "text_embeds"])
    ['a', 'text_embeds']
    """
    leaves = {name: name.rpartition("/")[2].lower() for name in found}
    called = [name for name, leaf in leaves.items() if _SCORES.search(leaf)]
    others = [name for name, leaf in leaves.items() if not _EMBEDDINGS.search(leaf)]
    left = sorted(others, key=lambda name: name not in called) if called else list(found)
    return sorted(left, key=lambda name: said_direction(name) == "video-text")


def said_direction(name: str) -> str:
    """The direction that the name of an array says, or of the group it lies in."""
    head, _, leaf = name.rpartition("/")
    return direction_in(leaf) or direction_in(head)
