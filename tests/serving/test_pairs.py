"""An index and its side-car are an old pair or a new pair, wherever the writing ends."""

import errno
import io
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.serving.exporting import export, search_export
from rerank.serving.fitting import fit_model
from rerank.serving.sidecar import (
    Exported,
    commit,
    read_side_car,
    side_car,
    staged,
    to_bytes,
)
from rerank.serving.stores.npy import Npy
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, _ = make()
OLD, NEW = (IDS[:50], GALLERY[:50]), ([f"n{i}" for i in range(60)], GALLERY[100:160])
CALLS = ((os, "open"), (os, "fsync"), (os, "replace"), (os, "rename"), (io, "open"))


def model(side):
    return fit_model(*side, BANK, method="sinkhorn", tau=0.05)


@pytest.fixture(scope="module")
def models():
    return model(OLD), model(NEW)


def names(out):
    exported, found = search_export(out, QUERIES, 5)
    return [[exported.ids[j] for j in row] for row in found.indices.tolist()]


@contextmanager
def at_call(number: int, action):
    """`action` instead of call `number` of those that change files; yields what was counted."""
    count = [0]
    originals = [(owner, name, getattr(owner, name)) for owner, name in CALLS]

    def patched(original):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] == number:
                action()
            return original(*args, **kwargs)

        return call

    for owner, name, original in originals:
        setattr(owner, name, patched(original))
    try:
        yield count
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def write(which, out, to):
    """Export one side with index options that are quick."""
    return lambda models: export(
        models[which], *(OLD, NEW)[which], out, to=to, queries=QUERIES, recall=0.5
    )


@pytest.mark.parametrize("to", ["npy", "faiss"])
@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()], ids=["error", "stop"])
def test_an_error_at_any_call_leaves_the_old_pair_or_the_new_and_nothing_else(
    tmp_path, models, to, error
):
    pytest.importorskip("faiss")
    expected = []
    for which in (0, 1):
        with at_call(0, None) as count:
            write(which, tmp_path / f"e{which}", to)(models)
        expected.append(names(tmp_path / f"e{which}"))
    assert expected[0] != expected[1]
    total, seen = count[0], set()
    assert total > 8

    def fail():
        raise error

    for number in range(1, total + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(0, folder / "out", to)(models)
        with at_call(number, fail):
            try:
                write(1, folder / "out", to)(models)
            except (Exception, KeyboardInterrupt):
                pass
        found = names(folder / "out")
        assert found in expected, number
        seen.add(expected.index(found))
        left = {path.name for path in folder.iterdir()} - {"out", "out.npz", "out.query.py"}
        assert not left, (number, left)
    assert seen == {0, 1}


def small(side, out):
    """Write a pair with numpy alone, in a process that is killed: no threads of libraries."""
    ids, vectors = side
    exported = prepared[len(ids)]
    with staged(Npy(), out, replace=False) as place:
        place.store.write(place.target, vectors, ids, stamp="")
        manifest = {**exported.manifest, "hash": place.store.fingerprint(place.target)}
        whole = Exported(exported.ids, exported.folding, manifest)
        commit(
            out, "gallery", whole, 32, publish=place.publish,
            fingerprint=lambda: Npy().fingerprint(out),
        )  # fmt: skip


prepared: dict[int, Exported] = {}


def test_an_index_that_a_library_goes_on_writing_gets_its_side_car(tmp_path, models, request):
    """As databases do: their own thread writes on where an interrupt ends the wait for it."""
    # Jobs in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    out = tmp_path / "out"
    folded = []
    for side in (NEW, OLD):
        write(0 if side is OLD else 1, out, "npy")(models)
        prepared[len(side[0])] = read_side_car(side_car(out))
        folded.append(np.load(out))
    np.save(tmp_path / "waiting.npy", folded[0])
    begun = threading.Event()

    def work():
        begun.wait()
        time.sleep(0.2)
        (tmp_path / "waiting.npy").replace(out)

    def publish():
        thread = threading.Thread(target=work)
        thread.start()
        begun.set()
        signal.raise_signal(signal.SIGINT)
        thread.join()

    with pytest.raises(KeyboardInterrupt):
        commit(out, "gallery", prepared[len(NEW[0])], 32, publish=publish,
               fingerprint=lambda: Npy().fingerprint(out))  # fmt: skip
    time.sleep(0.4)
    np.testing.assert_array_equal(np.load(out), folded[0])
    assert read_side_car(side_car(out)).ids == tuple(NEW[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("first", [True, False], ids=["replacing", "first"])
def test_killed_at_any_call_every_reader_sees_a_pair(tmp_path, models, first):
    folded = {}
    for which, side in enumerate((OLD, NEW)):
        out = tmp_path / f"p{which}"
        write(which, out, "npy")(models)
        prepared[len(side[0])] = read_side_car(side_car(out))
        folded[which] = np.load(out)
    expected = [names(tmp_path / f"p{which}") for which in (0, 1)]
    with at_call(0, None) as count:
        small((NEW[0], folded[1]), tmp_path / "count")
    states = set()
    for number in range(1, count[0] + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        out = folder / "out"
        if first:
            small((OLD[0], folded[0]), out)
        child = os.fork()
        if child == 0:
            with at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                small((NEW[0], folded[1]), out)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if not first and not out.exists():
            continue
        before = {path.name for path in folder.iterdir()}
        found = names(out)
        assert found in expected, number
        if found == expected[1]:
            # The reader has completed the swap.
            assert names(out) == found and read_side_car(side_car(out)).ids == tuple(NEW[0])
            states.add(len(before))
        else:
            small((NEW[0], folded[1]), out)
            assert names(out) == expected[1]
    assert states, "no kill fell between the two renames"


def test_a_side_car_that_waits_for_an_index_that_never_came_is_not_read(tmp_path, models):
    write(0, tmp_path / "out", "npy")(models)
    write(1, tmp_path / "new", "npy")(models)
    expected = names(tmp_path / "out")
    waiting = (
        tmp_path / f".out.npz.{read_side_car(side_car(tmp_path / 'new')).manifest['hash']}.npz"
    )
    side_car(tmp_path / "new").rename(waiting)
    assert names(tmp_path / "out") == expected
    (tmp_path / "new").replace(tmp_path / "out")  # now it came
    assert names(tmp_path / "out") != expected
    assert not waiting.exists()


def test_what_is_replaced_during_a_search_is_searched_again(tmp_path, models, monkeypatch):
    out = tmp_path / "out"
    write(0, out, "npy")(models)
    write(1, tmp_path / "new", "npy")(models)
    expected, search, replaced = names(tmp_path / "new"), Npy.search, []

    def slow(self, target, queries, k, *, effort=None):
        if target == out and not replaced:
            replaced.append(True)
            write(1, out, "npy")(models)
        return search(self, target, queries, k, effort=effort)

    monkeypatch.setattr(Npy, "search", slow)
    assert names(out) == expected and replaced


def test_temporary_files_of_others_stay(tmp_path, models):
    other = tmp_path / ".q.tmp"
    other.mkdir()
    (other / "file").write_text("mine")
    write(0, tmp_path / "q", "npy")(models)
    assert (other / "file").read_text() == "mine"
    assert torch.is_tensor(search_export(tmp_path / "q", QUERIES, 3)[1].scores)


@pytest.mark.parametrize("to", ["lancedb", "qdrant"])
def test_a_table_that_was_replaced_gets_its_side_car_from_the_next_reader(
    tmp_path, models, monkeypatch, to
):
    pytest.importorskip({"lancedb": "lancedb", "qdrant": "qdrant_client"}[to])
    out = tmp_path / "out"
    write(1, tmp_path / "new", "npy")(models)
    write(0, out, to)(models)
    old, new, rename = names(out), names(tmp_path / "new"), os.replace
    assert old != new

    def replacing(*, also: bool):
        def ended(source, target):
            if Path(source).name.startswith(".out.npz.") and str(target).endswith("t.npz"):
                raise KeyboardInterrupt
            rename(source, target)

        monkeypatch.setattr(os, "replace", ended if also else rename)
        export(models[1], *NEW, out, to=to, queries=QUERIES, replace=True)

    with pytest.raises(KeyboardInterrupt):
        replacing(also=True)
    monkeypatch.setattr(os, "replace", rename)
    assert len(read_side_car(side_car(out)).ids) == len(OLD[0])
    assert names(out) == new and len(read_side_car(side_car(out)).ids) == len(NEW[0])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_an_index_keeps_its_permissions_before_the_first_byte(tmp_path, models):
    out, seen = tmp_path / "out", []
    write(0, out, "npy")(models)
    out.chmod(0o600)
    with staged(Npy(), out, replace=False) as place:
        seen.append(place.target.stat().st_mode & 0o777)
        place.store.write(place.target, GALLERY, IDS, stamp="")
        seen.append(place.target.stat().st_mode & 0o777)
        place.publish()
    assert seen == [0o600, 0o600] and out.stat().st_mode & 0o777 == 0o600


def test_a_side_car_keeps_its_permissions_before_the_first_byte(tmp_path, models, monkeypatch):
    out, seen, write_file = tmp_path / "out", [], to_bytes
    write(0, out, "npy")(models)
    side_car(out).chmod(0o640)

    def watched(*parts):
        (begun,) = [path for path in tmp_path.iterdir() if path.name.endswith(".tmp.npz")]
        seen.append(begun.stat().st_mode & 0o777)
        return write_file(*parts)

    monkeypatch.setattr("rerank.serving.sidecar.to_bytes", watched)
    write(1, out, "npy")(models)
    assert seen == [0o640] and side_car(out).stat().st_mode & 0o777 == 0o640


def test_a_disk_that_cannot_sync_is_no_failure_for_an_index(tmp_path, models, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    write(0, tmp_path / "out", "npy")(models)
    assert names(tmp_path / "out")


def test_a_side_car_that_declares_more_than_it_holds_is_refused(tmp_path, models):
    write(0, tmp_path / "out", "npy")(models)
    with np.load(side_car(tmp_path / "out")) as archive:
        arrays = dict(archive)
    np.savez_compressed(side_car(tmp_path / "out"), **arrays, more=np.zeros(1 << 22))
    with pytest.raises(FormatError, match="declares .* more than it holds"):
        names(tmp_path / "out")
