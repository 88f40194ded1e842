"""Both sides, or several collections, in one file: each takes its own ids, or it is asked about."""

import json
import re
import shlex

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from tests.cli.test_cli import run
from tests.io_writers import write_named

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
TEXTS, VIDEOS = [f"t{i}" for i in range(6)], [f"v{i}" for i in range(6)]


@pytest.mark.parametrize(
    "names",
    [
        ("text_features", "image_features", "text_ids", "video_ids"),
        ("caption_embeds", "video_embeds", "caption_ids", "video_ids"),
        ("query_emb", "gallery_emb", "query_ids", "gallery_ids"),
    ],
)
@pytest.mark.parametrize("videos", [6, 3])
def test_each_side_takes_its_own_ids(tmp_path, names, videos):
    text, video, text_ids, video_ids = names
    np.savez(
        tmp_path / "both.npz",
        **{text: ROWS, video: -ROWS[:videos], text_ids: TEXTS, video_ids: VIDEOS[:videos]},
    )
    with pytest.raises(FormatError, match="could all be the embeddings|holds"):
        read_embeddings(tmp_path / "both.npz")
    for dataset, ids in ((text, TEXTS), (video, VIDEOS[:videos])):
        assert read_embeddings(tmp_path / "both.npz", dataset=dataset).ids == tuple(ids)


def test_the_side_decides_where_the_array_says_nothing(tmp_path):
    np.savez(tmp_path / "x.npz", embeddings=ROWS, text_ids=TEXTS, video_ids=VIDEOS)
    assert read_embeddings(tmp_path / "x.npz", side="texts").ids == tuple(TEXTS)
    assert read_embeddings(tmp_path / "x.npz", side="videos").ids == tuple(VIDEOS)


def test_ids_of_the_other_side_alone_are_taken_for_what_they_are(tmp_path):
    np.savez(tmp_path / "x.npz", text_features=ROWS, video_ids=VIDEOS)
    assert read_embeddings(tmp_path / "x.npz", side="texts").ids == tuple(VIDEOS)


def test_collections_with_their_ids_are_asked_about(tmp_path):
    path = tmp_path / "splits.h5"
    with h5py.File(path, "w") as file:
        for name, sign in (("train", -1), ("test", 1)):
            file[f"{name}/features"], file[f"{name}/ids"] = sign * ROWS, VIDEOS
    with pytest.raises(FormatError, match=r"several groups.*'test'.*'train'.*dataset='te"):
        read_embeddings(path, side="videos")
    found = read_embeddings(path, dataset="test", side="videos")
    assert found.ids == tuple(VIDEOS)
    np.testing.assert_array_equal(found.vectors, ROWS)


def test_a_list_of_names_without_a_name_is_pointed_at(tmp_path):
    np.savez(tmp_path / "x.npz", ROWS, np.array(VIDEOS))
    with pytest.raises(FormatError, match="'arr_1' has one entry for each.*id_column=.arr_1."):
        read_embeddings(tmp_path / "x.npz")
    assert read_embeddings(tmp_path / "x.npz", id_column="arr_1").ids == tuple(VIDEOS)


def saved(folder, kind, arrays):
    """Arrays and lists of text in a file of a kind."""
    path = folder / f"both.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    elif kind == "pt":
        torch.save(
            {n: v if isinstance(v, list) else torch.tensor(v) for n, v in arrays.items()}, path
        )
    else:
        path.write_text(json.dumps({name: np.asarray(v).tolist() for name, v in arrays.items()}))
    return path


@pytest.mark.parametrize("kind", ["npz", "h5", "pt", "json"])
@pytest.mark.parametrize(
    "names", [("qids", "vids"), ("qid", "vid"), ("txt_ids", "img_ids"), ("qids", "video_ids")]
)
@pytest.mark.parametrize("videos", [6, 3])
def test_ids_whose_name_says_the_side_are_taken_for_it(tmp_path, kind, names, videos):
    path = saved(
        tmp_path, kind,
        {"query_embeds": ROWS, names[0]: TEXTS, "video_embeds": -ROWS[:videos],
         names[1]: VIDEOS[:videos]},
    )  # fmt: skip
    assert read_embeddings(path, dataset="query_embeds").ids == tuple(TEXTS)
    assert read_embeddings(path, dataset="video_embeds").ids == tuple(VIDEOS[:videos])


@pytest.mark.parametrize("ids", [["a", "a", "b", "b", "c", "c"], ["", *TEXTS[1:]], TEXTS[1:]])
def test_a_list_that_does_not_name_every_row_once_is_not_taken_for_ids(tmp_path, ids):
    np.savez(tmp_path / "x.npz", query_embeds=ROWS, qids=ids)
    with pytest.raises(FormatError, match="there are no ids for its rows"):
        read_embeddings(tmp_path / "x.npz", side="texts")
    # Nor does it hide what names them.
    np.savez(tmp_path / "x.npz", query_embeds=ROWS, qids=ids, video_ids=VIDEOS)
    assert read_embeddings(tmp_path / "x.npz", side="texts").ids == tuple(VIDEOS)


@pytest.mark.parametrize("m", [6, 4])
def test_a_way_out_names_the_side_that_it_is_for(tmp_path, m):
    gt = {text: VIDEOS[row % m] for row, text in enumerate(TEXTS)}
    (tmp_path / "gt.json").write_text(json.dumps(gt))
    np.savez(
        tmp_path / "x.npz", query_embeds=ROWS, captions=TEXTS, video_embeds=ROWS[:m] + 1,
        clips=VIDEOS[:m],
    )  # fmt: skip
    words = ["eval", "--gt", "gt.json", "--texts", "x.npz", "--videos", "x.npz"]
    words += ["--dataset", "texts=query_embeds", "--dataset", "videos=video_embeds"]
    for said in (["--id-column", "texts=captions"], ["--id-column", "videos=clips"]):
        _, err = run(*words, cwd=tmp_path, code=2)
        assert f"name it with {' '.join(said)};" in err
        words += said
    out, _ = run(*words, cwd=tmp_path)
    assert "t2v" in out


@pytest.mark.parametrize("name", ["qids", "vids"])
def test_one_list_for_both_sides_is_refused_where_each_has_its_own(tmp_path, name):
    np.savez(
        tmp_path / "x.npz", query_embeds=ROWS, qids=TEXTS, video_embeds=ROWS[::-1],
        vids=VIDEOS[::-1],
    )  # fmt: skip
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(TEXTS, VIDEOS, strict=True))))
    words = ["eval", "--gt", "gt.json", "--texts", "x.npz", "--videos", "x.npz"]
    words += ["--dataset", "texts=query_embeds", "--dataset", "videos=video_embeds"]
    _, err = run(*words, "--id-column", name, cwd=tmp_path, code=2)
    ways = err.partition("which names which: ")[2].split()
    assert sorted(ways[1::2]) == ["texts=qids", "videos=vids"]
    out, err = run(*words, *ways, cwd=tmp_path)
    assert re.search(r"t2v.* 100\.0", out) and "both" not in err


@pytest.mark.parametrize(
    ("gt", "name", "said", "told"),
    [
        ("gt.json", "video_ids", [], True),
        ("gt.json", "vids", ["--id-column", "vids"], True),
        # So it was said, or the list says no side, or rows are meant.
        ("gt.json", "vids", ["--id-column", "texts=vids"], False),
        ("gt.json", "ids", [], False),
        ("diagonal", "video_ids", [], False),
    ],
)
def test_ids_of_one_side_that_name_both_are_told_of(tmp_path, gt, name, said, told):
    np.savez(tmp_path / "x.npz", query_embeds=ROWS, video_embeds=ROWS + 1, **{name: VIDEOS})
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(VIDEOS, VIDEOS, strict=True))))
    words = ["eval", "--gt", gt, "--texts", "x.npz", "--videos", "x.npz", *said]
    words += ["--dataset", "texts=query_embeds", "--dataset", "videos=video_embeds"]
    out, err = run(*words, cwd=tmp_path)
    assert (f"{name!r}, called like ids of the videos, names the texts too" in out + err) is told


@pytest.mark.parametrize("kind", ["parquet", "csv", "npz"])
@pytest.mark.parametrize("name", ["query_id", "video_id"])
def test_one_name_for_two_files_is_refused_where_each_has_ids_of_its_own_side(tmp_path, kind, name):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    for side, rows in (("t", ROWS), ("v", ROWS[::-1])):
        ids = {"query_id": TEXTS, "video_id": VIDEOS}
        if kind == "npz":
            np.savez(tmp_path / f"{side}.npz", embeddings=rows, **ids)
        else:
            columns = {f"f{i}": rows[:, i] for i in range(rows.shape[1])}
            frame = pd.DataFrame({**ids, **columns})
            (frame.to_csv if kind == "csv" else frame.to_parquet)(tmp_path / f"{side}.{kind}")
    words = ["apply", "--texts", f"t.{kind}", "--videos", f"v.{kind}", "--out", "o.h5", "--force"]
    run(*words, cwd=tmp_path)
    _, err = run(*words, "--id-column", name, cwd=tmp_path, code=2)
    assert f"{name!r} would name both sides" in err
    ways = err.partition("which names which: ")[2].split()
    assert sorted(ways[1::2]) == ["texts=query_id", "videos=video_id"]
    run(*words, *ways, cwd=tmp_path)
    run(*words, "--id-column", f"texts={name}", "--id-column", f"videos={name}", cwd=tmp_path)


def test_one_name_that_says_no_side_is_told_of_where_another_names_each_row(tmp_path):
    words = ["apply", "--texts", "x.npz", "--videos", "x.npz", "--out", "o.h5", "--force"]
    words += ["--dataset", "texts=query_embeds", "--dataset", "videos=video_embeds"]
    captions = [f"words of {name}" for name in TEXTS]
    for more, told in (({"b": VIDEOS}, True), ({}, False), ({"b": captions}, False),
                       ({"b": VIDEOS[:1] * len(VIDEOS)}, False)):  # fmt: skip
        np.savez(tmp_path / "x.npz", query_embeds=ROWS, video_embeds=ROWS + 1, a=TEXTS, **more)
        out, err = run(*words, "--id-column", "a", cwd=tmp_path)
        assert ("'a' names both sides" in out + err) is told
        if told:
            ways = err.partition("say which, such as ")[2].split()[:4]
            out, err = run(*words, *ways, cwd=tmp_path)
            assert "both sides" not in out + err


@pytest.mark.parametrize("kind", ["json", "npz"])
@pytest.mark.parametrize("told", ["all", "but one", "other vectors"])
def test_texts_among_the_videos_are_told_of(tmp_path, kind, told):
    texts = dict(zip(TEXTS, ROWS, strict=True))
    videos = dict(zip(VIDEOS, -ROWS[::-1], strict=True)) | texts
    if told == "but one":
        del videos["t3"]
    if told == "other vectors":
        videos["t3"] = 2 * ROWS[3]
    for name, arrays in (("t", texts), ("v", videos)):
        if kind == "npz":
            np.savez(tmp_path / f"{name}.npz", **arrays)
        else:
            plain = {key: row.tolist() for key, row in arrays.items()}
            (tmp_path / f"{name}.json").write_text(json.dumps(plain))
    (tmp_path / "gt.json").write_text(json.dumps(dict.fromkeys(texts, "v0")))
    words = ["eval", "--gt", "gt.json", "--texts", f"t.{kind}", "--videos", f"v.{kind}"]
    out, err = run(*words, "--gt-direction", "text-video", cwd=tmp_path)
    said = "holds all 6 texts too, by id and by vector, such as 't0', so that each finds itself"
    assert (said in out + err) is (told == "all")


def test_ids_of_another_group_are_not_taken(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train/feat"], file["train/vids"] = ROWS, TEXTS
        file["test/feat"], file["test/about"] = -ROWS, [f"a {i}" for i in range(6)]
    with pytest.raises(FormatError, match="rows; 'test/about' has one entry for each"):
        read_embeddings(tmp_path / "x.h5", dataset="test/feat", side="videos")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["vids"] = VIDEOS
    found = read_embeddings(tmp_path / "x.h5", dataset="test/feat", side="videos")
    assert found.ids == tuple(VIDEOS)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("h5", "videos texts"), ("npz", "video_embeddings text_embeddings"),
     ("pt", "clip_video clip_text"), ("h5", "videos/embeddings texts/embeddings")],
)  # fmt: skip
def test_one_file_for_both_sides_is_asked_about_once_with_what_each_is_called(
    tmp_path, kind, names
):
    video, text = names.split()
    ids = [f"{name.rpartition('/')[0]}/ids" if "/" in name else side
           for name, side in ((video, "video_ids"), (text, "text_ids"))]  # fmt: skip
    arrays = {video: -ROWS, text: ROWS, ids[0]: VIDEOS, ids[1]: TEXTS}
    write_named(tmp_path / f"both.{kind}", arrays)
    for side, rows, own in (("videos", -ROWS, VIDEOS), ("texts", ROWS, TEXTS)):
        np.savez(tmp_path / f"{side}.npz", embeddings=rows, ids=own)
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(TEXTS, VIDEOS, strict=True))))
    both = ["--videos", f"both.{kind}", "--texts", f"both.{kind}"]
    apart = ["--videos", "videos.npz", "--texts", "texts.npz"]
    _, said = run("eval", *both, "--gt", "gt.json", cwd=tmp_path, code=2)
    assert "has both sides" in said
    way = shlex.split(said.strip().partition("say which is which: ")[2])
    out, _ = run("eval", *both, *way, "--gt", "gt.json", "--json", cwd=tmp_path)
    want, _ = run("eval", *apart, "--gt", "gt.json", "--json", cwd=tmp_path)
    assert json.loads(out) == json.loads(want)
    # What is said of one file alone is asked about as before.
    _, said = run("apply", *both[:2], *apart[2:], "--out", "o.h5", cwd=tmp_path, code=2)
    assert "--dataset videos=" in said


def test_one_file_for_both_sides_is_asked_about_where_its_names_do_not_tell(tmp_path):
    np.savez(tmp_path / "both.npz", a=ROWS, b=-ROWS, text_ids=TEXTS, video_ids=VIDEOS)
    both = ["--videos", "both.npz", "--texts", "both.npz"]
    _, said = run("apply", *both, "--out", "o.h5", cwd=tmp_path, code=2)
    assert "'a', 'b' could all be the embeddings" in said
    np.savez(tmp_path / "both.npz", text=ROWS, video=-ROWS, image=ROWS + 1, ids=TEXTS)
    _, said = run("apply", *both, "--out", "o.h5", cwd=tmp_path, code=2)
    assert "could all be the embeddings" in said
