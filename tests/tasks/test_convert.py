"""Whatever is converted is read as it was read before."""

import json
import subprocess
import sys

import numpy as np
import pytest

from rerank import io
from rerank.core.errors import RerankError
from rerank.tasks.convert import convert_file

N, M = 7, 5
RNG = np.random.default_rng(0)
SIMS = RNG.normal(size=(N, M)).astype("f4")
SIMS[2, 3] = -np.inf
TEXTS, VIDEOS = [f"t{i}" for i in range(N)], [f"v{j}" for j in range(M)]


def same_scores(one, other):
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.query_ids, one.gallery_ids) == (other.query_ids, other.gallery_ids)
    assert one.content_sha256 == other.content_sha256


def test_scores_keep_what_was_not_scored(tmp_path):
    source, target = tmp_path / "s.npz", tmp_path / "s.h5"
    np.savez(source, scores=SIMS, query_ids=TEXTS, gallery_ids=VIDEOS)
    answer = convert_file(source, target, what="scores")
    assert answer.manifest["shape"] == [N, M]
    same_scores(io.read_scores(target), io.read_scores(source))
    assert io.kind_of_file(target) == io.SCORES_SCHEMA
    with pytest.raises(RerankError, match="give it with scores="):
        io.read_embeddings(target)
    # Not a number, or a fill value, where the user says that it stands for that.
    for value in (np.nan, -999.0):
        filled = np.where(np.isneginf(SIMS), np.float32(value), SIMS)
        np.savez(source, scores=filled, query_ids=TEXTS, gallery_ids=VIDEOS)
        if np.isnan(value):
            with pytest.raises(RerankError, match="nan=True"):
                convert_file(source, target, what="scores")
        convert_file(source, target, what="scores", unscored=str(value))
        np.testing.assert_array_equal(io.read_scores(target).scores, SIMS)


@pytest.mark.parametrize("own", [False, True])
def test_both_directions_are_kept_and_hashed(tmp_path, own):
    """A matrix of the other direction counts, but for one that is the transpose of the first."""
    back = SIMS.T + (0.1 if own else 0.0)
    source, target = tmp_path / "s.npz", tmp_path / "s.h5"
    np.savez(source, t2v=SIMS, v2t=back, query_ids=TEXTS, gallery_ids=VIDEOS)
    convert_file(source, target, what="scores")
    one, other = io.read_scores(source), io.read_scores(target)
    same_scores(one, other)
    assert (one.reverse is None) == (other.reverse is None) == (not own)
    for path in (source, target):
        assert io.hash_scores(path) == one.content_sha256
        part = io.read_scores(path, rows=slice(2, 4))
        assert (part.reverse is None) == (not own)
    np.savez(tmp_path / "alone.npz", t2v=SIMS, query_ids=TEXTS, gallery_ids=VIDEOS)
    assert (io.hash_scores(tmp_path / "alone.npz") == one.content_sha256) == (not own)


TRUTHS = {
    "grades.json": '{"t0": {"v1": 2, "v2": 0}, "t1": {"v0": 1}}',
    "qrels.txt": "t0 0 v1 2\nt0 0 v2 0\nt1 0 v0 1\n",
    "table.csv": "query_id,video_id\nt0,v1\nt1,v0\nt1,v3\n",
    "pairs.json": '{"t0": "v1", "t1": ["v0", "v3"]}',
    "turned.json": '{"v1": ["t0", "t2"], "v0": ["t1"]}',
}


@pytest.mark.parametrize("name", TRUTHS)
def test_a_ground_truth_says_which_side_is_which(tmp_path, name):
    source, target = tmp_path / name, tmp_path / "gt.json"
    source.write_text(TRUTHS[name])
    for side, ids in (("t", TEXTS), ("v", VIDEOS)):
        (tmp_path / f"{side}.txt").write_text("\n".join(ids))
    want = io.read_ground_truth(source, TEXTS, VIDEOS, allow_unjudged=True)
    said = io.Reading(text_ids=tmp_path / "t.txt", video_ids=tmp_path / "v.txt")
    direction = "video-text" if name == "turned.json" else "text-video"
    ways = [said, io.Reading(gt_direction=direction)]
    if name in ("qrels.txt", "table.csv"):
        ways.append(io.Reading())  # the file says it
    else:
        with pytest.raises(RerankError, match="does not say which side.*direction="):
            convert_file(source, target, what="ground-truth")
    for reading in ways:
        convert_file(source, target, what="ground-truth", reading=reading)
        found = io.read_ground_truth(target, TEXTS, VIDEOS, allow_unjudged=True)
        for one, other in zip(found.positives, want.positives, strict=True):
            np.testing.assert_array_equal(one, other)
        assert (found.graded is None) == (want.graded is None)
        if want.graded is not None:
            assert [x.tolist() for x in found.graded.grades] == [
                x.tolist() for x in want.graded.grades
            ]
        assert io.kind_of_file(target) == "a ground truth"


def test_rankings_become_a_result_file(tmp_path):
    source, target = tmp_path / "run.json", tmp_path / "run.h5"
    source.write_text(json.dumps({"t0": {"v1": 0.9, "v0": 0.1}, "t1": {"v3": 0.4}}))
    with pytest.raises(RerankError, match="queries=.texts"):
        convert_file(source, target, what="results")
    convert_file(source, target, what="results", side="texts")
    (found,), (want,) = io.read_rankings(target), io.read_rankings(source)
    assert (found.query_ids, found.items) == (want.query_ids, want.items)
    assert found.direction == "t2v"
    np.testing.assert_array_equal(found.scores[0], want.scores[0])


def test_what_makes_no_sense_is_refused(tmp_path):
    np.save(tmp_path / "s.npy", SIMS)
    for what, name, words in (
        ("ground-truth", "x.h5", r"is JSON; call it x\.json"),
        ("scores", "x.json", r"is HDF5; call it x\.h5"),
        ("nothing", "x.h5", "expected embeddings, scores, ground-truth, results"),
    ):
        with pytest.raises(RerankError, match=words):
            convert_file(tmp_path / "s.npy", tmp_path / name, what=what)
    with pytest.raises(RerankError, match="--what scores"):
        convert_file(tmp_path / "s.npy", tmp_path / "x.h5", unscored="nan")


def _write(path, n, d):
    rows = np.lib.format.open_memmap(path, mode="w+", dtype="f4", shape=(n, d))
    rng = np.random.default_rng(0)
    for at in range(0, n, 10_000):
        rows[at : at + 10_000] = rng.normal(size=(min(10_000, n - at), d))
    path.with_name(path.stem + ".ids.txt").write_text("\n".join(f"v{i}" for i in range(n)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_large_file_is_never_held(tmp_path, kind):
    """A million rows of 512, 2 GB, within 1 GB."""
    n, d = 1_000_000, 512
    source = tmp_path / "v.npy"
    _write(source, n, d)
    if kind == "h5":
        _convert(source, tmp_path / "first.h5")
        source.unlink()
        source = tmp_path / "first.h5"
    assert _convert(source, tmp_path / "v.h5") < 1e9
    assert io.read_embeddings(tmp_path / "v.h5", rows=slice(n - 1, n)).ids == (f"v{n - 1}",)


def _convert(source, target):
    """The most memory that a process of its own held, in bytes."""
    code = (
        "import sys; from rerank_cli.app import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')))\n"
    )
    words = [sys.executable, "-c", code, "convert", source, target]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return 1024 * int(said.split("VmHWM:")[1].split()[0])


def test_a_ground_truth_of_another_program_is_called_so(tmp_path):
    source, target = tmp_path / "pairs.csv", tmp_path / "gt.json"
    source.write_text(TRUTHS["table.csv"])
    target.write_text('{"t0": "v1", "t1": "v0"}')
    said = "is JSON that reads as a ground truth, not one that this toolkit wrote; choose another"
    with pytest.raises(RerankError, match=f"{said} name, or replace it") as caught:
        convert_file(source, target, what="ground-truth")
    assert "not a ground truth" not in str(caught.value)
    convert_file(source, target, what="ground-truth", force=True)
    convert_file(source, target, what="ground-truth")  # its own
