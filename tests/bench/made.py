"""Made embeddings as hard as real ones: hubs, and a spectrum that falls off."""

import torch

from rerank.core.similarity import Pair


def hard(n: int, m: int, d: int = 512, *, noise: float = 1.0, seed: int = 0) -> Pair:
    """Noisy views of the same points; query i belongs to item i. Raw R@1 is about 50 % at 4,000.

    Args:
        n: queries.
        m: gallery items.
        d: dimension; its variances fall as 1 / j.
        noise: of each view, as a share of the points' own spread.
        seed: of everything drawn.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    scale = torch.arange(1, d + 1).float().rsqrt()
    scale /= scale.norm()
    common = draw(1, d)
    common /= common.norm()
    points = draw(max(n, m), d) * scale
    queries = points[:n] + noise * draw(n, d) * scale + common
    # Items differ in how much of the common direction they have: those with much are hubs.
    gallery = points[:m] + noise * draw(m, d) * scale + common * (1 + 0.5 * draw(m, 1))
    return Pair(queries, gallery)
