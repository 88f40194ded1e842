"""Files as people keep them: lists of tensors, boxed records, ids in tables, packed, cut short."""

import gzip
import json
import re
import uuid
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from rerank.core.errors import FormatError, RerankWarning
from rerank.io import read_embeddings, read_ground_truth, read_scores
from rerank.io.formats import json_vectors
from rerank.io.id_files import read_id_file

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
TEXTS, VIDEOS = [f"t{i}" for i in range(5)], [f"v{i}" for i in range(5)]


def same(path, **options):
    found = read_embeddings(path, **options)
    assert found.ids == tuple(VIDEOS)
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)


# ------------------------------------------------------------------------------------ embeddings


@pytest.mark.parametrize("half", [False, True])
def test_a_list_of_vectors_saved_by_torch_is_a_matrix(tmp_path, half):
    rows = [torch.from_numpy(row) for row in ROWS]
    rows = [row.half() for row in rows] if half else rows
    torch.save({"features": rows, "ids": VIDEOS}, tmp_path / "v.pt")
    found = read_embeddings(tmp_path / "v.pt")
    assert found.ids == tuple(VIDEOS)
    np.testing.assert_array_equal(found.vectors, torch.stack(rows).numpy())


def test_vectors_of_different_lengths_in_a_list_are_refused(tmp_path):
    torch.save({"features": [torch.ones(3), torch.ones(4)], "ids": ["a", "b"]}, tmp_path / "v.pt")
    with pytest.raises(FormatError, match=r"list of Tensor.*save_plain"):
        read_embeddings(tmp_path / "v.pt")


def tensor_records(**more):
    rows = zip(VIDEOS, torch.from_numpy(ROWS), strict=True)
    return [{"video_id": name, "feat": row, **more} for name, row in rows]


@pytest.mark.parametrize("boxed", [False, True, tuple])
@pytest.mark.parametrize("more", [{}, {"year": 7, "score": 0.5, "caption": "c", "meta": {"a": 1}}])
def test_records_with_tensors_are_read_as_those_of_json(tmp_path, boxed, more):
    records = tensor_records(**more)
    content = tuple(records) if boxed is tuple else records
    torch.save({"data": records, "model": "m"} if boxed is True else content, tmp_path / "v.pt")
    same(tmp_path / "v.pt")
    if boxed is True:
        same(tmp_path / "v.pt", dataset="data")
    torch.save([row | {"feat": row["feat"][None]} for row in records], tmp_path / "v.pt")
    same(tmp_path / "v.pt")  # a batch of one each


@pytest.mark.parametrize("lacks", [{}, {"feat": None}])
def test_a_record_without_its_tensor_is_named(tmp_path, lacks):
    torch.save([*tensor_records(), {"video_id": "odd", **lacks}], tmp_path / "v.pt")
    with pytest.raises(FormatError, match=r"without a vector in record 5 \(id 'odd'\)"):
        read_embeddings(tmp_path / "v.pt")


def test_records_with_several_tensors_are_asked_about_and_numbers_may_be_ids(tmp_path):
    records = [{**row, "blip": row["feat"]} for row in tensor_records()]
    records = [
        {n: x for n, x in row.items() if n != "feat"} | {"clip": row["feat"]} for row in records
    ]
    torch.save(records, tmp_path / "v.pt")
    with pytest.raises(FormatError, match="'blip', 'clip' could all be the embeddings"):
        read_embeddings(tmp_path / "v.pt")
    same(tmp_path / "v.pt", embedding_column="clip")
    rows = [{"id": torch.tensor(at), "feat": torch.from_numpy(x)} for at, x in enumerate(ROWS)]
    torch.save(rows, tmp_path / "v.pt")
    assert read_embeddings(tmp_path / "v.pt").ids == tuple("01234")
    torch.save({"texts": records, "videos": records}, tmp_path / "v.pt")
    with pytest.raises(FormatError):
        read_embeddings(tmp_path / "v.pt")


@pytest.mark.parametrize("more", [{}, {"model": "clip", "dim": 4}])
def test_records_in_a_box(tmp_path, more):
    records = [{"video_id": v, "feat": row.tolist()} for v, row in zip(VIDEOS, ROWS, strict=True)]
    (tmp_path / "v.json").write_text(json.dumps({**more, "data": records}))
    same(tmp_path / "v.json")


RECORDS = [
    {"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(ROWS.tolist())
]
USAGE = {"usage": {"prompt_tokens": 3, "total_tokens": 3}}
ANSWERS = {
    "openai": {"object": "list", "model": "m", "data": RECORDS, **USAGE},
    "in another order": {"object": "list", "data": RECORDS[::-1], "model": "m", **USAGE},
    "bare": {"object": "list", "data": RECORDS},
    "bare, in another order": {"object": "list", "data": RECORDS[::-1]},
    "jina": {"model": "m", **USAGE, "object": "list", "data": RECORDS},
    "cohere": {"id": "x1", "embeddings": ROWS.tolist(), "texts": TEXTS, "name": "n",
               "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 4}}},
    "cohere by type": {"id": "x1", "embeddings": {"float": ROWS.tolist()}, "texts": TEXTS,
                       "meta": {"api_version": {"version": "1"}}, "response_type": "by_type"},
    "gemini": {"embeddings": [{"values": row} for row in ROWS.tolist()], "metadata": {"n": 1}},
    "with errors": {"data": RECORDS, "errors": [], "tags": ["a", "b"], **USAGE},
    "with records of no vectors": {"data": RECORDS, "warnings": [{"code": 3}], **USAGE},
}  # fmt: skip


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_of_a_server_is_read_as_it_came(tmp_path, answer, long, monkeypatch):
    if long:
        monkeypatch.setattr(json_vectors.memory, "COPY_SHARE", 0)
    path, content = tmp_path / "v.json", ANSWERS[answer]
    path.write_text(json.dumps(content))
    (tmp_path / "ids.txt").write_text("".join(f"{v}\n" for v in VIDEOS))
    same(path, ids=tmp_path / "ids.txt")
    box = "data" if "data" in content else "embeddings"
    box = "embeddings/float" if answer == "cohere by type" else box
    same(path, ids=tmp_path / "ids.txt", dataset=box)
    found = read_embeddings(path, row_numbers=True, side="videos")
    assert found.ids == tuple("01234") and not found.ids_given
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)
    with pytest.raises(FormatError, match="there are no ids for its rows"):
        read_embeddings(path)


def answered(rows):
    """What a server sends for a request."""
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    return {"object": "list", "id": "embd-1", "data": data[::-1], "model": "m", **USAGE}


def lines_of(kind):
    pairs = zip(VIDEOS, ROWS.tolist(), strict=True)
    return [LINES[kind](name, row) for name, row in pairs]


LINES = {
    "openai": lambda name, row: {
        "id": f"batch_req_{name}", "custom_id": name, "error": None,
        "response": {"status_code": 200, "request_id": "r", "body": answered([row])},
    },
    "openai, short": lambda name, row: {
        "custom_id": name, "response": {"body": {"data": [{"embedding": row, "index": 0}]}}
    },
    "gemini": lambda name, row: {"key": name, "response": {"embedding": {"values": row}}},
    "bedrock": lambda name, row: {
        "recordId": name, "modelInput": {"inputText": "x"}, "modelOutput": {"embedding": row}
    },
    "named": lambda name, row: {"id": name, "vector": {"text": row}, "payload": {"year": 7}},
    "about": lambda name, row: {"id": name, "meta": {"box": [0.5, 2]}, "out": {"embedding": row}},
}  # fmt: skip


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_answers_one_in_a_line_have_the_ids_of_their_requests(
    tmp_path, kind, long, ending, monkeypatch
):
    if long:
        monkeypatch.setattr(json_vectors.memory, "COPY_SHARE", 0)
        monkeypatch.setattr(json_vectors, "read_text", None)  # the whole at once
    path = tmp_path / f"v.{ending}"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines_of(kind)))
    same(path)


@pytest.mark.parametrize("kind", LINES)
def test_a_list_of_answers_is_read_as_the_lines_of_them(tmp_path, kind):
    (tmp_path / "v.json").write_text(json.dumps(lines_of(kind), indent=1))
    same(tmp_path / "v.json")


@pytest.mark.parametrize("long", [False, True])
def test_answers_without_names_stand_in_the_order_of_their_lines(tmp_path, long, monkeypatch):
    if long:
        monkeypatch.setattr(json_vectors.memory, "COPY_SHARE", 0)
    path, rows = tmp_path / "v.jsonl", ROWS.tolist()
    for parts in ([rows[:2], rows[2:3], rows[3:]], [[row] for row in rows]):
        path.write_text("".join(f"{json.dumps(answered(part))}\n" for part in parts))
        same(path, ids=VIDEOS)
        with pytest.raises(FormatError, match="there are no ids for its rows"):
            read_embeddings(path)


def test_several_vectors_of_one_request_are_told_apart_by_their_number(tmp_path):
    rows = ROWS.tolist()
    parts = {"a": rows[:2], "b": rows[2:3], "c": rows[3:]}
    lines = [{"custom_id": k, "response": {"body": answered(part)}} for k, part in parts.items()]
    path = tmp_path / "v.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = read_embeddings(path)
    assert found.ids == ("a:0", "a:1", "b", "c:0", "c:1")
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)


def test_a_request_that_failed_is_named(tmp_path):
    lines = lines_of("openai")
    lines[3]["response"] = {"status_code": 400, "body": {"error": {"message": "too long"}}}
    (tmp_path / "v.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(FormatError, match=r"without a vector in record 3 \(id 'v3'\)"):
        read_embeddings(tmp_path / "v.jsonl")


def test_vectors_by_name_inside_lines_keep_their_ids(tmp_path, monkeypatch):
    lines = [{v: {"rgb": row}} for v, row in zip(VIDEOS, ROWS.tolist(), strict=True)]
    (tmp_path / "v.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    same(tmp_path / "v.jsonl")
    monkeypatch.setattr(json_vectors.memory, "COPY_SHARE", 0)
    same(tmp_path / "v.jsonl")


PAIRS = list(zip(VIDEOS, ROWS.tolist(), strict=True))
STORED = {
    "qdrant": {"result": {"points": [{"id": v, "vector": row} for v, row in PAIRS],
                          "next_page_offset": None}, "status": "ok", "time": 0.1},
    "qdrant, one vector with a name": {"result": {"points": [
        {"id": v, "vector": {"text": row}} for v, row in PAIRS]}},
    "pinecone": {"namespace": "", "usage": {"readUnits": 1}, "vectors": {
        v: {"id": v, "values": row, "metadata": {"a": 1}} for v, row in PAIRS}},
    "pinecone, sparse": {"vectors": {
        v: {"id": v, "values": row, "sparseValues": {"indices": [1, 2], "values": [0.5, 1]}}
        for v, row in PAIRS}},
    "chroma": {"ids": VIDEOS, "embeddings": ROWS.tolist(), "metadatas": [{"a": 1}] * 5,
               "documents": TEXTS, "uris": None, "included": ["embeddings", "documents"]},
    "milvus": {"code": 200, "cost": 0, "data": [
        {"id": v, "clip": row, "color": "red"} for v, row in PAIRS]},
    "weaviate": {"totalResults": 5, "deprecations": None, "objects": [
        {"class": "V", "id": v, "properties": {"title": "t"}, "vectors": {"title": row}}
        for v, row in PAIRS]},
    "weaviate, graphql": {"data": {"Get": {"Video": [
        {"_additional": {"id": v, "vector": row}, "title": "t"} for v, row in PAIRS]}}},
    "elasticsearch": {"took": 1, "_shards": {"total": 1}, "hits": {"total": {"value": 5}, "hits": [
        {"_index": "i", "_id": v, "_score": 1.0, "_source": {"title": "t", "clip": row}}
        for v, row in PAIRS]}},
}  # fmt: skip


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("store", STORED)
def test_the_answer_of_a_store_is_read_as_it_came(tmp_path, store, long, monkeypatch):
    if long:
        monkeypatch.setattr(json_vectors.memory, "COPY_SHARE", 0)
    (tmp_path / "v.json").write_text(json.dumps(STORED[store]))
    same(tmp_path / "v.json")


def test_several_vectors_with_names_are_asked_about(tmp_path):
    held = [{"id": v, "vector": {"text": row, "image": row[::-1]}} for v, row in PAIRS]
    (tmp_path / "v.json").write_text(json.dumps({"result": {"points": held}}))
    with pytest.raises(
        FormatError, match=r"'text', 'image' could all be.*embedding_column='image'"
    ):
        read_embeddings(tmp_path / "v.json")
    same(tmp_path / "v.json", embedding_column="text")
    same(tmp_path / "v.json", dataset="text")


def test_words_that_are_kept_with_a_vector_may_be_its_id(tmp_path):
    held = [{"id": at, "vector": row, "payload": {"video": v}} for at, (v, row) in enumerate(PAIRS)]
    for content in (held, {"result": held}, {"result": {"points": held}}):
        (tmp_path / "v.json").write_text(json.dumps(content))
        assert read_embeddings(tmp_path / "v.json").ids == tuple("01234")
        same(tmp_path / "v.json", id_column="payload/video")


@pytest.mark.parametrize(
    ("vectors", "words"),
    [("vector", "payload"), ("vectors", "properties"), ("vector", "properties")],
)
def test_words_that_are_kept_with_a_vector_of_a_name_may_be_its_id(tmp_path, vectors, words):
    held = [
        {"id": at, vectors: {"image": row}, words: {"video": v, "year": 7}}
        for at, (v, row) in enumerate(PAIRS)
    ]
    path, lines = tmp_path / "v.json", tmp_path / "v.jsonl"
    for content in (held, {"objects": held}, {"result": {"points": held}}):
        path.write_text(json.dumps(content))
        assert read_embeddings(path).ids == tuple("01234")
        same(path, id_column=f"{words}/video")
    lines.write_text("\n".join(map(json.dumps, held)))
    same(lines, id_column=f"{words}/video")
    # Of several names one is chosen.
    several = [{**each, vectors: {"image": row, "text": row[::-1]}}
               for each, (_, row) in zip(held, PAIRS, strict=True)]  # fmt: skip
    path.write_text(json.dumps({"result": {"points": several}}))
    same(path, id_column=f"{words}/video", dataset="image")


@pytest.mark.parametrize("box", ["data", "records", "result"])
@pytest.mark.parametrize(
    "aside",
    [{"meta": {"dims": [4, 4]}}, {"meta": {"mean": [0.5] * 4, "std": [1.5] * 4}},
     {"mean": [0.5] * 4}, {"dataset_info": {"shape": [5, 4]}}, {"about": {"layers": [1, 2]}},
     {"meta": [{"mean": [0.5] * 4}]}],
)  # fmt: skip
def test_what_is_said_of_records_hides_none_of_them(tmp_path, box, aside):
    records = [{"id": v, "embedding": row} for v, row in PAIRS]
    for content in ({**aside, box: records}, {box: records, **aside}):
        (tmp_path / "v.json").write_text(json.dumps(content))
        same(tmp_path / "v.json")


def test_two_collections_in_one_document_are_never_one(tmp_path):
    records = [{"id": v, "embedding": row} for v, row in PAIRS]
    for other in (records, dict(PAIRS), {"a": records}):
        (tmp_path / "v.json").write_text(json.dumps({"texts": other, "videos": records}))
        with pytest.raises(FormatError):
            read_embeddings(tmp_path / "v.json")


def test_ids_beside_a_list_of_records_are_theirs_and_never_dropped(tmp_path):
    records = [{"embedding": row} for row in ROWS.tolist()]
    (tmp_path / "v.json").write_text(json.dumps({"ids": VIDEOS, "data": records, **USAGE}))
    same(tmp_path / "v.json")
    (tmp_path / "v.json").write_text(json.dumps({"ids": VIDEOS[1:], "data": records, **USAGE}))
    with pytest.raises(FormatError):
        read_embeddings(tmp_path / "v.json", row_numbers=True)
    whole = {"ids": VIDEOS, "data": RECORDS[::-1], **USAGE}
    (tmp_path / "v.json").write_text(json.dumps(whole))
    same(tmp_path / "v.json")


def test_rows_of_numbers_alone(tmp_path):
    (tmp_path / "v.json").write_text(json.dumps(ROWS.tolist()))
    same(tmp_path / "v.json", ids=VIDEOS)
    with pytest.raises(FormatError, match="there are no ids"):
        read_embeddings(tmp_path / "v.json")
    np.testing.assert_allclose(read_scores(tmp_path / "v.json").scores, ROWS, rtol=1e-6)


@pytest.mark.parametrize("ending", ["pt", "npz"])
def test_an_archive_without_its_end_was_cut_short(tmp_path, ending):
    path = tmp_path / f"v.{ending}"
    if ending == "pt":
        torch.save(torch.from_numpy(ROWS), path)
    else:
        np.savez(path, ROWS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match="was cut short; copy or write it again"):
        read_embeddings(path)


@pytest.mark.parametrize("name", ["v.csv.gz", "v.jsonl.gz", "v.json", "v.npy.gz"])
def test_a_packed_file_says_how_to_unpack_it(tmp_path, name):
    with gzip.open(tmp_path / name, "wt") as stream:
        stream.write("id,0,1\na,1,2\n")
    # gunzip asks for its ending.
    way = (
        f"gunzip -k .*{name}$" if name.endswith(".gz") else r"gunzip < .*v\.json > .*v\.plain\.json"
    )
    with pytest.raises(FormatError, match=f"compressed by gzip; unpack it first: {way}"):
        read_embeddings(tmp_path / name)


# ------------------------------------------------------------------------------------ ids


@pytest.mark.parametrize("head", ["", "video_id\n", "id\n", "filename\n", "Video-ID\n"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_table_of_one_column_has_a_header_where_it_has_a_name_of_columns(tmp_path, head, ending):
    path = tmp_path / f"ids.{ending}"
    path.write_text(head + "\n".join(VIDEOS) + "\n")
    assert read_id_file(path) == tuple(VIDEOS)


@pytest.mark.parametrize(
    ("header", "texts", "videos"),
    [
        (["key", "vid_key", "video_id", "caption"], 0, 2),
        (["name", "video_id"], 0, 1),
        (["video_id", "caption_id"], 1, 0),
        (["again", "image_id", "id"], 2, 1),
        (["video_id", "caption"], 0, 0),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_of_a_side_are_in_the_column_that_names_it(tmp_path, header, texts, videos, ending):
    columns = [
        ["x"] * len(VIDEOS) if name == "again" else [f"{name} {i}" for i in range(len(VIDEOS))]
        for name in header
    ]
    path = tmp_path / f"ids.{ending}"
    if ending == "csv":
        rows = [header, *zip(*columns, strict=True)]
        path.write_text("".join(",".join(row) + "\n" for row in rows))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(dict(zip(header, columns, strict=True))), path)
    for side, place in (("texts", texts), ("videos", videos)):
        assert read_id_file(path, side=side) == tuple(columns[place]), side


def test_an_id_that_comes_again_is_none_where_another_column_names_every_row(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("name,video_id\n" + "".join(f"clip,{v}\n" for v in VIDEOS))
    assert read_id_file(path) == tuple(VIDEOS)


def test_ids_by_the_number_of_their_row(tmp_path):
    (tmp_path / "ids.json").write_text(json.dumps({str(i): v for i, v in enumerate(VIDEOS)}))
    assert read_id_file(tmp_path / "ids.json") == tuple(VIDEOS)


def test_too_few_ids_name_their_file(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(FormatError, match=r"names\.txt: 2 ids for the 5 rows of .*v\.npy"):
        read_embeddings(tmp_path / "v.npy", ids=tmp_path / "names.txt")


# ------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize(
    "names", [("text_ids", "video_ids"), ("queries", "items"), ("captions", "images")]
)
def test_names_of_rows_and_columns_by_other_words(tmp_path, names):
    S = ROWS[:, :3]
    path = tmp_path / "s.npz"
    text_ids, video_ids = np.array(TEXTS), np.array(VIDEOS[:3])
    np.savez(path, sims=S, **{names[0]: text_ids, names[1]: video_ids})
    found = read_scores(path)
    assert (found.query_ids, found.gallery_ids) == (tuple(TEXTS), tuple(VIDEOS[:3]))
    np.savez(path, sims=S.T, **{names[0]: text_ids, names[1]: video_ids})
    with pytest.raises(FormatError, match="stored videos x texts; give sims_rows=.videos."):
        read_scores(path)
    found = read_scores(path, sims_rows="videos")
    assert (found.query_ids, found.gallery_ids) == (tuple(TEXTS), tuple(VIDEOS[:3]))
    np.testing.assert_array_equal(found.scores, S)


def test_a_ranking_in_place_of_scores_is_named(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({t: dict.fromkeys(VIDEOS, 0.5) for t in TEXTS}))
    with pytest.raises(FormatError, match="is a ranking: rerank eval reads it with --results"):
        read_scores(tmp_path / "s.json")


# ------------------------------------------------------------------------------------ ground truth

WANT = [[0, 1], [2], [3], [4], [4]]


def truth(path):
    return [row.tolist() for row in read_ground_truth(path, TEXTS, VIDEOS).positives]


@pytest.mark.parametrize("name", ["positives", "pos", "video_ids", "video", "relevant_docs"])
def test_records_that_list_the_videos_of_a_text(tmp_path, name):
    path = tmp_path / "gt.jsonl"
    records = [
        {"query": t, name: [VIDEOS[i] for i in rows], "neg": ["x"]}
        for t, rows in zip(TEXTS, WANT, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    assert truth(path) == WANT


@pytest.mark.parametrize("box", ["pairs", "data"])
def test_pairs_in_a_box(tmp_path, box):
    pairs = [[t, VIDEOS[i]] for t, rows in zip(TEXTS, WANT, strict=True) for i in rows]
    (tmp_path / "gt.json").write_text(json.dumps({box: pairs}))
    assert truth(tmp_path / "gt.json") == WANT


def test_a_parquet_table_of_captions_by_video(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    captions = [["t0"], ["t1", "t2"], ["x"], ["t3"], ["t4"]]
    parquet.write_table(
        pa.table({"video_id": VIDEOS, "captions": captions}), tmp_path / "gt.parquet"
    )
    found = read_ground_truth(tmp_path / "gt.parquet", TEXTS, VIDEOS, allow_unjudged=True)
    assert [row.tolist() for row in found.positives] == [[0], [1], [1], [3], [4]]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("dir/v0.mp4", "without its folder and file ending it would be 'v0' of the videos"),
        (0, "give ids 0, 1, ... of both sides"),
    ],
)
def test_unknown_names_say_what_may_help(tmp_path, value, hint):
    (tmp_path / "gt.json").write_text(json.dumps({"0" if value == 0 else "t0": value}))
    with pytest.raises(FormatError, match=hint):
        truth(tmp_path / "gt.json")


@pytest.mark.parametrize(
    ("video", "said", "hint"),
    [
        ("7000.0", "7000", "with '.0' (numbers were saved as decimals) it would be '7000.0'"),
        ("7000", "7000.0", "without '.0' (numbers were saved as decimals) it would be '7000'"),
        ("vid\u00e9o", "vide\u0301o", "in the other Unicode form (NFC) it would be "),
        ("vide\u0301o", "vid\u00e9o", "in the other Unicode form (NFD) it would be "),
    ],
)
def test_names_that_print_alike_say_how_they_differ(tmp_path, video, said, hint):
    (tmp_path / "gt.json").write_text(json.dumps({"t0": said}))
    with pytest.raises(FormatError) as caught:
        read_ground_truth(tmp_path / "gt.json", ["t0"], [video])
    assert hint in str(caught.value)


@pytest.mark.parametrize("orient", ["columns", "index"])
@pytest.mark.parametrize("more", [{}, {"caption": list("abcd")}])
def test_labels_of_pandas_that_count_the_rows_are_no_ids(tmp_path, orient, more):
    """As in a table without ids: nothing says what the rows are, unless they have labels."""
    path = tmp_path / "v.json"
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
    table = pd.DataFrame({"embedding": rows.tolist(), **more})
    table.to_json(path, orient=orient)
    with pytest.raises(FormatError, match="there are no ids for its rows"):
        read_embeddings(path)
    found = read_embeddings(path, ids="rows")
    assert found.ids == tuple("0123") and np.allclose(found.vectors, rows)
    names = ["d", "a", "c", "b"]
    assert read_embeddings(path, ids=names).ids == tuple(names)
    table.index = pd.Index(names)
    table.to_json(path, orient="index")
    found = read_embeddings(path, dataset="embedding")
    order = [found.ids.index(name) for name in names]
    assert np.allclose(found.vectors[order], rows)


@pytest.mark.parametrize("key", ["numbers", "uuids"])
@pytest.mark.parametrize("around", ["payload", "properties", "metadata"])
def test_names_in_the_payload_of_points_that_have_numbers_are_told_of(tmp_path, key, around):
    """A number of a point is no name that a ground truth speaks of, in most stores."""
    path = tmp_path / "points.json"
    ids = [7 + 3 * i if key == "numbers" else str(uuid.UUID(int=i)) for i in range(4)]

    def written(**more):
        points = [
            {"id": i, "vector": [1.0, 0.5 * row], around: {n: x[row] for n, x in more.items()}}
            for row, i in enumerate(ids)
        ]
        path.write_text(json.dumps({"result": {"points": points}}))

    names = ["d", "a", "c", "b"]
    written(video_id=names, title=["x"] * 4)
    with pytest.warns(RerankWarning, match=f"'{around}/video_id' names each, such as 'd'") as said:
        assert read_embeddings(path).ids == tuple(map(str, ids))
    way = re.search("id_column='(.*?)', else id_column='(.*?)'", str(said[0].message))
    with warnings.catch_warnings(action="error"):
        assert read_embeddings(path, id_column=way[1]).ids == tuple(names)
        assert read_embeddings(path, id_column=way[2]).ids == tuple(map(str, ids))
        # Nothing that names each.
        for more in ({"title": names}, {"video_id": ["a", "a", "b", "c"]}, {"year": [1, 2, 3, 4]}):
            written(**more)
            read_embeddings(path)
        # Names of their own.
        ids = ["p1", "p2", "p3", "p4"]
        written(video_id=names)
        assert read_embeddings(path).ids == tuple(ids)
