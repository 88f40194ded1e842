"""Laws of the few threads: how many start changes no result."""

import threading

import pytest
import torch

from rerank.core.rows import slices
from rerank.passes.threads import Workers

ROWS = torch.arange(80, dtype=torch.float64).reshape(20, 4)


@pytest.mark.parametrize("room", [0, 1, 3])
def test_without_room_for_threads_the_work_is_done_by_one(monkeypatch, room):
    start, left, done = threading.Thread.start, [room], []

    def limited(thread):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    def work(rows):
        done.append(rows.start)
        return ROWS[rows].sum()

    def kernel(out, thread, threads):
        out[thread::threads] += ROWS[thread::threads].sum(1)

    monkeypatch.setattr(threading.Thread, "start", limited)
    parts, workers = [*slices(20, 3)], Workers(4)
    assert sum(workers.each(work, parts, 32)) == ROWS.sum()
    assert sorted(done) == [part.start for part in parts]  # each once
    left[0] = room
    assert sum(workers.map(work, parts)) == ROWS.sum()
    out = torch.zeros(20, dtype=torch.float64)
    workers.run(kernel, [out], [])
    assert torch.equal(out, ROWS.sum(1))
