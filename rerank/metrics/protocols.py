"""Evaluation protocols by name: the same scores give different figures under each.

* `pairs`: one caption per video, both directions one to one. MSR-VTT 1k-A; DiDeMo and ActivityNet,
  whose captions are joined into paragraphs.
* `multi-caption`: text to video counts every caption as a query; video to text is
  `rank-captions-take-best`. MSVD, VATEX, MSR-VTT full.
* `rank-captions-take-best`: as above; a video ranks all captions and its best-placed one counts.
  Collaborative Experts, TeachText, QB-Norm, VSE++.
* `rank-videos-by-best-caption`: text to video as above; a video ranks the videos, each scored by
  the maximum over its captions. CLIP4Clip and what grew from its code (X-CLIP, TS2-Net, EMCL-Net).

The two readings of video to text are not comparable: against captions a video has several right
answers in a gallery of all captions; against pooled captions it has one in a gallery of videos.
`auto` is `pairs` where the ground truth is one to one, else `multi-caption`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Making, Similarity
from rerank.core.words import Protocol, words_of

PROTOCOLS = words_of(Protocol)


@dataclass(frozen=True, eq=False)
class BestOfGroup(Similarity):
    """Groups of gallery items, each scored by its best member: S'_ig = max over j in g of S_ij.

    Args:
        source: (n, m) queries x items.
        groups: item rows of each group, none empty; an item may be in several groups.
    """

    source: Similarity
    groups: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.source.shape[0], len(self.groups)

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.source.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.source.device

    @property
    def T(self) -> Similarity:  # noqa: D102, N802
        raise RerankError("pooled captions have one direction: rank with them, do not transpose")

    @property
    def making(self) -> Making:  # noqa: D102
        made = self.source.making
        return made if self.block_size is None else replace(made, block_size=self.block_size)

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        block = self.source.block(rows)
        members = torch.from_numpy(np.concatenate(self.groups)).to(block.device)
        sizes = torch.tensor([len(group) for group in self.groups], device=block.device)
        group = torch.repeat_interleave(torch.arange(len(sizes), device=block.device), sizes)
        out = block.new_full((len(block), len(sizes)), -torch.inf)
        out.scatter_reduce_(1, group.expand(len(block), -1), block[:, members], "amax")
        return self.corrected(out, rows)


def resolve(protocol: str, positives: Sequence[np.ndarray], n_gallery: int) -> Protocol:
    """The protocol to use: "auto" is decided from the ground truth, "pairs" is checked against it.

    Args:
        protocol: one of `PROTOCOLS`.
        positives: gallery rows per text.
        n_gallery: number of videos.

    Raises:
        RerankError: an unknown name, or "pairs" on a ground truth that is not one to one.
    """
    if protocol not in PROTOCOLS:
        raise RerankError(f"protocol: got {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    most = max((len(items) for items in positives), default=0)
    flat = np.concatenate([*positives, np.empty(0, dtype=np.int64)]).astype(np.int64)
    captions = int(np.bincount(flat, minlength=n_gallery).max(initial=0))
    one_to_one = most <= 1 and captions <= 1
    if protocol == "auto":
        return "pairs" if one_to_one else "multi-caption"
    if protocol == "pairs" and not one_to_one:
        raise RerankError(
            f"protocol 'pairs': the ground truth is not one to one (up to {captions} texts for a "
            f"video, {most} videos for a text); use 'multi-caption'"
        )
    return protocol  # type: ignore[return-value]


def pool_captions(
    sim: Similarity, positives: Sequence[np.ndarray]
) -> tuple[BestOfGroup, tuple[np.ndarray, ...]]:
    """Video to text as CLIP4Clip computes it: rank the videos by their best caption.

    Args:
        sim: videos x captions.
        positives: caption rows of each video; a video without captions is no query and no item.

    Returns:
        videos x captioned videos, and the one right column of each video.
    """
    judged = [row for row, captions in enumerate(positives) if len(captions)]
    if not judged:
        raise RerankError("positives: no video has a text, so there is nothing to evaluate")
    column = {row: index for index, row in enumerate(judged)}
    right = tuple(
        np.array([column[row]] if row in column else [], dtype=np.int64)
        for row in range(len(positives))
    )
    return BestOfGroup(sim, tuple(np.asarray(positives[row]) for row in judged)), right
