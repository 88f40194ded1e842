"""Names of the rows and columns of a matrix of scores, wherever a file keeps them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io.container import LIST_NAMES, Container, contents, side_in
from rerank.io.field import Field
from rerank.io.files import PathLike
from rerank.io.given_ids import check_given_ids
from rerank.io.id_files import read_id_file
from rerank.io.ids import (
    check_count,
    check_unique,
    find_sidecar,
    first_duplicate,
    read_ids,
    read_sidecar,
)
from rerank.io.reading import ROWS
from rerank.io.row_numbers import check_no_order
from rerank.io.score_sides import (
    KNOWN,
    LISTS,
    MAYBE,
    OTHER,
    SIDES,
    STORED,
    SaidOfIds,
    called,
    check_places,
    check_rows,
    is_names,
    named_so,
    stored_turned,
    way_to_name,
)
from rerank.io.side_words import axis_of_list, side_of_ids, side_of_list

# Names of something, which do not say of what.
_BARE = tuple(name for name in LIST_NAMES if name not in KNOWN)


class BothIds(NamedTuple):
    """Names of the two sides of a matrix.

    Attributes:
        texts: one for each.
        videos: one for each.
        given: whether the file has names of one side at least.
        numbered: the side that is called by its numbers, where only the other has names and
            nobody said so; else "".
        passed: lists of other names that fit a side without any: what they are called, and which
            sides they fit.
    """

    texts: tuple[str, ...]
    videos: tuple[str, ...]
    given: bool
    numbered: str
    passed: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def both_ids(container: Container, stored: Field, shape: Sequence[int], said: SaidOfIds) -> BothIds:
    """Names of the texts and of the videos, and whether the file has them.

    In a file that is turned, `query_ids` may name what is stored as rows, or what is meant.

    Args:
        container: the file.
        stored: the matrix as it is stored.
        shape: (texts, videos).
        said: what was said.

    Raises:
        FormatError: names that are double or too few, of one side only, or of nobody knows which.
    """
    n, m = shape[0], shape[1]
    if container.columns and stored is container.fields.get("values"):
        return _table_ids(container, stored, (n, m), said)
    lists = _beside(container, stored)
    here = list(LISTS.values())
    if not _is_row_wise(container):
        here = called(lists, stored, (n, m), said)
    found = _Names(container, stored, dict(zip(SIDES, (n, m), strict=True)), said, lists)
    for side, name in zip(SIDES, here, strict=True):
        found.look(side, name)
    if found.row_wise:
        found.take_column()
    else:
        found.take_bare()
        found.take_spoken()
    queries, gallery = found.ids.get("texts"), found.ids.get("videos")
    passed = {} if found.row_wise else found.passed()
    if (queries is None) != (gallery is None) and said.nothing and not found.row_wise:
        raise _one_side(container.path, found.where, here, passed)
    check_places(container, lists, stored, said, named=said.stored_rows in found.ids)
    if container.per_item and said.nothing:
        for side in found.ids:
            axis = int(side != said.stored_rows)
            check_no_order(lists, stored, found.ids.values(), axis=axis)
    both = _both(found.ids, (n, m), said, given=queries is not None or gallery is not None)
    return both._replace(passed=passed)


def _both(
    ids: Mapping[str, tuple[str, ...]], shape: Sequence[int], said: SaidOfIds, *, given: bool
) -> BothIds:
    """Names of both sides, of which those without are numbered."""
    numbers = {side: tuple(map(str, range(n))) for side, n in zip(SIDES, shape, strict=True)}
    numbered = ""
    for side, file in zip(SIDES, said.files, strict=True):
        named = ids.get(OTHER[side])
        if side not in ids and file is None and named not in (None, numbers[OTHER[side]]):
            numbered = side
    texts, videos = (ids.get(side, numbers[side]) for side in SIDES)
    return BothIds(texts, videos, given, numbered)


def cube_ids(
    container: Container, cube: Field, counts: tuple[int, int], said: SaidOfIds
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Names of the captions that are there, and of the videos, of (videos, captions, videos).

    Raises:
        FormatError: as `both_ids`.
    """
    lists = _beside(container, cube)
    found = _Names(container, cube, dict(zip(SIDES, counts, strict=True)), said, lists)
    for side in SIDES:
        found.look(side, LISTS[side])
    found.take_bare()
    found.take_spoken()
    return found.ids.get("texts"), found.ids.get("videos")


def _one_side(
    path: Path, where: Mapping[str, str], here: Sequence[str], passed: Mapping[str, tuple[str, ...]]
) -> FormatError:
    (side,) = where
    missing = here[SIDES.index(OTHER[side])]
    there = where[side]
    call = LISTS[OTHER[side]]
    rows = either(f"--{OTHER[side][:-1]}-ids rows", f'{call}="rows"')
    fits = next((name for name, sides in passed.items() if OTHER[side] in sides), None)
    way = "give both or neither"
    if fits is not None:
        way = f"{way_to_name(OTHER[side], fits)} if {fits!r} names these"
    return FormatError(
        f"{path}: has {there} but no {missing}; {way}, or {rows} where those are numbers"
    )


def _beside(container: Container, stored: Field) -> dict[str, Field]:
    """Lists by name: those in the group of the matrix first, then those told with it, then all."""
    own = next((name for name, item in container.fields.items() if item is stored), "")
    folder = own.rpartition("/")[0]
    near = {
        name.removeprefix(f"{folder}/"): item
        for name, item in container.fields.items()
        if folder and name.startswith(f"{folder}/")
    }
    noted = {
        name: item for name, item in container.noted(stored).items()
        if max(item.shape, default=0) in stored.shape
    }  # fmt: skip
    lists = {**noted, **container.fields, **container.attached(stored), **near}
    return {name: item for name, item in lists.items() if item is not stored}


def _is_row_wise(container: Container) -> bool:
    """Whether a file is a table, in which a column has an entry for each row."""
    return not container.per_item and len(container.fields) > 1


class _Names:
    """Names of the sides of one matrix, as they are found.

    Attributes:
        ids: side -> its names, where it has them.
        where: side -> what they are called, where the file has them.
    """

    def __init__(
        self, container: Container, stored: Field, counts: Mapping[str, int], said: SaidOfIds,
        lists: Mapping[str, Field],
    ) -> None:  # fmt: skip
        self.container, self.stored, self.counts, self.said = container, stored, counts, said
        self.lists = lists
        self.ids: dict[str, tuple[str, ...]] = {}
        self.where: dict[str, str] = {}
        self._numbered: set[str] = set()  # by what was said

    @property
    def row_wise(self) -> bool:
        """Whether the file is a table."""
        return _is_row_wise(self.container)

    @property
    def _open(self) -> list[str]:
        return [side for side in SIDES if side not in self.ids and side not in self._numbered]

    def _check_own(self, side: str, name: str, source: str) -> None:
        """Refuse names that were given in another order than those in the file."""
        own = None
        if self.row_wise:
            found = _column_of_ids(self.container, self.lists, side)
            own = found[1] if found is not None and side == self.said.stored_rows else None
        elif (field := self._field_of(side, name)) is not None and is_names(field):
            own = read_ids(field)
        if own is not None:
            check_given_ids(self.ids[side], own, source=source, where=self.stored.where)

    def look(self, side: str, name: str) -> None:
        """The names of a side: those given, those in the file, those in a side-car."""
        path = self.container.path
        given, column = self.said.files[SIDES.index(side)], self.said.column_of(side)
        if given is not None:
            if (ids := given_ids(given, side)) is None:
                self._numbered.add(side)
                return
            self._take(side, ids, str(given), name)
            self._check_own(side, name, str(given))
            return
        if column is not None:
            item = _column(self.container, self.lists, column)
            self._take(side, read_ids(item), item.where, column)
            return
        field = None if self.row_wise else self._field_of(side, name)
        if field is not None:
            own = next((key for key, item in self.lists.items() if item is field), name)
            self._take(side, read_ids(field), field.where, own)
        elif (sidecar := find_sidecar(path, name=name)) is not None:
            self._take(side, read_sidecar(sidecar)[0], str(sidecar), name)

    def _field_of(self, side: str, name: str) -> Field | None:
        """A list that is called as the names of a side are, or of the rows or columns."""
        field = named_so(self.lists, name)
        if field is None and self.container.schema is not None:
            # A result file keeps them with its directions.
            field = self.container.fields.get(f"t2v/{name}")
        if field is not None:
            return field
        for name in (*MAYBE[side], *STORED[side != self.said.stored_rows]):
            field = self.lists.get(name)
            if field is not None and is_names(field):
                if max(field.shape) == self.counts[side]:
                    return field
        return None

    def _take(self, side: str, ids: tuple[str, ...], source: str, name: str) -> None:
        check_count(ids, self.counts[side], source, self.stored.where)
        check_unique(ids, source)
        self.ids[side], self.where[side] = ids, name

    def take_column(self) -> None:
        """A column beside the rows of a table names the rows."""
        side = self.said.stored_rows
        if side not in self._open:
            return
        found = _column_of_ids(self.container, self.lists, side)
        if found is not None:
            if side == "texts":
                name = _own_name(self.lists, found[0])
                check_rows(self.container.path, name, found[1], (), self.lists)
            self._take(side, found[1], self.lists[found[0]].where, found[0])
        elif (sidecar := find_sidecar(self.container.path)) is not None:
            self._take(side, read_sidecar(sidecar)[0], str(sidecar), sidecar.name)

    def take_bare(self) -> None:
        """Lists of names that say not of what are those of the side that they fit.

        Raises:
            FormatError: both sides have as many, or no side has.
        """
        used = set(self.said.columns.values())
        for name, count, source in self._bare():
            if name in used or not self._open:
                continue
            where = source.where if isinstance(source, Field) else str(source)
            fits = [side for side in SIDES if self.counts[side] == count]
            if not fits and (name.endswith("ids") or isinstance(source, Path)):
                n, m = self.counts.values()
                raise FormatError(
                    f"{where}: {count} ids, and there are {n} texts and {m} videos; every one "
                    f"needs its id, or give {self._numbers()}"
                )
            if not any(side in self._open for side in fits):
                continue
            ids = read_ids(source) if isinstance(source, Field) else read_sidecar(source)[0]
            if ids in self.ids.values() or ids == tuple(map(str, range(count))):
                continue
            if len(fits) > 1:
                raise FormatError(
                    f"{where}: may name the {count} texts or the {count} videos; say which, or "
                    f"give both: {', '.join(self._ways(name, source))}, or {self._numbers()}"
                )
            self._take(fits[0], ids, where, name)

    def take_spoken(self) -> None:
        """Lists whose names tell a side in other words, where both sides have names then.

        Raises:
            FormatError: each fits the other side, in a matrix that is stored the other way.
        """
        sides = self._open
        if not sides:
            return
        spoken = {side: self._spoken(side, self.counts[side]) for side in sides}
        if all(spoken.values()):
            for side, name in spoken.items():
                field = self.lists[name]
                self._take(side, read_ids(field), field.where, name)
        elif len(sides) == len(SIDES) and self.said.nothing and not self.said.turned:
            turned = {side: self._spoken(side, self.counts[OTHER[side]]) for side in sides}
            if all(turned.values()):
                n, m = (self.counts[side] for side in SIDES)
                found = {turned[x]: (x, self.counts[OTHER[x]]) for x in SIDES}
                raise stored_turned(self.stored, (n, m), found)

    def _spoken(self, side: str, count: int) -> str:
        """The one list of so many names that is called as those of a side; "" for none."""
        axis = int(side != self.said.stored_rows)
        found = [
            name for name in self._free()
            if (side_of_list(name) == side or axis_of_list(name) == axis)
            and max(self.lists[name].shape, default=0) == count
            and first_duplicate(read_ids(self.lists[name])) is None
        ]  # fmt: skip
        found = [name for name in found if side_of_ids(name)] or found
        same = {read_ids(self.lists[name]) for name in found}
        return found[0] if len(same) == 1 else ""

    def _free(self) -> Iterator[str]:
        """Lists of names that name no side yet; numbers only where they are called ids."""
        used = {*self.where.values(), *self.said.columns.values()}
        for name, field in self.lists.items():
            called_ids = side_of_ids(name) != "" or axis_of_list(name) is not None
            if name not in used and is_names(field) and not field.odd:
                if field.kind == "text" or called_ids:
                    yield name

    def passed(self) -> dict[str, tuple[str, ...]]:
        """Lists of as many different names as a side without any has, and which sides they fit."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self._free():
            field = self.lists[name]
            fits = tuple(x for x in self._open if self.counts[x] == max(field.shape, default=0))
            if field.kind == "text" and fits:
                ids = read_ids(field)
                if first_duplicate(ids) is None and ids not in self.ids.values():
                    found[name] = fits
        return found

    def _bare(self) -> Iterator[tuple[str, int, Field | Path]]:
        """Names that do not say of what: what they are called, how many, and the list."""
        found = False
        for name in _BARE:
            field = self.lists.get(name)
            if field is None:
                continue
            odd = bool(field.odd) and name.endswith("ids")
            if odd or is_names(field):
                found = True
                if odd and self._open:
                    read_ids(field)  # says what is wrong with it
                yield name, max(field.shape, default=0), field
        sidecar = None if found else find_sidecar(self.container.path)
        if sidecar is not None and self._open:
            yield sidecar.name, len(read_sidecar(sidecar)[0]), sidecar

    def _ways(self, name: str, source: Field | Path) -> list[str]:
        """What to say of a list that could name either side."""
        if isinstance(source, Path):
            return [
                either(f"--{side[:-1]}-ids {source}", f"{LISTS[side]}={str(source)!r}")
                for side in self._open
            ]
        return [way_to_name(side, name) for side in self._open]

    def _numbers(self) -> str:
        """How to say that the numbers of rows are meant."""
        typed = " ".join(f"--{side[:-1]}-ids rows" for side in self._open)
        called = ", ".join(f'{LISTS[side]}="rows"' for side in self._open)
        return f"{either(typed, called)} where the numbers of rows are meant"


def _column(container: Container, lists: Mapping[str, Field], name: str) -> Field:
    """The list of this name.

    Raises:
        FormatError: there is none.
    """
    found = lists.get(name.strip("/"), container.fields.get(name.strip("/")))
    if found is None:
        raise FormatError(
            f"{container.path}: there is no {name!r}; it holds {contents(container.fields)}"
        )
    return found


def given_ids(path: PathLike, side: str) -> tuple[str, ...] | None:
    """Names of a side in a file; None for the numbers of its rows."""
    return None if str(path) == ROWS else read_id_file(Path(path), side=side)


def _columns_of_names(container: Container, lists: Mapping[str, Field], side: str) -> list[str]:
    """Columns that may name the rows of a table, in the order in which they are believed."""
    texts = [name for name, item in lists.items() if is_names(item)]
    known = [name for tier in container.id_names for name in tier if name in texts]
    # Those of the other side are believed last: the right item of a query, say.
    known.sort(key=lambda name: side_in(name) == OTHER[side])
    return known or texts


def _column_of_ids(
    container: Container, lists: Mapping[str, Field], side: str
) -> tuple[str, tuple[str, ...]] | None:
    """The column beside vectors that names the rows; one of unknown name names each once."""
    known = {name for tier in container.id_names for name in tier}
    for name in _columns_of_names(container, lists, side):
        if name in known:
            return name, read_ids(lists[name])
        ids = read_ids(lists[name])
        if first_duplicate(ids) is None:
            return name, ids
    return None


def _own_name(lists: Mapping[str, Field], name: str) -> str:
    """What a column is called in the file; a lone one of text is called ids too."""
    return next(own for own in lists if lists[own] is lists[name])


def _table_ids(
    container: Container, stored: Field, shape: tuple[int, int], said: SaidOfIds
) -> BothIds:
    """Ids of a table: of its rows in a column of text, of its columns as their names."""
    fields = container.fields
    columns: tuple[str, ...] | None = container.columns
    if columns == tuple(map(str, range(len(columns)))) or columns[0].startswith("column "):
        columns = None
    made: dict[str, tuple[str, ...]] = {}
    known = columns is not None
    for side, count, given in zip(SIDES, shape, said.files, strict=True):
        where, called = str(container.path), said.column_of(side)
        if given is not None:
            ids = given_ids(given, side)
            own = columns
            if side == said.stored_rows:
                names = _columns_of_names(container, fields, side)
                own = read_ids(fields[names[0]]) if names else None
            if ids is not None and own is not None:
                check_given_ids(ids, own, source=str(given), where=where)
        elif called is not None:
            ids = read_ids(_column(container, fields, called))
        elif side != said.stored_rows:
            ids = columns
        else:
            names = _columns_of_names(container, fields, side)
            ids = read_ids(fields[names[0]]) if names else None
            if names and not said.turned and said.files[0] is None:
                corner = _own_name(fields, names[0])
                check_rows(container.path, corner, ids or (), columns or (), fields)
        known = known or (ids is not None and side == said.stored_rows)
        if ids:
            check_count(ids, count, where, stored.where)
            check_unique(ids, where)
            made[side] = ids
    check_places(container, fields, stored, said, named=said.stored_rows in made)
    if columns is None and not container.columns[0].startswith("column "):
        # What counts the columns is what they are called.
        made.setdefault(OTHER[said.stored_rows], tuple(map(str, range(len(container.columns)))))
    return _both(made, shape, said, given=known)
