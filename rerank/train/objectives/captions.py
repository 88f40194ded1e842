"""Caption tokens: a vocabulary learned on the training captions with the `tokenizers` library."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rerank.core.errors import RerankError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
_SPECIAL = ["[PAD]", "[START]", "[END]", "[UNK]"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Byte-pair tokens that were learned on captions.

    Attributes:
        tokenizer: of the `tokenizers` library.
        length: tokens kept of a caption, start and end included.
    """

    tokenizer: Any
    length: int

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, captions: Sequence[str]) -> Tensor:
        """(n, length) int64: [START] words [END], padded with 0."""
        out = torch.zeros((len(captions), self.length), dtype=torch.int64)
        for row, encoded in enumerate(self.tokenizer.encode_batch(list(captions))):
            ids = [START, *encoded.ids[: self.length - 2], END]
            out[row, : len(ids)] = torch.tensor(ids)
        return out


def learn_vocabulary(
    captions: Sequence[str], *, vocabulary: int = 1000, length: int = 16
) -> Vocabulary:
    """Learn byte-pair tokens on captions.

    Args:
        captions: the words of each text; lower-cased here.
        vocabulary: most tokens.
        length: tokens kept of a caption, start and end included.

    Raises:
        RerankError: the library is missing, or no caption has a word.
    """
    if not any(words.strip() for words in captions):
        raise RerankError("captions: no caption has a word; give the captions of these texts")
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        raise RerankError(
            "captions need the tokenizers library: pip install 'rerank-toolkit[train]'"
        ) from None
    tokenizer = Tokenizer(models.BPE(unk_token=_SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.NFKC(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=_SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer=trainer)
    return Vocabulary(tokenizer, length)


def log_frequencies(tokens: Tensor, size: int) -> Tensor:
    """(size,) float32 log frequencies of the tokens (n, length), each counted once more.

    Starts and padding do not count.
    """
    told = tokens[:, 1:][tokens[:, 1:] != PAD]
    counts = torch.bincount(told, minlength=size).double() + 1
    return (counts / counts.sum()).log().float()


def unigram_loss(tokens: Tensor, log_p: Tensor) -> float:
    """Mean -log p of tokens (n, length) by frequencies: what is reached without any context."""
    return -float(log_p[tokens[:, 1:][tokens[:, 1:] != PAD]].mean())
