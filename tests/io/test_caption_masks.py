"""Masks and counts of captions beside (videos, captions, videos) are read as those of frames."""

import re

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_scores

V, C = 12, 4
RNG = np.random.default_rng(0)
COUNTS = RNG.permutation(np.repeat([1, 2, 3, 4], 3))
THERE = np.arange(C) < COUNTS[:, None]
# Padding is noise, as a model writes it that also embeds the padding.
BLOCK = RNG.normal(size=(V, C, V)).astype("f4")
WANT = BLOCK.reshape(-1, V)[THERE.reshape(-1)]
IDS = [f"video{7 * j + 3}" for j in range(V)]
MASKS = [
    "query_mask", "query_masks", "text_masks", "caption_masks", "caption_mask", "cap_mask", "mask",
    "sentence_mask", "sent_masks", "valid", "attention_mask", "masks", "is_valid",
    "queryMask", "txt_mask",
]  # fmt: skip
NUMBERS = ["num_captions", "n_captions", "caption_counts", "query_lengths", "num_queries",
           "caption_lengths", "captions_per_video", "lengths", "cap_len", "text_lens"]  # fmt: skip


def read(path, kind="npz", block=BLOCK, **beside):
    path = path / f"s.{kind}"
    if kind == "npz":
        np.savez(path, sims=block, video_ids=IDS, **beside)
    else:
        held = {name: torch.tensor(x) for name, x in beside.items()}
        torch.save({"sims": torch.tensor(block), "video_ids": IDS, **held}, path)
    return read_scores(path)


@pytest.mark.parametrize("kind", ["npz", "pt"])
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_of_captions_by_any_name_is_taken(tmp_path, name, kind):
    for mask in (THERE, THERE.astype(int), THERE[:, :, None].astype("f4")):
        found = read(tmp_path, kind, **{name: mask})
        np.testing.assert_array_equal(found.scores, WANT)
        assert found.query_ids[:2] == (
            f"{IDS[0]}#0",
            f"{IDS[int(COUNTS[0] == 1)]}#{int(COUNTS[0] > 1)}",
        )


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_captions_by_any_name_are_taken(tmp_path, name):
    for counts in (COUNTS, COUNTS[:, None]):
        np.testing.assert_array_equal(read(tmp_path, **{name: counts}).scores, WANT)


def test_a_padding_mask_is_turned_and_added_ones_are_read(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, caption_padding_mask=~THERE).scores, WANT)
    np.testing.assert_array_equal(read(tmp_path, mask=np.where(THERE, 0, -1e9)).scores, WANT)


def test_places_of_the_last_captions_are_counted_either_way(tmp_path):
    """From 0, or how many there are so far: CLIP4Clip has both; the padding or their room tells."""
    padded = np.where(THERE[:, :, None], BLOCK, np.float32(-1e9))
    for ends in (COUNTS.cumsum(), COUNTS.cumsum() - 1):
        np.testing.assert_array_equal(
            read(tmp_path, block=padded, cut_off_points=ends).scores, WANT
        )
    two = np.full(V, 2)
    with pytest.raises(FormatError, match="how many each has as 'num_captions'"):
        read(tmp_path, cut_off_points=two.cumsum())


UNKNOWN = {"zzz": THERE, "used": THERE.astype(int), "video_mask": THERE, "how_many": COUNTS,
           "valid_captions": THERE, "keep": THERE, "n": COUNTS}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_may_say_which_captions_are_there_is_asked_about(tmp_path, name):
    with pytest.raises(FormatError, match="captions of a video") as caught:
        read(tmp_path, **{name: UNKNOWN[name]})
    assert repr(name) in str(caught.value) and "frame" not in str(caught.value)
    fix = re.search(r"as '(mask|lengths)'", str(caught.value))
    assert fix
    np.testing.assert_array_equal(read(tmp_path, **{fix[1]: UNKNOWN[name]}).scores, WANT)
    # Where the padding shows, it makes no difference.
    padded = np.where(THERE[:, :, None], BLOCK, np.float32(-1e9))
    np.testing.assert_array_equal(
        read(tmp_path, block=padded, **{name: UNKNOWN[name]}).scores, WANT
    )


def test_two_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(FormatError, match="contradict each other.*captions"):
        read(tmp_path, query_masks=THERE, num_captions=np.full(V, 2))


def test_what_says_nothing_of_captions_is_left_alone(tmp_path):
    """Labels, frames of the videos, durations and ids are of something else."""
    beside = {
        "labels": RNG.integers(0, 30, V), "num_frames": np.arange(V) * 30 + 60,
        "fps": np.full(V, 25.0), "video_mask": np.ones((V, 7)), "durations": RNG.random(V) * 99,
        "attention_mask": np.ones((V, C, 30)), "frame_mask": np.ones((V, 9)), "gt": np.arange(V),
        "caption_ids": np.arange(V * C).reshape(V, C), "video_lengths": np.arange(V) + 9,
    }  # fmt: skip
    assert read(tmp_path, **beside).scores.shape == (V * C, V)
    one = BLOCK[:, :1]
    assert read(tmp_path, block=one, mask=np.ones((V, 1)), n=np.ones(V, int)).scores.shape == (V, V)
