"""Both sides, or several collections, in one file: each takes its own ids, or it is asked about."""

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings

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


def test_several_lists_of_names_are_spoken_of_as_several(tmp_path):
    np.savez(tmp_path / "x.npz", embeddings=ROWS, vids=np.array(VIDEOS), qids=np.array(VIDEOS))
    said = "'vids', 'qids' have one entry for each: if one of them holds the ids, name it with"
    with pytest.raises(FormatError, match=f"{said} id_column=.vids."):
        read_embeddings(tmp_path / "x.npz")
    assert read_embeddings(tmp_path / "x.npz", id_column="vids").ids == tuple(VIDEOS)
