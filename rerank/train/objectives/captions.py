"""Caption tokens: a vocabulary learned on the training captions with the `tokenizers` library."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rerank.core.errors import RerankError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
_SPECIAL = ["[PAD]", "[START]", "[END]", "[UNK]"]


def caption_tokens(
    captions: Sequence[str], *, vocabulary: int = 1000, length: int = 16
) -> tuple[Tensor, int]:
    """Learn byte-pair tokens on captions and encode them.

    Args:
        captions: the words of each text; lower-cased here.
        vocabulary: most tokens.
        length: tokens kept of a caption, start and end included.

    Returns:
        tokens (n, length) int64: [START] words [END], padded with 0; and the vocabulary's size.

    Raises:
        RerankError: the library is missing, or no caption has a word.
    """
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
    out = torch.zeros((len(captions), length), dtype=torch.int64)
    words = 0
    for row, encoded in enumerate(tokenizer.encode_batch(list(captions))):
        ids = [START, *encoded.ids[: length - 2], END]
        words += len(encoded.ids)
        out[row, : len(ids)] = torch.tensor(ids)
    if not words:
        raise RerankError("captions: no caption has a word; give the captions of these texts")
    return out, tokenizer.get_vocab_size()
