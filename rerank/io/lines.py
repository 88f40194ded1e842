"""Lines of a text: they end where files end them, and none is longer than somebody writes."""

from rerank.core.errors import FormatError
from rerank.io.files import PathLike

# Characters; a line of pairs, of a name or of a caption is far shorter.
_LONGEST_LINE = 1 << 24


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without their ends: those of files, and not those of a page.

    >>> split_lines("a\u2028b\r\nc\n")
    ['a\u2028b', 'c']
    """
    if not text:
        return []
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def lines_in(text: str, where: PathLike) -> list[str]:
    """The same, of a file that is written line by line.

    Raises:
        FormatError: a line that is longer than any of such a file.
    """
    lines = split_lines(text)
    longest = max(map(len, lines), default=0)
    if longest > _LONGEST_LINE:
        raise FormatError(
            f"{where}: has a line of {longest:,} characters, and lines are read up to "
            f"{_LONGEST_LINE:,}; write one entry in a line"
        )
    return lines
