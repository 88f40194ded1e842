"""Ground truths in two lists: items with a number and a name, and captions with the number."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from rerank.io.side_words import VIDEO_FIELDS, captions_of, first_field, plain

# COCO has licenses, categories and the like beside; an object with more entries has none of both.
_MOST = 20
_DIGITS = 18


class Joined(NamedTuple):
    """Two lists of one document.

    Attributes:
        notes: the captions; each says the number of its item under `field`.
        field: under which name.
        names: item names by number, also as digits, for every field that names all items.
    """

    notes: list[Any]
    field: str
    names: dict[str, dict[Any, str]]


def joined(content: dict[str, Any]) -> Joined | None:
    """The two lists, where items have numbers that captions refer to; else None.

    >>> images = [{"id": 7, "file_name": "a.jpg"}]
    >>> joined({"images": images, "annotations": [{"image_id": 7, "caption": "a dog"}]}).names
    {'file_name': {'7': 'a.jpg', 7: 'a.jpg'}}
    """
    few = content.values() if len(content) <= _MOST else ()
    lists = [value for value in few if _are_objects(value)]
    if len(lists) < 2:
        return None
    for notes in lists:
        field = first_field(notes[0], VIDEO_FIELDS)
        if field is None or not all(captions_of(note) for note in notes):
            continue
        wanted = {_number(note.get(field)) for note in notes}
        if "" in wanted:
            continue
        for items in lists:
            numbers = None if items is notes else _numbers(items, field, wanted)
            if numbers is not None:
                return Joined(notes, field, dict(_names(items, numbers)))
    return None


def joined_by_file_name(images: list[Any], notes: list[Any]) -> Joined:
    """The lists of COCO by whatever ids they have; without names where an image has none."""
    names = {image.get("id"): image.get("file_name") for image in images}
    whole = all(isinstance(names.get(note.get("image_id")), str) for note in notes)
    return Joined(notes, "image_id", {"file_name": names} if whole else {})


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _number(value: object) -> str:
    """A whole number as its digits; "" for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**_DIGITS else ""
    whole = isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS
    return str(value) if whole else ""


def _numbers(items: list[Any], field: str, wanted: set[str]) -> list[str] | None:
    """The number of every item, where all that captions refer to are among them, each once."""
    same = [name for name in items[0] if plain(str(name)) == plain(field)]
    found = {}
    for key in dict.fromkeys([*same, "id", *items[0]]):
        numbers = [_number(item.get(key)) for item in items]
        if wanted <= set(numbers) and len(set(numbers)) == len(numbers):
            if key in (*same, "id"):
                return numbers
            found[key] = numbers
    # Of two fields that could be meant neither is.
    return next(iter(found.values())) if len(found) == 1 else None


def _names(items: list[Any], numbers: list[str]) -> Iterator[tuple[str, dict[Any, str]]]:
    """What every item is called, by each field whose texts tell them apart; known fields first."""
    first = first_field(items[0], ("filename", "name", *VIDEO_FIELDS))
    for key in sorted(items[0], key=lambda name: name != first):
        names = [item.get(key) for item in items]
        if all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names):
            made = dict(zip(numbers, names, strict=True))
            yield key, {**made, **{int(number): name for number, name in made.items() if number}}
