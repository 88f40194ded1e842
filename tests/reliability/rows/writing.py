"""Writing that is ended, that finds no room, or that others do at the same time."""

import os
import random
import time
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import rerank
from rerank.io import write_embeddings, write_json, write_results, write_topk
from tests.io.test_results import MANIFEST, both
from tests.reliability.child import at_call, die, forked, no_file_larger_than, one_thread
from tests.reliability.matrix import Case, row

N, D = 3000, 16


@cache
def _made(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)).astype("f4")
    directions = both(seed)
    model = rerank.fit(
        x[:50], ids=[f"v{i}" for i in range(50)], bank_texts=x[50:200], method="sinkhorn", tau=0.1
    )
    return x, directions, model


def embeddings(path, seed):
    write_embeddings(path, [f"v{i}" for i in range(N)], _made(seed)[0])


def results(path, seed):
    write_results(
        path, directions=_made(seed)[1], manifest=MANIFEST, scores=np.full((4, 3), seed, "f4")
    )


def as_json(path, seed):
    write_json(path, {"numbers": _made(seed)[0][:300].tolist()})


def lists(path, seed):
    write_topk(path, _made(seed)[1], direction="t2v")


def fitted(path, seed):
    _made(seed)[2].save(path)


FORMATS = {
    "embeddings.h5": embeddings, "reranked.h5": results, "figures.json": as_json,
    "run.trec": lists, "top.jsonl": lists, "m.safetensors": fitted,
}  # fmt: skip


@cache
def _whole(name):
    """The old file, the new one, and the number of calls that change files."""
    folder = Path(mkdtemp())
    contents = []
    _made(0), _made(1)
    for seed in (0, 0, 1):  # the first also imports
        with at_call(0, die) as count:
            FORMATS[name](folder / name, seed)
        contents.append((folder / name).read_bytes())
        (folder / name).unlink()
    assert contents[0] == contents[1] != contents[2]
    return contents[1], contents[2], count[0]


def _after(name, folder, *, old, allow_left):
    """What is there is the old file or the whole new one; the next run removes what was left."""
    before, after, _ = _whole(name)
    path = folder / name
    found = path.read_bytes() if path.exists() else None
    assert found in (before if old else None, after), "neither the old file nor the new one"
    left = [each.name for each in folder.iterdir() if each.name != name]
    assert allow_left or not left, left
    FORMATS[name](path, 1)
    assert path.read_bytes() == after
    assert [each.name for each in folder.iterdir()] == [name], "the next run left something"


@row("kill -9 during a write", "the old or the new file, never a partial one", quick=12, slow=60)
def kills():
    for name in FORMATS:
        for old in (True, False):
            for number in range(1, 13):
                yield Case(
                    f"{name} at call {number}, old {old}", partial(_killed, name, number, old)
                )
    for name in FORMATS:
        for number in range(6):
            yield Case(f"{name} at byte {number}/6", partial(_killed_at_byte, name, number))
    for number in range(1, 25):
        yield Case(f"an index and its side-car at call {number}", partial(_killed_pair, number))


def _killed(name, number, old, folder):
    calls = _whole(name)[2]
    if old:
        FORMATS[name](folder / name, 0)
    at = 1 + (number - 1) % calls

    def work():
        with at_call(at, die):
            FORMATS[name](folder / name, 1)

    ended = forked(work)
    # The last call may be one that is made only once in a while.
    assert ended.status == -9 or (ended.status == 0 and at == calls), ended
    _after(name, folder, old=old, allow_left=True)


def _killed_at_byte(name, number, folder):
    FORMATS[name](folder / name, 0)
    size = len(_whole(name)[1])

    def work():
        no_file_larger_than(size * number // 6, kill=True)
        FORMATS[name](folder / name, 1)

    assert forked(work).status < 0
    _after(name, folder, old=True, allow_left=True)


@row("disk full", "a clear error, nothing left behind", quick=6)
def disk_full():
    for name in FORMATS:
        for number in range(4):
            yield Case(f"{name} at {number}/4", partial(_full, name, number))


def _full(name, number, folder):
    FORMATS[name](folder / name, 0)
    size = len(_whole(name)[1])

    def work():
        no_file_larger_than(size * number // 4)
        FORMATS[name](folder / name, 1)

    ended = forked(work)
    assert ended.status == 1 and "no room" in ended.err, ended
    assert ended.err.startswith(("FormatError", "RerankError")), ended
    assert (folder / name).read_bytes() == _whole(name)[0]
    _after(name, folder, old=True, allow_left=False)


@row("two writers", "a reader sees one whole file or the other", quick=2)
def writers():
    for name in FORMATS:
        for number in range(3):
            yield Case(f"{name} {number}", partial(_two, name, number))
    for number in range(3):
        yield Case(f"an index and its side-car {number}", partial(_two_pairs, number))


@contextmanager
def _children(*works):
    """All at once; waits for them, and all of them have to end well."""
    found = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                one_thread()
                work()
                status = 0
            finally:
                os._exit(status)
        found.append(pid)
    ended = []
    try:
        yield
    finally:
        ended = [os.waitpid(pid, 0)[1] for pid in found]
    assert not any(ended), ended


def _two(name, number, folder):
    FORMATS[name](folder / name, 0)
    wholes = _whole(name)[:2]

    def work(seed):
        for _ in range(6):
            FORMATS[name](folder / name, seed)

    rng = random.Random(number)
    with _children(partial(work, 0), partial(work, 1)):
        for _ in range(40):
            assert (folder / name).read_bytes() in wholes
            time.sleep(rng.random() / 200)
    assert (folder / name).read_bytes() in wholes
    assert [each.name for each in folder.iterdir()] == [name]


@cache
def _pairs():
    """Two exports as (ids, vectors, what lies beside them)."""
    from rerank.serving.exporting import export, search_export
    from rerank.serving.fitting import fit_model
    from rerank.serving.sidecar import read_side_car, side_car
    from tests.serving_data import make

    ids, gallery, queries, bank, _ = make(m=60, n=4, bank=30, d=8)
    folder, found = Path(mkdtemp()), []
    for number, names in enumerate((ids[:25], [f"n{i}" for i in range(30)])):
        rows = gallery[: len(names)] if number == 0 else gallery[-len(names) :]
        saved = fit_model(names, rows, bank, method="sinkhorn", tau=0.05)
        out = folder / str(number)
        export(saved, names, rows, out, to="npy", queries=queries)
        exported, best = search_export(out, queries, 5)
        listed = [[exported.ids[j] for j in line] for line in best.indices.tolist()]
        found.append((np.load(out), read_side_car(side_car(out)), listed))
    return queries, found


def write_pair(out, number):
    """An export with numpy alone, as `export` does it."""
    from rerank.serving.sidecar import Exported, commit, staged
    from rerank.serving.stores.npy import Npy

    vectors, beside, _ = _pairs()[1][number]
    with staged(Npy(), out, replace=False) as place:
        place.store.write(place.target, vectors, beside.ids, stamp="")
        manifest = {**beside.manifest, "hash": place.store.fingerprint(place.target)}
        commit(
            out, "gallery", Exported(beside.ids, beside.folding, manifest), 8,
            publish=place.publish, fingerprint=lambda: Npy().fingerprint(out),
        )  # fmt: skip


def _listed(out):
    from rerank.serving.exporting import search_export

    exported, best = search_export(out, _pairs()[0], 5)
    return [[exported.ids[j] for j in line] for line in best.indices.tolist()]


@cache
def _calls_of_a_pair():
    folder = Path(mkdtemp())
    for _ in range(2):
        with at_call(0, die) as count:
            write_pair(folder / "out", 0)
    return count[0]


def _killed_pair(number, folder):
    out, made = folder / "out", _pairs()[1]
    write_pair(out, 0)

    def work():
        with at_call(1 + (number - 1) % _calls_of_a_pair(), die):
            write_pair(out, 1)

    _calls_of_a_pair()
    assert forked(work).status == -9
    assert _listed(out) in (made[0][2], made[1][2])
    write_pair(out, 1)
    assert _listed(out) == made[1][2]
    left = {each.name for each in folder.iterdir()} - {"out", "out.npz"}
    assert not left, left


def _two_pairs(number, folder):
    made = _pairs()[1]
    out = folder / "out"
    write_pair(out, 0)

    def work(which):
        for _ in range(8):
            write_pair(out, which)

    rng = random.Random(number)
    with _children(partial(work, 0), partial(work, 1)):
        for _ in range(15):
            assert _listed(out) in (made[0][2], made[1][2])
            time.sleep(rng.random() / 100)
    assert _listed(out) in (made[0][2], made[1][2])
    left = {each.name for each in folder.iterdir()} - {"out", "out.npz"}
    assert not left, left
