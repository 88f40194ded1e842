"""R@1 with an outside prior: how popular an item is, when queries follow that popularity.

    RERANK_DATA=... python tests/bench/prior_table.py

Captions of msvd_aligned ask for half of the videos, 1,000 of them, by Zipf's law of power 1 or .5;
the other half of the videos and their captions are the bank. The prior is the logarithm of the
popularity, from the law itself or counted from 1,000 other queries (plus one); its weight is a
multiple of the bank's temperature. Four draws; 95 % intervals, paired with no prior.
"""

import math

import torch
from online_table import inductive
from real_sets import hits, load_pair
from torch import Tensor

WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0)


def main() -> None:
    """Measure and print."""
    data = load_pair("msvd_aligned")
    scores, videos = data.sim.scores(), data.sim.shape[1]
    captions = [torch.nonzero(data.video_of == video)[:, 0] for video in range(videos)]
    print(f"| popularity, prior | {' | '.join(f'weight {w} tau' for w in WEIGHTS)} |")
    print(f"|{'---|' * (len(WEIGHTS) + 1)}")
    for power in (0.0, 0.5, 1.0):
        for counted in (False, True):
            found: dict[float, list[Tensor]] = {weight: [] for weight in WEIGHTS}
            for seed in range(4):
                generator = torch.Generator().manual_seed(seed)
                order = torch.randperm(videos, generator=generator)
                half, items = order[: videos // 2], order[videos // 2 :].sort().values
                bank = torch.cat([captions[video] for video in half.tolist()])
                bank = bank[torch.randperm(len(bank), generator=generator)[:1000]]
                law = torch.arange(1, len(items) + 1, dtype=torch.float64) ** -power
                law = law[torch.randperm(len(items), generator=generator)]
                asked, others = (
                    torch.multinomial(law, 1000, replacement=True, generator=generator)
                    for _ in range(2)
                )
                rows = torch.tensor([
                    int(own[int(torch.randint(len(own), (1,), generator=generator))])
                    for own in (captions[int(items[place])] for place in asked)
                ])  # fmt: skip
                bias, tau = inductive(scores[bank][:, items])
                seen = torch.bincount(others, minlength=len(items)) + 1.0 if counted else law
                prior = (seen / seen.sum()).log()
                right = asked[:, None] == torch.arange(len(items))
                for weight, held in found.items():
                    ranked = scores[rows][:, items].double() + bias + weight * tau * prior
                    held.append(hits(ranked, right))
            base, cells = torch.cat(found[0.0]), []
            for held in found.values():
                mine = torch.cat(held)
                gain = 100 * (mine - base)
                error = 1.96 * float(gain.std()) / math.sqrt(len(gain))
                change = (
                    f" ({float(gain.mean()):+.1f} ± {error:.1f})" if held is not found[0.0] else ""
                )
                cells.append(f"{100 * float(mine.mean()):.1f}{change}")
            name = f"Zipf {power}, {'counted' if counted else 'known'}"
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
