"""Score matrices."""

import csv
import json
import re

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankWarning
from rerank.core.wording import typed
from rerank.io import convert_scores, read_scores
from rerank.io.run_files import read_rankings

QUERIES, GALLERY = list("abcde"), list("uvwxyz")


def matrix(dtype="<f4"):
    return np.random.default_rng(0).normal(size=(5, 6)).astype(dtype)


def save(path, scores, *, queries=QUERIES, gallery=GALLERY, name="scores"):
    ids = {} if queries is None else {"query_ids": queries, "gallery_ids": gallery}
    if path.suffix == ".h5":
        with h5py.File(path, "w") as f:
            for key, value in {name: scores, **ids}.items():
                f[key] = value
    elif path.suffix == ".npz":
        np.savez(path, **{name: scores}, **ids)
    else:
        np.save(path, scores)
        for key, value in ids.items():
            path.with_suffix(f".{key}.json").write_text(json.dumps(value))
    return path


kinds = pytest.mark.parametrize("kind", ["h5", "npy", "npz"])


@kinds
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_values_and_ids_come_back(tmp_path, kind, dtype):
    found = read_scores(save(tmp_path / f"s.{kind}", matrix(dtype)))
    np.testing.assert_array_equal(found.scores, matrix(dtype).astype(found.scores.dtype))
    assert found.scores.dtype.isnative and found.scores.dtype.itemsize == (8 if "8" in dtype else 4)
    assert found.query_ids == tuple(QUERIES) and found.gallery_ids == tuple(GALLERY)
    assert found.ids_given and found.total_rows == 5


@kinds
def test_without_ids_rows_and_columns_are_numbered(tmp_path, kind):
    found = read_scores(save(tmp_path / f"s.{kind}", matrix(), queries=None))
    assert not found.ids_given
    assert found.query_ids == ("0", "1", "2", "3", "4") and found.gallery_ids[-1] == "5"


@kinds
def test_a_slice_of_the_rows(tmp_path, kind):
    path = save(tmp_path / f"s.{kind}", matrix())
    part = read_scores(path, rows=slice(1, 3))
    np.testing.assert_array_equal(part.scores, matrix()[1:3])
    assert part.query_ids == ("b", "c") and part.gallery_ids == tuple(GALLERY)
    assert part.total_rows == 5


@kinds
def test_the_array_may_be_named(tmp_path, kind):
    path = save(tmp_path / f"s.{kind}", matrix(), name="sims")
    assert read_scores(path).ids_given
    if kind == "npy":
        return
    assert read_scores(path, dataset="sims").scores.shape == (5, 6)
    with pytest.raises(FormatError, match="'other'"):
        read_scores(path, dataset="other")


def test_two_matrices_are_ambiguous(tmp_path):
    np.savez(tmp_path / "s.npz", a=matrix(), b=matrix())
    with pytest.raises(FormatError, match=r"s\.npz.*'a', 'b'.*dataset='a'"):
        read_scores(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(FormatError, match=r"s\.npz.*expected a 2-D float array 'scores'"):
        read_scores(tmp_path / "s.npz")


@kinds
@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "NaN"), (np.inf, r"\+infinity")],
)
def test_values_that_are_not_finite(tmp_path, kind, value, words):
    scores = matrix()
    scores[3, 2] = value
    path = save(tmp_path / f"s.{kind}", scores)
    pattern = rf"s\.{kind}.*row 3 \(query 'd'\): {words} in column 2 \(item 'w'\)"
    with pytest.raises(FormatError, match=pattern):
        read_scores(path)


@kinds
@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones((5, 6), int), "integers"),
        (np.ones((5, 6), complex), "complex"),
        (np.ones((5, 6), bool), "booleans"),
        (np.ones((5, 6, 2)), "3-D"),
        (np.ones(5), "1-D"),
        (np.ones((0, 6)), "empty"),
    ],
)
def test_the_wrong_sort_of_array(tmp_path, kind, scores, words):
    with pytest.raises(FormatError, match=rf"s\.{kind}.*{words}"):
        read_scores(save(tmp_path / f"s.{kind}", scores))


@kinds
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ({"queries": QUERIES[:4]}, "4 ids for the 5 rows"),
        ({"gallery": [*GALLERY, "more"]}, "7 ids for the 6"),
        ({"queries": list("abcda")}, "'a' stands in row 0 and again in row 4"),
        ({"gallery": list("uvwxyu")}, "'u'"),
    ],
)
def test_ids_that_do_not_fit(tmp_path, kind, ids, words):
    with pytest.raises(FormatError, match=words):
        read_scores(save(tmp_path / f"s.{kind}", matrix(), **ids))


def test_ids_of_one_side_only(tmp_path):
    np.savez(tmp_path / "s.npz", scores=matrix(), query_ids=QUERIES)
    with pytest.raises(FormatError, match="query_ids but no gallery_ids"):
        read_scores(tmp_path / "s.npz")


def test_other_files(tmp_path):
    for name, content in (("s.csv", "a,b"), ("s.pt", "x"), ("s.txt", "1 2")):
        (tmp_path / name).write_text(content)
        with pytest.raises(FormatError, match=re.escape(name)):
            read_scores(tmp_path / name)
    with pytest.raises(FormatError, match="no such file"):
        read_scores(tmp_path / "missing.npy")
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(FormatError, match="directory"):
        read_scores(tmp_path / "d.npy")


def test_a_matrix_stored_the_other_way(tmp_path):
    x = matrix()
    np.save(tmp_path / "s.npy", x.T)
    found = read_scores(tmp_path / "s.npy", sims_rows="videos")
    np.testing.assert_array_equal(found.scores, x)
    part = read_scores(tmp_path / "s.npy", sims_rows="videos", rows=slice(1, 3))
    np.testing.assert_array_equal(part.scores, x[1:3])
    # Ids go by what they fit: the names of the queries, or those of the stored rows.
    for ids in (
        {"query_ids": QUERIES, "gallery_ids": GALLERY},
        {"query_ids": GALLERY, "gallery_ids": QUERIES},
    ):
        np.savez(tmp_path / "s.npz", scores=x.T, **ids)
        turned = read_scores(tmp_path / "s.npz", sims_rows="videos")
        assert turned.query_ids == tuple(QUERIES) and turned.gallery_ids == tuple(GALLERY)
        np.testing.assert_array_equal(turned.scores, x)


@pytest.mark.parametrize("kind", ["pt", "npz"])
def test_both_directions_of_one_file(tmp_path, kind):
    import torch

    path, x = tmp_path / f"s.{kind}", matrix()

    def write(**arrays):
        if kind == "pt":
            torch.save({k: torch.from_numpy(v.copy()) for k, v in arrays.items()}, path)
        else:
            np.savez(path, **arrays)

    write(t2v=x, v2t=x.T)
    assert read_scores(path).reverse is None
    write(t2v=x, v2t=2 * x.T)
    found = read_scores(path)
    np.testing.assert_array_equal(found.scores, x)
    np.testing.assert_array_equal(found.reverse, 2 * x.T)
    assert found.content_sha256 != read_scores(path, dataset="t2v").content_sha256
    write(t2v=x, v2t=x)
    with pytest.raises(FormatError, match="v2t has the videos as rows"):
        read_scores(path)


def test_captions_padded_as_clip4clip_pads_them(tmp_path):
    """(videos, captions, videos), rows of one number where a video has fewer captions."""
    rng = np.random.default_rng(0)
    counts = [2, 1, 3, 1]
    cube = np.full((4, 3, 4), -np.inf, "f4")
    for video, count in enumerate(counts):
        cube[video, :count] = rng.normal(size=(count, 4))
    np.savez(tmp_path / "s.npz", sim_matrix=cube, gallery_ids=list("abcd"))
    found = read_scores(tmp_path / "s.npz")
    assert found.query_ids == ("a#0", "a#1", "b#0", "c#0", "c#1", "c#2", "d#0")
    expected = np.concatenate([cube[v, :c] for v, c in enumerate(counts)])
    np.testing.assert_array_equal(found.scores, expected)
    part = read_scores(tmp_path / "s.npz", rows=slice(2, 5))
    np.testing.assert_array_equal(part.scores, expected[2:5])
    for fill in (np.nan, -1e9, 0, -1):
        other = np.where(np.isneginf(cube), np.float32(fill), cube)
        np.savez(tmp_path / "o.npz", sim_matrix=other, gallery_ids=list("abcd"))
        again = read_scores(tmp_path / "o.npz")
        assert again.query_ids == found.query_ids
        np.testing.assert_array_equal(again.scores, expected)
    # The mask of queries says the same where the padding is zeros.
    mask = np.arange(3) < np.array(counts)[:, None]
    filled = np.where(np.isneginf(cube), 0, cube)
    np.savez(tmp_path / "m.npz", sim_matrix=filled, query_mask=mask, gallery_ids=list("abcd"))
    np.testing.assert_array_equal(read_scores(tmp_path / "m.npz").scores, expected)
    flat = filled.reshape(12, 4)
    np.savez(tmp_path / "f.npz", scores=flat, query_mask=mask.ravel())
    np.testing.assert_array_equal(read_scores(tmp_path / "f.npz").scores, expected)
    np.save(tmp_path / "odd.npy", cube[:3])
    with pytest.raises(FormatError, match=r"expected \(videos, captions, videos\)"):
        read_scores(tmp_path / "odd.npy")


def test_scores_in_tables(tmp_path):
    x = matrix().astype("f8")
    lines = [",".join([q, *map(repr, row)]) for q, row in zip(QUERIES, x.tolist(), strict=True)]
    (tmp_path / "s.csv").write_text("query," + ",".join(GALLERY) + "\n" + "\n".join(lines))
    found = read_scores(tmp_path / "s.csv")
    np.testing.assert_array_equal(found.scores, x)
    assert found.query_ids == tuple(QUERIES) and found.gallery_ids == tuple(GALLERY)
    np.savetxt(tmp_path / "plain.csv", x, delimiter=",")
    plain = read_scores(tmp_path / "plain.csv")
    np.testing.assert_allclose(plain.scores, x)
    assert not plain.ids_given
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    columns = {"query_id": QUERIES, **{g: x[:, i] for i, g in enumerate(GALLERY)}}
    parquet.write_table(arrow.table(columns), tmp_path / "s.parquet")
    found = read_scores(tmp_path / "s.parquet")
    np.testing.assert_array_equal(found.scores, x)
    assert found.query_ids == tuple(QUERIES) and found.gallery_ids == tuple(GALLERY)


def test_a_converted_matrix_says_the_same(tmp_path):
    from rerank.io import convert_scores

    save(tmp_path / "s.npz", matrix())
    assert convert_scores(tmp_path / "s.npz", tmp_path / "s.h5") == (5, 6)
    source, made = read_scores(tmp_path / "s.npz"), read_scores(tmp_path / "s.h5")
    assert made.content_sha256 == source.content_sha256


@kinds
def test_what_may_stand_for_not_scored(tmp_path, kind):
    scores = matrix()
    scores[3, 2] = -np.inf
    path = save(tmp_path / f"s.{kind}", scores)
    np.testing.assert_array_equal(read_scores(path).scores, scores)
    scores[1, 0] = np.nan
    path = save(tmp_path / f"n.{kind}", scores)
    np.testing.assert_array_equal(read_scores(path, nan=True).scores, scores)
    with pytest.raises(FormatError, match=r"row 1 .*NaN in column 0 .*nan=True"):
        read_scores(path)
    scores[2, 1] = np.inf
    with pytest.raises(FormatError, match=r"row 2 .*\+infinity in column 1"):
        read_scores(save(tmp_path / f"p.{kind}", scores), nan=True)


@pytest.mark.parametrize("corner", ["video", "video_id", "Image", "vid", "gallery"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_whose_corner_says_videos_is_asked_about(tmp_path, corner, kind):
    x, path = matrix("<f8").T, tmp_path / f"s.{kind}"
    table(path, corner, GALLERY, QUERIES, x)
    with pytest.raises(FormatError, match=f"named in the column '{corner}'.*sims_rows=.videos."):
        read_scores(path)
    found = read_scores(path, sims_rows="videos")
    assert (found.query_ids, found.gallery_ids) == (tuple(QUERIES), tuple(GALLERY))
    np.testing.assert_array_equal(found.scores, x.T)
    # Texts called by their videos, and any other word, say nothing.
    table(path, corner, [f"{name}#0" for name in GALLERY], GALLERY, matrix("<f8")[[0] * 6])
    assert read_scores(path).query_ids == tuple(f"{name}#0" for name in GALLERY)
    for other in ("query_id", "text", "id", "row"):
        table(path, other, GALLERY, QUERIES, x)
        assert read_scores(path).query_ids == tuple(GALLERY)


def table(path, corner, rows, columns, x):
    held = {corner: rows, **{name: x[:, i] for i, name in enumerate(columns)}}
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.table(held), path)
        return
    mark = "," if path.suffix == ".csv" else "\t"
    lines = [held, *zip(*held.values(), strict=True)]
    path.write_text("".join(mark.join(map(str, line)) + "\n" for line in lines))


@pytest.mark.parametrize("name", ["i2t", "image_to_text", "v2t"])
def test_a_matrix_called_videos_to_texts_is_never_read_as_it_is(tmp_path, name):
    x = np.random.default_rng(0).normal(size=(5, 5))
    ids = {"text_ids": QUERIES, "video_ids": GALLERY[:5]}
    np.savez(tmp_path / "s.npz", **{name: x}, **ids)
    if name != "v2t":  # of which it is known
        with pytest.raises(FormatError, match=f"'{name}': is called so.*sims_rows=.videos."):
            read_scores(tmp_path / "s.npz")
    with pytest.raises(FormatError, match=f"'{name}': is called so.*sims_rows=.videos."):
        read_scores(tmp_path / "s.npz", dataset=name)
    found = read_scores(tmp_path / "s.npz", sims_rows="videos", dataset=name)
    np.testing.assert_array_equal(found.scores, x.T)
    # Lengths that differ tell.
    ids["video_ids"] = GALLERY
    np.savez(tmp_path / "s.npz", **{name: matrix()}, **ids)
    np.testing.assert_array_equal(read_scores(tmp_path / "s.npz", dataset=name).scores, matrix())


OF_VIDEOS = (
    "logits_per_image", "logits_per_video", "logits_per_audio", "perVideo", "v2t_sim", "simsI2T",
    "scores_i2t", "score_matrix_i2t", "sims_v2t", "a2t", "audio_to_text", "img2txt_scores",
    "sim_image_to_text_1k", "v2t/sims", "vt", "it", "sim_vt", "sims_it", "v_t", "vXt", "video_text",
    "videos_x_texts", "image_text_logits", "img_txt", "vid_txt_sim", "VideoText",
    "gallery_by_query", "video_caption_scores", "image_vs_text", "scores_video_rows",
    "rows_are_videos",
)  # fmt: skip
OF_TEXTS = (
    "t2v_sim", "logits_per_text", "text_to_audio", "per_caption_scores", "sims", "t2v/x", "tv",
    "text_video", "texts_x_videos", "text_image_logits", "query_gallery", "txv", "text_rows",
    # Words that are of something else.
    "clip_text_sim", "image_text_retrieval_scores", "do_it", "video_text_matching", "dot_product",
)  # fmt: skip


@pytest.mark.parametrize("holder", ["s.npz", "s.h5", "s.mat", "s.pt", "s.safetensors", "s.json"])
@pytest.mark.parametrize("name", OF_VIDEOS)
def test_names_with_words_that_say_videos_to_texts_are_asked_about(tmp_path, name, holder):
    if "/" in name and holder == "s.json":
        return
    for x in (matrix()[:, :5], matrix()):
        path = save_with(tmp_path / holder, x, {}, name)
        for dataset in (None, name):
            with pytest.raises(FormatError, match=f"{name}': is called so.*sims_rows=.videos."):
                read_scores(path, dataset=dataset)
            found = read_scores(path, dataset=dataset, sims_rows="videos")
            np.testing.assert_array_equal(found.scores, x.T)
    # Lengths that differ tell, and so do the words of texts.
    ids = {"text_ids": QUERIES, "video_ids": GALLERY}
    path = save_with(tmp_path / holder, matrix(), ids, name)
    if holder != "s.safetensors" and "/" not in name:
        np.testing.assert_array_equal(read_scores(path, dataset=name).scores, matrix())
    for other in OF_TEXTS if holder == "s.npz" else ():
        path = save_with(tmp_path / holder, matrix()[:, :5], {}, other)
        np.testing.assert_array_equal(read_scores(path).scores, matrix()[:, :5])


def test_of_two_directions_the_one_of_texts_is_offered(tmp_path):
    both = {"logits_per_image": matrix().T, "logits_per_text": matrix()}
    np.savez(tmp_path / "s.npz", **both)
    with pytest.raises(FormatError, match="give dataset='logits_per_text'"):
        read_scores(tmp_path / "s.npz")
    found = read_scores(tmp_path / "s.npz", dataset="logits_per_text")
    np.testing.assert_array_equal(found.scores, matrix())


@pytest.mark.parametrize("stem", ["v2t", "sims_i2t", "video_to_text", "logitsPerImage",
                                  "vt", "videos_x_texts", "image_text_logits"])  # fmt: skip
def test_a_square_matrix_in_a_file_that_is_called_videos_to_texts_is_asked_about(tmp_path, stem):
    x = matrix()[:, :5]
    for kind in ("npy", "npz", "pt", "csv"):
        path = tmp_path / f"{stem}.{kind}"
        if kind == "csv":
            rows = "".join(",".join(map(repr, row)) + "\n" for row in x.astype("f8").tolist())
            path.write_text(",".join(GALLERY[:5]) + "\n" + rows)
        elif kind == "npy":
            np.save(path, x)
        else:
            save_with(path, x, {"query_ids": QUERIES, "gallery_ids": GALLERY[:5]})
        said = r"is called so as if the rows of its scores were videos.* call the file otherwise"
        with pytest.raises(FormatError, match=said):
            read_scores(path)
        if kind != "csv":
            ids = {"texts": "gallery_ids", "videos": "query_ids"} if kind in ("npz", "pt") else None
            found = read_scores(path, sims_rows="videos", id_column=ids)
            np.testing.assert_array_equal(found.scores, x.T)
        # Another name of the file or of the array, or names of the rows, tell.
        np.testing.assert_allclose(read_scores(path.rename(tmp_path / f"s.{kind}")).scores, x)
    np.save(tmp_path / f"{stem}.npy", matrix())
    np.testing.assert_array_equal(read_scores(tmp_path / f"{stem}.npy").scores, matrix())
    np.savez(tmp_path / f"{stem}.npz", t2v=x)
    np.testing.assert_array_equal(read_scores(tmp_path / f"{stem}.npz").scores, x)
    table(tmp_path / f"{stem}.csv", "query_id", QUERIES, GALLERY[:5], x)
    np.testing.assert_allclose(read_scores(tmp_path / f"{stem}.csv").scores, x)
    convert_scores(tmp_path / f"{stem}.csv", tmp_path / f"{stem}.h5")
    np.testing.assert_allclose(read_scores(tmp_path / f"{stem}.h5").scores, x)


def save_with(path, scores, ids, name="sims"):
    """A matrix and lists beside it, in any kind of file that holds both."""
    if path.suffix == ".pt":
        import torch

        torch.save({name: torch.from_numpy(scores), **ids}, path)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        told = {key: json.dumps(names) for key, names in ids.items()}
        save_file({name: np.ascontiguousarray(scores)}, path, told)
    elif path.suffix == ".json":
        path.write_text(json.dumps({name: scores.tolist(), **ids}))
    elif path.suffix == ".npz":
        np.savez(path, **{name: scores}, **ids)
    elif path.suffix == ".npy":
        np.save(path, scores)
        for key, names in ids.items():
            path.with_suffix(f".{key}.txt").write_text("\n".join(names))
    else:
        with h5py.File(path, "w") as f:
            inside = f.create_group("group") if path.stem == "group" else f
            made = inside.create_dataset(name, data=scores)
            for key, names in ids.items():
                if path.stem == "told":
                    made.attrs[key] = names
                else:
                    inside[key] = names
    return path


holders = pytest.mark.parametrize(
    "name",
    ["s.npz", "s.npy", "s.pt", "s.safetensors", "s.json", "s.h5", "told.h5", "group.h5"],
)


@holders
def test_ids_that_say_not_of_what_are_of_the_side_that_they_fit(tmp_path, name):
    path = save_with(tmp_path / name, matrix(), {"ids": QUERIES})
    with pytest.raises(FormatError, match='no gallery_ids; give both .*gallery_ids="rows"'):
        read_scores(path)
    found = read_scores(path, gallery_ids="rows")
    assert found.query_ids == tuple(QUERIES) and found.gallery_ids[-1] == "5"
    path = save_with(tmp_path / name, matrix(), {"ids": GALLERY})
    with pytest.raises(FormatError, match='no query_ids; give both .*query_ids="rows"'):
        read_scores(path)
    found = read_scores(path, query_ids="rows")
    assert found.gallery_ids == tuple(GALLERY) and found.query_ids[-1] == "4"
    # Turned, the rows are the videos.
    found = read_scores(path, sims_rows="videos", gallery_ids="rows")
    assert found.query_ids == tuple(GALLERY) and found.gallery_ids[-1] == "4"
    path = save_with(tmp_path / name, matrix(), {"ids": QUERIES[:3]})
    with pytest.raises(FormatError, match=r"3 ids.*5 texts and 6 videos"):
        read_scores(path)


@holders
def test_ids_that_fit_both_sides_are_asked_about(tmp_path, name):
    square, ids = matrix()[:, :5], list("edcba")
    path = save_with(tmp_path / name, square, {"ids": ids})
    with pytest.raises(FormatError, match="may name the 5 texts or the 5 videos") as caught:
        read_scores(path)
    numbers = tuple("01234")
    by_file = path.suffix == ".npy"
    for said, sides in (("texts", "ba"), ("videos", "ab"), ("rows", "ba")):
        if by_file and said != "rows":
            given = {"query_ids" if said == "texts" else "gallery_ids": tmp_path / "s.ids.txt"}
        elif by_file:
            continue
        else:
            given = {"id_column": "ids" if said == "rows" else {said: "ids"}}
            assert said == "rows" or f"id_column={given['id_column']}" in str(caught.value)
        found = read_scores(path, **given)
        expected = {"a": numbers, "b": tuple(ids)}
        assert (found.query_ids, found.gallery_ids) == (expected[sides[0]], expected[sides[1]])
    if not by_file:
        found = read_scores(path, id_column={"texts": "ids", "videos": "ids"})
        assert found.query_ids == found.gallery_ids == tuple(ids)
        turned = read_scores(path, sims_rows="videos", id_column="ids")
        assert turned.gallery_ids == tuple(ids) and turned.query_ids == numbers
    assert read_scores(path, query_ids="rows", gallery_ids="rows").query_ids == numbers
    # What counts the rows says nothing else than the rows.
    assert read_scores(save_with(path, square, {"ids": list(numbers)})).query_ids == numbers
    # Nor is there a question where both sides have names of their own.
    both = {"query_ids": QUERIES, "gallery_ids": GALLERY[:5], "ids": ids}
    assert read_scores(save_with(path, square, both)).gallery_ids == tuple(GALLERY[:5])


@pytest.mark.parametrize("name", ["s.parquet", "s.jsonl", "s.json"])
@pytest.mark.parametrize("column", ["id", "query_id", "keys", "qid"])
def test_a_column_beside_lists_names_the_rows(tmp_path, name, column):
    square, ids, path = matrix("<f8")[:, :5], [4, 2, 0, 1, 3], tmp_path / name
    rows = [{column: i, "vector": row, "frames": 7} for i, row in zip(ids, square.tolist())]
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text(json.dumps(rows))
    found = read_scores(path)
    np.testing.assert_array_equal(found.scores, square)
    assert found.query_ids == tuple("42013") and found.gallery_ids == tuple("01234")
    assert found.ids_given
    turned = read_scores(path, sims_rows="videos")
    assert turned.gallery_ids == tuple("42013") and turned.query_ids == tuple("01234")
    assert read_scores(path, query_ids="rows").query_ids == tuple("01234")
    with pytest.raises(FormatError, match="stands in row 0 and again in row 1"):
        read_scores(path, id_column="frames")
    with pytest.raises(FormatError, match="there is no 'nope'; it holds"):
        read_scores(path, id_column="nope")


def test_the_column_of_ids_of_a_table_may_be_said(tmp_path):
    (tmp_path / "s.csv").write_text("id,other,x,y\na,d,.5,.1\nb,c,.25,.2\n")
    assert read_scores(tmp_path / "s.csv").query_ids == ("a", "b")
    assert read_scores(tmp_path / "s.csv", id_column="other").query_ids == ("d", "c")
    with pytest.raises(FormatError, match="there is no 'nope'; it holds"):
        read_scores(tmp_path / "s.csv", id_column="nope")
    with pytest.raises(Exception, match="id_column: got 'text'"):
        read_scores(tmp_path / "s.csv", id_column={"text": "other"})


def test_names_of_columns_count_without_names_of_rows(tmp_path):
    from rerank.io import convert_scores

    (tmp_path / "s.csv").write_text("x,y\n.5,.1\n.25,.2\n")
    assert read_scores(tmp_path / "s.csv").ids_given
    convert_scores(tmp_path / "s.csv", tmp_path / "s.h5")
    assert read_scores(tmp_path / "s.h5").gallery_ids == ("x", "y")


def test_rows_and_columns_of_pandas(tmp_path):
    content = {"columns": ["y", "x"], "index": ["b", "a"], "data": [[0.5, 0.25], [0.1, 0.2]]}
    (tmp_path / "s.json").write_text(json.dumps(content))
    found = read_scores(tmp_path / "s.json")
    assert found.query_ids == ("b", "a") and found.gallery_ids == ("y", "x")
    turned = read_scores(tmp_path / "s.json", sims_rows="videos")
    assert turned.query_ids == ("y", "x") and turned.gallery_ids == ("b", "a")


def test_captions_of_videos_that_are_called_ids(tmp_path):
    cube = np.random.default_rng(0).normal(size=(3, 2, 3))
    np.savez(tmp_path / "s.npz", sims=cube, ids=list("cab"))
    found = read_scores(tmp_path / "s.npz")
    assert found.gallery_ids == tuple("cab") and found.query_ids[:3] == ("c#0", "c#1", "a#0")


@pytest.mark.parametrize("corner", ["query_id", "", "id"])
def test_whole_numbers_over_decimals_are_the_names_of_the_columns(tmp_path, corner):
    x, names = matrix("<f8"), ["1003", "17", "250", "9", "1001", "44"][: len(GALLERY)]
    table(tmp_path / "s.csv", corner, QUERIES, names, x)
    found = read_scores(tmp_path / "s.csv")
    assert (found.query_ids, found.gallery_ids) == (tuple(QUERIES), tuple(names))
    np.testing.assert_array_equal(found.scores, x)
    # Rows of whole numbers throughout have no header.
    whole = np.arange(12).reshape(3, 4) * 7 + 3
    (tmp_path / "w.csv").write_text(
        "".join(f"v{i},{','.join(map(str, r))}\n" for i, r in enumerate(whole))
    )
    assert read_scores(tmp_path / "w.csv").scores.shape == (3, 4)


MADE_OF_ROWS = ["s.csv", "lists.csv", "s.parquet", "lists.parquet", "lists.jsonl", "lists.json"]


def records(path, name, rows, columns, x):
    """A table of scores, or records of lists, whose rows are named in one column."""
    if not path.name.startswith("lists"):
        wide = {name: rows, **{column: x[:, k] for k, column in enumerate(columns)}}
        held = [dict(zip(wide, line, strict=True)) for line in zip(*wide.values(), strict=True)]
    else:
        held = [{name: row, "scores": line} for row, line in zip(rows, x.tolist(), strict=True)]
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        written = arrow.Table.from_pylist(held)
        pytest.importorskip("pyarrow.parquet").write_table(written, path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as f:
            out = csv.DictWriter(f, list(held[0]))
            out.writeheader()
            out.writerows(held)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, held)))
    else:
        path.write_text(json.dumps(held))
    return path


@pytest.mark.parametrize("file", MADE_OF_ROWS)
@pytest.mark.parametrize("name", ["video_id", "image", "vid", "item_idx", "video_path"])
def test_rows_that_are_called_videos_are_asked_about_whatever_their_ids(tmp_path, file, name):
    """Also where every id is one of both sides."""
    videos, texts, x = list("42013"), list("10342"), matrix("<f8")[:, :5]
    path = records(tmp_path / file, name, videos, texts, x)
    ways = rf"named in the column '{name}'.*sims_rows=.videos.*id_column=\{{'texts': '{name}'\}}"
    with pytest.raises(FormatError, match=ways):
        read_scores(path)
    turned = read_scores(path, sims_rows="videos")
    assert turned.gallery_ids == tuple(videos)
    np.testing.assert_array_equal(turned.scores, x.T)
    kept = read_scores(path, id_column={"texts": name})
    assert kept.query_ids == tuple(videos)
    np.testing.assert_array_equal(kept.scores, x)


@pytest.mark.parametrize("file", ["lists.parquet", "lists.jsonl", "lists.json"])
def test_a_row_that_holds_its_caption_is_a_text(tmp_path, file):
    rows = [{"video_id": v, "caption": f"a {v}", "scores": line}
            for v, line in zip(QUERIES, matrix("<f8").tolist(), strict=True)]  # fmt: skip
    path = tmp_path / file
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        written = arrow.Table.from_pylist(rows)
        pytest.importorskip("pyarrow.parquet").write_table(written, path)
    else:
        lines = "\n".join(map(json.dumps, rows))
        path.write_text(lines if path.suffix == ".jsonl" else json.dumps(rows))
    assert read_scores(path).query_ids == tuple(QUERIES)


@pytest.mark.parametrize("holder", ["s.npz", "s.h5", "s.pt", "s.json"])
@pytest.mark.parametrize("name", ["video_ids", "video_id", "image_ids", "vid"])
def test_names_of_videos_that_fit_the_rows_alone_are_asked_about(tmp_path, holder, name):
    """What states its side tells which way round the matrix lies."""
    path = save_with(tmp_path / holder, matrix(), {name: QUERIES})
    with pytest.raises(FormatError, match=r"5 ids of videos: .*sims_rows=.videos."):
        read_scores(path)
    found = read_scores(path, sims_rows="videos", query_ids="rows")
    assert found.gallery_ids == tuple(QUERIES) and found.scores.shape == (6, 5)
    path = save_with(tmp_path / holder, matrix(), {"text_id": QUERIES, name: GALLERY})
    assert read_scores(path).query_ids == tuple(QUERIES)
    # Nor do they name rows that come again: the right video of each text, say.
    if not name.endswith("ids"):
        path = save_with(tmp_path / holder, matrix(), {name: list("aabbc")})
        assert not read_scores(path).ids_given


@pytest.mark.parametrize("holder", ["s.npz", "s.h5", "s.pt", "s.json"])
@pytest.mark.parametrize("videos", ["video_ids", "gallery_ids", "item_ids", "images"])
@pytest.mark.parametrize("texts", ["query_ids", "text_ids", "captions"])
@pytest.mark.parametrize("square", [True, False])
def test_names_that_state_a_side_are_believed_in_a_turned_matrix(
    tmp_path, holder, texts, videos, square
):
    x = matrix()[:, : 5 if square else 6]
    names = (list("42013"), list("103425")[: x.shape[1]])
    ids = {texts: names[0], videos: names[1]}
    path = save_with(tmp_path / holder, x.T, ids)
    if square and texts == "query_ids" and videos == "gallery_ids":
        # Queries may be what is stored as rows.
        with pytest.raises(FormatError, match=r"'query_ids' may name.*id_column=\{'texts'"):
            read_scores(path, sims_rows="videos")
        return
    found = read_scores(path, sims_rows="videos")
    assert (found.query_ids, found.gallery_ids) == tuple(map(tuple, names))
    np.testing.assert_array_equal(found.scores, x)


@pytest.mark.parametrize("name", ["qid", "query", "text_idx", "sentid"])
def test_whole_numbers_that_name_the_texts_are_no_column_of_scores(tmp_path, name):
    x, rows = matrix("<f8"), ["40", "7", "12", "1", "3"]
    table(tmp_path / "s.csv", name, rows, GALLERY, x)
    found = read_scores(tmp_path / "s.csv")
    assert (found.query_ids, found.gallery_ids) == (tuple(rows), tuple(GALLERY))
    np.testing.assert_array_equal(found.scores, x)


@pytest.mark.parametrize("texts", ["query_ids", "text_ids"])
@pytest.mark.parametrize("holder", ["s.npz", "s.h5", "s.pt", "s.json"])
def test_names_that_contradict_the_way_a_matrix_is_said_to_lie(tmp_path, holder, texts):
    ids = {texts: QUERIES, "video_ids": GALLERY}
    path = save_with(tmp_path / holder, matrix(), ids)
    with pytest.raises(FormatError, match=r"5 ids of texts and 6 .*texts x videos; leave out sims"):
        read_scores(path, sims_rows="videos")
    assert read_scores(path).query_ids == tuple(QUERIES)
    np.savez(tmp_path / "v.npz", v2t=matrix(), **ids)
    with pytest.raises(FormatError, match="texts x videos; give dataset='v2t'"):
        read_scores(tmp_path / "v.npz")
    assert read_scores(tmp_path / "v.npz", dataset="v2t").gallery_ids == tuple(GALLERY)


@pytest.mark.parametrize("file", ["lists.csv", "lists.parquet", "lists.jsonl", "lists.json"])
def test_a_side_that_is_called_by_its_numbers_is_said_to_be(tmp_path, file):
    path = records(tmp_path / file, "query_id", QUERIES, (), matrix("<f8"))
    found = read_scores(path)
    assert found.numbered == "videos"
    assert re.search(r"names no videos, which are called by .*gallery_ids=FILE", found.of_numbered)
    assert read_scores(path, gallery_ids="rows").of_numbered == ""
    (tmp_path / "v.txt").write_text("\n".join(GALLERY))
    found = read_scores(path, gallery_ids=tmp_path / "v.txt")
    assert (found.gallery_ids, found.numbered) == (tuple(GALLERY), "")
    # Numbers in order say no more of the rows than their places.
    path = records(tmp_path / file, "query_id", list("01234"), (), matrix("<f8"))
    assert read_scores(path).numbered == ""


def test_what_names_both_sides_of_a_table_numbers_none(tmp_path):
    for columns in (GALLERY, list("012345")):  # pandas calls columns by their numbers
        table(tmp_path / "s.csv", "query_id", QUERIES, columns, matrix("<f8"))
        assert read_scores(tmp_path / "s.csv").numbered == ""
    (tmp_path / "s.csv").write_text("x,y\n.5,.1\n.25,.2\n")
    assert read_scores(tmp_path / "s.csv").numbered == "texts"
    (tmp_path / "s.csv").write_text("a,.5,.1\nb,.25,.2\n")
    assert read_scores(tmp_path / "s.csv").numbered == "videos"
    np.save(tmp_path / "s.npy", matrix())
    assert read_scores(tmp_path / "s.npy").numbered == ""


# ---------------------------------------------------------------------------- masks, counts, names


@pytest.mark.parametrize("name", ["mask", "query_mask", "text_mask"])
@pytest.mark.parametrize("shape", [(12, 12), (12, 1, 1), (12, 3)])
def test_a_mask_of_more_than_rows_is_refused(tmp_path, name, shape):
    scores = np.random.default_rng(0).random((12, 12)).astype("f4")
    mask = np.arange(np.prod(shape)).reshape(shape) % 3 > 0
    np.savez(tmp_path / "s.npz", sims=scores, **{name: mask})
    with pytest.raises(FormatError, match="one entry for each of the 12 rows.*write -inf"):
        read_scores(tmp_path / "s.npz")
    for rows in ((12,), (12, 1), (1, 12)):
        kept = np.arange(12) % 3 > 0
        np.savez(tmp_path / "s.npz", sims=scores, **{name: kept.reshape(rows)})
        np.testing.assert_array_equal(read_scores(tmp_path / "s.npz").scores, scores[kept])


@pytest.mark.parametrize("name", ["query_masks", "cap_mask", "sentence_masks"])
def test_a_mask_of_the_rows_of_a_matrix_by_another_name_is_taken(tmp_path, name):
    scores, kept = np.random.default_rng(0).random((12, 9)).astype("f4"), np.arange(12) % 3 > 0
    np.savez(tmp_path / "s.npz", sims=scores, **{name: kept}, video_mask=np.ones(9) > 2)
    np.testing.assert_array_equal(read_scores(tmp_path / "s.npz").scores, scores[kept])
    np.savez(tmp_path / "s.npz", sims=scores, **{name: np.ones((12, 30))})  # of the words of texts
    np.testing.assert_array_equal(read_scores(tmp_path / "s.npz").scores, scores)


def test_what_stands_beside_a_block_says_which_captions_are_there(tmp_path):
    rng = np.random.default_rng(0)
    block = rng.random((6, 4, 6)).astype("f4")
    counts = np.array([1, 4, 2, 3, 4, 1])
    there = np.arange(4) < counts[:, None]
    want = block.reshape(-1, 6)[there.reshape(-1)]
    said = [("query_mask", there), ("mask", there[:, :, None]), ("text_mask", there.reshape(-1)),
            ("caption_mask", there.reshape(1, -1)), ("lengths", counts),
            ("num_captions", counts[:, None]), ("cut_off_points", counts.cumsum() - 1)]  # fmt: skip
    for name, value in said:
        np.savez(tmp_path / "s.npz", sims=block, **{name: value})
        np.testing.assert_array_equal(read_scores(tmp_path / "s.npz").scores, want, err_msg=name)
    for name, value in (("query_mask", there.T), ("mask", np.ones(6)), ("lengths", counts + 4)):
        np.savez(tmp_path / "s.npz", sims=block, **{name: value})
        with pytest.raises(FormatError, match="captions"):
            read_scores(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("name", "turned"),
    [("cosine_distance", True), ("pairwise_distances", True), ("distMatrix", True), ("l2", True),
     ("cost_matrix", True), ("euclidean", True), ("dist", True), ("neg_distance", False),
     ("similarity", False), ("distilled", False), ("distance_scores", False), ("sims", False)],
)  # fmt: skip
def test_a_name_that_says_distances_is_believed(tmp_path, name, turned):
    scores = np.random.default_rng(0).random((5, 5)).astype("f4")
    np.savez(tmp_path / "s.npz", **{name: scores})
    assert read_scores(tmp_path / "s.npz").is_of_distances is turned
    np.save(tmp_path / f"{name}.npy", scores)
    assert read_scores(tmp_path / f"{name}.npy").is_of_distances is turned


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize(
    "names", [("text_id", "video_id", "score"), ("query", "image", "similarity"),
              ("qid", "docid", "bm25_score", "rank"), ("text", "video", "score"),
              ("caption", "image", "cosine"), ("qid", "docno", "score"), ("user", "film", "score")],
)  # fmt: skip
def test_a_ranking_is_no_matrix_of_scores(tmp_path, kind, names):
    pandas = pytest.importorskip("pandas")
    rows = [(q, g, 0.5 + i, 1) for i, q in enumerate(QUERIES) for g in GALLERY]
    table = pandas.DataFrame([row[: len(names)] for row in rows], columns=names)
    path = tmp_path / f"long.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    elif kind in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    else:
        table.to_json(path, orient="records", lines=kind == "jsonl")
    said = f"'{names[0]}' and '{names[1]}' with its '{names[2]}', .* reads it with --results"
    with pytest.raises(FormatError, match=said) as caught:
        read_scores(path)
    if "call these" in str(caught.value):  # what is printed reads it
        assert names[0] == "user" and "call these query_id and video_id" in str(caught.value)
        return
    (found,) = read_rankings(path)
    assert found.query_ids == tuple(QUERIES) and set(found.items[0]) == set(GALLERY)


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_embeddings_beside_scores_are_not_taken_for_them(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    held = {"image_embeds": matrix()[:, :4], "text_embeds": matrix()[:, :4],
            "logits_per_image": matrix(), "logits_per_text": matrix()}  # fmt: skip

    def write(names):
        if kind == "npz":
            np.savez(path, **{name: held[name] for name in names})
            return
        with h5py.File(path, "w") as f:
            for name in names:
                f[name] = held[name]

    write(held)
    said = "'logits_per_text', 'logits_per_image' could all .* give --dataset logits_per_text"
    with typed(), pytest.raises(FormatError, match=said):
        read_scores(path)
    assert read_scores(path, dataset="logits_per_text").scores.shape == (5, 6)
    write([name for name in held if name != "logits_per_image"])
    np.testing.assert_array_equal(read_scores(path).scores, matrix())
    # Where nothing is called scores it is asked.
    write(["text_embeds", "image_embeds"])
    with pytest.raises(FormatError, match="could all be the scores"):
        read_scores(path)


def test_a_matrix_that_is_turned_by_its_name_alone_is_said_to_be(tmp_path):
    """Ids whose numbers say which side is which need no word, nor does who said it."""
    path, x = tmp_path / "v.npz", matrix()
    np.savez(path, v2t=x)
    said = read_scores(path).of_turned
    assert "'v2t' is turned" in said and "sims_rows" in said and "'scores'" in said
    assert read_scores(path, sims_rows="videos").of_turned == ""
    np.testing.assert_array_equal(read_scores(path, sims_rows="videos").scores, x.T)
    with pytest.warns(RerankWarning, match="'v2t' is turned"):
        convert_scores(path, tmp_path / "v.h5")
    np.savez(path, v2t=x, query_ids=list(map(str, range(x.shape[1]))), gallery_ids=range(len(x)))
    assert x.shape[0] != x.shape[1] and read_scores(path).of_turned == ""
    for names in ({"scores": x}, {"t2v": x}, {"t2v": x, "v2t": x.T}):
        np.savez(path, **names)
        assert read_scores(path).of_turned == ""
