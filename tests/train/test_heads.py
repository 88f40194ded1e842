"""What a trained model is: unit vectors from raw ones, foldable when linear, one file."""

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.train import Heads, is_trained_model, load_heads, read_trained, save_heads
from rerank.train.heads import Head
from rerank.train.ridge import Affine


def heads(hidden=0, final=True, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    made = []
    for d_in in (5, 7):
        head = Head(Affine(draw(d_in), draw(d_in, 4)), 1.7, hidden=hidden, seed=seed)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(draw(*parameter.shape) * 0.3)
        made.append(head)
    return Heads(made[0], made[1], torch.eye(4) + 0.5 * draw(4, 4) if final else None).eval()


@pytest.mark.parametrize("final", [True, False])
def test_linear_heads_fold_into_one_affine_map_with_the_em_map(final):
    model = heads(final=final)
    x = torch.randn((20, 5), generator=torch.Generator().manual_seed(9))
    y = torch.randn((20, 7), generator=torch.Generator().manual_seed(8))
    (w_t, b_t), (w_v, b_v) = model.folded()
    for got, want in ((x @ w_t + b_t, model.texts(x)), (y @ w_v + b_v, model.videos(y))):
        torch.testing.assert_close(torch.nn.functional.normalize(got, dim=1), want)


def test_the_em_map_acts_on_unit_features():
    model = heads()
    x = torch.randn((6, 5))
    want = torch.nn.functional.normalize(model.text_features(x) @ model.final, dim=1)
    torch.testing.assert_close(model.texts(x), want.detach())


def test_an_mlp_does_not_fold_and_says_so():
    with pytest.raises(RerankError, match="does not fold"):
        heads(hidden=3).folded()


def test_numpy_and_torch_give_the_same_rows_and_no_gradient():
    model = heads(hidden=3)
    x = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    before = x.copy()
    got = model.texts(x)
    assert torch.equal(got, model.texts(torch.from_numpy(x))) and not got.requires_grad
    np.testing.assert_array_equal(x, before)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize("bad", ["dimension", "nan"])
def test_embeddings_that_do_not_fit_are_refused(bad):
    x = np.ones((3, 6 if bad == "dimension" else 5), dtype=np.float32)
    if bad == "nan":
        x[1, 2] = np.nan
    with pytest.raises(RerankError, match="expects 5" if bad == "dimension" else "row 1"):
        heads().texts(x)


@pytest.mark.parametrize(("hidden", "final"), [(0, True), (0, False), (3, False)])
def test_load_gives_back_what_was_saved_and_the_same_bytes(hidden, final, tmp_path):
    model = heads(hidden, final)
    path, twin = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for each in (path, twin):
        save_heads(each, model, manifest={"objective": "emcl"})
    assert path.read_bytes() == twin.read_bytes()
    back, manifest = read_trained(path)
    x, y = torch.randn((4, 5)), torch.randn((4, 7))
    assert torch.equal(back.texts(x), model.texts(x))
    assert torch.equal(back.videos(y), model.videos(y))
    assert manifest == {"objective": "emcl"}


def test_a_trained_model_is_told_from_every_other_file(tmp_path):
    path = tmp_path / "m.safetensors"
    save_heads(path, heads())
    assert is_trained_model(path)
    for name, data in (("empty", b""), ("text", b"hello, this is text"), ("zeros", bytes(64))):
        (tmp_path / name).write_bytes(data)
        assert not is_trained_model(tmp_path / name)
        with pytest.raises(FormatError, match="expected a file that `rerank train` wrote|is empty"):
            load_heads(tmp_path / name)
    assert not is_trained_model(tmp_path / "absent")


def test_a_fitted_reranker_is_not_a_trained_model(tmp_path):
    from rerank.methods import saved as store
    from rerank.methods.base import GalleryBias

    store.save(tmp_path / "f.safetensors", GalleryBias(torch.ones(3), "inductive"))
    assert not is_trained_model(tmp_path / "f.safetensors")
    with pytest.raises(FormatError, match="rerank/fitted"):
        load_heads(tmp_path / "f.safetensors")


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "m.safetensors"
    save_heads(path, heads())
    data = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(place % 8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(FormatError):
            load_heads(path)


def test_a_file_of_another_version_names_both(tmp_path, monkeypatch):
    from rerank.train import saved_heads as model

    monkeypatch.setattr(model, "VERSION", 99)
    save_heads(tmp_path / "m.safetensors", heads())
    monkeypatch.undo()
    with pytest.raises(FormatError, match="format 99, this version reads 1"):
        load_heads(tmp_path / "m.safetensors")
