"""Two directions of retrieval and the bank that each may use, decided in one place.

Text to video ranks videos, so its bias is estimated from bank *texts*; video to text ranks texts,
so its bias needs bank *videos*. A direction without its bank stays raw: it is never quietly fitted
on the test queries. With no bank at all both are fitted on the test queries, and say so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.pairs import WORDS, transpose_positives
from rerank.core.similarity import ArrayLike, Axis, Pair, Similarity, pair_called
from rerank.core.wording import option
from rerank.core.words import GroupsWord, Label, Metric, Name
from rerank.methods.base import Bank
from rerank.methods.kinds import Scores
from rerank.methods.kinds_beside import read_bank
from rerank.passes import reduce


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction before fitting.

    Attributes:
        name: "t2v" or "v2t".
        sim: test queries x gallery.
        bank: what may be fitted on; None leaves the direction raw.
        warnings: what the user should know, one sentence each.
        scored: mean number of scored gallery items of the queries that have any.
        own: whether the scores are a matrix of this direction, no transpose of the other's.
        groups: how many things the queries, and the items, are about, where it is known.
    """

    name: Name
    sim: Similarity
    bank: Bank | None
    warnings: tuple[str, ...] = ()
    scored: float = math.inf
    own: bool = False
    groups: tuple[int | None, int | None] = (None, None)

    @property
    def itself(self) -> "Direction":
        """The same, to be fitted on the test queries themselves: transductive."""
        return replace(self, bank=_own(self.sim, *self.groups))

    @property
    def label(self) -> Label:
        """Label of anything fitted on this direction's bank."""
        return "none" if self.bank is None else self.bank.label


# What is known of which texts and videos belong together: nothing, that no two of one side share
# one of the other, that those of the longer side come in groups, or the group of each.
Groups: TypeAlias = GroupsWord | Sequence[object] | np.ndarray


def from_scores(
    t2v: Similarity,
    v2t: Similarity | None = None,
    *,
    groups: Groups = "auto",
    scored: tuple[float, float] = (math.inf, math.inf),
    bank: Similarity | None = None,
) -> dict[Name, Direction]:
    """Both directions of one similarity, texts x videos; without a bank they are transductive.

    Args:
        t2v: texts x videos.
        v2t: videos x texts, where that direction has scores of its own; else the transpose.
        groups: "one-to-one" (no text has two videos, no video two texts), "grouped" (the longer
            side comes in groups, such as captions of a video), or an id for every text of all
            processes, the same where they belong to one video (or one for every video).
        scored: mean number of scored items of a text and of a video.
        bank: bank texts x the same videos, which fit text to video; video to text then stays raw.

    Raises:
        RerankError: two matrices that do not fit together, another word for groups, or ids that
            fit neither side.
    """
    back = t2v.T if v2t is None else v2t
    if back.shape != t2v.shape[::-1]:
        raise RerankError(
            f"v2t: got shape {tuple(back.shape)}, expected {tuple(t2v.shape[::-1])}, videos x texts"
        )
    n, m = reduce.total_queries(t2v), reduce.total_gallery(t2v)
    texts, videos = _counts(groups, n, m)
    own = v2t is not None
    if bank is not None:
        if bank.shape[1] != t2v.shape[1]:
            raise RerankError(
                f"bank scores: got {bank.shape[1]} videos, expected {t2v.shape[1]} as in the scores"
            )
        label, said = _label(bank, t2v)
        queries, items = nouns.of("t2v")
        alone = f"stays raw: its bias needs scores of bank {items}; a bank of {queries} has none"
        return {
            "t2v": Direction(
                "t2v", t2v, Bank(bank, label=label), said, scored[0], own, (texts, videos)
            ),
            "v2t": Direction("v2t", back, None, (alone,), scored[1], own, (videos, texts)),
        }
    sides: tuple[tuple[Name, Similarity, float, tuple[int | None, int | None]], ...] = (
        ("t2v", t2v, scored[0], (texts, videos)),
        ("v2t", back, scored[1], (videos, texts)),
    )
    unused = _unused(groups, n, m)
    return {
        name: Direction(name, sim, None, unused, scored=of, own=own, groups=counts).itself
        for name, sim, of, counts in sides
    }


def from_matrix(
    stored: Scores,
    bank: ArrayLike | None = None,
    *,
    groups: Groups = "auto",
    device: str | torch.device | None = None,
) -> dict[Name, Direction]:
    """Both directions of a matrix as it was read, on a device.

    Args:
        stored: the matrix, and what its numbers were taken for.
        bank: bank texts x the same videos, whose numbers are read alike.
        groups: see `from_scores`.
        device: where to; None = where the scores are.

    Raises:
        RerankError: see `from_scores`.
    """
    found = None if bank is None else read_bank(bank, stored)
    beside = None if found is None else found.sim
    if device is not None:
        stored = stored.to(torch.device(device))
        beside = None if beside is None else replace(beside, base=beside.base.to(device))
    both = from_scores(stored.t2v, stored.v2t, groups=groups, scored=stored.scored, bank=beside)
    if found is not None and found.said:
        to = both["t2v"]
        both["t2v"] = replace(to, warnings=(*to.warnings, *found.said))
    return both


def _unused(groups: Groups, n: int, m: int) -> tuple[str, ...]:
    """That a statement about groups is of no use, where it is."""
    if not isinstance(groups, str) or groups != "grouped" or n != m:
        return ()
    texts, videos = nouns.sides()
    return (
        f"{option('grouped')} changes nothing: there are as many {texts} as {videos} ({n:,}), and "
        f"it says that those of the longer side come in groups",
    )


def _own(sim: Similarity, queries: int | None, gallery: int | None) -> Bank:
    return Bank(
        sim, pairs=sim, label="transductive", query_groups=queries, gallery_groups=gallery
    )  # fmt: skip


def _counts(groups: Groups, n: int, m: int) -> tuple[int | None, int | None]:
    """How many things the n texts and the m videos are about, as far as it is known."""
    if isinstance(groups, str):
        if groups == "auto":
            return None, None
        if groups == "one-to-one":
            return n, m
        if groups == "grouped":
            # Of equal sides neither is the longer one.
            return (None, None) if n == m else (min(n, m), min(n, m))
        raise RerankError(
            f"groups: got {groups!r}, expected 'auto', 'one-to-one', 'grouped' or an id for each "
            f"of the {n} texts"
        )
    ids = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(ids) not in (n, m):
        raise RerankError(
            f"groups: got {len(ids)} ids, expected one for each of the {n} texts "
            f"(or of the {m} videos)"
        )
    found = len(set(ids))
    if found == len(ids):
        # Every one with an id of its own says nothing of the other side.
        return None, None
    return (found, m) if len(ids) == n else (n, found)


def from_embeddings(
    texts: ArrayLike,
    videos: ArrayLike,
    *,
    bank_texts: ArrayLike | None = None,
    bank_videos: ArrayLike | None = None,
    bank_positives: tuple[np.ndarray, ...] | None = None,
    metric: Metric = "cosine",
    sharded: bool = False,
    whole_bank: bool = False,
    groups: Groups = "auto",
) -> dict[Name, Direction]:
    """Both directions of embeddings, with the banks that were given.

    Args:
        texts: (n, d) test texts; videos: (m, d) test videos.
        videos: see `texts`.
        bank_texts: texts that are not test queries, for text to video.
        bank_videos: videos that are not in the test gallery, for video to text.
        bank_positives: for each bank text the bank video rows that are right, where known.
        metric: "cosine" or "dot".
        sharded: `texts` and `bank_texts` are this process's share of their rows; videos are whole
            in every process.
        whole_bank: with `sharded`, `bank_texts` are whole in every process too.
        groups: see `from_scores`; of the texts and videos themselves, so a fit on a bank does
            not use them.

    Raises:
        RerankError: embeddings that do not fit together.
    """
    split: Axis | None = "queries" if sharded else None
    split_bank = None if whole_bank else split
    sim = pair_called(("texts", "videos"), texts, videos, metric=metric, shard=split)
    if bank_texts is None and bank_videos is None:
        return from_scores(sim, groups=groups)
    texts_about, videos_about = _counts(
        groups, reduce.total_queries(sim), reduce.total_gallery(sim)
    )
    known = {"t2v": (texts_about, videos_about), "v2t": (videos_about, texts_about)}
    made: dict[Name, Direction] = {}
    pairs = None
    if bank_texts is not None and bank_videos is not None:
        pairs = pair_called(
            ("bank_texts", "bank_videos"), bank_texts, bank_videos, metric=metric, shard=split_bank
        )
    sides: tuple[tuple[Name, Pair, ArrayLike | None, ArrayLike | None], ...] = (
        ("t2v", sim, bank_texts, bank_videos),
        ("v2t", sim.T, bank_videos, bank_texts),
    )
    for name, test, queries, gallery_bank in sides:
        if queries is None:
            missing, role = nouns.of(name)[0], WORDS[name][0]
            made[name] = Direction(
                name, test, None,
                (f"stays raw: its bias needs a bank of {missing} ({option(f'bank-{role}')})",),
                groups=known[name],
            )  # fmt: skip
            continue
        # Of text to video the bank's queries are split, of video to text the searched gallery.
        shard = split_bank if name == "t2v" else test.shard
        asked, searched = WORDS[name]
        bank_sim = pair_called(
            (f"bank_{asked}", searched), queries, test.gallery, metric=metric, shard=shard
        )
        label, warnings = _label(bank_sim, test)
        made[name] = Direction(
            name, test,
            Bank(
                bank_sim,
                gallery=None
                if gallery_bank is None
                else _second_bank(gallery_bank, test, split_bank=split_bank),
                pairs=pairs if pairs is None or name == "t2v" else pairs.T,
                positives=_side(bank_positives, name, pairs),
                label=label,
            ), warnings, groups=known[name],
        )  # fmt: skip
    return made


def _second_bank(gallery_bank: ArrayLike, test: Pair, *, split_bank: Axis | None) -> Pair | None:
    """Bank gallery x gallery; None where both are texts and this process holds shares of both."""
    if test.shard == "gallery" and split_bank is not None:
        return None
    shard: Axis | None = "gallery" if test.shard == "gallery" else None
    return Pair(gallery_bank, test.gallery, metric=test.metric, shard=shard)


def _side(
    positives: tuple[np.ndarray, ...] | None, name: Name, pairs: Pair | None
) -> tuple[np.ndarray, ...] | None:
    """Known pairs of the bank seen from this direction's queries."""
    if positives is None or pairs is None:
        return None
    if len(positives) != pairs.shape[0]:
        raise RerankError(
            f"bank_positives: got {len(positives)} entries, expected one for each of the "
            f"{pairs.shape[0]} bank texts"
        )
    return positives if name == "t2v" else transpose_positives(positives, pairs.shape[1])


def _label(bank: Similarity, test: Similarity) -> tuple[Label, tuple[str, ...]]:
    """Inductive, unless most test queries are in the bank."""
    count, total = reduce.shared_queries(test, bank)
    if count == 0:
        return "inductive", ()
    text = f"{count} of {total} test queries are also in the bank"
    if count > total / 2:
        return "transductive", (f"{text}: this is labelled transductive",)
    return "inductive", (text,)
