"""Queries about one topic: popularity that is no accident stays; other popularity goes."""

import pytest
import torch

from rerank.core.similarity import Dense, Pair
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.topic import concentration
from rerank.tasks.apply import apply

TOPICS, EACH, D = 12, 40, 64


def world(seed: int, *, hubs: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, their items, and the topic of each; hubs lie where queries lie on average."""
    draw = torch.Generator().manual_seed(seed)
    centre = torch.randn(TOPICS, D, generator=draw)
    topic = torch.arange(TOPICS).repeat_interleave(EACH)
    own = 0.8 * centre[topic] + torch.randn(TOPICS * EACH, D, generator=draw)
    gap = torch.randn(D, generator=draw)
    queries = own + 1.6 * torch.randn(own.shape, generator=draw) + gap
    items = own + 0.4 * torch.randn(own.shape, generator=draw)
    popular = torch.randperm(len(own), generator=draw)[: len(own) // 20]
    items[popular] += hubs * gap
    return queries, items, topic


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=1, keepdim=True)


def read(queries: torch.Tensor, items: torch.Tensor) -> tuple[float, float, float]:
    """F, N and the verdict."""
    sim = Pair(unit(queries), unit(items))
    found = masses(sim)
    f, count = concentration(sim, 0.03, found=found)
    fitted = Sinkhorn().fit(sim)
    return f, count, float(fitted.facts.get("topic", 0.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.04, 0.1, 0.25, 0.5])
def test_queries_from_everywhere_are_no_topic(seed: int, share: float) -> None:
    queries, items, _ = world(seed, hubs=1.0)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(queries), generator=draw)[: int(share * len(queries))]
    _, count, verdict = read(queries[rows], items)
    assert verdict == 0 and 1 < count < len(items)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("topics", [1, 2])
def test_queries_about_a_topic_are_seen(seed: int, topics: int) -> None:
    queries, items, topic = world(seed)
    f, _, verdict = read(queries[topic < topics], items)
    assert f > 4 and verdict > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_topic_never_falls_below_doing_nothing(seed: int) -> None:
    """Without it R@1 of these batches fell from 49 to 40."""
    queries, items, topic = world(seed, hubs=0.5)
    right = before = after = 0
    for one in range(0, TOPICS, 2):
        rows = torch.nonzero(topic == one)[:, 0]
        run = apply(queries[rows], items)
        before += int((unit(queries[rows]) @ unit(items).T).argmax(dim=1).eq(rows).sum())
        after += int(run.t2v.sim.scores().argmax(dim=1).eq(rows).sum())
        right += len(rows)
    assert after >= before - 0.01 * right


def test_f_is_that_of_the_formula() -> None:
    queries, items, topic = world(0)
    sim = Pair(unit(queries[topic == 3]), unit(items))
    found = masses(sim)
    f, count = concentration(sim, 0.03, found=found)
    scores = (sim.queries.double() @ sim.gallery.double().T) / 0.03
    n, m = scores.shape
    rows = torch.cat([scores, torch.zeros(1, m, dtype=torch.float64)])
    a = torch.cat([torch.full((n,), 1 / m), torch.tensor([1 - n / m])]).double()
    g = torch.zeros(m, dtype=torch.float64)
    for _ in range(2000):
        u = a.log() - torch.logsumexp(rows + g, dim=1)
        g = -torch.tensor(m).double().log() - torch.logsumexp(rows + u[:, None], dim=0)
    c = (rows + u[:, None] + g).exp()[:n].sum(dim=0)
    c /= c.sum()
    v = sim.gallery.double()
    away = (c @ v - v.mean(dim=0)).square().sum()
    scatter = (v - v.mean(dim=0)).square().sum(dim=1).mean()
    want = 1 / c.square().sum()
    assert count == pytest.approx(float(want), rel=0.02)
    assert f == pytest.approx(float(want * away / scatter / (1 - want / m)), rel=0.02)


def test_scores_alone_tell_of_no_topic() -> None:
    queries, items, topic = world(0)
    fitted = Sinkhorn().fit(Dense(unit(queries[topic == 3]) @ unit(items).T))
    assert fitted.facts["slack"] > 0 and "topic" not in fitted.facts


def test_it_is_said_and_kept_as_a_fact() -> None:
    queries, items, topic = world(1)
    fitted = Sinkhorn().fit(Pair(unit(queries[topic == 3]), unit(items)))
    assert fitted.facts["topic"] == pytest.approx(1.0) and fitted.form == "few queries"
    assert any("about one topic" in note for note in fitted.marginals)
    other = Sinkhorn().fit(Pair(unit(queries[::12]), unit(items)))
    assert "topic" not in other.facts and not any("topic" in note for note in other.marginals)
