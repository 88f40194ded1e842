"""The page that `--report` asks for."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_cli.options import Captions, Report, Thumbnails

if TYPE_CHECKING:
    from rerank.tasks.report import PageWords


@dataclass(frozen=True)
class Page:
    """The page that `--report` asks for."""

    report: Report = None
    captions: Captions = None
    thumbnails: Thumbnails = None

    def words(self) -> "PageWords":
        """What was typed, and where words and images for the page are; checks them.

        Raises:
            RerankError: words for no page, or files that cannot be read.
        """
        from rerank.core.errors import RerankError
        from rerank.core.shell import words as typed_words
        from rerank.tasks.report import PageWords

        if self.report is None and (self.captions is not None or self.thumbnails is not None):
            raise RerankError("--captions and --thumbnails are for a page: give --report page.html")
        now = datetime.now().astimezone().isoformat(" ", "minutes")
        typed = typed_words(("rerank", *sys.argv[1:]))
        made = PageWords(typed, now, self.captions, self.thumbnails)
        made.check()
        return made

    def check(self, inputs: Iterable[Path | None], *, force: bool, out: Path | None = None) -> None:
        """Refuse a page in the place of an input, of another output, or of a file of another kind.

        Raises:
            RerankError: it is one.
        """
        from rerank.tasks.report import check_report

        inputs = (*inputs, self.captions, self.thumbnails)
        check_report(self.report, inputs, force=force, out=out)
