"""Whatever a program has set in torch, every door gives what it gives without, and leaves it."""

import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch

import rerank
from rerank.core.torch_state import usual_state

N, D = 220, 24


@contextmanager
def setting(get, put, value):
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def products():
    return torch.get_float32_matmul_precision()


STATES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64 by default": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.float64
    ),
    "bfloat16 by default": lambda: setting(
        torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16
    ),
    "another device by default": lambda: torch.device("meta"),
    "bfloat16 products": lambda: setting(products, torch.set_float32_matmul_precision, "medium"),
}


def rows():
    generator = np.random.default_rng(0)
    texts = generator.standard_normal((N, D)).astype("f4")
    return texts, texts + 1.5 * generator.standard_normal((N, D)).astype("f4")


def applied():
    found = rerank.apply(*rows(), k=7)
    return found.t2v.scores, found.v2t.ids.astype("U"), found.scores(), found.matrix().scores()


def matrix():
    texts, videos = rows()
    return (rerank.rerank(texts @ videos.T),)


def served():
    texts, videos = rows()
    named = {f"v{i}": row for i, row in enumerate(videos[:200])}
    model = rerank.fit(named, bank_texts=texts[:150], bank_videos=videos[:150])
    model = model.add(videos[200:], ids=[f"new {i}" for i in range(20)])
    found = model.search(texts[150:], k=5)
    return found.ids.astype("U"), found.scores, model.fold(texts[:3])


def by_hand():
    texts, videos = rows()
    sim = rerank.Pair(texts, videos)
    found = rerank.topk(rerank.Sinkhorn().fit(sim).transform(sim), 5)
    return found.scores, found.indices, sim.scores()


def judged():
    texts, videos = rows()
    right = [[i] for i in range(N)]
    found = rerank.evaluate(rerank.Pair(texts, videos), right)
    return (np.array([found["t2v"]["R@1"], found["v2t"]["MnR"]]),)


def compared():
    texts, videos = rows()
    found = rerank.compare(texts, videos, [[i] for i in range(N)], methods=["em", "sinkhorn"])
    return (np.array(found.to_pandas().select_dtypes("number")),)


def inspected():
    return (np.frombuffer(repr(rerank.inspect(*rows())).encode(), dtype="u1"),)


def fused():
    texts, videos = rows()
    found = rerank.fuse([texts, texts[:, ::2].copy()], [videos, videos[:, ::2].copy()])
    return found.texts.vectors, found.videos.vectors


DOORS = [applied, matrix, served, by_hand, judged, compared, inspected, fused]


@pytest.fixture(scope="module")
def usual():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {door: door() for door in DOORS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("state", list(STATES))
def test_every_door_gives_what_it_gives_in_the_usual_state(state, door, usual):
    with STATES[state]():
        found = door()
    for got, want in zip(found, usual[door], strict=True):
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


@pytest.mark.parametrize("state", list(STATES))
def test_the_state_of_the_caller_is_left_as_it_was(state):
    def told():
        return (
            torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled(),
            torch.get_default_dtype(), torch.get_default_device(), products(),
            torch.backends.mkldnn.matmul.fp32_precision, torch.is_grad_enabled(),
        )  # fmt: skip

    with STATES[state]():
        before = told()
        with pytest.raises(ValueError, match="stop"), usual_state():
            assert told()[:4] == (False, False, torch.float32, torch.device("cpu"))
            assert told()[5] in ("none", "ieee")
            raise ValueError("stop")
        assert told() == before


@pytest.mark.filterwarnings("ignore")
def test_so_does_a_matrix_that_compiled_loops_take():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2100, 2100, generator=generator, dtype=torch.float32)
    want = rerank.rerank(scores.numpy())
    for state in ("inference mode", "float64 by default"):
        with STATES[state]():
            assert rerank.rerank(scores.numpy()).tobytes() == want.tobytes()


def test_a_program_that_sets_everything_is_served_too(usual):
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for state in STATES.values():
            stack.enter_context(state())
        (got,) = matrix()
    assert got.tobytes() == usual[matrix][0].tobytes()


def test_a_warning_names_the_line_of_the_caller():
    texts, videos = rows()
    for call in (
        lambda: rerank.apply(texts, videos),
        lambda: rerank.rerank(texts @ videos.T),
        lambda: rerank.apply(scores=texts @ videos.T),
    ):
        with pytest.warns(UserWarning) as said:
            call()
        assert {x.filename for x in said} == {__file__}
