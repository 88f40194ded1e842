"""Files made to read other files, to take all memory, or at random."""

import random
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rerank.errors import FormatError, RerankError
from rerank.io import (
    read_embeddings,
    read_ground_truth,
    read_results,
    read_scores,
    write_embeddings,
)
from tests.io_writers import ARROW, IDS, N, in_order, vectors, write, zip_of
from tests.test_io_results import directions, some_results

SECRET = b"secret!!" * 200


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(SECRET)
    return path


def with_ids(make):
    def write_file(path, secret):
        with h5py.File(path, "w") as f:
            f["ids"] = IDS
            make(f, secret)

    return write_file


def external_link(f, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = vectors()
    f["embeddings"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/x")


def external_group(f, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["g/x"] = vectors()
    f["embeddings"] = vectors()
    f["more"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/g")


def soft_to_external(f, secret):
    external_group(f, secret)
    del f["embeddings"]
    f["embeddings"] = h5py.SoftLink("/more/x")


def dangling(f, secret):
    f["embeddings"] = h5py.SoftLink("/nowhere")


def external_storage(f, secret):
    f.create_dataset("embeddings", (N, 4), "f4", external=[(str(secret), 0, N * 16)])


def external_ids(f, secret):
    f["embeddings"] = vectors()
    del f["ids"]
    f.create_dataset("ids", (N,), "S8", external=[(str(secret), 0, N * 8)])


def virtual(f, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = vectors()
    layout = h5py.VirtualLayout((N, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", (N, 4))
    f.create_virtual_dataset("embeddings", layout)


def huge_contiguous(f, secret):
    f.create_dataset("embeddings", (1 << 50, 4), "f4")
    del f["ids"]
    f.create_dataset("ids", (1 << 50,), "S8")


def huge_chunked(f, secret):
    f.create_dataset("embeddings", (1 << 45, 4), "f4", chunks=(4096, 4))
    f["embeddings"][0] = 1


def huge_packed(f, secret):
    d = f.create_dataset("embeddings", (N, 1 << 40), "f4", chunks=(1, 1 << 20), compression="gzip")
    d[0, :10] = 1


def huge_chunk(f, secret):
    d = f.create_dataset(
        "embeddings", (N, 4), "f4", chunks=(1 << 26, 4), maxshape=(None, 4), compression="gzip"
    )
    raw = np.zeros(16, "u1").tobytes()
    d.id.write_direct_chunk((0, 0), raw)


def never_written(f, secret):
    f.create_dataset("embeddings", (N, 4), "f4")


def half_written(f, secret):
    d = f.create_dataset("embeddings", (N, 4), "f4", chunks=(1, 4), compression="gzip")
    d[:3] = 1


def huge_ids(f, secret):
    f["embeddings"] = vectors()
    del f["ids"]
    f.create_dataset("ids", (1 << 45,), h5py.string_dtype(), chunks=(1024,))


def null_space(f, secret):
    f["embeddings"] = h5py.Empty("f4")


def reference(f, secret):
    f.create_dataset("embeddings", (N, 4), h5py.ref_dtype)


def ragged(f, secret):
    f.create_dataset("embeddings", (N,), h5py.vlen_dtype(np.float32))


def circle(f, secret):
    del f["ids"]
    f["a/b"] = np.ones(4)
    f["a/again"] = f["a"]


def deep(f, secret):
    del f["ids"]
    f["/".join("x" * 200)] = np.ones(4)


def one_under_many_names(f, secret):
    del f["ids"]
    f.create_dataset("a", data=np.zeros(1 << 20, "f4"), chunks=(1 << 16,), compression="gzip")
    for i in range(2000):
        f[f"b{i}"] = f["a"]


HDF5_ATTACKS = {
    external_link: "another file",
    external_group: "another file",
    soft_to_external: "link",
    dangling: "soft link",
    external_storage: "other files",
    external_ids: "other files",
    virtual: "virtual",
    huge_contiguous: "declares",
    huge_chunked: "declares",
    huge_packed: "declares",
    huge_chunk: "chunk|declares",
    never_written: "never filled",
    half_written: "chunks were never written",
    huge_ids: "ids",
    null_space: "without any data",
    reference: "holds",
    ragged: "holds",
    circle: "twice|itself",
    deep: "deep",
    one_under_many_names: "declares more",
}


@pytest.mark.parametrize("attack", HDF5_ATTACKS, ids=lambda attack: attack.__name__)
def test_hdf5_that_points_out_of_itself_or_declares_too_much(tmp_path, secret, attack):
    path = tmp_path / "v.h5"
    with_ids(attack)(path, secret)
    with pytest.raises(FormatError, match=HDF5_ATTACKS[attack]) as caught:
        read_embeddings(path, metric="dot")
    assert "v.h5" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", [external_storage, virtual, huge_contiguous, external_link])
def test_the_same_for_scores_and_results(tmp_path, secret, attack):
    path = tmp_path / "s.h5"
    with_ids(attack)(path, secret)
    with h5py.File(path, "r+") as f:
        f.move("embeddings", "scores")
        f["query_ids"], f["gallery_ids"] = IDS, IDS[:4]
    with pytest.raises(FormatError, match=HDF5_ATTACKS[attack]):
        read_scores(path)
    with h5py.File(path, "r+") as f:
        f.attrs["rerank_schema"] = "rerank-results/1"
    with pytest.raises(FormatError):
        read_results(path)


def test_arrays_that_declare_too_much(tmp_path):
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    for shape in (b"99999999999999999, 4", b"-3, -4", b"3, 4, ", b"'a', 4", b"1e3, 4", b"3"):
        raw = header % shape
        raw = raw.ljust(127) + b"\n" + bytes(16)
        (tmp_path / "v.npy").write_bytes(raw)
        zip_of(tmp_path / "v.npz", {"embeddings.npy": raw})
        for name in ("v.npy", "v.npz"):
            with pytest.raises(FormatError, match=name):
                read_embeddings(tmp_path / name)


def test_a_zip_bomb(tmp_path):
    np.savez_compressed(tmp_path / "v.npz", embeddings=np.zeros((1, 1)), ids=["a"])
    raw = bytearray((tmp_path / "v.npz").read_bytes())
    # The size before compression, in the directory at the end of the archive.
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"ids.npy"))
    raw[at + 24 : at + 28] = (1 << 31).to_bytes(4, "little")
    (tmp_path / "v.npz").write_bytes(raw)
    with pytest.raises(FormatError, match=r"v\.npz"):
        read_embeddings(tmp_path / "v.npz")


def test_a_tensor_that_reaches_beyond_its_file(tmp_path):
    """The number of elements in the pickle is not to be believed."""
    path = tmp_path / "v.pt"
    torch.save({"embeddings": torch.ones(6, 4), "ids": list("abcdef")}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    # 24 elements of 6 rows become 200 of 50.
    members[name] = (
        members[name].replace(b"K\x18t", b"K\xc8t").replace(b"K\x06K\x04", b"K\x32K\x04")
    )
    zip_of(path, members)
    with pytest.raises(FormatError, match=r"v\.pt"):
        read_embeddings(path)


def test_a_tensor_that_repeats_one_number(tmp_path):
    torch.save(torch.ones(1).expand(1 << 20, 1 << 20), tmp_path / "v.pt")
    with pytest.raises(FormatError, match="stores fewer"):
        read_embeddings(tmp_path / "v.pt")


def test_tensors_that_are_no_plain_ones(tmp_path):
    ids = [str(i) for i in range(4)]
    for tensor in (torch.eye(4).to_sparse(), torch.ones(4, 4).to(torch.float8_e4m3fn)):
        torch.save({"embeddings": tensor, "ids": ids}, tmp_path / "v.pt")
        with pytest.raises(FormatError, match=r"v\.pt"):
            read_embeddings(tmp_path / "v.pt")


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Cut, flip bits, overwrite, delete or insert, somewhere."""
    data = bytearray(raw)
    at = rng.randrange(len(data))
    match rng.randrange(5):
        case 0:
            del data[at:]
        case 1:
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            data[at : at + 8] = bytes(rng.choice([0, 255, 127, 1]) for _ in data[at : at + 8])
        case 3:
            del data[at : at + rng.randrange(1, 64)]
        case _:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
    return bytes(data)


FUZZED = ["h5-canonical", "h5-chunked", "h5-per-id", "npy", "npz", "npz-packed", "safetensors",
          "torch-dict", "parquet", "clip-retrieval"]  # fmt: skip


@pytest.mark.parametrize("layout", FUZZED)
def test_mutated_embeddings_are_refused_or_read(tmp_path, layout):
    if layout in ARROW:
        pytest.importorskip("pyarrow")
    path, _ = write(layout, tmp_path, vectors())
    files = [path] if path.is_file() else sorted(tmp_path.rglob("*_?.*"))
    fuzz(files, lambda: read_embeddings(path), count=100, seed=layout)


def fuzz(files: list[Path], read, *, count: int, seed: str, same=None) -> None:
    originals = {file: file.read_bytes() for file in files}
    rng = random.Random(seed)
    for _ in range(count):
        file = rng.choice(files)
        file.write_bytes(mutate(originals[file], rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read()
            except RerankError as error:
                assert "\n" not in str(error)
            else:
                assert same is None or same(found)
        file.write_bytes(originals[file])


def test_mutated_canonical_files_are_refused_or_unchanged(tmp_path):
    path = tmp_path / "v.h5"
    write_embeddings(path, IDS, vectors())
    fuzz(
        [path],
        lambda: read_embeddings(path),
        count=200,
        seed="canonical",
        # An attribute that does not speak of the content may go: then it is another kind of file.
        same=lambda found: (in_order(list(found.ids), vectors()) == found.vectors).all(),
    )


def test_mutated_results_are_refused_or_unchanged(tmp_path):
    path = some_results(tmp_path)
    before = read_results(path)

    def same(found):
        return found.manifest == before.manifest and all(
            directions(a) == directions(b)
            for a, b in zip(found.directions.values(), before.directions.values(), strict=True)
        )

    fuzz([path], lambda: read_results(path), count=200, seed="results", same=same)


@pytest.mark.parametrize("name", ["s.npy", "s.npz", "s.h5"])
def test_mutated_scores_are_refused_or_read(tmp_path, name):
    path = tmp_path / name
    scores = np.random.default_rng(0).normal(size=(5, 6))
    if name == "s.npy":
        np.save(path, scores)
    elif name == "s.npz":
        np.savez(path, scores=scores, query_ids=list("abcde"), gallery_ids=list("uvwxyz"))
    else:
        with h5py.File(path, "w") as f:
            f["scores"], f["query_ids"], f["gallery_ids"] = scores, list("abcde"), list("uvwxyz")
    fuzz([path], lambda: read_scores(path), count=100, seed=name)


GT = {
    "gt.json": '{"a": "u", "b": ["v", "w"], "c": {"x": 1, "y": 0}}',
    "list.json": '[{"query_id": "a", "video_id": "u"}, {"query_id": "b", "video_id": "v"}]',
    "msrvtt.json": '{"sentences": [{"sen_id": 1, "video_id": "u", "caption": "a"}]}',
    "gt.csv": 'key,vid_key,video_id,sentence\na,msr1,u,some words\nb,msr2,v,"more, words"\n',
    "gt.tsv": "query-id\tcorpus-id\tscore\na\tu\t1\nb\tv\t1\n",
    "gt.qrels": "a 0 u 1\nb 0 v 1\nc 0 w 0\n",
}


@pytest.mark.parametrize("name", GT)
def test_mutated_ground_truth_is_refused_or_read(tmp_path, name):
    path = tmp_path / name
    path.write_text(GT[name])
    for allow in (False, True):
        fuzz(
            [path],
            lambda allow=allow: read_ground_truth(
                path, list("abc"), list("uvwxyz"), allow_unjudged=allow
            ),
            count=60,
            seed=name,
        )
