"""Checks of raw files: what was planted is found, and harmless files are left alone."""

import json

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.io.embeddings import as_embeddings
from rerank.metrics import hubness
from rerank.tasks import inspect


def cloud(n=400, d=32, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype("float32"))


def unit(x):
    return torch.nn.functional.normalize(x, dim=1)


IDS = [f"v{i}" for i in range(400)]


def test_a_harmless_cloud_passes_every_check():
    rows = unit(cloud())
    found = [
        inspect.copies(rows, IDS, "videos"),
        inspect.dimensions(rows, "videos"),
        inspect.norms(rows, rows, "videos", "dot"),
    ]
    assert [check.status for check in found] == ["ok"] * 3
    assert not any(check.do for check in found)


@pytest.mark.parametrize(("count", "status"), [(1, "look"), (40, "bad")])
def test_copies_are_counted_and_named(count, status):
    rows = unit(cloud())
    rows[-count:] = rows[:count]
    found = inspect.copies(rows, IDS, "videos")
    assert found.status == status and f"{2 * count} of 400" in found.found
    assert f"v0 on v{400 - count}" in found.found


@pytest.mark.parametrize(("factor", "status"), [(1.0, "ok"), (3.5, "look"), (12.0, "bad")])
def test_a_dominating_dimension_is_named(factor, status):
    rows = cloud()
    rows[:, 7] *= factor
    found = inspect.dimensions(unit(rows), "texts")
    assert found.status == status
    assert status == "ok" or found.found.startswith("dimension 7 ")
    assert (status != "ok") == ("dimension 7 decides" in found.do)


@pytest.mark.parametrize("shift", [3.0, 12.0])
def test_a_dimension_that_all_items_have_alike_is_no_fault(shift):
    """As in CLIP: it adds the same to every score, and without it the ranking is the same."""
    rows = cloud()
    rows[:, 7] += shift
    found = inspect.dimensions(unit(rows), "texts")
    assert found.status == "ok" and not found.do
    assert "; 7 has " in found.found and found.found.endswith(" % of the length in all items")


def test_norms_of_any_size_are_true():
    plain = unit(cloud(40)).numpy()
    rows = plain * np.geomspace(1e-30, 1e30, 40, dtype="float32")[:, None]
    held = as_embeddings(rows, role="videos")
    copied, dimension, found = inspect.look_at(held, "videos", "cosine")
    assert found.found.startswith("norms 1e-30 to 1e+30; ")
    # What does not depend on length is what it was.
    same = inspect.look_at(as_embeddings(plain, role="videos"), "videos", "cosine")
    assert [copied.found, dimension.found] == [check.found for check in same[:2]]


def test_norms_matter_under_dot_only():
    rows = cloud() * torch.linspace(0.2, 5, 400)[:, None]
    assert inspect.norms(rows, unit(rows), "videos", "dot").status == "bad"
    assert inspect.norms(rows, unit(rows), "videos", "cosine").status == "ok"


def test_the_first_place_of_a_single_query_is_no_sign():
    counted = hubness.from_lists(np.arange(5)[None], 400)
    found = inspect.first_places(counted, IDS, "t2v")
    assert found.status == "ok" and found.found == "v0 comes first for 1 of 1 query"


@pytest.mark.parametrize(("share", "status"), [(0.0, "ok"), (0.1, "look"), (0.5, "bad")])
def test_a_planted_item_is_named(share, status):
    n, m = 1000, 400
    lists = np.random.default_rng(0).integers(0, m, (n, 10))
    lists[: int(share * n), 0] = 17
    found = inspect.first_places(hubness.from_lists(lists, m), IDS, "t2v")
    assert found.status == status and (share == 0 or found.found.startswith("v17 "))


def test_files_are_checked_with_a_bank(tmp_path):
    names = {"texts": 0, "videos": 1, "bank": 2}
    for name, seed in names.items():
        rows = cloud(seed=seed).numpy()
        if name == "videos":
            rows[3] = rows.mean(axis=0) * 100  # near every text at once
        np.savez(
            tmp_path / f"{name}.npz",
            embeddings=rows,
            ids=np.array([f"{name}{i}" for i in range(400)]),
        )
    found = inspect.inspect_files(
        videos=tmp_path / "videos.npz", texts=tmp_path / "texts.npz",
        bank_texts=tmp_path / "bank.npz",
    )  # fmt: skip
    json.dumps(found)
    names = [check["name"] for check in found["checks"]]
    assert "bank texts, most found" in names and "videos, copies" in names
    assert {check["status"] for check in found["checks"]} <= {"ok", "look", "bad"}


def test_two_matrices_in_one_order_and_in_another(tmp_path):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 60))
    files = []
    for name in ("a", "b", "c"):
        scores = shared + rng.normal(size=(60, 60)) + 3 * np.eye(60)
        order = rng.permutation(60) if name == "c" else np.arange(60)
        np.save(tmp_path / f"{name}.npy", scores[order][:, order])
        files.append(tmp_path / f"{name}.npy")
    found = inspect.inspect_files(sims=files)
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert status["b.npy, order"] == "ok" and status["c.npy, order"] == "bad"
    assert [order["proved"] for order in found["models"]] == [True, False]
    assert json.dumps(found)


def test_models_with_ids_are_matched_by_name(tmp_path):
    rng = np.random.default_rng(0)
    texts, videos = rng.normal(size=(2, 40, 8)).astype(np.float32)
    paths = {}
    for model, order in (("a", np.arange(40)), ("b", rng.permutation(40))):
        for role, x in (("texts", texts), ("videos", videos)):
            path = tmp_path / f"{model}_{role}.npz"
            np.savez(path, embeddings=x[order], ids=np.array([f"{role}{i}" for i in order]))
            paths.setdefault(role, []).append(path)
    found = inspect.inspect_files(**paths)
    (order,) = found["models"]
    assert order["by"] == "ids" and order["correlation"] > 0.99
    short = tmp_path / "short.npz"
    np.savez(short, embeddings=texts[:39], ids=np.array([f"texts{i}" for i in range(39)]))
    with pytest.raises(RerankError, match="39 of what .* has 40"):
        inspect.inspect_files(texts=[paths["texts"][0], short], videos=paths["videos"])
    with pytest.raises(RerankError, match="got 1 files for 2 models"):
        inspect.inspect_files(texts=paths["texts"], videos=paths["videos"][:1])
