"""Which frames count is read from what stands beside them, or asked about; never passed over."""

import json

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from rerank.io.frame_masks import meaning_of

N, F, D = 6, 5, 4
IDS = [f"v{i}" for i in range(N)]
L = np.array([5, 1, 3, 2, 4, 5])
MASK = np.arange(F) < L[:, None]
X = np.random.default_rng(0).normal(size=(N, F, D)).astype("f4")
X[~MASK] *= 30  # junk


def units(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


EXPECTED = np.array([units(x[m]).mean(axis=0) for x, m in zip(X, MASK, strict=True)])


def npz(path, **arrays):
    np.savez(path, **arrays)


def hdf5(path, **arrays):
    with h5py.File(path, "w") as f:
        for name, array in arrays.items():
            f[name] = array


def torch_file(path, **arrays):
    torch.save({k: v if isinstance(v, list) else torch.tensor(v) for k, v in arrays.items()}, path)


def safetensors(path, ids, **arrays):
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(plain, path, metadata={"ids": json.dumps(ids)})


WRITERS = {"npz": npz, "h5": hdf5, "pt": torch_file, "safetensors": safetensors}
SAID = {
    "padding_mask": ~MASK, "key_padding_mask": ~MASK, "pad_mask": ~MASK, "video_masks": MASK,
    "feat_mask": MASK.astype("u1"), "valid": MASK, "video_mask": MASK[:, None].astype("f4"),
    "video_lengths": L, "video_length": L[:, None], "video_len": L.astype("f4"), "lens": L,
    "seq_len": L, "valid_lens": L, "n_valid": L, "num_clips": L, "videoLengths": L,
}  # fmt: skip


def read(path):
    return read_embeddings(path, pool="mean").vectors


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(SAID))
def test_names_that_say_which_frames_count_are_taken(tmp_path, name, kind):
    path = tmp_path / f"v.{kind}"
    WRITERS[kind](path, features=X, ids=IDS, **{name: SAID[name]})
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_lists_of_lengths_are_lengths_and_lists_of_lists_are_refused(tmp_path):
    path = tmp_path / "v.pt"
    for name in ("lens", "lengths"):
        torch.save({"features": torch.tensor(X), "ids": IDS, name: L.tolist()}, path)
        assert np.allclose(read(path), EXPECTED, atol=1e-6)
    torch.save({"features": torch.tensor(X), "ids": IDS, "valid": MASK.tolist()}, path)
    with pytest.raises(FormatError, match="'valid': is .* a list of list; store it as one array"):
        read(path)


ASKED = {
    "padding_mask": MASK,  # 1 where torch has padding would be the frames that are there
    "missing_mask": ~MASK,
    "valid_frames_of_it": MASK,
    "my_count": L,
    "some_lens": L,
    "text_lengths": L,  # of texts, beside what may be videos
    "seq_len": np.where(np.arange(N) == 2, 0, L),
    "video_lengths": np.where(L == F, 30, L),  # before some were left out
}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(ASKED))
def test_what_may_say_it_is_asked_about_and_the_way_out_works(tmp_path, name, kind):
    path, found = tmp_path / f"v.{kind}", ASKED[name]
    WRITERS[kind](path, features=X, ids=IDS, **{name: found})
    with pytest.raises(FormatError) as caught:
        read(path)
    said = str(caught.value)
    assert f"{name}'" in said and "leave it out of this file" in said
    stored = ("lengths", L) if "as 'lengths'" in said else ("mask", MASK)
    assert f"store it as '{stored[0]}'" in said
    WRITERS[kind](path, features=X, ids=IDS, **dict([stored]))
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    # Where all that it leaves out is zeros, it makes no difference.
    if (found == 0).sum() == 1:
        return
    WRITERS[kind](path, features=X * MASK[..., None], ids=IDS, **{name: found})
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


def test_other_numbers_beside_frames_are_left_alone(tmp_path):
    every = np.array([units(x).mean(axis=0) for x in X])
    others = {
        "duration": L, "labels": L, "num_captions": L, "video_len": L + 0.5, "scores": MASK,
        "valid": np.arange(N) > 2, "my_count": np.full(N, F), "any_mask": np.ones((N, F), bool),
        "some_lens": L * 100,
    }  # fmt: skip
    for name, found in others.items():
        npz(tmp_path / "v.npz", features=X, ids=IDS, **{name: found})
        assert np.allclose(read(tmp_path / "v.npz"), every, atol=1e-6), name


def test_of_two_sides_each_has_its_own(tmp_path):
    texts = np.ones((N, 7, D), "f4")
    npz(tmp_path / "v.npz", video_features=X, video_mask=MASK, text_features=texts, ids=IDS,
        text_mask=np.ones((N, 7)).astype("i1"))  # fmt: skip
    for name, expected in (("video_features", EXPECTED), ("text_features", units(texts)[:, 0])):
        found = read_embeddings(tmp_path / "v.npz", dataset=name, pool="mean").vectors
        assert np.allclose(found, expected, atol=1e-6)


ONE = {
    "mask": MASK, "mask of numbers": MASK.astype("f4"), "length": L, "n_frames": L[:, None],
    "padding_mask": ~MASK, "valid": MASK.astype(int),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(ONE))
def test_a_mask_in_the_group_of_an_item_counts_as_beside_all(tmp_path, name, kind):
    path, leaf = tmp_path / f"v.{kind}", name.partition(" ")[0]
    arrays = {f"{item}/features": x for item, x in zip(IDS, X, strict=True)}
    arrays |= {f"{item}/{leaf}": x for item, x in zip(IDS, ONE[name], strict=True)}
    if kind == "safetensors":
        save_file({key: np.array(x) for key, x in arrays.items()}, path)
    else:
        WRITERS[kind](path, **arrays)
    found = read_embeddings(path, pool="mean")
    assert found.ids == tuple(IDS) and np.allclose(found.vectors, EXPECTED, atol=1e-6)


def test_a_mask_in_a_group_that_does_not_fit_is_refused(tmp_path):
    for name, bad in (("mask", MASK[:, :3]), ("length", L + 1)):
        arrays = {f"{item}/features": x for item, x in zip(IDS, X, strict=True)}
        arrays |= {f"{item}/{name}": x for item, x in zip(IDS, bad, strict=True)}
        hdf5(tmp_path / "v.h5", **arrays)
        with pytest.raises(FormatError, match=f"v0/{name}': .*expected"):
            read(tmp_path / "v.h5")


def test_names_have_one_meaning():
    assert {meaning_of(n) for n in ("nframes", "frame_count", "clip_num", "n_tokens")} == {
        "lengths"
    }
    assert {meaning_of(n) for n in ("attn_mask", "frame_valid", "is_valid")} == {"mask"}
    assert {meaning_of(n) for n in ("ids", "names", "validation", "numbers", "lengthy")} == {""}
