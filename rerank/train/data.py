"""Paired training data, the split by video, and seeded batches.

A batch is some texts and the distinct videos that are right for them; *every* known pair between
the two is marked, so that a second caption of a video is never a negative. Nor is a video whose
caption says word for word the same, or whose embedding is the same: such pairs are *neutral*.
"""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.pairs import as_positives
from rerank.core.similarity import ArrayLike, as_matrix, check_finite
from rerank.core.wording import either


@dataclass(frozen=True, eq=False)
class PairedData:
    """Embeddings of two modalities and which belong together.

    Attributes:
        texts: (n, d_text) raw text embeddings.
        videos: (m, d_video) raw video embeddings, of another dimension if need be.
        positives: for each text the video rows that are right; at least one.
        captions: the words of each text, or None.
    """

    texts: Tensor
    videos: Tensor
    positives: tuple[np.ndarray, ...]
    captions: tuple[str, ...] | None = None

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Text rows (p,) and video rows (p,) of all known pairs, ordered by text."""
        counts = [len(rows) for rows in self.positives]
        text_rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        return text_rows, torch.from_numpy(np.concatenate(self.positives).astype(np.int64))

    @cached_property
    def related(self) -> "Related":
        """Which videos are right for a text or for one that is its duplicate, or equal to those."""
        said: list[Iterable[Hashable]] = [_row_keys(self.texts)]
        if self.captions is not None:
            said.append(" ".join(words.lower().split()) for words in self.captions)
        group = _joined(len(self.positives), said)
        same = _joined(len(self.videos), [_row_keys(self.videos)])
        members: dict[int, list[int]] = {}
        for video, label in enumerate(same.tolist()):
            members.setdefault(label, []).append(video)
        found: list[set[int]] = [set() for _ in range(int(group.max(initial=-1)) + 1)]
        for label, rows in zip(group.tolist(), self.positives, strict=True):
            for video in rows.tolist():
                found[label].update(members[int(same[video])])
        return Related(group, tuple(np.array(sorted(rows), dtype=np.int64) for rows in found))

    @property
    def duplicates(self) -> int:
        """How many texts have a video that is right for a duplicate of them, not for them."""
        of_group = np.array([len(rows) for rows in self.related.videos])
        own = np.array([len(rows) for rows in self.positives])
        return int((of_group[self.related.group] > own).sum())

    def known(self, text_rows: Tensor, video_rows: Tensor) -> Tensor:
        """(a, b) bool: which of these texts and videos are known pairs."""
        pairs = _marked([self.positives[i] for i in text_rows.tolist()], video_rows.cpu().numpy())
        return torch.from_numpy(pairs).to(text_rows.device)

    def to(self, device: torch.device) -> "PairedData":
        """The same data on another device."""
        return PairedData(
            self.texts.to(device), self.videos.to(device), self.positives, self.captions
        )

    def fingerprint(self) -> str:
        """Hash of the embeddings and the pairs, so that a checkpoint knows its data."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.texts, self.videos, *self.pairs):
            array = part.cpu().contiguous().numpy()
            digest.update(str(array.shape).encode())
            digest.update(array.data)
        if self.captions is not None:
            digest.update("\0".join(self.captions).encode())
        return digest.hexdigest()


def paired(
    texts: ArrayLike,
    videos: ArrayLike,
    positives: Sequence[np.ndarray] | Sequence[Sequence[int]] | np.ndarray,
    *,
    captions: Sequence[str] | None = None,
    what: str = "training data",
) -> PairedData:
    """Check data and leave out texts without a right video (they can teach nothing).

    Args:
        texts: (n, d_text) numpy or torch.
        videos: (m, d_video).
        positives: for each text the video rows that are right, or one row each.
        captions: the words of each text.
        what: name for messages.

    Raises:
        RerankError: bad numbers, positives that do not fit, or no pair at all.
    """
    x, y = as_matrix(texts, f"{what}: texts").float(), as_matrix(videos, f"{what}: videos").float()
    check_finite(x, f"{what}: texts")
    check_finite(y, f"{what}: videos")
    rows = as_positives(positives, x.shape[0], y.shape[0])
    judged = [i for i, items in enumerate(rows) if len(items)]
    if not judged:
        raise RerankError(
            f"{what}: the ground truth has no pair among {x.shape[0]} texts and {y.shape[0]} "
            f"videos; give the pairs of these"
        )
    if captions is not None and len(captions) != x.shape[0]:
        raise RerankError(f"{what}: got {len(captions)} captions for {x.shape[0]} texts")
    if len({int(j) for i in judged for j in rows[i]}) < 2:
        raise RerankError(
            f"{what}: all pairs share one video; a contrast needs at least two videos"
        )
    if len(judged) == x.shape[0]:
        return PairedData(x, y, rows, None if captions is None else tuple(captions))
    return PairedData(
        x[judged],
        y,
        tuple(rows[i] for i in judged),
        None if captions is None else tuple(captions[i] for i in judged),
    )


def split_by_video(
    data: PairedData, *, share: float = 0.1, seed: int = 0
) -> tuple[PairedData, PairedData]:
    """Set some videos aside with all their texts: (training, validation).

    A text with videos on both sides goes with validation, so that no validation video is ever
    seen; its training videos are simply not its positives there.

    Raises:
        RerankError: a share that leaves fewer than two videos on a side.
    """
    m = data.videos.shape[0]
    count = round(share * m)
    if count < 2 or m - count < 2:
        raise RerankError(
            f"validation: {share:.0%} of {m} videos leaves fewer than two on a side; give "
            f"{either('--val-videos, --val-texts and --val-gt', 'validation data')}, or more videos"
        )
    order = np.random.default_rng(seed).permutation(m)
    held = np.zeros(m, dtype=bool)
    held[order[:count]] = True
    touches = np.array([bool(held[rows].any()) for rows in data.positives])
    parts = []
    for videos, texts in ((~held, ~touches), (held, touches)):
        new_row = np.cumsum(videos) - 1
        keep = np.flatnonzero(texts)
        parts.append(
            paired(
                data.texts[torch.from_numpy(keep)],
                data.videos[torch.from_numpy(np.flatnonzero(videos))],
                [new_row[[j for j in data.positives[i] if videos[j]]] for i in keep],
                captions=None if data.captions is None else [data.captions[i] for i in keep],
                what="training split" if videos is not held else "validation split",
            )
        )
    return parts[0], parts[1]


@dataclass(frozen=True, eq=False)
class Related:
    """Texts that are duplicates of each other, and the videos of each such group.

    Attributes:
        group: (n,) int64 group of each text; most texts are alone in theirs.
        videos: for each group the video rows that are no negatives of its texts, rising.
    """

    group: np.ndarray
    videos: tuple[np.ndarray, ...]


def _row_keys(rows: Tensor) -> Iterator[bytes]:
    """The bytes of every row; zeros of either sign are one."""
    plain = (rows + 0.0).cpu().contiguous().numpy()
    return (row.tobytes() for row in plain)


def _joined(count: int, keyings: Iterable[Iterable[Hashable]]) -> np.ndarray:
    """(count,) int64 labels from 0: equal where items share a key, also by way of others."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for keys in keyings:
        first: dict[Hashable, int] = {}
        for i, key in enumerate(keys):
            if key in first:
                parent[root(i)] = root(first[key])
            else:
                first[key] = i
    return np.unique([root(i) for i in range(count)], return_inverse=True)[1].astype(np.int64)


def _marked(wanted: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """(a, b) bool: whether the column's item is among the row's items."""
    out = np.zeros((len(wanted), len(columns)), dtype=bool)
    if not out.size:
        return out
    order = np.argsort(columns, kind="stable")
    ascending = columns[order]
    row = np.repeat(np.arange(len(wanted)), [len(items) for items in wanted])
    item = np.concatenate(wanted)
    at = np.searchsorted(ascending, item).clip(max=len(columns) - 1)
    there = ascending[at] == item
    out[row[there], order[at[there]]] = True
    return out


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts and the distinct videos that are right for them.

    Attributes:
        text_rows: (b,) rows of the training texts.
        video_rows: (u,) rows of the training videos, ascending.
        positive: (b, u) bool, every known pair between them.
        neutral: (b, u) bool, pairs that are neither right nor wrong: duplicates; or None.
    """

    text_rows: Tensor
    video_rows: Tensor
    positive: Tensor
    neutral: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """(b, u) bool, what is no negative."""
        return self.positive if self.neutral is None else self.positive | self.neutral

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Positions (p,), (p,) of the known pairs within the batch."""
        text, video = self.positive.nonzero(as_tuple=True)
        return text, video


def batches(
    data: PairedData, *, size: int, seed: int, epoch: int, duplicates: str = "neutral"
) -> Iterator[Batch]:
    """Every text once, in an order drawn from (seed, epoch), in batches of about equal size.

    Args:
        data: what is learned from.
        size: most texts in a batch.
        seed: of the run.
        epoch: counted from 0.
        duplicates: "neutral", or "negatives" as in published code.
    """
    n = len(data.positives)
    order = np.random.default_rng([seed, epoch]).permutation(n)
    device = data.texts.device
    related = data.related if duplicates == "neutral" else None
    for rows in np.array_split(order, batches_per_epoch(n, size)):
        yield make_batch(data.positives, rows, device, related=related)


def batches_per_epoch(n: int, size: int) -> int:
    """How many batches `batches` makes of n texts; none is larger than asked."""
    return max(1, -(-n // size))


def make_batch(
    positives: Sequence[np.ndarray],
    rows: np.ndarray,
    device: torch.device | None = None,
    *,
    related: Related | None = None,
) -> Batch:
    """The batch of some texts: their distinct videos and all pairs between the two."""
    counts = [len(positives[i]) for i in rows]
    videos, column = np.unique(np.concatenate([positives[i] for i in rows]), return_inverse=True)
    positive = np.zeros((len(rows), len(videos)), dtype=bool)
    positive[np.repeat(np.arange(len(rows)), counts), column] = True
    neutral = None
    if related is not None:
        alike = _marked([related.videos[related.group[i]] for i in rows], videos) & ~positive
        neutral = torch.from_numpy(alike).to(device) if alike.any() else None
    return Batch(
        torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(device),
        torch.from_numpy(videos.astype(np.int64)).to(device),
        torch.from_numpy(positive).to(device),
        neutral,
    )
