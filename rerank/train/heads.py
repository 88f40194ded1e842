"""Projection heads on frozen embeddings: a linear map or a residual MLP for each modality.

    head(x) = x_c W + b  (+ W2 gelu(x_c W1 + b1) + b2),     x_c = (x - mean) / scale

followed by unit norm. The last layer of the MLP starts at zero, so a head starts as exactly the
linear map that it was given. A linear head, and an EM map behind it, fold into one affine map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.core.errors import RerankError
from rerank.core.similarity import ArrayLike, as_matrix, check_finite, unit_rows
from rerank.core.wording import option
from rerank.train.ridge import Affine, Start

_ROWS = 8192


class Head(nn.Module):
    """One modality: raw embeddings (b, d_in) -> joint space (b, d), before the unit norm.

    Args:
        start: the affine map that the head begins as.
        scale: a typical norm of the centred inputs; the layers see inputs of norm about one.
        hidden: width of the residual MLP; 0 for a linear head.
        seed: of the MLP's first layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, start: Affine, scale: float, *, hidden: int = 0, seed: int = 0) -> None:
        super().__init__()
        d_in, d = start.weight.shape
        self.hidden = hidden
        self.register_buffer("mean", start.mean.detach().clone())
        self.register_buffer("scale", start.mean.new_tensor(scale))
        self.weight = nn.Parameter(start.weight.detach() * scale)
        self.bias = nn.Parameter(start.weight.new_zeros(d))
        if hidden:
            generator = torch.Generator().manual_seed(seed)
            first = torch.randn((d_in, hidden), generator=generator) / d_in**0.5
            self.first = nn.Parameter(first.to(start.weight))
            self.first_bias = nn.Parameter(start.weight.new_zeros(hidden))
            self.second = nn.Parameter(start.weight.new_zeros((hidden, d)))

    @property
    def shape(self) -> tuple[int, int]:
        """(d_in, d)."""
        return self.weight.shape[0], self.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (b, d_in) -> (b, d)."""
        x = (x - self.mean) / self.scale
        out = x @ self.weight + self.bias
        if self.hidden:
            out = out + functional.gelu(x @ self.first + self.first_bias) @ self.second
        return out

    def affine(self) -> tuple[Tensor, Tensor]:
        """(W (d_in, d), b (d,)) with head(x) = x W + b, for a linear head.

        Raises:
            RerankError: the head has an MLP.
        """
        if self.hidden:
            raise RerankError(
                f"a residual MLP of width {self.hidden} does not fold into a linear map; map the "
                f"embeddings with load_heads(path) first, or train with {option('hidden', 0)}"
            )
        weight = self.weight.detach() / self.scale
        return weight, self.bias.detach() - self.mean @ weight


class Heads(nn.Module):
    """Both heads, and the EM map behind them where the objective has one.

    `texts` and `videos` map raw embeddings to unit vectors of the joint space; cosine there is
    the similarity. `final` is a (d, d) map of both sides, or None.
    """

    final: Tensor | None

    def __init__(self, text: Head, video: Head, final: Tensor | None = None) -> None:
        super().__init__()
        self.text, self.video = text, video
        self.register_buffer("final", final)

    @property
    def dim(self) -> int:
        """Dimension of the joint space."""
        return self.text.shape[1]

    def text_features(self, x: Tensor) -> Tensor:
        """Unit features of texts (b, d_text) -> (b, d), with gradient and without `final`."""
        return functional.normalize(self.text(x), dim=1)

    def video_features(self, x: Tensor) -> Tensor:
        """Unit features of videos (b, d_video) -> (b, d), with gradient and without `final`."""
        return functional.normalize(self.video(x), dim=1)

    def texts(self, x: ArrayLike) -> Tensor:
        """Raw text embeddings (n, d_text), numpy or torch -> unit vectors (n, d)."""
        return self._map(x, self.text, "texts")

    def videos(self, x: ArrayLike) -> Tensor:
        """Raw video embeddings (m, d_video), numpy or torch -> unit vectors (m, d)."""
        return self._map(x, self.video, "videos")

    @torch.no_grad()
    def _map(self, x: ArrayLike, head: Head, what: str) -> Tensor:
        rows = as_matrix(x, what, keep_half=True)
        if rows.shape[1] != head.shape[0]:
            raise RerankError(
                f"{what}: got d = {rows.shape[1]}, the trained head expects {head.shape[0]}; "
                f"use embeddings of the model that it was trained on"
            )
        check_finite(rows, what)
        parts = []
        for start in range(0, len(rows), _ROWS):
            part = head(rows[start : start + _ROWS].to(head.weight))
            parts.append(part if self.final is None else part @ self.final)
        return unit_rows(torch.cat(parts), f"{what} after the head")

    def folded(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """((W_text, b_text), (W_video, b_video)): cosine of x W + b is the whole model.

        The EM map is in it: the unit norm between head and map does not change a direction.

        Raises:
            RerankError: a head has an MLP.
        """
        out = []
        for head in (self.text, self.video):
            weight, bias = head.affine()
            out.append((weight, bias) if self.final is None
                       else (weight @ self.final, bias @ self.final))  # fmt: skip
        return out[0], out[1]


def make_heads(
    start: Start, texts: Tensor, videos: Tensor, *, hidden: int = 0, seed: int = 0
) -> Heads:
    """Heads that begin as a closed-form start.

    Args:
        start: see `rerank.train.ridge`.
        texts: training texts, for the scale of the inputs.
        videos: training videos, likewise.
        hidden: width of the residual MLPs; 0 for linear heads.
        seed: of their first layers.
    """
    scales = [
        max(float((x - map_.mean).square().sum(dim=1).mean().sqrt()), 1e-12)
        for x, map_ in ((texts, start.texts), (videos, start.videos))
    ]
    return Heads(
        Head(start.texts, scales[0], hidden=hidden, seed=2 * seed),
        Head(start.videos, scales[1], hidden=hidden, seed=2 * seed + 1),
    )
