"""The files of a run: read, checked against each other, and described for a manifest."""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rerank import io
from rerank.core import comm
from rerank.core.errors import FormatError, RerankError
from rerank.core.pairs import Grades, as_grades, as_positives
from rerank.core.similarity import ArrayLike
from rerank.core.wording import either, label, option
from rerank.io import Embeddings, Reading, ScoreMatrix
from rerank.io.files import named, read_text, regular_file
from rerank.io.layouts.locate import holds
from rerank.io.lines import lines_in
from rerank.io.numbered_parts import SeemsParts
from rerank.io.odd_score_columns import refuse_odd_columns
from rerank.io.one_file import said_to_be_same, same_for_both
from rerank.io.opening import open_container
from rerank.io.reading import ROWS, is_truth, side_of
from rerank.io.swapped_files import check_captions, said_of_sides
from rerank.io.truths.pair_splits import UnfitError
from rerank.methods import kinds
from rerank.methods.directions import Groups
from rerank.metrics.named_answers import BY_ROWS, named_answers
from rerank.tasks.answer import caught
from rerank.tasks.bank_ways import of_bank_alone, without_video
from rerank.tasks.comparable import check_lengths, check_widths
from rerank.tasks.shared_ids import said_of_shared, said_of_texts_among
from rerank.tasks.turned_scores import seem_turned

# So many queries tell whether the lowest scores are the best.
_TOLD_BY = 256


@dataclass(frozen=True, eq=False)
class Inputs:
    """The files of one run, read and checked."""

    texts: Embeddings | None = None
    videos: Embeddings | None = None
    scores: ScoreMatrix | None = None
    bank_texts: Embeddings | None = None
    bank_videos: Embeddings | None = None
    bank_positives: tuple[np.ndarray, ...] | None = None
    bank_gt: Path | None = None
    heads_file: Path | None = None
    heads: Any = None
    pool: str | None = None
    sharded: bool = False
    whole_bank: bool = False
    reading: Reading = Reading()
    row_numbers: bool = False
    bank_scores: ScoreMatrix | None = None
    scores_are: kinds.ScoresAre = "auto"
    unscored: kinds.Unscored = None
    # The files as they are, one for each model, where this was made of them.
    models: "tuple[Inputs, ...]" = ()
    # What is added to each video, in score units.
    bias: np.ndarray | None = None
    # What a person should know about ids that both sides have.
    of_ids: str = ""
    # The same about what stands beside frames, or about their order, and whose side a file is.
    of_frames: tuple[str, ...] = ()

    @cached_property
    def stored(self) -> kinds.Scores:
        """The score matrix as it is ranked, and what its numbers were taken for."""
        if self.scores is None:
            raise RerankError("give --sims")
        return kinds.read_both(
            (self.scores.scores, self.scores.reverse), scores_are=self.scores_are,
            unscored=self.unscored, sharded=self.sharded,
        )  # fmt: skip

    @property
    def sentence(self) -> str:
        """What a person should know about the numbers of a score matrix, or ""."""
        return "" if self.scores is None else self.stored.sentence

    @property
    def of_names(self) -> tuple[str, ...]:
        """What a person should know about the names of rows and columns."""
        if self.of_ids or self.of_frames:
            return (*self.of_frames, *filter(None, (self.of_ids,)))
        if self.scores is None:
            return ()
        told = (self.scores.of_turned, self.scores.of_order, self.scores.of_odd_columns)
        if self.row_numbers:
            return tuple(filter(None, told))
        return tuple(filter(None, (*told, self.scores.of_numbered, self._of_bank_columns)))

    @property
    def _of_bank_columns(self) -> str:
        """What a person should know of columns of a bank that were matched by their places."""
        bank, scores = self.bank_scores, self.scores
        if bank is None or scores is None or not scores.ids_given:
            return ""
        passed = [name for name, sides in bank.passed.items() if "videos" in sides]
        if not passed:
            return ""
        return (
            f"{bank.source}: its columns were taken in the order of {scores.source}, and "
            f"{named(passed)}, of which nothing says that it names them, passed over; if it does, "
            "call it gallery_ids"
        )

    @property
    def said_of_files(self) -> tuple[str, ...]:
        """What a person should know about the numbers and the names of the files."""
        return (*filter(None, (self.sentence,)), *self.of_names)

    def vectors(self, role: str) -> ArrayLike | None:
        """Embeddings of one file as they are compared: through the trained heads, if any."""
        embeddings: Embeddings | None = getattr(self, role)
        if embeddings is None:
            return None
        if self.heads is None:
            return embeddings.vectors
        head = self.heads.texts if role.endswith("texts") else self.heads.videos
        return head(embeddings.vectors)

    def norms(self, role: str) -> tuple[float, float, float]:
        """Smallest, mean and largest norm of a file's rows, those of all processes."""
        embeddings: Embeddings = getattr(self, role)
        low, mean, high = embeddings.norms
        split = role == "texts" or (role == "bank_texts" and not self.whole_bank)
        if not (self.sharded and split):
            return low, mean, high
        count = len(embeddings.ids)
        ends = torch.tensor([-low, high] if count else [-math.inf, -math.inf], dtype=torch.float64)
        sums = torch.tensor([mean * count, count], dtype=torch.float64)
        (low, high), (total, rows) = comm.all_max(ends).tolist(), comm.all_sum(sums).tolist()
        return -low, total / rows, high

    def zeros(self, role: str) -> int:
        """How many of a file's rows, those of all processes, are all zeros."""
        if self.norms(role)[0] > 0:
            return 0
        embeddings: Embeddings = getattr(self, role)
        count = embeddings.zeros
        split = role == "texts" or (role == "bank_texts" and not self.whole_bank)
        if self.sharded and split:
            count = int(comm.all_sum(torch.tensor([count], dtype=torch.float64))[0])
        return count

    @property
    def text_ids(self) -> tuple[str, ...]:
        """Ids of the rows, of all processes."""
        mine = self.scores.query_ids if self.scores is not None else _given(self.texts).ids
        return comm.gather_names(mine) if self.sharded else mine

    @property
    def groups(self) -> Literal["auto"] | tuple[str, ...]:
        """What each text belongs to, of all processes, or each video; "auto" where none say."""
        for held, split in ((self.texts, self.sharded), (self.videos, False)):
            if held is None:
                continue
            own = held.group_ids or _before_number(held.ids)
            whole = comm.gather_names(own) if split else own
            if whole and len(set(whole)) < len(whole):
                return whole
        if self.scores is not None:
            for ids in (self.text_ids, self.video_ids):
                whole = _before_number(ids)
                if whole and len(set(whole)) < len(whole):
                    return whole
        return "auto"

    def groups_as(self, said: Groups) -> Groups:
        """What is said of groups, and in place of "auto" and "grouped" those that are known."""
        if not isinstance(said, str) or said == "one-to-one":
            return said
        known = self.groups
        return said if isinstance(known, str) else known

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the columns."""
        return self.scores.gallery_ids if self.scores is not None else _given(self.videos).ids


def _before_number(ids: Sequence[str]) -> tuple[str, ...]:
    """`x` of ids `x#k`, where all of them are such; else nothing."""
    if not ids or "#" not in ids[0]:
        return ()
    parts = [name.rpartition("#") for name in ids]
    if not all(sign and name and number.isdigit() for name, sign, number in parts):
        return ()
    return tuple(name for name, _, _ in parts)


def _given(embeddings: Embeddings | None) -> Embeddings:
    if embeddings is None:
        raise RerankError("give --videos and --texts, or --sims")
    return embeddings


def pick_device(name: str) -> torch.device:
    """The device that a name stands for; "auto" takes a GPU where there is one.

    Raises:
        RerankError: "cuda" without CUDA.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RerankError(
            f"{label('device')}: no CUDA device is available; use {option('device', 'cpu')}"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def reading_of(reading: Reading | None, pool: str | None) -> Reading:
    """What was said about the files; `pool` alone is an older way to say one part of it."""
    found = reading or Reading()
    return replace(found, pool=pool) if pool is not None and found.pool is None else found  # type: ignore[arg-type]


def recorded(reading: Reading, folder: Path) -> dict[str, Any]:
    """What was said about the files, for a manifest; paths relative to the result file."""
    found = reading.as_dict()
    for name in ("text_ids", "video_ids"):
        if name in found and found[name] != ROWS:
            found[name] = os.path.relpath(found[name], folder)
    return found


def reading_from(record: Mapping[str, Any], folder: Path, over: Reading | None = None) -> Reading:
    """The reading that `recorded` wrote down, with what is said now over it."""
    found = dict(record)
    for name in ("text_ids", "video_ids"):
        if name in found:
            found[name] = Path(found[name] if found[name] == ROWS else folder / found[name])
    now = {} if over is None else {name: getattr(over, name) for name in over.as_dict()}
    return Reading(**{**found, **now})


def names_in(reading: Reading, path: Path, role: str) -> dict[str, str | None]:
    """The array and columns to take of one file.

    A name that was given for all files counts where it means something: where no file has it,
    `check_names` says so.
    """
    found: dict[str, str | None] = {}
    for setting in ("dataset", "id_column", "embedding_column"):
        name, own = reading.named(setting, role)
        if name is not None and not own:
            with open_container(path) as container:
                name = name if holds(container, name) else None
        found[setting] = name
    return found


def check_names(reading: Reading, paths: Sequence[Path]) -> None:
    """Refuse a name of an array or column that none of the files has.

    Raises:
        RerankError: such a name.
    """
    for setting in ("dataset", "id_column", "embedding_column"):
        for text in getattr(reading, setting):
            head, equals, _ = text.partition("=")
            if (equals and (head in ("texts", "videos") or is_truth(head))) or not paths:
                continue
            for path in paths:
                with open_container(path) as container:
                    if holds(container, text):
                        break
            else:
                option = setting.replace("_", "-")
                raise RerankError(f"--{option} {text}: none of {', '.join(map(str, paths))} has it")


def check_said(reading: Reading, files: Mapping[str, Path | Sequence[Path] | None]) -> None:
    """Refuse what was said of files that a run does not read, and names that none of them has.

    Args:
        reading: what the user said.
        files: those of each role, "texts", "bank_videos" ...

    Raises:
        RerankError: ids of a side that is not read or is several files; a name of nothing.
    """
    found = {
        role: [given] if isinstance(given, Path) else list(given or ())
        for role, given in files.items()
    }
    for role in ("texts", "videos"):
        option, ids = f"--{role[:-1]}-ids", getattr(reading, f"{role[:-1]}_ids")
        if ids is None or str(ids) == ROWS:
            continue
        if not found.get(role):
            raise RerankError(
                f"{option} {ids}: names the rows of --{role}, which is not read here; leave it out"
            )
        if len(found[role]) > 1:
            raise RerankError(
                f"{option} {ids}: names the rows of one file, got {len(found[role])} with "
                f"--{role}; write each with its ids first: rerank convert {found[role][0]} OUT.h5 "
                f"--side {role} {option} IDS"
            )
    check_names(reading, [path for paths in found.values() for path in paths])


def read_role(
    path: Path,
    role: str,
    reading: Reading,
    *,
    metric: str = "cosine",
    rows: slice | None = None,
    row_numbers: bool = False,
    named_by: Path | None = None,
) -> Embeddings:
    """Read the embeddings of a role, "texts", "bank_videos" ..., as the user said.

    Every command reads embeddings here.

    Args:
        path: the file.
        role: what it is for.
        reading: what the user said about the files.
        metric: "cosine" or "dot".
        rows: a share of them.
        row_numbers: whether the numbers of the rows may be their ids.
        named_by: a ground truth, which may name items that are called as parts of one array are.
    """
    given = {**_options(reading, path, role), "metric": metric, "side": side_of(role)}
    try:
        return io.read_embeddings(path, rows=rows, row_numbers=row_numbers, **given)
    except SeemsParts as error:
        if named_by is None or str(named_by) == "diagonal":
            raise
        document = bytes_of(named_by)
        if not all(name.encode() in document for name in error.names[:2]):
            raise
    return io.read_embeddings(path, rows=rows, row_numbers=row_numbers, **{**given, "dataset": "/"})


def _options(reading: Reading, path: Path, role: str) -> dict[str, Any]:
    ids = reading.ids_of(role)
    return {
        **names_in(reading, path, role),
        "ids": None if ids is None else str(ids),
        "pool": reading.pool,
        "pool_raw": reading.pool_raw,
    }


def read_matrix(
    path: Path, reading: Reading, *, rows: slice | None = None, nan: bool = False, inf: bool = False
) -> ScoreMatrix:
    """Read a matrix of scores, texts x videos, as the user said; `nan`, `inf`: "not scored"."""
    return io.read_scores(path, rows=rows, nan=nan, inf=inf, **_score_options(reading))


def _score_options(reading: Reading) -> dict[str, Any]:
    return {
        "dataset": reading.named("dataset", "sims")[0],
        "sims_rows": reading.sims_rows,
        "query_ids": reading.text_ids,
        "gallery_ids": reading.video_ids,
        "id_column": lists_of_ids(reading),
    }


def lists_of_ids(reading: Reading) -> dict[str, str]:
    """Which lists name the sides of a matrix, as `read_scores` takes them."""
    found = {side: reading.named("id_column", side) for side in ("texts", "videos")}
    named_so = {side if own else ROWS: name for side, (name, own) in found.items()}
    return {side: name for side, name in named_so.items() if name is not None}


def read_truth(gt: Path, inputs: Inputs, *, allow_unjudged: bool = False) -> io.GroundTruth:
    """Read a ground truth for the inputs of a run, in the direction that the user said."""
    by_rows = either("--text-ids rows --video-ids rows", 'text_ids="rows" and video_ids="rows"')
    try:
        truth = io.read_ground_truth(
            gt, inputs.text_ids, inputs.video_ids, allow_unjudged=allow_unjudged, by_rows=by_rows,
            **inputs.reading.of_truth(),
        )  # fmt: skip
    except FormatError as error:
        _refuse_turned_matrix(gt, inputs, str(error))
        if isinstance(error, UnfitError) and (way := _ids_wanted(inputs)):
            raise FormatError(f"{error}; {way}") from error
        raise
    if inputs.scores is None or inputs.sharded:
        return truth
    if inputs.scores.header:
        rows = truth.positives if truth.graded is None else truth.graded.rows
        judged = {int(place) for places in (*rows, *truth.positives) for place in places}
        held = inputs.scores
        refuse_odd_columns(held.source, held.gallery_ids, held.scores, judged, truth.positives)
    if note := _against_scores(inputs.scores, inputs, truth.positives):
        return replace(truth, notes=(*truth.notes, note))
    return truth


def _against_scores(held: ScoreMatrix, inputs: Inputs, positives: Sequence[np.ndarray]) -> str:
    """What right pairs say against how scores were read, or ""."""
    scores = inputs.stored.t2v.scores()
    if inputs.stored.reading.kind != "distances" and _right_are_lowest(scores, positives):
        return (
            f"{held.source}: right pairs have the lowest score of their row, not the highest; if "
            "the smallest is best, give --scores-are distances"
        )
    if held.reverse is None and seem_turned(scores, positives):
        rows = "videos" if inputs.reading.sims_rows == "texts" else "texts"
        return (
            f"{held.source}: right pairs stand as by chance, and high if the rows are the {rows}; "
            f"if they are, give {option('sims-rows', rows)}"
        )
    return ""


def _refuse_turned_matrix(gt: Path, inputs: Inputs, what: str) -> None:
    """Refuse a matrix whose rows are the videos of a ground truth, and its columns the texts.

    Args:
        gt: the ground truth.
        inputs: those of the run.
        what: why the ground truth was refused.

    Raises:
        FormatError: they are.
    """
    said = inputs.reading
    if inputs.scores is None or inputs.sharded or said.sims_rows == "videos":
        return
    if said.gt_direction == "video-text" or "can be read as text: video and as" in what:
        return  # so it was meant, or it is asked for
    asked = {**said.of_truth(), "direction": "text-video"}
    judged = []
    for sides in ((inputs.text_ids, inputs.video_ids), (inputs.video_ids, inputs.text_ids)):
        found = None
        with suppress(RerankError):
            found = io.read_ground_truth(gt, *sides, allow_unjudged=True, **asked)
        judged.append(0 if found is None else sum(map(bool, map(len, found.positives))))
    if judged[0] >= judged[1]:
        return  # as it stands it is read as well, but for a text or two
    other = ", or --gt-direction video-text if the rows are texts" if "video-text" in what else ""
    raise FormatError(
        f"{gt}: its texts are the columns of {inputs.scores.source}, such as "
        f"{named(inputs.video_ids[:1])}, and its videos the rows; give --sims-rows videos"
        f"{other}"
    )


def _ids_wanted(inputs: Inputs) -> str:
    """Which sides of a matrix have no names, and how to give them; "" for none."""
    scores, said = inputs.scores, inputs.reading
    if scores is None:
        return ""
    given = {"texts": said.text_ids, "videos": said.video_ids}
    sides = [side for side in given if given[side] is None and not scores.ids_given]
    sides = sides or [scores.numbered] * bool(scores.numbered)
    if not sides:
        return ""
    typed = " ".join(f"--{side[:-1]}-ids FILE" for side in sides)
    called = " and ".join(f"{side[:-1]}_ids=FILE" for side in sides)
    return (
        f"{scores.source} names no {' and no '.join(sides)}, which are called by their numbers, 0, "
        f"1, ...: give their names with {either(typed, called)}"
    )


def _right_are_lowest(scores: torch.Tensor, positives: Sequence[np.ndarray]) -> bool:
    """Whether right items are far oftener the lowest of their row than the highest."""
    judged = [row for row, items in enumerate(positives) if len(items)]
    some = judged[:: max(1, len(judged) // _TOLD_BY)]
    lowest = highest = 0
    for row in some:
        line = scores[row]
        own = line[torch.from_numpy(np.array(positives[row]))]
        known = line[torch.isfinite(line)]
        if len(known) < 2 or not bool(known.min() < known.max()):
            continue
        lowest += bool(own.min() == known.min())
        highest += bool(own.max() == known.max())
    return lowest >= max(5, 0.1 * len(some)) and lowest > 3 * highest


def read_inputs(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    bank_sims: Path | None = None,
    metric: str = "cosine",
    pool: str | None = None,
    heads: Path | None = None,
    sharded: bool = False,
    whole_bank: bool = False,
    reading: Reading | None = None,
    gt: Path | None = None,
    scores_are: str = "auto",
    unscored: str | None = None,
) -> Inputs:
    """Read and check the files of a run; with trained `heads`, both sides go through them.

    `scores_are` and `unscored` are what the user says about a matrix (`rerank.methods.kinds`).

    `sharded`: this process reads only its share of the texts, or of the rows of a matrix, and of
    the bank texts unless `whole_bank`. `reading`: what the user said about files that can be read
    in more than one way. `gt`: the ground truth that is read later; where it is the diagonal, the
    numbers of rows may be ids.

    Raises:
        RerankError: a combination that makes no sense; FormatError: a file that is not usable.
    """
    said = reading_of(reading, pool)
    numbers = gt is not None and str(gt) == "diagonal"
    if sims is not None:
        others = (videos, texts, bank_texts, bank_videos, bank_gt, heads)
        if any(path is not None for path in others):
            raise RerankError(
                "--sims stands alone: leave out --videos, --texts, --heads and banks of "
                "embeddings; the scores of a bank are --bank-sims"
            )
        return _read_scores(
            sims, bank_sims, said, sharded=sharded, scores_are=scores_are, unscored=unscored,
            row_numbers=numbers,
        )  # fmt: skip
    if bank_sims is not None:
        raise RerankError("--bank-sims needs --sims; with --videos and --texts give --bank-texts")
    if videos is None or texts is None:
        missing = "--texts" if videos is not None else "--videos"
        raise RerankError(f"{missing} is missing: give --videos and --texts, or --sims")
    files = {"texts": texts, "videos": videos, "bank_texts": bank_texts, "bank_videos": bank_videos}
    check_said(said, files)
    _check_sides(videos, texts, said)
    shared = {"texts", "bank_texts"} if sharded and not whole_bank else {"texts"} if sharded else ()
    # Nothing asks for names in a bank but its ground truth.
    bank_numbers = bank_gt is None or str(bank_gt) == "diagonal"
    held: dict[str, Embeddings] = {}
    of_frames: list[str] = []
    for role, path in files.items():
        if path is None:
            continue
        rows = None
        if role in shared:
            one = read_role(path, role, said, metric=metric, rows=slice(0, 1), row_numbers=True)
            rows = comm.my_rows(one.total_rows)
        free, truth = (bank_numbers, bank_gt) if role.startswith("bank") else (numbers, gt)
        with caught() as warned:
            held[role] = read_role(path, role, said, metric=metric, rows=rows, row_numbers=free,
                                   named_by=truth)  # fmt: skip
        of_frames += warned
    found = Inputs(
        texts=held.get("texts"), videos=held.get("videos"),
        bank_texts=held.get("bank_texts"), bank_videos=held.get("bank_videos"),
        sharded=sharded, bank_gt=bank_gt, heads_file=heads, heads=_heads(heads),
        of_frames=tuple(dict.fromkeys(of_frames + said_of_sides(held))), pool=said.pool,
        reading=said, row_numbers=numbers, whole_bank=whole_bank,
        of_ids="" if sharded or numbers else _of_shared(held["texts"], held["videos"], said),
    )  # fmt: skip
    if heads is None:
        check_widths(_given(found.videos), found.texts, found.bank_texts, found.bank_videos)
    check_captions(_given(found.texts), _given(found.videos))
    if metric == "dot" and heads is None:
        _check_all_lengths(found, held)
    if bank_gt is None:
        return found
    if found.bank_texts is None or found.bank_videos is None:
        raise RerankError("--bank-gt needs --bank-texts and --bank-videos, which it refers to")
    texts_of_bank = found.bank_texts.ids
    if sharded and not whole_bank:
        texts_of_bank = comm.gather_names(texts_of_bank)
    truth = io.read_ground_truth(
        bank_gt, texts_of_bank, found.bank_videos.ids, **said.of_truth("bank-gt")
    )
    return replace(found, bank_positives=tuple(truth.positives))


def _check_all_lengths(found: Inputs, held: Mapping[str, Embeddings]) -> None:
    """Refuse rows too long or short for inner products of any two sides that are compared."""
    largest = {id(x): found.norms(role)[2] for role, x in held.items()}
    for left, right in (("texts", "videos"), ("bank_texts", "videos"),
                        ("bank_texts", "bank_videos")):  # fmt: skip
        check_lengths(held.get(left), held.get(right), highest=lambda x: largest[id(x)])


def _of_shared(texts: Embeddings, videos: Embeddings, said: Reading) -> str:
    """What a person should know of ids that both sides have, or ""."""
    return said_of_shared(texts, videos, said) or said_of_texts_among(texts, videos)


def _read_scores(
    sims: Path, bank_sims: Path | None, said: Reading, *, sharded: bool, scores_are: str,
    unscored: str | None, row_numbers: bool,
) -> Inputs:  # fmt: skip
    """Read a matrix, of several processes a share of its rows, and the scores of a bank."""
    value = kinds.parse_unscored(unscored)
    none = {
        "nan": isinstance(value, float) and math.isnan(value),
        "inf": scores_are == "distances" or value == math.inf,
    }
    rows = None
    if sharded:
        rows = comm.my_rows(read_matrix(sims, said, rows=slice(0, 1), **none).total_rows)
    scores = io.read_scores(sims, rows=rows, **none, **_score_options(said))
    none["inf"] |= scores_are == "auto" and scores.is_of_distances
    bank = None if bank_sims is None else _bank_scores(bank_sims, scores, said, none)
    if scores_are == "auto" and scores.is_of_distances:
        scores_are = "distances"
    return Inputs(
        scores=scores, sharded=sharded, reading=said, bank_scores=bank, row_numbers=row_numbers,
        scores_are=kinds.as_scores_are(scores_are), unscored=value,
    )  # fmt: skip


def _check_sides(videos: Path, texts: Path, reading: Reading) -> None:
    """Refuse the same embeddings on both sides.

    Raises:
        RerankError: one file for both, and nothing that tells the sides apart.
    """
    if not same_for_both(videos, texts, reading):
        return
    # Which of them is which is asked when they are read, unless the file has a word for it.
    for side in ("texts", "videos"):
        read_role(videos, side, reading, rows=slice(0, 1), row_numbers=True, metric="dot")
    raise said_to_be_same(videos)


def _bank_scores(
    path: Path, scores: ScoreMatrix, reading: Reading, none: Mapping[str, bool]
) -> ScoreMatrix:
    """Scores of bank texts against the same videos, their columns in the same order.

    Raises:
        RerankError: other videos.
    """
    name, own = reading.named("dataset", "sims")
    if name is not None and not own:
        with open_container(path) as container:
            name = name if holds(container, name) else None
    options = {**none, **_bank_options(reading, path, name)}
    try:
        bank = io.read_scores(path, **options)
    except FormatError as error:
        raise of_bank_alone(error, path, scores.source, options) from None
    if scores.ids_given:
        bank = _with_same_names(path, bank, scores, options)
    if bank.ids_given and scores.ids_given and bank.gallery_ids != scores.gallery_ids:
        place = {name: column for column, name in enumerate(bank.gallery_ids)}
        odd = next((name for name in scores.gallery_ids if name not in place), None)
        if odd is not None:
            raise without_video(odd, path, bank, scores, options)
        order = [place[name] for name in scores.gallery_ids]
        return replace(bank, scores=bank.scores[:, order], gallery_ids=scores.gallery_ids)
    if bank.scores.shape[1] != scores.scores.shape[1]:
        found = FormatError(
            f"{label('bank-sims')} {path}: is {bank.scores.shape}, expected bank texts x the "
            f"{scores.scores.shape[1]} videos of {scores.source}; give "
            f"{option('sims-rows', 'videos')} if it is stored the other way"
        )
        raise of_bank_alone(found, path, scores.source, options)
    return bank


def _with_same_names(
    path: Path, bank: ScoreMatrix, scores: ScoreMatrix, options: Mapping[str, Any]
) -> ScoreMatrix:
    """Scores of a bank, with a list as the names of its columns that holds those of the scores."""
    for name, sides in bank.passed.items():
        if "videos" in sides:
            columns = {**options["id_column"], "videos": name}
            found = io.read_scores(path, **{**options, "id_column": columns})
            if set(found.gallery_ids) >= set(scores.gallery_ids):
                return found
    return bank


def _bank_options(reading: Reading, path: Path, dataset: str | None) -> dict[str, Any]:
    """What was said of a matrix that holds for the scores of its bank as well."""
    columns = lists_of_ids(reading)
    with open_container(path) as container:
        if ROWS in columns and not holds(container, columns[ROWS]):
            del columns[ROWS]
    numbers = {
        f"{called}_ids": Path(ROWS)
        for called, given in (("query", reading.text_ids), ("gallery", reading.video_ids))
        if str(given) == ROWS
    }
    return {
        "dataset": dataset, "sims_rows": reading.sims_rows, "id_column": columns, **numbers,
    }  # fmt: skip


def _heads(path: Path | None) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """The projection heads of a trained model, or None."""
    if path is None:
        return None
    regular_file(path)
    from rerank.train import is_trained_model, load_heads  # torch.nn, for trained models only

    if path.is_file() and not is_trained_model(path):
        raise FormatError(
            f"{path}: not heads that `rerank train` wrote; a fitted reranker is used by "
            f"`rerank search --model`"
        )
    return load_heads(path)


def with_bias(inputs: Inputs, bias: Path | None, weight: float) -> Inputs:
    """The inputs with a number of each video, of a file and times a weight.

    Raises:
        RerankError: a video without a number.
    """
    if bias is None:
        if weight != 1:
            raise RerankError("--bias-weight needs --bias, the numbers that it weighs")
        return inputs
    return replace(inputs, bias=weight * io.item_numbers(bias, inputs.video_ids))


def _whole_hash(inputs: Inputs, role: str) -> str:
    """Content hash of a whole file; a process that holds a share of it looks through it again."""
    held: Embeddings | ScoreMatrix = getattr(inputs, role)
    mine = len(held.ids) if isinstance(held, Embeddings) else len(held.query_ids)
    if mine == held.total_rows:
        return held.content_sha256
    if isinstance(held, ScoreMatrix):
        return io.hash_scores(held.source, **_score_options(inputs.reading))
    return io.hash_embeddings(
        held.source, row_numbers=True,
        **_options(inputs.reading, Path(held.source), role),
    )  # fmt: skip


def describe_inputs(inputs: Inputs, *, folder: Path) -> dict[str, Any]:
    """Path (relative to the result file), content hash and size of every input.

    Files of a second model are `texts 2`, `videos 2`, and so on.
    """
    if inputs.models:
        return {
            role if k == 0 else f"{role} {k + 1}": entry
            for k, model in enumerate(inputs.models)
            for role, entry in describe_inputs(model, folder=folder).items()
            if k == 0 or role != "bank_gt"
        }
    described: dict[str, Any] = {}
    for role in ("texts", "videos", "bank_texts", "bank_videos"):
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            described[role] = {
                **_path_of(embeddings.source, folder),
                "sha256": _whole_hash(inputs, role),
                "count": embeddings.total_rows,
                "dim": int(embeddings.vectors.shape[1]),
            }
    if inputs.bank_scores is not None:
        described["bank_sims"] = {
            **_path_of(inputs.bank_scores.source, folder),
            "sha256": inputs.bank_scores.content_sha256,
            "count": list(inputs.bank_scores.scores.shape),
        }
    if inputs.scores is not None:
        described["sims"] = {
            **_path_of(inputs.scores.source, folder),
            "sha256": _whole_hash(inputs, "scores"),
            "count": [inputs.scores.total_rows, len(inputs.scores.gallery_ids)],
        }
    if inputs.heads_file is not None:
        digest = hashlib.sha256(inputs.heads_file.read_bytes()).hexdigest()
        described["heads"] = {"path": os.path.relpath(inputs.heads_file, folder), "sha256": digest}
    if inputs.bank_gt is not None:
        described["bank_gt"] = {"path": os.path.relpath(inputs.bank_gt, folder)}
    return described


def _path_of(source: str, folder: Path) -> dict[str, str]:
    """Where a file is, seen from the result; nothing for arrays that a program held."""
    return {"path": os.path.relpath(source, folder)} if Path(source).exists() else {}


def bytes_of(path: Path) -> bytes:
    """A whole file."""
    try:
        return regular_file(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None


def lines_of(path: Path) -> list[str]:
    """Lines of a text file."""
    return lines_in(read_text(path), path)


def sizes(
    *,
    texts: Path | None = None,
    videos: Path | None = None,
    sims: Path | None = None,
    reading: Reading | None = None,
    mapped: bool = False,
) -> tuple[int, int, int]:
    """(texts, videos, dimension) of files, of which a row each is read; dimension 0 for scores.

    Args:
        texts: embeddings of the queries.
        videos: embeddings of the gallery.
        sims: a matrix instead.
        reading: what was said about the files.
        mapped: whether trained heads are to bring both sides to one dimension.

    Raises:
        RerankError: no files, or embeddings of different dimensions.
    """
    said = reading or Reading()
    if sims is not None:
        found = read_matrix(sims, said, rows=slice(0, 1), nan=True, inf=True)
        return found.total_rows, len(found.gallery_ids), 0
    if texts is None or videos is None:
        raise RerankError("give --texts and --videos")
    check_said(said, {"texts": texts, "videos": videos})
    one, other = (
        read_role(path, role, said, rows=slice(0, 1), row_numbers=True)
        for path, role in ((texts, "texts"), (videos, "videos"))
    )
    if not mapped:
        check_widths(other, one)
    return one.total_rows, other.total_rows, one.dim


def right_answers(
    gt: Any,  # noqa: ANN401  a ground truth in any form
    text_ids: Sequence[str],
    video_ids: Sequence[str],
    *,
    allow_unjudged: bool = False,
) -> tuple[tuple[np.ndarray, ...], Grades | None]:
    """For each text the video rows that are right, and grades where there are any.

    Args:
        gt: a path, what `read_ground_truth` returned, a dict of names or of rows (also
            {text: {video: grade}}), a list of rows, or None for the diagonal.
        text_ids: names of the texts.
        video_ids: names of the videos.
        allow_unjudged: leave out texts that a file does not name.

    Raises:
        RerankError: a ground truth that does not fit.
    """
    if isinstance(gt, str | Path):
        by_rows = BY_ROWS if str(gt) == "diagonal" else ""
        gt = io.read_ground_truth(
            gt, text_ids, video_ids, allow_unjudged=allow_unjudged, by_rows=by_rows
        )
    if isinstance(gt, io.GroundTruth):
        return as_positives(gt.positives, len(text_ids), len(video_ids)), as_grades(gt.graded)
    return named_answers(gt, text_ids, video_ids)
