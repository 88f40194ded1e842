"""Folded vectors rank exactly as the rewritten similarity, whatever a store compares by."""

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import Pair
from rerank.methods.base import Fitted, FittedPipeline, GalleryBias, LinearMap
from rerank.serving.fold import complete_norm, fold_gallery, fold_queries, plan_folding
from rerank.serving.stores.faiss import Faiss, read_index
from rerank.serving.stores.registry import make_store
from tests.serving_data import make

IDS, GALLERY, QUERIES, _, _ = make()
RNG = np.random.default_rng(0)
# Far from symmetric and far from a rotation, so that A and its transpose cannot be mixed up.
MATRIX = torch.from_numpy(np.eye(32) + 0.3 * RNG.normal(size=(32, 32)))
BIAS = torch.from_numpy(0.1 * RNG.normal(size=300) + 7)
STAGES = {
    "map+bias": (LinearMap(MATRIX, "none"), GalleryBias(BIAS, "none")),
    "two maps+two biases": (
        LinearMap(MATRIX, "none"),
        LinearMap(MATRIX.T, "none"),
        GalleryBias(BIAS, "none"),
        GalleryBias(BIAS.flip(0), "none"),
    ),
    "bias": (GalleryBias(BIAS, "none"),),
    "map": (LinearMap(MATRIX, "none"),),
    "nothing": (),
}


def rewritten(stages, metric="cosine") -> torch.Tensor:
    pair = Pair(QUERIES.astype("f8"), GALLERY.astype("f8"), metric=metric)
    return FittedPipeline(stages).transform(pair).scores()


def top(scores: torch.Tensor, k: int = 10) -> torch.Tensor:
    return torch.argsort(-scores, dim=1, stable=True)[:, :k]


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES.keys())
@pytest.mark.parametrize("side", ["mapped", "raw"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_folded_scores_are_the_rewritten_ones_up_to_what_is_constant_in_a_row(stages, side, metric):
    fitted = FittedPipeline(stages)
    queries = fold_queries(fitted, QUERIES, metric, side)
    items = fold_gallery(fitted, GALLERY, metric, side)
    bias = int(any(hasattr(s, "gallery_bias") for s in stages))
    assert items.shape == (300, 32 + bias) and queries.shape == (60, 32 + bias)
    got = queries.double() @ items.double().T
    if side == "raw" and fitted.map is not None and metric == "cosine":
        unit = torch.from_numpy(QUERIES).double()
        got = got / (unit @ fitted.map).norm(dim=1, keepdim=True)
    difference = got - rewritten(stages, metric)
    assert float((difference - difference.mean(dim=1, keepdim=True)).abs().max()) < 3e-6


def test_raw_queries_are_the_unit_embeddings_themselves():
    queries = fold_queries(FittedPipeline(STAGES["map+bias"]), 3 * QUERIES, "cosine", "raw")
    np.testing.assert_allclose(queries[:, :32], QUERIES, atol=1e-6)


def test_a_common_offset_of_the_biases_does_not_reach_the_vectors():
    far = FittedPipeline((GalleryBias(BIAS + 1e5, "none"),))
    near = FittedPipeline((GalleryBias(BIAS, "none"),))
    np.testing.assert_allclose(fold_gallery(far, GALLERY), fold_gallery(near, GALLERY), atol=1e-6)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("space", ["ip", "cosine", "l2"])
def test_every_space_ranks_alike(space, centre):
    fitted = FittedPipeline(STAGES["map+bias"])
    folding, items = plan_folding(fitted, GALLERY, space=space, centre=centre)
    queries, items = folding.queries(QUERIES).double(), items.double()
    assert items.shape[1] == 33 + (space != "ip")
    scores = queries @ items.T
    if space == "cosine":
        scores = scores / items.norm(dim=1)
    if space == "l2":
        scores = -torch.cdist(queries, items)
    assert torch.equal(top(scores), top(rewritten(STAGES["map+bias"])))


def test_a_later_item_folds_as_it_would_have_with_the_others():
    fitted = FittedPipeline(STAGES["map+bias"])
    folding, items = plan_folding(fitted, GALLERY, centre=True)
    later = folding.gallery(GALLERY[5:8], BIAS[5:8])
    np.testing.assert_allclose(later, items[5:8], atol=1e-6)


def test_an_item_beyond_the_radius_is_refused_with_the_way_out():
    folding, _ = plan_folding(FittedPipeline(STAGES["bias"]), GALLERY, space="l2")
    assert folding.gallery(GALLERY[:1], BIAS[:1]).shape == (1, 34)
    with pytest.raises(RerankError, match="item 0 .* beyond the radius .*rerank export"):
        folding.gallery(GALLERY[:1], BIAS[:1] + 10)
    assert float(complete_norm(torch.zeros(1, 2), 2.0)[0, 2]) == 2.0


def test_what_does_not_fold_says_so():
    class Rows(Fitted):
        label = "none"

        def transform(self, sim):
            return sim

    with pytest.raises(RerankError, match="cannot be folded"):
        fold_gallery(FittedPipeline((Rows(),)), GALLERY)
    with pytest.raises(RerankError, match="300 items for 299 biases|299 items for 300 biases"):
        fold_gallery(FittedPipeline(STAGES["bias"]), GALLERY[:299])
    with pytest.raises(RerankError, match="d = 31"):
        fold_gallery(FittedPipeline(STAGES["map"]), GALLERY[:, :31])


# --- FAISS


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_an_index_opens_in_plain_faiss_and_ranks_as_the_rewritten_matrix(tmp_path, kind):
    faiss = pytest.importorskip("faiss")
    stages, store = STAGES["map+bias"], Faiss(kind)
    folding, items = plan_folding(
        FittedPipeline(stages), GALLERY, space=store.space, centre=store.graph
    )
    for name in ("i", "j"):
        store.write(tmp_path / name, items.numpy(), IDS, stamp="")
        store.settle(tmp_path / name, 300)
    assert (tmp_path / "i").read_bytes() == (tmp_path / "j").read_bytes()
    index = faiss.read_index(str(tmp_path / "i"))
    found = torch.from_numpy(index.search(folding.queries(QUERIES).numpy(), 10)[1])
    assert torch.equal(found.sort(1).values, top(rewritten(stages)).sort(1).values)


def test_not_an_index_is_refused_by_name(tmp_path):
    pytest.importorskip("faiss")
    (tmp_path / "i").write_bytes(b"hello")
    with pytest.raises(FormatError, match="not a FAISS index"):
        read_index(tmp_path / "i")
    with pytest.raises(RerankError, match="--index: got 'tree', expected one of flat, hnsw, ivf"):
        make_store("faiss", index="tree")
