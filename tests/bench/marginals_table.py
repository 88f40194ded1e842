"""What is seen of repeated queries and items that nobody asks, and what it is worth, as Markdown.

    RERANK_DATA=... python tests/bench/marginals_table.py [seeds [set ...]]

R@1 in percent, re-ranked by Sinkhorn on the queries themselves. Cases of every one-to-one set:

- whole, half, third: pairs alone; anything but equality is a false alarm;
- unasked q: that share of the items has no query, and queries of others are repeated with Gaussian
  noise of the scores' spacing, so that there are as many queries as items;
- zipf: as many queries as items drawn with probability 1 / rank, all with that noise;
- turned: the same from the other side, where items repeat; judged on queries with an answer.

"slack + ratio" is a simple rule at our temperature, on the same draws: a slack row where there are
fewer distinct queries than items; else equality, pulled back by .7 where that makes queries surer
of their first item by more than 15 % (and they are .4 sure).
"""

import math
import sys
from collections.abc import Iterator

import torch
from few_queries_table import slack_row
from real_sets import hits, one_to_one_sets
from torch import Tensor

from rerank.core.similarity import Dense
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.methods.temperature import spacing

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1


def cases(scores: Tensor, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(case, scores, right) of square scores with the match on the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    m = len(scores)
    right = torch.eye(m, dtype=torch.bool)
    if seed == 0:
        yield "whole", scores, right
    for name, share in (("half", 2), ("third", 3)):
        rows = torch.randperm(m, generator=generator)[: m // share]
        yield name, scores[rows][:, rows], torch.eye(len(rows), dtype=torch.bool)
    sim = Dense(scores, unscored=True)
    h = min(spacing(sim), spacing(sim.T))
    for share in (0.25, 0.5, 0.75, 0.9):
        asked = torch.randperm(m, generator=generator)[: max(2, int(m * (1 - share)))]
        again = asked[torch.randint(len(asked), (m - len(asked),), generator=generator)]
        noise = h * torch.randn((len(again), m), generator=generator)
        made = torch.cat([scores[asked], scores[again] + noise])
        yield f"unasked {share}", made, right[torch.cat([asked, again])]
    chance = 1 / torch.arange(1, m + 1).double()
    order = torch.randperm(m, generator=generator)
    rows = order[torch.multinomial(chance, m, replacement=True, generator=generator)]
    yield "zipf", scores[rows] + h * torch.randn((m, m), generator=generator), right[rows]


def both_ways(scores: Tensor, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """All cases, and those with repeats from the other side too."""
    for case, made, right in cases(scores, seed):
        yield case, made, right
        if case.startswith(("unasked", "zipf")):
            yield f"{case}, turned", made.T.contiguous(), right.T.contiguous()


def slack_and_ratio(sim: Dense, equal: Potentials, tau: float) -> Tensor:
    """Biases of the simple rule; `equal` is the fit of equality at this temperature."""
    if math.isnan(tau):
        return torch.zeros(sim.shape[1])
    if masses(sim).slack > 0:
        return slack_row(sim, tau)
    soft = Sinkhorn(tau=tau, rho=0.7).fit(sim)
    sure = [
        float(((sim.base + fit.gallery_bias) / tau).softmax(dim=1).amax(dim=1).mean())
        for fit in (equal, soft)
    ]
    flagged = sure[1] > 1.15 * sure[0] and sure[1] >= 0.4
    return (soft if flagged else equal).gallery_bias


def main() -> None:
    """Measure and print."""
    totals: dict[str, list[tuple[str, list[float], bool]]] = {}
    for name, source in one_to_one_sets(sys.argv[2:]):
        for seed in range(SEEDS):
            for case, scores, right in both_ways(source, seed):
                answered = right.any(dim=1)
                sim = Dense(scores, unscored=True)
                ours = Sinkhorn().fit(sim)
                equal = Sinkhorn(tau=ours.tau, rho=1.0).fit(sim)
                biases = (
                    torch.zeros(len(right.T)), equal.gallery_bias,
                    slack_and_ratio(sim, equal, ours.tau), ours.gallery_bias,
                )  # fmt: skip
                found = (hits(scores + bias, right)[answered] for bias in biases)
                values = [100 * float(hit.mean()) for hit in found]
                totals.setdefault(case, []).append((name, values, ours.form == "repeats"))
                print(case, name, *(f"{value:.1f}" for value in values), ours.form, flush=True)
    print("\n| case | raw | equality | slack + ratio (worst) | now | seen | worst against raw |")
    print("|---|---|---|---|---|---|---|")
    for case, rows in totals.items():
        raw, equal, ratio, now = (sum(row[1][k] for row in rows) / len(rows) for k in range(4))
        worst = min(rows, key=lambda row: row[1][3] - row[1][0])
        other = min(row[1][2] - row[1][0] for row in rows)
        print(
            f"| {case} | {raw:.1f} | {equal:.1f} | {ratio:.1f} ({other:+.1f}) | {now:.1f} "
            f"| {sum(row[2] for row in rows)} of {len(rows)} "
            f"| {worst[1][3] - worst[1][0]:+.1f} {worst[0]} |"
        )


if __name__ == "__main__":
    main()
