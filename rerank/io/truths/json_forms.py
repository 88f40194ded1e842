"""Readings of a ground truth in JSON: mappings, records, wrapped ones, files of known sets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.pandas_json import PandasTable, split_of_pandas
from rerank.io.side_words import (
    GRADE_FIELDS,
    HEADERS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    captions_in,
    captions_of,
    direction_of,
    first_field,
    is_text_word,
    is_words,
    names_both,
    names_sides,
    plain,
    said_by_words,
    sides_in_words,
)
from rerank.io.splits import is_split_key
from rerank.io.truths.joined_lists import Joined, joined, joined_by_file_name
from rerank.io.truths.judgements import one_of
from rerank.io.truths.linked_lists import holds_names, linked_readings, paired_lists
from rerank.io.truths.records import (
    LOOKED_AT,
    Pair,
    Reading,
    as_grade,
    as_name,
    may_be_of_splits,
    reading,
    readings_of_records,
)

_SPLITS = (
    "test", "testing", "val", "valid", "validate", "validation", "dev", "eval", "train", "training",
    "trainval", "restval",
)  # fmt: skip

# What is said of a file beside its pairs.
_ABOUT = {
    "info", "version", "license", "licenses", "description", "meta", "metadata", "name", "dataset",
    "date", "url", "source", "notes", "comment",
}  # fmt: skip

_WRAPPERS = (
    "database", "data", "annotations", "captions", "records", "pairs", "gt", "groundtruth",
    "qrels", "relevantdocs", "items", "sentences", "images", "videos",
)  # fmt: skip

# An object with more entries is no wrapper of parts, and no table of columns.
_MOST_PARTS = 100


def _by_direction(content: dict[str, Any], where: str, inside: str) -> list[Reading]:
    """The readings of `{"t2v": {text: video}}` or of `{"t2v": ..., "v2t": ...}`; none of others.

    Raises:
        FormatError: the two directions say different things.
    """
    said = {key: direction_of(key) for key in content if plain(key) not in _ABOUT}
    if not all(said.values()) or len(set(said.values())) < len(said):
        return []
    parts = {
        key: [
            replace(each, says=says)
            for each in json_readings(content[key], where, inside=f"{inside}: {key!r}")
        ]
        for key, says in sorted(said.items(), key=lambda item: item[1])
        if isinstance(content[key], dict | list) and content[key]
    }
    if len(parts) == 2:
        one, other = parts
        found = [
            {
                (p.second, p.first)
                if said[key] == "video-text" and not part[0].fixed
                else p[:2]: None
                for p in part[0].pairs
                if p.grade is None or p.grade > 0
            }
            for key, part in parts.items()
        ]
        for names, mine, others in ((parts, *found), ([other, one], *found[::-1])):
            odd = next((pair for pair in mine if pair not in others), None)
            if odd is not None:
                yes, no = names
                raise FormatError(
                    f"{where}{inside}: {yes!r} pairs {named([odd[0]])} with {named([odd[1]])}, and "
                    f"{no!r} does not; leave one of them out, or make them say the same"
                )
    return next(iter(parts.values()), [])


def json_readings(content: Any, where: str, *, inside: str = "") -> Iterable[Reading]:  # noqa: ANN401
    """The readings of JSON; `inside` is the place in the file, for messages."""
    place = f"{where}{inside}"
    if isinstance(content, list):
        if content and (_are_pairs(content) or _are_graded(content)):
            return [_list_of_pairs(content, place)]
        return readings_of_records(content, place)
    if not isinstance(content, dict):
        raise FormatError(f"{place}: is {named([content])}, expected an object or a list")
    images, notes = _objects(content.get("images")), _objects(content.get("annotations"))
    both = joined(content)
    if both is not None or (images and notes):
        return _coco(both or joined_by_file_name(images, notes), place)
    if images and all("sentences" in image for image in images):
        return _karpathy(images, place)
    if (found := linked_readings(content, place)) is not None:
        return found
    if (table := split_of_pandas(content)) is not None:
        return _pandas(table, place)
    content = _without_about(content)
    # Parts and columns are few; names of texts are many.
    by_name = {plain(key): key for key in content} if len(content) <= _MOST_PARTS else {}
    if by_name and (found := _by_direction(content, where, inside)):
        return found
    splits = [by_name[name] for name in _SPLITS if name in by_name]
    if by_name and len(content) > 1 and all(_is_split(key, of) for key, of in content.items()):
        splits = list(content)
    if splits and len(splits) == len(content):
        found = [
            replace(each, split="/".join(filter(None, (split, each.split))))
            for split in splits
            if content[split]
            for each in json_readings(content[split], where, inside=f"{inside}: {split!r}")
        ]
        if not found:
            raise FormatError(f"{place}: its parts {named(splits)} are all empty; fill one")
        return found
    boxed = [by_name[name] for name in _WRAPPERS if name in by_name]
    boxed = [key for key in boxed if _are_objects(content[key]) or (
        isinstance(content[key], dict) and content[key] and not _is_grades(content[key])
    )]  # fmt: skip
    if "sentences" in content and _are_objects(content["sentences"]):
        # MSR-VTT, which lists the videos as well, and the split of each.
        return json_readings(
            _with_splits(content["sentences"], content.get("videos")), where, inside=inside
        )
    if len(boxed) == 1 and (len(content) == 1 or plain(boxed[0]) != "videos"):
        return json_readings(content[boxed[0]], where, inside=f"{inside}: {boxed[0]!r}")
    lists = [key for key, value in content.items() if _are_objects(value)] if by_name else []
    if len(lists) == 1 and plain(lists[0]) in (*_SPLITS, *_WRAPPERS):
        # The one list of records, beside what is said of it.
        if first_field(content[lists[0]][0], VIDEO_FIELDS) is not None:
            return json_readings(content[lists[0]], where, inside=f"{inside}: {lists[0]!r}")
    if len(content) == 1 and _are_objects(next(iter(content.values()))):
        key, value = next(iter(content.items()))
        if first_field(value[0], VIDEO_FIELDS) is not None:
            return json_readings(value, where, inside=f"{inside}: {key!r}")
    if by_name and (rows := _lists_by_text(content)) is not None:
        return readings_of_records(rows, place, how="columns", kind="row")
    inside_key = _key_of_pairs(content) if by_name else None
    if inside_key is not None:
        return _pairs_inside(content, inside_key, where, inside)
    if len(content) == 1 and _is_wrapped(next(iter(content.values()))):
        key, value = next(iter(content.items()))
        return json_readings(value, where, inside=f"{inside}: {key!r}")
    rows = _rows_of_columns(content)
    if rows is not None:
        return readings_of_records(rows, place, how="columns", kind="row")
    if (column := _column_by_text(content)) is not None:
        return _mapping(column, place)
    if (found := _positives_by_key(content, place)) is not None:
        return found
    return _by_key(content, place)


def _positives_by_key(content: dict[str, Any], place: str) -> Iterable[Reading] | None:
    """`{text: {"positives": [...], "negatives": [...]}}`; what else the objects may be follows."""
    lists: dict[str, Any] = {}
    for key, value in content.items():
        name = first_field(value, VIDEO_LISTS) if isinstance(value, dict) else None
        if name is None or not isinstance(value[name], list):
            return None
        if not all(isinstance(x, str | int) for x in value[name]):
            return None
        lists[key] = value[name]
    if not any(lists.values()):
        return None
    others = any(captions_of(value) for value in content.values())
    found = islice(_mapping(lists, place), 1)  # what follows would take them for captions
    return chain(found, _by_key(content, place)) if others else found


def _by_key(content: dict[str, Any], place: str) -> Iterable[Reading]:
    """An object with an entry for each text, or for each video."""
    if any(isinstance(value, dict) and captions_of(value) for value in content.values()):
        # ActivityNet and YouCook: {video: {"sentences": [...], ...}}
        records = []
        for video, value in content.items():
            if not isinstance(value, dict):
                raise FormatError(
                    f"{place}: the entry {named([video])} is {named([value])}, but others have "
                    "captions"
                )
            beside = {name: value[name] for name in value if _is_of_pairs(name, value)}
            records.append({"captions": captions_of(value), "video_id": video, **beside})
        return chain(readings_of_records(records, place), _captions_by_key(content, place))
    if content and all(_are_objects(value) for value in content.values()):
        return _objects_by_key(content, place)
    if content and all(_names_other(value) for value in content.values()):
        return _objects_by_key({key: [value] for key, value in content.items()}, place)
    return _mapping(content, place)


def _is_of_pairs(name: str, record: dict[str, Any]) -> bool:
    """Whether a field may say a split, or is called like grades of one or of several captions."""
    return may_be_of_splits(name, record) or first_field([one_of(name)], GRADE_FIELDS) is not None


def _captions_by_key(content: dict[str, Any], where: str) -> Iterator[Reading]:
    """`{text: {"caption": ..., "video_id": ...}}`, where every object says its own video."""
    values = list(content.values())
    if all(isinstance(x, dict) and first_field(x, VIDEO_FIELDS) is not None for x in values):
        records = [{**value, "query_id": key} for key, value in content.items()]
        yield from readings_of_records(records, where)


def _pandas(table: PandasTable, where: str) -> Iterable[Reading]:
    """A table as pandas writes it: by its columns, or texts by their index."""
    header, rows = table.columns, table.rows
    video = first_field(header, VIDEO_FIELDS)
    more = video is not None or len(header) > 2
    if names_both(header) or (more and sides_in_words(header) is not None):
        records = [dict(zip(header, row, strict=True)) for row in rows]
        return readings_of_records(records, where, how="a table of pandas", kind="row")
    if len(header) == 2 and video is None and (_are_pairs(rows) or not rows):
        how = f"a table of pandas with the columns {named(header)} (such as {HEADERS} say more)"
        return [replace(_list_of_pairs(rows, where), how=how, says=said_by_words(*header))]
    if video is None or len(set(map(str, table.labels))) < len(rows):
        raise FormatError(
            f"{where}: is a table of pandas with the columns {named(header)}; expected columns "
            f"such as {HEADERS}"
        )
    at = header.index(video)
    return _mapping({str(key): row[at] for key, row in zip(table.labels, rows, strict=True)}, where)


def _lists_by_text(content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """`{"queries": [...], "positives": [[...], ...]}` as rows."""
    video = first_field(content, VIDEO_LISTS)
    texts = [key for key in content if key != video and is_text_word(key)]
    columns = list(content.values())
    if video is None or len(texts) != 1 or not all(isinstance(x, list) for x in columns):
        return None
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        return None
    if not all(isinstance(x, str | int) for x in content[texts[0]]):
        return None
    if not all(isinstance(x, str | int | list) for x in content[video]):
        return None
    names = {texts[0]: "query_id", video: "video_id"}
    header = [names.get(key, key) for key in content]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def _column_by_text(content: dict[str, Any]) -> dict[str, Any] | None:
    """The videos of `{"video_id": {text: video}, ...}`, columns by the index of their table."""
    video = first_field(content, VIDEO_FIELDS) if len(content) <= _MOST_PARTS else None
    columns = list(content.values())
    if video is None or not all(isinstance(x, dict) and x for x in columns):
        return None
    if any(column.keys() != content[video].keys() for column in columns):
        return None
    return content[video] if all(isinstance(x, str) for x in content[video].values()) else None


def _key_of_pairs(content: dict[str, Any]) -> str | None:
    """Under which name an object has its pairs, beside what is said of them."""
    found = [
        key for key, value in content.items()
        if isinstance(value, list) and value
        and (_are_pairs(value) or _are_graded(value) or _are_numbered(key, content))
    ]  # fmt: skip
    if len(found) == 1:
        others = [value for key, value in content.items() if key != found[0]]
        # One video and its captions, cut into words, would look like that.
        wrapped = len(content[found[0]]) > 1 and plain(found[0]) in _WRAPPERS
        # So would several, of which one has captions of two words.
        cut = any(isinstance(x, list) and any(isinstance(y, list) for y in x) for x in others)
        whole = not _are_pairs(content[found[0]]) or wrapped or bool(others)
        return found[0] if whole and not cut else None
    lists = [key for key, value in content.items() if _are_objects(value)]
    scalars = sum(not isinstance(value, dict | list) for value in content.values())
    if len(lists) == 1 and scalars and scalars + 1 == len(content):
        return lists[0] if first_field(content[lists[0]][0], VIDEO_FIELDS) is not None else None
    return None


def _pairs_inside(content: dict[str, Any], key: str, where: str, inside: str) -> Iterable[Reading]:
    """The pairs under a name of an object; numbers are no rows where there are lists beside."""
    found = paired_lists(content, key, f"{where}{inside}")
    if found is not None:
        return found
    listed = any(holds_names(value) for name, value in content.items() if name != key)
    plainly = json_readings(content[key], where, inside=f"{inside}: {key!r}")
    return (replace(each, listed=listed) for each in plainly)


def _list_of_pairs(content: Sequence[Any], place: str) -> Reading:
    """`[[a, b], ...]` or `[[a, b, grade], ...]`."""
    pairs = [
        Pair(as_name(a, place), as_name(b, place), *(as_grade(g, place) for g in grade))
        for a, b, *grade in content
    ]
    return reading(pairs, "a list of pairs")


def _are_pairs(content: Sequence[Any]) -> bool:
    return all(_is_pair(item) for item in content)


def _are_graded(content: Sequence[Any]) -> bool:
    """Whether all are two names, in words, and a number."""
    return all(
        isinstance(item, list) and len(item) == 3 and all(isinstance(x, str) for x in item[:2])
        and isinstance(item[2], int | float) for item in content
    )  # fmt: skip


def _are_numbered(key: str, content: dict[str, Any]) -> bool:
    """Whether pairs are two numbers and a grade, beside the lists in which they count."""
    return (
        plain(key) in _WRAPPERS
        and any(holds_names(value) for name, value in content.items() if name != key)
        and all(
            isinstance(item, list) and len(item) == 3
            and all(isinstance(x, int) for x in item[:2]) and isinstance(item[2], int | float)
            for item in content[key]
        )
    )  # fmt: skip


def _without_about(content: dict[str, Any]) -> dict[str, Any]:
    """Splits and lists of pairs without what is said of them beside; anything else as it is."""
    if len(content) > _MOST_PARTS:
        return content
    left = {key: value for key, value in content.items() if plain(key) not in _ABOUT}
    return (
        left
        if _is_wrapped(left) and all(isinstance(x, dict | list) for x in left.values())
        else content
    )


def _with_splits(records: list[Any], videos: object) -> list[Any]:
    """Records with the split of their video, where another list says it."""
    listed = [video for video in _objects(videos) if "split" in video]
    splits = {
        video[key]: video["split"] for video in listed for key in ("video_id",) if key in video
    }
    if not splits:
        return records
    return [{"split": splits.get(each.get("video_id")), **each} for each in records]


def _is_wrapped(value: object) -> bool:
    """Whether all that an object holds is called like a split or a list of pairs."""
    parts = value if isinstance(value, dict) and len(value) <= _MOST_PARTS else {}
    known = (
        plain(key) in (*_SPLITS, *_WRAPPERS) or (len(parts) > 1 and _is_split(key, of))
        for key, of in parts.items()
    )  # fmt: skip
    return bool(parts) and all(known)


def _is_split(key: str, value: object) -> bool:
    """Whether a key is called like a split, and what it holds is no list of the names of one."""
    if plain(key) not in _SPLITS and not is_split_key(key):
        return False
    if _are_objects(value):
        return names_sides(list(value[0]))  # type: ignore[index]
    if isinstance(value, dict):
        # Texts and videos may be called so as well.
        beside = (*VIDEO_FIELDS, *TEXT_FIELDS, *VIDEO_LISTS)
        entry = first_field(value, beside) is not None or captions_of(value)
        return bool(value) and not _is_grades(value) and not entry
    return isinstance(value, list) and bool(value) and (_are_pairs(value) or _are_graded(value))


def _names_other(value: object) -> bool:
    """Whether an object says by name which video, or which text, belongs to its key."""
    if not isinstance(value, dict) or not value or _is_grades(value):
        return False
    return first_field(value, (*VIDEO_FIELDS, *TEXT_FIELDS)) is not None


def _rows_of_columns(content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """`{"query_id": [...], "video_id": [...]}` as rows, also `{"query_id": {"0": ...}}`."""
    if len(content) > _MOST_PARTS or not names_sides(list(content)):
        return None
    columns = list(content.values())
    if all(isinstance(column, dict) for column in columns):
        if any(column.keys() != columns[0].keys() for column in columns):
            return None
        columns = [list(column.values()) for column in columns]
    if not all(isinstance(column, list) and column for column in columns):
        return None
    # Lists of objects are no columns.
    if len({len(column) for column in columns}) != 1 or all(map(_are_objects, columns)):
        return None
    return [dict(zip(content, row, strict=True)) for row in zip(*columns, strict=True)]


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _objects(value: Any) -> list[Any]:  # noqa: ANN401  JSON is any of six types
    """A list of objects; empty where it is none."""
    return value if _are_objects(value) else []


def _is_pair(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and all(isinstance(x, str | int) and not isinstance(x, bool) for x in item)
    )


def _is_grades(value: dict[str, Any]) -> bool:
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in value.values())


def _objects_by_key(content: dict[str, Any], where: str) -> Iterable[Reading]:
    """`{video: [{"caption": ...}]}`, or `{text: [{"video_id": ...}]}`, or the other way."""
    first = next(iter(content.values()))[0]
    side = "video_id" if captions_of(first) or first_field(first, VIDEO_FIELDS) is None else "query"
    records = [{**item, side: key} for key, items in content.items() for item in items]
    found = readings_of_records(records, where)
    try:
        return chain([next(found)], found)
    except FormatError:
        firsts = [items[0] for items in content.values()]
        says = [
            first_field(one, (*VIDEO_FIELDS, *TEXT_FIELDS)) or captions_of(one) for one in firsts
        ]
        if all(says) or len(content) > _MOST_PARTS:
            raise
    held = "; ".join(f"{key!r} of {named(list(items[0]))}" for key, items in content.items())
    raise FormatError(
        f"{where}: holds objects under {held}; none of them names a query and a video, or refers "
        f"to each of another by its id; expected objects with {HEADERS}"
    )


def _coco(both: Joined, where: str) -> Iterator[Reading]:
    """COCO captions and the like: items by their number, and by each name that they have."""
    # Ids of their own go by many names; "id" is that of COCO itself.
    records = [
        {**note, "caption_id": note["id"]} if note.get("id") is not None else note
        for note in both.notes
    ]
    known = f", items by number (not {named(list(both.names))})" if both.names else ""
    for each in readings_of_records(records, where, how=f"COCO{known}", kind="annotation"):
        yield replace(each, listed=True)
    for field, names in both.names.items():
        by_name = [{**r, both.field: names[r[both.field]]} for r in records]
        yield from readings_of_records(by_name, where, how=f"COCO, items by {field}")


def _karpathy(images: list[Any], where: str) -> Iterator[Reading]:
    """The splits of Karpathy: images with their sentences."""
    splits: dict[str, list[Any]] = {}
    for image in images:
        splits.setdefault(str(image.get("split") or "none"), []).append(image)
    for split in sorted(splits, key=lambda name: name != "test"):
        for field in ("filename", "imgid", "cocoid", "filepath"):
            if any(field not in image for image in splits[split]):
                continue
            records = [
                {"image_id": image[field], "caption": sentence.get("raw", ""),
                 "caption_id": sentence.get("sentid")}
                for image in splits[split]
                for sentence in image["sentences"]
            ]  # fmt: skip
            if any(record["caption_id"] is None for record in records):
                records = [{k: v for k, v in r.items() if k != "caption_id"} for r in records]
            note = f", the {split} split" if len(splits) > 1 else ""
            how = f"Karpathy's splits{note}, images by {field}"
            for each in readings_of_records(records, where, how=how, kind="sentence"):
                yield replace(each, split=split) if len(splits) > 1 else each


def _mapping(content: dict[str, Any], where: str) -> Iterator[Reading]:
    """`{a: b}`, `{a: [b, ...]}` or `{a: {b: grade}}`; the b may also be captions."""
    pairs: list[Pair] = []
    empty: list[str] = []
    single = True
    lists = [value for value in content.values() if isinstance(value, list) and value]
    # Captions cut into words; [["v1"]] alone is a list of lists and no caption.
    words = len(lists) == len(content) and all(is_words(x) for value in lists for x in value)
    words = words and max((len(x) for value in lists for x in value), default=0) > 1
    for key, value in content.items():
        if isinstance(value, str) and value:
            pairs.append(Pair(key, value))
            continue
        place = f"{where}: the entry {named([key])}"
        if isinstance(value, dict):
            found = [Pair(key, item, as_grade(grade, place)) for item, grade in value.items()]
        elif isinstance(value, list):
            if words:
                value = [" ".join(item) for item in value]
            found = [Pair(key, as_name(item, place)) for item in value]
        else:
            found = [Pair(key, as_name(value, place))]
        single = single and not isinstance(value, dict | list)
        pairs += found
        if not found:
            empty.append(key)
    shape = "{a: b}" if single else "{a: [b, ...]}"
    if any(pair.grade is not None for pair in pairs):
        shape = "{a: {b: grade}}"
    yield reading(pairs, f"an object {shape}", empty=empty, single=single)
    if all(pair.grade is None for pair in pairs) and not empty:
        # Captions in place of ids: {video: [captions]}.
        records = [
            {"video_id": key, "captions": captions_in(value)}
            for key, value in content.items()
            if captions_in(value)
        ]
        if len(records) == len(content):
            found = readings_of_records(records, where, how="an object {video: captions}")
            wordy = 2 * sum(_has_words(record["captions"]) for record in records) > len(records)
            # Single words may be ids; that both sides are called like the keys shows no more.
            yield from (each for each in found if wordy or not _names_itself(each))


def _has_words(captions: Sequence[str]) -> bool:
    """Whether one of several texts is no single word, as ids are; not all languages have blanks."""
    return any(len(text.split()) > 1 or not text.isascii() for text in captions)


def _names_itself(one: Reading) -> bool:
    """Whether the text and the video of each pair have one name."""
    return all(pair.first == pair.second for pair in one.build(max(1, one.count // LOOKED_AT)))
