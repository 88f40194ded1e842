"""Rankings that other tools, or `rerank search`, wrote: lists of the best items of every query."""

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankWarning
from rerank.core.wording import either
from rerank.io.field import afford
from rerank.io.files import PathLike, named, parse_json, read_text, regular_file
from rerank.io.formats.parquet import read_records
from rerank.io.lines import lines_in, split_lines
from rerank.io.results import DirectionResult, read_results, write_results
from rerank.io.run_columns import PLACES, Second, Unused, are_apart, is_counted, says_good
from rerank.io.run_lines import are_run_lines
from rerank.io.run_sides import item_field, query_field, rows_of_pandas
from rerank.io.run_wrappers import (
    DISTANCES,
    ID_LISTS,
    LISTS,
    RANKS,
    RUNS,
    SCORES,
    is_no_list,
    is_one_list,
    list_of,
    lists_beside,
    lists_of_no_query,
    queries_beside,
    says_how_good,
    unwrapped,
)
from rerank.io.side_words import VIDEO_FIELDS, first_field, plain, refers_to_rows
from rerank.io.text_table import read_table
from rerank.io.truths.records import as_name

_DIRECTIONS = ("t2v", "v2t")
# Fewer scores rise by accident.
_SHORTEST = 3
_RANK = re.compile(r"[0-9]{1,15}")
_EXPECTED = (
    "expected a TREC run (query Q0 item rank score tag), a table or records with query_id, "
    "gallery_id and score, lines of query, item and rank (MS MARCO), JSON {query: {item: score}} "
    "or {query: [items]}, or a file of rerank search or apply"
)
_BESIDE = (
    'expected {"queries": [names], "results": [the list of each]} of as many, or {query: [items]}'
)
# Of what a file holds so many are named.
_FEW = 4


@dataclass(frozen=True, eq=False)
class RankedLists:
    """The best items of every query, of one direction.

    Attributes:
        query_ids: (n,) names.
        items: for every query the names of its items, best first.
        scores: beside them, falling; minus the place where the file has no scores.
        direction: "t2v" or "v2t" where the file says it, else "".
        gallery_ids: the whole gallery where the file names it, else None.
        label: which queries a fit used, where the file says it.
        source: the file.
        ranked: whether the file says the places of the items.
        notes: what was taken for granted, one sentence each.
        counted: what its field of items is called, where that is called like numbers of rows.
    """

    query_ids: tuple[str, ...]
    items: tuple[tuple[str, ...], ...]
    scores: tuple[np.ndarray, ...]
    direction: str = ""
    gallery_ids: tuple[str, ...] | None = None
    label: str = ""
    source: str = ""
    ranked: bool = False
    notes: tuple[str, ...] = ()
    counted: str = ""

    @property
    def depth(self) -> int:
        """The length of the longest list."""
        return max((len(items) for items in self.items), default=0)


@dataclass
class _Lists:
    """Entries as they are found: query -> [(item, score, rank)]."""

    where: str
    label: str = ""
    ranked: bool = False
    counted: str = ""
    runs: dict[str, None] = field(default_factory=dict)
    unused: Unused = field(default_factory=Unused)
    second: Second = field(default_factory=Second)
    found: dict[str, dict[str, list[tuple[str, float | None, float]]]] = field(default_factory=dict)

    def add(
        self, query: object, item: object, score: object = None, rank: object = None,
        direction: str = "",
    ) -> None:  # fmt: skip
        """One listed item.

        Raises:
            FormatError: a name that is none, a score or rank that is no number.
        """
        self.ranked |= rank is not None
        entries = self.found.setdefault(direction, {}).setdefault(as_name(query, self.where), [])
        if isinstance(item, str) and item:
            name = item  # what is said of another takes long to make
        else:
            name = as_name(item, f"{self.where}: query {named([query])}")
        # JSON has no word for -inf, "not scored".
        if score is None and rank is None:
            value, place = None, float(len(entries))
        else:
            value = None if score is None else self.number(score, query, item)
            place = float(len(entries)) if rank is None else self.number(rank, query, item)
        entries.append((name, value, place))

    def number(self, value: object, query: object, item: object) -> float:
        """A score or rank.

        Raises:
            FormatError: no number.
        """
        try:
            found = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            found = math.nan
        if isinstance(value, bool) or math.isnan(found):
            raise FormatError(
                f"{self.where}: query {named([query])}, item {named([item])}: got "
                f"{named([value])}, expected a number"
            )
        return found

    def lists(self) -> tuple[RankedLists, ...]:
        """All directions, best items first.

        Raises:
            FormatError: nothing in it, or an item twice in a list.
        """
        if not self.found:
            raise FormatError(f"{self.where}: holds no ranking; {_EXPECTED}")
        self._take_places()
        return tuple(self._one(direction, found) for direction, found in self.found.items())

    def _take_places(self) -> None:
        """Order entries by a column that is called like places, and is that in every list."""
        for name in [name for name in self.unused.found if plain(name) in PLACES]:
            lists = self.unused.found[name]
            told = {as_name(query, self.where): x for (_, query), x in lists.items()}
            held = [(q, x) for found in self.found.values() for q, x in found.items()]
            fits = len(told) == len(held) == len(lists) and all(
                len(entries) == len(told.get(query, ())) for query, entries in held
            )
            longest = max(map(len, lists.values()))
            if fits and longest >= _SHORTEST and all(map(is_counted, lists.values())):
                for query, entries in held:
                    places = zip(entries, told[query], strict=True)
                    entries[:] = [(item, score, float(place)) for (item, score, _), place in places]
                self.ranked = True
                del self.unused.found[name]
                return

    def _one(
        self, direction: str, found: Mapping[str, list[tuple[str, float | None, float]]]
    ) -> RankedLists:
        found, alike = self._alike(found)
        rising = self._check_rising(found)
        items, scores = [], []
        for query, entries in found.items():
            scored = any(score is not None for _, score, _ in entries)
            if scored:
                entries = [entry for entry in entries if entry[1] not in (None, -math.inf)]
            ordered = sorted(entries, key=lambda e: (-(e[1] or 0.0), e[2]))
            names = tuple(name for name, _, _ in ordered)
            if len(set(names)) < len(names):
                seen: set[str] = set()
                twice = next(name for name in names if name in seen or seen.add(name))
                if len(self.runs) > 1:
                    raise FormatError(
                        f"{self.where}: holds the runs {named(list(self.runs))}, and query "
                        f"{named([query])} lists {named([twice])} in more than one; keep one of "
                        "them in the file"
                    )
                raise FormatError(
                    f"{self.where}: query {named([query])} lists {named([twice])} twice"
                )
            items.append(names)
            scores.append(
                np.array([score for _, score, _ in ordered] if scored
                         else [-place for place in range(len(ordered))], dtype=np.float64)
            )  # fmt: skip
        return RankedLists(
            tuple(found),
            tuple(items),
            tuple(scores),
            direction,
            label=self.label,
            source=self.where,
            ranked=self.ranked,
            notes=(
                *self.unused.notes(self.where),
                *self.second.notes(self.where),
                *alike,
                *rising,
                *self._unranked(found),
            ),
            counted=self.counted,
        )

    def _alike(
        self, found: Mapping[str, list[tuple[str, float | None, float]]]
    ) -> tuple[Mapping[str, list[tuple[str, float | None, float]]], tuple[str, ...]]:
        """Entries without scores that are one number throughout, if ranks say more; a note."""
        scores = {score for entries in found.values() for _, score, _ in entries}
        if len(scores) > 1 or None in scores or min(map(len, found.values())) < _SHORTEST:
            return found, ()
        said = f"{self.where}: all scores are {next(iter(scores)):g}"
        if not self.ranked:
            return found, (
                f"{said}, so all items of a query are tied; where their order is the ranking, give "
                "ranks, or lists of items without scores",
            )
        ranks: dict[str, list[tuple[str, float | None, float]]] = {
            query: [(name, None, rank) for name, _, rank in x] for query, x in found.items()
        }
        return ranks, (f"{said}, so the ranks count",)

    def _unranked(
        self, found: Mapping[str, list[tuple[str, float | None, float]]]
    ) -> tuple[str, ...]:
        """What is said of ranks that contradict the scores, which count."""
        for query, entries in found.items() if self.ranked else ():
            known = [(score, -rank) for _, score, rank in entries if score not in (None, -math.inf)]
            if are_apart(known):  # type: ignore[arg-type]
                return (
                    f"{self.where}: the ranks of {named([query])} contradict its scores, and the "
                    "scores count; where the ranks are right, leave the scores out",
                )
        return ()

    def _check_rising(
        self, found: Mapping[str, list[tuple[str, float | None, float]]]
    ) -> tuple[str, ...]:
        """Refuse scores of which the smallest stands first in every list, as with distances.

        Returns:
            What is said of them where the file says no ranks.

        Raises:
            FormatError: the scores rise with the ranks, or count as ranks do.
        """
        scores = [
            [-math.inf if score is None else score for _, score, _ in sorted(x, key=lambda e: e[2])]
            for x in found.values()
        ]
        rising = all(a < b for line in scores for a, b in zip(line, line[1:], strict=False))
        if not rising or min(map(len, scores), default=0) < _SHORTEST:
            return ()
        way = "if the smallest is best, turn their sign, or call them distance"
        if self.ranked:
            raise FormatError(
                f"{self.where}: in every list the scores rise with the ranks; {way} in a table "
                "with a header"
            )
        if all(line in (list(range(len(line))), list(range(1, len(line) + 1))) for line in scores):
            raise FormatError(
                f"{self.where}: the scores count 1, 2, 3, ... along every list, as ranks do; if "
                "they are ranks, give lists of items, best first, without numbers"
            )
        said = "the scores rise down every list, and the largest is read as best"
        return (f"{self.where}: {said}; {way}",)


def read_rankings(path: PathLike) -> tuple[RankedLists, ...]:
    r"""The lists of a file of rankings, one `RankedLists` for each direction in it.

    A TREC run; JSON `{query: {item: score}}` (as ranx writes it), `{query: [items]}`,
    `{query: [{"id": ..., "score": ...}]}`, one of these under "t2v" and "v2t", or in
    `{"run": ...}`; records, also one a line; tables with a header (comma, tab, parquet), or without
    one where they are query, item, rank and score, as MS MARCO has them; what `rerank search` and
    `rerank apply` write. Scores decide the order, as in trec_eval, or distances, of which the
    smallest is best; without them ranks do, else the order of the file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.trec"
    >>> _ = path.write_text("q1 Q0 b 1 0.5 x\nq1 Q0 a 2 0.9 x\n")
    >>> read_rankings(path)[0].items
    (('a', 'b'),)
    >>> _ = path.with_suffix(".json").write_text('{"q1": ["b", "a"]}')
    >>> read_rankings(path.with_suffix(".json"))[0].items
    (('b', 'a'),)
    >>> _ = path.with_suffix(".csv").write_text("query,video,distance\nq1,a,.5\nq1,b,.1\n")
    >>> read_rankings(path.with_suffix(".csv"))[0].items
    (('b', 'a'),)

    Raises:
        FormatError: nothing of the kind, an item twice in one list, a score that is no number.
    """
    path = regular_file(path)
    with path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"\x89HDF"):
        return _own(path)
    lists = _Lists(str(path))
    for magic, what in ((b"\x93NUMPY", "an array of numpy"), (b"PK\x03\x04", "an archive")):
        if head.startswith(magic):
            raise FormatError(f"{path}: is {what}, which names no queries and items; {_EXPECTED}")
    if head.startswith(b"PAR1"):
        _add_records(lists, read_records(path, partial(_judge, str(path))))
        return lists.lists()
    afford(12 * path.stat().st_size, str(path), what="rankings in text")
    text = read_text(path)
    suffix = path.suffix.lower()
    if text.lstrip()[:1] in ("{", "["):
        lines = split_lines(text.strip())
        if suffix in (".jsonl", ".ndjson") or (len(lines) > 1 and _is_object(lines[0])):
            numbered = enumerate(lines, start=1)
            _add_records(lists, (parse_json(x, f"{path}: line {n}") for n, x in numbered if x))
        else:
            _add_json(lists, parse_json(text, str(path)))
        return lists.lists()
    lines = lines_in(text, path)
    bare = _bare(lines, path)
    if suffix in (".csv", ".tsv") and not bare and not are_run_lines("\n".join(lines[:3])):
        header, rows = read_table(text, str(path))
        _add_records(lists, (dict(zip(header, row, strict=True)) for row in rows))
        return lists.lists()
    for number, line in enumerate(lines, start=1):
        parts = line.replace(",", " ").split() if bare else line.split()
        if not parts:
            continue
        if bare and len(parts) == bare:
            lists.add(parts[0], parts[1], parts[3] if bare > 3 else None, parts[2])
            continue
        if len(parts) != 6:
            raise FormatError(f"{path}: line {number} has {len(parts)} columns; {_EXPECTED}")
        lists.add(parts[0], parts[2], parts[4], parts[3])
        lists.runs[parts[5]] = None
    return lists.lists()


def _bare(lines: Sequence[str], path: Path) -> int:
    """How many columns a table without a header has: query, item, rank and maybe a score; or 0.

    That is how MS MARCO writes rankings. Ranks count from 0 or 1 for every query, in any order.

    Raises:
        FormatError: all lines are of that kind, and the ranks of a query are others.
    """
    width = 0
    ranks: dict[str, list[int]] = {}
    for line in lines:
        cells = line.replace(",", " ").split()
        if not cells:
            continue
        if len(cells) not in (3, 4) or not _RANK.fullmatch(cells[2]) or (
            width and len(cells) != width
        ):  # fmt: skip
            return 0
        if len(cells) == 4 and not _is_number(cells[3]):
            return 0
        width = len(cells)
        ranks.setdefault(cells[0], []).append(int(cells[2]))
    for query, found in ranks.items():
        if not is_counted(found):
            shown = ", ".join(map(str, sorted(found)[:5]))
            raise FormatError(
                f"{path}: has lines of query, item and rank, as MS MARCO writes them, but query "
                f"{named([query])} has the ranks {shown}{', ...' if len(found) > 5 else ''}; "
                "expected each of 1, 2, 3, ... (or 0, 1, 2, ...) once: write every list anew, best "
                "first, or give the columns a header such as query_id,video_id,rank"
            )
    return width


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _own(path: Path) -> tuple[RankedLists, ...]:
    """The lists of a result file, without what has no score."""
    made = []
    for name, found in read_results(path, scores=False).directions.items():
        gallery = np.array(found.gallery_ids, dtype=object)
        kept = [np.isfinite(line) for line in found.scores]
        items = (tuple(gallery[r[k]]) for r, k in zip(found.indices, kept, strict=True))
        scores = (line[k].astype(np.float64) for line, k in zip(found.scores, kept, strict=True))
        made.append(
            RankedLists(
                found.query_ids, tuple(items), tuple(scores), name, found.gallery_ids, found.label,
                str(path),
            )
        )  # fmt: skip
    return tuple(made)


def _judge(where: str, columns: Mapping[str, bool]) -> None:
    """Refuse a table without columns of a ranking; of each it is known whether it is of lists.

    Raises:
        FormatError: it has none of queries, or none of items.
    """
    query = query_field(columns)
    listed = any(plain(name) in (*LISTS, *ID_LISTS) and lists for name, lists in columns.items())
    if query is None or not (listed or item_field(columns, query)):
        raise _no_columns(where, columns)


def _add_json(lists: _Lists, content: Any) -> None:  # noqa: ANN401  JSON is any of six types
    if isinstance(content, Mapping):
        rows = rows_of_pandas(content)
        content = unwrapped(content, lists.where) if rows is None else rows
    if isinstance(content, list):
        if content and all(isinstance(x, list) for x in content):
            raise _no_queries(lists.where, {"": content}, "")
        _add_records(lists, content)
        return
    if isinstance(content.get("results"), list):
        lists.label = str(content.get("label", ""))
        said = {"direction": content.get("direction", "")}
        found = lists_beside(content)
        if found is None and not all(isinstance(x, Mapping) for x in content["results"]):
            raise _no_queries(lists.where, content, "results")
        records = content["results"] if found is None else found
        _add_records(lists, ({**said, **each} for each in records))
        return
    if content and set(content) <= set(_DIRECTIONS):
        for direction, found in content.items():
            _add_part(lists, found, direction)
        return
    _add_part(lists, content, "")


def _add_part(lists: _Lists, content: Any, direction: str) -> None:  # noqa: ANN401
    """The lists of one direction: `{query: list}`, records, or queries with a list of each."""
    found = lists_beside(content) if isinstance(content, Mapping) else content
    if isinstance(found, list):
        if not all(isinstance(x, Mapping) for x in found):
            raise _no_queries(lists.where, {"": found}, "")
        _add_records(lists, ({"direction": direction, **each} for each in found))
        return
    if not isinstance(content, Mapping):
        raise FormatError(f"{lists.where}: {direction} is {named([content])}; {_EXPECTED}")
    if queries_beside(content) and any(
        isinstance(x, list) and x and all(isinstance(y, list | Mapping) for y in x)
        for x in content.values()
    ):
        raise FormatError(f"{lists.where}: holds {_held(content)}; {_beside_wanted(content)}")
    if (key := lists_of_no_query(content)) is not None:
        raise FormatError(
            f"{lists.where}: {named([key])} holds {len(content[key])} lists, and nothing says of "
            'which queries; add their names beside it as "query_ids", one for each list'
        )
    for query, listed in content.items():
        if is_no_list(listed):
            raise FormatError(
                f"{lists.where}: {named([query])} is no query with its items, and holds "
                f"{_held(listed)}; {_beside_wanted(listed)}"
            )
        _add_list(lists, query, listed, direction)


def _held(content: Mapping[str, Any]) -> str:
    """What stands in an object, a few of it."""
    found = []
    for key, value in islice(content.items(), _FEW):
        what = named([value])
        if isinstance(value, list | Mapping):
            what = f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
        found.append(f"{named([key])} ({what})")
    more = f" and {len(content) - _FEW} more" if len(content) > _FEW else ""
    return ", ".join(found) + more


def _beside_wanted(content: Mapping[str, Any]) -> str:
    return _BESIDE if queries_beside(content) or "results" in content else _EXPECTED


def _no_queries(where: str, content: Mapping[str, Any], key: str) -> FormatError:
    """What is said of results that name no query, or of queries without results."""
    results, queries = content[key], queries_beside(content)
    odd = next((each for each in results if not isinstance(each, Mapping)), None)
    what = "a list" if isinstance(odd, list) else named([odd])
    said = f"one of its {len(results)} results is {what}, and nothing says of which query"
    if queries is not None:
        said = (
            f"has {len(content[queries])} names in {queries!r} beside {len(results)} entries in "
            f"{key!r}"
        )
    return FormatError(f"{where}: {said}; {_BESIDE}")


def _add_list(lists: _Lists, query: object, listed: Any, direction: str) -> None:  # noqa: ANN401
    """The list of one query: {item: score}, names, [item, score] or records."""
    if isinstance(listed, Mapping) and is_one_list(listed):
        _add_records(lists, [{**listed, "query_id": query, "direction": direction}])
        return
    if isinstance(listed, Mapping):
        for item, score in listed.items():
            known = (score, None)
            if isinstance(score, Mapping) and says_how_good(score):
                known = _goodness(lists, score, query, ())
            lists.add(query, item, *known, direction)
        return
    if not isinstance(listed, list):
        raise FormatError(f"{lists.where}: query {named([query])} has no list; {_EXPECTED}")
    for entry in listed:
        if isinstance(entry, Mapping):
            key = "id" if "id" in entry else first_field(entry, VIDEO_FIELDS)
            if key is None:
                raise _no_columns(lists.where, entry)
            lists.add(query, entry[key], *_goodness(lists, entry, query, (key,)), direction)
        elif isinstance(entry, list) and len(entry) == 2:
            lists.add(query, entry[0], entry[1], direction=direction)
        else:
            lists.add(query, entry, direction=direction)


def _add_records(lists: _Lists, records: Iterable[Any]) -> None:
    for record in records:
        if not isinstance(record, Mapping):
            raise FormatError(f"{lists.where}: got {named([record])}; {_EXPECTED}")
        direction = record.get("direction") or ""
        if direction not in ("", *_DIRECTIONS):
            raise FormatError(f"{lists.where}: direction {named([direction])}, expected t2v or v2t")
        query = query_field(record)
        named_one = query is not None and not isinstance(record[query], list)
        if not named_one and (several := lists_beside(record)):
            _add_records(lists, ({"direction": direction, **each} for each in several))
            continue
        if query is None:
            raise _no_columns(lists.where, record)
        nested = list_of(record)
        if (run := first_field(record, RUNS)) is not None and isinstance(record[run], str | int):
            lists.runs[str(record[run])] = None
        if nested is not None:
            listed = _beside(lists, record, query, nested)
            _add_list(lists, record[query], listed, direction)
        else:
            item = item_field(record, query)
            if item is None:
                raise _no_columns(lists.where, record)
            lists.counted = item if refers_to_rows(item) else ""
            known = _goodness(lists, record, record[query], (query, item))
            lists.add(record[query], record[item], *known, direction)


def _beside(lists: _Lists, record: Mapping[str, Any], query: str, nested: str) -> Any:  # noqa: ANN401
    """The list of a record, with the scores or distances that stand in a list of their own."""
    names = record[nested]
    plural = [f"{name}s" for name in (*SCORES, *DISTANCES)]
    key = first_field(record, (*plural, "similarities", *SCORES, *DISTANCES))
    values = None if key is None else record[key]
    if key is None and isinstance(names, list):
        return _with_others(record, names)
    if not isinstance(names, list) or not isinstance(values, list):
        return names
    if len(values) != len(names):
        raise FormatError(
            f"{lists.where}: query {named([record[query]])} has {len(names)} {nested} and "
            f"{len(values)} {key}"
        )
    if all(value is None for value in values):
        return names
    sign = -1 if str(key).lower().startswith(("dist", "_dist")) else 1
    others = {
        name: of
        for name, of in record.items()
        if name != key and says_good(str(name)) and isinstance(of, list) and len(of) == len(names)
    }
    # Without a score: -inf, not scored.
    return [
        {
            "id": name,
            "score": -math.inf
            if value is None
            else sign * lists.number(value, record[query], name),
            **{other: of[row] for other, of in others.items()},
        }
        for row, (name, value) in enumerate(zip(names, values, strict=True))
    ]


def _with_others(record: Mapping[str, Any], names: list[Any]) -> list[Any]:
    """Names with the numbers that stand beside them in lists of names that nobody knows."""
    others = {
        key: value
        for key, value in record.items()
        if isinstance(value, list) and len(value) == len(names) and value is not names
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    }  # fmt: skip
    if not others or any(isinstance(name, Mapping | list) for name in names):
        return names
    lines = zip(names, *others.values(), strict=True)
    return [{"id": name, **dict(zip(others, values, strict=True))} for name, *values in lines]


def _goodness(
    lists: _Lists, record: Mapping[str, Any], query: object, used: tuple[object, ...]
) -> tuple[Any, Any]:
    """Score and rank of an entry, None where it says none; a distance is a score turned round.

    Raises:
        FormatError: neither, and a number that could be one of them.
    """
    score, far, rank = (first_field(record, names) for names in (SCORES, DISTANCES, RANKS))
    place = None if rank is None else record[rank]
    if any(says_good(str(name)) for name in record if name not in (score, far, rank)) or (
        score is not None and far is not None
    ):
        line = (str(record.get("direction") or ""), as_name(query, lists.where))
        lists.second.see(record, (score, far, rank), line)
    if score is not None:
        return record[score], place
    if far is not None and record[far] is not None:
        return -lists.number(record[far], query, record), place
    odd = [name for name, value in record.items() if name not in used and _is_fraction(value)]
    if odd and rank is None:
        raise FormatError(
            f"{lists.where}: does not say what {named(odd)} is; call it score where more is "
            "better, or distance where less is"
        )
    if place is None:
        line = (str(record.get("direction") or ""), as_name(query, lists.where))
        lists.unused.see(record, used, line)
    return None, place


def _is_fraction(value: object) -> bool:
    if isinstance(value, float):
        return True
    try:
        return isinstance(value, str) and "." in value and math.isfinite(float(value))
    except ValueError:
        return False


def _no_columns(where: str, record: Iterable[object]) -> FormatError:
    return FormatError(f"{where}: its fields are {named(list(record))}; {_EXPECTED}")


def _side(word: str) -> str:
    return either(f"--side {word}", f'queries="{word}"')


def convert_rankings(source: PathLike, target: PathLike, *, queries: str = "") -> tuple[int, int]:
    """Write rankings of any file as a result file, HDF5, which `rerank eval --results` reads.

    Args:
        source: a file that `read_rankings` reads.
        target: where to; replaced whole or not at all.
        queries: "texts" or "videos", where the file does not say whose lists they are.

    Returns:
        (queries, length of the longest list), of both directions together where there are two.

    Raises:
        FormatError: no rankings, or lists of nobody knows which side.
    """
    made: dict[str, DirectionResult] = {}
    for lists in read_rankings(source):
        for note in lists.notes:
            warnings.warn(note, RerankWarning, stacklevel=2)
        said = {"texts": "t2v", "videos": "v2t", "": ""}[queries]
        direction = lists.direction or said
        if not direction:
            raise FormatError(
                f"{source}: does not say whose lists it holds; give {_side('texts')} (texts rank "
                f"videos) or {_side('videos')}"
            )
        gallery = lists.gallery_ids or tuple(
            dict.fromkeys(i for items in lists.items for i in items)
        )
        place = {name: row for row, name in enumerate(gallery)}
        shape = (len(lists.items), max(1, lists.depth))
        # Behind the end of a shorter list nothing is scored.
        indices, scores = np.zeros(shape, np.int64), np.full(shape, -np.inf)
        for row, (names, values) in enumerate(zip(lists.items, lists.scores, strict=True)):
            indices[row, : len(names)] = [place[name] for name in names]
            scores[row, : len(names)] = values
        label = lists.label or "none"
        made[direction] = DirectionResult(lists.query_ids, gallery, indices, scores, label=label)
    write_results(target, directions=made, manifest={"converted_from": Path(source).name})
    return sum(len(r.query_ids) for r in made.values()), max(
        r.indices.shape[1] for r in made.values()
    )
