"""Positives: turned around twice, grouped, and refused with a way out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.core.errors import RerankError
from rerank.core.pairs import (
    as_positives,
    clusters_of,
    group_pairs,
    positives_of,
    transpose_grades,
    transpose_positives,
)

M = 6
ragged = st.lists(st.lists(st.integers(0, M - 1), max_size=3), min_size=1, max_size=8)


@given(ragged)
def test_turning_positives_around_twice_gives_them_back(lists: list[list[int]]) -> None:
    positives = as_positives(lists, len(lists), M)
    back = transpose_positives(transpose_positives(positives, M), len(lists))
    assert [rows.tolist() for rows in back] == [sorted(set(rows)) for rows in lists]
    both = positives_of(positives, M)
    assert {(i, int(j)) for i, rows in enumerate(both["t2v"]) for j in rows} == {
        (int(i), j) for j, rows in enumerate(both["v2t"]) for i in rows
    }


@given(ragged)
def test_groups_agree_with_reachability(lists: list[list[int]]) -> None:
    n = len(lists)
    positives = as_positives(lists, n, M)
    found = group_pairs(positives, M)
    linked = np.eye(n + M, dtype=bool)
    for query, rows in enumerate(positives):
        linked[query, n + rows] = linked[n + rows, query] = True
    for _ in range(n + M):
        linked = linked @ linked
    groups = np.concatenate([found.queries, found.gallery])
    np.testing.assert_array_equal(groups[:, None] == groups[None], linked)
    assert found.count == len(np.unique(groups))
    clusters = clusters_of(positives, M)
    np.testing.assert_array_equal(clusters[:, None] == clusters[None], linked[:n, :n])


def test_grades_are_turned_around_with_their_zeros() -> None:
    grades = {0: {1: 3, 2: 0}, 2: {1: -1}}
    assert transpose_grades(grades) == {1: {0: 3, 2: -1}, 2: {0: 0}}
    assert transpose_grades(transpose_grades(grades)) == grades


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([[0], [9]], "got gallery row 9, expected 0 to 5"),
        ([[0]], "got 1 entries, expected one for each of 2"),
        ({7: [0]}, "got query row 7, expected rows from 0 to 1"),
        ({"t0": "v0"}, "got the key 't0', expected query rows"),
        ([["v0"], ["v1"]], "got .*'v0'.*, expected integer gallery rows"),
    ],
)
def test_what_does_not_fit_is_named(wrong: object, said: str) -> None:
    with pytest.raises(RerankError, match=said):
        as_positives(wrong, 2, M)  # type: ignore[arg-type]
