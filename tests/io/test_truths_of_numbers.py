"""A matrix of numbers as a ground truth gets the lines that its numbers allow, and these work."""

import re
import shlex

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_ground_truth

N = 6
OWNER = np.repeat(np.arange(N), 3)
RIGHT = np.arange(N)[None] == OWNER[:, None]
ORDER = np.random.default_rng(0).permutation(N)
TEXTS, FEW = ([str(i) for i in range(n)] for n in (3 * N, N))


def _save(x, path, kind):
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez(path, a=x)
    elif kind == "pt":
        torch = pytest.importorskip("torch")
        torch.save(torch.tensor(x), path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["a"] = x


def _ways(path):
    """What a file is refused with: what holds where a line is meant, and its code."""
    with pytest.raises(FormatError) as error:
        read_ground_truth(path, TEXTS, FEW)
    said = str(error.value)
    return said, [
        (says, shlex.split(f"'{code}'")[0])
        for says, code in re.findall(
            r"if ([^:]*?)(?:, make a table[^:]*)?: \S+ -c '(.*?)'(?:;|$)", said
        )
    ]


CASES = {
    "0 and 1": (RIGHT.astype(int), "it is 1 where", OWNER),
    "truth values": (RIGHT, "it is 1 where", OWNER),
    "floats of 0 and 1": (RIGHT.astype("f4"), "it is 1 where", OWNER),
    "grades": (RIGHT * 3, "it is above 0 where", OWNER),
    "texts of a video": (np.arange(3 * N).reshape(N, 3), "row i holds the texts of video i", OWNER),
    "the same as floats": (np.arange(3.0 * N).reshape(N, 3), "row i holds the texts", OWNER),
    "two texts of a video": (
        np.arange(2 * N).reshape(N, 2),
        "row i holds the texts",
        np.repeat(np.arange(N), 2),
    ),
    "pairs": (np.c_[np.arange(3 * N), OWNER], "each row is a text and its video", OWNER),
    "pairs of one": (np.c_[np.arange(N), np.arange(N)], "each row is a text and its", np.arange(N)),
    "videos of a text": (np.c_[OWNER, -np.ones((3 * N, 2), int)], "row i holds the videos", OWNER),
}


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "h5"])
@pytest.mark.parametrize("case", CASES)
def test_the_line_for_what_the_numbers_allow(tmp_path, case, kind):
    x, says, owner = CASES[case]
    _save(x, tmp_path / f"gt.{kind}", kind)
    said, ways = _ways(tmp_path / f"gt.{kind}")
    assert "\n" not in said and ways and ways[0][0].startswith(says)
    exec(ways[0][1], {})
    table = tmp_path / "gt.tsv"
    truth = read_ground_truth(table, TEXTS[: len(owner)], FEW)
    assert [rows.tolist() for rows in truth.positives] == [[j] for j in owner]


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=(N, 4)),
        np.argsort(np.random.default_rng(0).normal(size=(N, N))),
        np.arange(3 * N).reshape(N, 3) - 9,
        np.ones((N, 4)),
    ],
)
def test_numbers_that_say_nothing_get_no_line(tmp_path, x):
    np.save(tmp_path / "gt.npy", x)
    said, ways = _ways(tmp_path / "gt.npy")
    assert not ways and "a ground truth is JSON" in said


NAMED = [["", *FEW], *([text, *map(str, row)] for text, row in zip(TEXTS, RIGHT * 1, strict=True))]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("gt.csv", [",".join(row) for row in NAMED]),
        ("gt.tsv", ["\t".join(row) for row in NAMED]),
        ("gt.csv", [";".join(row) for row in NAMED]),
        ("gt.csv", [",".join(map(str, row)) for row in RIGHT * 1]),
        ("gt.csv", [",".join(f"{x:.18e}" for x in row) for row in RIGHT]),
        ("gt.txt", [" ".join(f"{x:.18e}" for x in row) for row in RIGHT]),
        ("gt.csv", [",".join(row).replace("1.0", "True") for row in NAMED[:1]]
         + [",".join([text, *map(str, row)]) for text, row in zip(TEXTS, RIGHT, strict=True)]),
    ],
)  # fmt: skip
def test_tables_of_0_and_1_get_a_line(tmp_path, name, lines, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    said, ways = _ways(name)
    assert "\n" not in said and [says.startswith("it is 1 where") for says, _ in ways] == [True]
    exec(ways[0][1], {})
    (made,) = [path for path in tmp_path.iterdir() if path.name != name]
    truth = read_ground_truth(made, TEXTS, FEW)
    assert [rows.tolist() for rows in truth.positives] == [[j] for j in OWNER]


def test_tables_of_other_numbers_get_none(tmp_path):
    (tmp_path / "gt.csv").write_text("name,a,b,c\nt0,0.5,1,0\nt1,2,0,1\n")
    assert not _ways(tmp_path / "gt.csv")[1]


def test_rows_of_items_are_not_said_to_be_truth_values(tmp_path):
    np.save(tmp_path / "gt.npy", np.arange(3 * N).reshape(N, 3))
    said, ways = _ways(tmp_path / "gt.npy")
    assert len(ways) == 2 and "is 1 where" not in said
