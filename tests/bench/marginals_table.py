"""What `recommend_marginals` sees and what following it is worth, as Markdown.

    RERANK_DATA=... python tests/bench/marginals_table.py

R@1 in percent of queries that have an answer, re-ranked by Sinkhorn on the queries themselves.
Cases, each for both directions of coco500, cap4video and msvd_aligned (a random caption of each
video, and 4,000 random captions):

- whole: nothing changed; a recommendation other than equality is a false alarm;
- subset: a random half of the pairs, also one to one;
- half: half of the queries dropped, the gallery kept;
- repeats: as many queries as before drawn with probability 1 / rank, plus Gaussian noise of
  0.1 or 0.3 standard deviations of a query's scores on every score.
"""

import sys

import torch
from real_sets import all_sets, hits
from torch import Tensor

from rerank.core.similarity import Dense
from rerank.methods.sinkhorn import Sinkhorn
from rerank.selection import recommend_marginals

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 2


def sources() -> list[tuple[str, Tensor, Tensor, bool]]:
    """(name, scores, right, one to one) of every set and direction."""
    made = []
    for data in all_sets():
        if data.name == "msrvtt100":
            continue
        scores = data.sim.scores()
        right = data.video_of[:, None] == torch.arange(scores.shape[1])
        if data.name != "msvd_aligned":
            both = [(data.name, scores, right, True)]
        else:
            generator = torch.Generator().manual_seed(0)
            order = torch.randperm(len(scores), generator=generator)
            first = {}
            for row in order.tolist():
                first.setdefault(int(data.video_of[row]), row)
            one, some = torch.tensor([first[v] for v in sorted(first)]), order[:4000]
            both = [
                ("msvd, one caption", scores[one], right[one], True),
                ("msvd, 4000 captions", scores[some], right[some], False),
            ]
        for name, s, r, single in both:
            made += [(f"{name} t2v", s, r, single), (f"{name} v2t", s.T.contiguous(), r.T, single)]
    return made


def cases(scores: Tensor, right: Tensor, single: bool, seed: int):  # noqa: ANN201
    """(case, scores, right) of one source."""
    generator = torch.Generator().manual_seed(seed)
    n, m = scores.shape
    if seed == 0:
        yield "whole", scores, right
    rows = torch.randperm(n, generator=generator)[: n // 2]
    if single:
        columns = right[rows].double().argmax(dim=1)
        yield "subset", scores[rows][:, columns], right[rows][:, columns]
    yield "half", scores[rows], right[rows]
    chance = 1 / torch.arange(1, n + 1).double()
    order = torch.randperm(n, generator=generator)
    rows = order[torch.multinomial(chance, n, replacement=True, generator=generator)]
    sigma = float(scores.std(dim=1).mean())
    for noise in (0.1, 0.3):
        drawn = noise * sigma * torch.randn((n, m), generator=generator)
        yield f"repeats {noise}", scores[rows] + drawn, right[rows]


def main() -> None:
    """Measure and print."""
    print("| case | set | raw | rho = 1 | recommended | rho | dispersion | faint | confidence |")
    print("|---|---|---|---|---|---|---|---|---|")
    totals: dict[str, list[tuple[float, ...]]] = {}
    for name, source, right_all, single in sources():
        for seed in range(SEEDS):
            for case, scores, right in cases(source, right_all, single, seed):
                sim, keep = Dense(scores), right.any(dim=1)
                found = recommend_marginals(sim)
                values = []
                for bias in (
                    torch.zeros(scores.shape[1]),
                    Sinkhorn().fit(sim).gallery_bias,
                    Sinkhorn(rho=found.rho).fit(found.apply(sim)).gallery_bias,
                ):
                    values.append(100 * float(hits((scores + bias)[keep], right[keep]).mean()))
                totals.setdefault(case, []).append((*values, float(found.rho != 1)))
                figures = (found.dispersion, found.faint, found.confidence)
                print(
                    f"| {case} | {name} | "
                    + " | ".join(f"{v:.1f}" for v in values)
                    + f" | {found.rho} | "
                    + " | ".join(f"{v:.2f}" for v in figures)
                    + " |",
                    flush=True,
                )
    print("\n| case | raw | rho = 1 | recommended | flagged |\n|---|---|---|---|---|")
    for case, rows in totals.items():
        mean = torch.tensor(rows, dtype=torch.float64).mean(dim=0)
        flagged = sum(row[-1] for row in rows)
        print(
            f"| {case} | " + " | ".join(f"{v:.1f}" for v in mean[:-1].tolist())
            + f" | {flagged:.0f} of {len(rows)} |"
        )  # fmt: skip


if __name__ == "__main__":
    main()
