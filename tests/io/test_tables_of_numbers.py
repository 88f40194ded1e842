"""Vectors as columns of numbers: other numbers beside them are no dimensions."""

import numpy as np
import pandas as pd
import pytest

from rerank.core.errors import FormatError
from rerank.io import as_embeddings, read_embeddings, read_scores

N, D = 7, 5
IDS = [f"v{i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype("f4")


def write(frame, path, **options):
    if path.suffix == ".parquet":
        frame.rename(columns=str).to_parquet(path)
    else:
        frame.to_csv(path, **options)
    return path


def check(path, ids=IDS):
    found = read_embeddings(path)
    assert found.ids == tuple(ids)
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("names", ["{}", "f{}", "dim_{}", "emb.{}"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_beside_a_vector_are_no_part_of_it(tmp_path, ending, names, first):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame(ROWS, columns=[names.format(first + i) for i in range(D)])
    frame = frame.assign(duration=np.linspace(3, 90, N), id=IDS, fps=np.full(N, 29.97))
    sep = "\t" if ending == "tsv" else ","
    path = tmp_path / f"v.{ending}"
    check(write(frame, path, **({} if ending == "parquet" else {"sep": sep, "index": False})))


def test_the_row_numbers_of_pandas_are_no_dimension(tmp_path):
    frame = pd.DataFrame(ROWS).assign(video_id=IDS)
    check(write(frame, tmp_path / "v.csv"))
    again = pd.read_csv(tmp_path / "v.csv")  # "Unnamed: 0"
    check(write(again, tmp_path / "w.csv", index=False))
    check(write(again, tmp_path / "x.csv"))


def test_whole_numbers_that_name_rows_are_ids(tmp_path):
    numbers = [7010 + 3 * i for i in range(N)]
    names = [str(number) for number in numbers]
    frame = pd.DataFrame(ROWS, index=pd.Index(numbers))
    check(write(frame, tmp_path / "v.csv"), names)
    check(write(frame, tmp_path / "w.csv", header=False), names)
    scores = read_scores(tmp_path / "v.csv")
    assert scores.query_ids == tuple(names) and scores.scores.shape == (N, D)


def test_two_vectors_in_one_table_are_asked_about(tmp_path):
    frame = pd.DataFrame(
        np.hstack([ROWS, -ROWS]),
        columns=[f"{name}_{i}" for name in ("clip", "blip") for i in range(D)],
    ).assign(id=IDS)
    path = write(frame, tmp_path / "v.csv", index=False)
    with pytest.raises(FormatError, match="'clip', 'blip' could all be the embeddings"):
        read_embeddings(path)
    found = read_embeddings(path, embedding_column="blip")
    np.testing.assert_allclose(found.vectors, -ROWS, rtol=1e-6)
    assert read_scores(path).scores.shape == (N, 2 * D)


def test_names_that_do_not_count_are_all_dimensions(tmp_path):
    frame = pd.DataFrame(ROWS, columns=list("abcde")).assign(id=IDS)
    check(write(frame, tmp_path / "v.csv", index=False))


def test_a_frame_in_memory_is_read_alike():
    frame = pd.DataFrame(ROWS, columns=[f"f{i}" for i in range(D)])
    found = as_embeddings(frame.assign(id=IDS, duration=np.arange(N) * 2.5))
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, ROWS)
    whole = as_embeddings(pd.DataFrame(ROWS, columns=list("abcde")))
    np.testing.assert_array_equal(whole.vectors, ROWS)


@pytest.mark.parametrize("mark", [",", "\t", ";"])
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize(
    ("numbers", "names"),
    [("decimals", "v{}"), ("decimals", "dog cat cow pig hen owl"), ("whole", "v{}")],
)
def test_the_first_line_of_a_table_without_a_header_is_an_item(
    tmp_path, mark, place, numbers, names
):
    rng = np.random.default_rng(1)
    X = (
        rng.normal(size=(6, 4))
        if numbers == "decimals"
        else rng.permuted(np.arange(24)).reshape(6, 4)
    )
    ids = [names.format(i) for i in range(6)] if "{" in names else names.split()
    path = tmp_path / ("v.tsv" if mark == "\t" else "v.csv")
    for label in (False, True):
        rows = [[*map(str, x)] for x in X]
        for at, row in enumerate(rows):
            row.insert(place, ids[at])
            row += [f"l{at % 2}"] * label
        path.write_text("\n".join(map(mark.join, rows)))
        found = read_embeddings(path, **({"id_column": f"column {place}"} if label else {}))
        assert found.ids == tuple(ids)
        assert np.allclose(found.vectors, X)
        if label:
            with pytest.raises(FormatError, match=f"'column {place}', 'column 5': name one"):
                read_embeddings(path)


@pytest.mark.parametrize("header", ["0,1,2,id", "2,0,1,name", "7,12,3,title", "0.5,1,1.5,id"])
def test_a_header_of_numbers_and_a_name_is_none_of_the_items(tmp_path, header):
    path = tmp_path / "v.csv"
    rows = [
        f"{x[0]},{x[1]},{x[2]},v{i}" for i, x in enumerate(np.random.default_rng(0).random((5, 3)))
    ]
    path.write_text("\n".join([header, *rows]))
    assert read_embeddings(path).ids == tuple(f"v{i}" for i in range(5))
