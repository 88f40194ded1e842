"""Every objective against its formula in plain numpy, and the laws that they share."""

import math

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.train.data import Batch, PairedData
from rerank.train.objectives.base import Context, Contrast, Features, info_nce
from rerank.train.objectives.captions import END, PAD, START, learn_vocabulary
from rerank.train.objectives.emcl import EMCL, EMCLSettings
from rerank.train.objectives.ncl import sinkhorn_biases
from rerank.train.objectives.queues import FeatureQueue
from rerank.train.objectives.registry import OBJECTIVES, build, full_settings
from rerank.train.objectives.support import support_mixture, support_of

B, U, D = 9, 5, 6


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(7)
    positive = np.zeros((B, U), dtype=bool)
    positive[np.arange(B), rng.permutation(B) % U] = True
    positive[0, (positive[0].argmax() + 1) % U] = True  # one text with two videos
    return unit(rng.standard_normal((B, D))), unit(rng.standard_normal((U, D))), positive


def context(captions=True):
    rng = np.random.default_rng(8)
    words = tuple(f"a dog number {i} runs" for i in range(B)) if captions else None
    return Context(
        PairedData(
            torch.from_numpy(rng.standard_normal((B, 7))),
            torch.from_numpy(rng.standard_normal((U, 8))),
            tuple(np.array([i % U]) for i in range(B)),
            words,
        ),
        D, 0,
    )  # fmt: skip


def features(arrays, scale=5.0, epoch=0):
    texts, videos, positive = (torch.from_numpy(x.copy()) for x in arrays)
    texts.requires_grad_(), videos.requires_grad_()
    rows = Batch(torch.arange(B), torch.arange(U), positive)
    return Features(texts, videos, rows, torch.tensor(scale, dtype=torch.float64), epoch)


def made(name, *, captions=True, **settings):
    return build(name, context(captions), settings).double().train()


def contrast_numpy(logits, positive, weights=None):
    total = 0.0
    for i in range(len(logits)):
        others = np.exp(logits[i][~positive[i]]).sum()
        terms = [
            (1 if weights is None else weights[i, j])
            * -math.log(math.exp(logits[i, j]) / (math.exp(logits[i, j]) + others))
            for j in np.flatnonzero(positive[i])
        ]
        total += sum(terms) / len(terms)
    return total / len(logits)


def nce_numpy(a, b, positive, weights=None):
    back = None if weights is None else weights.T
    return (contrast_numpy(a, positive, weights) + contrast_numpy(b, positive.T, back)) / 2


def test_infonce_is_its_formula(arrays):
    texts, videos, positive = arrays
    s = 5.0 * texts @ videos.T
    got = float(made("infonce")(features(arrays)).total.detach())
    assert got == pytest.approx(nce_numpy(s, s.T, positive), abs=1e-12)


def test_with_one_pair_each_infonce_is_plain_cross_entropy():
    s = torch.randn((6, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.cross_entropy(s, torch.arange(6))
    want = (want + torch.nn.functional.cross_entropy(s.T, torch.arange(6))) / 2
    torch.testing.assert_close(info_nce(s, s.T, torch.eye(6, dtype=torch.bool)), want)


def test_positives_are_never_pushed_away():
    """Moving up along any positive score never raises the loss; along any negative it does."""
    generator = torch.Generator().manual_seed(1)
    s = torch.randn((8, 5), dtype=torch.float64, generator=generator).requires_grad_()
    positive = torch.zeros((8, 5), dtype=torch.bool)
    positive[torch.arange(8), torch.arange(8) % 5] = True
    positive[0, 3] = True
    info_nce(s, s.T, positive).backward()
    assert bool((s.grad[positive] < 0).all()) and bool((s.grad[~positive] > 0).all())


def test_a_second_caption_leaves_the_loss_of_the_first_alone():
    s = torch.randn((3, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    positive = torch.eye(3, dtype=torch.bool)
    both = positive.clone()
    both[1, 0] = True  # text 1 also belongs to video 0
    s = s.requires_grad_()
    losses, rows, columns = Contrast().pairs(s.T, both.T)
    first = losses[(rows == 0) & (columns == 0)]
    first.sum().backward()
    assert float(s.grad[1, 0]) == 0.0


def test_emcl_is_its_formula(arrays):
    texts, videos, positive = arrays
    k, iters, lamd, beta, momentum = 3, 4, 0.5, 2.0, 0.9
    emcl = made("emcl", n_bases=k, n_iters=iters, lamd=lamd, beta=beta, momentum=momentum)
    row = emcl.row.numpy().copy()
    x = np.concatenate([videos, texts])
    m = np.repeat(row, len(x), axis=0)
    for _ in range(iters):
        z = np.exp(x.T @ m / lamd)
        z = z / z.sum(axis=1, keepdims=True)
        z = z / (1e-6 + z.sum(axis=0))
        m = x @ z
        m = m / (1e-6 + np.linalg.norm(m, axis=0))
    moved = unit(x + beta * m @ z.T)
    s = 5.0 * moved[U:] @ moved[:U].T
    got = float(emcl(features(arrays)).total.detach())
    assert got == pytest.approx(nce_numpy(s, s.T, positive), abs=1e-9)
    want = momentum * row + (1 - momentum) * m.mean(axis=0)
    np.testing.assert_allclose(emcl.row.numpy(), want, atol=1e-9)


@pytest.mark.parametrize("case", ["a", "b"])
def test_emcl_layer_equals_the_published_class(case, golden):
    k, iters, lamd, beta, momentum = golden[f"emcl_{case}_settings"]
    settings = EMCLSettings(
        n_bases=int(k), n_iters=int(iters), lamd=float(lamd), beta=float(beta),
        momentum=float(momentum),
    )  # fmt: skip
    layer = EMCL(settings, context()).double().train()
    layer.row.copy_(torch.from_numpy(golden[f"emcl_{case}_mu"].copy()).reshape(1, -1))
    out = layer.layer(torch.from_numpy(golden[f"emcl_{case}_input"].copy()))
    np.testing.assert_allclose(out.numpy(), golden[f"emcl_{case}_output"], atol=1e-6)
    want = golden[f"emcl_{case}_mu_after_training_step"].reshape(1, -1)
    np.testing.assert_allclose(layer.row.numpy(), want, atol=1e-6)


def test_emcl_stops_the_gradient_in_the_reconstruction_unless_asked(arrays):
    def gradient(how):
        x = torch.from_numpy(np.concatenate(arrays[:2])).requires_grad_()
        made("emcl", n_bases=3, gradient=how).layer(x).sum().backward()
        return x.grad

    assert torch.equal(gradient("residual"), torch.ones((B + U, D), dtype=torch.float64))
    assert not torch.allclose(gradient("through"), gradient("residual"))


def test_emcl_map_at_inference_is_the_layer_on_the_same_rows(arrays):
    texts, videos = (torch.from_numpy(x) for x in arrays[:2])
    emcl = made("emcl", n_bases=3, beta=2.0).eval()
    emcl.rows_per_batch.copy_(torch.tensor([B, U]))
    out = emcl.layer(torch.cat([videos, texts]))
    mapped = torch.cat([videos, texts]) @ emcl.final_map(texts, videos).double()
    torch.testing.assert_close(mapped, out, atol=1e-6, rtol=1e-5)


def sinkhorn_numpy(s, b, iters):
    n = len(s)
    row = np.full(n, -math.log(n))
    column = np.log(b) - np.log(np.exp(s + row[:, None]).sum(axis=0))
    for _ in range(iters):
        row = -math.log(n) - np.log(np.exp(s + column).sum(axis=1))
        column = np.log(b) - np.log(np.exp(s + row[:, None]).sum(axis=0))
    return row, column


def test_ncl_is_its_formula_with_and_without_a_queue(arrays):
    texts, videos, positive = arrays
    rng = np.random.default_rng(4)
    old_t, old_v = unit(rng.standard_normal((4, D))), unit(rng.standard_normal((2, D)))
    # Text B wants a video of the batch, text B + 1 two; text 0 also wants the first past video.
    rows = [[int(p.argmax())] for p in positive] + [[1], [0, 2], [U], [U + 1]]
    rows[0] = [*np.flatnonzero(positive[0]), U]
    data = PairedData(
        torch.zeros((B + 4, 7)), torch.zeros((U + 2, 8)), tuple(np.array(r) for r in rows)
    )
    ncl = build("ncl", Context(data, D, 0), {"queue": 30, "n_iters": 4}).double().train()
    wanted_t, wanted_v = np.zeros((4, U)), np.zeros((2, B))
    wanted_t[0, 1] = wanted_t[1, 0] = wanted_t[1, 2] = wanted_v[0, 0] = 1
    for past_t, past_v in ((old_t[:0], old_v[:0]), (old_t, old_v)):
        ncl.text_queue.filled.zero_(), ncl.video_queue.filled.zero_()
        if len(past_t):
            # The batch itself is in the queue too, and is left out.
            ncl.text_queue.push(torch.from_numpy(texts), torch.arange(B))
            ncl.text_queue.push(torch.from_numpy(old_t), torch.arange(B, B + 4))
            ncl.video_queue.push(torch.from_numpy(old_v), torch.arange(U, U + 2))
        got = float(ncl(features(arrays)).total.detach())
        s = 5.0 * texts @ videos.T
        biases = []
        for logits, past, gallery, pos, extra in (
            (s, past_t, videos, positive, wanted_t), (s.T, past_v, texts, positive.T, wanted_v),
        ):  # fmt: skip
            both = np.concatenate([pos, extra[: len(past)]]).astype(float)
            both[both.sum(axis=1) == 0] = 1
            mass = (both / both.sum(axis=1, keepdims=True)).sum(axis=0)
            whole = np.concatenate([logits, 5.0 * past @ gallery.T])
            biases.append(sinkhorn_numpy(whole, mass / mass.sum(), 4)[1])
        want = nce_numpy(s + biases[0], s.T + biases[1], positive)
        assert got == pytest.approx(want, abs=1e-6)


def test_kernel_and_log_domain_agree_and_columns_are_tight():
    s = torch.randn((20, 7), dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 5
    row, column = sinkhorn_biases(s)
    import rerank.train.objectives.ncl as module

    old, module._KERNEL_RANGE = module._KERNEL_RANGE, 0.0
    try:
        log_row, log_column = sinkhorn_biases(s)
        far = sinkhorn_biases(s * 1000)[1]
    finally:
        module._KERNEL_RANGE = old
    torch.testing.assert_close(row, log_row)
    torch.testing.assert_close(column, log_column)
    assert bool(torch.isfinite(far).all())
    plan = (s + row[:, None] + column).exp()
    torch.testing.assert_close(plan.sum(dim=0), torch.full((7,), 1 / 7, dtype=torch.float64))


@pytest.mark.parametrize("scale", [20, 100])
def test_ncl_biases_equal_the_published_routine(scale, golden):
    s = torch.from_numpy(golden["texts"] @ golden["videos"].T) * scale
    _, column = sinkhorn_biases(s, n_iters=4)
    want = golden[f"ncl_{scale}_gallery"]
    np.testing.assert_allclose(
        column.numpy() - column.numpy().mean(), want - want.mean(), atol=1e-5
    )


def test_ncl_gradient_flows_through_the_biases_or_not(arrays):
    grads = []
    for flows in (True, False):
        f = features(arrays)
        made("ncl", queue=0, gradient=flows)(f).total.backward()
        grads.append(f.texts.grad)
    assert not torch.allclose(*grads)
    s = features(arrays).texts
    assert torch.autograd.gradcheck(lambda x: sinkhorn_biases(3 * x)[1], (s,))


def push(queue, *rows):
    queue.push(torch.tensor(rows)[:, None].float(), torch.tensor(rows))


def test_what_is_new_is_in_the_queue_and_what_is_oldest_falls_off():
    queue = FeatureQueue(3, 1)
    push(queue, 0, 1)
    push(queue, 2, 3)
    found, rows = queue.contents()
    assert {2, 3} < set(rows.tolist()) and len(rows) == 3
    assert found[:, 0].tolist() == rows.tolist()


def test_a_batch_larger_than_the_queue_is_drawn_from_as_a_whole():
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        queue = FeatureQueue(4, 1)
        push(queue, *range(40))
        seen |= set(queue.contents()[1].tolist())
    assert seen == set(range(40))  # in file order only the first four ever enter


def test_a_row_is_in_the_queue_once_and_at_its_newest():
    queue = FeatureQueue(4, 1)
    push(queue, 0, 1)
    queue.push(torch.tensor([[7.0]]), torch.tensor([1]))
    found, rows = queue.contents()
    assert dict(zip(rows.tolist(), found[:, 0].tolist(), strict=True)) == {0: 0.0, 1: 7.0}
    assert queue.contents(without=torch.tensor([1, 5]))[1].tolist() == [0]


def test_support_sets_and_their_mixture(arrays):
    texts, videos, positive = arrays
    allowed = ~positive
    allowed[1] = False
    got, some = support_mixture(
        torch.from_numpy(texts), torch.from_numpy(videos), torch.from_numpy(allowed), tau=0.1
    )
    for i in range(B):
        e = np.exp(texts[i] @ videos.T / 0.1) * allowed[i]
        want = (e / e.sum()) @ videos if allowed[i].any() else np.zeros(D)
        np.testing.assert_allclose(got[i].numpy(), want, atol=1e-10)
    assert some.tolist() == [i != 1 for i in range(B)]


@pytest.mark.parametrize("support", ["identity", "hybrid", "cross"])
def test_support_set_uses_the_videos_that_its_name_says(support, arrays):
    objective = made("support-set", support=support)
    _, allowed = support_of(support, features(arrays), B, objective.bank)
    positive = torch.from_numpy(arrays[2])
    want = {"identity": positive, "hybrid": positive | True, "cross": ~positive}[support]
    assert torch.equal(allowed, want)


def test_the_bank_adds_past_videos_but_none_of_the_batch(arrays):
    objective = made("support-set", bank=8)
    objective.bank.push(torch.ones((2, D)), torch.tensor([1, 99]))
    videos, allowed = support_of("cross", features(arrays), B, objective.bank)
    assert len(videos) == U + 1 and bool(allowed[:, U].all())


def test_support_set_adds_the_captions_likelihood(arrays):
    objective = made("support-set", weight=0.7)
    f = features(arrays)
    s = 5.0 * arrays[0] @ arrays[1].T
    mixture, _ = support_mixture(f.texts, f.videos, ~f.batch.positive, tau=0.1)
    tokens = objective._tokens
    nll, count = 0.0, 0
    with torch.no_grad():
        for i in range(B):  # one caption at a time, one prefix at a time
            words = tokens[i][tokens[i] != PAD]
            for end in range(1, len(words)):
                part = objective.decoder(mixture[i : i + 1], words[None, : end + 1])
                before = objective.decoder(mixture[i : i + 1], words[None, :end]) if end > 1 else 0
                nll += float(part * end - before * (end - 1))
                count += 1
    want = nce_numpy(s, s.T, arrays[2]) + 0.7 * nll / count
    assert float(objective(f).total.detach()) == pytest.approx(want, abs=1e-6)


def test_without_captions_there_is_no_support_set_but_a_reconstruction(arrays):
    with pytest.raises(RerankError, match=r"captions=.*'reconstruction'"):
        made("support-set", captions=False)
    loss = made("reconstruction", captions=False)(features(arrays))
    assert set(loss.parts) == {"nce", "reconstruction"}


def test_captions_are_learned_padded_and_repeatable():
    captions = ["A dog runs", "a dog eats a very long meal of bones and then more", "dog"]
    words = learn_vocabulary(captions, vocabulary=60, length=6)
    tokens, size = words.encode(captions), len(words)
    again = learn_vocabulary(captions, vocabulary=60, length=6).encode(captions)
    assert torch.equal(tokens, again) and int(tokens.max()) < size <= 60
    assert bool((tokens[:, 0] == START).all()) and int(tokens[1, -1]) == END
    assert int(tokens[2, -1]) == PAD
    with pytest.raises(RerankError, match="no caption has a word"):
        learn_vocabulary(["", " "])


def test_cali_nce_weighs_pairs_by_confidence_after_the_warm_up(arrays):
    texts, videos, positive = arrays
    objective = made("cali-nce", warm_up=2, lam=0.0, mu=0.0, sharpness=3.0)
    s = 5.0 * texts @ videos.T
    early = float(objective(features(arrays, epoch=1)).total.detach())
    assert early == pytest.approx(nce_numpy(s, s.T, positive), abs=1e-9)
    i, j = np.nonzero(positive)
    size = math.sqrt(D)
    h = np.concatenate(
        [texts[i] * size, videos[j] * size, texts[i] * videos[j] * D,
         np.abs(texts[i] - videos[j]) * size], axis=1,
    )  # fmt: skip
    with torch.no_grad():
        seen = objective.head.net(torch.from_numpy(h))[:, 0].numpy()
    c = 1 / (1 + np.exp(-seen - 10.0 * (texts[i] * videos[j]).sum(axis=1)))
    weights = np.zeros_like(positive, dtype=float)
    weights[i, j] = c**3 / (c**3).mean()
    late = float(objective(features(arrays, epoch=2)).total.detach())
    assert late == pytest.approx(nce_numpy(s, s.T, positive, weights), abs=1e-9)


def test_cali_nce_learns_from_mismatches_that_are_no_known_pairs(arrays, monkeypatch):
    objective = made("cali-nce", negatives=1, mu=0.0, lam=1.0)
    many = np.arange(B)[:, None] % U <= np.arange(U)  # so that most shifts meet a known pair
    f = features((*arrays[:2], many))
    asked = []
    head = objective.head.forward
    monkeypatch.setattr(objective.head, "forward", lambda t, v: asked.append((t, v)) or head(t, v))
    objective(f)
    texts, videos = asked[1]
    for t, v in zip(texts, videos, strict=True):
        i = int((f.texts == t).all(dim=1).nonzero()[0])
        j = int((f.videos == v).all(dim=1).nonzero()[0])
        assert not bool(f.batch.positive[i, j])


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_evaluation_mode_remembers_nothing(name, arrays):
    objective = made(name).eval()
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    objective(features(arrays))
    assert all(torch.equal(v, before[k]) for k, v in objective.state_dict().items())


def test_unknown_names_settings_and_values_are_refused():
    for name, given, message in (
        ("triplet", {}, "expected one of infonce"),
        ("emcl", {"beta2": 1}, "has no setting 'beta2'"),
        ("emcl", {"n_bases": "many"}, "expected a whole number"),
        ("emcl", {"gradient": "none"}, "residual, through"),
        ("support-set", {"support": "all"}, "identity, hybrid, cross"),
    ):
        with pytest.raises(RerankError, match=message):
            full_settings(name, given)
    typed = full_settings("ncl", {"gradient": "false", "queue": "64"})
    assert typed == {"n_iters": 4, "queue": 64, "gradient": False, "marginals": "matched"}
