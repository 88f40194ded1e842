"""Files that could be read in more than one way: read rightly, or asked about."""

import json
import re
import shlex
import uuid

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import convert_embeddings, read_embeddings, read_ground_truth, read_scores
from tests.io_writers import write_named

N, D = 6, 4
IDS = [f"v{i}" for i in range(N)]


def rows(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, D)).astype("f4")


def units(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def h5(path, **arrays):
    return write_named(path, arrays)


# --- ids -----------------------------------------------------------------------------------


def alone(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    if kind == "npz":
        np.savez(path, rows())
    else:
        write_named(path, {"clip": rows()})
    return path


@pytest.mark.parametrize("kind", ["npz", "h5", "safetensors", "pt"])
@pytest.mark.parametrize("pool", [None, "mean"])
def test_one_matrix_alone_has_no_ids_and_is_never_frames(tmp_path, kind, pool):
    path = alone(tmp_path, kind)
    with pytest.raises(
        FormatError, match=r"there are no ids.*\.ids\.txt.*row_numbers=True"
    ) as caught:
        read_embeddings(path, pool=pool)
    assert "pool" not in str(caught.value)
    found = read_embeddings(path, row_numbers=True, pool=pool)
    assert found.ids == tuple("012345") and not found.ids_given
    np.testing.assert_array_equal(found.vectors, rows())


@pytest.mark.parametrize("name", ["v.ids.txt", "v.npy.ids.txt", "v.ids.json", "v.npy.ids.json"])
def test_ids_beside_an_array(tmp_path, name):
    np.save(tmp_path / "v.npy", rows())
    text = json.dumps(IDS) if name.endswith("json") else "\n".join(IDS)
    (tmp_path / name).write_text(text)
    assert read_embeddings(tmp_path / "v.npy").ids == tuple(IDS)


@pytest.mark.parametrize("content", [json.dumps(IDS), json.dumps({"a": [1.0, 2.0]}), "{"])
@pytest.mark.parametrize("ending", [".json", ".txt", ".npy.json"])
def test_a_file_of_the_same_name_is_not_its_ids(tmp_path, ending, content):
    np.save(tmp_path / "v.npy", rows())
    (tmp_path / f"v{ending}").write_text(content)
    with pytest.raises(FormatError, match=r"v\.npy: there are no ids") as refused:
        read_embeddings(tmp_path / "v.npy")
    assert f"v{ending}" not in str(refused.value)
    assert read_embeddings(tmp_path / "v.npy", row_numbers=True).ids == tuple("012345")
    np.savez(tmp_path / "v.npz", embeddings=rows(), ids=IDS)
    assert read_embeddings(tmp_path / "v.npz").ids == tuple(IDS)


TOLD = {
    "text": IDS, "bytes": np.array(IDS, "S"), "JSON": json.dumps(IDS), "column": np.array([IDS]).T,
}  # fmt: skip


@pytest.mark.parametrize("place", ["emb", "test", "/"])
@pytest.mark.parametrize("name", ["ids", "video_ids", "keys", "names", "index", "video_id"])
@pytest.mark.parametrize("how", TOLD)
def test_ids_in_an_attribute(tmp_path, how, name, place):
    inside = "test/emb" if place == "test" else "emb"
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file[inside], file["mean"] = rows(), rows()[0]
        value = TOLD[how]
        file[place].attrs[name] = np.array(value, object) if how == "column" else value
    found = read_embeddings(tmp_path / "v.h5", dataset=inside)
    assert found.ids == tuple(IDS) and found.ids_given
    np.testing.assert_array_equal(found.vectors, rows())
    # Those that are arrays come first.
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file["test/ids" if place == "test" else "ids"] = IDS[::-1]
    assert read_embeddings(tmp_path / "v.h5", dataset=inside).ids == tuple(IDS[::-1])


@pytest.mark.parametrize("name", ["ids", "video_ids", "keys", "names", "index", "video_id"])
def test_ids_in_the_metadata_of_tensors(tmp_path, name):
    path = tmp_path / "v.safetensors"
    save_file({"emb": rows()}, path, metadata={name: json.dumps(IDS)})
    found = read_embeddings(path)
    assert found.ids == tuple(IDS) and found.ids_given
    save_file({"emb": rows()}, path, metadata={name: "made by hand"})
    if name != "ids":
        assert not read_embeddings(path, row_numbers=True).ids_given


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_ids_in_an_attribute_are_as_many_as_rows(tmp_path, kind):
    path = tmp_path / f"v.{kind}"

    def told(name, value):
        if kind == "safetensors":
            return save_file({"emb": rows()}, path, metadata={name: json.dumps(value)})
        with h5py.File(path, "w") as file:
            file["emb"] = rows()
            file.attrs[name] = value
        return None

    for short in (IDS[:-1], IDS[:D]):
        told("ids", short)
        with pytest.raises(
            FormatError, match=f"{len(short)} (ids )?for (the )?{N}|{len(short)} ids"
        ):
            read_embeddings(path, row_numbers=True)
    told("ids", [*IDS[:-1], IDS[0]])
    with pytest.raises(FormatError, match="stands in row 0 and again in row 5"):
        read_embeddings(path, row_numbers=True)
    # Those of columns are none of rows.
    told("names", IDS[:D])
    assert not read_embeddings(path, row_numbers=True).ids_given


@pytest.mark.parametrize("kind", ["txt", "json", "csv", "npz", "parquet"])
def test_ids_of_another_file_win(tmp_path, kind):
    path = h5(tmp_path / "v.h5", embeddings=rows(), ids=[f"w{i}" for i in range(N)])
    ids = tmp_path / f"names.{kind}"
    column = None
    if kind == "txt":
        ids.write_text("\n".join(IDS))
    elif kind == "json":
        ids.write_text(json.dumps(IDS))
    elif kind == "csv":
        ids.write_text("caption,video\n" + "".join(f"words,{name}\n" for name in IDS))
        with pytest.raises(FormatError, match=r"'caption'.*'video'.*id_column="):
            read_embeddings(path, ids=ids)
        column = "video"
    elif kind == "npz":
        np.savez(ids, ids=np.array(IDS))
    else:
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.table({"id": IDS}), ids)
    assert read_embeddings(path, ids=ids, id_column=column).ids == tuple(IDS)
    assert read_embeddings(path, ids="rows").ids == tuple("012345")
    with pytest.raises(FormatError, match="6 ids for the 5 rows"):
        read_embeddings(
            h5(tmp_path / "w.h5", embeddings=rows()[:5], ids=IDS[:5]), ids=ids, id_column=column
        )


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.arange(7.0, 13.0), [str(i) for i in range(7, 13)]),
        (np.arange(6)[:, None], list("012345")),
        (np.array(IDS, dtype="S9")[:, None], IDS),
        (np.array([f"{i} " for i in IDS], dtype="S9"), [f"{i} " for i in IDS]),
    ],
)
def test_ids_of_harmless_kinds(tmp_path, ids, expected):
    assert read_embeddings(h5(tmp_path / "v.h5", embeddings=rows(), ids=ids)).ids == tuple(expected)
    assert read_embeddings(h5(tmp_path / "w.h5", clip=rows(), id=ids)).ids == tuple(expected)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.arange(6) + 0.5, "0.5, expected text or an integer"),
        (np.ones(6, bool), "the ids are there, but they are of the type bool"),
        (np.ones((6, 2)), r"the ids are there, but they are 6x2 float64"),
        (np.array([1, np.nan, 2, 3, 4, 5]), "row 1 is missing"),
    ],
)
def test_what_is_wrong_with_these_ids_is_said_and_no_other_file_taken(tmp_path, ids, words):
    path = h5(tmp_path / "v.h5", embeddings=rows(), ids=ids)
    for name in ("v.txt", "v.ids.txt"):
        (tmp_path / name).write_text("\n".join(IDS))
    with pytest.raises(FormatError, match=words):
        read_embeddings(path)


def test_ids_of_variable_length_lists_are_named(tmp_path):
    path = h5(tmp_path / "v.h5", embeddings=rows())
    with h5py.File(path, "r+") as f:
        f.create_dataset("ids", (N,), dtype=h5py.vlen_dtype(np.uint8))
    with pytest.raises(FormatError, match=r"the ids are there, but they are ragged"):
        read_embeddings(path)


def test_what_nobody_asked_for_blocks_nothing(tmp_path):
    np.savez(tmp_path / "v.npz", embeddings=rows(), ids=IDS, meta=np.array({"a": 1}))
    assert read_embeddings(tmp_path / "v.npz").ids == tuple(IDS)
    torch.save(
        {
            "embeddings": torch.from_numpy(rows()),
            "ids": IDS,
            "tiny": torch.ones(2, 2).to(torch.float8_e4m3fn),
            "thin": torch.eye(3).to_sparse(),
        },
        tmp_path / "v.pt",
    )
    assert read_embeddings(tmp_path / "v.pt").ids == tuple(IDS)
    np.savez(tmp_path / "w.npz", embeddings=rows(), ids=np.array(IDS, dtype=object))
    with pytest.raises(FormatError, match=r"'ids': the ids are there.*Python objects.*save_plain"):
        read_embeddings(tmp_path / "w.npz")


# --- groups, streams, splits ---------------------------------------------------------------


def test_streams_of_items_are_asked_about(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        for i, row in enumerate(rows()):
            f[f"v{i}/i3d/rgb"], f[f"v{i}/i3d/flow"] = row, -row
    with pytest.raises(FormatError, match=r"'i3d/flow', 'i3d/rgb'.*dataset='i3d/flow'"):
        read_embeddings(path)
    for name, sign in (("i3d/rgb", 1), ("i3d/flow", -1)):
        found = read_embeddings(path, dataset=name)
        assert found.ids == tuple(IDS)
        np.testing.assert_array_equal(found.vectors, sign * rows())


@pytest.mark.parametrize("groups", [("train", "test"), ("image", "text"), ("rgb", "flow")])
@pytest.mark.parametrize("same", [True, False])
def test_groups_of_items_are_asked_about(tmp_path, groups, same):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        for g, group in enumerate(groups):
            for i, row in enumerate(rows(g)):
                f[f"{group}/{'x' if same else group}{i}"] = row
    with pytest.raises(FormatError, match=rf"'{groups[0]}' \(6 arrays\).*dataset="):
        read_embeddings(path)
    found = read_embeddings(path, dataset=groups[1])
    assert len(found) == N
    np.testing.assert_array_equal(found.vectors, rows(1))
    assert len(read_embeddings(path, dataset="/")) == 2 * N


def test_matrices_in_groups_are_chosen_by_name(tmp_path):
    path = h5(
        tmp_path / "v.h5",
        **{"clip/features": rows(), "clip/ids": IDS, "blip/features": rows(1), "blip/ids": IDS},
    )
    found = read_embeddings(path, dataset="blip")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, rows(1))
    np.testing.assert_array_equal(read_embeddings(path, dataset="clip/features").vectors, rows())


# --- frames --------------------------------------------------------------------------------


def test_frames_of_an_array_are_pooled_without_their_padding(tmp_path):
    rng = np.random.default_rng(3)
    cube = rng.normal(size=(N, 5, D)).astype("f4")
    lengths = np.array([5, 1, 3, 2, 4, 5])
    mask = np.arange(5) < lengths[:, None]
    expected = np.array([units(c[m]).mean(axis=0) for c, m in zip(cube, mask, strict=True)])
    raw = np.array([c[m].mean(axis=0) for c, m in zip(cube, mask, strict=True)])
    top = np.array([units(c[m]).max(axis=0) for c, m in zip(cube, mask, strict=True)])
    garbage, zeros = cube.copy(), cube * mask[..., None]
    garbage[~mask] = 99
    for path in (
        h5(tmp_path / "a.h5", features=garbage, ids=IDS, mask=mask.astype(int)),
        h5(tmp_path / "b.h5", features=garbage, ids=IDS, lengths=lengths),
        h5(tmp_path / "c.h5", features=zeros, ids=IDS),
    ):
        with pytest.raises(FormatError, match=r"5 rows \(frames\).*pool=.mean"):
            read_embeddings(path)
        with pytest.raises(FormatError, match="frames"):
            read_embeddings(path, pool="none")
        np.testing.assert_allclose(read_embeddings(path, pool="mean").vectors, expected, atol=1e-6)
        np.testing.assert_allclose(read_embeddings(path, pool="max").vectors, top, atol=1e-6)
        found = read_embeddings(path, pool="mean", pool_raw=True)
        np.testing.assert_allclose(found.vectors, raw, atol=1e-6)
    bad = h5(tmp_path / "d.h5", features=cube, ids=IDS, lengths=np.full(N, 6))
    with pytest.raises(FormatError, match="row 0 says 6 frames"):
        read_embeddings(bad, pool="mean")


def test_a_single_frame_needs_no_word(tmp_path):
    path = h5(tmp_path / "v.h5", features=rows()[:, None], ids=IDS)
    np.testing.assert_array_equal(read_embeddings(path).vectors, rows())
    path = h5(tmp_path / "w.h5", **{name: row[None] for name, row in zip(IDS, rows(), strict=True)})
    np.testing.assert_array_equal(read_embeddings(path).vectors, rows())
    path = h5(
        tmp_path / "x.h5", **{name: row[:, None] for name, row in zip(IDS, rows(), strict=True)}
    )
    for pool in (None, "mean"):
        with pytest.raises(FormatError, match=r"column \(4, 1\)"):
            read_embeddings(path, pool=pool)
    with pytest.raises(FormatError, match="one column"):
        read_embeddings(h5(tmp_path / "y.h5", features=rows()[:, :1], ids=IDS))


def test_a_folder_of_one_array_for_each_id(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    frames = {name: np.random.default_rng(i).normal(size=(i + 1, D)) for i, name in enumerate(IDS)}
    for name, array in frames.items():
        np.save(folder / f"{name}.npy", array)
    with pytest.raises(FormatError, match="pool="):
        read_embeddings(folder)
    found = read_embeddings(folder, pool="mean")
    assert found.ids == tuple(IDS)
    expected = [units(frames[name]).mean(axis=0) for name in IDS]
    np.testing.assert_allclose(found.vectors, expected, atol=1e-6)


def folder_of(path, kind, arrays, name="features"):
    """A folder with a file for each item; `bare` files hold an array without a name."""
    path.mkdir()
    for item, array in arrays.items():
        bare, ending = kind.startswith("bare"), kind.rpartition(".")[2]
        file = path / f"{item}.{ending}"
        if ending == "npy":
            np.save(file, array)
        elif bare and ending in ("pt", "pth"):
            torch.save(torch.tensor(array), file)
        elif bare and ending == "npz":
            np.savez(file, array)
        elif bare and ending == "json":
            file.write_text(json.dumps(array.tolist()))
        else:
            write_named(file, {name: array})
    return path


KINDS_OF_ITEMS = [
    "bare.pt", "bare.pth", ".pt", ".h5", "bare.npz", ".npz", ".safetensors", "bare.json", ".json",
]  # fmt: skip


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("kind", KINDS_OF_ITEMS)
def test_a_folder_with_a_file_for_each_item_is_read_as_one_of_numpy(tmp_path, kind, framed):
    made = np.random.default_rng(0)
    arrays = {name: made.normal(size=(i + 2, D) if framed else D) for i, name in enumerate(IDS)}
    of_numpy = folder_of(tmp_path / "numpy", "npy", arrays)
    folder = folder_of(tmp_path / "items", kind, arrays)
    if framed:
        with pytest.raises(FormatError, match="every item has several rows"):
            read_embeddings(folder)
        for path in (of_numpy, folder):
            (path / "lengths.json").write_text(json.dumps(dict.fromkeys(IDS, 2)))
    want, found = (read_embeddings(path, pool="mean") for path in (of_numpy, folder))
    assert found.ids == want.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, want.vectors, rtol=1e-6)


def test_what_is_told_of_an_item_in_its_file_counts_for_it(tmp_path):
    frames = {name: np.random.default_rng(i).normal(size=(3, D)) for i, name in enumerate(IDS)}
    want = [units(frames[name])[:2].mean(axis=0) for name in IDS]
    by_mask = tmp_path / "mask"
    by_mask.mkdir()
    for name, array in frames.items():
        np.savez(by_mask / f"{name}.npz", features=array, mask=[1, 1, 0], fps=25.0, title="a dog")
    by_attribute = folder_of(tmp_path / "attribute", ".h5", frames)
    for file in by_attribute.iterdir():
        with h5py.File(file, "a") as f:
            f["features"].attrs["num_frames"] = 2
    for folder in (by_mask, by_attribute):
        np.testing.assert_allclose(read_embeddings(folder, pool="mean").vectors, want, atol=1e-6)


def test_several_arrays_in_the_file_of_each_item_are_asked_about(tmp_path):
    folder = tmp_path / "items"
    folder.mkdir()
    for name, row in zip(IDS, rows(), strict=True):
        np.savez(folder / f"{name}.npz", rgb=row, flow=-row)
    with pytest.raises(FormatError, match=r"several arrays: 'flow', 'rgb'.*dataset='flow'"):
        read_embeddings(folder)
    np.testing.assert_array_equal(read_embeddings(folder, dataset="rgb").vectors, rows())


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("bare.json", '{"title": "a dog"}', "holds no vector, and 5 files beside it do"),
        ("bare.json", "[0.5, 1", "is not valid JSON"),
        ("bare.pt", "", "is empty"),
        (".npz", "PK", "cut short|cannot be read"),
    ],
)
def test_a_file_without_its_vector_is_named_and_no_item_is_left_out(tmp_path, kind, content, words):
    folder = folder_of(tmp_path / "items", kind, dict(zip(IDS, rows(), strict=True)))
    file = folder / f"v3.{kind.rpartition('.')[2]}"
    file.write_text(content)
    with pytest.raises(FormatError, match=rf"v3\..*({words})"):
        read_embeddings(folder)


def test_a_folder_of_other_files_is_no_folder_of_items(tmp_path):
    for sides in ("two", "captions", "mixed"):
        (tmp_path / sides).mkdir()
    for side in ("texts", "videos"):
        h5(tmp_path / "two" / f"{side}.h5", embeddings=rows(), ids=[f"{side}{i}" for i in IDS])
        (tmp_path / "captions" / f"{side}.json").write_text('{"caption": "a dog"}')
    np.savez(tmp_path / "mixed" / "v0.npz", rows()[0])
    torch.save(torch.tensor(rows()[1]), tmp_path / "mixed" / "v1.pt")
    for folder in ("two", "captions", "mixed"):
        with pytest.raises(FormatError, match="is a directory; name the file inside it"):
            read_embeddings(tmp_path / folder)
    same = folder_of(tmp_path / "same", "bare.pt", dict(zip(IDS, rows(), strict=True)))
    torch.save(torch.tensor(rows()[0]), same / "v3.pth")
    with pytest.raises(FormatError, match=r"v3\.pth: has the name of another file"):
        read_embeddings(same)


# --- other programs ------------------------------------------------------------------------


def matlab(path, **arrays):
    with h5py.File(path, "w", userblock_size=512) as f:
        for name, array in arrays.items():
            f[name] = array.T
            f[name].attrs["MATLAB_class"] = np.bytes_("single")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: any")
    return path


def octave(path, **variables):
    """As `save -hdf5` of Octave writes: a group for each variable, with its type and its value.

    Lists are cell arrays, and texts matrices of characters with a row for each line.
    """
    with h5py.File(path, "w") as f:
        for name, value in variables.items():
            octave_variable(f, name, value)
    return path


def octave_variable(place, name, value):
    group = place.create_group(name)
    group.attrs["OCTAVE_NEW_FORMAT"] = np.uint8(1)
    if isinstance(value, list):
        group["type"], cells = np.bytes_("cell"), group.create_group("value")
        cells["dims"] = np.array([1, len(value)])
        for i, each in enumerate(value):
            octave_variable(cells, f"_{i:0{len(str(len(value)))}}", each)
    elif isinstance(value, str):
        rows = [row.encode() for row in value.split("\n")]
        group["type"], width = np.bytes_("sq_string"), max(map(len, rows))
        filled = np.frombuffer(b"".join(row.ljust(width) for row in rows), np.int8)
        if width:
            group["value"] = filled.reshape(len(rows), width).T
        else:
            group["value"] = np.zeros(2, np.int64)
            group["value"].attrs["OCTAVE_EMPTY_MATRIX"] = np.uint8(1)
    else:
        group["type"] = np.bytes_("string" if value.dtype.kind == "S" else "float matrix")
        group["value"] = value if value.dtype.kind == "S" else value.T


@pytest.mark.parametrize("name", ["v.mat", "v.h5", "v.dat"])
def test_octave_stores_columns_first(tmp_path, name):
    path = octave(tmp_path / name, features=rows(), names=np.array(IDS, "S"))
    found = read_embeddings(path)
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, rows())
    square = np.arange(len(IDS) ** 2.0).reshape(len(IDS), -1)
    found = read_scores(octave(tmp_path / name, sims=square), query_ids="rows", gallery_ids="rows")
    np.testing.assert_array_equal(found.scores, square)


@pytest.mark.parametrize("name", ["v.mat", "v.h5"])
def test_texts_of_octave_are_ids(tmp_path, name):
    ids = [f"vidéo {'x' * i}{i}" for i in range(len(rows()))]
    for kept in (ids, "\n".join(ids)):
        path = octave(tmp_path / name, features=rows(), ids=kept, note="one\nor two", about=["x"])
        found = read_embeddings(path)
        assert found.ids == tuple(ids)
        np.testing.assert_array_equal(found.vectors, rows())
    # Under a name that is not known they are asked for.
    path = octave(tmp_path / name, features=rows(), clips=ids)
    with pytest.raises(FormatError, match="'clips' has one entry for each: if these are the ids"):
        read_embeddings(path)
    assert read_embeddings(path, id_column="clips").ids == tuple(ids)
    square = np.arange(len(ids) ** 2.0).reshape(len(ids), -1)
    path = octave(tmp_path / name, sims=square, query_ids=ids, gallery_ids="\n".join(ids))
    found = read_scores(path)
    assert found.query_ids == found.gallery_ids == tuple(ids)


def test_cells_of_octave_stand_in_the_order_of_their_numbers(tmp_path):
    ids = [f"v{i}" for i in range(12)]
    for width in (0, 2, 5):
        path = octave(tmp_path / f"{width}.h5", features=np.eye(12))
        with h5py.File(path, "r+") as f:
            octave_cells(f, "ids", {f"_{i:0{width}}": each for i, each in enumerate(ids)})
        assert read_embeddings(path).ids == tuple(ids)
    for odd in ("ten", "_ten", "_1_0", "_010", "_ 10", "_-1"):
        path = octave(tmp_path / f"{odd}.h5", features=np.eye(12))
        with h5py.File(path, "r+") as f:
            named_so = [f"_{i}" for i in range(11)] + [odd]
            octave_cells(f, "ids", dict(zip(named_so, ids, strict=True)))
        with pytest.raises(FormatError, match="'/ids'.*a cell array (with a cell|in which two)"):
            read_embeddings(path)


def test_the_recipe_for_pairs_in_cells_of_octave_keeps_their_order(tmp_path):
    videos = [f"v{i}" for i in range(12)]
    with h5py.File(tmp_path / "gt.h5", "w") as f:
        for name, texts in (("t", [f"t{i}" for i in range(12)]), ("v", videos[::-1])):
            # One of the two is padded: both stand in the order of their numbers.
            width = 2 * (name == "v")
            octave_cells(f, name, {f"_{i:0{width}}": each for i, each in enumerate(texts)})
    with pytest.raises(FormatError, match="if these are the pairs: ") as caught:
        read_ground_truth(tmp_path / "gt.h5", [f"t{i}" for i in range(12)], videos)
    _, *words = shlex.split(str(caught.value).partition("pairs: ")[2])
    exec(words[1], {})  # noqa: S102  the same code without another start of Python
    found = read_ground_truth(tmp_path / "gt.tsv", [f"t{i}" for i in range(12)], videos)
    assert [list(one) for one in found.positives] == [[11 - i] for i in range(12)]


def octave_cells(place, name, cells):
    group = place.create_group(name)
    group.attrs["OCTAVE_NEW_FORMAT"] = np.uint8(1)
    group["type"], held = np.bytes_("cell"), group.create_group("value")
    held["dims"] = np.array([1, len(cells)])
    for called, each in cells.items():
        octave_variable(held, called, each)


def test_cells_of_octave_that_are_no_ids_are_named(tmp_path):
    ids = [f"v{i}" for i in range(len(rows()))]
    for odd, said in [(np.ones((1, 2)), "a cell array of more than one text"), ("a\nb", "one text"),
                      ("", "the id in row 0 is empty")]:  # fmt: skip
        path = octave(tmp_path / "v.h5", features=rows(), ids=[odd, *ids[1:]])
        with pytest.raises(FormatError, match=f"'/ids'.*{said}"):
            read_embeddings(path)
        # Where nobody asks for them, they block nothing.
        path = octave(tmp_path / "v.h5", features=rows(), ids=ids, other=[odd, *ids[1:]])
        assert read_embeddings(path).ids == tuple(ids)


@pytest.mark.parametrize("name", ["v.mat", "v.h5", "v.dat"])
def test_matlab_stores_columns_first(tmp_path, name):
    path = matlab(tmp_path / name, features=rows())
    path.with_suffix(".ids.txt").write_text("\n".join(IDS))
    found = read_embeddings(path)
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, rows())
    np.testing.assert_array_equal(read_embeddings(path, rows=slice(2, 5)).vectors, rows()[2:5])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("4", "older MATLAB format"), ("5", "older MATLAB format"),
        ("big-endian 4", "older MATLAB format"), ("octave", "format of Octave"),
        ("damaged", "HDF5"),
    ],
)  # fmt: skip
def test_files_of_matlab_that_are_not_read_are_called_by_their_format(tmp_path, kind, words):
    path = tmp_path / "v.mat"
    if kind == "octave":
        path.write_bytes(b"# Created by Octave 8.4\n# name: x\n# type: matrix\n")
    elif kind == "damaged":
        path.write_bytes(b"\x00\x01" * 200)
    elif kind == "big-endian 4":
        head = np.array([1000, N, D, 0, 2], ">i4")
        path.write_bytes(head.tobytes() + b"x\0" + rows().astype(">f8").tobytes())
    else:
        scipy.io.savemat(path, {"features": rows()}, format=kind)
    with pytest.raises(FormatError, match=words) as caught:
        read_embeddings(path)
    assert ("HDF5" in str(caught.value)) == (kind == "damaged")


NAMED = h5py.enum_dtype({f"v{10 * i}": i for i in range(N)}, basetype="i2")


def test_numbers_that_stand_for_names_are_read_as_the_names(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file["embeddings"] = rows()
        file.create_dataset("ids", data=np.arange(N)[::-1], dtype=NAMED)
    assert read_embeddings(path).ids == ("v50", "v40", "v30", "v20", "v10", "v0")
    assert read_embeddings(path, rows=slice(1, 3)).ids == ("v40", "v30")
    with h5py.File(path, "r+") as file:
        file["ids"].id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([0, 1, 2, 3, 4, 9], "i2"), None)
    with pytest.raises(FormatError, match="holds 9, and its type gives names to 0, 1, 2"):
        read_embeddings(path)


def test_scores_with_names_that_numbers_stand_for(tmp_path):
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["scores"] = np.eye(5, dtype="f4")
        for name in ("query_ids", "gallery_ids"):
            file.create_dataset(name, data=np.arange(5), dtype=NAMED)
    assert read_scores(path).gallery_ids == ("v0", "v10", "v20", "v30", "v40")


@pytest.mark.parametrize("kind", ["codes", "cells"])
def test_pairs_that_hdf5_stores_in_odd_ways_are_made_a_table(tmp_path, kind):
    path = tmp_path / "gt.h5"
    with h5py.File(path, "w") as file:
        for name in ("text", "video"):
            if kind == "codes":
                file.create_dataset(name, data=np.arange(N)[::-1], dtype=NAMED)
                continue
            cells = [
                file.create_dataset(f"#refs#/{name}{i}", data=np.frombuffer(
                    f"v{10 * i}".encode("utf-16-le"), "u2")[:, None])
                for i in range(N)[::-1]
            ]  # fmt: skip
            made = file.create_dataset(name, (1, N), dtype=h5py.ref_dtype)
            made[0] = [cell.ref for cell in cells]
            made.attrs["MATLAB_class"] = np.bytes_("cell")
    ids = [f"v{10 * i}" for i in range(N)]
    with pytest.raises(FormatError, match="if these are the pairs") as caught:
        read_ground_truth(path, ids, ids)
    code = re.search("python -c '(.*)'", str(caught.value))
    exec(code[1], {})
    found = read_ground_truth(tmp_path / "gt.tsv", ids, ids)
    assert [list(items) for items in found.positives] == [[i] for i in range(N)]


AXES = {
    "npy": lambda path, x: np.save(path, x),
    "npz": lambda path, x: np.savez(path, x=x),
    "h5": lambda path, x: h5py.File(path, "w").create_dataset("x", data=x).file.close(),
    "h5, deep": lambda path, x: h5py.File(path, "w").create_dataset("a/b/x", data=x).file.close(),
    "json": lambda path, x: path.write_text(json.dumps(x.tolist())),
    "pt": lambda path, x: torch.save(torch.from_numpy(x), path),
}


@pytest.mark.parametrize("pool", [None, "mean"])
@pytest.mark.parametrize("kind", AXES)
def test_one_matrix_behind_an_axis_of_one_is_never_the_frames_of_an_item(tmp_path, kind, pool):
    path = tmp_path / f"v.{kind.partition(',')[0]}"
    AXES[kind](path, rows()[None])
    with pytest.raises(FormatError, match="no ids"):
        read_embeddings(path, pool=pool)
    found = read_embeddings(path, row_numbers=True, pool=pool)
    np.testing.assert_allclose(found.vectors, rows(), rtol=1e-6)
    assert read_embeddings(path, ids=list(IDS), rows=slice(1, 3)).ids == tuple(IDS[1:3])
    if "," not in kind:
        with pytest.raises(FormatError, match="6 rows .frames"):
            read_embeddings(path, ids=["video7"])
        assert read_embeddings(path, ids=["video7"], pool="mean").vectors.shape == (1, 4)


def test_one_matrix_behind_an_axis_of_one_with_ids_beside_it(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, rows()[None])
    (tmp_path / "v.ids.txt").write_text("\n".join(IDS))
    np.testing.assert_array_equal(read_embeddings(path).vectors, rows())
    (tmp_path / "v.ids.txt").write_text("video7")
    with pytest.raises(FormatError, match="6 rows .frames"):
        read_embeddings(path)
    np.savez(tmp_path / "v.npz", features=rows()[None], lengths=np.array([6]))
    with pytest.raises(FormatError, match="6 rows .frames"):
        read_embeddings(tmp_path / "v.npz", row_numbers=True)


def test_tables_in_text(tmp_path):
    path = tmp_path / "v.csv"
    lines = [
        ",".join([name, *map(repr, row.tolist())]) for name, row in zip(IDS, rows(), strict=True)
    ]
    path.write_text("id,0,1,2,3\n" + "\n".join(lines))
    found = read_embeddings(path)
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, rows(), rtol=1e-6)
    path.write_text("\n".join(lines))
    np.testing.assert_allclose(read_embeddings(path).vectors, rows(), rtol=1e-6)
    path.write_text(
        "name;vector\n"
        + "\n".join(f"{n};{json.dumps(r.tolist())}" for n, r in zip(IDS, rows(), strict=True))
    )
    np.testing.assert_allclose(read_embeddings(path).vectors, rows(), rtol=1e-6)


def test_vectors_in_json(tmp_path):
    path = tmp_path / "v.json"
    by_id = {name: row.tolist() for name, row in zip(IDS, rows(), strict=True)}
    records = [{"id": name, "embedding": row} for name, row in by_id.items()]
    named = {"ids": IDS, "embeddings": list(by_id.values())}
    for content in (by_id, records, named):
        path.write_text(json.dumps(content))
        found = read_embeddings(path)
        assert found.ids == tuple(IDS)
        np.testing.assert_allclose(found.vectors, rows(), rtol=1e-6)


@pytest.mark.parametrize("called", ["__index_level_0__", "clip"])
@pytest.mark.parametrize("wide", [True, False])
def test_the_index_of_a_table_of_pandas_names_its_rows(tmp_path, called, wide):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    vectors = {str(i): rows()[:, i] for i in range(D)} if wide else {"embedding": list(rows())}
    described = {b"pandas": json.dumps({"index_columns": [called], "columns": []}).encode()}
    path = tmp_path / "v.parquet"

    def write(ids, said=described):
        names = {"title": [f"about {i}" for i in range(N)], called: ids}
        parquet.write_table(arrow.table(vectors | names).replace_schema_metadata(said), path)

    write(IDS)
    found = read_embeddings(path)
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, rows())
    # Numbers of rows that were left over, and columns that nothing calls an index, are asked about.
    for ids, said in ((list(range(5, 5 + N)), described), (IDS, {b"pandas": b"[1"})):
        write(ids, said)
        with pytest.raises(FormatError, match="its other columns are 'title'"):
            read_embeddings(path)
        assert read_embeddings(path, id_column=called).ids == tuple(map(str, ids))


@pytest.mark.parametrize("name", ["ids", "video_ids", "image_ids"])
def test_ids_in_the_metadata_of_safetensors(tmp_path, name):
    from safetensors.numpy import save_file

    path = tmp_path / "v.safetensors"
    others = {"names": '["one", "two"]', "text_ids": "of our own"}
    save_file({"embeddings": rows()}, path, metadata={name: json.dumps(IDS), **others})
    assert read_embeddings(path).ids == tuple(IDS)
    save_file({"embeddings": rows()}, path, metadata=others)
    with pytest.raises(FormatError, match="there are no ids for its rows"):
        read_embeddings(path)


def test_parquet_of_any_kind(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    vectors = arrow.array(list(rows()), arrow.list_(arrow.float32()))
    numbers = [uuid.UUID(int=i) for i in range(N)]
    for ids, expected in (
        (arrow.array([name.encode() for name in IDS], arrow.binary()), IDS),
        (arrow.array(IDS, arrow.large_string()), IDS),
        (arrow.array(IDS).dictionary_encode(), IDS),
        (arrow.array([n.bytes for n in numbers], arrow.binary(16)), [str(n) for n in numbers]),
        (arrow.array(np.arange(6.0)), list("012345")),
    ):
        path = tmp_path / "v.parquet"
        parquet.write_table(arrow.table({"id": ids, "embedding": vectors}), path)
        assert read_embeddings(path).ids == tuple(expected)
    parquet.write_table(arrow.table({"id": IDS, "a": vectors, "b": vectors, "note": IDS}), path)
    with pytest.raises(FormatError, match=r"'a', 'b' could all.*embedding_column='a'"):
        read_embeddings(path)
    assert read_embeddings(path, embedding_column="b", id_column="note").ids == tuple(IDS)
    columns = {str(i): rows()[:, i] for i in range(D)}
    parquet.write_table(arrow.table({"id": IDS, **columns}), path)
    np.testing.assert_array_equal(read_embeddings(path).vectors, rows())
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in (0, 1):
        table = arrow.table({"id": IDS[3 * part : 3 * part + 3], "x": vectors[3 * part :][:3]})
        parquet.write_table(table, folder / f"part-{part}.parquet")
    found = read_embeddings(folder)
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, rows())


def test_an_array_that_repeats_itself_is_held_once(tmp_path):
    """A small file that declares one long id for every row costs no more than the id."""
    arrow = pytest.importorskip("pyarrow")
    import resource

    import pyarrow.parquet as parquet

    ids = arrow.DictionaryArray.from_arrays(np.zeros(20_000, "i4"), arrow.array(["x" * 100_000]))
    vectors = arrow.array([[1.0, 2.0]] * 20_000, arrow.list_(arrow.float32()))
    path = tmp_path / "v.parquet"
    parquet.write_table(arrow.table({"id": ids, "v": vectors}), path, compression="zstd")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match="stands in row 0 and again in row 1") as caught:
        read_embeddings(path)
    assert len(str(caught.value)) < 400 + len(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_torch_file_of_the_same_parts_again_and_again(tmp_path):
    part = {"t": torch.ones(1)}
    for _ in range(7):
        part = {f"k{i}": part for i in range(40)}
    torch.save(part, tmp_path / "v.pt")
    with pytest.raises(FormatError, match="again and again"):
        read_embeddings(tmp_path / "v.pt")


# --- conversion ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_converted_file_says_the_same(tmp_path, dtype):
    np.savez_compressed(tmp_path / "v.npz", features=rows().astype(dtype), names=IDS)
    target = tmp_path / "v.h5"
    assert convert_embeddings(tmp_path / "v.npz", target) == (N, D)
    source, made = (read_embeddings(p, keep_half=True) for p in (tmp_path / "v.npz", target))
    assert made.ids == source.ids and made.content_sha256 == source.content_sha256
    assert made.vectors.dtype == dtype
    np.testing.assert_array_equal(made.vectors, source.vectors)
    with h5py.File(target) as f:
        assert f.attrs["rerank_schema"] == "rerank/1"
        assert f.attrs["content_sha256"] == made.content_sha256


@pytest.mark.parametrize("ending", ["npz", "h5", "pt"])
def test_one_matrix_alone_in_a_group_is_never_frames(tmp_path, ending):
    path = tmp_path / f"v.{ending}"
    for beside in ({}, {"ids": IDS}):
        arrays = {"data/clip": rows(), **{f"data/{name}": ids for name, ids in beside.items()}}
        write_named(path, arrays)
        if beside:
            assert read_embeddings(path).ids == tuple(IDS)
            continue
        for pool in (None, "mean"):
            with pytest.raises(FormatError, match="there are no ids"):
                read_embeddings(path, pool=pool)
        assert read_embeddings(path, ids=IDS).ids == tuple(IDS)
        assert len(read_embeddings(path, row_numbers=True)) == N


@pytest.mark.parametrize("odd", [[[1, 2], [3], []], [1, "a", None], [[1, 2], [3, 4], ["x"]]])
@pytest.mark.parametrize("kind", ["columns", "records", "lines"])
def test_lists_of_labels_beside_embeddings_in_json_are_left_alone(tmp_path, odd, kind):
    path = tmp_path / ("v.jsonl" if kind == "lines" else "v.json")
    ids, rows = ["a", "b", "c"], np.eye(3)
    each = zip(ids, rows.tolist(), odd, strict=True)
    records = [{"id": i, "embedding": x, "labels": y} for i, x, y in each]
    if kind == "columns":
        path.write_text(json.dumps({"ids": ids, "embeddings": rows.tolist(), "labels": odd}))
    elif kind == "records":
        path.write_text(json.dumps(records))
    else:
        path.write_text("\n".join(map(json.dumps, records)))
    found = read_embeddings(path)
    assert found.ids == tuple(ids) and np.array_equal(found.vectors, rows)
    # Vectors are none of these.
    path.write_text(json.dumps({"ids": ids, "embeddings": [[1, 0], [0], [1, 1]]}))
    with pytest.raises(FormatError, match="write as many numbers in each"):
        read_embeddings(path)
