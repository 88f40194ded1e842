"""Ids in a small file beside an array that has no room for them."""

from pathlib import Path

from rerank.errors import FormatError
from rerank.io.files import named, read_json, read_text
from rerank.io.ids import check_ids

HOW_TO_GIVE_IDS = (
    "give them as 'ids' in the same file, or beside it as <name>.ids.json (a list) or "
    "<name>.ids.txt (one in a line)"
)

# A name that says what it is wins over one that may belong to something else.
_TIERS = ((".ids.json", ".ids.txt"), (".json", ".txt"))


def find_sidecar(path: Path, *, tiers: tuple[tuple[str, ...], ...] = _TIERS) -> Path | None:
    """The id file that belongs to `v.npy`: v.ids.json or v.ids.txt, else v.json or v.txt.

    Raises:
        FormatError: two of the same rank.
    """
    for tier in tiers:
        present = [side for ending in tier if (side := path.with_name(path.stem + ending)).exists()]
        if len(present) > 1:
            raise FormatError(
                f"{path}: {named([side.name for side in present])} could both be its ids; "
                "keep one of them"
            )
        if present:
            return present[0]
    return None


def read_sidecar(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Ids, and the group of each where the file has it.

    A text file has one id in a line. JSON is a list of ids, `{"ids": [...], "group_ids": [...]}`,
    or `{id: row}` that gives every row from 0 once.

    Raises:
        FormatError: anything else.
    """
    if path.suffix == ".txt":
        lines = read_text(path).split("\n")
        if lines[-1] == "":
            lines.pop()
        return check_ids([line.removesuffix("\r") for line in lines], str(path)), None
    content = read_json(path)
    groups = None
    if isinstance(content, dict) and isinstance(content.get("ids"), list):
        if isinstance(content.get("group_ids"), list):
            groups = check_ids(content["group_ids"], f"{path}: group_ids")
        content = content["ids"]
    if isinstance(content, dict):
        rows = list(content.values())
        if any(isinstance(row, bool) or not isinstance(row, int) for row in rows) or sorted(
            rows
        ) != list(range(len(rows))):
            raise FormatError(
                f"{path}: is an object, but not {{id: row}} with every row from 0 to "
                f"{len(rows) - 1} once; give a list of ids"
            )
        content = sorted(content, key=content.__getitem__)
    if not isinstance(content, list):
        raise FormatError(f"{path}: is {named([content])}, expected a list of ids")
    if groups is not None and len(groups) != len(content):
        raise FormatError(f"{path}: {len(groups)} group_ids for {len(content)} ids")
    return check_ids(content, str(path)), groups
