"""`rerank train`: learn small heads on frozen embeddings, and write a model to serve them with."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_cli.options import Device, DeviceName, Json


class ObjectiveName(StrEnum):
    """What is minimised."""

    infonce = "infonce"
    emcl = "emcl"
    ncl = "ncl"
    support_set = "support-set"
    cali_nce = "cali-nce"


class StartName(StrEnum):
    """The closed-form start."""

    auto = "auto"
    identity = "identity"
    video_to_text = "video-to-text"
    text_to_video = "text-to-video"
    both = "both"


def train_command(
    objective: Annotated[
        ObjectiveName, typer.Option("--objective", help="The loss.")
    ] = ObjectiveName.infonce,
    videos: Annotated[
        Path | None, typer.Option("--videos", help="Training video embeddings.")
    ] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="Training text embeddings.")] = None,
    gt: Annotated[Path | None, typer.Option("--gt", help="Training ground truth.")] = None,
    captions: Annotated[
        Path | None, typer.Option("--captions", help="JSON {text id: caption}, for support-set.")
    ] = None,
    val_videos: Annotated[Path | None, typer.Option("--val-videos", help="Validation videos.")] = (
        None
    ),
    val_texts: Annotated[Path | None, typer.Option("--val-texts", help="Validation texts.")] = None,
    val_gt: Annotated[
        Path | None, typer.Option("--val-gt", help="Validation ground truth.")
    ] = None,
    test_videos: Annotated[
        Path | None, typer.Option("--test-videos", help="Test videos, read once at the end.")
    ] = None,
    test_texts: Annotated[Path | None, typer.Option("--test-texts", help="Test texts.")] = None,
    test_gt: Annotated[Path | None, typer.Option("--test-gt", help="Test ground truth.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The model.")] = Path("model.safetensors"),
    start: Annotated[
        StartName, typer.Option("--start", help="Closed-form start; auto lets validation choose.")
    ] = StartName.auto,
    hidden: Annotated[
        int, typer.Option("--hidden", help="Width of residual MLP heads; 0 = linear heads.")
    ] = 0,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the texts, at most.")] = 12,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Texts in a batch [default: 4096, or a quarter]."),
    ] = None,
    lr: Annotated[float, typer.Option("--lr", help="Top of the learning rate.")] = 4e-3,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Of AdamW.")] = 0.01,
    tau: Annotated[float, typer.Option("--tau", help="Initial temperature, learned.")] = 0.1,
    patience: Annotated[
        int, typer.Option("--patience", help="Epochs that validation speaks against.")
    ] = 5,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the objective, name=value; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the split and every draw.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT.checkpoint where there is one.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--log", help="JSONL, one line an epoch (OUT.jsonl).")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", help="Folder for TensorBoard logs.")
    ] = None,
    pair_scores: Annotated[
        Path | None,
        typer.Option("--pair-scores", help="Write cali-nce's confidence in each pair (JSON)."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="How frames become one vector: mean.")
    ] = None,
    device: Device = DeviceName.auto,
    json: Json = False,
) -> None:
    """Train projection heads from precomputed embeddings; start closed-form, keep what validates.

    The model is then used by `rerank apply/fit/search/export --model`. `torchrun -m rerank_cli.app
    train ...` uses several GPUs.
    """
    from rerank.core import comm
    from rerank.core.errors import RerankError
    from rerank.tasks.train import split_of, train_files
    from rerank.train.settings import TrainSettings
    from rerank_cli.console import emit, emit_json, progress

    training = split_of("", videos, texts, gt)
    if training is None:
        raise RerankError("give --videos, --texts and --gt of the training data")
    options = {}
    for item in option or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise RerankError(f"--set: got {item!r}, expected name=value, as in --set n_bases=16")
        options[name.strip()] = value.strip()
    settings = TrainSettings(
        objective=objective.value, options=options, start=start.value, hidden=hidden,
        epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, tau=tau,
        patience=patience, seed=seed,
    )  # fmt: skip
    comm.start_from_environment()
    try:
        with progress():
            report = train_files(
                training, out=out, settings=settings,
                validation=split_of("val-", val_videos, val_texts, val_gt),
                test=split_of("test-", test_videos, test_texts, test_gt),
                captions=captions, pool=pool, device=_device(device.value), resume=resume, log=log,
                tensorboard=tensorboard, pair_scores=pair_scores,
            )  # fmt: skip
        if comm.rank() == 0:
            if json:
                emit_json(report.manifest)
            else:
                emit(report.text)
    finally:
        comm.stop()


def _device(name: str) -> str:
    """A torch device for a name; "auto" takes a GPU where there is one."""
    import torch

    from rerank.core.errors import RerankError

    if name == "cuda" and not torch.cuda.is_available():
        raise RerankError("--device cuda: no CUDA device is available; use --device cpu or auto")
    return "cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu")
