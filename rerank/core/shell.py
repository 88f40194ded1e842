"""Names as they are typed in a shell, whatever they are made of."""

import os
import shlex
from collections.abc import Iterable


def word(text: str | os.PathLike[str]) -> str:
    r"""One word of a command, which the shell reads back as the same bytes.

    What is no UTF-8, or would act on a terminal, is written as bash quotes it.

    >>> print(word("my file.h5"), word("o\udcff's\n.h5"))
    'my file.h5' $'o\xff\'s\n.h5'
    """
    text = os.fspath(text)
    if text.isprintable():
        return shlex.quote(text)
    plain = "".join(c if c.isprintable() and c not in "\\'" else _escaped(c) for c in text)
    return f"$'{plain}'"


def words(parts: Iterable[str | os.PathLike[str]]) -> str:
    """A whole command.

    >>> words(["rerank", "eval", "--gt", "my gt.json"])
    "rerank eval --gt 'my gt.json'"
    """
    return " ".join(map(word, parts))


def _escaped(char: str) -> str:
    usual = {"\n": r"\n", "\t": r"\t", "\\": r"\\", "'": r"\'"}
    # A digit behind \xff would not be taken for a part of it: two are read at most.
    return usual.get(char) or "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
