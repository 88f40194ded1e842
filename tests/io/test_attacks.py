"""Files made to read other files, to take all memory, or to crash the reader."""

import zipfile
import zlib

import h5py
import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_results, read_scores
from rerank.io.field import Field, read_matrix
from rerank.io.formats.hdf5_guard import GuardedFile
from tests.io_writers import IDS, N, vectors, zip_of

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


def short_chunk(f, secret):
    """The library takes the checksum off a chunk that is shorter than one, and crashes."""
    d = f.create_dataset("embeddings", (N, 4), "f4", chunks=(N, 4), fletcher32=True)
    d.id.write_direct_chunk((0, 0), b"x")


def short_plain_chunk(f, secret):
    d = f.create_dataset("embeddings", (N, 4), "f4", chunks=(N, 4))
    d.id.write_direct_chunk((0, 0), b"x" * 100)


def empty_packed_chunk(f, secret):
    d = f.create_dataset(
        "embeddings", (N, 4), "f4", chunks=(N, 4), compression="gzip", fletcher32=True
    )
    d.id.write_direct_chunk((0, 0), b"xxxx")


HDF5_ATTACKS = {
    short_chunk: "cannot be of the stored size",
    short_plain_chunk: "cannot be of the stored size",
    empty_packed_chunk: "cannot be of the stored size",
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
    reference: "references",
    ragged: "ragged",
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


@pytest.mark.parametrize("options", [{}, {"chunks": (3,)}, {"chunks": (3,), "compression": 4}])
def test_text_longer_than_its_file(tmp_path, options):
    """The library takes memory for the stated length of a text before it looks for the text."""
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        f["embeddings"] = vectors()
        d = f.create_dataset("ids", data=IDS, dtype=h5py.string_dtype(), **options)
        if options:
            mask, raw = d.id.read_direct_chunk((3,))
            whole = bytearray(zlib.decompress(raw) if "compression" in options else raw)
            whole[16:20] = b"\xf0\xff\xff\xff"
            raw = zlib.compress(whole) if "compression" in options else bytes(whole)
            d.id.write_direct_chunk((3,), raw, mask)
        else:
            offset = d.id.get_offset()
    assert options or offset
    if not options:
        data = bytearray(path.read_bytes())
        data[offset + 16 : offset + 20] = b"\xf0\xff\xff\xff"
        path.write_bytes(data)
    with pytest.raises(FormatError, match=r"v\.h5: '/ids': declares text of 4,294,967"):
        read_embeddings(path)


@pytest.mark.parametrize("damage", ["free entry of nothing", "entry beyond", "heap beyond"])
def test_text_that_leads_in_circles(tmp_path, damage):
    """The library would follow a heap entry that leads to itself forever."""
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        f.attrs["rerank_schema"] = "rerank/1"
        f["embeddings"], f["ids"] = vectors(), IDS
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    at = start + 16
    if damage == "heap beyond":
        data[start + 8 : start + 16] = len(data).to_bytes(8, "little")
    else:
        # From entry to entry up to the free one, which has the number 0.
        while damage == "free entry of nothing" and (number := data[at]):
            at += 16 + (data[at + 8] + 7) // 8 * 8 if number else 0
        data[at + 8 : at + 16] = (0 if "free" in damage else 1 << 20).to_bytes(8, "little")
    path.write_bytes(data)
    # First without the library, which would not come back.
    with GuardedFile(path) as guarded, pytest.raises(FormatError, match="is damaged"):
        guarded.seek(start)
        guarded.readinto(bytearray(4096))
    with pytest.raises(FormatError, match=r"v\.h5: the text at byte"):
        read_embeddings(path)


def test_a_source_that_ends_early_is_noticed():
    def blocks(start, stop):
        yield np.ones((2, 4))

    short = Field("v.x", (3, 4), np.dtype("f8"), blocks)
    with pytest.raises(FormatError, match=r"v\.x: ends after row 1, 3 were declared"):
        read_matrix(short, what="embeddings", row_name=str)
    with pytest.raises(FormatError, match=r"v\.x: row 0"):
        read_matrix(short, what="embeddings", row_name=str, rows=(0, 1))


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


def test_bytes_after_the_array(tmp_path):
    np.save(tmp_path / "v.npy", vectors())
    (tmp_path / "v.txt").write_text("\n".join(IDS), encoding="utf-8")
    with (tmp_path / "v.npy").open("ab") as file:
        file.write(bytes(16))
    with pytest.raises(FormatError, match=r"v\.npy: declares 112 bytes of data but holds 128"):
        read_embeddings(tmp_path / "v.npy")


def test_a_zip_bomb(tmp_path):
    """Two gigabytes declared by the array and by the archive, in a file of a few bytes."""
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 16), }"
    member = (header % (1 << 24)).ljust(127) + b"\n" + bytes(64)
    zip_of(tmp_path / "v.npz", {"embeddings.npy": member})
    raw = bytearray((tmp_path / "v.npz").read_bytes())
    # The size before compression, in the directory at the end of the archive.
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = ((1 << 31) + 128).to_bytes(4, "little")
    (tmp_path / "v.npz").write_bytes(raw)
    with pytest.raises(FormatError, match=r"v\.npz: 'embeddings': declares more data than"):
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
