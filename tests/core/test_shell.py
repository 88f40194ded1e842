"""Commands that are printed do what they say, whatever files are called."""

import os
import subprocess

import pytest

from rerank.core.shell import word, words

NAMES = [
    b"plain.h5", b"a name's.h5", b"o\xff.h5", b"o\xffab\\n'.h5", b"\x1b[31m.h5", b"a\nb", b"",
    "é \u202e.h5".encode(), b"$HOME`x`\xfe",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_word_is_typed_as_the_bytes_that_it_is(name):
    typed = word(os.fsdecode(name))
    assert typed.isprintable()
    shown = words(["printf", "%s", os.fsdecode(name)])
    assert shown == f"printf %s {typed}"
    done = subprocess.run(["bash", "-c", shown], capture_output=True, check=True)
    assert done.stdout == name
