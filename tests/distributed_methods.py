"""What `apply` finds on shares of the rows: every method that streams, the gate, the matrix."""

import warnings
import zlib
from contextlib import contextmanager

import numpy as np
import torch
from scipy.linalg import expm

from rerank.core import comm
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair
from rerank.methods import engine as api
from rerank.methods.base import Bank
from rerank.methods.dual_bank import two_galleries
from rerank.methods.registry import METHODS
from rerank.passes.sinkhorn import choose
from rerank.selection import trials
from rerank.selection.candidates import Candidate
from rerank.selection.foreign import Foreign
from rerank.selection.gate import agree
from rerank.selection.gate_report import GateReport
from rerank.tasks import apply as runs

DENSE = [name for name, method in METHODS.cards().items() if "dense matrix" in method.facts.needs]
REFUSED = [*DENSE, "sinkhorn-sparse"]
STREAMING = [name for name in METHODS if name not in REFUSED]
TWO_BANKS = [name for name in STREAMING if name.startswith("dual") or name.startswith("dbsn")]
INDUCTIVE = [*TWO_BANKS, "em", "sinkhorn", "nnn", "dn", "dis", "dsl", "mp", "center+dbsn"]
CHAINS = ["center+nnn", "em+dis", "alpha-qe+csls"]
D = 16


def shares(n, uneven=False):
    """Row ranges of the processes: almost equal, or everything on the last one."""
    if uneven:
        return slice(0, n) if comm.rank() == comm.world_size() - 1 else slice(0, 0)
    return comm.my_rows(n)


def in_three():
    """Whether this is one process, or one of three: the others leave some cases out, for time."""
    return comm.world_size() in (1, 3)


def embeddings(n, m, seed, noise=0.5):
    """Texts of videos that lie around a common point; several texts a video where n > m."""
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(m, D)) + 1.5 * np.random.default_rng(0).normal(size=D)
    return videos[np.arange(n) % m] + noise * rng.normal(size=(n, D)), videos


def applied(texts, videos, method, *, uneven=False, bank=(), **settings):
    """`runs.apply` on this process's share of the texts and of the bank's texts."""
    bank = dict(bank)
    if comm.active():
        texts = texts[shares(len(texts), uneven)]
        if "bank_texts" in bank:
            bank["bank_texts"] = bank["bank_texts"][shares(len(bank["bank_texts"]), uneven)]
    return runs.apply(texts, videos, method=method, k=5, sharded=comm.active(), **bank, **settings)


def figures(result):
    """The lists, the biases and the words of both directions, as one process would hold them."""
    out = {}
    for outcome in (result.t2v, result.v2t):
        name = outcome.direction.name
        out[f"{name}/scores"] = outcome.topk.scores
        out[f"{name}/indices"] = outcome.topk.indices
        fitted = outcome.fitted
        if fitted is not None and fitted.foldable and fitted.gallery_bias is not None:
            split = outcome.direction.sim.shard == "gallery"
            bias = fitted.gallery_bias
            out[f"{name}/bias"] = comm.gather_rows(bias) if split else bias
        said = " ".join((outcome.label, *outcome.notes))
        out[f"{name}/said"] = torch.tensor(zlib.crc32(said.encode()))
    return out


def matrix_of(result):
    """The rewritten matrix as the first process collects it, in every process."""
    sim = result.matrix()
    first = list(comm.rows_to_first((block for _, block in sim.blocks()), dtype=sim.dtype))
    none = torch.empty((0, sim.shape[1]), dtype=sim.dtype)
    return comm.gather_rows(torch.cat([none, *first]))


def disagreement_is_seen():
    """Whether gates that chose other strengths in other processes are refused."""
    best = Candidate("stack", 0.5 + comm.rank() / 8, "", 1.0, 0.1, 1.0)
    try:
        agree(GateReport(best, (), Foreign(None, None), (1.0,), 20, 20))
    except RerankError:
        return comm.active()
    return not comm.active()


def gathered():
    """Rows that one process holds as float16, and the others wider: whole, of one type."""
    x = np.arange(46.0).reshape(23, 2)
    if not comm.active():
        return torch.tensor(x)
    kind = (np.float16, np.float32, np.float64)[comm.rank() % 3]
    return runs.whole(x[shares(23)].astype(kind), "rows")


def two_galleries_everywhere():
    """Whether a whole bank stands beside a split gallery, also where a share is just the bank's."""
    texts, videos = embeddings(24, 9, 1)
    share = 24 // comm.world_size()
    searched, own = (
        (texts[shares(24)], texts[share : 2 * share]) if comm.active() else (texts, texts[:9])
    )
    sim = Pair(videos, searched, shard="gallery" if comm.active() else None)
    try:
        two_galleries(Bank(sim, pairs=Pair(videos, own)), "this")
    except RerankError:
        return False
    return True


def gathering_less_than(count):
    """`comm.gather_rows`, but not of so many embeddings: the bank is not to be sent around."""
    gather = comm.gather_rows

    def gather_less(x):
        out = gather(x)
        assert x.ndim < 2 or x.shape[1] != D or len(out) < count, "the bank is sent around"
        return out

    return gather_less


def refused(method):
    """Whether a method that needs all in one process is refused, in one line, by several."""
    texts, videos = embeddings(23, 23, 1)
    try:
        applied(texts, videos, method)
    except RerankError as error:
        return comm.active() and "run it without torchrun" in str(error)
    return not comm.active()


def one_bank():
    small, large = embeddings(23, 31, 1), embeddings(150, 130, 1)
    for method in [*STREAMING, *CHAINS]:
        # Sinkhorn's own marginals take long and have cases of their own below.
        if not any(part in (*TWO_BANKS, "sinkhorn") for part in method.split("+")):
            # NNN asks for 128 neighbours.
            texts, videos = large if "nnn" in method else small
            yield method, figures(applied(texts, videos, method))
            if in_three():
                uneven = applied(texts, videos, method, uneven=True)
                yield f"{method}, all rows on the last", figures(uneven)


def two_banks():
    texts, videos = embeddings(23, 31, 1)
    bank_texts, bank_videos = embeddings(150, 130, 2)
    bank = {"bank_texts": bank_texts, "bank_videos": bank_videos}
    for method in INDUCTIVE:
        yield f"{method}, bank", figures(applied(texts, videos, method, bank=bank))
    for method in TWO_BANKS if in_three() else ():
        found = applied(texts, videos, method, bank=bank, uneven=True)
        yield f"{method}, bank, all rows on the last", figures(found)


def known_bank(n, m, noise):
    """A bank whose pairs are known: all of it is held by every process."""
    bank_texts, bank_videos = embeddings(n, m, 2, noise=noise)
    positives = tuple(np.array([i % m]) for i in range(n))
    return {"bank_texts": bank_texts, "bank_videos": bank_videos, "bank_positives": positives}


@contextmanager
def held(module, name, value):
    """Another value for a constant, for a while."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def gates():
    texts, videos = embeddings(23, 31, 1)
    small, noisy = known_bank(90, 45, 0.5), known_bank(150, 50, 1.0)
    if in_three():
        found = applied(texts, videos, "em+sinkhorn", bank=noisy, uneven=True)
        yield "gate em+sinkhorn", figures(found)
        assert found.v2t.fit.gate["chosen"] != "none"
    found = applied(texts, videos, "mp", bank=noisy)
    yield "gate mp", figures(found)
    assert found.v2t.fit.gate["chosen"] != "none"
    found = applied(texts, videos, "dualis", bank=small)
    yield "gate dualis", figures(found) | {"matrix": matrix_of(found)}
    assert found.t2v.fit.gate is not None
    # Known pairs that nobody asks for are not read, nor is the whole bank.
    with held(comm, "gather_rows", gathering_less_than(90)):
        found = applied(texts, videos, "dbsn", bank=small, gate=False)
    yield "no gate dbsn", figures(found)
    yield from whole_banks()


def whole_banks():
    """A bank that every process has read, with one gallery that is split and one that is not."""
    texts, videos = embeddings(23, 31, 1)
    small = known_bank(90, 45, 0.5)
    bank = {key: small[key] for key in ("bank_texts", "bank_videos")}
    mine = texts[shares(23)] if comm.active() else texts
    for method in ("dbsn", "dualis"):
        with held(comm, "gather_rows", gathering_less_than(90)):
            found = runs.apply(
                mine, videos, method=method, k=5, sharded=comm.active(), whole_bank=True, **bank
            )
        yield f"whole bank {method}", figures(found)


def scores():
    """Stored probabilities, some of them 0: which stands for not scored."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(23, 31)) * 3
    logits[rng.random(size=logits.shape) < 0.2] = -np.inf
    logits[:20, 7] = -np.inf
    for method in ("sinkhorn", "is", "csls", "ncl", "dn", "dis", "mp"):
        # An item that nobody scored.
        logits[:, 4] = -np.inf
        stored = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for kind in ("auto", "probabilities"):
            if kind == "probabilities":
                # A text that no video scored, told by the user: its row does not sum to one.
                stored[3] = 0
            mine = stored[shares(23, kind == "auto")] if comm.active() else stored
            found = runs.apply(
                scores=mine, scores_are=kind, method=method, k=5, sharded=comm.active()
            )
            yield f"scores {method} {kind}", figures(found)
    # One row that does not sum to one says that none is a probability, in every process.
    stored = rng.dirichlet(np.ones(31), size=23)
    stored[-1] *= 2
    mine = stored[shares(23)] if comm.active() else stored
    yield (
        "no probabilities",
        figures(runs.apply(scores=mine, method="is", k=5, sharded=comm.active())),
    )
    # A video that the texts of some processes do not score, and those of others hardly do.
    stored[:, 4], stored[-5:, 4] = 0, 1e-18
    mine = (stored[shares(23)] if comm.active() else stored).astype(np.float32)
    given = {"scores_are": "probabilities", "tau": 0.3, "rho": 0.9, "k": 5}
    faint = figures(runs.apply(scores=mine, method="sinkhorn", sharded=comm.active(), **given))
    yield "hardly scored", {"bias": faint["v2t/bias"]}


def marginals():
    """Queries that repeat, and fewer queries than items: seen without labels by all together."""
    rng = np.random.default_rng(7)
    wanted = np.minimum(rng.zipf(1.5, size=240) - 1, 59)
    _, videos = embeddings(60, 60, 8)
    for noise in (0.05, 0.6) if in_three() else (0.05,):
        texts = videos[wanted] + noise * rng.normal(size=(240, D))
        found = applied(texts, videos, "sinkhorn")
        yield f"a crowd, noise {noise}", figures(found)
        assert "beyond what hubs explain" in " ".join(found.t2v.notes)
    rng = np.random.default_rng(7)
    texts = videos[rng.integers(20, size=240)] + 0.3 * rng.normal(size=(240, D))
    found = applied(texts, videos, "sinkhorn")
    yield "repeats", figures(found)
    assert "repeat" in " ".join(found.t2v.notes) and found.t2v.fitted.gallery_bias.any()
    if not in_three():
        return
    texts, videos = embeddings(30, 60, 9, noise=0.1)
    found = applied(texts, videos, "em+sinkhorn", uneven=True)
    assert "one query at most" in " ".join(found.t2v.notes)
    yield "items without a query", figures(found) | {"matrix": matrix_of(found)}


def compiled():
    """Sizes from which kernels and moments are compiled, by the largest share: for all or none."""
    texts, videos = (x.astype(np.float32) for x in embeddings(60, 45, 1))
    with held(choose, "SMALL", 1000):
        found = applied(texts, videos, "sinkhorn+align+sinkhorn", uneven=True)
    # Rounded scores order near neighbours otherwise.
    kept = {key: value for key, value in figures(found).items() if "indices" not in key}
    yield "compiled, bfloat16", kept


def judged():
    """An alignment among dense items, which axes without a say in the plan are asked about."""
    texts, videos = embeddings(400, 400, 3, noise=0.3)
    skew = np.random.default_rng(5).normal(size=(D, D)) / np.sqrt(2 * D)
    found = applied(texts, videos @ expm(skew - skew.T), "sinkhorn+align+sinkhorn")
    assert 0 < found.t2v.fitted.facts["align_unseen"] < 1
    yield "judged", figures(found)


def few_wanted():
    """Few of many items asked, by queries that are not sure: axes without a say tell."""
    rng = np.random.default_rng(7)
    videos = rng.normal(size=(200, D)) + 1.5 * np.random.default_rng(0).normal(size=D)
    texts = videos[rng.integers(20, size=300)] + 0.8 * rng.normal(size=(300, D))
    found = applied(texts, videos, "sinkhorn")
    assert any("dimensions without a say" in note for note in found.t2v.notes)
    # How much it weighs is said in per cent, which a last bit may change.
    yield "few wanted", {k: x for k, x in figures(found).items() if not k.endswith("said")}


def one_topic():
    """Few queries whose items lie together: their popularity is no accident."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(6, D))
    videos = 1.2 * centres[np.arange(240) % 6] + rng.normal(size=(240, D))
    texts = videos[::6] + 0.8 * rng.normal(size=(40, D)) + rng.normal(size=D)
    found = applied(texts, videos, "sinkhorn")
    assert any("about one topic" in note for note in found.t2v.notes)
    yield "one topic", {k: x for k, x in figures(found).items() if not k.endswith("said")}


def mirrored():
    """One fit for both directions, where sizes ask for it."""
    texts, videos = embeddings(31, 31, 1)
    with held(api, "ONE_FIT_ELEMENTS", 1):
        yield "mirrored, shares", figures(applied(texts, videos, "sinkhorn"))
        if not in_three():
            return
        yield "mirrored", figures(applied(texts, videos, "sinkhorn", uneven=True))
        # Copies share a mass and forbid it: a process without rows has to hear of that.
        texts[5] = texts[2]
        copies = figures(applied(texts, videos, "sinkhorn", uneven=True, tau=0.5))
        yield "copies", {key: value for key, value in copies.items() if "indices" not in key}


def run():
    out = {"disagreement": torch.tensor(disagreement_is_seen())}
    out |= {"gathered": gathered(), "two galleries": torch.tensor(two_galleries_everywhere())}
    out |= {f"refused {name}": torch.tensor(refused(name)) for name in REFUSED}
    # One rehearsal of a gate is judged as three are, in a third of the time.
    with held(trials, "SPLITS", 1), warnings.catch_warnings(action="ignore"):
        for part in (
            one_bank,
            two_banks,
            gates,
            scores,
            marginals,
            compiled,
            judged,
            few_wanted,
            one_topic,
            mirrored,
        ):
            for name, found in part():
                out |= {f"{name}/{key}": value for key, value in found.items()}
    return {name: np.asarray(value) for name, value in out.items()}
