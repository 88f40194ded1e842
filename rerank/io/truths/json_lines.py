"""Ground truths of JSON in lines: a record, pair or mapping in each, or one document."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import parse_json
from rerank.io.side_words import names_both
from rerank.io.truths.json_forms import json_readings
from rerank.io.truths.records import Reading, readings_of_records


def json_line_readings(text: str, where: str) -> Iterable[Reading]:
    """The readings of JSON in lines, as what it holds; one document may be in lines as well.

    >>> lines = '{"q1": "v1"}' + chr(10) + '{"q2": "v2"}'
    >>> next(iter(json_line_readings(lines, "gt.jsonl"))).how
    'an object {a: b}'

    Raises:
        FormatError: no JSON, or not of pairs.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        content = [parse_json(line, f"{where}: line {i}") for i, line in enumerate(lines, 1)]
    except FormatError as error:
        try:
            return json_readings(parse_json(text, where), where)
        except FormatError as whole:
            # An open bracket is no line of its own: the document says what is wrong.
            raise (whole if lines[0].strip() in ("[", "{") else error) from None
    if len(content) == 1:
        return _of_one_line(content[0], where)
    return json_readings(_together(content), where)


def _of_one_line(content: Any, where: str) -> Iterable[Reading]:  # noqa: ANN401  any JSON
    """The only line of a file is a record or a pair, else all of its pairs."""
    if isinstance(content, list):
        boxed = content and not isinstance(content[0], list | dict)
        return json_readings([content] if boxed else content, where)
    if isinstance(content, dict):
        found = readings_of_records([content], where)
        try:
            return chain([next(found)], found)
        except FormatError:
            if names_both(list(content)) and not all(isinstance(x, list) for x in content.values()):
                raise
        except StopIteration:
            pass
    return json_readings(content, where)


def _together(content: list[Any]) -> Any:  # noqa: ANN401  any JSON
    """Mappings as the one that they make; anything else as it is."""
    if not all(isinstance(each, dict) for each in content):
        return content
    keys = [key for each in content for key in each]
    single = len(keys) == len(content)
    if len(set(keys)) < (2 if single else len(keys)):
        return content
    made: dict[str, Any] = {}
    for key, value in (item for each in content for item in each.items()):
        if key not in made:
            made[key] = value
        elif isinstance(made[key], dict) or isinstance(value, dict):
            return content
        else:
            made[key] = [*_listed(made[key]), *_listed(value)]
    return made


def _listed(value: Any) -> list[Any]:  # noqa: ANN401  any JSON
    return value if isinstance(value, list) else [value]
