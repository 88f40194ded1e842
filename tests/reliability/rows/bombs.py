"""Small files that ask for much memory or much time."""

import json
import struct
import zipfile
import zlib
from functools import partial

import h5py
import numpy as np

from rerank.core.errors import RerankError
from rerank.io import read_embeddings, read_ground_truth, read_results, read_scores
from tests.io_writers import IDS, vectors, zip_of
from tests.reliability.child import forked, room
from tests.reliability.matrix import Case, row, time_limit

# What a reader may take beside what the process has, and how long.
_ROOM, _SECONDS = 400 << 20, 20
LENGTH = 1 << 27


def _npy(shape, dtype="<f8"):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00v\x00" + head.ljust(117) + b"\n"


def packed(path, members):
    """A zip archive of zeros: {name: (head, bytes of zeros)}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (head, size) in members.items():
            with archive.open(name, "w", force_zip64=True) as out:
                out.write(head)
                for _ in range(size >> 20):
                    out.write(bytes(1 << 20))


def zip_bomb(path):
    packed(path, {"embeddings.npy": (_npy((LENGTH // 64, 64)), 8 * LENGTH)})


def zip_ids(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", _npy((7,), "<U100000000") + bytes(100))
        archive.writestr("embeddings.npy", _npy((7, 4), "<f4") + vectors().tobytes())


def zip_many_ids(path):
    packed(path, {"ids.npy": (_npy((LENGTH,), "|S4"), 4 * LENGTH),
                  "embeddings.npy": (_npy((LENGTH, 1), "<f4"), 4 * LENGTH)})  # fmt: skip


def hdf5_packed(path):
    with h5py.File(path, "w") as f:
        d = f.create_dataset("embeddings", (1 << 30, 64), "f4", chunks=(1 << 14, 64),
                             compression="gzip", fillvalue=1)  # fmt: skip
        d[0] = 1
        f.create_dataset("ids", (1 << 30,), "S8", chunks=(1 << 20,), compression="gzip")


def hdf5_ids(path):
    with h5py.File(path, "w") as f:
        f["embeddings"] = vectors()
        f.create_dataset("ids", (7,), "S2000000000", chunks=(1,), compression="gzip")


def hdf5_attribute(path):
    with h5py.File(path, "w", libver="latest") as f:
        f["embeddings"], f["ids"] = vectors(), IDS
        f.attrs["rerank_schema"] = np.zeros(1 << 22, "S8")


def json_deep(path):
    path.write_text('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}")


def json_digits(path):
    path.write_text('{"a": [' + "9" * 400_000 + "]}")


def json_wide(path):
    path.write_text('{"a": [1e999, 1], "b": [1, 1]}')


def pt_shared(path):
    import torch

    x = {"t": torch.ones(1)}
    for _ in range(7):
        x = {f"k{i}": x for i in range(40)}
    torch.save(x, path)


def pt_lists(path):
    import torch

    x: list = ["a"]
    for _ in range(7):
        x = [x] * 40
    torch.save({"embeddings": torch.ones(3, 2), "ids": x}, path)


def pt_ids(path):
    import torch

    torch.save({"embeddings": torch.ones(1 << 22, 1).expand(-1, 300), "ids": ["a" * 1000]}, path)


def pt_packed(path):
    packed(path, {"v/data.pkl": (b"", 1 << 30)})


def parquet_dictionary(path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({
        "id": pa.array(["x" * 1000] * 300_000).dictionary_encode(),
        "embedding": pa.array([[1.0, 2.0]] * 300_000, pa.list_(pa.float32())),
    })  # fmt: skip
    parquet.write_table(table, path, compression="zstd")


def parquet_wide(path):
    import pyarrow as pa
    from pyarrow import parquet

    wide = pa.array([np.zeros(60_000_000, "f4")], pa.list_(pa.float32()))
    parquet.write_table(pa.table({"id": ["a"], "vector": wide}), path, compression="zstd")


def safetensors_header(path):
    path.write_bytes(struct.pack("<Q", 90_000_000) + b"{" * 1000)


def safetensors_shape(path):
    head = json.dumps({"v": {"dtype": "F32", "shape": [1 << 40, 1 << 20],
                             "data_offsets": [0, 4]}}).encode()  # fmt: skip
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))


def csv_wide(path):
    path.write_text('id,embedding\na,"[' + "1," * 300_000 + '1]"\nb,"[1]"\n')


def npy_header(path):
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b"{" * 1000)


def npy_names(path):
    path.write_bytes(_npy((7,), "<U500000000") + bytes(100))


def npy_nested(path):
    raw = b"\x93NUMPY\x01\x00\xf0\xff" + (b"(" * 30_000 + b")" * 30_000).ljust(65_520) + b"\n"
    path.write_bytes(raw)


def side_car(path):
    np.save(path, vectors())
    packed(path.with_name(f"{path.name}.npz"), {
        "ids.npy": (_npy((LENGTH,), "|S4"), 4 * LENGTH),
        "manifest.npy": (_npy((), "<U100"), 0),
    })  # fmt: skip


def side_car_of_text(path):
    np.save(path, vectors())
    zip_of(path.with_name(f"{path.name}.npz"), {
        "manifest.npy": _npy((), "<U400000000") + zlib.compress(bytes(10)),
        "ids.npy": _npy((1 << 40,), "|S4"),
    })  # fmt: skip


def model_nested(path):
    document = '{"kind": ' + "[" * 100_000 + "]" * 100_000 + "}"
    head = json.dumps({"__metadata__": {"rerank": document}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head)


def _truth(path):
    return read_ground_truth(path, ["a"], ["b"])


def _search(path):
    from rerank.serving.exporting import search_export

    return search_export(path, vectors(), 1)


def _load(path):
    import rerank

    return rerank.load(path)


BOMBS = (
    (zip_bomb, "v.npz", read_embeddings), (zip_bomb, "s.npz", read_scores),
    (zip_ids, "v.npz", read_embeddings), (zip_many_ids, "v.npz", read_embeddings),
    (hdf5_packed, "v.h5", read_embeddings), (hdf5_ids, "v.h5", read_embeddings),
    (hdf5_packed, "r.h5", read_results), (hdf5_attribute, "v.h5", read_embeddings),
    (json_deep, "v.json", read_embeddings), (json_deep, "gt.json", _truth),
    (json_digits, "v.json", read_embeddings), (json_digits, "gt.json", _truth),
    (json_wide, "v.json", read_embeddings), (pt_shared, "v.pt", read_embeddings),
    (pt_lists, "v.pt", read_embeddings), (pt_ids, "v.pt", read_embeddings),
    (pt_packed, "v.pt", read_embeddings), (parquet_dictionary, "v.parquet", read_embeddings),
    (parquet_wide, "v.parquet", read_embeddings), (csv_wide, "v.csv", read_embeddings),
    (safetensors_header, "v.safetensors", read_embeddings),
    (safetensors_shape, "v.safetensors", read_embeddings), (npy_header, "v.npy", read_embeddings),
    (safetensors_header, "m.safetensors", _load), (safetensors_shape, "m.safetensors", _load),
    (npy_names, "v.npy", read_embeddings), (npy_nested, "v.npy", read_embeddings),
    (side_car, "out", _search), (side_car_of_text, "out", _search),
    (model_nested, "m.safetensors", _load),
)  # fmt: skip


@row("bombs", "refused in little memory and time", quick=6)
def bombs():
    for make, name, read in BOMBS:
        yield Case(f"{make.__name__} as {name}", partial(_bomb, make, name, read))


def _bomb(make, name, read, folder):
    path = folder / name
    make(path)

    def work():
        room(_ROOM)
        with time_limit(_SECONDS):
            try:
                read(path)
            except RerankError as error:
                assert "\n" not in str(error), error
            else:
                # Read all the same, within the room: then it was no bomb.
                return

    done = forked(work)
    assert done.status == 0, (done.status, done.err[-300:])
