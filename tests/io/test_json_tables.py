"""Tables of pandas in JSON with a column for each number of the vectors."""

import json

import numpy as np
import pandas as pd
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_scores

N, D = 4, 12
ROWS = np.random.default_rng(0).normal(size=(N, D)).round(9)
IDS = [f"v{7 * i + 3}x" for i in range(N)]
STEMS = ("", "dim_", "f")
ORIENTS = ("columns", "index", "split", "table")


def a_table(stem, *, index=None, **columns):
    names = [f"{stem}{j}" for j in range(D)] if stem else range(D)
    made = pd.DataFrame(ROWS, columns=names, index=index)
    for name, held in columns.items():
        made[name] = held
    return made


def keep(path, made, orient):
    made.to_json(path, orient=orient, double_precision=15)
    return path


def the_rows(path, **options):
    found = read_embeddings(path, **options)
    np.testing.assert_allclose(found.vectors, ROWS, atol=1e-7)
    return list(found.ids)


@pytest.mark.parametrize("orient", ORIENTS)
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("ids", [IDS, ["video7010", "video7011", "video9", "video0"], [7, 3, 9, 0]])
def test_the_names_of_rows_are_ids(tmp_path, stem, orient, ids):
    path = keep(tmp_path / "v.json", a_table(stem, index=ids), orient)
    assert the_rows(path) == list(map(str, ids))


@pytest.mark.parametrize("orient", [*ORIENTS, "records"])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("index", [None, [9, 4, 7, 1]])
def test_a_column_of_ids_is_believed_first_and_numbers_are_put_in_order(
    tmp_path, stem, orient, index
):
    made = a_table(stem, index=index, video_id=IDS, duration=[3, 4, 5, 6])
    made = made.sort_index(axis=1, key=lambda names: names.map(str))
    assert the_rows(keep(tmp_path / "v.json", made, orient)) == IDS


def test_of_rows_alone_the_first_entry_is_the_id(tmp_path):
    path = tmp_path / "v.json"
    path.write_text(json.dumps([[i, *row] for i, row in zip(IDS, ROWS.tolist(), strict=True)]))
    assert the_rows(path) == IDS


@pytest.mark.parametrize("orient", [*ORIENTS, "records"])
def test_rows_without_names_are_numbered_by_a_diagonal_only(tmp_path, orient):
    path = keep(tmp_path / "v.json", a_table("dim_"), orient)
    with pytest.raises(FormatError, match="there are no ids for its rows"):
        read_embeddings(path)
    assert the_rows(path, ids="rows") == list("0123")


@pytest.mark.parametrize(
    ("made", "orient"),
    [
        (a_table(""), "columns"),
        (a_table(""), "index"),
        (pd.DataFrame(ROWS, columns=[f"video{j}" for j in range(D)]), "columns"),
        (pd.DataFrame(ROWS, index=list("abcd"), columns=[f"{j}x" for j in range(D)]), "columns"),
    ],
)
def test_what_may_be_rows_or_columns_is_not_read(tmp_path, made, orient):
    with pytest.raises(FormatError, match="no embeddings found"):
        read_embeddings(keep(tmp_path / "v.json", made, orient))


def test_a_number_that_is_missing_is_said(tmp_path):
    made = a_table("f", id=IDS)
    made.loc[2, "f5"] = np.nan
    with pytest.raises(FormatError, match="row 2"):
        read_embeddings(keep(tmp_path / "v.json", made, "records"))


@pytest.mark.parametrize("orient", ["columns", "index"])
def test_scores_by_names_of_both_are_a_ranking(tmp_path, orient):
    """Of a matrix nobody knows which way it is written; what is printed reads it."""
    made = pd.DataFrame(ROWS, index=IDS)
    path = keep(tmp_path / "s.json", made, orient)
    with pytest.raises(FormatError, match="is a ranking: rerank eval reads it with --results"):
        read_scores(path)
    found = read_scores(keep(path, made, "split"))
    assert found.query_ids == tuple(IDS) and found.scores.shape == (N, D)
