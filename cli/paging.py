"""The page that `--report` asks for."""

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerank.tasks.report import PageWords


def page_words(report: Path | None, captions: Path | None, thumbnails: Path | None) -> "PageWords":
    """What was typed, and where words and images for the page are."""
    from rerank.core.errors import RerankError
    from rerank.tasks.report import PageWords

    if report is None and (captions is not None or thumbnails is not None):
        raise RerankError("--captions and --thumbnails are for a page: give --report page.html")
    now = datetime.now().astimezone().isoformat(" ", "minutes")
    words = PageWords(shlex.join(("rerank", *sys.argv[1:])), now, captions, thumbnails)
    words.check()
    return words
