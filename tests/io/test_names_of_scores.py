"""Names of rows and columns of scores under the words that a file has for them."""

import json
import re
import shlex
from itertools import cycle

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rerank import io
from rerank.core.errors import FormatError
from tests.cli.test_cli import run

N, M = 48, 24
RNG = np.random.default_rng(0)
SIMS = RNG.normal(size=(N, M)).astype("f4")
TEXTS, VIDEOS = [f"q{3 * i + 11}" for i in range(N)], [f"video{7 * j + 3}" for j in range(M)]
WORDS = [
    ("text_names", "video_names"), ("txt_ids", "img_names"), ("txt_names", "vid_names"),
    ("rownames", "colnames"), ("row_labels", "col_labels"), ("sentences", "clips"),
    ("queries", "products"), ("captions", "audio"), ("query_names", "item_names"),
    ("qids", "dids"), ("descriptions", "image_files"), ("ids_text", "ids_video"),
    ("query_ids", "video_names"), ("txt_ids", "gallery_ids"),
]  # fmt: skip


def keep(path, scores, **lists):
    content = {"scores": scores, **lists}
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".safetensors":
        said = {name: json.dumps(np.asarray(item).tolist()) for name, item in lists.items()}
        save_file({"scores": np.ascontiguousarray(scores)}, path, metadata=said)
    elif ".attributes" in path.suffixes:
        with h5py.File(path, "w") as file:
            file["x/scores"] = scores
            places = (file["x/scores"], file)  # of the matrix, and of the file
            for (name, item), place in zip(lists.items(), cycle(places), strict=False):
                place.attrs[name] = item
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, item in content.items():
                file[name] = item
    elif path.suffix == ".pt":
        torch.save({**content, "scores": torch.tensor(scores)}, path)
    else:
        path.write_text(json.dumps({**content, "scores": scores.tolist()}))
    return path


@pytest.mark.parametrize("ending", ["npz", "h5", "pt", "json", "attributes.h5", "safetensors"])
@pytest.mark.parametrize("words", [*WORDS, ("row_ids", "col_ids"), ("rows", "columns")])
def test_two_lists_whose_names_tell_the_sides_name_them(tmp_path, words, ending):
    path = keep(tmp_path / f"s.{ending}", SIMS, **dict(zip(words, (TEXTS, VIDEOS), strict=True)))
    found = io.read_scores(path)
    assert (list(found.query_ids), list(found.gallery_ids)) == (TEXTS, VIDEOS)
    assert found.ids_given and not found.of_numbered


@pytest.mark.parametrize("words", WORDS)
def test_of_a_square_matrix_the_words_tell_which_is_which(tmp_path, words):
    lists = dict(zip(words[::-1], (VIDEOS, TEXTS[:M]), strict=True))
    found = io.read_scores(keep(tmp_path / "s.npz", SIMS[:M], **lists))
    assert (list(found.query_ids), list(found.gallery_ids)) == (TEXTS[:M], VIDEOS)


@pytest.mark.parametrize("words", WORDS)
def test_a_matrix_that_is_stored_the_other_way_is_told_by_them(tmp_path, words):
    """What is printed reads it."""
    if words[0].startswith("row"):
        return
    path = keep(tmp_path / "s.npz", SIMS.T, **dict(zip(words, (TEXTS, VIDEOS), strict=True)))
    with pytest.raises(FormatError):
        io.read_scores(path)
    found = io.read_scores(path, sims_rows="videos")
    assert (list(found.query_ids), list(found.gallery_ids)) == (TEXTS, VIDEOS)


@pytest.mark.parametrize("ending", ["npz", "attributes.h5", "safetensors"])
def test_lists_that_name_nothing_are_passed_over(tmp_path, ending):
    """Names that come again, other numbers of them, and what is called by both sides or neither."""
    odd = {
        "text_names": ["a"] * N, "video_names": VIDEOS[:5], "gt_video_ids": VIDEOS + TEXTS[:M],
        "text_lengths": np.arange(N), "clips": np.arange(M),
    }  # fmt: skip
    found = io.read_scores(keep(tmp_path / f"s.{ending}", SIMS, **odd))
    assert not found.ids_given and "'gt_video_ids' was passed over" in found.of_numbered


@pytest.mark.parametrize("words", [("x", "y"), ("sentences", "labels")])
def test_lists_that_may_be_names_are_said_and_what_is_said_reads_them(tmp_path, words):
    keep(tmp_path / "s.npz", SIMS, **dict(zip(words, (TEXTS, VIDEOS), strict=True)))
    _, err = run("apply", "--sims", "s.npz", "--out", "o.h5", cwd=tmp_path)
    (said,) = [line for line in err.splitlines() if "passed over" in line]
    options = re.findall(r"--id-column \S+", said)
    assert len(options) == 2
    for what in (["apply", "--sims", "s.npz"], ["convert", "s.npz"]):
        out = ["--out", "o.h5", "--force"] if what[0] == "apply" else ["s.h5", "--what", "scores"]
        _, err = run(*what, *out, *shlex.split(" ".join(options)), cwd=tmp_path)
        assert "passed over" not in err
    assert list(io.read_results(tmp_path / "o.h5").directions["t2v"].gallery_ids) == VIDEOS
    assert list(io.read_scores(tmp_path / "s.h5").query_ids) == TEXTS
    _, err = run("convert", "s.npz", "s2.h5", "--what", "scores", cwd=tmp_path)
    assert "passed over" in err


def test_names_of_one_side_point_to_the_list_that_fits_the_other(tmp_path):
    keep(tmp_path / "s.npz", SIMS, queries=TEXTS, zz=VIDEOS)
    words = ["apply", "--sims", "s.npz", "--out", "o.h5"]
    _, err = run(*words, cwd=tmp_path, code=2)
    assert "has queries but no gallery_ids; --id-column videos=zz if" in err
    run(*words, "--id-column", "videos=zz", cwd=tmp_path)
    assert list(io.read_results(tmp_path / "o.h5").directions["t2v"].gallery_ids) == VIDEOS


@pytest.mark.parametrize("words", [*WORDS, ("x", "y")])
def test_columns_of_a_bank_are_matched_by_these_names(tmp_path, words):
    bank, order = RNG.normal(size=(60, M)).astype("f4"), RNG.permutation(M)
    keep(tmp_path / "s.npz", SIMS, query_ids=TEXTS, gallery_ids=VIDEOS)
    keep(tmp_path / "b.npz", bank, query_ids=[f"b{i}" for i in range(60)], gallery_ids=VIDEOS)
    lists = dict(
        zip(words, ([f"b{i}" for i in range(60)], [VIDEOS[j] for j in order]), strict=True)
    )
    keep(tmp_path / "c.npz", bank[:, order], **lists)
    made = []
    for name in "bc":
        run("apply", "--sims", "s.npz", "--bank-sims", f"{name}.npz", "--out", f"o{name}.h5",
            "--method", "qb-norm", cwd=tmp_path)  # fmt: skip
        made.append(io.read_results(tmp_path / f"o{name}.h5").directions["t2v"].indices)
    np.testing.assert_array_equal(*made)


def test_a_list_beside_a_bank_that_fits_its_columns_is_said(tmp_path):
    keep(tmp_path / "s.npz", SIMS, query_ids=TEXTS, gallery_ids=VIDEOS)
    keep(tmp_path / "b.npz", SIMS[:40], y=[f"w{j}" for j in range(M)])
    _, err = run("apply", "--sims", "s.npz", "--bank-sims", "b.npz", "--out", "o.h5", cwd=tmp_path)
    assert "its columns were taken in the order of s.npz, and 'y'" in err
    np.savez(tmp_path / "b.npz", scores=SIMS[:40])
    _, err = run("apply", "--sims", "s.npz", "--bank-sims", "b.npz", "--out", "o.h5", "--force",
                 cwd=tmp_path)  # fmt: skip
    assert "its columns were" not in err


@pytest.mark.parametrize("lists", [{"videos": ["a title"]}, {"queries": "[1, 2"}, {"rows": N}])
def test_attributes_that_name_nothing_block_no_good_file(tmp_path, lists):
    """One of another length, text that is no list, and a number."""
    found = io.read_scores(keep(tmp_path / "s.attributes.h5", SIMS, **lists))
    assert not found.ids_given and found.scores.shape == (N, M)


@pytest.mark.parametrize("ending", ["attributes.h5", "safetensors"])
def test_ids_of_embeddings_that_are_told_with_them_are_found_and_can_be_named(tmp_path, ending):
    """What is printed reads them."""
    path = tmp_path / f"v.{ending}"
    assert io.read_embeddings(keep(path, SIMS, ids=TEXTS)).ids == tuple(TEXTS)
    with pytest.raises(FormatError, match="name it with id_column='clip_names'"):
        io.read_embeddings(keep(path, SIMS, clip_names=TEXTS))
    assert io.read_embeddings(path, id_column="clip_names").ids == tuple(TEXTS)
