"""Files that point out of themselves, and pickles that would run."""

import json
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from rerank.core.errors import RerankError
from rerank.io import read_embeddings, read_ground_truth, read_results, read_scores
from tests.io.test_attacks import HDF5_ATTACKS, SECRET, with_ids
from tests.io_writers import IDS, vectors, zip_of
from tests.reliability.matrix import Case, row
from tests.reliability.rows.reading import refused


@row("HDF5 attacks", "refused before data is read", quick=8)
def hdf5():
    for attack in HDF5_ATTACKS:
        yield Case(attack.__name__, partial(_attack, attack))


def _attack(attack, folder):
    secret = folder / "secret.bin"
    secret.write_bytes(SECRET)
    with_ids(attack)(folder / "v.h5", secret)
    refused(lambda: read_embeddings(folder / "v.h5", metric="dot"), "v.h5")


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


def _objects(folder):
    found = np.empty(len(IDS), dtype=object)
    found[:] = [Canary(folder / "ran")] * len(IDS)
    return found


def pickled(folder, name):
    raw = pickle.dumps(Canary(folder / "ran"))
    (folder / name).write_bytes(raw)


def torch_zip(folder, name):
    zip_of(folder / name, {"v/data.pkl": pickle.dumps({"x": Canary(folder / "ran")}),
                           "v/version": b"3\n", "v/byteorder": b"little"})  # fmt: skip


def npy_object(folder, name):
    np.save(folder / name, _objects(folder), allow_pickle=True)


def npz_object(folder, name):
    np.savez(folder / name, embeddings=vectors(), ids=_objects(folder))


def npz_only(folder, name):
    np.savez(folder / name, embeddings=_objects(folder))


def hdf5_opaque(folder, name):
    with h5py.File(folder / name, "w") as f:
        f["embeddings"] = vectors()
        f["ids"] = np.array([pickle.dumps(Canary(folder / "ran"))] * len(IDS), dtype="V")


def safetensors_like(folder, name):
    raw = json.dumps({"__metadata__": {"rerank": "x"}}).encode()
    (folder / name).write_bytes(
        struct.pack("<Q", len(raw)) + raw + pickle.dumps(Canary(folder / "ran"))
    )


def zipped(folder, name):
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(folder / "ran")))


def side_car_of(folder, name):
    np.savez(folder / f"{name}.npz", ids=np.array(IDS), manifest=_objects(folder))
    np.save(folder / name, vectors())


def _search(path):
    from rerank.serving.exporting import search_export

    return search_export(path, vectors(), 1)


def _load(path):
    import rerank

    return rerank.load(path)


def _truth(path):
    return read_ground_truth(path, ["a"], ["b"])


CANARIES = (
    (pickled, "v.pkl", read_embeddings), (pickled, "v.npy", read_embeddings),
    (pickled, "v.pt", read_embeddings), (pickled, "v.h5", read_embeddings),
    (pickled, "gt.json", _truth), (pickled, "gt.pkl", _truth), (pickled, "gt.csv", _truth),
    (pickled, "m.safetensors", _load), (pickled, "r.h5", read_results),
    (torch_zip, "v.pt", read_embeddings), (torch_zip, "v.pth", read_scores),
    (npy_object, "v.npy", read_embeddings), (npy_object, "s.npy", read_scores),
    (npy_object, "gt.npy", _truth), (npz_object, "v.npz", read_embeddings),
    (npz_only, "v.npz", read_embeddings), (npz_only, "s.npz", read_scores),
    (hdf5_opaque, "v.h5", read_embeddings), (safetensors_like, "v.safetensors", read_embeddings),
    (safetensors_like, "m.safetensors", _load), (zipped, "v.pt", read_embeddings),
    (zipped, "v.npz", read_embeddings), (side_car_of, "out", _search),
)  # fmt: skip


@row("pickle canaries", "never run", quick=23)
def canaries():
    for make, name, read in CANARIES:
        yield Case(f"{make.__name__} as {name}", partial(_canary, make, name, read))


def _canary(make, name, read, folder):
    make(folder, name)
    try:
        read(folder / name)
    except RerankError as error:
        assert "\n" not in str(error)
    else:
        raise AssertionError("it was read")
    assert not (folder / "ran").exists(), "the pickle ran"
