"""How often the intervals hold the true figure: made-up queries whose figures are known.

    python tests/bench/interval_coverage.py [--draws 1000]

Prints a row for every setting: coverage of R@1 and of its paired change, in percent.
"""

import argparse

import numpy as np

from rerank.metrics.uncertainty import Bootstrap

# (clusters, queries of each, R@1 before and after in percent)
SETTINGS = [
    (100, 1, 1, 2), (100, 1, 5, 8), (100, 1, 30, 40), (100, 1, 90, 92), (100, 1, 97, 98),
    (500, 1, 1, 1.5), (500, 1, 50, 56), (500, 1, 98, 98.5), (1000, 1, 34, 41), (1000, 1, 48, 54),
    (10, 1, 50, 60), (20, 1, 50, 60), (20, 5, 40, 50), (50, 20, 30, 35), (100, 5, 3, 5),
    (670, 16, 31, 33),
]  # fmt: skip


def sample(rng: np.random.Generator, clusters: int, size: int, before: float, after: float):
    """Hits of paired queries, and their clusters; queries of a cluster are alike."""
    ease = rng.normal(size=(clusters, 1)) * (0.7 if size > 1 else 0)
    noise = rng.normal(size=(clusters, size))
    spread = np.sqrt(1 + (0.49 if size > 1 else 0))
    from scipy.stats import norm

    latent = (ease + noise) / spread
    # What helps does so for queries near the edge, and harms a few others.
    other = 0.9 * latent + np.sqrt(1 - 0.81) * rng.normal(size=latent.shape)
    hits = [
        100.0 * (x < norm.ppf(share / 100)).ravel()
        for x, share in ((latent, before), (other, after))
    ]
    return hits, np.repeat(np.arange(clusters), size)


def coverage(setting: tuple[int, int, float, float], draws: int, *, seed: int = 0):
    """Shares of draws, in percent, whose intervals hold R@1 and its change."""
    clusters, size, before, after = setting
    rng = np.random.default_rng(seed)
    held = np.zeros(2)
    for draw in range(draws):
        (first, second), owner = sample(rng, clusters, size, before, after)
        boot = Bootstrap(owner, resamples=1000, flips=1, seed=draw)
        one = boot.share_interval(first)
        both = boot.differences(
            first[:, None], second[:, None], {"R@1": lambda m: m[..., 0]}, shares={"R@1": 0}
        )["R@1"]
        held += [one.low <= before <= one.high, both.low <= after - before <= both.high]
    return 100 * held / draws


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("clusters  queries  R@1 before  after  coverage of R@1  of its change")
    for setting in SETTINGS:
        clusters, size, before, after = setting
        one, change = coverage(setting, draws)
        print(
            f"{clusters:8}{clusters * size:9}{before:12}{after:7}{one:17.1f}{change:15.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
