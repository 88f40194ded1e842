"""Writes embeddings in every layout and container that the readers know."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.numpy import save_file

N, D = 7, 4
IDS = ["video10", "video2", "a/b", "über", "日本", "video1", "x y"]
# Without the slash, which is a group in HDF5.
FLAT_IDS = ["video10", "video2", "a-b", "über", "日本", "video1", "x y"]


def vectors(dtype: str = "<f4", *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, D)).astype(dtype)


def h5_canonical(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        f.attrs["rerank_schema"] = "rerank/1"
        f["embeddings"], f["ids"] = x, IDS
    return IDS


def h5_named(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        f["video_features"] = x
        f["keys"] = np.array([i.encode() for i in IDS])
    return IDS


def h5_chunked(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        f.create_dataset("feats", data=x, chunks=(3, 2), compression="gzip", shuffle=True)
        f["video_ids"] = IDS
    return IDS


def h5_sidecar(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        f["clip"] = x
    path.with_suffix(".ids.json").write_text(json.dumps(IDS))
    return IDS


def h5_per_id(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        for name, row in zip(IDS, x, strict=True):
            f[name] = row
    return sorted(IDS)


def h5_grouped(path: Path, x: np.ndarray) -> list[str]:
    with h5py.File(path, "w") as f:
        for name, row in zip(FLAT_IDS, x, strict=True):
            f[f"test/{name}/features"] = row
    return sorted(FLAT_IDS)


def npy(path: Path, x: np.ndarray) -> list[str]:
    np.save(path, x)
    path.with_suffix(".ids.txt").write_text("\n".join(IDS) + "\n", encoding="utf-8")
    return IDS


def npy_fortran(path: Path, x: np.ndarray) -> list[str]:
    np.save(path, np.asfortranarray(x))
    path.with_suffix(".ids.json").write_text(json.dumps({n: i for i, n in enumerate(IDS)}))
    return IDS


def npz(path: Path, x: np.ndarray) -> list[str]:
    np.savez(path, emb=x, ids=np.array(IDS))
    return IDS


def npz_packed(path: Path, x: np.ndarray) -> list[str]:
    np.savez_compressed(path, features=np.asfortranarray(x), names=np.array(IDS))
    return IDS


def npz_per_id(path: Path, x: np.ndarray) -> list[str]:
    np.savez(path, **dict(zip(FLAT_IDS, x, strict=True)))
    return FLAT_IDS


def safetensors(path: Path, x: np.ndarray) -> list[str]:
    plain = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    save_file({"embeddings": plain}, path, metadata={"ids": json.dumps(IDS)})
    return IDS


def torch_dict(path: Path, x: np.ndarray) -> list[str]:
    plain = torch.from_numpy(np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")))
    torch.save({"embeddings": plain, "ids": IDS}, path)
    return IDS


def torch_tensor(path: Path, x: np.ndarray) -> list[str]:
    torch.save(torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="))), path)
    path.with_suffix(".ids.txt").write_text("\r\n".join(IDS), encoding="utf-8")
    return IDS


def torch_per_id(path: Path, x: np.ndarray) -> list[str]:
    plain = np.array(x, dtype=x.dtype.newbyteorder("="))
    torch.save({n: torch.from_numpy(row) for n, row in zip(IDS, plain, strict=True)}, path)
    return IDS


def parquet(path: Path, x: np.ndarray) -> list[str]:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    plain = np.array(x, dtype=x.dtype.newbyteorder("="))
    lists = pa.array(list(plain))
    write_table(pa.table({"id": IDS, "vectors": lists}), path, row_group_size=3)
    return IDS


def clip_retrieval(path: Path, x: np.ndarray) -> list[str]:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    (path.parent / "metadata").mkdir()
    path.mkdir()
    for part, rows in enumerate((slice(0, 4), slice(4, N))):
        np.save(path / f"img_emb_{part}.npy", x[rows])
        table = pa.table({"image_path": IDS[rows], "caption": ["same"] * len(IDS[rows])})
        write_table(table, path.parent / "metadata" / f"metadata_{part}.parquet")
    return IDS


LAYOUTS: dict[str, tuple[str, Callable[[Path, np.ndarray], list[str]]]] = {
    "h5-canonical": ("v.h5", h5_canonical),
    "h5-named": ("v.hdf5", h5_named),
    "h5-chunked": ("v.h5", h5_chunked),
    "h5-sidecar": ("v.h5", h5_sidecar),
    "h5-per-id": ("v.h5", h5_per_id),
    "h5-grouped": ("v.h5", h5_grouped),
    "npy": ("v.npy", npy),
    "npy-fortran": ("v.npy", npy_fortran),
    "npz": ("v.npz", npz),
    "npz-packed": ("v.npz", npz_packed),
    "npz-per-id": ("v.npz", npz_per_id),
    "safetensors": ("v.safetensors", safetensors),
    "torch-dict": ("v.pt", torch_dict),
    "torch-tensor": ("v.pth", torch_tensor),
    "torch-per-id": ("v.pt", torch_per_id),
    "parquet": ("v.parquet", parquet),
    "clip-retrieval": ("img_emb", clip_retrieval),
}

ARROW = {"parquet", "clip-retrieval"}


def write(layout: str, folder: Path, x: np.ndarray) -> tuple[Path, list[str]]:
    """Write `x` in a layout; returns the path and the ids in the order in which they come back."""
    name, writer = LAYOUTS[layout]
    path = folder / name
    return path, writer(path, x)


def in_order(ids: list[str], x: np.ndarray) -> np.ndarray:
    """The rows of `x` in the order of ids that a layout may have sorted."""
    source = FLAT_IDS if set(ids) == set(FLAT_IDS) else IDS
    return x[[source.index(i) for i in ids]]


def zip_of(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)


def write_named(path: Path, arrays: dict[str, Any]) -> Path:
    """Arrays and lists by name in one file of the kind that its ending says; `a/b` is in a group.

    Lists have no place in a file of safetensors.
    """
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({name: np.asarray(x).tolist() for name, x in arrays.items()}))
    else:
        assert path.suffix == ".pt", path
        torch.save(_nested(arrays), path)
    return path


def _nested(arrays: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, values in arrays.items():
        *groups, last = name.split("/")
        place = made
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return made
