"""Embeddings come back as they were written, from every layout, type of number and byte order."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest
import torch

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io import Embeddings, Norms, read_embeddings, read_scores, write_embeddings
from rerank.io.layouts.locate import locate
from rerank.io.layouts.wanted import Wanted
from rerank.io.opening import open_container
from tests.io_writers import ARROW, IDS, LAYOUTS, D, N, in_order, vectors, write, write_named

layouts = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(autouse=True)
def needs_arrow(request):
    if (
        getattr(request.node, "callspec", None)
        and request.node.callspec.params.get("layout") in ARROW
    ):
        pytest.importorskip("pyarrow")


@layouts
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_every_layout_gives_back_values_and_ids(tmp_path, layout, dtype):
    x = vectors(dtype)
    path, ids = write(layout, tmp_path, x)
    found = read_embeddings(path)
    assert found.ids == tuple(ids)
    assert found.vectors.dtype == ("=f8" if dtype.endswith("8") else "=f4")
    assert found.vectors.dtype.isnative
    np.testing.assert_array_equal(found.vectors, in_order(ids, x).astype(found.vectors.dtype))
    assert found.total_rows == N and len(found) == N and found.dim == x.shape[1]


@layouts
@pytest.mark.parametrize("rows", [slice(0, 3), slice(2, 5), slice(5, 99), slice(-2, None)])
def test_a_slice_is_a_slice_of_the_whole(tmp_path, layout, rows):
    path, _ = write(layout, tmp_path, vectors())
    whole, part = read_embeddings(path), read_embeddings(path, rows=rows)
    assert part.ids == whole.ids[rows]
    np.testing.assert_array_equal(part.vectors, whole.vectors[rows])
    assert part.total_rows == N


@layouts
def test_half_precision_can_stay(tmp_path, layout):
    x = vectors("<f2")
    path, ids = write(layout, tmp_path, x)
    half, wide = read_embeddings(path, keep_half=True), read_embeddings(path)
    assert half.vectors.dtype == np.float16
    np.testing.assert_array_equal(half.vectors, in_order(ids, x))
    # The content is the same, whatever it is held in.
    assert half.content_sha256 == wide.content_sha256


def test_the_hash_speaks_of_content_and_not_of_the_file(tmp_path):
    hashes = set()
    for layout in ("h5-canonical", "h5-named", "npy", "npz-packed", "safetensors", "torch-dict"):
        folder = tmp_path / layout
        folder.mkdir()
        hashes.add(read_embeddings(write(layout, folder, vectors())[0]).content_sha256)
    assert len(hashes) == 1
    ids, x = tuple(IDS), vectors()
    base = Embeddings(ids, x, "").content_sha256
    assert hashes == {base}
    changed = x.copy()
    changed[3, 1] = np.nextafter(changed[3, 1], np.float32(9))
    others = [
        Embeddings(ids, changed, ""),
        Embeddings(ids[::-1], x, ""),
        Embeddings(("ab", "c", *ids[2:]), x, ""),
        Embeddings(("a", "bc", *ids[2:]), x, ""),
        Embeddings(ids, x.astype("f8"), ""),
        Embeddings(ids, x, "", group_ids=ids),
    ]
    assert len({base, *(other.content_sha256 for other in others)}) == len(others) + 1


def test_a_file_with_an_item_in_each_dataset_comes_back_in_the_order_of_names(tmp_path):
    """HDF5 lists names alphabetically; ids go with their rows, whatever the order."""
    path, _ = write("h5-per-id", tmp_path, vectors())
    found = read_embeddings(path)
    assert list(found.ids) == sorted(IDS)
    by_name = dict(zip(found.ids, found.vectors, strict=True))
    for name, row in zip(IDS, vectors(), strict=True):
        np.testing.assert_array_equal(by_name[name], row)


def test_the_canonical_file_is_what_it_says(tmp_path):
    path, x = tmp_path / "v.h5", vectors(">f2")
    groups = [f"g{i // 2}" for i in range(N)]
    write_embeddings(path, IDS, x, group_ids=groups, kind="text", normalized=False, dim=4)
    with h5py.File(path) as f:
        assert f.attrs["rerank_schema"] == "rerank/1" and f.attrs["kind"] == "text"
        assert f["embeddings"].dtype == "<f2" and f["embeddings"].fletcher32
        assert [i.decode() for i in f["ids"][:]] == IDS
        stored = f.attrs["content_sha256"]
    found = read_embeddings(path)
    assert found.ids == tuple(IDS) and found.group_ids == tuple(groups)
    assert found.content_sha256 == stored
    np.testing.assert_array_equal(found.vectors, x.astype("f4"))
    part = read_embeddings(path, rows=slice(2, 4))
    assert part.group_ids == tuple(groups[2:4])


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_embeddings(tmp_path / name, IDS, vectors(), model="m", kind="video")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_an_edited_canonical_file_is_noticed(tmp_path):
    path = tmp_path / "v.h5"
    write_embeddings(path, IDS, vectors())
    with h5py.File(path, "r+") as f:
        f["embeddings"][2, 1] += 1
    with pytest.raises(FormatError, match=r"v\.h5.*hash"):
        read_embeddings(path)


def frames_file(path):
    rng = np.random.default_rng(1)
    lengths = [3, 1, 5, 2]
    frames = rng.normal(size=(sum(lengths), 4)).astype("f4")
    offsets = np.cumsum([0, *lengths])
    with h5py.File(path, "w") as f:
        f.attrs["rerank_schema"] = "rerank/1"
        f["frames"], f["offsets"], f["ids"] = frames, offsets, ["d", "c", "b", "a"]
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    means = [unit[a:b].mean(axis=0) for a, b in zip(offsets, offsets[1:], strict=False)]
    return frames, offsets, np.array(means)


def test_frames_are_averaged_only_when_asked(tmp_path):
    path = tmp_path / "v.h5"
    _, _, means = frames_file(path)
    with pytest.raises(FormatError, match='pool="mean"'):
        read_embeddings(path)
    found = read_embeddings(path, pool="mean")
    assert found.ids == ("d", "c", "b", "a")
    np.testing.assert_allclose(found.vectors, means, rtol=1e-5, atol=1e-6)
    part = read_embeddings(path, pool="mean", rows=slice(1, 3))
    np.testing.assert_array_equal(part.vectors, found.vectors[1:3])
    with pytest.raises(FormatError, match="'median'"):
        read_embeddings(path, pool="median")
    # Vectors beside the frames are taken unless pooling is asked for.
    with h5py.File(path, "r+") as f:
        f["embeddings"] = np.ones((4, 4))
    assert (read_embeddings(path).vectors == 1).all()
    np.testing.assert_array_equal(read_embeddings(path, pool="mean").vectors, found.vectors)


@layouts
def test_pooling_changes_nothing_where_there_are_no_frames(tmp_path, layout):
    path, _ = write(layout, tmp_path, vectors())
    np.testing.assert_array_equal(
        read_embeddings(path, pool="mean").vectors, read_embeddings(path).vectors
    )


def test_frames_of_one_dataset_per_id(tmp_path):
    path = tmp_path / "v.h5"
    frames, offsets, means = frames_file(tmp_path / "other.h5")
    with h5py.File(path, "w") as f:
        for name, a, b in zip("dcba", offsets, offsets[1:], strict=False):
            f[name] = frames[a:b]
    with pytest.raises(FormatError, match=r"v\.h5.*matrices 'a'.*frames.*pool=.mean"):
        read_embeddings(path)
    found = read_embeddings(path, pool="mean")
    assert found.ids == ("a", "b", "c", "d")
    np.testing.assert_allclose(found.vectors, means[::-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 3, 3, 9, 11], r"row 1 \(id 'c'\) has no frames"),
        ([0, 3, 4, 9, 12], "0 to 12, expected 0 to the number of frames, 11"),
        ([0, 5, 4, 9, 11], r"row 1 \(id 'c'\)"),
        ([0, 4, 9, 11], "expected 5 integers"),
        ([0.0, 3.0, 4.0, 9.0, 11.0], "expected 5 integers"),
    ],
)
def test_offsets_that_do_not_cover_the_frames(tmp_path, offsets, message):
    path = tmp_path / "v.h5"
    frames_file(path)
    with h5py.File(path, "r+") as f:
        del f["offsets"]
        f["offsets"] = offsets
    with pytest.raises(FormatError, match=message):
        read_embeddings(path, pool="mean")


def test_integer_ids_are_their_digits(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["embeddings"], f["ids"] = vectors(), np.arange(100, 100 + N)
    assert read_embeddings(tmp_path / "v.h5").ids[0] == "100"


def test_sidecar_forms(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, vectors())
    side = tmp_path / "v.ids.json"
    side.write_text(json.dumps({"ids": IDS, "group_ids": [1] * N}))
    found = read_embeddings(path)
    assert found.ids == tuple(IDS) and found.group_ids == ("1",) * N
    # What may be anything takes no part.
    (tmp_path / "v.json").write_text('{"model": "x"}')
    assert read_embeddings(path).ids == tuple(IDS)
    (tmp_path / "v.ids.txt").write_text("\n".join(IDS))
    with pytest.raises(FormatError, match=r"v\.npy.*'v\.ids\.json', 'v\.ids\.txt'"):
        read_embeddings(path)


def test_bfloat16_is_widened(tmp_path):
    from safetensors.torch import save_file

    x = torch.from_numpy(vectors()).to(torch.bfloat16)
    save_file({"emb": x}, tmp_path / "v.safetensors", metadata={"ids": json.dumps(IDS)})
    torch.save({"emb": x, "ids": IDS}, tmp_path / "v.pt")
    for name in ("v.safetensors", "v.pt"):
        found = read_embeddings(tmp_path / name)
        np.testing.assert_array_equal(found.vectors, x.float().numpy())


def test_norms(tmp_path):
    write_embeddings(tmp_path / "v.h5", ["a", "b"], np.array([[3.0, 4.0], [0.6, 0.8]]))
    assert read_embeddings(tmp_path / "v.h5").norms == pytest.approx(Norms(1.0, 3.0, 5.0))
    assert read_embeddings(tmp_path / "v.h5", rows=slice(0, 0)).norms == Norms(0, 0, 0)


def test_a_large_half_precision_file_costs_its_own_size(tmp_path):
    rows, width = 8_000, 2048
    x = np.random.default_rng(0).normal(size=(rows, width)).astype("f2")
    ids = [str(i) for i in range(rows)]
    write_embeddings(tmp_path / "v.h5", ids, x)
    np.save(tmp_path / "v.npy", x)
    (tmp_path / "v.ids.json").write_text(json.dumps(ids))
    for name in ("v.h5", "v.npy"):
        tracemalloc.start()
        found = read_embeddings(tmp_path / name, keep_half=True)
        _ = found.content_sha256, found.norms
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The vectors, the ids (about 80 bytes each, held twice for a moment), blocks.
        assert peak < x.nbytes + 400 * rows + (30 << 20), name


def test_real_files_are_read(real_data):
    found = read_embeddings(real_data / "coco500" / "texts.h5")
    assert found.vectors.shape == (500, 512) and found.ids[0] == "caption000"
    scores = read_scores(real_data / "cap4video" / "video_scores.h5")
    assert scores.scores.shape == (1000, 1000) and scores.ids_given


@pytest.mark.parametrize("kind", ["npz", "pt", "h5"])
def test_a_list_that_may_be_the_ids_is_named(tmp_path, kind):
    path, names = tmp_path / f"v.{kind}", ["one", "two", "three"]
    x = np.ones((3, 2), "f4")
    write_named(path, {"embeddings": x, "clip_names": names})
    with pytest.raises(FormatError, match="no ids.*clip_names.*id_column=.clip_names."):
        read_embeddings(path)
    found = read_embeddings(path, id_column="clip_names")
    assert list(found.ids) == names


@pytest.mark.parametrize("ending", ["json", "npz", "h5", "safetensors", "pt"])
def test_items_of_their_own_are_read_together(tmp_path, ending):
    """A block of one row for each item would cost its readers more than the rows."""
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype("f4")
    path, items = tmp_path / f"v.{ending}", {f"v{i}": row for i, row in enumerate(rows)}
    write_named(path, items)
    with open_container(path) as container:
        found = locate(container, Wanted())
        blocks = list(found.rows.blocks(10, 290))
    assert len(blocks) == 1
    order = [int(name.removeprefix("v")) for name in found.ids]
    np.testing.assert_allclose(blocks[0], rows[order[10:290]], rtol=1e-6)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["2", "0", "1"]])
def test_ids_from_elsewhere_name_no_arrays_that_have_ids(tmp_path, names):
    """They were passed over without a word; arrays called by their row numbers take them."""
    arrays = {name: np.full(4, i + 1.0) for i, name in enumerate(names)}
    np.savez(tmp_path / "v.npz", **arrays)
    given = ["x", "y", "z"]
    if names[0] == "a":
        with pytest.raises(FormatError, match="an array for each id, such as 'a', and the ids giv"):
            read_embeddings(tmp_path / "v.npz", ids=given)
        with pytest.raises(FormatError, match="row numbers would name them again"):
            read_embeddings(tmp_path / "v.npz", ids="rows")
        return
    found = read_embeddings(tmp_path / "v.npz", ids=given)
    assert dict(zip(found.ids, found.vectors[:, 0], strict=True)) == {"z": 1, "x": 2, "y": 3}
    with pytest.raises(FormatError, match="2 ids"):
        read_embeddings(tmp_path / "v.npz", ids=given[:2])


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("ending", ["json", "pt"])
def test_an_item_without_a_vector_is_named_and_not_left_out(tmp_path, nothing, ending):
    path = tmp_path / f"v.{ending}"
    rows = {f"v{i}": [float(i), 1.0, 2.0] for i in range(4)}
    for name in ("v9", "a"):
        content = {**rows, name: nothing}
        if ending == "json":
            path.write_text(json.dumps(content))
        else:
            torch.save({k: torch.tensor(x) if x else x for k, x in content.items()}, path)
        with pytest.raises(FormatError, match=f"'{name}' holds nothing, and 4 entries like it"):
            read_embeddings(path)
    # Beside one matrix it is no item.
    content = {"embeddings": list(rows.values()), "ids": list(rows), "note": nothing}
    if ending == "json":
        path.write_text(json.dumps(content))
    else:
        torch.save({**content, "embeddings": torch.tensor(content["embeddings"])}, path)
    assert read_embeddings(path).ids == tuple(rows)


def one_each(**more):
    return {f"v{i}": np.arange(1, 5, dtype=np.float32) + i for i in range(3)} | more


@pytest.mark.parametrize("ending", ["h5", "npz", "safetensors", "pt", "folder"])
@pytest.mark.parametrize(
    ("held", "said"), [(np.float32(3), "a single number"), (np.zeros(0, np.float32), "nothing")]
)
def test_an_item_that_holds_a_number_or_an_empty_array_is_named(tmp_path, ending, held, said):
    path = tmp_path / f"v.{ending}"
    names = one_each(v9=np.asarray(held))
    if ending == "folder":
        path.mkdir()
        for name, each in names.items():
            np.save(path / f"{name}.npy", each)
    else:
        write_named(path, names)
    with pytest.raises(FormatError, match=f"'v9' holds {said}, and 3 entries like it"):
        read_embeddings(path)


@pytest.mark.parametrize("ending", ["h5", "npz", "pt"])
def test_a_group_without_the_array_of_the_others_is_named(tmp_path, ending):
    path = tmp_path / f"v.{ending}"
    groups = {f"{name}/feat": each for name, each in one_each().items()}
    for leaf, held, said in [
        ("length", np.int64(3), "'length' and no 'feat'"),
        ("feat", np.float32(3), "a single number"),
        ("feat", np.zeros(0, np.float32), "nothing"),
    ]:
        write_named(path, groups | {f"v9/{leaf}": np.asarray(held)})
        for dataset in (None, "feat"):
            with pytest.raises(FormatError, match=f"'v9' holds {said}, and 3 entries like it"):
                read_embeddings(path, dataset=dataset)
    write_named(path, groups | {"v9/feats": np.ones(4, np.float32)})
    with pytest.raises(FormatError, match="3 of its 4 items hold 'feat', but 'v9' holds 'feats'"):
        read_embeddings(path)


@pytest.mark.parametrize("above", ["", "test/"])
def test_an_empty_group_among_items_is_named(tmp_path, above):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, each in one_each().items():
            file[f"{above}{name}/feat"] = each
        file.create_group(f"{above}v9")
    with pytest.raises(FormatError, match=f"'{above}v9' holds nothing, and 3 entries"):
        read_embeddings(tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5", "a") as file:
        del file[f"{above}v9"]
    assert read_embeddings(tmp_path / "v.h5").ids == ("v0", "v1", "v2")


@pytest.mark.parametrize(
    "held", [{}, {"feat": None}, {"feat": {}}, {"feat": 2.5}, {"feat": "x"}, 2.5]
)
@pytest.mark.parametrize("ending", ["json", "pt"])
def test_an_object_without_a_vector_among_others_is_named(tmp_path, ending, held):
    path = tmp_path / f"v.{ending}"
    if ending == "json":
        rows = {name: {"feat": each.tolist()} for name, each in one_each().items()}
        path.write_text(json.dumps({**rows, "v9": held}))
    else:
        rows = {name: {"feat": torch.tensor(each)} for name, each in one_each().items()}
        torch.save({**rows, "v9": held}, path)
    with pytest.raises(FormatError, match="'v9' holds .*, and 3 entries like it hold vectors"):
        read_embeddings(path)


def test_what_is_not_called_like_the_items_blocks_nothing(tmp_path):
    path = tmp_path / "v.h5"
    for items in (one_each(), {f"{name}/feat": each for name, each in one_each().items()}):
        with h5py.File(write_named(path, items), "a") as file:
            file["config"], file["dim"], file["about/model"] = '{"a": 1}', 4, "clip"
            file.create_group("metadata")
        assert read_embeddings(path).ids == ("v0", "v1", "v2")
    with h5py.File(write_named(path, {"x": np.ones((2, 3)), "ids": ["a", "b"]}), "a") as file:
        file.create_group("x1")
        file["x2"] = 3
    assert read_embeddings(path).ids == ("a", "b")
    torch.save({"x": torch.ones(2, 3), "note": None}, tmp_path / "v.pt")
    assert read_embeddings(tmp_path / "v.pt", row_numbers=True).ids == ("0", "1")


@pytest.mark.parametrize("ending", ["h5", "npz", "safetensors", "pt", "json"])
@pytest.mark.parametrize("leaf", ["", "/feat"])
def test_a_vector_of_whole_numbers_among_decimals_is_one_of_them(tmp_path, ending, leaf):
    if leaf and ending in ("safetensors", "json"):
        leaf = ""
    path, items = tmp_path / f"v.{ending}", one_each(v0=np.arange(4) + 0.5, v9=np.arange(4))
    if ending == "json":
        path.write_text(json.dumps({name: each.tolist() for name, each in items.items()}))
    else:
        write_named(path, {f"{name}{leaf}": each for name, each in items.items()})
    found = read_embeddings(path)
    rows = dict(zip(found.ids, found.vectors, strict=True))
    np.testing.assert_array_equal(rows["v9"], [0, 1, 2, 3])
    assert set(rows) == set(items)


def test_whole_numbers_that_are_called_otherwise_are_named(tmp_path):
    path = write_named(tmp_path / "v.npz", one_each(labels=np.arange(4)))
    with pytest.raises(FormatError, match="'labels' .4 int64. is no vector of decimals, and 3"):
        read_embeddings(path)
    # Beside matrices it is nothing of the kind.
    matrices = {"x": np.ones((2, 3)), "y": np.ones((2, 3)), "labels": np.arange(2)}
    with pytest.raises(FormatError, match="'x', 'y' could all be the embeddings"):
        read_embeddings(write_named(tmp_path / "v.npz", matrices), dataset="/")


def write_records(path, records):
    lines = path.suffix == ".jsonl"
    text = "".join(f"{json.dumps(each)}\n" for each in records) if lines else json.dumps(records)
    path.write_text(text)
    return path


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("lacks", [{}, {"emb": None}, {"emb": []}])
@pytest.mark.parametrize("frames", [False, True])
def test_a_record_without_a_vector_is_named(tmp_path, ending, lacks, frames):
    path = tmp_path / f"v.{ending}"
    vector = [[0.5, 1.0], [1.0, 2.0]] if frames else [0.5, 1.0]
    records = [{"id": name, "emb": vector} for name in ("x", "y", "z")]
    for place in (0, 2):
        held = [*records[:place], {"id": "w", **lacks}, *records[place:]]
        with pytest.raises(
            FormatError, match=f"'emb': .*without a vector in record {place} .id 'w'"
        ):
            read_embeddings(write_records(path, held), pool="mean")
        # What is whole is read, whatever lacks beside it.
        held = [{**each, "embedding": [1.0, 2.0]} for each in held]
        assert len(read_embeddings(write_records(path, held))) == 4


def test_a_record_without_an_id_is_named(tmp_path):
    records = [{"id": name, "emb": [0.5, 1.0]} for name in ("x", "y")]
    path = write_records(tmp_path / "v.json", [*records, {"emb": [1.0, 2.0]}])
    with pytest.raises(FormatError, match="'id': the id in row 2 is missing"):
        read_embeddings(path)


def test_nothing_is_not_called_a_number(tmp_path):
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"ids": ["x", "y"], "embeddings": [[0.5, 1.0], None]}))
    with pytest.raises(FormatError, match="entry 0 holds 2, entry 1 holds nothing"):
        read_embeddings(path)


def test_the_root_gives_ids_without_the_name_that_each_array_has(tmp_path):
    groups = {f"v{i}/feat": np.arange(2) + i + 0.5 for i in range(3)}
    path = write_named(tmp_path / "v.h5", groups)
    assert read_embeddings(path, dataset="/").ids == ("v0", "v1", "v2")
    path = write_named(tmp_path / "v.h5", {f"test/{name}": x for name, x in groups.items()})
    assert read_embeddings(path, dataset="/").ids == read_embeddings(path).ids == ("v0", "v1", "v2")


@pytest.mark.parametrize("above", ["", "data/"])
@pytest.mark.parametrize("leaf", ["", "/feat"])
def test_who_is_offered_all_groups_is_told_what_the_ids_are_then(tmp_path, above, leaf):
    names = [f"{above}{group}/{group[1]}{i}{leaf}" for group in ("test", "train") for i in range(3)]
    path = write_named(tmp_path / "v.h5", {name: np.arange(2) + 0.5 for name in names})
    with pytest.raises(FormatError, match="for all, with ids such as '.*'$") as caught:
        read_embeddings(path)
    told = str(caught.value).rpartition("such as '")[2].rstrip("'")
    assert told in read_embeddings(path, dataset="/").ids
    assert told.rpartition("/")[0].endswith("test")


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("long", [False, True])
def test_one_document_that_is_called_lines_is_read_as_what_it_is(
    tmp_path, monkeypatch, indent, long
):
    rows = {f"v{i}": [i + 0.5, 1.0] + [2.0] * 40 for i in range(100)}
    records = [{"id": name, "embedding": row} for name, row in rows.items()]
    documents = [
        rows,
        records,
        {"data": records},
        {"ids": list(rows), "embeddings": [*rows.values()]},
    ]
    if long:
        monkeypatch.setattr(memory, "COPY_SHARE", 0)
    for document in documents:
        (tmp_path / "v.jsonl").write_text(json.dumps(document, indent=indent) + "\n\n")
        found = read_embeddings(tmp_path / "v.jsonl")
        assert found.ids == tuple(rows) and found.vectors[7, 0] == 7.5
    (tmp_path / "v.jsonl").write_text(json.dumps([*rows.values()], indent=indent))
    assert read_embeddings(tmp_path / "v.jsonl", row_numbers=True).vectors.shape == (100, 42)


@pytest.mark.parametrize("long", [False, True])
def test_lines_of_one_item_each_stay_lines(tmp_path, monkeypatch, long):
    path = tmp_path / "v.jsonl"
    if long:
        monkeypatch.setattr(memory, "COPY_SHARE", 0)
    path.write_text('{"a": [0.5, 1]}\n{"b": [1, 2.5]}\n')
    assert read_embeddings(path).ids == ("a", "b")
    for record in ('{"id": "a", "clip": [0.5, 1]}', '{"_id": {"$oid": "a"}, "clip": [0.5, 1]}'):
        path.write_text(record)
        assert read_embeddings(path, id_column=record[2:].partition('"')[0]).ids == ("a",)
    for line in ('{"embedding": [0.5, 1]}', "[0.5, 1]"):
        for count in (1, 2):
            path.write_text(f"{line}\n" * count)
            assert read_embeddings(path, row_numbers=True).vectors.shape == (count, 2)


@pytest.mark.parametrize("ending", ["h5", "npz", "safetensors", "pt"])
def test_vectors_of_whole_numbers_alone_are_called_that(tmp_path, ending):
    path = write_named(tmp_path / f"v.{ending}", {"v0": np.arange(4), "v1": np.arange(4)})
    with pytest.raises(FormatError, match="holds integers alone: 'v0' .4 int64.*as float32"):
        read_embeddings(path)
    path = write_named(tmp_path / f"v.{ending}", {"ids": np.arange(4), "rows": np.arange(4)})
    with pytest.raises(FormatError, match="no embeddings found; it holds 'ids'"):
        read_embeddings(path)


def test_a_dataset_without_any_data_blocks_nothing_and_is_no_item(tmp_path):
    matrix = {"embeddings": np.ones((2, 3)), "ids": ["a", "b"]}
    for items in (matrix, one_each()):
        with h5py.File(write_named(tmp_path / "v.h5", items), "a") as file:
            file["config"] = h5py.Empty("f4")
        assert len(read_embeddings(tmp_path / "v.h5")) == (2 if items is matrix else 3)
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file["v9"] = h5py.Empty("f4")
    with pytest.raises(FormatError, match="'v9' holds a dataset without any data, and 3 entries"):
        read_embeddings(tmp_path / "v.h5")


def test_a_group_with_a_mask_alone_is_told_that_it_lacks_the_frames(tmp_path):
    groups = {f"v{i}/feat": np.ones((3 + i, 4), np.float32) for i in range(3)}
    path = write_named(tmp_path / "v.npz", groups | {"v9/mask": np.ones(3)})
    with pytest.raises(FormatError, match="3 of its 4 items hold 'feat', but 'v9' .*; give it one"):
        read_embeddings(path, pool="mean")


@pytest.mark.parametrize("stem", ["", "arr_"])
@pytest.mark.parametrize("first", [0, 1])
def test_arrays_called_by_numbers_stand_in_their_order(tmp_path, stem, first):
    kept = {f"{stem}{i + first}": row for i, row in enumerate(np.eye(12))}
    folder = tmp_path / "folder"
    folder.mkdir()
    with h5py.File(tmp_path / "v.h5", "w") as f, h5py.File(tmp_path / "g.h5", "w") as g:
        for name, row in kept.items():
            f[name], g[f"{name}/feat"] = row, row
            np.save(folder / f"{name}.npy", row)
    np.savez(tmp_path / "v.npz", **kept)
    text = {name: kept[name].tolist() for name in sorted(kept)}
    (tmp_path / "v.json").write_text(json.dumps(text))
    for name in ("v.h5", "g.h5", "folder", "v.npz", "v.json"):
        found = read_embeddings(tmp_path / name)
        assert found.ids == tuple(kept), name
        np.testing.assert_array_equal(found.vectors, np.eye(12))


def test_parts_of_a_table_stand_in_the_order_of_their_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    for part, row in enumerate(np.eye(12)):
        pd.DataFrame({"clip": [row.tolist()]}).to_parquet(tmp_path / f"part-{part}.parquet")
    np.testing.assert_array_equal(read_embeddings(tmp_path, row_numbers=True).vectors, np.eye(12))


@pytest.mark.parametrize("kind", ["folder", "npz", "h5", "pt"])
@pytest.mark.parametrize("axes", ["fo", "oof", "foo", "f d o", "f d o o", "f o d o"])
def test_axes_of_one_in_the_arrays_of_items_are_taken_away(tmp_path, kind, axes):
    rng = np.random.default_rng(0)
    frames = {f"v{i}": rng.normal(size=(f, 4)).astype("f4") for i, f in enumerate((3, 1, 2))}
    axes = axes if " " in axes else " ".join(axes) + " d"
    size = dict(o=1, d=4)
    arrays = {
        name: x.reshape([size.get(axis, len(x)) for axis in axes.split()])
        for name, x in frames.items()
    }
    path = tmp_path / f"v.{kind}"
    if kind == "folder":
        path.mkdir()
        for name, x in arrays.items():
            np.save(path / f"{name}.npy", x)
    elif kind == "npz":
        np.savez(path, **arrays)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for name, x in arrays.items():
                file[name] = x
    else:
        torch.save({name: torch.tensor(x) for name, x in arrays.items()}, path)
    with pytest.raises(FormatError, match="how to combine them"):
        read_embeddings(path)
    found = read_embeddings(path, pool="mean", pool_raw=True)
    expected = [x.astype("f8").mean(axis=0) for x in frames.values()]
    assert found.ids == tuple(frames) and np.allclose(found.vectors, expected, atol=1e-6)


def test_axes_of_one_around_vectors_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "v.npz", **{f"v{i}": np.ones((1, 4, 1, 1)) for i in range(3)})
    with pytest.raises(FormatError, match=r"'v0' \(1, 4, 1, 1\).* store each as x\.reshape\(-1\)"):
        read_embeddings(tmp_path / "v.npz")


def test_frames_without_axes_of_one_keep_their_masks(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 2, 1, 4))
    arrays = {f"v{i}": each for i, each in enumerate(x)}
    np.savez(tmp_path / "v.npz", **arrays, **{f"{name}_mask": [True, False] for name in arrays})
    found = read_embeddings(tmp_path / "v.npz", pool="max", pool_raw=True)
    assert np.allclose(found.vectors, x[:, 0, 0])


def write_lists_of_frames(path, frames, **more):
    """Items of frames in one list, with their ids, in the kind of file that the path names."""
    ids = [f"v{i}" for i in range(len(frames))]
    lists = [x.tolist() for x in frames]
    records = [{"id": i, "feats": x} for i, x in zip(ids, lists, strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    elif path.stem == "records":
        path.write_text(json.dumps(records))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"ids": ids, "embeddings": lists, **more}))
    elif path.suffix == ".parquet":
        arrow, kind = pytest.importorskip("pyarrow"), None
        kind = arrow.list_(arrow.float64())
        if path.stem == "fixed":
            kind = arrow.list_(arrow.float64(), 4)
        if path.stem == "large":
            kind = arrow.large_list(arrow.float64())
        kind = (arrow.large_list if path.stem == "large" else arrow.list_)(kind)
        table = arrow.table({"video_id": ids, "clip": arrow.array(lists, kind), **more})
        pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=2)
    else:
        torch.save({"ids": ids, "feats": [torch.from_numpy(x) for x in frames]}, path)


LISTED = [
    "v.jsonl",
    "records.json",
    "v.json",
    "v.parquet",
    "fixed.parquet",
    "large.parquet",
    "v.pt",
]


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("counts", [(3, 1, 2, 7), (2, 2, 2, 2), (1, 1, 1, 2)])
def test_items_in_a_list_may_have_different_numbers_of_frames(tmp_path, name, counts):
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(count, 4)) for count in counts]
    path = tmp_path / name
    write_lists_of_frames(path, frames)
    with pytest.raises(
        FormatError, match=r"every item has up to \d rows \(frames\).*pool=\"mean\""
    ):
        read_embeddings(path)
    whole = read_embeddings(path, pool="mean")
    assert whole.ids == ("v0", "v1", "v2", "v3")
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in frames]
    np.testing.assert_allclose(whole.vectors, [x.mean(axis=0) for x in unit], atol=1e-12)
    raw = read_embeddings(path, pool="max", pool_raw=True, rows=slice(1, 3))
    np.testing.assert_allclose(raw.vectors, [x.max(axis=0) for x in frames[1:3]], atol=1e-12)


@pytest.mark.parametrize("name", ["v.json", "v.jsonl", "v.parquet"])
def test_a_frame_of_another_length_and_an_item_without_any_are_named(tmp_path, name):
    path, two = tmp_path / name, np.ones((2, 4))
    write_lists_of_frames(path, [two, np.ones((1, 4)), np.ones((3, 5)), two])
    said = r"frame 0 (has 5 values, others have 4|holds 4, entry 2, frame 0 holds 5)"
    with pytest.raises(FormatError, match=rf"(row 2|entry 0), {said}"):
        read_embeddings(path, pool="mean")
    write_lists_of_frames(path, [two, np.ones((1, 4)), np.ones((0, 4)), two])
    with pytest.raises(FormatError, match=r"row 2: has no frames, or only|record 2 \(id 'v2'\)"):
        read_embeddings(path, pool="mean")


def test_lists_of_frames_beside_vectors_are_no_embeddings(tmp_path):
    frames = [np.ones((count, 4)) for count in (2, 1, 3, 1)]
    vectors = np.eye(4).tolist()
    write_lists_of_frames(tmp_path / "v.parquet", frames, vectors=vectors)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.parquet").vectors, vectors)
    counted = {f"f{i}": vectors[i] for i in range(4)}
    write_lists_of_frames(tmp_path / "v.parquet", frames, **counted)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.parquet").vectors, vectors)
    write_lists_of_frames(tmp_path / "v.parquet", frames, start=[1.5] * 4, end=[2.5] * 4)
    with pytest.raises(FormatError, match="'clip', 'values' could all be the embeddings"):
        read_embeddings(tmp_path / "v.parquet", pool="mean")
    read_embeddings(tmp_path / "v.parquet", pool="mean", embedding_column="clip")
    write_lists_of_frames(tmp_path / "v.json", frames, lengths=[1, 1, 2, 1])
    assert read_embeddings(tmp_path / "v.json", pool="mean").vectors.shape == (4, 4)


@pytest.mark.parametrize("about", ["meta", "config", "info"])
@pytest.mark.parametrize("leaf", ["embeddings", "feat", "clip"])
def test_a_group_about_the_file_blocks_nothing(tmp_path, about, leaf):
    x = vectors()
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file[f"visual/{leaf}"], file["visual/ids"] = x, IDS
        file[f"{about}/fps"], file[f"{about}/mean"] = np.ones(N), x.mean(0)
        file[f"{about}/model"] = "clip"
        file["fps"] = np.full(N, 25.0)
    found = read_embeddings(tmp_path / "v.h5")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, x)


@pytest.mark.parametrize("ending", ["h5", "npz", "pt"])
@pytest.mark.parametrize("framed", [False, True])
def test_a_number_of_each_item_beside_them_is_no_item(tmp_path, ending, framed):
    x, ids = vectors(), [f"v{i}" for i in range(N)]
    items = {
        name: np.stack([row, row]) if framed else row for name, row in zip(ids, x, strict=True)
    }
    path = write_named(tmp_path / f"v.{ending}", items | {"fps": np.full(N, 25.0)})
    found = read_embeddings(path, pool="mean", pool_raw=True)
    assert found.ids == tuple(ids)
    np.testing.assert_allclose(found.vectors, x, rtol=1e-6)


def test_a_group_about_the_file_that_is_like_an_item_is_one(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name in ("v0", "v1", "meta"):
            file[f"{name}/feat"] = vectors()[0]
    assert read_embeddings(tmp_path / "v.h5").ids == ("meta", "v0", "v1")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["feats/x"], file["meta/ids"] = vectors(), IDS
        file["feats/mean"] = vectors()[0]
    with pytest.raises(FormatError, match="'meta/ids'"):
        read_embeddings(tmp_path / "w.h5")


@pytest.mark.parametrize("ending", ["h5", "npz", "pt"])
@pytest.mark.parametrize("framed", [False, True])
def test_ids_beside_arrays_called_by_numbers_name_them(tmp_path, ending, framed):
    x = np.random.default_rng(0).normal(size=(12, D)).astype("f4")
    ids = [f"w{i}" for i in range(12)]
    items = {str(i): np.stack([row, row]) if framed else row for i, row in enumerate(x)}
    path = write_named(tmp_path / f"v.{ending}", items | {"ids": ids})
    found = read_embeddings(path, pool="mean", pool_raw=True)
    assert found.ids == tuple(ids)
    np.testing.assert_allclose(found.vectors, x, rtol=1e-6)
    path = write_named(tmp_path / f"twice.{ending}", items | {"ids": [*ids[:-1], "w0"]})
    with pytest.raises(FormatError, match="the id 'w0' stands in row 0 and again in row 11"):
        read_embeddings(path, pool="mean")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("ending", ["pt", "json"])
@pytest.mark.parametrize("name", ["ids", "id2idx"])
def test_a_dictionary_of_rows_beside_a_matrix_names_them(tmp_path, turned, ending, name):
    order = [4, 2, 0, 6, 1, 3, 5]
    rows = {IDS[row]: row for row in order}
    held = {row: IDS[row] for row in range(N)} if turned else rows
    path = tmp_path / f"v.{ending}"
    if ending == "pt":
        torch.save({"embeddings": torch.tensor(vectors()), name: held}, path)
    else:
        path.write_text(json.dumps({"embeddings": vectors().tolist(), name: held}))
    if name != "ids":
        with pytest.raises(FormatError, match="id_column='id2idx'"):
            read_embeddings(path)
    found = read_embeddings(path, id_column=name)
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, vectors())


CLASSES = ["dog", "cat", "dog", "cow", "cat", "dog", "cow"]


@pytest.mark.parametrize("ending", ["h5", "npz", "pt", "parquet"])
@pytest.mark.parametrize(
    ("classes", "ids"),
    [("label", "id"), ("names", "id"), ("name", "video_id"), ("keys", "image_id")],
)
def test_words_that_come_again_block_no_ids_that_name_every_row(tmp_path, ending, classes, ids):
    path = tmp_path / f"v.{ending}"
    if ending == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({classes: CLASSES, "emb": vectors().tolist(), ids: IDS}), path)
    else:
        held = torch.tensor(vectors()) if ending == "pt" else vectors()
        write_named(path, {classes: CLASSES, "embeddings": held, ids: IDS})
    assert read_embeddings(path).ids == tuple(IDS)


@pytest.mark.parametrize("ending", ["h5", "npz", "pt", "parquet"])
@pytest.mark.parametrize("named", [False, True])
def test_words_that_come_again_are_not_said_to_be_ids(tmp_path, ending, named):
    path, more = tmp_path / f"v.{ending}", {"video": IDS} if named else {}
    if ending == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"label": CLASSES, "emb": vectors().tolist(), **more}), path)
    else:
        held = torch.tensor(vectors()) if ending == "pt" else vectors()
        write_named(path, {"label": CLASSES, "embeddings": held, **more})
    with pytest.raises(FormatError, match="there are no ids for its rows") as caught:
        read_embeddings(path)
    assert "label" not in str(caught.value) and ("'video'" in str(caught.value)) == named


@pytest.mark.parametrize("turned", [False, True])
def test_splits_of_both_sides_in_one_file_are_told_by_name(tmp_path, turned):
    rows = np.random.default_rng(0).normal(size=(6, 4))
    names = [(split, side) for side in ("video", "text") for split in ("train", "test")]
    np.savez(tmp_path / "d.npz", **{"_".join(x[::-1] if turned else x): rows for x in names})
    side = "video_test" if turned else "test_video"
    with pytest.raises(FormatError, match=f"of each split and side.*dataset='{side}'"):
        read_embeddings(tmp_path / "d.npz", side="videos")
    found = read_embeddings(tmp_path / "d.npz", dataset=side, row_numbers=True)
    assert found.vectors.shape == (6, 4)
