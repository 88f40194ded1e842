"""`rerank train`: learn small heads on frozen embeddings, and write them to serve with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from rerank.core import words
from rerank_cli.groups import Reading
from rerank_cli.named import complete_objectives
from rerank_cli.options import Device, Force, Json, Nouns

if TYPE_CHECKING:
    from rerank.train.settings import TrainSettings


class TrainCommand(typer.core.TyperCommand):
    """Help that ends with the objectives of the registry, those of plugins included."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  of click or typer
        """Write names, help and settings of the objectives; imports no torch."""
        from rerank.train.objectives.registry import OBJECTIVES

        with formatter.section("Objectives"):
            formatter.write_dl(
                [(name, _described(card)) for name, card in OBJECTIVES.cards().items()]
            )
        super().format_epilog(ctx, formatter)


Command = TrainCommand


def _described(card: Any) -> str:  # noqa: ANN401  rerank.core.registry.Card
    settings = ", ".join(f"{s.name}={s.default}" for s in card.settings)
    return card.help + (f" (--set {settings})" if settings else "")


@dataclass(frozen=True)
class Training:
    """Files that are learned from."""

    videos: Annotated[
        Path | None, typer.Option("--videos", "--gallery", help="Training video embeddings.")
    ] = None
    texts: Annotated[
        Path | None, typer.Option("--texts", "--queries", help="Training text embeddings.")
    ] = None
    gt: Annotated[Path | None, typer.Option("--gt", help="Training ground truth.")] = None


@dataclass(frozen=True)
class Validation:
    """Files by which the best heads are kept."""

    val_videos: Annotated[
        Path | None, typer.Option("--val-videos", "--val-gallery", help="Validation videos.")
    ] = None
    val_texts: Annotated[
        Path | None, typer.Option("--val-texts", "--val-queries", help="Validation texts.")
    ] = None
    val_gt: Annotated[Path | None, typer.Option("--val-gt", help="Validation ground truth.")] = None


@dataclass(frozen=True)
class Testing:
    """Files that are measured once at the end."""

    test_videos: Annotated[
        Path | None,
        typer.Option(
            "--test-videos", "--test-gallery", help="Test videos, measured once at the end."
        ),
    ] = None
    test_texts: Annotated[
        Path | None, typer.Option("--test-texts", "--test-queries", help="Test texts.")
    ] = None
    test_gt: Annotated[Path | None, typer.Option("--test-gt", help="Test ground truth.")] = None


@dataclass(frozen=True)
class Told:
    """Fields of `TrainSettings`; None leaves one to the file of settings or its default."""

    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="The loss, see below [default: infonce].",
            metavar="NAME",
            autocompletion=complete_objectives,
        ),
    ] = None
    start: Annotated[
        words.StartName | None,
        typer.Option(
            "--start", help="Closed-form start; auto: validation chooses [default: auto]."
        ),
    ] = None
    hidden: Annotated[
        int | None,
        typer.Option("--hidden", help="Width of residual MLP heads; 0 is linear [default: 0]."),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the texts, at most [default: 12].")
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Most texts in a batch [default: 4096, or a quarter]."),
    ] = None
    lr: Annotated[
        float | None, typer.Option("--lr", help="Top of the learning rate [default: 0.004].")
    ] = None
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Of AdamW [default: 0.01].")
    ] = None
    tau: Annotated[
        float | None,
        typer.Option("--tau", help="Initial temperature, learned; 0.01 or more [default: 0.1]."),
    ] = None
    logit_scale: Annotated[
        float | None,
        typer.Option("--logit-scale", help="Instead of --tau: logit scale of the source model."),
    ] = None
    loss: Annotated[
        words.ContrastName | None,
        typer.Option("--loss", help="The contrast [default: infonce]."),
    ] = None
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="On cosine scale [default: 0; 0.2 for the hinge]."),
    ] = None
    hard_negatives: Annotated[
        int | None,
        typer.Option("--hard-negatives", help="Hardest negatives that count; 0 is all."),
    ] = None
    duplicates: Annotated[
        words.Duplicates | None,
        typer.Option(
            "--duplicates",
            help="Equal captions or rows: neutral, or negatives as published [default: neutral].",
        ),
    ] = None
    patience: Annotated[
        int | None,
        typer.Option("--patience", help="Epochs that validation speaks against [default: 5]."),
    ] = None
    protocol: Annotated[
        words.Protocol | None,
        typer.Option("--protocol", help="Of the log [default: auto]."),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the split and every draw [default: 0].")
    ] = None


@dataclass(frozen=True)
class Beside:
    """What a run reads, writes and goes on from beside its data; as `rerank.tasks.train.Extras`."""

    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions", help="JSON {text id: caption}: for support-set, and to find duplicates."
        ),
    ] = None
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Validation or test data may be training data."),
    ] = False
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="JSON object of settings; options override it."),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from OUT.checkpoint; --epochs extends an ended run."),
    ] = False
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over although there is OUT.checkpoint.")
    ] = False
    log: Annotated[
        Path | None, typer.Option("--log", help="JSONL, one line an epoch (OUT.jsonl).")
    ] = None
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", help="Folder for TensorBoard logs.")
    ] = None
    pair_scores: Annotated[
        Path | None,
        typer.Option("--pair-scores", help="Write cali-nce's confidence in each pair (JSON)."),
    ] = None


def train_command(
    *,
    training: Training,
    validation: Validation,
    test: Testing,
    out: Annotated[Path, typer.Option("--out", "-o", help="The trained heads.")] = Path(
        "heads.safetensors"
    ),
    told: Told,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the objective, name=value; repeatable."),
    ] = None,
    beside: Beside,
    nouns: Nouns = None,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    reading: Reading,
) -> None:
    """Train small projection heads on frozen embeddings.

    They start in closed form, and only what validates is kept.
    The heads are then used by `rerank apply --heads` and `rerank fit --heads`. `torchrun -m
    rerank_cli train ...` uses several GPUs.
    """
    from rerank.core.errors import RerankError

    chosen = _settings(beside.settings, told, option or [])

    from rerank.core import comm
    from rerank.tasks.naming import calling
    from rerank.tasks.read import pick_device
    from rerank.tasks.train import Extras, split_of, train_files
    from rerank_cli.console import emit, emit_json, progress, say

    learned = split_of("", *vars(training).values())
    if learned is None:
        raise RerankError("give --videos, --texts and --gt of the training data")
    comm.start_from_environment()
    try:
        with progress(), calling(nouns, texts=learned.texts, videos=learned.videos):
            report = train_files(
                learned, out=out, settings=chosen,
                validation=split_of("val-", *vars(validation).values()),
                test=split_of("test-", *vars(test).values()),
                extras=Extras(**vars(beside)), reading=reading, force=force,
                device=str(pick_device(device)),
            )  # fmt: skip
        if comm.rank() == 0:
            for warning in report.warnings:
                say(f"note: {warning}")
            emit_json(report.manifest) if json else emit(report.text)
    finally:
        comm.stop()


def _settings(path: Path | None, given: Told, options: list[str]) -> "TrainSettings":
    """`TrainSettings` of a file with the options over it."""
    from rerank.core.errors import RerankError
    from rerank.io.files import read_json
    from rerank.train.objectives.registry import OBJECTIVES
    from rerank.train.settings import TrainSettings, from_document

    told = {} if path is None else from_document(read_json(path), str(path))
    told |= {name: value for name, value in vars(given).items() if value is not None}
    if given.objective is not None:
        told["objective"] = OBJECTIVES.find(given.objective).name
    # Each of the two names the temperature; the command line has the last word.
    if given.tau is not None and given.logit_scale is None:
        told.pop("logit_scale", None)
    if given.logit_scale is not None and given.tau is None:
        told.pop("tau", None)
    of_objective = dict(told.get("options", {}))
    for item in options:
        name, equals, value = item.partition("=")
        if not equals:
            raise RerankError(f"--set: got {item!r}, expected name=value, as in --set n_bases=16")
        of_objective[name.strip()] = value.strip()
    return TrainSettings(**{**told, "options": of_objective})
