"""What else was tried beside the alignment, on the same plans: what adds .3 on average goes in.

    RERANK_DATA=... python tests/bench/align_further.py [--bank]

R@1 in percent, both directions. Every variant takes the plan of the first Sinkhorn and the share
that the default takes, unless its row says otherwise; Sinkhorn follows. Columns: mean difference to
Sinkhorn alone over the cells, mean difference to the default, and the worst cell of the latter.

`--bank`: known pairs of msvd_aligned's bank and the plan of the test queries together, against
each alone; transductive.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from align_cells import Cell, Group, captions, cut, groups, whole
from real_sets import hits, load_pair
from torch import Tensor
from torch.nn.functional import normalize

from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.align import Align, Aligned, solved
from rerank.methods.base import Bank
from rerank.methods.directions import from_embeddings
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.methods.temperature import spacing
from rerank.passes.cross import pair_moments, plan_moments

RIDGE = 10.0


@dataclass(frozen=True, eq=False)
class Case:
    """Unit rows of both sides, the first Sinkhorn and its plan with rows of mass one."""

    texts: Tensor
    videos: Tensor
    plan: Tensor
    share: float
    sure: float
    fitted: Potentials
    bank: Bank


Variant = Callable[[Case], Tensor]


def made(cell: Cell) -> tuple[Case, dict[str, Bank]]:
    """The plan of a cell as the default has it."""
    both = from_embeddings(cell.texts, cell.videos)
    banks = {name: both[name].itself.bank for name in cell.directions}
    bank = both["t2v"].itself.bank
    assert bank is not None
    fitted = Sinkhorn().fit_plan(bank)
    aligned = Align().fit_after(fitted, bank)
    plan = len(cell.texts) * fitted.plan(bank.sim).double()
    texts, videos = (normalize(x.double(), dim=1) for x in (cell.texts, cell.videos))
    case = Case(texts, videos, plan, aligned.share, aligned.confidence, fitted, bank)
    return case, {name: found for name, found in banks.items() if found is not None}


def step(
    x: Tensor, y: Tensor, weight: Tensor, ridge: float = RIDGE, *, left: bool = False
) -> Tensor:
    """What the ridge regression of y - x on x predicts, without its mean; `left`: of the others."""
    n = weight.sum()
    centred, r = x - weight @ x / n, y - x
    r = r - weight @ r / n
    gram = (centred * weight[:, None]).T @ centred
    eye = torch.eye(len(gram), dtype=gram.dtype)
    inverse = torch.linalg.inv(gram + ridge * eye)
    out = centred @ inverse @ ((centred * weight[:, None]).T @ r)
    if left:
        own = (weight * ((centred @ inverse) * centred).sum(dim=1) + weight / n)[:, None]
        out = (out - own * r) / (1 - own)
    return out


def targets(case: Case, plan: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What partners look like, texts' and videos', and how much mass each row has."""
    plan = case.plan if plan is None else plan
    a, b = plan.sum(dim=1), plan.sum(dim=0)
    of_texts = plan @ case.videos / a[:, None].clamp_min(1e-12)
    return of_texts, plan.T @ case.texts / b[:, None].clamp_min(1e-12), a, b


def mixed(case: Case, texts: Tensor, videos: Tensor, share: float | None = None) -> Tensor:
    """<t~, v~> of moved rows."""
    x = case.share if share is None else share
    t, v = normalize(texts, dim=1), normalize(videos, dim=1)
    return ((1 - x) * case.texts + x * t) @ ((1 - x) * case.videos + x * v).T


def default(case: Case, plan: Tensor | None = None, **settings: bool) -> Tensor:
    """The alignment of the toolkit, in dense form."""
    y, z, a, b = targets(case, plan)
    texts = case.texts + step(case.texts, y, a, **settings)
    return mixed(case, texts, case.videos + step(case.videos, z, b, **settings))


def scores_added(case: Case, ridge: float, gamma: float, *, third: bool) -> Tensor:
    """S / h + gamma times the mean of the moved scores over their spacings, with moved means."""
    y, z, a, b = targets(case)
    t, v = case.texts, case.videos
    moved = []
    for x, target, weight in ((t, y, a), (v, z, b)):
        mean = weight @ (target - x) / weight.sum()
        moved.append(normalize(x + step(x, target, weight, ridge) + mean, dim=1))
    parts = [moved[0] @ v.T, t @ moved[1].T] + ([moved[0] @ moved[1].T] if third else [])
    scores = t @ v.T
    return scores / width(scores) + gamma * sum(s / width(s) for s in parts) / len(parts)


def width(scores: Tensor) -> float:
    """The spacing h of scores."""
    both = (spacing(Dense(x.float().contiguous())) for x in (scores, scores.T))
    return min(h for h in both if h > 0)


def sharper(case: Case, factor: float) -> Tensor:
    """With targets of a plan at a lower temperature."""
    found = Sinkhorn(tau=factor * case.fitted.tau).fit(case.bank)
    return default(case, len(case.texts) * found.plan(case.bank.sim).double())


def rounds(case: Case, count: int) -> Tensor:
    """Aligned again by the plan of the aligned scores, from the raw embeddings."""
    scores = default(case)
    for _ in range(count - 1):
        sim = Dense(scores.float())
        found = Sinkhorn().fit(replace(case.bank, sim=sim, pairs=sim))
        scores = default(case, len(case.texts) * found.plan(sim).double())
    return scores


def one_side(case: Case, *, texts: bool) -> Tensor:
    """One side moves."""
    y, z, a, b = targets(case)
    if texts:
        return mixed(case, case.texts + step(case.texts, y, a), case.videos)
    return mixed(case, case.texts, case.videos + step(case.videos, z, b))


def at_once(case: Case) -> Tensor:
    """Both sides towards the middle of where both have got to, in five turns."""
    _, _, a, b = targets(case)
    texts, videos = case.texts, case.videos
    for _ in range(5):
        to_texts = (case.texts + case.plan @ videos / a[:, None].clamp_min(1e-12)) / 2
        to_videos = (case.videos + case.plan.T @ texts / b[:, None].clamp_min(1e-12)) / 2
        texts = normalize(case.texts + step(case.texts, to_texts, a), dim=1)
        videos = normalize(case.videos + step(case.videos, to_videos, b), dim=1)
    return mixed(case, texts, videos)


def kernel(case: Case, part: float, ridge: float = RIDGE, landmarks: int | None = None) -> Tensor:
    """Ridge with a share of a Gaussian kernel of median width, on all rows or on landmarks."""
    y, z, a, b = targets(case)

    def moved(x: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        n, r = weight.sum(), target - x
        r = r - weight @ r / n
        far = torch.cdist(x, x).square()
        gauss = torch.exp(-far / far[far > 0].median())
        if landmarks is not None:
            places = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:landmarks]
            some = gauss[:, places]
            inner = gauss[places][:, places] + 1e-6 * torch.eye(len(places), dtype=x.dtype)
            gauss = some @ torch.linalg.solve(inner, some.T)
        level = gauss @ weight / n
        gauss = gauss - level[None] - level[:, None] + weight @ level / n
        centred = x - weight @ x / n
        linear = centred @ centred.T
        gauss = gauss * float(linear.diagonal().sum() / gauss.diagonal().sum())
        both = part * gauss + (1 - part) * linear
        own = ridge * torch.diag(1 / weight.clamp_min(1e-9))
        return x + both @ torch.linalg.solve(both + own, r)

    return mixed(case, moved(case.texts, y, a), moved(case.videos, z, b))


def behind_em(case: Case, strength: float) -> Tensor:
    """EM first, milder than its default."""
    bank = EM(strength=strength).fit(case.bank).transform_bank(case.bank)
    assert isinstance(bank.sim, Pair)
    fitted = Sinkhorn().fit_plan(bank)
    rows = (normalize(x[:].double(), dim=1) for x in (bank.sim.queries, bank.sim.gallery))
    texts, videos = rows
    plan = len(texts) * fitted.plan(bank.sim).double()
    return default(replace(case, texts=texts, videos=videos, plan=plan))


def softly(case: Case) -> float:
    """A weight that falls with confidence."""
    return min(1.0, 2 * (1 - case.sure))


VARIANTS: dict[str, Variant] = {
    "**default**": default,
    "share .5 everywhere": lambda c: default(replace(c, share=0.5)),
    "S / h + gamma (...), lambda 1, gamma .5": lambda c: scores_added(c, 1, 0.5, third=False),
    "the same, lambda 3, third term, gamma by c": lambda c: scores_added(
        c, 3, softly(c), third=True
    ),
    "rows left out of their own prediction": lambda c: default(c, left=True),
    "targets of the plan at tau / 2": lambda c: sharper(c, 0.5),
    "targets of the plan at .7 tau": lambda c: sharper(c, 0.7),
    "two rounds": lambda c: rounds(c, 2),
    "three rounds": lambda c: rounds(c, 3),
    "texts alone move": lambda c: one_side(c, texts=True),
    "videos alone move": lambda c: one_side(c, texts=False),
    "both sides at once": at_once,
    "half Gaussian kernel": lambda c: kernel(c, 0.5),
    "Gaussian kernel": lambda c: kernel(c, 1.0),
    "half Gaussian kernel, ridge 3": lambda c: kernel(c, 0.5, 3.0),
    "half Gaussian kernel, 128 landmarks": lambda c: kernel(c, 0.5, landmarks=128),
    "EM at -.05 first": lambda c: behind_em(c, -0.05),
    "EM at -.15 first": lambda c: behind_em(c, -0.15),
}


def ranked(scores: Tensor, banks: dict[str, Bank], cell: Cell) -> Tensor:
    """Hits behind a second Sinkhorn, both directions."""
    out = []
    for name, bank in banks.items():
        right = cell.right if name == "t2v" else cell.right.T
        turned = scores if name == "t2v" else scores.T
        sim = Dense(turned.float().contiguous())
        fitted = Sinkhorn().fit(replace(bank, sim=sim, pairs=sim))
        out.append(100 * hits(fitted.transform(sim).scores(), right))
    return torch.cat(out)


def chosen() -> Iterator[Group]:
    """Sets, distortions, some drift, cuts."""
    for group in groups(("whole", "distorted")):
        if group.name not in ("msvd", "esc50"):
            draws = group.draws[:3]
            yield replace(group, draws=draws)
    some = ("msvd, queries, noise 0.5", "msvd, both, drop 0.25", "msvd, gallery, turn 0.4")
    yield from (group for group in groups(("drift",)) if group.name in some)
    coco, msvd = whole("coco500"), whole("msvd_aligned")
    yield Group("cuts", "coco500", "coco500, n = 200", [cut(coco, 200, s) for s in range(3)])
    parts = [cut(captions(msvd, 1, 100 + s), 200, s) for s in range(3)]
    yield Group("cuts", "msvd", "msvd, n = 200", parts)


def table() -> None:
    """Every variant."""
    first: dict[str, dict[str, float]] = {name: {} for name in VARIANTS}
    for group in chosen():
        found: dict[str, list[Tensor]] = {}
        for cell in group.draws:
            case, banks = made(cell)
            alone = []
            for name, bank in banks.items():
                right = cell.right if name == "t2v" else cell.right.T
                alone.append(100 * hits(Sinkhorn().fit(bank).transform(bank.sim).scores(), right))
            base = torch.cat(alone)
            for name, variant in VARIANTS.items():
                gap = ranked(variant(case), banks, cell) - base if case.share else 0 * base
                found.setdefault(name, []).append(gap)
        for name, gaps in found.items():
            first[name][group.name] = float(torch.cat(gaps).mean())
        shown = " ".join(f"{first[name][group.name]:+.2f}" for name in VARIANTS)
        print(f"{group.name}: {shown}", file=sys.stderr, flush=True)
    known = first["**default**"]
    print(f"| variant | against Sinkhorn, {len(known)} cells | against the default | worst cell |")
    print("|---|---|---|---|")
    for name, values in first.items():
        gaps = {cell: values[cell] - known[cell] for cell in values}
        low = min(gaps, key=lambda cell: gaps[cell])
        mean = sum(values.values()) / len(values)
        more = sum(gaps.values()) / len(gaps)
        print(f"| {name} | {mean:+.2f} | {more:+.2f} | {gaps[low]:+.2f} {low} |")


def bank_and_plan() -> None:
    """Known pairs and the test queries' plan, summed up as moments."""
    bank = load_pair("msvd_aligned", "bank_")
    assert isinstance(bank.sim, Pair)
    rows = torch.arange(len(bank.video_of))
    pairs = pair_moments(bank.sim, rows, bank.video_of)
    # As many as there are videos, as the plan counts its queries.
    pairs = pairs.scaled(bank.sim.shape[1] / float(pairs.mass))
    test = whole("msvd_aligned")
    print("| msvd_aligned, R@1 t2v / v2t | 1 caption, 3 draws | 3 captions |\n|---|---|---|")
    lines: dict[str, list[str]] = {}
    for draws in ([captions(test, 1, s) for s in range(3)], [captions(test, 3, 0)]):
        hit: dict[str, dict[str, list[Tensor]]] = {}
        for cell in draws:
            case, banks = made(cell)
            sim = case.bank.sim
            assert isinstance(sim, Pair)
            mass = torch.full((sim.shape[0],), 1 / sim.shape[0], dtype=torch.float64)
            bias = case.fitted.gallery_bias + case.fitted.offset
            of_plan = plan_moments(sim, case.fitted.tau, gallery_bias=bias, query_mass=mass).moments
            of_plan = of_plan.scaled(min(sim.shape) / float(of_plan.mass))
            fits: dict[str, Aligned | None] = {"Sinkhorn alone": None}
            for name, moments in (("plan", of_plan), ("pairs", pairs), ("both", pairs + of_plan)):
                fits[name] = replace(
                    solved(moments, RIDGE, 1.0, unit=True), share=case.share or 0.5
                )
            for name, fit in fits.items():
                moved: Similarity = sim if fit is None else fit.transform(sim)
                for side, one in banks.items():
                    seen = moved if side == "t2v" else moved.T
                    right = cell.right if side == "t2v" else cell.right.T
                    last = Sinkhorn().fit(replace(one, sim=seen, pairs=seen))
                    found = 100 * hits(last.transform(seen).scores(), right)
                    hit.setdefault(name, {}).setdefault(side, []).append(found)
        for name, sides in hit.items():
            text = " / ".join(f"{float(torch.cat(x).mean()):.1f}" for x in sides.values())
            lines.setdefault(name, []).append(text)
    for name, cells in lines.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    bank_and_plan() if "--bank" in sys.argv else table()
