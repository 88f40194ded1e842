"""A small gallery with hubs, a bank and queries, for the tests of serving."""

import numpy as np


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def make(m: int = 300, n: int = 60, bank: int = 200, d: int = 32, seed: int = 0):
    """(gallery ids, gallery, queries, bank queries, bank gallery), a cone with a few hubs."""
    rng = np.random.default_rng(seed)
    cone, gap = rng.normal(size=d), 0.5 * rng.normal(size=d)
    centres = rng.normal(size=(20, d))

    def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
        content = centres[rng.integers(20, size=count)] + 0.7 * rng.normal(size=(count, d))
        noise = rng.normal(size=(2, count, d))
        return unit(content + cone + gap + noise[0]), unit(content + cone + noise[1])

    queries, gallery = pairs(m)
    hubs = rng.choice(m, 5, replace=False)
    gallery[hubs] = unit(gallery[hubs] + 1.5 * unit(cone[None] + gap))
    bank_queries, bank_gallery = pairs(bank)
    return [f"v{i}" for i in range(m)], gallery, queries[:n], bank_queries, bank_gallery
