"""What is wrong with a file at first sight, said before anything heavy is loaded."""

from contextlib import suppress
from importlib import import_module
from pathlib import Path

from rerank.core.words import Side, words_of
from rerank.io.files import regular_file, safely
from rerank.io.frames.pooling import pooling
from rerank.io.layouts.locate import locate
from rerank.io.layouts.own_side import names_of_sides
from rerank.io.layouts.wanted import Wanted
from rerank.io.numbered_parts import SeemsParts
from rerank.io.one_file import same_for_both
from rerank.io.opening import opener
from rerank.io.reading import Reading, side_of
from rerank.io.truths.forms import readings_of

# Bytes of a file that is opened twice, and of one that is glanced at.
_SMALL, _GLANCED = 1 << 20, 64 << 20


def look(path: Path, role: str = "", reading: Reading | None = None) -> None:
    """Say at once what is wrong with a file of arrays at first sight, without loading torch.

    Small files, which take no time, are opened, and embeddings and ids are found in them; of others
    it is seen that they are there.

    Args:
        path: the file.
        role: "texts", "bank_videos" ...; of others, as a matrix of scores, the arrays are checked.
        reading: what was said of the files. With names of arrays or ids from elsewhere only the
            whole run knows what is meant.

    Raises:
        FormatError: missing, damaged, of an unknown kind, or larger inside than it can be.
    """
    card, reading = opener(path), reading or Reading()
    side = side_of(role)
    said = reading.as_dict().keys() - {"pool", "pool_raw", "gt_direction", "sims_rows"}
    size = path.stat().st_size if safely(path.is_file) else _GLANCED + 1
    if card.facts.glance and size <= _GLANCED and not said:
        getattr(import_module(card.home[0]), card.facts.glance)(path)
    if card.facts.heavy or size > _SMALL:
        return
    with card.load()(path) as container:
        for field in container.fields.values():
            field.check()
        # Of a file of both sides the whole run knows whether it was given for both.
        if side in words_of(Side) and not said and not names_of_sides(container):
            frames = pooling(reading.pool, raw=reading.pool_raw, where=str(path))
            with suppress(SeemsParts):  # the ground truth may name them
                locate(container, Wanted(pooling=frames, row_numbers=True, side=side))


def look_at_sides(videos: Path, texts: Path, reading: Reading) -> None:
    """Say at once that one file of one array was given for both sides, where that opens quickly.

    Raises:
        RerankError: it was.
    """
    if not opener(videos).facts.heavy:
        same_for_both(videos, texts, reading)


def look_at_truth(path: Path) -> None:
    """Say at once what is wrong with a ground truth at first sight; small ones are parsed.

    Raises:
        FormatError: missing, damaged or of an unknown form.
    """
    if str(path) != "diagonal" and regular_file(path).stat().st_size <= _SMALL:
        next(iter(readings_of(path)), None)
