"""A small transformer decoder that writes a caption from one vector; dropped at inference."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.train.objectives.captions import PAD


class CaptionDecoder(nn.Module):
    """Next-token prediction, conditioned by cross-attention on one memory vector.

    Args:
        dim: dimension of the memory vector.
        vocabulary: number of tokens.
        length: longest caption.
        width: of the decoder; layers and heads: its depth and attention heads.
        layers: see `width`.
        heads: see `width`.
        log_p: (vocabulary,) log frequencies of the tokens. They are where the output's bias begins,
            so a decoder that has learned nothing yet is as good as they are.
    """

    mask: Tensor

    def __init__(
        self, dim: int, vocabulary: int, length: int, *, width: int = 96, layers: int = 1,
        heads: int = 4, log_p: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.memory = nn.Linear(dim, width)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        nn.init.normal_(self.token.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(vocabulary) if log_p is None else log_p.clone())
        layer = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        mask = torch.full((length - 1, length - 1), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """Mean negative log-likelihood of the captions: -mean log p(token | before, vector).

        Args:
            vectors: (b, d) what the caption is written from.
            tokens: (b, length) as `caption_tokens` makes them; padding is not counted.
        """
        tokens = tokens[:, : int((tokens != PAD).sum(dim=1).max())]
        given, wanted = tokens[:, :-1], tokens[:, 1:]
        steps = given.shape[1]
        x = self.token(given) + self.position[:steps]
        # Unit vectors have entries of size 1 / sqrt(d); the layer expects size one.
        memory = self.memory(vectors * vectors.shape[1] ** 0.5)[:, None]
        x = self.layers(x, memory, tgt_mask=self.mask[:steps, :steps])
        logits = x @ self.token.weight.T + self.bias
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD)
