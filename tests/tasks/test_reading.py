"""What the user says about files reaches the readers; what makes no sense is refused."""

import json
import re
import warnings
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

import rerank
from rerank import io
from rerank.core.errors import FormatError, RerankError, RerankWarning
from rerank.core.wording import typed
from rerank.io import Reading
from rerank.tasks.apply import apply_files
from rerank.tasks.convert import convert_file
from rerank.tasks.evaluate_files import judge_raw, judge_results
from rerank.tasks.read import read_inputs, read_truth
from rerank.tasks.turned_scores import seem_turned
from tests.cli.test_cli import run
from tests.io_writers import write_named

N, D = 12, 8
RNG = np.random.default_rng(0)
VIDEOS = RNG.normal(size=(N, D)).astype("f4")
TEXTS = (VIDEOS + 0.3 * RNG.normal(size=(N, D))).astype("f4")
IDS = [f"v{i}" for i in range(N)]


def test_the_ids_of_a_matrix_are_the_ones_that_were_named(one):
    """Rows in another order, told by a list that could name either side."""
    order = RNG.permutation(N)
    ids = [IDS[i] for i in order]
    np.savez(one / "s.npz", sims=(TEXTS @ VIDEOS.T)[order], ids=ids)
    np.savez(one / "other.npz", sims=TEXTS @ VIDEOS.T)
    (one / "numbers.json").write_text(json.dumps({f"v{i}": str(i) for i in range(N)}))
    with typed(), pytest.raises(RerankError, match="give both: --id-column texts=ids, --id-col"):
        read_inputs(sims=one / "s.npz")
    for said in ("ids", "texts=ids"):
        reading = Reading(id_column=(said,), gt_direction="text-video")
        judged = judge_raw(sims=one / "s.npz", gt=one / "numbers.json", reading=reading)
        right = ((TEXTS @ VIDEOS.T).argmax(1) == np.arange(N)).mean()
        assert figure(judged) == pytest.approx(100 * right)
        # The bank of other texts has no such list, or must have it, as with any file.
        banked = {"sims": one / "s.npz", "bank_sims": one / "other.npz", "reading": reading}
        if said == "ids":
            assert read_inputs(**banked).bank_scores.query_ids[0] == "0"
    convert_file(one / "s.npz", one / "s.h5", what="scores", reading=reading)
    assert io.read_scores(one / "s.h5").query_ids == tuple(ids)
    with pytest.raises(RerankError, match="there is no 'nope'; it holds"):
        read_inputs(sims=one / "s.npz", reading=Reading(id_column=("nope",)))


def figure(judged, when="before", name="R@1"):
    return judged.as_json()[when]["t2v"][name]


def expected() -> float:
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (TEXTS, VIDEOS)]
    return 100 * float(((unit[0] @ unit[1].T).argmax(1) == np.arange(N)).mean())


@pytest.fixture
def one(tmp_path):
    """Both sides in one file, without ids."""
    with h5py.File(tmp_path / "both.h5", "w") as f:
        f["text_features"], f["video_features"] = TEXTS, VIDEOS
    (tmp_path / "names.txt").write_text("\n".join(IDS))
    (tmp_path / "gt.json").write_text(json.dumps({f"v{i}": f"v{i}" for i in range(N)}))
    return tmp_path


def test_both_sides_of_one_file_are_told_apart_by_name(one):
    path = one / "both.h5"
    with pytest.raises(RerankError, match=r"--dataset texts=text_features"):
        read_inputs(texts=path, videos=path)
    with pytest.raises(RerankError, match="the same embeddings"):
        read_inputs(texts=path, videos=path, reading=Reading(dataset=("text_features",)))
    said = Reading(dataset=("texts=text_features", "videos=video_features"))
    judged = judge_raw("diagonal", texts=path, videos=path, reading=said)
    assert figure(judged) == pytest.approx(expected())
    with pytest.raises(RerankError, match="there are no ids"):
        read_inputs(texts=path, videos=path, reading=said)
    with pytest.raises(RerankError, match="--dataset nothing: none of"):
        read_inputs(texts=path, videos=path, reading=Reading(dataset=("nothing",)))


def test_what_was_said_is_recorded_and_said_again_by_eval(one):
    path, names = one / "both.h5", one / "names.txt"
    said = Reading(
        dataset=("texts=text_features", "videos=video_features"), text_ids=names, video_ids=names
    )
    out = one / "out.h5"
    answer = apply_files(texts=path, videos=path, reading=said, out=out, k=3)
    assert answer.manifest["settings"]["reading"]["text_ids"] == "names.txt"
    judged = judge_results(one / "gt.json", out)
    assert figure(judged) == pytest.approx(expected())
    # No output takes the place of an input, nor of another kind of file.
    with pytest.raises(RerankError, match="is an input"):
        apply_files(texts=path, videos=path, reading=said, out=names, force=True)
    with pytest.raises(RerankError, match="choose another name, such as .*gt.h5"):
        apply_files(texts=path, videos=path, reading=said, out=one / "gt.json")


def test_the_same_embeddings_and_swapped_captions_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", embeddings=VIDEOS, ids=IDS)
    np.savez(tmp_path / "b.npz", embeddings=VIDEOS, ids=[f"t{i}" for i in range(N)])
    with pytest.raises(RerankError, match="same embeddings"):
        read_inputs(texts=tmp_path / "a.npz", videos=tmp_path / "b.npz")
    for sign in "#_":
        np.savez(tmp_path / "c.npz", embeddings=TEXTS, ids=[f"{i}{sign}0" for i in IDS])
        with pytest.raises(RerankError, match="seem to be swapped"):
            read_inputs(texts=tmp_path / "a.npz", videos=tmp_path / "c.npz")
        read_inputs(texts=tmp_path / "c.npz", videos=tmp_path / "a.npz")


def test_scores_of_a_bank_against_the_same_videos(tmp_path):
    sims, bank = TEXTS @ VIDEOS.T, RNG.normal(size=(5, N)).astype("f4")
    np.savez(
        tmp_path / "s.npz", scores=sims, query_ids=[f"t{i}" for i in range(N)], gallery_ids=IDS
    )
    np.savez(
        tmp_path / "b.npz", scores=bank[:, ::-1], query_ids=list("abcde"), gallery_ids=IDS[::-1]
    )
    found = read_inputs(sims=tmp_path / "s.npz", bank_sims=tmp_path / "b.npz")
    np.testing.assert_array_equal(found.bank_scores.scores, bank)
    np.savez(tmp_path / "c.npz", scores=bank[:, 1:])
    with pytest.raises(RerankError, match="bank texts x the 12 videos"):
        read_inputs(sims=tmp_path / "s.npz", bank_sims=tmp_path / "c.npz")
    with pytest.raises(RerankError, match="--bank-sims needs --sims"):
        read_inputs(
            texts=tmp_path / "s.npz", videos=tmp_path / "s.npz", bank_sims=tmp_path / "b.npz"
        )


def test_convert_takes_what_was_said(one):
    said = Reading(dataset=("videos=video_features",), video_ids=one / "names.txt")
    convert_file(one / "both.h5", one / "v.h5", reading=said)
    from rerank.io import read_embeddings

    found = read_embeddings(one / "v.h5")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, VIDEOS)
    with pytest.raises(RerankError, match="is an input"):
        convert_file(one / "v.h5", one / "v.h5")
    with pytest.raises(RerankError, match=r"call it x\.h5"):
        convert_file(one / "v.h5", one / "x.npy")


def test_a_matrix_stored_the_other_way_is_told_by_its_ground_truth(tmp_path):
    names = [f"t{i}" for i in range(N)]
    x = TEXTS @ VIDEOS.T
    lines = [["id", *names], *([IDS[j], *x[:, j]] for j in range(N))]
    (tmp_path / "s.csv").write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    pairs = dict(zip(names, [*IDS[1:], IDS[1]], strict=True))
    (tmp_path / "gt.json").write_text(json.dumps(pairs))
    (tmp_path / "gt.csv").write_text(
        "query_id,video_id\n" + "".join(f"{t},{v}\n" for t, v in pairs.items())
    )
    for gt in ("gt.json", "gt.csv"):
        found = read_inputs(sims=tmp_path / "s.csv")
        with pytest.raises(FormatError, match="give --sims-rows videos") as caught:
            read_truth(tmp_path / gt, found)
        said = str(caught.value)
        other = "--gt-direction video-text if the rows are texts"
        assert said.endswith(f"its videos the rows; give --sims-rows videos, or {other}")
        forced = Reading(gt_direction="video-text")
        found = read_inputs(sims=tmp_path / "s.csv", reading=forced)
        read_truth(tmp_path / gt, found, allow_unjudged=True)
        assert "--texts" not in said
        found = read_inputs(sims=tmp_path / "s.csv", reading=Reading(sims_rows="videos"))
        assert [IDS[x[0]] for x in read_truth(tmp_path / gt, found).positives] == [*pairs.values()]
    # What is wrong otherwise is said as before.
    (tmp_path / "gt.json").write_text(json.dumps({**pairs, names[0]: "none"}))
    with pytest.raises(FormatError, match="'none'") as caught:
        read_truth(tmp_path / "gt.json", found)
    assert "--sims-rows" not in str(caught.value)


def test_a_matrix_that_lacks_a_text_of_the_ground_truth_is_not_called_turned(tmp_path):
    names = [f"t{i}" for i in range(N)]
    scores = (TEXTS @ VIDEOS.T).astype("f4")
    np.savez(tmp_path / "s.npz", sims=scores[:-1], text_ids=names[:-1], video_ids=IDS)
    pairs = dict(zip(names, IDS, strict=True))
    (tmp_path / "gt.json").write_text(json.dumps(pairs))
    found = read_inputs(sims=tmp_path / "s.npz")
    with pytest.raises(FormatError, match=f"'{names[-1]}' is not the id of a text") as caught:
        read_truth(tmp_path / "gt.json", found)
    assert "--sims-rows" not in str(caught.value)
    truth = read_truth(tmp_path / "gt.json", found, allow_unjudged=True)
    assert [IDS[x[0]] for x in truth.positives] == IDS[:-1]


@pytest.mark.parametrize("name", ["dist", "distances", "distance_matrix"])
@pytest.mark.parametrize("kind", ["npz", "json", "h5"])
def test_a_matrix_called_distances_is_one_and_says_so(tmp_path, name, kind):
    x, path = 1 - TEXTS @ VIDEOS.T, tmp_path / f"s.{kind}"
    ids = {"query_ids": [f"t{i}" for i in range(N)], "gallery_ids": IDS}
    if kind == "json":
        path.write_text(json.dumps({name: x.tolist(), **ids}))
    else:
        write_named(path, {name: x, **ids})
    found = read_inputs(sims=path)
    assert found.stored.reading.kind == "distances"
    np.testing.assert_allclose(found.stored.t2v.scores().numpy(), -x, rtol=1e-5)
    answer = apply_files(sims=path, out=tmp_path / "o.h5", k=3)
    assert "taken as distances; scores_are= tells" in answer.text
    assert rerank.apply(scores=path).stored.reading.kind == "distances"
    assert read_inputs(sims=path, scores_are="similarities").stored.reading.kind == "similarities"
    write_named(tmp_path / "other.npz", {"district": x, **ids})
    assert read_inputs(sims=tmp_path / "other.npz").stored.reading.kind != "distances"


def test_a_matrix_whose_truth_fits_both_ways_is_asked_for_the_direction(tmp_path):
    rng = np.random.default_rng(0)
    texts, videos = ([str(x) for x in rng.permutation(20) + 1] for _ in range(2))
    np.savez(tmp_path / "s.npz", sims=np.eye(20), query_ids=texts, video_ids=videos)
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(texts, videos, strict=True))))
    with pytest.raises(FormatError, match="can be read as text: video and as") as caught:
        judge_raw(tmp_path / "gt.json", sims=tmp_path / "s.npz")
    assert "the columns of" not in str(caught.value)


def test_every_command_says_that_columns_are_called_by_their_numbers(tmp_path):
    """A ground truth of other numbers would be taken for one of the places of the columns."""
    rows = [{"query_id": f"t{i}", "scores": x} for i, x in enumerate((TEXTS @ VIDEOS.T).tolist())]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = "".join(f"t{i},{i}\n" for i in range(N))
    (tmp_path / "gt.csv").write_text(f"query_id,video_id\n{lines}")
    gt, said = ["--gt", "gt.csv"], "s.jsonl: names no videos, which are called by their numbers"
    for words in (
        ["eval", *gt], ["compare", *gt, "--methods", "nnn"], ["apply", "--out", "o.h5", "--force"],
        ["tune", *gt, "--out", "o.json", "--folds", "2", "--method", "csls"], ["inspect"],
    ):  # fmt: skip
        out, err = run(words[0], "--sims", "s.jsonl", *words[1:], cwd=tmp_path)
        assert said in err + out
        out, err = run(words[0], "--sims", "s.jsonl", *words[1:], "--video-ids", "rows",
                       cwd=tmp_path)  # fmt: skip
        assert said not in err + out
    _, err = run("convert", "s.jsonl", "s.h5", "--what", "scores", cwd=tmp_path)
    assert said in err
    _, err = run("eval", "--sims", "s.jsonl", "--gt", "diagonal", cwd=tmp_path)
    assert said not in err


def test_every_command_says_that_a_matrix_was_turned_by_its_name(tmp_path):
    np.savez(tmp_path / "s.npz", v2t=VIDEOS @ TEXTS.T)
    said = "s.npz: 'v2t' is turned, as by its name its rows are videos; --sims-rows videos says"
    gt = ["--gt", "diagonal"]
    for words in (
        ["eval", *gt], ["compare", *gt, "--methods", "nnn"], ["apply", "--out", "o.h5", "--force"],
        ["tune", *gt, "--out", "o.json", "--folds", "2", "--method", "csls"], ["inspect"],
    ):  # fmt: skip
        out, err = run(words[0], "--sims", "s.npz", *words[1:], cwd=tmp_path)
        assert said in err + out
        out, err = run(words[0], "--sims", "s.npz", *words[1:], "--sims-rows", "videos",
                       cwd=tmp_path)  # fmt: skip
        assert said not in err + out


def test_tuning_says_which_split_it_read_and_how_many_texts_it_left_out(tmp_path):
    write_named(tmp_path / "t.npz", {"embeddings": TEXTS, "ids": [f"t{i}" for i in range(N)]})
    write_named(tmp_path / "v.npz", {"embeddings": VIDEOS, "ids": IDS})
    gt = {"train": {"x": "y"}, "test": {f"t{i}": IDS[i] for i in range(N - 2)}}
    (tmp_path / "gt.json").write_text(json.dumps(gt))
    words = ("--texts", "t.npz", "--videos", "v.npz", "--gt", "gt.json", "--method", "csls")
    for more in ((), ("--json",)):
        _, err = run(
            "tune", *words, "--folds", "2", "--out", "o.json", "--force", *more, cwd=tmp_path
        )
        assert "'test' is read, the only one that names these texts" in err
        assert f"left out, texts without an entry: 2 of {N}" in err


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "pt", "json", "csv"])
def test_a_matrix_without_names_is_what_a_ground_truth_of_names_is_told_of(tmp_path, kind):
    """One way out for each side without names, which ends in the figures."""
    path, scores = tmp_path / f"s.{kind}", TEXTS @ VIDEOS.T
    if kind == "npy":
        np.save(path, scores)
    elif kind == "npz":
        np.savez(path, scores)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["scores"] = scores
    elif kind == "pt":
        torch.save(torch.from_numpy(scores), path)
    elif kind == "json":
        path.write_text(json.dumps(scores.tolist()))
    else:
        np.savetxt(path, scores, delimiter=",")
    names = {"--text-ids": [f"t{i}" for i in range(N)], "--video-ids": IDS}
    for flag, ids in names.items():
        (tmp_path / f"{flag[2:]}.txt").write_text("\n".join(ids))
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(*names.values(), strict=True))))
    words = ["eval", "--gt", "gt.json", "--sims", path.name]
    said = {flag: [flag, f"{flag[2:]}.txt"] for flag in names}
    for given, left in (
        ([], ["--text-ids", "--video-ids"]),
        (said["--text-ids"], ["--video-ids"]),
        (said["--video-ids"], ["--text-ids"]),
    ):
        _, err = run(*words, *given, cwd=tmp_path, code=2)
        sides = " and ".join(f"no {flag[2:-4]}s" for flag in left)
        assert f"{path.name} names {sides}, which are called by their numbers" in err
        assert err.strip().endswith(
            ": give their names with " + " ".join(f"{f} FILE" for f in left)
        )
    out, _ = run(*words, *said["--text-ids"], *said["--video-ids"], cwd=tmp_path)
    assert "t2v" in out


def test_every_command_says_that_numbers_beside_frames_end_in_zeros(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")
    scores = np.where(np.arange(5) < np.arange(6)[:, None] % 4 + 2, 0.7, 0)
    np.savez(tmp_path / "v.npz", embeddings=x, ids=[f"v{i}" for i in range(6)], scores=scores)
    np.savez(tmp_path / "t.npz", embeddings=x.mean(1), ids=[f"t{i}" for i in range(6)])
    (tmp_path / "gt.json").write_text(json.dumps({f"t{i}": f"v{i}" for i in range(6)}))
    files = ["--videos", "v.npz", "--texts", "t.npz", "--pool", "mean"]
    for words in (["eval", "--gt", "gt.json"], ["inspect"], ["apply", "--out", "o.h5"]):
        out, err = run(*words, *files, cwd=tmp_path)
        assert "'scores': its zeros (6, 5) may say which of the 5 frames" in out + err


def one_side(path, array, rows, ids, names):
    """Rows and their ids under two names, in any kind of file."""
    if path.suffix == ".parquet":
        pd.DataFrame({ids: names, array: list(rows)}).to_parquet(path)
    elif path.suffix == ".pt":
        torch.save({array: torch.tensor(rows), ids: names}, path)
    elif path.suffix == ".safetensors":
        numbers = {ids: np.array([int(name[1:]) for name in names])}
        save_file({array: rows, **numbers}, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({array: rows.tolist(), ids: names}))
    else:
        write_named(path, {array: rows, ids: names})
    return path


FILES = ["x.npz", "x.h5", "x.pt", "x.safetensors", "x.parquet", "x.json"]


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("arrays", [("text_features", "video_features"), ("embeddings",) * 2])
def test_files_that_both_say_the_other_side_are_refused(tmp_path, kind, arrays):
    names = [f"t{i}" for i in range(N)], [f"v{i + 50}" for i in range(N)]
    texts = one_side(tmp_path / f"t{kind}", arrays[0], TEXTS, "text_ids", names[0])
    videos = one_side(tmp_path / f"v{kind}", arrays[1], VIDEOS, "video_ids", names[1])
    assert not read_inputs(texts=texts, videos=videos).of_frames
    with pytest.raises(RerankError, match="seem to be swapped") as caught, typed():
        read_inputs(texts=videos, videos=texts)
    way = re.search(r"meant: (.*)$", str(caught.value))[1].split()
    said = {"dataset": way[1::2]} if way[0] == "--dataset" else {"id_column": way[1::2]}
    meant = Reading(**{name: tuple(each) for name, each in said.items()})
    assert not read_inputs(texts=videos, videos=texts, reading=meant).of_frames


def test_every_door_refuses_files_that_both_say_the_other_side(tmp_path):
    """The commands of models and the functions of Python, given paths, as `rerank apply`."""
    names = [f"t{i}" for i in range(N)], [f"v{i}" for i in range(N)]
    texts = one_side(tmp_path / "t.npz", "text_features", TEXTS, "ids", names[0])
    videos = one_side(tmp_path / "v.npz", "video_features", VIDEOS, "ids", names[1])
    (tmp_path / "gt.json").write_text(json.dumps(dict(zip(*names, strict=True))))
    for call in (
        rerank.apply,
        rerank.inspect,
        partial(rerank.compare, gt=str(tmp_path / "gt.json")),
    ):
        with pytest.raises(RerankError, match="seem to be swapped"):
            call(str(videos), str(texts))
    rerank.apply(str(texts), str(videos))
    gt = ["--gt", "gt.json"]
    _, err = run("fit", "--videos", "t.npz", "--bank-texts", "v.npz", "--out", "m.safetensors",
                 cwd=tmp_path, code=2)  # fmt: skip
    assert "--videos and --bank-texts seem to be swapped" in err
    run("fit", "--videos", "v.npz", "--bank-texts", "t.npz", "--out", "m.safetensors", cwd=tmp_path)
    for words in (["search", "--model", "m.safetensors"], ["eval", "--model", "m.safetensors", *gt],
                  ["train", *gt, "--out", "h.safetensors"]):  # fmt: skip
        _, err = run(*words, "--texts", "v.npz", "--videos", "t.npz", cwd=tmp_path, code=2)
        assert "--videos and --texts seem to be swapped" in err, words
    run("search", "--model", "m.safetensors", "--texts", "t.npz", "--videos", "v.npz", cwd=tmp_path)


def test_models_in_python_look_at_the_sides_of_files_as_commands_do(tmp_path):
    names = [f"t{i}" for i in range(N)], [f"v{i}" for i in range(N)]
    texts = str(one_side(tmp_path / "t.npz", "text_features", TEXTS, "ids", names[0]))
    videos = str(one_side(tmp_path / "v.npz", "video_features", VIDEOS, "ids", names[1]))
    plain = str(one_side(tmp_path / "p.npz", "embeddings", TEXTS, "ids", names[0]))
    more = str(one_side(tmp_path / "m.npz", "text_features", VIDEOS[:3], "ids", ["a", "b", "c"]))
    with pytest.raises(RerankError, match="gallery and bank_texts seem to be swapped"):
        rerank.fit(texts, bank_texts=videos)
    with pytest.raises(RerankError, match="bank_videos and gallery seem to be swapped"):
        rerank.fit(videos, bank_videos=texts, direction="v2t")
    with pytest.warns(RerankWarning, match="is given as videos, and its 'text_features'"):
        rerank.fit(texts, bank_texts=plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RerankWarning)
        model = rerank.fit(videos, bank_texts=texts)
        for asked in (texts, plain, VIDEOS):
            model.search(asked, k=2)
        # Captions that are called by their videos.
        called = one_side(tmp_path / "c.npz", "embeddings", TEXTS, "video_ids", names[1])
        model.search(str(called), k=2)
    for call in (partial(model.search, k=2), model.fold):
        with pytest.warns(RerankWarning, match="is given as texts, and its 'video_features'"):
            call(videos)
    with pytest.warns(RerankWarning, match="'text_features' is called like those of texts; give"):
        model.add(more)
    model.save(tmp_path / "m.safetensors")
    for words in (
        ["search", "--texts", "v.npz"],
        ["eval", "--gt", "diagonal", "--texts", "v.npz"],
        ["update", "--videos", "m.npz"],
    ):
        _, err = run(words[0], "--model", "m.safetensors", *words[1:], cwd=tmp_path)
        assert err.count(" is called like those of ") == 1, words
    _, err = run("fit", "--videos", "t.npz", "--bank-texts", "p.npz", "--out", "o.safetensors",
                 cwd=tmp_path)  # fmt: skip
    assert err.count("'text_features' is called like those of texts") == 1


def test_a_ground_truth_may_name_items_that_are_called_as_parts_are(tmp_path):
    ids = [f"part_{i}" for i in range(N)]
    frames = {name: np.repeat(VIDEOS[i : i + 1], 3, 0) for i, name in enumerate(ids)}
    np.savez(tmp_path / "v.npz", **frames)
    io.write_embeddings(tmp_path / "t.h5", [f"t{i}" for i in range(N)], TEXTS)
    io.write_json(tmp_path / "gt.json", {f"t{i}": name for i, name in enumerate(ids)})
    sides = ["--texts", "t.h5", "--videos", "v.npz", "--pool", "mean"]
    run("eval", *sides, "--gt", "gt.json", cwd=tmp_path)
    _, err = run("eval", *sides, "--gt", "diagonal", cwd=tmp_path, code=2)
    assert "say so: --dataset videos=/; if they are parts of one, join them: " in err
    run("eval", *sides, "--gt", "diagonal", "--dataset", "videos=/", cwd=tmp_path)


def test_one_file_that_says_the_other_side_is_said(tmp_path):
    plain = one_side(tmp_path / "p.npz", "embeddings", TEXTS, "ids", [f"t{i}" for i in range(N)])
    for array, ids, names, said in (
        ("video_features", "ids", [f"v{i}" for i in range(N)], True),
        ("embeddings", "video_id", [f"v{i}" for i in range(N)], True),
        # Captions that are called by their videos; a file that speaks of both; one that counts.
        ("embeddings", "video_id", [f"t{i}" for i in range(N)], False),
        ("text_features", "video_id", [f"v{i}" for i in range(N)], False),
        ("embeddings", "ids", [f"v{i}" for i in range(N)], False),
    ):
        found = one_side(tmp_path / "v.npz", array, VIDEOS, ids, names)
        notes = read_inputs(texts=found, videos=plain).of_frames
        assert bool(notes) is said
        assert not said or "is given as texts, and its 'video" in notes[0]
    images = one_side(
        tmp_path / "i.npz", "image_features", TEXTS, "image_ids", list("abcdefghijkl")
    )
    videos = one_side(tmp_path / "v.npz", "video_features", VIDEOS, "video_ids", IDS)
    assert not read_inputs(texts=images, videos=videos).of_frames


def paired(seed, noise, n=40, hubs=0.0):
    """A square matrix of texts x videos, the video of each text, and what some have more of."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    videos = rng.normal(size=(n, D))
    texts = videos[order] + noise * rng.normal(size=(n, D))
    more = hubs * rng.normal(size=n)
    scores = texts @ videos.T / np.linalg.norm(texts, axis=1)[:, None] + more + more[order, None]
    return (scores / np.linalg.norm(videos, axis=1)).astype("f4"), order


def write_square(folder, scores, order):
    ids = {
        f"{side}_ids": [f"{side[0]}{i}" for i in range(len(order))] for side in ("text", "video")
    }
    np.savez(folder / "s.npz", sim_matrix=scores, **ids)
    pairs = {f"t{i}": f"v{j}" for i, j in enumerate(order)}
    (folder / "gt.json").write_text(json.dumps(pairs))


@pytest.mark.parametrize("of", ["similarities", "distances"])
@pytest.mark.parametrize(("seed", "noise"), [(0, 0.3), (1, 0.6), (2, 1.0)])
def test_a_square_matrix_stored_the_other_way_is_told_by_its_right_pairs(tmp_path, of, seed, noise):
    scores, order = paired(seed, noise)
    for side, stored in (("texts", scores), ("videos", scores.T)):
        write_square(tmp_path, 2 - stored if of == "distances" else stored, order)
        line = ("eval", "--gt", "gt.json", "--sims", "s.npz", "--scores-are", of)
        _, err = run(*line, cwd=tmp_path)
        assert ("stand as by chance, and high if the rows are the" in err) is (side == "videos")
        if side == "videos":
            assert "if they are, give --sims-rows videos" in err
        _, err = run(*line, "--sims-rows", "videos", cwd=tmp_path)
        assert ("give --sims-rows texts" in err) is (side == "texts")


def test_right_pairs_say_nothing_of_a_matrix_where_they_cannot(tmp_path):
    """Of models of any strength, chance and hubs, of a few pairs and of the diagonal."""
    for seed in range(200):
        for noise, n, hubs in ((0.5, 40, 0), (4, 40, 3), (1e6, 30, 0), (1e6, 60, 5), (0.5, 15, 0)):
            scores, order = paired(seed, noise, n, hubs)
            assert not seem_turned(torch.from_numpy(scores), list(order[:, None]))
            if n == 15 or noise > 100:
                assert not seem_turned(torch.from_numpy(scores.T), list(order[:, None]))
        # Most texts want the few videos that are high for all.
        popular = np.random.default_rng(seed).integers(0, 5, size=40)
        assert not seem_turned(
            torch.from_numpy(paired(seed, 1e6, 40, 5)[0]), list(popular[:, None])
        )
    assert not seem_turned(torch.from_numpy(paired(0, 0.1)[0]), list(np.arange(40)[:, None]))
