"""Several arrays of each item, told apart by a word in their names: v0_rgb and v0_flow."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.layouts.wanted import Wanted
from rerank.io.split_flags import is_split

_MARKS = re.compile("[_.-]")
# What arrays of one item are called.
_STREAMS = {
    "rgb", "flow", "image", "text", "video", "audio", "caption", "title", "motion", "appearance",
    "visual", "spatial", "temporal", "object", "scene", "face", "ocr", "asr", "speech", "depth",
    "txt", "img", "vid", "frames", "sound", "mel", "clip", "clap", "blip", "siglip", "dino",
    "resnet", "i3d", "c3d", "s3d", "vggish", "slowfast", "ast", "beats", "whisper", "bert", "vit",
}  # fmt: skip
_VECTORS = {"feat", "feats", "feature", "features", "emb", "embs", "embed", "embedding", "vec"}


def refuse_streams(path: Path, ids: Sequence[str], wanted: Wanted) -> None:
    """Refuse names such as v0_rgb and v0_flow, of which each item has every one.

    So are rgb_v0 and flow_v0, and v0 and v0_text.

    Raises:
        FormatError: they are there; taken as ids, each item would be there several times.
    """
    for last in (True, False):
        streams = _streams(ids, last=last)
        if streams:
            plain = "" in streams
            beside = " beside the item itself" if plain else ""
            stems = {stem for stem, _ in _parts(ids, last=last)}
            if all(map(is_split, stems)):
                tested = [x for x in ids if "test" in x.lower()] or list(ids)
                raise FormatError(
                    f"{path}: holds {named(ids)}, a part of each split and side; name the one that "
                    f"is meant: {wanted.say('dataset', wanted.likely(tested))}"
                )
            raise FormatError(
                f"{path}: holds {named(sorted(streams - {''}))} of every item{beside} "
                f"({named(_of_one(ids, last=last))}, ...); save the arrays of one of them in a "
                "file of its own, named by the items alone; if all are items: "
                f"{wanted.say('dataset', '/')}"
            )


def _streams(ids: Sequence[str], *, last: bool) -> set[str]:
    """The words of which each item has every one, "" for none; empty where there are no streams."""
    found: dict[str, set[str]] = {}
    for stem, stream in _parts(ids, last=last):
        found.setdefault(stem, set()).add(stream)
        if 2 * len(found) > len(ids):
            return set()  # each would have two
    streams = next(iter(found.values()), set())
    every = "" not in found and all(each == streams for each in found.values())
    if not every or len(streams) < 2 or len(found) * len(streams) != len(ids):
        return set()
    return streams if "" not in streams or len(found) > 1 else set()


def _parts(ids: Sequence[str], *, last: bool) -> Iterator[tuple[str, str]]:
    """The item and the stream of every name."""
    for name in ids:
        words = _MARKS.split(name)[:: -1 if last else 1]
        at = next((at for at, each in enumerate(words) if each.lower() not in _VECTORS), 0)
        said = len(words) > at + 1 and words[at].lower() in _STREAMS
        yield "_".join(words[at + said :]), words[at].lower() if said else ""


def _of_one(ids: Sequence[str], *, last: bool) -> list[str]:
    """The names of the arrays of the first item."""
    stems = [stem for stem, _ in _parts(ids, last=last)]
    return [name for name, stem in zip(ids, stems, strict=True) if stem == stems[0]][:2]
