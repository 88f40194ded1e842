"""Arrays that are no items, or could be several things: each is refused with what to say."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.io.container import Container, contents
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.frames.meanings import meaning_of
from rerank.io.ids import is_list
from rerank.io.layouts.array_shapes import depth_of, few_matrices, is_rows
from rerank.io.layouts.group_names import prefix_of
from rerank.io.layouts.wanted import Wanted
from rerank.io.numbered_parts import or_joined

# The ends of names in a state_dict and in an optimizer.
_PARAMETER = re.compile(r"(^|[./])(weight|bias|running_(mean|var)|in_proj_\w+|exp_avg(_sq)?)$")


def refuse_parameters(container: Container, wanted: Wanted) -> None:
    """Refuse the weights of a model, which would pass for items and their vectors."""
    arrays = [name for name, item in container.fields.items() if item.kind == "float"]
    found = [name for name in arrays if _PARAMETER.search(name)]
    matrices = [name for name in found if depth_of(container.fields[name]) == 2]
    if found and 2 * len(found) >= len(arrays):
        raise FormatError(
            f"{container.path}: holds the parameters of a model, such as {named(found[:2])}, and "
            "no embeddings; save what the model gives for every item, or name the array that is "
            f"meant: {wanted.say('dataset', matrices[0] if matrices else found[0])}"
        )


def refuse_collections(container: Container, fields: Mapping[str, Field], wanted: Wanted) -> None:
    """Refuse groups each of which holds embeddings with their ids: train, test, image, text."""
    tops: dict[str, dict[str, Field]] = {}
    for name, item in fields.items():
        top, slash, rest = name.partition("/")
        if slash:
            tops.setdefault(top, {})[rest] = item
    whole = [
        top
        for top, inside in tops.items()
        if any(is_rows(item) for item in inside.values())
        and any(item.kind in ("text", "integer") and is_list(item) for item in inside.values())
    ]
    if len(whole) < 2 or len(whole) < len(tops):
        return
    sizes = [f"{top!r} ({contents(tops[top])})" for top in whole[:4]]
    raise FormatError(
        f"{container.path}: holds several groups with embeddings and ids: {', '.join(sizes)}; say "
        f"which one is meant: {wanted.say('dataset', wanted.likely(whole))}{or_joined(container)}"
    )


def ask_for_one_of_few(
    path: Path, fields: Mapping[str, Field], wanted: Wanted, group: str | None
) -> None:
    """Refuse a few arrays of rows that are no items, with the name of one.

    Raises:
        FormatError: there are some.
    """
    rows = [prefix_of(group) + name for name in few_matrices(fields, group)]
    if len(rows) > 1:
        raise FormatError(
            f"{path}: {named(rows)} could all be the embeddings ({contents(fields)}); name one: "
            f"{wanted.say('dataset', wanted.likely(rows))}"
        )


def ask_for_one_of_each(
    path: Path, fields: Mapping[str, Field], arrays: Mapping[str, Field], wanted: Wanted
) -> None:
    """Refuse items that each have a vector beside more, with the name of the vector.

    Raises:
        FormatError: they have one of the same name.
    """
    inside: dict[str, set[str]] = {}
    for name in fields:
        top, slash, rest = name.partition("/")
        if not slash:
            return
        inside.setdefault(top, set()).add(rest)
    shared = set.intersection(*inside.values()) if len(inside) > 1 else set()
    vectors = sorted(rest for rest in shared if all(f"{top}/{rest}" in arrays for top in inside))
    if vectors:
        first, held = next(iter(inside.items()))
        raise FormatError(
            f"{path}: each of its {len(inside)} items, such as {named([first])}, holds "
            f"{named(sorted(held))}; name its vector: "
            f"{wanted.say('dataset', wanted.likely(vectors))}"
        )


def refuse_other_name(path: Path, tops: Mapping[str, set[str]]) -> None:
    """Refuse items of which most hold one array of one name, and a few one of another name."""
    usual = Counter(next(iter(rest)) for rest in tops.values() if len(rest) == 1).most_common(1)
    if not usual or 2 * usual[0][1] <= len(tops) or "/" in usual[0][0]:
        return
    leaf, count = usual[0]
    odd = [top for top, rest in tops.items() if leaf not in rest]
    if odd and all(len(tops[top]) == 1 for top in odd):
        held = next(iter(tops[odd[0]]))
        fix = "give it one" if meaning_of(held) else f"call it {leaf!r} too"
        raise FormatError(
            f"{path}: {count} of its {len(tops)} items hold {leaf!r}, but {named(odd[:1])} holds "
            f"{held!r}; {fix}, or leave it out of this file"
        )


def refuse_other_type(path: Path, fields: Mapping[str, Field], arrays: Mapping[str, Field]) -> None:
    """Refuse an array of text or of whole numbers among more that are vectors, by its name."""
    other = [
        name for name, item in fields.items()
        if name not in arrays and item.kind in ("text", "integer") and depth_of(item) > 0
    ]  # fmt: skip
    if 0 < len(other) < len(arrays) and all(depth_of(item) == 1 for item in arrays.values()):
        name = other[0]
        fix = "store it as float32, or " if fields[name].kind == "integer" else ""
        raise FormatError(
            f"{path}: {named([name])} ({fields[name].describe()}) is no vector of decimals, and "
            f"{len(arrays)} entries beside it are; {fix}leave it out of this file"
        )
