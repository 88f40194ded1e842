"""Which frames count is read from what stands beside them, or asked about; never passed over."""

import json
import re
import subprocess

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError, RerankWarning
from rerank.io import read_embeddings
from rerank.io.frames.meanings import meaning_of

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
    "pad": F - L, "num_pad": F - L, "n_pad": (F - L)[:, None], "padding": F - L, "padded": F - L,
    "numPadding": (F - L).astype("f4"), "pad_len": F - L, "num_padded_frames": F - L,
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
    "valid_frames": L,
    "present": ~MASK,
    "padded": np.minimum(F - L, 1),  # perhaps whether there is any
    "padded_length": L,
    "num_missing": F - L,
    "pad_right": F - L,
    "start": np.minimum(F - L, 1),  # with an end, below
    "weights": MASK / L[:, None],
    "w": MASK.astype("f4"),
    "attn": MASK * np.linspace(0.9, 0.1, F),
    "frame_weights": MASK[..., None] / L[:, None, None],
    "relevances": np.where(MASK, np.arange(F) + 1, 0),
    "numbers": np.where(MASK, np.arange(F), -1),
    "starts": np.concatenate([[0], np.cumsum(L)]),
}
WITH = {"start": {"end": np.minimum(F - L, 1) + np.minimum(L, F - 1)}}
# Names that nobody knows; the values look like it.
ASKED |= {name: L for name in ("end", "T", "n", "size", "duration", "zzz")}
ASKED |= {"q": MASK, "flags": MASK.astype("f4"), "lefts": ~MASK, "ends": L[:, None].astype("f8")}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(ASKED))
def test_what_may_say_it_is_asked_about_and_the_way_out_works(tmp_path, name, kind):
    path, found = tmp_path / f"v.{kind}", ASKED[name]
    more = {name: found, **WITH.get(name, {})}
    WRITERS[kind](path, features=X, ids=IDS, **more)
    with pytest.raises(FormatError) as caught:
        read(path)
    said = str(caught.value)
    assert f"{name}'" in said and re.search("leave (it|both) out of this file", said)
    stored = ("lengths", L) if "as 'lengths'" in said else ("mask", MASK)
    assert re.search(rf"store (it|x != -?\d|numpy\.diff\(x\)|a) (as )?'{stored[0]}'", said)
    WRITERS[kind](path, features=X, ids=IDS, **dict([stored]))
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    # Where all that it leaves out is zeros, it makes no difference.
    if (found == 0).sum() == 1 and name != "starts" or name in ("padded", "start"):
        return
    WRITERS[kind](path, features=X * MASK[..., None], ids=IDS, **{name: found})
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("called", ["visual_output", "features", "clip"])
@pytest.mark.parametrize(
    ("name", "x"),
    [("video_mask", MASK[..., None]), ("mask", MASK), ("pad_mask", ~MASK), ("lengths", L[:, None])],
)
def test_masks_and_lengths_of_floats_are_no_embeddings(tmp_path, kind, called, name, x):
    path = tmp_path / f"v.{kind}"
    WRITERS[kind](path, **{called: X, name: x.astype("f4")}, ids=IDS)
    np.testing.assert_allclose(read_embeddings(path, pool="mean").vectors, EXPECTED, rtol=1e-5)


SHARES = {
    "frame_ratio": L / F, "pad_ratio": 1 - L / F, "video_len": (L / F).astype("f4"),
    "valid_frac": (L / F)[:, None], "frame_percent": 100 * L / F,
    "padding": (1 - L / F).astype("f2"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("kind", WRITERS)
def test_shares_of_the_frames_are_asked_about_and_the_way_out_works(tmp_path, name, kind):
    path, x = tmp_path / f"v.{kind}", SHARES[name]
    WRITERS[kind](path, features=X, ids=IDS, **{name: x})
    with pytest.raises(FormatError, match=f"{name}': its 6 numbers .* which share") as caught:
        read_embeddings(path, pool="mean")
    ways = re.search(r"store (numpy.*) as 'lengths', or (numpy.*) where it is", str(caught.value))
    way = ways[1 + name.startswith("pad")]
    lengths = eval(way, {"numpy": np, "x": x})
    WRITERS[kind](path, features=X, ids=IDS, lengths=lengths)
    np.testing.assert_allclose(read_embeddings(path, pool="mean").vectors, EXPECTED, rtol=1e-5)
    blank = np.where(MASK[..., None], X, 0)
    for cube, numbers in ((blank, x), (X, np.linspace(0.11, 0.93, N))):
        WRITERS[kind](path, features=cube, ids=IDS, **{name: numbers})
        assert len(read_embeddings(path, pool="mean")) == N


def test_other_numbers_beside_frames_are_left_alone(tmp_path):
    every = np.array([units(x).mean(axis=0) for x in X])
    others = {
        "duration": L - 1, "labels": L, "group_id": L, "gid": L, "timestamp": L, "y": L,
        "year": L + 2000, "row": np.arange(1, N + 1), "zzz": np.arange(N), "flag": L % 2,
        "is_key": MASK, "events": (L[:, None] + np.arange(F)) % 3 == 0, "half": L / 2,
        "num_captions": L, "video_len": L + 0.5, "scores": MASK,
        "my_count": np.full(N, F), "any_mask": np.ones((N, F), bool),
        "some_lens": L * 100, "class": L, "start": F - L, "pad": np.full(N, 224),
        "confidence": np.where(MASK, 0.5, 0.25), "starts": np.arange(N + 1), "offsets": L,
        "frame_idx": np.tile(np.arange(F), (N, 1)), "diff": np.tile(np.arange(F)[::-1], (N, 1)),
        "weights": np.full((N, F), 0.2), "segments": np.arange(N * F).reshape(N, F) % 3,
    }  # fmt: skip
    for name, found in others.items():
        npz(tmp_path / "v.npz", features=X, ids=IDS, **{name: found})
        assert np.allclose(read(tmp_path / "v.npz"), every, atol=1e-6), name


def test_numbers_called_otherwise_that_end_in_padding_are_warned_of(tmp_path, recwarn):
    every = np.array([units(x).mean(axis=0) for x in X])
    ends = {"timestamps": np.where(MASK, np.arange(F) * 2, 0),
            "scores": np.where(MASK, 0.7, 0), "segment_ids": MASK.astype("i8"),
            "is_frame": MASK}  # fmt: skip
    for name, found in ends.items():
        npz(tmp_path / "v.npz", features=X, ids=IDS, **{name: found})
        with pytest.warns(RerankWarning, match=f"{name}.*may say which .* as 'mask'"):
            assert np.allclose(read(tmp_path / "v.npz"), every, atol=1e-6), name
        npz(tmp_path / "v.npz", features=X * MASK[..., None], ids=IDS, **{name: found})
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)
    assert not recwarn


BLANK = {
    **{name: np.where(MASK, np.arange(F), -1) for name in
       ("frame_idx", "frame_ids", "indices", "idx", "positions", "timestamps", "labels", "zzz")},
    "times": np.where(MASK, np.arange(F) / 2, np.nan), "scores": np.where(MASK, 0.5, np.nan),
    "frame_names": np.where(MASK, "f.jpg", "<pad>"), "words": np.where(MASK, "a", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["npz", "h5", "pt"])
@pytest.mark.parametrize("name", list(BLANK))
def test_what_stands_for_nothing_is_asked_about_whatever_it_is_called(tmp_path, name, kind):
    path, found = tmp_path / f"v.{kind}", BLANK[name]
    if found.dtype.kind == "U":
        if kind == "pt":
            return  # which has no arrays of text
        found = found.astype("S") if kind == "h5" else found
    WRITERS[kind](path, features=X, ids=IDS, **{name: found})
    with pytest.raises(FormatError, match=f"{name}'.*are padding; if they do, store .* 'mask'"):
        read(path)
    WRITERS[kind](path, features=X, ids=IDS, **{name: found}, mask=MASK)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    every = np.array([units(x).mean(axis=0) for x in X])
    for alike in (found[:1].repeat(N, 0), found[[1]].repeat(N, 0), found[:, ::-1].copy()):
        WRITERS[kind](path, features=X, ids=IDS, **{name: alike})
        if name != "zzz":
            assert np.allclose(read(path), every, atol=1e-6)


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("name", ["frame_idx", "timestamps", "times"])
def test_what_stands_for_nothing_beside_each_item_is_asked_about(tmp_path, name, kind):
    path = tmp_path / f"v.{kind}"
    arrays = {f"{item}/features": x for item, x in zip(IDS, X, strict=True)}
    told = {f"{item}/{name}": row for item, row in zip(IDS, BLANK[name], strict=True)}
    WRITERS[kind](path, **arrays, **told)
    with pytest.raises(FormatError, match=f"{name}'.*may say which of the frames count"):
        read_embeddings(path, pool="mean", dataset="features")
    whole = {key: np.arange(F) for key in told}
    WRITERS[kind](path, **arrays, **whole)
    every = np.array([units(x).mean(axis=0) for x in X])
    found = read_embeddings(path, pool="mean", dataset="features")
    assert np.allclose(found.vectors, every, atol=1e-6)


def test_padding_that_comes_first_is_none_of_the_last_frames(tmp_path):
    first = np.array([np.roll(x * m[:, None], F - m.sum(), 0)
                      for x, m in zip(X, MASK, strict=True)])  # fmt: skip
    for name in ("pad", "num_pad"):
        npz(tmp_path / "v.npz", features=first, ids=IDS, **{name: F - L})
        assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)


def test_of_two_sides_each_has_its_own(tmp_path):
    texts = np.ones((N, 7, D), "f4")
    npz(tmp_path / "v.npz", video_features=X, video_mask=MASK, text_features=texts, ids=IDS,
        text_mask=np.ones((N, 7)).astype("i1"))  # fmt: skip
    for name, expected in (("video_features", EXPECTED), ("text_features", units(texts)[:, 0])):
        found = read_embeddings(tmp_path / "v.npz", dataset=name, pool="mean").vectors
        assert np.allclose(found, expected, atol=1e-6)


ONE = {
    "mask": MASK, "mask of numbers": MASK.astype("f4"), "length": L, "n_frames": L[:, None],
    "padding_mask": ~MASK, "valid": MASK.astype(int), "pad": F - L, "n_pad": (F - L)[:, None],
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


KEPT = {
    "group": "{item}/features {item}/{name}",
    "kind": "features/{item} {name}/{item}",
    "behind": "{item} {item}_{name}",
    "before": "{item} {name}_{item}",
}


def one_by_one(kind, path, layout, name, values, frames=X):
    arrays = {}
    for item, x, value in zip(IDS, frames, values, strict=True):
        places = KEPT[layout].format(item=item, name=name).split()
        arrays |= dict(zip(places, (x, value), strict=True))
    if kind == "pt":
        tree = {}
        for place, array in arrays.items():
            head, _, leaf = place.rpartition("/")
            value = array.item() if np.ndim(array) == 0 else torch.tensor(array)
            (tree.setdefault(head, {}) if head else tree)[leaf] = value
        torch.save(tree, path)
    elif kind == "safetensors":
        save_file({place: np.array(array) for place, array in arrays.items()}, path)
    else:
        WRITERS[kind](path, **arrays)


def pooled(path, layout):
    found = read_embeddings(path, pool="mean", dataset="features" if layout == "kind" else None)
    assert found.ids == tuple(IDS)
    return found.vectors


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("layout", list(KEPT))
@pytest.mark.parametrize("name", ["mask", "length", "padding_mask"])
def test_what_lies_beside_an_item_counts_wherever_it_lies(tmp_path, name, layout, kind):
    if kind == "pt" and name == "length" and layout in ("behind", "before"):
        return  # a number at the top of a file of torch.save belongs to no item
    path = tmp_path / f"v.{kind}"
    one_by_one(kind, path, layout, name, {"mask": MASK, "length": L, "padding_mask": ~MASK}[name])
    assert np.allclose(pooled(path, layout), EXPECTED, atol=1e-6)


OF_FRAMES = {"q": MASK, "lefts": ~MASK, "present": MASK, "weights": MASK / L[:, None],
             "w": MASK.astype("f4")}  # fmt: skip


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("layout", list(KEPT))
@pytest.mark.parametrize(
    "name", ["end", "T", "zzz", "valid_frames", "q", "lefts", "present", "weights", "w", "missing"]
)
def test_what_may_say_it_of_items_is_asked_about(tmp_path, name, layout, kind):
    if kind == "pt" and layout in ("behind", "before") and name not in OF_FRAMES:
        return
    if layout in ("behind", "before") and name in ("w", "weights"):
        return  # decimals are vectors there, and refused beside frames
    path = tmp_path / f"v.{kind}"
    values = OF_FRAMES.get(name, F - L if name == "missing" else L)
    one_by_one(kind, path, layout, name, values)
    asked = "may say (how many|which) of the frames (do not )?count"
    with pytest.raises(FormatError, match=asked) as caught:
        pooled(path, layout)
    called = "length" if "'length'" in str(caught.value) else "mask"
    one_by_one(kind, path, layout, called, {"length": L, "mask": MASK}[called])
    assert np.allclose(pooled(path, layout), EXPECTED, atol=1e-6)
    # Where all that it leaves out is zeros, it makes no difference.
    one_by_one(kind, path, layout, name, values, X * MASK[..., None])
    assert np.allclose(pooled(path, layout), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("layout", list(KEPT))
def test_other_numbers_of_items_are_left_alone(tmp_path, layout, kind):
    every = np.array([units(x).mean(axis=0) for x in X])
    others = {"label": L, "gid": L, "year": L + 2000, "zzz": np.arange(N), "row": L, "on": L % 2,
              "is_key": MASK, "shots": L}  # fmt: skip
    for name, values in others.items():
        if name == "is_key" and kind != "npz":
            continue  # booleans are taken for a list of ids elsewhere
        one_by_one(kind, tmp_path / f"v.{kind}", layout, name, values)
        assert np.allclose(pooled(tmp_path / f"v.{kind}", layout), every, atol=1e-6), name


def test_json_says_it_as_other_files_do(tmp_path):
    path = tmp_path / "v.json"
    for name, values in (("mask", MASK), ("lengths", L), ("pad_mask", ~MASK)):
        content = {"features": X.tolist(), "ids": IDS, name: values.tolist()}
        path.write_text(json.dumps(content))
        assert np.allclose(read(path), EXPECTED, atol=1e-6)
    every = zip(IDS, X.tolist(), L.tolist(), strict=True)
    path.write_text(json.dumps({item: {"f": x, "n": n} for item, x, n in every}))
    with pytest.raises(FormatError, match="may say how many of the frames count"):
        read(path)


def test_several_numbers_of_an_item_are_no_arrays(tmp_path):
    for kind in ("h5", "pt"):
        content = {
            item: {"features": torch.tensor(x), "label": 3, "year": 2001, "zzz": 0}
            for item, x in zip(IDS, X, strict=True)
        }
        if kind == "pt":
            torch.save(content, tmp_path / "v.pt")
        else:
            flat = {f"{item}/{k}": v for item, held in content.items() for k, v in held.items()}
            hdf5(tmp_path / "v.h5", **flat)
        every = np.array([units(x).mean(axis=0) for x in X])
        assert np.allclose(read(tmp_path / f"v.{kind}"), every, atol=1e-6)


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


def folder_of(path, frames=X, **arrays):
    path.mkdir()
    for name, array in {**dict(zip(IDS, frames, strict=True)), **arrays}.items():
        np.save(path / f"{name}.npy", array)
    return path


TABLES = {"lengths": L, "num_frames": L.astype("f4"), "mask": MASK, "masks": MASK.astype("f4"),
          "padding_mask": ~MASK, "n_pad": F - L, "pad": (F - L)[:, None]}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", *WRITERS])
@pytest.mark.parametrize("name", list(TABLES))
def test_one_array_says_which_frames_of_all_items_count(tmp_path, name, kind):
    path, arrays = tmp_path / f"v.{kind}", dict(zip(IDS, X, strict=True))
    frames = np.where(MASK[..., None], X, 7.0)  # which shows the order
    if kind == "folder":
        folder_of(path, frames, **{name: TABLES[name]})
    elif kind == "safetensors":
        save_file({key: np.array(x) for key, x in (arrays | {name: TABLES[name]}).items()}, path)
    else:
        WRITERS[kind](path, **arrays, **{name: TABLES[name]})
    found = read_embeddings(path, pool="mean")
    assert found.ids == tuple(IDS) and np.allclose(found.vectors, EXPECTED, atol=1e-6)
    # Of items with as many frames as count it says nothing new.
    if kind == "folder":
        cut = [x[:n] for x, n in zip(X, L, strict=True)]
        folder_of(tmp_path / "cut", cut, **{name: TABLES[name]})
        if "pad" not in name or name == "padding_mask":
            assert np.allclose(read(tmp_path / "cut"), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("name", ["lengths", "video_mask", "num_pad"])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_file_in_a_folder_says_which_frames_count(tmp_path, name, by_id):
    values = {"lengths": L, "video_mask": MASK, "num_pad": F - L}[name].tolist()
    path = folder_of(tmp_path / "v", X if by_id else np.where(MASK[..., None], X, 7.0))
    content = dict(zip(IDS, values, strict=True)) if by_id else values
    (path / f"{name}.json").write_text(json.dumps(content))
    (path / "meta.json").write_text("{}")
    (path / "valid.txt").write_text("v1\n")
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    if by_id:
        (path / f"{name}.json").write_text(json.dumps({"v0": values[0]}))
        with pytest.raises(FormatError, match="says nothing of 'v1'"):
            read(path)


def test_a_folder_of_masks_in_a_folder_of_frames(tmp_path):
    path = folder_of(tmp_path / "v")
    (path / "mask").mkdir()
    for item, mask in zip(IDS, MASK, strict=True):
        np.save(path / "mask" / f"{item}.npy", mask)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    (path / "mask" / "v3.npy").unlink()
    with pytest.raises(FormatError, match=r"mask: has no 'v3\.npy'"):
        read(path)


TYPES = {
    "u1": lambda mask: mask.astype("u1"),
    "i8": lambda mask: mask.astype("i8"),
    "f4": lambda mask: mask.astype("f4"),
    "column": lambda mask: mask.astype("f4")[:, :, None],
}


@pytest.mark.parametrize("kind", ["folder", *WRITERS])
@pytest.mark.parametrize("layout", ["behind", "before"])
@pytest.mark.parametrize("stored", list(TYPES))
@pytest.mark.parametrize("name", ["mask", "video_mask", "padding_mask"])
def test_numbers_called_like_an_item_and_more_are_its_mask(tmp_path, name, stored, layout, kind):
    values = TYPES[stored](~MASK if name == "padding_mask" else MASK)
    path = tmp_path / f"v.{kind}"
    if kind == "folder":
        places = [KEPT[layout].format(item=item, name=name).split()[1] for item in IDS]
        folder_of(path, **dict(zip(places, values, strict=True)))
    else:
        one_by_one(kind, path, layout, name, values)
    assert np.allclose(pooled(path, layout), EXPECTED, atol=1e-6)


def test_a_mask_of_an_item_that_does_not_fit_is_named(tmp_path):
    for stored in ("i8", "f4", "?"):
        path = tmp_path / stored
        folder_of(path, **{f"{item}_mask": np.ones(F + 3, stored) for item in IDS})
        with pytest.raises(FormatError, match=r"v0_mask\.npy: is 8 .*expected a mask \(1, 5\)"):
            read(path)


def test_a_few_matrices_with_lists_of_their_own_are_no_items(tmp_path):
    """Of a file, that is; in a folder every array is a file of its own."""
    few = dict(zip(IDS[:2], X, strict=False))
    masks = {f"{item}_mask": mask.astype("i8") for item, mask in zip(few, MASK, strict=False)}
    np.savez(tmp_path / "v.npz", **few, **masks)
    with pytest.raises(FormatError, match="could all be the embeddings"):
        read_embeddings(tmp_path / "v.npz", pool="mean")
    (tmp_path / "v").mkdir()
    for name, array in {**few, **masks}.items():
        np.save(tmp_path / "v" / f"{name}.npy", array)
    found = read_embeddings(tmp_path / "v", pool="mean")
    assert found.ids == tuple(few) and np.allclose(found.vectors, EXPECTED[:2], atol=1e-6)


@pytest.mark.parametrize("name", ["lengths.tsv", "mask.npz", "num_frames.txt"])
def test_a_file_of_another_kind_is_asked_about_and_the_way_out_works(tmp_path, name):
    path = folder_of(tmp_path / "v")
    (path / name).write_text("v0 3")
    stem = name.partition(".")[0]
    with pytest.raises(FormatError, match=rf"{name}: .* store it there as {stem}\.json") as caught:
        read(path)
    assert "or move it away" in str(caught.value)
    (path / name).unlink()
    values = MASK if stem == "mask" else L
    (path / f"{stem}.json").write_text(json.dumps(dict(zip(IDS, values.tolist(), strict=True))))
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    # Vectors have no frames.
    other = folder_of(tmp_path / "w", X[:, 0])
    (other / name).write_text("v0 3")
    assert read_embeddings(other).vectors.shape == (N, D)


def test_the_order_of_names_is_not_guessed(tmp_path):
    path = tmp_path / "v"
    path.mkdir()
    for item, x in zip(("v1", "v10", "v2", "v3", "v4", "v5"), X, strict=True):
        np.save(path / f"{item}.npy", x)
    np.save(path / "lengths.npy", L)
    with pytest.raises(FormatError, match="in their order, which may be .* store it by id"):
        read(path)
    np.savez(tmp_path / "v.npz", **{f"v{10 - i}": x for i, x in enumerate(X)}, lengths=L)
    assert np.allclose(read(tmp_path / "v.npz"), EXPECTED, atol=1e-6)


def _saved_by_place(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        path.write_text(json.dumps(values.tolist()))


@pytest.mark.parametrize("name", ["lengths.npy", "mask.npy", "num_frames.npy", "lengths.json",
                                  "n_pad.npy", "padding_mask.npy"])  # fmt: skip
def test_lengths_without_ids_in_a_folder_are_refused_and_the_ways_out_work(tmp_path, name):
    path, stem = folder_of(tmp_path / "v"), name.partition(".")[0]
    values = TABLES[stem]
    _saved_by_place(path / name, values)
    with pytest.raises(FormatError, match=rf"{name}: has no ids, .* names .*'v0', 'v1', 'v2'") as e:
        read(path)
    recipe = str(e.value).partition("if that is its order: ")[2]
    lines = re.search(r"in (\w+\.csv);", str(e.value))
    word = re.search(r"a dictionary (\w+\.json)", str(e.value))[1]
    subprocess.run(recipe, shell=True, check=True)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    by_id = {item: values[at].tolist() for at, item in enumerate(IDS)}
    (path / word).write_text(json.dumps(by_id))
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    (path / word).unlink()
    assert (lines is None) is ("mask" in stem)
    for header in ("", "id,length\n") if lines else ():
        rows = "".join(f"{item},{n}\n" for item, n in reversed(by_id.items()))
        (path / lines[1]).write_text(header + rows)
        assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("name", ["lengths.npy", "mask.npy", "lengths.json", "n_pad.npy"])
@pytest.mark.parametrize("padding", ["zeros", "one", "last"])
def test_padding_shows_the_order_of_lengths_without_ids(tmp_path, name, padding, recwarn):
    frames = np.array(X)
    for item, n in zip(frames, L, strict=True):
        item[n:] = {"zeros": 0.0, "one": 7.0, "last": item[n - 1]}[padding]
    if padding == "last":
        frames[1] = X[1]  # of one frame nothing is known
        frames[1, 1:] = 0.0
    path, values = folder_of(tmp_path / "v", frames), TABLES[name.partition(".")[0]]
    _saved_by_place(path / name, values)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    assert not recwarn
    _saved_by_place(path / name, values[[3, 2, 0, 5, 1, 4]])
    with pytest.raises(FormatError, match=f"{name}: has no ids, and nothing shows"):
        read(path)


def test_lengths_of_which_any_order_says_the_same_are_read(tmp_path, recwarn):
    path = folder_of(tmp_path / "v")
    np.save(path / "lengths.npy", np.full(N, 3))
    assert np.allclose(read(path), [units(x[:3]).mean(axis=0) for x in X], atol=1e-6)
    assert not recwarn


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_the_order_of_names_that_a_file_is_read_in_is_said(tmp_path, kind):
    path, arrays = tmp_path / f"v.{kind}", dict(zip(IDS, X, strict=True)) | {"lengths": L}
    save_file(arrays, path) if kind == "safetensors" else hdf5(path, **arrays)
    with pytest.warns(RerankWarning, match="lengths.* has no ids, .* names .*'v0', 'v1', 'v2'"):
        assert np.allclose(read(path), EXPECTED, atol=1e-6)
    arrays |= {f"{item}_length": np.array([n]) for item, n in zip(IDS, L, strict=True)}
    del arrays["lengths"]
    save_file(arrays, path) if kind == "safetensors" else hdf5(path, **arrays)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [("v0,3\nv1,x\n", "holds 'x'"), ("v0,3\nv0,3\n", "each id once"), ("v0,3\n", "nothing of 'v1'"),
     ("v0,3,4\n", "is not an id and its number")],
)  # fmt: skip
def test_lines_of_ids_and_lengths_that_are_none_are_refused(tmp_path, text, said):
    path = folder_of(tmp_path / "v")
    (path / "lengths.csv").write_text(text)
    with pytest.raises(FormatError, match=said):
        read(path)


def test_truth_values_of_all_items_are_asked_about(tmp_path):
    path = folder_of(tmp_path / "v", zzz=MASK)
    with pytest.raises(FormatError, match=r"zzz.npy: .* call it 'mask'"):
        read(path)
    path = folder_of(tmp_path / "w", zzz=np.tile(np.arange(F) % 2 == 0, (N, 1)))
    assert len(read(path)) == N


FLAT, ENDS = X[MASK], np.concatenate([[0], np.cumsum(L)])
DIVIDED = {"offsets": ENDS, "indptr": ENDS.astype("i4"), "cu_seqlens": ENDS, "lengths": L,
           "num_frames": L.astype("f4"), "starts": ENDS[:-1], "frame_ends": ENDS[1:]}  # fmt: skip


@pytest.mark.parametrize("kind", [*WRITERS, "json"])
@pytest.mark.parametrize("name", list(DIVIDED))
def test_frames_one_after_the_other_are_divided_by_what_stands_beside_them(tmp_path, name, kind):
    path = tmp_path / f"v.{kind}"
    for frames in ("frames", "features"):
        arrays = {frames: FLAT, "ids": IDS, name: DIVIDED[name]}
        if kind == "json":
            plain = {k: v if isinstance(v, list) else v.tolist() for k, v in arrays.items()}
            path.write_text(json.dumps(plain))
        else:
            WRITERS[kind](path, **arrays)
        found = read_embeddings(path, pool="mean")
        assert found.ids == tuple(IDS) and np.allclose(found.vectors, EXPECTED, atol=1e-6)
        with pytest.raises(FormatError, match="rows are the frames of 6 items, .*how to combine"):
            read_embeddings(path)


def test_numbers_that_may_divide_frames_are_asked_about(tmp_path):
    path = tmp_path / "v.npz"
    npz(path, features=FLAT, ids=IDS, zzz=L)
    with pytest.raises(FormatError, match="'zzz': may say which .* store it as 'lengths'"):
        read(path)
    npz(path, features=FLAT, ids=IDS, lengths=L)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    npz(path, features=FLAT, offsets=ENDS)
    assert np.allclose(read_embeddings(path, pool="mean", ids=IDS).vectors, EXPECTED, atol=1e-6)
    # Without ids each row would count as an item.
    with pytest.raises(FormatError, match='give 6 ids; if every row is an item: ids="rows"'):
        read_embeddings(path, pool="mean", row_numbers=True, side="videos")
    assert len(read_embeddings(path, ids="rows")) == len(FLAT)
    # Captions of a video stand together as well.
    assert len(read_embeddings(path, row_numbers=True, side="texts")) == len(FLAT)


def test_rows_with_an_id_each_are_left_alone(tmp_path):
    each = [f"f{i}" for i in range(len(FLAT))]
    for name, values in {**DIVIDED, "zzz": L, "sizes": L, "n": L}.items():
        npz(tmp_path / "v.npz", features=FLAT, ids=each, **{name: values})
        assert np.array_equal(read_embeddings(tmp_path / "v.npz", pool="mean").vectors, FLAT), name
    # What does not fit divides nothing.
    for values in (ENDS + 1, ENDS[:-2], L[:-1]):
        npz(tmp_path / "v.npz", features=FLAT, ids=IDS, offsets=values)
        with pytest.raises(FormatError, match="6 ids for the 20 rows"):
            read(tmp_path / "v.npz")


def with_attributes(path, arrays, told):
    hdf5(path, **arrays)
    with h5py.File(path, "a") as f:
        for place, attributes in told.items():
            f[place].attrs.update(attributes)


TOLD = {name: SAID[name] for name in ("valid", "pad_mask", "video_lengths", "num_pad")}
TOLD |= {"lengths": L, "mask": MASK, "num_frames": L[:, None], "length": json.dumps(L.tolist())}


@pytest.mark.parametrize("place", ["clips/features", "clips", "/"])
@pytest.mark.parametrize("name", list(TOLD))
def test_attributes_say_which_frames_count_as_arrays_do(tmp_path, name, place):
    path, arrays = tmp_path / "v.h5", {"clips/features": X, "clips/ids": IDS}
    with_attributes(path, arrays, {place: {name: TOLD[name]}})
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


PLACES = {
    "own": ("{}", "{}"), "own of a group": ("test/{}", "test/{}"), "inside": ("{}/f", "{}/f"),
    "the group": ("{}/f", "{}"),
}  # fmt: skip


@pytest.mark.parametrize("layout", list(PLACES))
@pytest.mark.parametrize("name", ["num_frames", "length", "mask", "padding_mask", "num_pad"])
def test_attributes_of_an_item_say_which_of_its_frames_count(tmp_path, name, layout):
    array, place = PLACES[layout]
    values = {"mask": MASK, "padding_mask": ~MASK, "num_pad": F - L}.get(name, L)
    arrays = {array.format(item): x for item, x in zip(IDS, X, strict=True)}
    told = {place.format(item): {name: x} for item, x in zip(IDS, values, strict=True)}
    with_attributes(tmp_path / "v.h5", arrays, told)
    group = "test" if "test" in array else None
    found = read_embeddings(tmp_path / "v.h5", pool="mean", dataset=group)
    assert found.ids == tuple(IDS) and np.allclose(found.vectors, EXPECTED, atol=1e-6)


@pytest.mark.parametrize(("above", "place"), [("", "/"), ("test/", "test"), ("test/", "/")])
@pytest.mark.parametrize("name", ["lengths", "mask"])
def test_one_attribute_says_which_frames_of_all_items_count(tmp_path, name, above, place):
    arrays = {f"{above}{item}": x for item, x in zip(IDS, X, strict=True)}
    with_attributes(tmp_path / "v.h5", arrays, {place: {name: TOLD[name]}})
    found = read_embeddings(tmp_path / "v.h5", pool="mean", dataset=above or None)
    assert np.allclose(found.vectors, EXPECTED, atol=1e-6)


@pytest.mark.parametrize("kind", ["h5", "npz"])
@pytest.mark.parametrize("item", ["test/{}", "test/{}/features"])
@pytest.mark.parametrize("name", ["lengths", "mask"])
def test_an_array_in_the_group_of_all_items_says_which_frames_count(tmp_path, name, item, kind):
    arrays = {item.format(each): x for each, x in zip(IDS, X, strict=True)}
    WRITERS[kind](tmp_path / f"v.{kind}", **arrays, **{f"test/{name}": TOLD[name]})
    found = read_embeddings(tmp_path / f"v.{kind}", pool="mean", dataset="test")
    assert found.ids == tuple(IDS) and np.allclose(found.vectors, EXPECTED, atol=1e-6)


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("name", ["end", "T", "zzz", "valid_frames"])
def test_attributes_that_may_say_it_are_asked_about_and_the_way_out_works(tmp_path, name, one):
    path = tmp_path / "v.h5"
    cube = {"features": X, "ids": IDS}
    arrays = cube if one else dict(zip(IDS, X, strict=True))

    def kept(called):
        each = {item: {called: x} for item, x in zip(IDS, L, strict=True)}
        with_attributes(path, arrays, {"features": {called: L}} if one else each)
        return read(path)

    with pytest.raises(FormatError, match=f"attribute '{name}': its .*may say how many") as caught:
        kept(name)
    called = re.search("'(lengths?)'", str(caught.value))[1]
    assert np.allclose(kept(called), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("one", [True, False])
def test_attributes_that_say_nothing_of_these_frames_are_left_alone(tmp_path, one):
    every = np.array([units(x).mean(axis=0) for x in X])
    # Of the whole videos, of all items alike, in seconds, of something else.
    others = {"num_frames": L + 300, "length": L + 0.5, "label": L, "fps": L, "lengths": L + F,
              "zzz": np.arange(N)}  # fmt: skip
    path = tmp_path / "v.h5"
    for name, values in others.items():
        for place in ("own", "/"):
            each = {item: {name: x} for item, x in zip(IDS, values, strict=True)}
            own = {"features": {name: values}} if one else each
            arrays = {"features": X, "ids": IDS} if one else dict(zip(IDS, X, strict=True))
            with_attributes(path, arrays, own if place == "own" else {"/": {name: 3}})
            assert np.allclose(read(path), every, atol=1e-6), (name, place)


def test_what_was_cut_to_the_frames_that_are_kept_is_asked_about_unless_padding_is_zeros(tmp_path):
    whole = np.where(L == F, 300, L)
    for frames, fine in ((X, False), (X * MASK[..., None], True)):
        for one in (True, False):
            each = {item: {"num_frames": x} for item, x in zip(IDS, whole, strict=True)}
            arrays = dict(zip(IDS, frames, strict=True))
            arrays = {"features": frames, "ids": IDS} if one else arrays
            told = {"features": {"num_frames": whole}} if one else each
            with_attributes(tmp_path / "v.h5", arrays, told)
            if fine:
                assert np.allclose(read(tmp_path / "v.h5"), EXPECTED, atol=1e-6)
            else:
                with pytest.raises(FormatError, match="says 300 frames, expected 1 to 5"):
                    read(tmp_path / "v.h5")


@pytest.mark.parametrize("name", ["lengths", "offsets"])
def test_attributes_divide_frames_one_after_the_other(tmp_path, name):
    rows = np.concatenate([x[m] for x, m in zip(X, MASK, strict=True)])
    ends = {"lengths": L, "offsets": np.concatenate([[0], np.cumsum(L)])}
    with_attributes(
        tmp_path / "v.h5", {"features": rows, "ids": IDS}, {"features": {name: ends[name]}}
    )
    assert np.allclose(read(tmp_path / "v.h5"), EXPECTED, atol=1e-6)


def test_metadata_says_which_frames_count(tmp_path):
    told = {"ids": json.dumps(IDS), "lengths": json.dumps(L.tolist())}
    save_file({"features": X}, tmp_path / "v.safetensors", metadata=told)
    assert np.allclose(read(tmp_path / "v.safetensors"), EXPECTED, atol=1e-6)
    del told["ids"]
    save_file(dict(zip(IDS, X, strict=True)), tmp_path / "v.safetensors", metadata=told)
    assert np.allclose(read(tmp_path / "v.safetensors"), EXPECTED, atol=1e-6)


# --------------------------------------------------------- files beside one file of all frames

BESIDE = {
    "v_mask.npy": MASK, "v_lengths.npy": L, "v.mask.npy": MASK.astype("u1"), "v-mask.npy": MASK,
    "v.lengths.npy": L, "v_frame_mask.npy": MASK, "mask_v.npy": MASK, "v_num_pad.npy": F - L,
    "v_lengths.npz": L, "v_mask.npz": MASK, "v.npy.lengths.npy": L, "v_lengths.json": L,
    "v_mask.json": MASK.astype(int), "v_lengths.txt": L, "v_mask.h5": MASK, "v_lens.pt": L,
}  # fmt: skip


def _save_beside(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".json":
        path.write_text(json.dumps(np.asarray(values).tolist()))
    elif path.suffix == ".txt":
        path.write_text("\n".join(map(str, values)))
    else:
        WRITERS[path.suffix[1:]](path, arr_0=np.asarray(values))


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "pt", "safetensors"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_mask_in_a_file_called_like_the_frames_is_taken(tmp_path, kind, name):
    path = tmp_path / f"v.{kind}"
    if kind == "npy":
        np.save(path, X)
        (tmp_path / "v.ids.txt").write_text("\n".join(IDS))
    else:
        WRITERS[kind](path, features=X, ids=IDS)
    _save_beside(tmp_path / re.sub(r"^v\.npy", path.name, name), BESIDE[name])
    assert np.allclose(read(path), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("name", ["mask.npy", "lengths.npy", "num_frames.npy", "video_mask.npy"])
def test_a_mask_in_a_file_of_no_frames_by_its_name_is_asked_about(tmp_path, name):
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "v.ids.txt").write_text("\n".join(IDS))
    np.save(tmp_path / name, MASK if "mask" in name else L)
    with pytest.raises(FormatError, match="may say which of the frames in .* call it v_") as caught:
        read(tmp_path / "v.npy")
    way = re.search(r"call it (\S+?);", str(caught.value))[1]
    (tmp_path / name).rename(tmp_path / way)
    assert np.allclose(read(tmp_path / "v.npy"), EXPECTED, atol=1e-6)


def test_a_mask_beside_features_of_that_side_is_taken(tmp_path):
    np.save(tmp_path / "video_features.npy", X)
    (tmp_path / "video_features.ids.txt").write_text("\n".join(IDS))
    np.save(tmp_path / "video_mask.npy", MASK)
    assert np.allclose(read(tmp_path / "video_features.npy"), EXPECTED, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [("v_mask.npy", "expected a mask"), ("v_mask.npz", "store one array there, or move it away"),
     ("v_lengths.json", "store it as v_lengths.npy, or move it away"),
     ("v_lengths.txt", "store it as v_lengths.npy, or move it away"),
     ("v_lengths.csv", "store it as v_lengths.npy, or move it away")],
)  # fmt: skip
def test_a_mask_beside_frames_that_is_not_read_is_said(tmp_path, name, said):
    np.savez(tmp_path / "v.npz", features=X, ids=IDS)
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, MASK[:4])
    elif path.suffix == ".npz":
        np.savez(path, a=MASK, b=MASK)
    else:
        path.write_text("{}" if path.suffix == ".json" else "short\nlong")
    with pytest.raises(FormatError, match=said):
        read(tmp_path / "v.npz")


def test_other_files_beside_frames_change_nothing(tmp_path):
    every = np.array([units(x).mean(axis=0) for x in X])
    np.savez(tmp_path / "v.npz", features=X, ids=IDS)
    others = {
        "w_mask.npy": MASK, "v_test_mask.npy": MASK, "v_text_mask.npy": MASK, "v_scores.npy": L,
        "mask.npy": np.ones((N, F)), "lengths.npy": L * 10, "v_valid.npy": X, "vmask.npy": MASK,
        "v_pad.npy": np.zeros((3, 4, 5)),
    }  # fmt: skip
    for name, values in others.items():
        np.save(tmp_path / name, values)
        found = read_embeddings(tmp_path / "v.npz", pool="mean", side="videos").vectors
        assert np.allclose(found, every, atol=1e-6), name
        (tmp_path / name).unlink()
    # Nor do they say anything of vectors.
    np.savez(tmp_path / "v.npz", features=X[:, 0], ids=IDS)
    np.save(tmp_path / "v_mask.npy", MASK)
    np.testing.assert_array_equal(read(tmp_path / "v.npz"), X[:, 0])


@pytest.mark.parametrize("kind", ["npz", "h5", "pt", "safetensors"])
@pytest.mark.parametrize("name", ["v_lengths.json", "v.mask.json", "v_lengths.csv"])
def test_a_file_called_like_a_file_of_items_says_which_frames_count(tmp_path, kind, name):
    path, arrays = tmp_path / f"v.{kind}", dict(zip(IDS, X, strict=True))
    save_file(arrays, path) if kind == "safetensors" else WRITERS[kind](path, **arrays)
    by_id = dict(zip(IDS, (MASK if "mask" in name else L).tolist(), strict=True))
    if name.endswith("csv"):
        text = "".join(f"{item},{n}\n" for item, n in by_id.items())
    else:
        text = json.dumps(by_id)
    (tmp_path / name).write_text(text)
    assert np.allclose(read(path), EXPECTED, atol=1e-6)
    (tmp_path / name).unlink()
    (tmp_path / "v_lengths.json").write_text(json.dumps(L.tolist()))
    with pytest.raises(FormatError, match=r"store it there as v_lengths.json, a dictionary"):
        read(path)
    (tmp_path / "v_lengths.json").unlink()
    np.save(tmp_path / "v_mask.npy", MASK)
    with pytest.raises(FormatError, match=r"store it there as v_mask.json, a dictionary"):
        read(path)
