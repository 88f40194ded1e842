"""R@1 of a stream of queries: frozen bank, biases that go on with the stream, a queue, whole set.

    RERANK_DATA=... python tests/bench/online_table.py [set ...]

Each set is split by its items: the queries of one half are the bank, those of the other come one by
one and search the other half's items. "once": every item is asked for once and never again. "again"
and "zipf": 1,000 captions of msvd_aligned, drawn with items that come back, equally or by Zipf's
law; no caption is the same text. Every method sees the stream in the same seeded orders and
ranks each query before it learns from it. "change" adds a pattern over the items to the scores of
the second half of the stream, of the size of the hard negatives' spacing times two: other items
become hubs, as for queries of another kind. Biases that go on are those of online Sinkhorn (Mensch
and Peyré, NeurIPS 2020): a running sum of each item's column mass that starts at the bank's, in
which every query counts `weight` and older ones lose the factor `decay`. The queue fits Sinkhorn
again on the bank and the last 256 queries after every 64.

Intervals: 95 % over the queries of all draws, paired with the frozen bank.
"""

import math
import sys

import torch
from real_sets import hits, load_pair, one_to_one_sets
from torch import Tensor

from rerank.core.similarity import Dense
from rerank.methods.base import Bank
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.temperature import spacing

DRAWS = 4
WAYS = {
    "online": (1.0, 1.0),
    "online, decay .998": (1.0, 0.998),
    "online, decay .99": (1.0, 0.99),
    "online, weight 4, decay .998": (4.0, 0.998),
}


def inductive(bank: Tensor) -> tuple[Tensor, float]:
    """Bias and temperature of bank queries x searched items."""
    fitted = Sinkhorn().fit(Bank(Dense(bank)))
    return fitted.gallery_bias.double(), fitted.tau


def online(bank: Tensor, stream: Tensor, weight: float, decay: float) -> Tensor:
    """(n, m) scores under which each query of a stream is ranked."""
    g, tau = inductive(bank)
    m, total = bank.shape[1], float(len(bank))
    log_mass = -g / tau - math.log(m)
    out = torch.empty_like(stream, dtype=torch.float64)
    for i, row in enumerate(stream.double()):
        bias = tau * (-math.log(m) - log_mass)
        out[i] = row + bias
        f = -tau * torch.logsumexp((row + bias) / tau, dim=0)
        old = decay * total
        total = old + weight
        log_mass = torch.logaddexp(
            log_mass + math.log(old / total), (row + f) / tau + math.log(weight / total)
        )
    return out


def queue(bank: Tensor, stream: Tensor, length: int = 256, every: int = 64) -> Tensor:
    """The same with a fit on the bank and the last queries, done again now and then."""
    out = stream.double().clone()
    for start in range(0, len(stream), every):
        seen = torch.cat([bank, stream[max(0, start - length) : start]])
        out[start : start + every] += inductive(seen)[0]
    return out


def whole(stream: Tensor) -> Tensor:
    """Fitted on the stream itself, of which nobody has all at the time."""
    return stream.double() + Sinkhorn().fit(Dense(stream)).gallery_bias


def one(scores: Tensor, seed: int, change: bool) -> dict[str, Tensor]:
    """Hits of every query of one stream, by way."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(scores), generator=generator)
    half = len(scores) // 2
    asked, items = order[half:], order[half:].sort().values
    bank, stream = scores[order[:half]][:, items], scores[asked][:, items]
    pattern = None
    if change:
        pattern = torch.randn(len(items), generator=generator, dtype=scores.dtype)
        pattern *= 2 * spacing(Dense(scores))
    return judged(bank, stream, asked[:, None] == items, pattern)


def judged(
    bank: Tensor, stream: Tensor, right: Tensor, pattern: Tensor | None
) -> dict[str, Tensor]:
    """Hits of every query of one stream, by way; `pattern` comes onto its second half."""
    if pattern is not None:
        stream = stream.clone()
        stream[len(stream) // 2 :] += pattern
    found = {"raw": stream.double(), "frozen": stream.double() + inductive(bank)[0]}
    found |= {name: online(bank, stream, *way) for name, way in WAYS.items()}
    found |= {"queue": queue(bank, stream), "whole": whole(stream)}
    return {name: hits(ranked, right) for name, ranked in found.items()}


def again(seed: int, power: float, change: bool, count: int = 1000) -> dict[str, Tensor]:
    """The same of captions whose videos come back, the more often the more popular."""
    data = load_pair("msvd_aligned")
    generator = torch.Generator().manual_seed(seed)
    scores, videos = data.sim.scores(), data.sim.shape[1]
    order = torch.randperm(videos, generator=generator)
    half, items = order[: videos // 2], order[videos // 2 :].sort().values
    captions = [torch.nonzero(data.video_of == video)[:, 0] for video in range(videos)]
    bank = torch.cat([captions[video] for video in half.tolist()])
    bank = bank[torch.randperm(len(bank), generator=generator)[:count]]
    popular = torch.arange(1, len(items) + 1, dtype=torch.float64) ** -power
    popular = popular[torch.randperm(len(items), generator=generator)]
    drawn = torch.multinomial(popular, count, replacement=True, generator=generator)
    rows = [
        int(own[int(torch.randint(len(own), (1,), generator=generator))])
        for own in (captions[int(items[place])] for place in drawn)
    ]
    pattern = None
    if change:
        pattern = 2 * spacing(data.sim) * torch.randn(len(items), generator=generator)
    right = drawn[:, None] == torch.arange(len(items))
    return judged(scores[bank][:, items], scores[torch.tensor(rows)][:, items], right, pattern)


def row(name: str, draws: list[dict[str, Tensor]], columns: list[str]) -> dict[str, Tensor]:
    """Print one line; returns all hits."""
    found = {column: torch.cat([draw[column] for draw in draws]) for column in columns}
    cells = [f"{100 * float(found[column].mean()):.1f}" for column in columns]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return found


def against(found: dict[str, Tensor], columns: list[str]) -> None:
    """Print the differences from the frozen bank."""
    cells = []
    for column in columns:
        gain = 100 * (found[column] - found["frozen"])
        error = 1.96 * float(gain.std()) / math.sqrt(len(gain))
        cells.append(f"{float(gain.mean()):+.1f} ± {error:.1f}")
    print(f"| against frozen | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:]
    columns = ["raw", "frozen", *WAYS, "queue", "whole"]
    for change in (False, True):
        print(f"\n{'a change half way' if change else 'no change'}\n")
        print(f"| set | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        once: list[dict[str, Tensor]] = []
        for name, scores in one_to_one_sets(names):
            if name.startswith(("softmax", "log-odds", "esc50")):
                continue
            once.append(
                row(f"{name}, once", [one(scores, i, change) for i in range(DRAWS)], columns)
            )
        against({c: torch.cat([found[c] for found in once]) for c in columns}, columns)
        for label, power in (("again", 0.0), ("zipf .5", 0.5), ("zipf 1", 1.0)):
            draws = [again(i, power, change) for i in range(DRAWS)]
            against(row(f"msvd_aligned t2v, {label}", draws, columns), columns)


if __name__ == "__main__":
    main()
