"""What a file is that no reader here takes, from its first bytes: pages, pictures, documents."""

import re

# What stands in a repository for a file that is kept elsewhere.
POINTS, POINTER = b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS"
ARROW, ARROW_STREAM = "a table of Arrow", "a stream of Arrow"
# First bytes, and what such a file is called.
_BEGINS = (
    (b"%PDF-", "a PDF"), (b"\x89PNG\r\n\x1a\n", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"), (b"SQLite format 3\0", "a database of SQLite"),
    (b"ARROW1\0\0", ARROW), (b"FEA1", ARROW), (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip"),
    (b"Rar!\x1a\x07", "an archive of RAR"), (b"\x7fELF", "a program"), (b"{\\rtf", "a text as RTF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of Office"),
    (b"\x1a\x45\xdf\xa3", "a video"), (b"OggS\0", "a sound or a video"),
    (POINTS, POINTER),
)  # fmt: skip
_OF_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a sound", b"AVI ": "a video"}
_TAR = 257
# Bytes from which all of these are told.
HEAD = 512
TAR = "an archive of tar"
HTML = "HTML of another program"
_HTML = re.compile(
    rb"(<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(!doctype\s+html|(html|head|title|meta|link|style|script|"
    rb"body|div|span|table|center|section|article|main|header|nav|h[1-6])(?=[\s>]))",
    re.IGNORECASE | re.DOTALL,
)
_SVG = re.compile(
    rb"(<!--.*?-->\s*|<\?xml[^>]*>\s*|<!doctype\s+svg[^>]*>\s*)*<svg[\s>]", re.I | re.S
)


def foreign_kind(head: bytes) -> str | None:
    r"""What a file is that begins so; None where a reader may know it.

    >>> foreign_kind(b"%PDF-1.7"), foreign_kind(b"<h1>Notes</h1>"), foreign_kind(b"id,a,b\n")
    ('a PDF', 'HTML of another program', None)
    """
    for magic, what in _BEGINS:
        if head.startswith(magic):
            return what
    if head.startswith(b"\xff\xff\xff\xff") and 0 < int.from_bytes(head[4:8], "little") < 1 << 24:
        return ARROW_STREAM
    if head.startswith(b"RIFF"):
        return _OF_RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "a video"
    if head[_TAR : _TAR + 5] == b"ustar":
        return TAR
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return HTML
    if _SVG.match(text):
        return "an SVG image"
    return "XML" if text.startswith(b"<?xml") else None
