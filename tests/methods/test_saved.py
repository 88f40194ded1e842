"""A model file gives back what was saved, to the bit, and refuses everything else."""

import json
import math
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import Pair
from rerank.io.files import replacing
from rerank.methods.base import Bank, FittedPipeline, GalleryBias, LinearMap, Pipeline
from rerank.methods.em import EM, Basis
from rerank.methods.saved import load, read_model, save
from rerank.methods.sinkhorn import Potentials, Sinkhorn


@pytest.fixture(scope="module")
def fitted() -> FittedPipeline:
    rng = np.random.default_rng(0)
    texts, videos = rng.normal(size=(40, 8)), rng.normal(size=(25, 8))
    pair = Pair(texts, videos)
    return Pipeline((EM(n_bases=3), Sinkhorn(tau=0.1))).fit(Bank(pair, pairs=pair))


def ids(count: int = 25) -> list[str]:
    return [f"vidéo/{i}\0" for i in range(count)]


def test_saved_equals_loaded_to_the_bit(tmp_path, fitted):
    save(tmp_path / "m", fitted, gallery_ids=ids(), manifest={"settings": {"tau": 0.1}})
    back = read_model(tmp_path / "m")
    basis, potentials = back.fitted.stages
    assert isinstance(basis, Basis) and isinstance(potentials, Potentials)
    for stage, other in zip(fitted.stages, back.fitted.stages, strict=True):
        for name, value in vars(stage).items():
            same = getattr(other, name)
            assert torch.equal(value, same) if isinstance(value, torch.Tensor) else value == same
    assert back.gallery_ids == tuple(ids())
    assert back.manifest == {"settings": {"tau": 0.1}}
    queries = Pair(np.ones((1, 8)), np.random.default_rng(1).normal(size=(25, 8)))
    assert torch.equal(
        fitted.transform(queries).scores(), load(tmp_path / "m").transform(queries).scores()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1 / 3, 1e300])
def test_scalars_survive_exactly(tmp_path, value):
    stage = Potentials(
        torch.zeros(0), torch.ones(3), value, 2**53 + 1, 0.1, 0.0, 1.0, "cross-fit", "sü"
    )
    save(tmp_path / "m", stage)
    (back,) = load(tmp_path / "m").stages
    assert isinstance(back, Potentials)
    assert np.float64(back.tau).tobytes() == np.float64(value).tobytes()
    assert (back.n_iters, back.label, back.note) == (2**53 + 1, "cross-fit", "sü")
    assert back.query_bias.shape == (0,)


def test_same_input_same_bytes_and_no_trace_beside_it(tmp_path, fitted):
    for name in ("a", "b"):
        save(tmp_path / name, fitted, gallery_ids=ids(), manifest={"b": 1, "a": [1, None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_view_or_a_shared_tensor_is_stored_whole(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    stages = FittedPipeline((LinearMap(base[:, :3].T, "none"), GalleryBias(base[0], "none")))
    save(tmp_path / "m", stages, kept={"bank": base.T})
    back = read_model(tmp_path / "m")
    assert torch.equal(back.fitted.map, base[:, :3].T)
    assert torch.equal(back.kept["bank"], base.T)


def test_every_flipped_bit_is_noticed(tmp_path, fitted):
    path = tmp_path / "m"
    save(path, fitted, gallery_ids=ids(), manifest={"bank": {"hash": "00ff"}})
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(data[:8], "little"))
    bits = [*rng.choice(header, 400, replace=False), *rng.integers(header, 8 * len(data), 200)]
    for bit in bits:
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=str(path)):
            read_model(path)


def test_a_file_cut_anywhere_is_refused(tmp_path, fitted):
    path = tmp_path / "m"
    save(path, fitted)
    data = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 200, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match=str(path)):
            load(path)


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "other"
    cases = {
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "npz or .pt": b"PK\x03\x04" + bytes(100),
        "pickle": pickle.dumps({"a": 1}),
        "not a safetensors file": b"hello there, this is text",
        "without rerank's description": safetensors.torch.save({"x": torch.ones(2)}),
    }
    for message, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(FormatError, match=message):
            load(path)
    with pytest.raises(FormatError, match="no such file"):
        load(tmp_path / "missing")


def forged(path, change) -> None:
    """A file with another document and a hash that fits it."""
    from rerank.io import tensorfile

    tensors = safetensors.torch.load(path.read_bytes())
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    document = json.loads(header["__metadata__"]["rerank"])
    document.pop("hash")
    change(document)
    document["hash"] = tensorfile._digest(document, tensors)
    path.write_bytes(safetensors.torch.save(tensors, metadata={"rerank": json.dumps(document)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=99), "format 99, this version reads 1"),
        (lambda d: d.update(kind="rerank/other"), "kind 'rerank/other'"),
        (lambda d: d["stages"][0].update({"class": "os.system"}), "unknown class"),
        (lambda d: d["stages"][0].update({"class": "rerank.methods.em.em_basis"}), "unknown class"),
        (lambda d: d["stages"][0].update({"class": "rerank.methods.saved.Saved"}), "unknown class"),
        (lambda d: d["stages"][0]["fields"].pop("scale"), "scale"),
        (lambda d: d["stages"][0]["fields"].update(label="fair"), "unknown label 'fair'"),
        (lambda d: d.pop("stages"), "stages"),
    ],
)  # fmt: skip
def test_a_document_that_does_not_fit_is_refused(tmp_path, fitted, change, message):
    path = tmp_path / "m"
    save(path, fitted)
    forged(path, change)
    with pytest.raises(FormatError, match=message):
        load(path)


def test_what_cannot_be_stored_is_refused_and_leaves_no_file(tmp_path, fitted):
    class Own:
        label = "none"

        def transform(self, sim):
            return sim

    for call, message in (
        (lambda: save(tmp_path / "m", Own()), "Own cannot be stored"),
        (lambda: save(tmp_path / "m", fitted, manifest={"x": math.nan}), "JSON"),
        (lambda: save(tmp_path / "m", fitted, manifest={"x": object()}), "JSON"),
        (lambda: save(tmp_path / "no" / "m", fitted), "does not exist"),
        (lambda: save(tmp_path, fitted), "is a directory"),
    ):
        with pytest.raises(RerankError, match=message):
            call()
    assert not any(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, fitted):
    path = tmp_path / "m"
    save(path, fitted)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m"]
