"""`rerank inspect`: hubness, geometry and what is odd in raw files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity, as_matrix
from rerank.core.wording import option
from rerank.core.words import Name
from rerank.methods import directions
from rerank.methods.directions import Direction, Groups
from rerank.metrics import hubness
from rerank.passes import padding
from rerank.tasks.models import (
    Order,
    Paths,
    files_of_models,
    in_one_order,
    one_path,
    prove,
    several,
)
from rerank.tasks.read import (
    Inputs,
    check_names,
    pick_device,
    read_inputs,
    read_role,
    reading_of,
)


def read_directions(
    inputs: Inputs, *, metric: str, device: torch.device, groups: Groups = "auto"
) -> dict[Name, Direction]:
    """Both directions of what was read, on a device; ids tell the groups unless they are stated."""
    known = inputs.groups_as(groups)
    if inputs.scores is not None:
        bank = None if inputs.bank_scores is None else inputs.bank_scores.scores
        return directions.from_matrix(inputs.stored, bank, groups=known, device=device)

    def on_device(role: str) -> torch.Tensor | None:
        vectors = inputs.vectors(role)
        return None if vectors is None else as_matrix(vectors, role, keep_half=True).to(device)

    texts, videos = on_device("texts"), on_device("videos")
    if texts is None or videos is None:
        raise RerankError("give --videos and --texts, or --sims")
    return directions.from_embeddings(
        texts,
        videos,
        bank_texts=on_device("bank_texts"),
        bank_videos=on_device("bank_videos"),
        bank_positives=inputs.bank_positives,
        metric=metric,  # type: ignore[arg-type]
        groups=known,
    )


class Inspection(dict[str, Any]):
    """What was found: "hubness" by direction, "advice", "geometry", "checks", "scores", "notes"."""

    def __repr__(self) -> str:
        said = [f"{name} skewness {of['skewness']:z.2f}" for name, of in self["hubness"].items()]
        odd = [check["name"] for check in self["checks"] if check["status"] != "ok"]
        return f"Inspection({', '.join(said)}; to look at: {'; '.join(odd) or 'nothing'})"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        rows = "".join(
            f"<tr><td>{escape(c['name'])}</td><td>{c['status']}</td><td>{escape(c['found'])}</td>"
            f"<td>{escape(c['do'])}</td></tr>"
            for c in self["checks"]
        )
        said = "".join(
            f"<p>{name}: {escape(of['sentence'])}</p>" for name, of in self["hubness"].items()
        )
        said += f"<p>{escape(self['advice'])}</p>" if self.get("advice") else ""
        return f"{said}<table>{rows}</table>"


@dataclass(frozen=True)
class Check:
    """One look at the input.

    Attributes:
        name: what was looked at.
        status: "ok", "look" or "bad".
        found: what was seen.
        do: what to do about it; empty where all is well.
    """

    name: str
    status: Literal["ok", "look", "bad"]
    found: str
    do: str = ""


# Rows that are looked at where a check compares all with all.
_SAMPLE = 5000
# A share of one dimension that is worth a word.
_MUCH = 0.1
# Cosines from here on are those of copies, in float32 of any usual dimension.
_COPY = 0.9995


def inspect_files(
    *,
    videos: Paths = None,
    texts: Paths = None,
    sims: Paths = None,
    heads: Path | None = None,
    bank_texts: Path | None = None,
    bank_sims: Path | None = None,
    metric: str = "cosine",
    k: int = 10,
    top: int = 5,
    pool: str | None = None,
    device: str = "auto",
    reading: io.Reading | None = None,
    scores_are: str = "auto",
    unscored: str | None = None,
) -> Inspection:
    """Hubness per direction, geometry and checks of raw files.

    Of several models, a file for each and role, the first is inspected, and it is shown whether
    the others list their items in its order.

    Returns:
        {"hubness": {direction: figures with "sentence"}, "advice": what to do about it,
        "geometry": {...}, "checks": [...]}.

    Raises:
        RerankError: no file, or one that is not usable.
    """
    target = pick_device(device)
    orders: tuple[Order, ...] = ()
    if several(videos, texts, sims):
        parts = [
            read_inputs(
                **own, metric=metric, pool=pool, reading=reading, heads=heads,
                scores_are=scores_are, unscored=unscored,
            )
            for own in files_of_models({"videos": videos, "texts": texts, "sims": sims})
        ]  # fmt: skip
        orders = prove(in_one_order(parts), metric=metric)
    videos, texts, sims = (one_path(paths) for paths in (videos, texts, sims))
    if sims is None and (videos is None or texts is None):
        path = videos or texts
        if path is None:
            raise RerankError("inspect: give --videos, --texts, both, or --sims")
        said = reading_of(reading, pool)
        role = "texts" if videos is None else "videos"
        check_names(said, [path])
        alone = read_role(path, role, said, metric=metric, row_numbers=True)
        return inspect_alone(alone, metric=metric, k=k, top=top, device=target)
    inputs = read_inputs(
        videos=videos, texts=texts, sims=sims, bank_texts=bank_texts, bank_sims=bank_sims,
        metric=metric, pool=pool, reading=reading, heads=heads, scores_are=scores_are,
        unscored=unscored,
    )  # fmt: skip
    both = read_directions(inputs, metric=metric, device=target)
    return inspect_directions(both, inputs, metric=metric, k=k, top=top, orders=orders)


def inspect_directions(
    both: Mapping[Name, Direction],
    inputs: Inputs,
    *,
    metric: str,
    k: int,
    top: int,
    orders: Sequence[Order] = (),
) -> Inspection:
    """Hubness per direction, geometry and checks of what was read; see `inspect_files`."""
    sim = both["t2v"].sim
    found = Inspection({"hubness": {}, "advice": "", "geometry": {}, "checks": []})
    sides: tuple[tuple[Name, Similarity, Sequence[str]], ...] = (
        ("t2v", sim, inputs.video_ids),
        ("v2t", both["v2t"].sim, inputs.text_ids),
    )
    checks: list[Check] = []
    every: list[hubness.Hubness] = []
    if inputs.scores is not None:
        found["scores"] = inputs.stored.as_dict()
    for name, side, ids in sides:
        counted = hubness.summary(side, k)
        found["hubness"][name] = _facts(counted, ids, top, nouns.of(name)[1])
        every.append(counted)
        checks.append(first_places(counted, ids, f"{name}, most found"))
    live = padding.live(sim)
    checks += map(padded, live.dead, nouns.sides(), sim.shape)
    found["advice"] = hubness.advice(every)
    bank = both["t2v"].bank
    if bank is not None and bank.sim is not sim:
        counted = hubness.summary(bank.sim, k)
        checks.append(
            first_places(counted, inputs.video_ids, f"bank {nouns.sides()[0]}, most found")
        )
    if isinstance(sim, Pair):
        part = live.part(sim)
        assert isinstance(part, Pair)
        shape = hubness.geometry(part)
        found["geometry"] = {
            "dimension": shape.dimension,
            "modality_gap": shape.gap,
            "files": {
                "texts": _cloud(sim.shape[0], shape.text_anisotropy, shape.text_rank),
                "videos": _cloud(sim.shape[1], shape.video_anisotropy, shape.video_rank),
            },
        }
        for called, embeddings in zip(nouns.sides(), (inputs.texts, inputs.videos), strict=True):
            if embeddings is not None:
                checks += look_at(embeddings, called, metric)
    checks += [order_check(order) for order in orders]
    found["checks"] = [asdict(check) for check in checks]
    if said := (*inputs.said_of_files, *_said_of_bank(both)):
        found["notes"] = list(said)
    if orders:
        found["models"] = [order.as_dict() for order in orders]
    return found


def _said_of_bank(both: Mapping[Name, Direction]) -> list[str]:
    """What `apply` warns of a bank; a direction without one has nothing to say of it."""
    return [f"{name}: {said}" for name, d in both.items() if d.bank for said in d.warnings]


def order_check(order: Order) -> Check:
    """Whether a further model lists its items as the first does."""
    name = f"{Path(order.source).name}, order"
    if order.found.proved:
        return Check(name, "ok", order.sentence)
    if order.proved:
        return Check(name, "look", order.sentence, "evaluate it alone before it is added")
    do = "give files with ids, or --text-ids and --video-ids; do not add these scores"
    return Check(name, "bad", order.sentence, do)


def look_at(embeddings: io.Embeddings, role: str, metric: str) -> list[Check]:
    """Copies, dominating dimensions and norms of one file."""
    step = -(-len(embeddings.ids) // _SAMPLE)
    rows = torch.from_numpy(np.array(embeddings.vectors[::step])).double()
    # Squares of single numbers of 1e-30, or of 1e30, are 0 or infinite.
    unit = torch.nn.functional.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)
    low, _, high = embeddings.norms
    return [
        copies(unit.float(), embeddings.ids[::step], role),
        dimensions(unit.float(), role),
        norms(rows, unit, role, metric, ends=(low, high)),
    ]


def copies(unit: Tensor, ids: Sequence[str], role: str) -> Check:
    """Items that lie where another lies; they share first places and answers."""
    name = f"{role}, copies"
    if len(unit) < 2:
        return Check(name, "ok", "one item")
    products = unit @ unit.T
    products.fill_diagonal_(-1)
    best, other = products.max(dim=1)
    same = torch.nonzero(best >= _COPY)[:, 0]
    share = len(same) / len(unit)
    found = f"{len(same)} of {len(unit)} items lie on another ({100 * share:.1f} %)"
    if not len(same):
        return Check(name, "ok", found)
    first = int(same[0])
    found += f", such as {ids[first]} on {ids[int(other[first])]}"
    do = "keep one of each, or name all copies as right answers in the ground truth"
    return Check(name, "bad" if share > 0.05 else "look", found, do)


def dimensions(unit: Tensor, role: str) -> Check:
    """Whether one dimension decides the cosines.

    What all items have alike adds the same to each score: CLIP has a dimension with 40 % of the
    length, and taking it away gains nothing. What counts is the variance.
    """
    length, variance = unit.square().mean(dim=0), unit.var(dim=0, correction=0)
    largest, constant = int(variance.argmax()), int(length.argmax())
    share = float(variance[largest] / variance.sum().clamp_min(1e-30))
    found = f"dimension {largest} holds {100 * share:.1f} % of the variance"
    if constant != largest and length[constant] > _MUCH:
        found += (
            f"; {constant} has {100 * float(length[constant]):.0f} % of the length in all items"
        )
    # A dimension of its own share would hold 1 / d.
    if share <= max(_MUCH, 3 / unit.shape[1]):
        return Check(f"{role}, dimensions", "ok", found)
    do = f"dimension {largest} decides the cosines: divide it by its spread, or leave it out"
    return Check(f"{role}, dimensions", "bad" if share > 0.3 else "look", found, do)


def norms(
    rows: Tensor, unit: Tensor, role: str, metric: str, *, ends: tuple[float, float] | None = None
) -> Check:
    """Whether lengths differ, and whether the metric makes that count.

    Args:
        rows: (n, d) a sample of the rows.
        unit: the same of length one.
        role: what they are.
        metric: "cosine" or "dot".
        ends: the smallest and the largest length of all rows; of the sample without.
    """
    length = torch.linalg.vector_norm(rows, dim=1)
    spread = float(length.std(correction=0) / length.mean())
    low, high = ends or (float(length.min()), float(length.max()))
    found = f"norms {low:.3g} to {high:.3g}"
    if spread < 0.01:
        return Check(f"{role}, norms", "ok", found)
    step = max(1, len(rows) // 500)
    moved = ((unit[::step] @ rows.T).argsort(descending=True)[:, 1] != (
        unit[::step] @ unit.T
    ).argsort(descending=True)[:, 1]).float().mean()  # fmt: skip
    found += f"; cosine and dot disagree on {100 * float(moved):.0f} % of the nearest items"
    if metric == "cosine" or float(moved) < 0.05:
        return Check(f"{role}, norms", "ok", found)
    cosine = option("metric", "cosine")
    do = f"use {cosine}, unless the model was trained with inner products"
    return Check(f"{role}, norms", "bad" if float(moved) > 0.3 else "look", found, do)


def first_places(counted: hubness.Hubness, ids: Sequence[str], name: str) -> Check:
    """Whether one item answers implausibly many queries, as planted ones do."""
    row, first, _ = counted.top(1)[0]
    share, mean = first / counted.n_queries, counted.n_queries / counted.n_items
    asked = nouns.counted(counted.n_queries, "queries")
    found = f"{ids[row]} comes first for {first} of {asked}"
    # Of one or two queries the first place has to be somebody's.
    if first < 3 or share <= 0.05 or first <= 10 * mean:
        return Check(name, "ok", found)
    do = f"look at {ids[row]}; if it was planted or is empty, remove it, else re-rank"
    return Check(name, "bad" if share > 0.2 else "look", found, do)


def padded(dead: int, side: str, total: int) -> Check:
    """How many rows hold one number only, which count in no figure of hubs."""
    found = (
        f"{dead} of {nouns.counted(total, side)} {'holds' if dead == 1 else 'hold'} one number only"
    )
    name = f"{side}, padding?"
    if not dead:
        return Check(name, "ok", found)
    do = "they count in none of these figures; if they are no padding, look at what wrote them"
    return Check(name, "bad" if 2 * dead > total else "look", found, do)


def _cloud(count: int, anisotropy: float, rank: float) -> dict[str, float]:
    return {"count": count, "anisotropy": anisotropy, "effective_rank": rank}


def _facts(found: hubness.Hubness, ids: Sequence[str], top: int, items: str) -> dict[str, Any]:
    return {**found.as_dict(ids, top=top), "sentence": hubness.sentence(found, items)}


def inspect_alone(
    embeddings: io.Embeddings, *, metric: str, k: int, top: int, device: torch.device
) -> Inspection:
    """One file searched by itself: every item asks for its neighbours, itself left out."""
    vectors = as_matrix(embeddings.vectors, str(embeddings.source), keep_half=True).to(device)
    pair = Pair(vectors, vectors, metric=metric)  # type: ignore[arg-type]
    live = padding.live(pair)
    n, held = len(vectors), int(live.items.sum())
    if held < 3:
        raise RerankError(f"{embeddings.source}: {held} items are too few to inspect; give three")
    part = live.part(pair)
    assert isinstance(part, Pair)
    lists, shape = _neighbours(part, min(k, (held - 1) // 2 or 1)), hubness.geometry(part)
    found = hubness.from_lists(lists, held)
    ids = [embeddings.ids[row] for row in torch.nonzero(live.items)[:, 0].tolist()]
    facts = _facts(found, ids, top, "items")
    # What to do depends on the queries, which are in another file.
    facts["sentence"] = f"{facts['sentence'].removesuffix('.')}, searched among themselves."
    return Inspection(
        hubness={"itself": facts},
        advice="",
        geometry={
            "dimension": shape.dimension,
            "files": {"items": _cloud(n, shape.text_anisotropy, shape.text_rank)},
        },
        checks=[
            asdict(check)
            for check in (padded(n - held, "items", n), *look_at(embeddings, "items", metric))
        ],
    )


def _neighbours(pair: Pair, k: int) -> np.ndarray:
    """(n, k) nearest other rows of each row."""
    out = np.empty((pair.shape[0], k), dtype=np.int64)
    for rows, block in pair.blocks():
        place = torch.arange(rows.start, rows.stop, device=block.device)
        block[place - rows.start, place] = -torch.inf
        out[rows] = torch.topk(block, k, dim=1).indices.cpu().numpy()
    return out
