"""Ground truth: what a file says about its sides is believed, and the rest is asked about."""

import json

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_ground_truth
from tests.reliability.child import python

# Numbers on both sides, so that every pair could be read either way round.
TEXTS, VIDEOS = [str(i) for i in range(6)], [str(i) for i in range(6)]
RIGHT = {0: 3, 1: 0, 2: 5, 3: 1, 4: 2, 5: 4}

STATED = {
    "BEIR": ("gt.tsv", "query-id\tcorpus-id\tscore\n{}", "{}\t{}\t1\n"),
    "header": ("gt.csv", "query,video\n{}", "{},{}\n"),
    "capitals": ("gt.csv", "Query ID;VideoID\n{}", "{};{}\n"),
    "bars": ("gt.txt", "caption_id| image\n{}", "{}| {}\n"),
    "qrels": ("gt.qrels", "{}", "{} 0 {} 1\n"),
    "records": ("gt.jsonl", "{}", '{{"query_id": {}, "video_id": {}}}\n'),
}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def positives(truth):
    return {row: int(found[0]) for row, found in enumerate(truth.positives)}


@pytest.mark.parametrize("form", STATED)
def test_a_stated_direction_is_believed_whatever_the_ids(tmp_path, form):
    name, frame, line = STATED[form]
    content = frame.replace("{}", "".join(line.format(*pair) for pair in RIGHT.items()))
    path = write(tmp_path, name, content)
    assert positives(read_ground_truth(path, TEXTS, VIDEOS)) == RIGHT
    turned = read_ground_truth(path, TEXTS, VIDEOS, direction="video-text")
    assert positives(turned) == {video: text for text, video in RIGHT.items()}
    # One missing video makes the wrong direction fit better, and changes nothing.
    with pytest.raises(FormatError, match="'5' is not the id of a video.*allow_unjudged=True"):
        read_ground_truth(path, TEXTS, VIDEOS[:5])
    fewer = read_ground_truth(path, TEXTS, VIDEOS[:5], allow_unjudged=True)
    assert list(fewer.unjudged) == [2] and fewer.ignored == 1


@pytest.mark.parametrize("form", STATED)
def test_a_contradiction_names_an_id(tmp_path, form):
    name, frame, line = STATED[form]
    if form == "records":
        line = '{{"query_id": "v{}", "video_id": "t{}"}}\n'
    else:
        line = line.replace("{}", "v{}", 1)[::-1].replace("}{", "}{t", 1)[::-1]
    content = frame.replace("{}", "".join(line.format(*pair) for pair in RIGHT.items()))
    path = write(tmp_path, name, content)
    texts, videos = [f"t{i}" for i in TEXTS], [f"v{i}" for i in VIDEOS]
    with pytest.raises(FormatError, match=r"'v0' is the id of a video.*direction=.video-text."):
        read_ground_truth(path, texts, videos)
    truth = read_ground_truth(path, texts, videos, direction="video-text")
    assert positives(truth) == {video: text for text, video in RIGHT.items()}


def test_a_mapping_is_turned_only_with_a_word(tmp_path):
    path = write(tmp_path, "gt.json", {"v0": ["t0", "t1"], "v1": ["t2"]})
    truth = read_ground_truth(path, ["t0", "t1", "t2"], ["v0", "v1"])
    assert positives(truth) == {0: 0, 1: 0, 2: 1}
    assert "read as video: text" in truth.notes[0] and "'v0'" in truth.notes[0]
    plain = write(tmp_path, "gt.json", {"t0": "v0", "t1": "v0", "t2": "v1"})
    assert read_ground_truth(plain, ["t0", "t1", "t2"], ["v0", "v1"]).notes == ()
    # The same file with the sides swapped: a text that many videos share gives it away.
    with pytest.raises(FormatError, match="the ids of videos and texts seem to be swapped"):
        read_ground_truth(plain, ["v0", "v1"], ["t0", "t1", "t2"])
    forced = read_ground_truth(plain, ["v0", "v1"], ["t0", "t1", "t2"], direction="video-text")
    assert [list(rows) for rows in forced.positives] == [[0, 1], [2]]


def test_a_mapping_that_fits_both_ways_is_asked_about(tmp_path):
    path = write(tmp_path, "gt.json", {str(a): str(b) for a, b in RIGHT.items()})
    with pytest.raises(FormatError, match=r"are ids of both.*direction=.text-video."):
        read_ground_truth(path, TEXTS, VIDEOS)
    truth = read_ground_truth(path, TEXTS, VIDEOS, direction="text-video")
    assert positives(truth) == RIGHT
    # Backwards it fits whole, forwards almost: still no reason to turn it.
    with pytest.raises(FormatError, match=r'direction="text-video"'):
        read_ground_truth(path, TEXTS, VIDEOS[:5], allow_unjudged=True)


CAPTIONS = {"a": ["x", "z"], "b": ["y"]}
NAMES = (["a#0", "b#0", "a#1"], ["a_0", "b_0", "a_1"], ["x", "y", "z"])
RECORDS = [{"video": v, "caption": c} for v, captions in CAPTIONS.items() for c in captions]
WRAPPED = {
    "video to captions": CAPTIONS,
    "token lists": {"a": [["x", "u"], ["z"]], "b": [["y"]]},
    "split": {"train": [], "val": [], "test": RECORDS},
    "data": {"data": RECORDS, "version": "1.0"},
    "database": {
        "database": {
            v: {"subset": "validation", "annotations": [{"id": 0, "sentence": c} for c in captions]}
            for v, captions in CAPTIONS.items()
        }
    },
    "records by video": {v: [{"caption": c} for c in cs] for v, cs in CAPTIONS.items()},
    "object by video": {v: {"captions": cs, "caption": cs[0]} for v, cs in CAPTIONS.items()},
    "Karpathy": {
        "images": [
            {"filename": f"{v}.jpg", "imgid": i, "split": split,
             "sentences": [{"raw": c, "sentid": 10 * i + j} for j, c in enumerate(cs)]}
            for i, (v, cs, split) in enumerate(
                [("a", ["x", "z"], "test"), ("b", ["y"], "test"), ("c", ["w"], "train")])
        ],
        "dataset": "any",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("names", NAMES, ids=["#", "_", "caption"])
def test_captions_wherever_they_are_wrapped(tmp_path, form, names):
    if form == "token lists" and names[0] == "x":
        names = ["x u", "y", "z"]
    truth = read_ground_truth(write(tmp_path, "gt.json", WRAPPED[form]), names, ["b", "a"])
    assert positives(truth) == {0: 1, 1: 0, 2: 1}


def test_captions_of_coco(tmp_path):
    content = {
        "info": {},
        "images": [{"id": 7, "file_name": "COCO_7.jpg"}, {"id": 8, "file_name": "COCO_8.jpg"}],
        "annotations": [
            {"image_id": 8, "id": 70, "caption": "x"},
            {"image_id": 7, "id": 71, "caption": "y"},
        ],
    }
    for path in (
        write(tmp_path, "a.json", content),
        write(tmp_path, "b.json", content["annotations"]),
    ):
        assert positives(read_ground_truth(path, ["70", "71"], ["7", "8"])) == {0: 1, 1: 0}
    named = read_ground_truth(tmp_path / "a.json", ["70", "71"], ["COCO_7.jpg", "COCO_8.jpg"])
    assert positives(named) == {0: 1, 1: 0}


ITEM_NAMES = ("file_name", "filename", "name", "video", "path", "video_name", "coco_url", "foo")


@pytest.mark.parametrize("field", ITEM_NAMES)
@pytest.mark.parametrize("lists", [("images", "annotations"), ("videos", "sentences"), ("a", "b")])
@pytest.mark.parametrize("written", ["{}", "{}.mp4", "x/y/{}.mp4"])
@pytest.mark.parametrize("number", [("id", "image_id"), ("video_id", "video_id"), ("no", "clip")])
def test_items_of_two_lists_by_any_name_that_they_have(tmp_path, field, lists, written, number):
    items, captions = lists
    key, reference = number
    content = {
        "info": {},
        items: [{key: 7, field: written.format("b"), "width": 1}, {key: 8, field: "z", "width": 1},
                {key: 9, field: written.format("a"), "width": 2}],
        captions: [{reference: n, "id": i, "caption": c} for n, i, c in
                   [(9, 70, "x"), (7, 71, "y"), (9, 72, "z")]],
        "licenses": [{"id": 7, "name": "free"}],
    }  # fmt: skip
    path = write(tmp_path, "gt.json", content)
    for texts in (["70", "71", "72"], ["x", "y", "z"], ["a#0", "b#0", "a#1"]):
        truth = read_ground_truth(path, texts, ["b", "a"])
        assert positives(truth) == {0: 1, 1: 0, 2: 1}
        assert positives(read_ground_truth(path, ["70", "71", "72"], ["7", "9"])) == {
            0: 1, 1: 0, 2: 1
        }  # fmt: skip


def test_items_of_two_lists_that_nothing_names_are_said(tmp_path):
    content = {
        "images": [{"id": 7, "filename": "b.jpg"}],
        "annotations": [{"image_id": 7, "id": 70, "caption": "x"}],
    }
    path = write(tmp_path, "gt.json", content)
    said = r"is read as COCO, items by (number \(not 'filename'\)|filename)"
    with pytest.raises(FormatError, match=said):
        read_ground_truth(path, ["70"], ["other"])
    for number in (7.0, "7"):
        content["annotations"][0]["image_id"] = number
        path = write(tmp_path, "gt.json", content)
        assert positives(read_ground_truth(path, ["70"], ["b"])) == {0: 0}
    content["annotations"][0]["caption_number"] = "7" * 5000
    content["annotations"][0]["image_id"] = content["images"][0]["id"] = "7" * 5000
    path = write(tmp_path, "gt.json", content)
    with pytest.raises(FormatError):
        read_ground_truth(path, ["70"], ["other"])
    # Two numbers that could be meant, and none of them said: neither is taken.
    content["annotations"][0]["image_id"] = 7
    content["images"] = [{"p": 7, "q": 8, "name": "a"}, {"p": 8, "q": 7, "name": "b"}]
    path = write(tmp_path, "gt.json", content)
    with pytest.raises(FormatError):
        read_ground_truth(path, ["70"], ["a", "b"])


TABLES = {
    "image,caption": 'image,caption\na.jpg,"x, y"\nb.jpg,z\na.jpg,w\n',
    "numbered": "image_name| comment_number| comment\na.jpg| 0| x\nb.jpg| 0| z\na.jpg| 1| w\n",
    "columns": "file_name,caption_1,caption_2\na.jpg,x,w\nb.jpg,z,\n",
    "lines": "a.jpg#0\tx y\nb.jpg#0\tz\na.jpg#1\tw\n",
    "lines of four words": "a.jpg#0 x y 1\nb.jpg#0 z u 2\na.jpg#1 w v 3\n",
    "blanks between": "query-id corpus-id score\na.jpg#0 a.jpg 1\n"
    "b.jpg#0  b.jpg 1\na.jpg#1 a.jpg 1\n",
    "unknown header": "left,right\na.jpg#0,a.jpg\nb.jpg#0,b.jpg\na.jpg#1,a.jpg\n",
    "unknown header and grade": "l r g\na.jpg#0 a.jpg 1\nb.jpg#0 b.jpg 1\na.jpg#1 a.jpg 1\n",
    "pairs": "a.jpg#0 a.jpg\nb.jpg#0 b.jpg\na.jpg#1 a.jpg\n",
    "blanks": "text_id, video_id\na.jpg#0, a.jpg\nb.jpg#0 , b.jpg\na.jpg#1, a.jpg\n",
}


@pytest.mark.parametrize("form", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_tables_of_captions(tmp_path, form, encoding):
    path = tmp_path / "gt.txt"
    path.write_bytes(TABLES[form].encode(encoding))
    texts, videos = ["a.jpg#0", "a.jpg#1", "b.jpg#0"], ["b.jpg", "a.jpg"]
    assert positives(read_ground_truth(path, texts, videos)) == {0: 1, 1: 1, 2: 0}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gt.csv", "left,right,weight\na,b,much\n", "'left', 'right', 'weight'"),
        ("gt.csv", "left,right\na,b\nc,d\n", "neither.*|query_id,video_id"),
        ("gt.csv", "text_id,video_id\nt0,7.0\n", r"without '\.0'.*'7' of the videos"),
        ("gt.json", {"t0": "007"}, "without leading zeros.*'7'"),
        ("gt.json", {"t0": "clips/7"}, "without its folder.*'7'"),
        ("gt.json", {"t0": " 7"}, "without blanks.*'7'"),
        ("gt.json", '[{"video": "7", "caption": "x", "annotation_id": 3}, '
         '{"video": "8", "caption": "y"}]', "only 1 of its 2 entries.*entry 1 has none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_of_the_reading_that_was_meant(tmp_path, name, content, words):
    texts = ["3", "4"] if "annotation_id" in content else ["t0"]
    with pytest.raises(FormatError, match=words):
        read_ground_truth(write(tmp_path, name, content), texts, ["7", "8"])


def test_all_judgements_are_kept(tmp_path):
    path = write(tmp_path, "gt.qrels", "a 0 x 3\na 0 y -2\na 0 z 0\nb 0 y 1.0\n")
    truth = read_ground_truth(path, ["b", "a"], ["x", "y", "z"])
    assert [list(r) for r in truth.positives] == [[1], [0]]
    assert [list(g) for g in truth.grades] == [[1], [3]]
    assert [list(r) for r in truth.graded.rows] == [[1], [0, 1, 2]]
    assert [list(g) for g in truth.graded.grades] == [[1], [3, -2, 0]]
    turned = truth.T
    assert [list(r) for r in turned.graded.rows] == [[1], [0, 1], [1]]
    assert [list(g) for g in turned.graded.grades] == [[3], [1, -2], [0]]
    plain = write(tmp_path, "gt.json", {"a": "x", "b": "y"})
    assert read_ground_truth(plain, ["b", "a"], ["x", "y", "z"]).graded is None


def test_the_diagonal_of_captions():
    truth = read_ground_truth("diagonal", ["a#0", "a#1", "b#0"], ["b", "a"])
    assert positives(truth) == {0: 1, 1: 1, 2: 0}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_recipe_for_a_pickled_truth_works(tmp_path, protocol):
    import pickle
    import shlex

    path = tmp_path / "raw captions.pkl"
    content = {"a": [["a", "dog"], ["runs"]], "b": [["b"]]}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    for wrong in (path, tmp_path / "gt.txt"):
        wrong.write_bytes(path.read_bytes())
        with pytest.raises(FormatError, match="is a pickle") as caught:
            read_ground_truth(wrong, ["a#0"], ["a"])
        message = str(caught.value)
        command = shlex.split(message[message.index("python -c") :])
        python(*command[1:])
        truth = read_ground_truth(wrong.with_suffix(".json"), ["a#0", "b#0", "a#1"], ["b", "a"])
        assert positives(truth) == {0: 1, 1: 0, 2: 1}


def test_the_recipe_for_an_archive_works(tmp_path):
    import shlex

    np.savez(tmp_path / "gt.npz", v=np.array([5, 6]), q=np.array([1, 2]))
    with pytest.raises(
        FormatError, match="is an archive of numpy .*if these are the pairs"
    ) as caught:
        read_ground_truth(tmp_path / "gt.npz", ["1", "2"], ["5", "6"])
    message = str(caught.value)
    command = shlex.split(message[message.index("python -c") :])
    python(*command[1:])
    assert positives(read_ground_truth(tmp_path / "gt.tsv", ["2", "1"], ["5", "6"])) == {0: 1, 1: 0}


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("key", ["text", "video"])
def test_objects_by_the_name_of_either_side(tmp_path, key, listed):
    """`{text: {"video_id": ...}}` and `{video: {"query_id": ...}}`, also in lists."""
    pairs = {"t0": "v1", "t1": "v0", "t2": "v2"}
    content = (
        {t: {"video_id": v, "split": "test"} for t, v in pairs.items()} if key == "text"
        else {v: {"query_id": t, "split": "test"} for t, v in pairs.items()}
    )  # fmt: skip
    content = {name: [value] if listed else value for name, value in content.items()}
    path = write(tmp_path, "gt.json", content)
    truth = read_ground_truth(path, list(pairs), ["v0", "v1", "v2"])
    assert positives(truth) == {0: 1, 1: 0, 2: 2}


WORDS = ("a dog runs", "two men play 2 games", "2 dogs 3", 'a "man", a plan; a canal')
CAPTIONED = {
    "blank": "{0} {1}", "tab": "{0}\t{1}", "comma": "{0},{1}", "semicolon": "{0};{1}",
    "bar": "{0} | {1}", "colon": "{0}: {1}", "several": "{0} {1}\n{0} another {1}",
    "number": "{0}\t{2}\t{1}", "ending": "{0}.mp4 {1}",
}  # fmt: skip


def captioned(tmp_path, kind):
    path = tmp_path / "captions.txt"
    lines = [CAPTIONED[kind].format(f"video{7010 + i}", words, 0) for i, words in enumerate(WORDS)]
    path.write_text("\n".join(lines) + "\n")
    return path, [f"video{7010 + i}" for i in range(len(WORDS))]


@pytest.mark.parametrize("kind", CAPTIONED)
def test_lines_of_a_video_and_a_caption_are_captions_and_no_qrels(tmp_path, kind):
    path, videos = captioned(tmp_path, kind)
    numbered = {row: row for row in range(len(videos))}
    for texts in ([f"{v}#0" for v in videos], [f"{v}_0" for v in videos], WORDS):
        found = read_ground_truth(path, list(texts), videos, allow_unjudged=kind == "several")
        assert positives(found) == numbered
    said = "looks like lines of the id of a video and a caption, and no text is called 'video7010#0"
    with pytest.raises(FormatError, match=said) as caught:
        read_ground_truth(path, [f"t{i}" for i in range(len(videos))], videos)
    assert "qrels" not in str(caught.value)


def test_lines_of_captions_whose_videos_are_others_name_one(tmp_path):
    path, _ = captioned(tmp_path, "blank")
    with pytest.raises(FormatError, match="and a caption.* 'video7010' is neither"):
        read_ground_truth(path, ["t0"], ["v0"])


def test_captions_before_their_videos_are_said_to_be_some(tmp_path):
    path = tmp_path / "gt.tsv"
    path.write_text("".join(f"a dog runs {i}\tv{i}\n" for i in range(3)))
    with pytest.raises(FormatError, match="'a dog runs 0' .*looks like a caption.*query_ids="):
        read_ground_truth(path, ["t0", "t1", "t2"], ["v0", "v1", "v2"])
    found = read_ground_truth(path, [f"a dog runs {i}" for i in range(3)], ["v2", "v1", "v0"])
    assert positives(found) == {0: 2, 1: 1, 2: 0}


@pytest.mark.parametrize("text", ["q1 0 d1 1\nq2 0 d0 1\n", "q1 d1\nq2 d0\n", "q1,d1,2\nq2,d0,1\n",
                                  "q1 0 d1 one\nq2 0 d0 1\n"])  # fmt: skip
def test_pairs_and_qrels_are_no_captions(tmp_path, text):
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_ground_truth(path, ["t0", "t1"], ["v0", "v1"])
    assert "caption, " not in str(caught.value)


def test_captions_with_numbers_of_their_own_are_named_by_them(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("a.jpg#0 a dog runs\nb.jpg#0 a cat sits\n")
    with pytest.raises(FormatError, match="texts by their id, and 'a.jpg#0' is neither"):
        read_ground_truth(path, ["t0", "t1"], ["v0", "v1"])
