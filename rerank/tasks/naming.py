"""What the two sides of some files are called: as said, as remembered, or as the files say."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rerank.core import nouns
from rerank.io.identify import attribute_of


def nouns_of(
    given: str | None,
    *,
    texts: Path | None = None,
    videos: Path | None = None,
    results: Path | None = None,
) -> nouns.Nouns:
    """The plurals of the two sides.

    Args:
        given: of `--nouns`; it has the last word.
        texts: a file whose `kind` names the one side, such as "caption".
        videos: of the other side, such as "shoe".
        results: a result file, which remembers what its run was told.

    Raises:
        RerankError: `given` is no two words.
    """
    if given is not None:
        return nouns.parse(given)
    remembered = None if results is None else attribute_of(results, "manifest")
    if remembered is not None:
        try:
            found = json.loads(remembered).get("nouns")
        except (ValueError, AttributeError):
            found = None
        if isinstance(found, list) and len(found) == 2:
            return nouns.parse(",".join(map(str, found)))
    kinds = [None if path is None else attribute_of(path, "kind") for path in (texts, videos)]
    said = [
        usual if kind is None or not kind.isalpha() else nouns.plural(kind)
        for kind, usual in zip(kinds, nouns.sides(), strict=True)
    ]
    return nouns.sides() if said[0] == said[1] else (said[0], said[1])


def first(*given: Sequence[Path] | None) -> Path | None:
    """The first file of some options, which stands for all of them."""
    return next((path for paths in given for path in paths or ()), None)


@contextmanager
def calling(
    given: str | None,
    *,
    texts: Path | None = None,
    videos: Path | None = None,
    results: Path | None = None,
) -> Iterator[None]:
    """Call the sides so inside the block, see `nouns_of`."""
    with nouns.calling(nouns_of(given, texts=texts, videos=videos, results=results)):
        yield
