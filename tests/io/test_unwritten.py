"""HDF5 datasets that were created and never filled, beside others that are good."""

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io.embeddings import read_embeddings
from rerank.io.first_look import look

ROWS = np.arange(20, dtype="f4").reshape(5, 4) + 1
FRAMES = np.arange(60, dtype="f4").reshape(5, 3, 4) + 1
IDS = [f"v{i}" for i in range(5)]
TEXT = h5py.string_dtype()
CHUNKED = {"chunks": True, "compression": "gzip"}

UNUSED = {
    "mask": ((5,), "i8", {}),
    "lengths": ((5,), "i8", CHUNKED),
    "features": ((5, 4), "f4", {}),
    "text_features": ((5, 4), "f4", CHUNKED),
    "split": ((5,), TEXT, {}),
    "is_test": ((5,), "?", {}),
    "train_idx": ((3,), "i8", {}),
    "video_ids": ((5,), TEXT, {}),
    "extra": ((1 << 40, 4), "f4", {}),
    "notes": ((5,), h5py.vlen_dtype(np.float32), {}),
}


@pytest.mark.parametrize("name", UNUSED)
def test_what_was_never_filled_blocks_no_good_file(tmp_path, name):
    shape, dtype, how = UNUSED[name]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["embeddings"], file["ids"] = ROWS, IDS
        file.create_dataset(name, shape, dtype, **how)
    look(tmp_path / "v.h5", "videos")
    found = read_embeddings(tmp_path / "v.h5")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, ROWS)


# What is asked for, or says which rows and frames are there.
USED = {
    "asked for": ({"embeddings": ROWS, "ids": IDS, "clip": ((5, 4), "f4")}, {"dataset": "clip"}),
    "alone": ({"embeddings": ((5, 4), "f4"), "ids": IDS}, {}),
    "ids": ({"embeddings": ROWS, "ids": ((5,), TEXT)}, {}),
    "an item": ({**dict(zip(IDS, ROWS, strict=True)), "v5": ((4,), "f4")}, {}),
    "a mask": ({"features": FRAMES, "ids": IDS, "mask": ((5, 3), "i8")}, {"pool": "mean"}),
    "a mask of a side": (
        {"features": FRAMES, "ids": IDS, "video_masks": ((5, 3), "i8")}, {"pool": "mean"},
    ),
    "a mask of each": (
        {f"{i}/features": rows for i, rows in zip(IDS, FRAMES, strict=True)}
        | {f"{i}/mask": ((3,), "i8") for i in IDS},
        {"pool": "mean"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", USED)
def test_what_is_used_and_was_never_filled_is_said(tmp_path, case):
    content, options = USED[case]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, value in content.items():
            if isinstance(value, tuple):
                file.create_dataset(name, *value)
            else:
                file[name] = value
    with pytest.raises(FormatError, match="was never filled") as caught:
        read_embeddings(tmp_path / "v.h5", **options)
    assert "\n" not in str(caught.value)


def test_a_mask_of_an_item_in_lists_of_its_own_lengths_is_said(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, rows in zip(IDS, FRAMES, strict=True):
            file[f"{name}/features"] = rows
            mask = file.create_dataset(f"{name}/mask", (3,), h5py.vlen_dtype(np.int64))
            mask[...] = [np.ones(1, "i8")] * 3
    with pytest.raises(FormatError, match="ragged.* says which frames count"):
        read_embeddings(tmp_path / "v.h5", pool="mean")
