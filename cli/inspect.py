"""`rerank inspect`: hubness and geometry of raw files, in numbers and one plain sentence."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_cli.groups import ManyFiles, Reading
from rerank_cli.options import BankSims, BankTexts, Device, Force, Heads, Json, Memory, Nouns
from rerank_cli.paging import Page


def inspect_command(
    *,
    files: ManyFiles,
    heads: Heads = None,
    bank_texts: BankTexts = None,
    bank_sims: BankSims = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the lists to count.")] = 10,
    top: Annotated[int, typer.Option("--top", min=0, help="How many hubs to name.")] = 5,
    page: Page,
    nouns: Nouns = None,
    force: Force = False,
    memory: Memory = None,
    device: Device = "auto",
    json: Json = False,
    reading: Reading,
) -> None:
    """Show hubs and oddities of embeddings or scores as they are.

    Nothing is written. With one file of embeddings its items are searched among themselves. With
    several models it is shown whether all list their items in the same order.
    """
    from rerank.core.memory import limit
    from rerank.tasks import inspect as sources
    from rerank.tasks.evaluate_files import judge_raw
    from rerank.tasks.naming import calling
    from rerank.tasks.report import write_report
    from rerank_cli.console import emit, emit_json, progress, say, table

    words = page.words()
    first = {role: _only(getattr(files, role), page.report) for role in ("videos", "texts", "sims")}
    given = (*files.paths, bank_texts, bank_sims, heads, reading.text_ids, reading.video_ids)
    page.check(given, force=force)
    said = calling(nouns, texts=first["texts"], videos=first["videos"])
    with limit(memory), progress(), said:
        found = sources.inspect_files(
            **vars(files), heads=heads, bank_texts=bank_texts, bank_sims=bank_sims, k=k, top=top,
            device=device, reading=reading,
        )  # fmt: skip
        if page.report is not None:
            judged = judge_raw(
                None, **{**vars(files), **first}, heads=heads, device=device, reading=reading,
                hubs=True,
            )  # fmt: skip
            write_report(page.report, judged, words=words, checks=found["checks"])
        shown = _text(found, table)
    if json:
        emit_json(found)
    else:
        emit(shown)
    for note in found.get("notes", ()):
        say(f"note: {note}")
    if page.report is not None:
        say(f"wrote {page.report}")


def _only(paths: list[Path] | None, report: Path | None) -> Path | None:
    """The file of a side; a page shows one model."""
    from rerank.core.errors import RerankError

    if report is not None and len(paths or ()) > 1:
        raise RerankError("--report shows one model: give one file of each side")
    return paths[0] if paths else None


def _text(found: dict[str, Any], table: Any) -> str:  # noqa: ANN401  console.table
    from rerank.core import nouns
    from rerank.io.files import printable

    directions: dict[str, dict[str, Any]] = found["hubness"]
    lines = []
    called = dict(zip(("texts", "videos"), nouns.sides(), strict=True))
    geometry = found["geometry"]
    for role, facts in geometry.get("files", {}).items():
        lines.append(
            f"{called.get(role, role)}: {facts['count']} x {geometry['dimension']}, "
            f"mean cosine of two {facts['anisotropy']:z.2f}, "
            f"effective rank {facts['effective_rank']:.0f}"
        )
    if "modality_gap" in geometry:
        lines.append(f"modality gap: {geometry['modality_gap']:.2f} between the two means")
    rows = []
    for label, key, digits in (
        ("skewness of the k-occurrence", "skewness", 2),
        ("  by chance alone", "skewness_by_chance", 2),
        ("Robin Hood index", "robin_hood", 2),
        ("Gini index", "gini", 2),
        ("hubs", "hubs", 0),
        ("antihubs", "antihubs", 0),
        ("first places held by hubs, %", "hub_share_of_top1_percent", 0),
    ):
        rows.append([label, *(f"{facts[key]:z.{digits}f}" for facts in directions.values())])
    lines += ["", table(["", *directions], rows), ""]
    for name, facts in directions.items():
        if facts["top"]:
            named = ", ".join(f"{printable(hub['id'])} ({hub['top1']})" for hub in facts["top"])
            lines.append(f"{name}, most first places: {named}")
    checks = found["checks"]
    if checks:
        widths = [max(len(check[part]) for check in checks) for part in ("name", "status")]
        lines.append("")
        for check in checks:
            head = f"{check['name']:{widths[0]}}  {check['status']:{widths[1]}}"
            lines.append(f"{head}  {check['found']}")
            if check["do"]:
                lines.append(f"{'':{len(head)}}  -> {check['do']}")
    lines += ["", *(f"{name}: {facts['sentence']}" for name, facts in directions.items())]
    lines += [found["advice"]] if found["advice"] else []
    return "\n".join(lines).lstrip("\n")
