"""After Cali-NCE (CVPR workshops 2023): correspondence calibrates the contrastive weights.

The paper's equations are not public; its abstract states that a correspondence score between
video and text is estimated first and calibrates the sample weights of the contrastive loss,
together with predictive coding. This is a reconstruction of that idea, not the paper's code:

    c_ij   = sigmoid(h([t_i; v_j; t_i * v_j; |t_i - v_j|]) + a <t_i, v_j>)   correspondence head
    L_corr = binary cross-entropy: known pairs 1, drawn mismatches 0
    w_ij   = stopgrad(c_ij)^sharpness / its mean over known pairs    1 during the warm-up epochs
    L_nce  = InfoNCE with the pairs weighted by w
    L_pred = mean over pairs of w (1 - cos(f(t_i), raw v_j)) + w (1 - cos(g(v_j), raw t_i))
    L      = L_nce + lam L_corr + mu L_pred

Raw means the centred input embeddings: fixed targets, so prediction cannot collapse.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.train.objectives.base import Context, Features, Loss, Objective, nothing
from rerank.train.objectives.registry import check_range, objective


@dataclass(frozen=True)
class CaliNCESettings:
    """Settings of the reconstruction.

    Attributes:
        warm_up: epochs before the weights are calibrated.
        lam: weight of the correspondence loss.
        mu: weight of the predictive term; 0 leaves it out.
        negatives: drawn mismatches for each pair.
        hidden: width of the correspondence head.
        floor: smallest weight of a pair, 0 to 1; the mean of the weights is one.
        sharpness: exponent of the confidence in the weights; 0 is plain InfoNCE.
    """

    warm_up: int = 1
    lam: float = 1.0
    mu: float = 0.1
    negatives: int = 4
    hidden: int = 64
    floor: float = 0.0
    sharpness: float = 3.0

    def __post_init__(self) -> None:
        check_range(
            self,
            {"negatives": 1, "hidden": 1, "warm_up": 0, "lam": 0, "mu": 0, "floor": 0,
             "sharpness": 0},
            {"floor": 1, "sharpness": 100, "hidden": 65536, "negatives": 4096},
        )  # fmt: skip


class Correspondence(nn.Module):
    """The head h: logits (p,) that texts (p, d) and videos (p, d) belong together."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4 * dim, hidden), nn.GELU(), nn.Linear(hidden, 1))
        # The cosine decides at first; the network adds what it learns to see beside it.
        self.cosine = nn.Parameter(torch.tensor(10.0))

    def forward(self, texts: Tensor, videos: Tensor) -> Tensor:
        """Logits of the pairs, row by row."""
        # Unit vectors have entries of size 1 / sqrt(d); the head sees numbers of size one.
        size = texts.shape[1] ** 0.5
        t, v = texts * size, videos * size
        seen = self.net(torch.cat([t, v, t * v, (t - v).abs()], dim=1))[:, 0]
        return seen + self.cosine * (texts * videos).sum(dim=1)


@objective(
    "cali-nce", help="pairs weighed by a learned correspondence; a reconstruction of the idea",
    settings="CaliNCESettings", source="after Cali-NCE, CVPR workshops 2023", order=5,
)  # fmt: skip
class CaliNCE(Objective):
    """See the module."""

    def __init__(self, settings: CaliNCESettings, context: Context) -> None:
        super().__init__()
        self.settings = settings
        data = context.data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.head = Correspondence(context.dim, settings.hidden)
            self.to_video = nn.Linear(context.dim, data.videos.shape[1])
            self.to_text = nn.Linear(context.dim, data.texts.shape[1])
        # Inputs that never change stay outside the checkpoint.
        self._texts = data.texts - data.texts.mean(dim=0)
        self._videos = data.videos - data.videos.mean(dim=0)

    def pair_weights(self, logits: Tensor) -> Tensor:
        """(p,) weights of mean one from the correspondence logits (p,) of known pairs.

        They are w = floor + (1 - floor) c^sharpness / mean c^sharpness with c = sigmoid(logits).
        """
        # Powers of tiny confidences underflow: the largest is divided out before.
        powers = self.settings.sharpness * functional.logsigmoid(logits.detach())
        weight = torch.exp(powers - powers.max())
        return self.settings.floor + (1 - self.settings.floor) * weight / weight.mean()

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        s, batch = self.settings, features.batch
        texts, videos = features.texts, features.videos
        i, j = batch.pairs
        known = self.head(texts[i], videos[j])
        shifts = torch.randint(1, max(2, videos.shape[0]), (s.negatives,)).tolist()
        i_all = i.repeat(s.negatives)
        j_all = torch.cat([(j + shift) % videos.shape[0] for shift in shifts])
        wrong = ~batch.known[i_all, j_all]
        drawn = self.head(texts[i_all[wrong]], videos[j_all[wrong]])
        mismatch = functional.softplus(drawn).mean() if len(drawn) else nothing(known)
        corr = (functional.softplus(-known).mean() + mismatch) / 2

        pair_weight = torch.ones_like(known)
        if features.epoch >= s.warm_up:
            pair_weight = self.pair_weights(known)
        weights = torch.zeros_like(batch.positive, dtype=texts.dtype)
        weights[i, j] = pair_weight.to(texts.dtype)
        logits = features.scale * (texts @ videos.T)
        nce = features.contrast(logits, logits.T, weights)
        total, parts = nce + s.lam * corr, {"nce": nce, "corr": corr}
        if s.mu:
            raw_t, raw_v = self._texts[batch.text_rows][i], self._videos[batch.video_rows][j]
            miss = 2 - functional.cosine_similarity(self.to_video(texts)[i], raw_v, dim=1)
            miss = miss - functional.cosine_similarity(self.to_text(videos)[j], raw_t, dim=1)
            pred = (pair_weight * miss).mean()
            total, parts = total + s.mu * pred, parts | {"pred": pred}
        return Loss(total, {name: part.detach() for name, part in parts.items()})

    @torch.no_grad()
    def confidence(self, texts: Tensor, videos: Tensor) -> Tensor:
        """(p,) estimated probability that feature rows belong together, pair by pair."""
        parts = [
            torch.sigmoid(self.head(t, v))
            for t, v in zip(texts.split(8192), videos.split(8192), strict=True)
        ]
        return torch.cat(parts)
