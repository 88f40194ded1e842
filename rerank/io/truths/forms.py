"""The forms in which people write down which text belongs to which video.

Every form becomes one or more *readings* (`rerank.io.truths.records`): lists of pairs of names.
"""

from collections.abc import Iterable
from pathlib import Path

from rerank.io.field import afford
from rerank.io.files import parse_json, read_text, regular_file
from rerank.io.truths.json_forms import json_readings
from rerank.io.truths.json_lines import json_line_readings
from rerank.io.truths.parquet_forms import parquet_readings
from rerank.io.truths.records import Reading
from rerank.io.truths.refused_arrays import refuse_arrays
from rerank.io.truths.text_forms import table_readings


def readings_of(path: Path) -> Iterable[Reading]:
    """All readings of a ground truth file, the most literal first, made as they are asked for.

    >>> found = next(iter(readings_of(Path("data_samples/gt.json"))))
    >>> found.how, len(found.pairs), found.fixed
    ('an object {a: b}', 750, False)

    Raises:
        FormatError: a pickle or another binary file, not a form that is known, an entry of another
            type, a key given twice.
    """
    path = regular_file(path)
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return parquet_readings(path)
    refuse_arrays(path)
    afford(2 * path.stat().st_size, str(path), what="a ground truth")
    text = read_text(path)
    where = str(path)
    head = text.lstrip()[:1]
    if suffix in (".jsonl", ".ndjson"):
        return json_line_readings(text, where)
    if suffix == ".json" or head in ("{", "["):
        if _is_by_line(text):
            return json_line_readings(text, where)
        return json_readings(parse_json(text, where), where)
    return table_readings(text, where)


def _is_by_line(text: str) -> bool:
    """Whether each of the first two lines is a document of its own."""
    first, _, rest = text.strip().partition("\n")
    second = rest.lstrip().partition("\n")[0]
    ends = {"{": "}", "[": "]"}
    for line in (first.strip(), second.strip()):
        if not line or ends.get(line[0]) != line[-1]:
            return False
    return True
