"""What masks keep is read from their values; what two arrays say of frames must not contradict."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from tests.io.test_frame_masks import (
    EXPECTED,
    IDS,
    KEPT,
    MASK,
    WRITERS,
    D,
    F,
    L,
    N,
    X,
    folder_of,
    npz,
    one_by_one,
    pooled,
    read,
    units,
)

LOWEST = np.finfo("f4").min
STORED = {
    "added": np.where(MASK, 0, -1e4).astype("f4"),
    "added halves": np.where(MASK, 0, -65504).astype("f2"),
    "added infinities": np.where(MASK, 0, -np.inf),
    "added lowest": np.where(MASK, 0, LOWEST).astype("f4"),
    "added whole numbers": np.where(MASK, 0, -10000),
    "signs": np.where(MASK, 1, -1),
    "signs as decimals": np.where(MASK, 1.0, -1.0),
    "nearly zeros": np.where(MASK, 1, 1e-9).astype("f4"),
    "bytes": np.where(MASK, 255, 0).astype("u1"),
}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", ["mask", "attention_mask", "video_masks"])
@pytest.mark.parametrize("stored", list(STORED))
def test_a_mask_is_read_by_its_values(tmp_path, stored, name, kind):
    path = tmp_path / f"v.{kind}"
    for values in (STORED[stored], STORED[stored][:, None], STORED[stored][:, None, None]):
        WRITERS[kind](path, features=X, ids=IDS, **{name: values})
        assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("kind", ["folder", *WRITERS])
@pytest.mark.parametrize("layout", [*KEPT, "all"])
@pytest.mark.parametrize("stored", ["added", "added infinities", "signs", "nearly zeros"])
def test_masks_of_items_are_read_by_the_values_of_all(tmp_path, stored, layout, kind):
    values, path = STORED[stored], tmp_path / f"v.{kind}"
    if kind == "folder":
        if layout in ("group", "kind"):
            return
        places = [KEPT.get(layout, "").format(item=x, name="mask").split()[1:] for x in IDS]
        each = {place[0]: row for place, row in zip(places, values, strict=True) if place}
        # Without ids the padding has to show the order.
        shown = np.where(MASK[..., None], X, 7.0)
        folder_of(path, X if each else shown, **(each or {"mask": values}))
    elif layout == "all":
        arrays = dict(zip(IDS, X, strict=True)) | {"mask": values}
        if kind == "safetensors":
            save_file({key: np.array(x) for key, x in arrays.items()}, path)
        else:
            WRITERS[kind](path, **arrays)
    else:
        one_by_one(kind, path, layout, "mask", values)
    assert np.allclose(pooled(path, layout), EXPECTED, atol=1e-6)


def test_what_is_added_keeps_zeros_whatever_its_name(tmp_path):
    for name in ("key_padding_mask", "video_mask"):
        for stored in ("added", "added infinities"):
            npz(tmp_path / "v.npz", features=X, ids=IDS, **{name: STORED[stored]})
            assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
            one_by_one("npz", tmp_path / "w.npz", "group", name, STORED[stored])
            assert np.allclose(read(tmp_path / "w.npz"), EXPECTED, atol=1e-6)
    content = {"features": X.tolist(), "ids": IDS, "mask": STORED["added"].tolist()}
    (tmp_path / "v.json").write_text(json.dumps(content))
    assert np.allclose(read(tmp_path / "v.json"), EXPECTED, atol=1e-6)


UNCLEAR = {
    "weights": MASK / L[:, None],
    "no zeros": np.where(MASK, 0.8, 0.2),
    "a little below": np.where(MASK, 0, -5.0),
    "not numbers": np.where(MASK, 1, np.nan),
    "three": np.where(MASK, 1, -1) * (np.arange(F) != 1),
}


@pytest.mark.parametrize("name", ["mask", "video_mask", "video_masks", "padding_mask"])
@pytest.mark.parametrize("stored", list(UNCLEAR))
def test_values_that_say_nothing_are_asked_about_and_the_way_out_works(tmp_path, stored, name):
    path = tmp_path / "v.npz"
    npz(path, features=X, ids=IDS, **{name: UNCLEAR[stored]})
    said = rf"'{name}': its values, such as .* store a 'mask' \(6, 5\) of 1 for a frame that counts"
    with pytest.raises(FormatError, match=said):
        read(path)
    npz(path, features=X, ids=IDS, mask=MASK.astype(int))
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_weights_that_leave_out_zeros_only_say_nothing_new(tmp_path):
    zeros = X * MASK[..., None]
    for name in ("mask", "video_masks"):
        npz(tmp_path / "v.npz", features=zeros, ids=IDS, **{name: MASK / L[:, None]})
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)


NOT_LONGEST = np.minimum(L, F - 1)
LAST = {name: NOT_LONGEST - 1 for name in ("last_frame", "max_idx", "last_valid", "end_idx", "last",
                                           "eosPosition", "frame_end_index")}  # fmt: skip
LAST |= {"eos": NOT_LONGEST, "stop": NOT_LONGEST}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(LAST))
def test_the_last_frame_of_an_item_is_asked_about_whatever_it_is_called(tmp_path, name, kind):
    path = tmp_path / f"v.{kind}"
    WRITERS[kind](path, features=X, ids=IDS, **{name: LAST[name]})
    with pytest.raises(FormatError, match=rf"{name}'.* as 'lengths' \(x \+ 1 where x is the last"):
        read(path)
    one_by_one(kind, path, "group", name, LAST[name])
    with pytest.raises(FormatError, match="of the frames count; if they do, store a 'mask'"):
        read(path)
    # Beside a mask, or where all behind it is zeros, it says nothing new.
    WRITERS[kind](path, features=X, ids=IDS, mask=MASK, **{name: LAST[name]})
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    short = np.arange(F) < NOT_LONGEST[:, None]
    WRITERS[kind](path, features=X * short[..., None], ids=IDS, **{name: LAST[name]})
    expected = [units(x[m]).mean(axis=0) for x, m in zip(X, short, strict=True)]
    assert np.allclose(read(path), expected, atol=1e-6)


OTHER = np.roll(L, 1)
TWO = {
    "mask lengths": (MASK, OTHER), "lengths n_frames": (L, OTHER),
    "mask video_masks": (MASK, np.roll(MASK, 1, 0)),
    "lengths video_len": (L, OTHER), "mask num_pad": (MASK, F - OTHER),
    "video_mask padding_mask": (MASK, np.arange(F) >= OTHER[:, None]),
    "valid seq_len": (MASK, OTHER),
}  # fmt: skip
SAME = {
    "mask lengths": (MASK, L), "lengths n_frames": (L, L), "mask video_masks": (MASK, MASK * 1),
    "lengths video_len": (L, L), "mask num_pad": (MASK, F - L),
    "video_mask padding_mask": (MASK, ~MASK), "valid seq_len": (MASK, L),
    "mask n_frames": (MASK, L + 30), "mask num_frames": (MASK, np.full(N, F)),
    "lengths num_frames": (L, np.full(N, F)), "mask n_tokens": (MASK, OTHER),
    "video_mask text_mask": (MASK, np.arange(F) < OTHER[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("layout", ["rows", "group"])
@pytest.mark.parametrize("names", list(TWO))
def test_two_that_contradict_each_other_are_refused_by_name(tmp_path, names, layout):
    path, (one, other) = tmp_path / "v.npz", names.split()
    both = dict(zip((one, other), TWO[names], strict=True))
    if layout == "rows":
        npz(path, features=X, ids=IDS, **both)
    else:
        each = {f"{x}/{k}": v[i] for i, x in enumerate(IDS) for k, v in {"f": X, **both}.items()}
        npz(path, **each)
    with pytest.raises(FormatError, match=f"{one}'.*{other}' contradict each other") as caught:
        read(path)
    assert "leave the one that is wrong out of this file" in str(caught.value)
    if layout == "rows":
        npz(path, features=X, ids=IDS, **{one: both[one]})
        assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("names", list(SAME))
def test_two_that_agree_or_speak_of_something_else_are_read(tmp_path, names):
    both = dict(zip(names.split(), SAME[names], strict=True))
    for order in (both, dict(reversed(both.items()))):
        npz(tmp_path / "v.npz", features=X, ids=IDS, **order)
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)


def test_lengths_agree_with_a_mask_that_leaves_frames_out_before_the_last(tmp_path):
    holes = MASK & ~((np.arange(F) == 1) & (L[:, None] > 2))
    expected = [units(x[m]).mean(axis=0) for x, m in zip(X, holes, strict=True)]
    for lengths in (L, holes.sum(axis=1)):
        npz(tmp_path / "v.npz", features=X, ids=IDS, mask=holes, lengths=lengths)
        assert np.allclose(read(tmp_path / "v.npz"), expected, atol=1e-6)


def test_a_mask_is_held_against_the_frames_whose_it_is(tmp_path):
    """As CLIP4Clip saves its outputs, the array of each side named."""
    path, texts = tmp_path / "v.pt", np.random.default_rng(1).normal(size=(N, 1, D)).astype("f4")

    def of(name, side):
        return read_embeddings(path, dataset=name, pool="mean", row_numbers=True, side=side).vectors

    tensors = {"sequence_output": texts, "visual_output": X, "video_mask": MASK * 1}
    torch.save({key: torch.tensor(x) for key, x in tensors.items()}, path)
    for side in ("videos", ""):
        assert np.allclose(of("visual_output", side), EXPECTED, atol=1e-6)
    for side in ("texts", ""):
        assert np.allclose(of("sequence_output", side), units(texts)[:, 0], atol=1e-6)
    # As many tokens as frames: the name tells.
    tensors["sequence_output"] = words = X[::-1].copy()
    torch.save({key: torch.tensor(x) for key, x in tensors.items()}, path)
    assert np.allclose(of("visual_output", "videos"), EXPECTED, atol=1e-6)
    assert np.allclose(of("sequence_output", "texts"), units(words).mean(axis=1), atol=1e-6)
    # One that fits no frames is refused as before.
    tensors["video_mask"] = MASK[:, :-2] * 1
    torch.save({key: torch.tensor(x) for key, x in tensors.items()}, path)
    with pytest.raises(FormatError, match="expected a mask"):
        of("visual_output", "videos")
