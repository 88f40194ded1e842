"""A signal in the middle of a file leaves the old one, wherever Python happened to answer it."""

import os
import signal
import threading

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import DirectionResult, read_results, write_results
from rerank.io.files import atomic_path, check_place
from rerank.io.formats import hdf5
from rerank.io.interrupts import signals_wait

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def raising():
    """All signals raise, as they do on the command line."""

    def handler(number, _):
        raise KeyboardInterrupt(str(int(number)))

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_wait_till_asked_or_till_the_end(raising, number):
    reached = False
    with pytest.raises(KeyboardInterrupt, match=str(int(number))):
        with signals_wait():
            signal.raise_signal(number)
            reached = True
    assert reached
    with signals_wait() as answer, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
        answer()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)  # the handler is back


def test_what_ends_without_a_handler_stays_so(raising):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with signals_wait():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_another_thread_may_write(raising):
    done = []

    def work():
        with signals_wait() as answer:
            answer()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def result(rows):
    best = np.tile(np.arange(4), (rows, 1))
    lists = DirectionResult(
        tuple(f"q{i}" for i in range(rows)), tuple("wxyz"), best, best / 7.0, label="inductive"
    )
    return {"t2v": lists}


def test_a_signal_at_any_write_keeps_the_old_results(tmp_path, monkeypatch, raising):
    path, writes = tmp_path / "r.h5", []
    real = hdf5._Sink.write

    def counted(self, data):
        writes.append(len(data))
        if len(writes) == at:
            signal.raise_signal(signal.SIGTERM)
        return real(self, data)

    monkeypatch.setattr(hdf5._Sink, "write", counted)
    at = 0
    write_results(path, directions=result(3), manifest={"which": "old"})
    total, old = len(writes), path.read_bytes()
    assert total > 5
    for at in range(1, total + 1):
        writes.clear()
        with pytest.raises(KeyboardInterrupt):
            write_results(path, directions=result(5), manifest={"which": "new"})
        assert path.read_bytes() == old
        assert list(tmp_path.iterdir()) == [path]
    at = 0
    write_results(path, directions=result(5), manifest={"which": "new"})
    assert read_results(path).manifest == {"which": "new"}


def test_long_writing_stops_between_blocks(tmp_path, raising):
    path, blocks = tmp_path / "x.h5", []
    with pytest.raises(KeyboardInterrupt), hdf5.create_hdf5(path) as out:
        made = out.dataset("x", (10, 2), np.dtype("f4"))
        for row in range(10):
            made[row] = row
            blocks.append(row)
            if row == 3:
                signal.raise_signal(signal.SIGINT)
            out.check()
    assert blocks == [0, 1, 2, 3] and not path.exists()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_streams_are_no_outputs(name):
    with pytest.raises(FormatError, match="is a stream and no file.*choose a name"):
        with atomic_path(name):
            pass


def test_a_file_of_the_same_name_elsewhere_is_one(tmp_path):
    place = tmp_path / "dev"
    place.mkdir()
    with atomic_path(place / "stdout") as temporary:
        with h5py.File(temporary, "w") as file:
            file["x"] = 1
    assert (place / "stdout").exists()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["open", "close", "unlink", "fsync", "replace"])
@pytest.mark.parametrize("which", [1, 2])
def test_nothing_is_left_by_a_signal_at_any_call(
    tmp_path, raising, monkeypatch, name, which, after
):
    """Before a call or after it, an old file or a new one is there, and no other."""
    path, made, calls = tmp_path / "x.json", getattr(os, name), []

    def call(*given, **more):
        calls.append(given)
        if now := len(calls) == which and not after:
            signal.raise_signal(signal.SIGINT)
        done = made(*given, **more)
        if len(calls) == which and not now:
            signal.raise_signal(signal.SIGINT)
        return done

    path.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(os, name, call)
        try:
            check_place(path)
            with atomic_path(path) as temporary:
                temporary.write_text("new")
        except KeyboardInterrupt:
            pass
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text() in ("old", "new")
