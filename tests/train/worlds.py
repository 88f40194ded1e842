"""Made-up pairs in two spaces that share nothing until learned."""

import numpy as np

from rerank.train import PairedData, paired


def world(
    seed=0, videos=40, per_video=4, d_text=12, d_video=9, noise=0.5, captions=True
) -> PairedData:
    """Texts that say something of one of the videos each."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((videos, 6))
    owner = np.repeat(np.arange(videos), per_video)
    v = hidden @ rng.standard_normal((6, d_video)) + 0.3 * rng.standard_normal((videos, d_video))
    t = (hidden[owner] + noise * rng.standard_normal((len(owner), 6))) @ rng.standard_normal(
        (6, d_text)
    )
    words = ["red", "dog", "cat", "runs", "eats", "a ball", "fast", "home"]
    said = [f"{i} {' '.join(rng.choice(words, 4))}" for i in range(len(owner))]
    return paired(
        t.astype(np.float32), v.astype(np.float32), owner, captions=said if captions else None
    )
