"""Parts of pickles are counted as a walk meets them, and nothing is unpickled."""

import os
import pickle

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io.first_look import look
from rerank.io.pickle_parts import walk


def visits(content):
    return walk(content).visits


def walked(value):
    """The same number, by walking."""
    if isinstance(value, dict):
        return 1 + sum(map(walked, [*value, *value.values()]))
    if isinstance(value, list | tuple | set | frozenset):
        return 1 + sum(map(walked, value))
    return 0


SHARED = ["a", ("b", 2.5, None), {"c": True, "d": [1, 2**40, -(2**70)]}]
WHOLE = {"x": [SHARED, SHARED, {1: SHARED, (2, 3): []}], "y": ({}, set(), {7, 8}, "z" * 300, b"w")}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [5, "text", [], {}, (), SHARED, WHOLE, [WHOLE] * 3])
def test_parts_are_counted_as_a_walk_meets_them(protocol, value):
    content = pickle.dumps(value, protocol)
    # Sets were called functions of lists before protocol 4.
    assert visits(content) >= walked(value) if protocol < 4 else visits(content) == walked(value)
    assert visits(content) <= 3 * walked(value) + 3


class Runs:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    visits(pickle.dumps([Runs()]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_what_is_no_pickle_counts_nothing(cut):
    content = pickle.dumps(WHOLE)[:cut]
    assert visits(content) == 0 and visits(b"no pickle" + content) == 0


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_a_small_file_without_an_end_is_refused_at_first_sight(tmp_path, kind):
    made = [torch.ones(2)]
    for _ in range(9):
        made = {str(i): made for i in range(30)} if kind is dict else kind([made] * 30)
    torch.save(made, tmp_path / "v.pt")
    assert (tmp_path / "v.pt").stat().st_size < 20_000
    with pytest.raises(FormatError, match="holds the same parts again and again"):
        look(tmp_path / "v.pt", "videos")


def models():
    linear = torch.nn.Linear(3, 4)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    rows, ids = torch.ones(6, 4), [f"v{i}" for i in range(6)]
    return {
        "plain": {"embeddings": rows, "ids": ids},
        "many": {name: row for name, row in zip(ids * 40, rows.repeat(40, 1), strict=True)},
        "shared": {"a": {"embeddings": rows, "ids": ids}, "b": {"embeddings": rows, "ids": ids}},
        "checkpoint": {"model": linear.state_dict(), "optimizer": optimizer.state_dict()},
        "half": rows.half(),
        "numpy": {"ids": np.array(ids).tolist(), "embeddings": torch.from_numpy(np.ones((6, 4)))},
    }


@pytest.mark.parametrize("name", ["plain", "many", "shared", "checkpoint", "half", "numpy"])
def test_files_that_people_have_pass(tmp_path, name):
    torch.save(models()[name], tmp_path / "v.pt")
    look(tmp_path / "v.pt", "videos")
