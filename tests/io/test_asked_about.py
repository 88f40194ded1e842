"""What could be meant in two ways is asked about, with a way out that works as printed."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_scores

X = np.random.default_rng(0).normal(size=(4, 5)).astype("f4")
V = [f"v{i}" for i in range(4)]


def h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value


def save(path, arrays):
    h5(path, arrays) if path.suffix == ".h5" else np.savez(path, **arrays)


def printed(error, option="dataset"):
    return re.search(f"{option}='([^']+)'", str(error)).group(1)


@pytest.mark.parametrize("ending", ["npz", "h5"])
@pytest.mark.parametrize("names", ["train test", "image text", "a b c"])
def test_two_matrices_without_ids_are_not_two_items(tmp_path, ending, names):
    path = tmp_path / f"v.{ending}"
    save(path, {name: X + i for i, name in enumerate(names.split())})
    with pytest.raises(FormatError, match="holds the matrices .*if each is the frames") as caught:
        read_embeddings(path)
    found = read_embeddings(path, dataset=printed(caught.value), row_numbers=True)
    assert found.vectors.shape == X.shape


@pytest.mark.parametrize("ending", ["npz", "h5"])
@pytest.mark.parametrize("streams", ["rgb flow", "image text", "audio video ocr"])
@pytest.mark.parametrize("mark", ["_", ".", "-"])
def test_streams_in_the_names_of_arrays_are_not_merged(tmp_path, ending, streams, mark):
    path = tmp_path / f"v.{ending}"
    arrays = {f"{v}{mark}{s}": x for v, x in zip(V, X, strict=True) for s in streams.split()}
    save(path, arrays)
    with pytest.raises(FormatError, match="of every item") as caught:
        read_embeddings(path)
    assert len(read_embeddings(path, dataset=printed(caught.value))) == len(arrays)
    # Names that only look so.
    save(path, {f"clip{mark}{i}": x for i, x in enumerate(X)})
    assert len(read_embeddings(path)) == 4


PLACED = ("{stream}{mark}{item}", "{item}{mark}{stream}", "{item}{mark}{stream}_feat")
HOLDERS = ("npz", "h5", "pt", "safetensors", "json", "folder")


def save_all(path, arrays):
    """Arrays by name in any kind of file, or in a folder."""
    if path.suffix == ".json":
        path.write_text(json.dumps({name: x.tolist() for name, x in arrays.items()}))
    elif path.suffix == ".pt":
        torch.save({name: torch.from_numpy(x.copy()) for name, x in arrays.items()}, path)
    elif path.suffix == ".safetensors":
        save_file({name: x.copy() for name, x in arrays.items()}, path)
    elif path.suffix == ".folder":
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name, x in arrays.items():
            np.save(path / f"{name}.npy", x)
    else:
        save(path, arrays)
    return path


@pytest.mark.parametrize("ending", HOLDERS)
@pytest.mark.parametrize("streams", ["rgb flow", "clip audio", "i3d vggish clip"])
@pytest.mark.parametrize("mark", ["_", "."])
@pytest.mark.parametrize("placed", PLACED)
def test_streams_before_or_behind_the_item_are_not_merged(tmp_path, ending, streams, mark, placed):
    path = tmp_path / f"v.{ending}"
    arrays = {
        placed.format(item=v, mark=mark, stream=s): x
        for s in streams.split() for v, x in zip(V, X, strict=True)
    }  # fmt: skip
    with pytest.raises(FormatError, match="of every item") as caught:
        read_embeddings(save_all(path, arrays))
    assert len(read_embeddings(path, dataset=printed(caught.value))) == len(arrays)
    one = {v: arrays[placed.format(item=v, mark=mark, stream=streams.split()[0])] for v in V}
    assert read_embeddings(save_all(path, one)).ids == tuple(V)
    # Of one stream, or where one lacks one, these are names like others.
    for some in (dict(list(arrays.items())[:4]), dict(list(arrays.items())[:-1])):
        assert len(read_embeddings(save_all(path, some))) == len(some)


@pytest.mark.parametrize("ending", HOLDERS)
@pytest.mark.parametrize(
    "names", [("{}", "{}_text"), ("{}", "audio_{}"), ("{}", "{}-rgb", "{}-i3d")]
)
def test_items_with_a_stream_of_each_beside_them_are_not_merged(tmp_path, ending, names):
    path = tmp_path / f"v.{ending}"
    arrays = {name.format(v): x for name in names for v, x in zip(V, X, strict=True)}
    with pytest.raises(FormatError, match="of every item beside the item itself") as caught:
        read_embeddings(save_all(path, arrays))
    assert len(read_embeddings(path, dataset=printed(caught.value))) == len(arrays)
    del arrays[names[1].format("v2")]
    assert len(read_embeddings(save_all(path, arrays))) == len(arrays)


@pytest.mark.parametrize("ending", HOLDERS)
@pytest.mark.parametrize("more", ["mean std", "mean", "feature_mean feature_std", "PAD"])
def test_what_is_made_of_all_items_is_no_item(tmp_path, ending, more):
    path = tmp_path / f"v.{ending}"
    codes = ["dQw4w9WgXcQ", "kJQP-kiwFwk", "JGwWNGJdvxx", "abcdefghijk"]
    for items in (V, [f"video{7000 + i}" for i in range(4)], codes):
        arrays = dict(zip([*items, *more.split()], [*X, *X], strict=False))
        if len(more.split()) * 2 >= len(arrays):
            continue
        with pytest.raises(FormatError, match="called unlike the 4 items beside") as caught:
            read_embeddings(save_all(path, arrays))
        assert f"'{more.split()[0]}'" in str(caught.value)
        assert len(read_embeddings(path, dataset=printed(caught.value))) == len(arrays)
        of_items = dict(zip(items, X, strict=True))
        assert sorted(read_embeddings(save_all(path, of_items)).ids) == sorted(items)
    # Words may be the names of items.
    words = dict(zip(["mean", "cat", "dog", "mode"], X, strict=True))
    assert len(read_embeddings(save_all(path, words))) == 4


def test_an_item_without_one_of_the_streams(tmp_path):
    arrays = {f"{v}/{s}": x for v, x in zip(V, X, strict=True) for s in ("rgb", "flow")}
    del arrays["v2/flow"]
    h5(tmp_path / "v.h5", arrays)
    with pytest.raises(FormatError, match="'v2' lacks 'flow'; name one that all have") as caught:
        read_embeddings(tmp_path / "v.h5")
    assert printed(caught.value) == "rgb"
    found = read_embeddings(tmp_path / "v.h5", dataset="rgb")
    assert found.ids == tuple(V)
    np.testing.assert_array_equal(found.vectors, X)


@pytest.mark.parametrize("ending", ["npz", "h5", "pt", "safetensors"])
@pytest.mark.parametrize("group", ["vectors", "msrvtt/test", "v"])
def test_the_group_of_all_items_is_no_part_of_their_names(tmp_path, ending, group):
    path = tmp_path / f"v.{ending}"
    arrays = {f"{group}/{v}/{s}": x for v, x in zip(V, X, strict=True) for s in ("values", "more")}
    found = read_embeddings(save_all(path, arrays), dataset="values")
    assert found.ids == tuple(V)
    np.testing.assert_array_equal(found.vectors, X)
    # Of several groups it is one.
    arrays |= {f"other/{v}/values": x for v, x in zip(V, X, strict=True)}
    if group != "msrvtt/test":
        found = read_embeddings(save_all(path, arrays), dataset="values")
        assert sorted(found.ids) == sorted([f"{x}/{v}" for x in (group, "other") for v in V])


def test_what_a_vector_database_answers_is_read_as_printed(tmp_path):
    vectors = {
        v: {"id": v, "values": x.tolist(), "metadata": {"g": 1}} for v, x in zip(V, X, strict=True)
    }
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"vectors": vectors, "namespace": ""}))
    for dataset in (None, "vectors", "values"):
        found = read_embeddings(path, dataset=dataset)
        assert found.ids == tuple(V)
        np.testing.assert_allclose(found.vectors, X, rtol=1e-6)


@pytest.mark.parametrize("ending", ["npz", "h5"])
@pytest.mark.parametrize("width", [4, 9])
def test_names_filled_up_with_blanks_to_one_width(tmp_path, ending, width):
    path = tmp_path / f"v.{ending}"
    save(path, {"features": X, "ids": np.array([v.ljust(width).encode() for v in V])})
    assert read_embeddings(path).ids == tuple(V)
    # Of several lengths they are what they are.
    save(path, {"features": X, "ids": np.array([b"a ", b"b", b"c   ", b"d"])})
    assert read_embeddings(path).ids == ("a ", "b", "c   ", "d")


@pytest.mark.parametrize("content", [{"video_ids": V}, {"ids": V, "made": "today"}, V])
def test_a_list_of_ids_in_an_object(tmp_path, content):
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "v.ids.json").write_text(json.dumps(content))
    assert read_embeddings(tmp_path / "v.npy").ids == tuple(V)


def test_empty_lines_at_the_end_of_a_list_are_no_ids(tmp_path):
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "v.ids.txt").write_text("\n".join(V) + "\n\n \n")
    assert read_embeddings(tmp_path / "v.npy").ids == tuple(V)
    (tmp_path / "v.ids.txt").write_text("v0\n\nv2\nv3\n")
    with pytest.raises(FormatError, match="the id in row 1 is empty"):
        read_embeddings(tmp_path / "v.npy")


def test_a_mask_of_another_length_is_not_passed_over(tmp_path):
    np.savez(tmp_path / "s.npz", sims=X, query_mask=[1, 0, 1])
    with pytest.raises(FormatError, match="'query_mask': says of 3 queries .* 4 rows"):
        read_scores(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", sims=X, query_mask=[1, 0, 1, 1])
    assert read_scores(tmp_path / "s.npz").query_ids == ("0", "2", "3")


def test_complex_numbers_are_not_told_to_lose_a_half(tmp_path):
    np.savez(tmp_path / "v.npz", features=X.astype(complex), ids=V)
    with pytest.raises(FormatError, match="complex.*imaginary parts as columns"):
        read_embeddings(tmp_path / "v.npz")


def test_blanks_around_every_line_of_a_list_are_no_part_of_the_ids(tmp_path):
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "v.ids.txt").write_text("".join(f"{v}  \n" for v in V))
    assert read_embeddings(tmp_path / "v.npy").ids == tuple(V)
    # Around some, as in captions, they are.
    captions = ["a dog ", *V[1:]]
    (tmp_path / "v.ids.txt").write_text("\n".join(captions))
    assert read_embeddings(tmp_path / "v.npy").ids == tuple(captions)


@pytest.mark.parametrize("ending", ["npz", "h5", "json"])
@pytest.mark.parametrize("names", ["image text", "txt_emb img_emb", "t v", "text video"])
@pytest.mark.parametrize("kind", ["own ids", "frames", "frames without ids"])
def test_of_both_sides_in_one_file_the_one_that_is_meant_is_named(tmp_path, ending, names, kind):
    path, sides = tmp_path / f"v.{ending}", names.split()
    texts = next(name for name in sides if name[0] == "t")
    videos = next(name for name in sides if name != texts)
    arrays = {name: X for name in sides}
    if kind == "own ids":
        arrays[texts] = np.concatenate([X, X])
        arrays |= {"text_ids": [f"t{i}" for i in range(8)], "video_ids": V}
    else:
        arrays[videos] = np.stack([X, X], axis=1)
        arrays |= {} if "without" in kind else {"ids": V}
    if ending == "json":
        path.write_text(json.dumps({k: np.asarray(v).tolist() for k, v in arrays.items()}))
    else:
        save(path, arrays)
    for side, wanted in (("texts", texts), ("videos", videos)):
        with pytest.raises(FormatError, match="could all be the embeddings.*name one") as caught:
            read_embeddings(path, side=side)
        assert printed(caught.value) == wanted
        pool = None if kind == "own ids" else "mean"
        found = read_embeddings(path, dataset=wanted, side=side, pool=pool, row_numbers=True)
        assert len(found) == len(arrays[wanted])


GROUPED = {
    "one in a group": {"features/features": X, "features/ids": V},
    "of another name": {"features/clip": X, "features/ids": V},
    "two in a group": {"features/a": X, "features/b": X + 1, "features/ids": V},
    "two groups": {"video/emb": X, "video/ids": V, "text/emb": X + 1, "text/ids": V},
    "one with ids": {"features/clip": X, "features/ids": V, "other/x": X + 1},
    "beside a group": {"features/clip": X, "features/ids": V, "emb2": X + 1},
    "ids above": {"embeddings/image": X, "embeddings/text": X + 1, "ids": V},
    "no ids": {"embeddings/image": X, "embeddings/text": X + 1},
    "no group": {"image": X, "text": X + 1, "ids": V},
    "deep": {"a/b/clip": X, "a/b/ids": V},
}


@pytest.mark.parametrize("ending", ["npz", "h5"])
@pytest.mark.parametrize("kind", list(GROUPED))
@pytest.mark.parametrize("said", [None, "/", "features", "embeddings", "video"])
def test_every_name_that_is_printed_ends_with_embeddings(tmp_path, ending, kind, said):
    path, arrays = tmp_path / f"v.{ending}", GROUPED[kind]
    if said not in (None, "/") and not any(name.startswith(f"{said}/") for name in arrays):
        return
    save(path, arrays)

    def follow(dataset, steps):
        try:
            found = read_embeddings(path, dataset=dataset, side="videos", row_numbers=True)
        except FormatError as error:
            names = re.findall(r"dataset='([^']+)'", str(error))
            assert names and steps, error
            for name in names:
                follow(name, steps - 1)
        else:
            assert np.array_equal(found.vectors, X) and len(found.ids) == len(V)

    follow(said, 2)
