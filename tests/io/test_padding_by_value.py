"""Frames of one number throughout are padding, as zeros are; no mask may swap them with others."""

import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankWarning
from rerank.io import as_embeddings, read_embeddings
from tests.io.test_frame_masks import EXPECTED, IDS, MASK, WRITERS, D, F, L, N, X, npz, read, units

BLANKS = [-1, -100, 0.5, 1e-8]


def padded(blank, *, front=False):
    x = np.where(MASK[..., None], X, blank).astype("f4")
    return np.stack([np.roll(item, F - count, 0) for item, count in zip(x, L, strict=True)]) if (
        front
    ) else x  # fmt: skip


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kind", WRITERS)
def test_frames_of_one_number_are_padding_and_it_is_said(tmp_path, kind, blank, front):
    path = tmp_path / f"v.{kind}"
    WRITERS[kind](path, features=padded(blank, front=front), ids=IDS)
    with pytest.warns(RerankWarning, match=f"row 1: its frames of {blank:g} throughout"):
        assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_they_are_padding_of_items_of_one_array_each_in_parts_and_in_memory(tmp_path):
    x = padded(-1)
    npz(tmp_path / "v.npz", **dict(zip(IDS, x, strict=True)))
    rows, offsets = x.reshape(-1, D), np.arange(N + 1) * F
    npz(tmp_path / "o.npz", frames=rows, offsets=offsets, ids=IDS)
    for name in ("v.npz", "o.npz"):
        with pytest.warns(RerankWarning, match="its frames of -1 throughout are padding"):
            assert np.allclose(read(tmp_path / name), EXPECTED, atol=1e-6)
    with pytest.warns(RerankWarning, match="videos: row 1: its frames of -1"):
        found = as_embeddings(x, role="videos", pool="mean")
    assert np.allclose(found.vectors, EXPECTED, atol=1e-6)


def test_a_mask_beside_leaves_nothing_to_say(tmp_path, recwarn):
    for blank in (*BLANKS, np.nan):
        npz(tmp_path / "v.npz", features=padded(blank), ids=IDS, mask=MASK)
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
    assert not recwarn


@pytest.mark.parametrize("last", [False, True])
def test_an_item_of_one_number_alone_is_refused_where_others_have_frames(tmp_path, last):
    x = padded(0)
    x[N - 1 if last else 0] = -1
    npz(tmp_path / "v.npz", features=x, ids=IDS)
    with pytest.raises(FormatError, match=rf"row {5 if last else 0}: all of its frames are -1 thr"):
        read(tmp_path / "v.npz")


def test_where_all_frames_are_of_one_number_they_are_frames(tmp_path, recwarn):
    for x in (np.ones((N, F, D)), np.arange(1.0, N * F + 1).reshape(N, F, 1) * np.ones(D)):
        npz(tmp_path / "v.npz", features=x, ids=IDS)
        assert np.allclose(read(tmp_path / "v.npz"), units(np.ones((N, D))))
    # In two dimensions a frame may be so by chance.
    two = np.array([[[1.0, 0], [1, 1]], [[0, 1], [1, 1]]])
    npz(tmp_path / "v.npz", features=two, ids=IDS[:2])
    assert np.allclose(read(tmp_path / "v.npz"), units(two).mean(axis=1))
    assert not recwarn


@pytest.mark.parametrize("blank", [np.nan, np.inf, -np.inf])
def test_frames_that_are_not_finite_throughout_are_called_padding_and_the_ways_out_work(
    tmp_path, blank
):
    path = tmp_path / "v.npz"
    npz(path, features=padded(blank), ids=IDS)
    with pytest.raises(FormatError, match=r"row 1: .* padding, store zeros there.*or a 'mask'"):
        read(path)
    for more in ({"features": padded(0)}, {"features": padded(blank), "mask": MASK}):
        npz(path, ids=IDS, **more)
        assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_a_single_nan_is_no_padding(tmp_path):
    x = padded(0)
    x[2, 0, 1] = np.nan
    npz(tmp_path / "v.npz", features=x, ids=IDS)
    with pytest.raises(FormatError, match="NaN in column .*compute this row again"):
        read(tmp_path / "v.npz")


SWAPPED = {"lengths": L, "mask": MASK, "video_mask": MASK, "num_frames": L, "pad": F - L}


@pytest.mark.parametrize("blank", [0, -1])
@pytest.mark.parametrize("name", SWAPPED)
@pytest.mark.parametrize("each", [False, True])
def test_what_keeps_padding_in_front_and_drops_frames_is_refused(tmp_path, each, name, blank):
    x, path = padded(blank, front=True), tmp_path / "v.npz"
    if name == "pad" and not blank:
        return  # taken, as zeros in front say where padding is
    stored = {"features": x, "ids": IDS, name: SWAPPED[name]}
    if each:
        stored = {f"{i}/f": row for i, row in zip(IDS, x, strict=True)}
        stored |= {f"{i}/{name}": row for i, row in zip(IDS, SWAPPED[name], strict=True)}
    npz(path, **stored)
    place = "v1" if each else "row 1"
    with pytest.raises(FormatError, match=f"{place}.* start are {blank} .*; '.*{name}' keeps 1 of"):
        read_embeddings(path, pool="mean")
    kept = {key: value for key, value in stored.items() if key.rpartition("/")[2] != name}
    npz(path, **kept)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_zeros_in_front_with_lengths_of_all_that_follow_are_no_contradiction(tmp_path):
    x = padded(0, front=True)
    for more in ({"mask": x.any(axis=2)}, {"num_frames": np.full(N, F)}):
        npz(tmp_path / "v.npz", features=x, ids=IDS, **more)
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["num_frames", "n_frames", "frame_counts", "total_frames", "frames"]
)
def test_counts_of_whole_videos_say_nothing_of_the_frames_that_are_kept(tmp_path, name):
    npz(tmp_path / "v.npz", features=padded(0), ids=IDS, **{name: L * 30 + 100})
    assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
    npz(tmp_path / "v.npz", features=X, ids=IDS, video_masks=MASK, **{name: L * 30 + 100})
    assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
    each = {f"{i}/f": row for i, row in zip(IDS, padded(0), strict=True)}
    npz(tmp_path / "v.npz", **each, **{f"{i}/{name}": 100 * n for n, i in enumerate(IDS, 1)})
    assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
    # All frames of all items, as a count says, are not more than a mask keeps.
    npz(tmp_path / "v.npz", features=X, ids=IDS, video_masks=MASK, num_frames=np.full(N, F))
    assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
