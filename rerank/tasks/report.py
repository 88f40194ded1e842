"""The page about files: what was judged as one self-contained HTML file."""

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank.core import nouns
from rerank.core.errors import FormatError, RerankError
from rerank.core.words import NAMES, Name
from rerank.io.files import atomic_path, check_place, read_json
from rerank.io.identify import PAGE
from rerank.io.outputs import check_outputs
from rerank.metrics.figures import as_text
from rerank.metrics.hubness import advice
from rerank.metrics.page import Queries, before_after, render, verdict
from rerank.metrics.tables import p_text
from rerank.metrics.uncertainty import format_change
from rerank.tasks.judged import Judged


@dataclass(frozen=True)
class PageWords:
    """What only the page needs.

    Attributes:
        command: what was typed.
        when: the date and time.
        captions: a file of words for ids.
        thumbnails: a folder of images called like ids.
    """

    command: str = ""
    when: str = ""
    captions: Path | None = None
    thumbnails: Path | None = None

    def check(self) -> None:
        """Find captions that cannot be read, and images that are no folder, before the work.

        Raises:
            FormatError: one of them.
        """
        if self.captions is not None:
            read_captions(self.captions)
        if self.thumbnails is not None:
            _images(self.thumbnails)

    def unseen(self, queries: Queries | None) -> list[str]:
        """What to say where images were given and none is called like an id."""
        if self.thumbnails is None or queries is None or queries.thumbnails:
            return []
        such = ", ".join(f"{ids[0]}.jpg" for ids in (queries.videos, queries.texts) if len(ids))
        return [f"no image in {self.thumbnails} is called like an id, such as {such}"]

    def read(self, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Captions and images of these ids; checks both files."""
        return {
            "captions": {} if self.captions is None else read_captions(self.captions),
            "thumbnails": {} if self.thumbnails is None else read_thumbnails(self.thumbnails, ids),
        }


def check_report(
    report: Path | None, inputs: Sequence[Path | None], *, force: bool, out: Path | None = None
) -> None:
    """Refuse a page where an input or a file of another kind is, or none can be; before the work.

    Args:
        report: the page, if there is one.
        inputs: what is read.
        force: replace a file of another kind.
        out: what else is written.

    Raises:
        RerankError: it is one, or both outputs have one place.
    """
    if report is None:
        return
    check_outputs({"--report": report, "--out": out}, inputs, force=force, kind={"--report": PAGE})
    check_place(report)


def rows_of(judged: Judged, name: Name) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of one direction; the first figure after carries its change."""
    found = judged.as_json()
    both = next((one for one in (judged.before, judged.after) if one is not None), None)
    if both is None:
        return [], []
    shown = both[name].figures
    first = shown[0]
    rows = []
    for when in ("raw", "before", "after"):
        if when not in found:
            continue
        figures = found[when][name]
        label = judged.labels[name] if when == "after" else "raw"
        if when == "before" and judged.raw is not None:
            label = "trained"
        cells = [as_text(figures[one.name], one.facts) for one in shown]
        change = judged.changes.get(name, {}).get(first.name) if when == "after" else None
        if change:
            cells[0] = format_change(change, first.facts.digits)
        rows.append([f"{name} {when}", label, *cells, p_text(change), str(figures["queries"])])
    return ["", "label", *(one.name for one in shown), "p", "queries"], rows


def write_report(
    path: Path,
    judged: Judged,
    *,
    words: PageWords | None = None,
    checks: Sequence[Mapping[str, Any]] = (),
) -> None:
    """One self-contained HTML page about a re-ranking, or about files as they are.

    Args:
        path: where to.
        judged: with hubness and browsers; without figures where there was no ground truth.
        words: the command, captions and thumbnails.
        checks: of `rerank inspect`.

    Raises:
        RerankError: a result file whose inputs are gone.
    """
    if not judged.browsers:
        raise RerankError(
            "--report needs the inputs that the result file was made from; name them with "
            "--texts and --videos, or --sims"
        )
    words = words or PageWords()
    raw_only = all(after is None for _, after in judged.hubness.values())
    texts, videos = nouns.sides()
    queries = Queries(
        judged.browsers, judged.gallery_ids["v2t"], judged.gallery_ids["t2v"],
        **words.read([one for of in judged.gallery_ids.values() for one in of]),
    )  # fmt: skip
    page = render(
        [_section(judged, name) for name in NAMES if name in judged.gallery_ids],
        title=f"Hubs in {texts} and {videos}" if raw_only else "Re-ranking, before and after",
        subtitle="" if judged.before is None else f"ties: {judged.ties}",
        verdicts=_verdicts(judged),
        facts=[
            ("Label", "" if raw_only else judged.label),
            *judged.facts,
            ("This page by", words.command),
            ("On", words.when),
        ],
        queries=queries,
        notes=[
            *judged.notes, *([judged.undrawn] if judged.undrawn else []), *words.unseen(queries),
        ],
        checks=[dict(check) for check in checks],
    )  # fmt: skip
    with atomic_path(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8", errors="backslashreplace")


def _section(judged: Judged, name: Name) -> Any:  # noqa: ANN401  a Section
    raw, rewritten = judged.hubness.get(name, (None, None))
    headers, rows = rows_of(judged, name)
    before = None if judged.before is None else judged.before[name]
    after = None if judged.after is None else judged.after[name]
    ids = judged.gallery_ids[name]
    asked = judged.gallery_ids["v2t" if name == "t2v" else "t2v"]
    return before_after(
        name, judged.labels[name],
        before=None if before is None else before.ranks,
        after=None if after is None else after.ranks,
        hubness_before=raw, hubness_after=rewritten, ids=ids,
        headers=headers, rows=rows, scores=judged.scores.get(name),
        size=None if raw is None else (len(asked), len(ids)),
        drawn=judged.drawn.get(name, ()),
    )  # fmt: skip


def _verdicts(judged: Judged) -> list[str]:
    """What was found, a sentence for each direction."""
    out = []
    for name in judged.gallery_ids:
        raw, rewritten = judged.hubness.get(name, (None, None))
        after = None if judged.after is None else judged.after[name]
        queries, items = nouns.of(name)
        if after is not None:
            figure = after.figures[0].name
            change = judged.changes.get(name, {}).get(figure)
            out.append(verdict(name, judged.labels[name], figure, change))  # type: ignore[arg-type]
        elif raw is not None:
            said = f"{queries} to {items}: {100 * raw.hub_share_of_firsts:.0f} % of the first "
            said += f"places are held by {nouns.counted(len(raw.hubs), 'hubs')}"
            if rewritten is not None:
                share = 100 * float(rewritten.firsts[raw.hubs].sum()) / rewritten.n_queries
                said += f", after re-ranking {share:.0f} %"
            out.append(said[0].upper() + said[1:] + ".")
    if raw := [of for of, after in judged.hubness.values() if after is None]:
        out.append(advice(raw))
    if judged.before is None:
        out.append("No ground truth was given, so nothing says which ranking is right.")
    return out


def read_captions(path: Path) -> dict[str, str]:
    """Words for ids: a JSON object of strings (lists are joined), or CSV or TSV of ids and words.

    Raises:
        FormatError: anything else.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return _caption_rows(path)
    found = read_json(path)
    if not isinstance(found, dict):
        raise FormatError(
            f"{path}: got a JSON {type(found).__name__}, expected an object {{id: caption}}"
        )
    return {
        key: " / ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in found.items()
    }


def _caption_rows(path: Path) -> dict[str, str]:
    """The first column names, the second says; a header names no item and does no harm."""
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter=mark) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(
            f"{path}: cannot be read ({error}); expected rows of id, caption"
        ) from None
    short = next((i for i, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None or not rows:
        raise FormatError(f"{path}: row {short or 1} has no caption; expected rows of id, caption")
    out: dict[str, list[str]] = {}
    for key, said, *_ in rows:
        out.setdefault(key, []).append(said)
    return {key: " / ".join(said) for key, said in out.items()}


def _images(folder: Path) -> list[Path]:
    """The images of a folder, by name."""
    if not folder.is_dir():
        raise FormatError(f"{folder}: is not a folder; expected images called like the ids")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not found:
        raise FormatError(
            f"{folder}: holds no image ({', '.join(_IMAGES)}); expected images called like the ids"
        )
    return found


_IMAGES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif"}
# A page with more than this of images opens slowly.
_MOST_IMAGE_BYTES = 50_000_000


def read_thumbnails(folder: Path, ids: Sequence[str]) -> dict[str, str]:
    """Images called like ids, as data URIs.

    Raises:
        FormatError: no folder, no image in it, or too many bytes.
    """
    wanted, found, total = set(ids), {}, 0
    for path in _images(folder):
        if path.stem not in wanted:
            continue
        total += path.stat().st_size
        if total > _MOST_IMAGE_BYTES:
            raise FormatError(
                f"{folder}: its images are larger than {_MOST_IMAGE_BYTES // 10**6} MB together, "
                f"too many for one page; make them smaller, such as 160 pixels wide"
            )
        text = base64.b64encode(path.read_bytes()).decode()
        kind = _IMAGES[path.suffix.lower()]
        found[path.stem] = f"data:image/{kind};base64,{text}"
    return found
