"""What is given wrongly works, or gets one clear error with a way out."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import rerank
from rerank import RerankError
from rerank.io import write_embeddings
from tests.cli.test_cli import run

RNG = np.random.default_rng(0)
VIDEOS = RNG.normal(size=(30, 8)).astype(np.float32)
TEXTS = VIDEOS + RNG.normal(size=(30, 8)).astype(np.float32)
SCORES = TEXTS @ VIDEOS.T
HIDDEN = np.zeros(SCORES.shape, dtype=bool)
HIDDEN[0, 0] = True
BY_NAME = {f"t{i}": [f"v{i}"] for i in range(30)}
MANY = np.repeat(VIDEOS, 20, axis=0)[:500]
MODEL = rerank.fit(VIDEOS, bank_texts=TEXTS, tau=0.1)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

REFUSED = {
    "two embeddings": (lambda: rerank.rerank(TEXTS, VIDEOS), r"rerank\.apply\(texts, videos\)"),
    "two tensors": (
        lambda: rerank.rerank(torch.from_numpy(TEXTS), torch.from_numpy(VIDEOS)),
        "expected one matrix of scores",
    ),
    "a masked array": (
        lambda: rerank.rerank(np.ma.masked_array(SCORES, HIDDEN)),
        r"masked values; fill them: x\.filled",
    ),
    "a sparse matrix": (lambda: rerank.rerank(sparse.csr_matrix(SCORES)), r"x\.toarray\(\)"),
    "a sparse tensor": (
        lambda: rerank.rerank(torch.from_numpy(SCORES).to_sparse()),
        r"x\.to_dense\(\)",
    ),
    "sparse scores": (lambda: rerank.apply(scores=sparse.csr_matrix(SCORES)), r"x\.toarray\(\)"),
    "sparse pairs": (
        lambda: rerank.evaluate(SCORES, sparse.csr_matrix(SCORES)),
        r"x\.toarray\(\) > 0",
    ),
    "sparse embeddings": (lambda: rerank.apply(sparse.csr_matrix(TEXTS), VIDEOS), "toarray"),
    "sparse, judged": (lambda: rerank.evaluate(sparse.csr_matrix(SCORES)), "toarray"),
    "a path": (lambda: rerank.rerank("scores.npy"), "got str, expected a numpy array"),
    "ragged lists": (lambda: rerank.rerank([[1.0], [1.0, 2.0]]), "no matrix of numbers"),
    "names of stages": (
        lambda: rerank.Pipeline(("em", "sinkhorn")),
        r"a name such as Pipeline\('em\+sinkhorn'\)",
    ),
    "save, swapped": (
        lambda: rerank.save(MODEL.fitted, "m"),
        r"expected a path and what was fitted: save\(path, fitted\)",
    ),
    "export, swapped": (lambda: rerank.export("m", MODEL), r"rerank\.export\(model, out\)"),
    "names without ids": (lambda: rerank.evaluate(SCORES, BY_NAME), "query_ids=, gallery_ids="),
    "a file of pairs": (
        lambda: rerank.evaluate(SCORES, Path("gt.json")),
        r"got 'gt.json'.*rerank\.read_ground_truth",
    ),
    "evaluate, swapped": (
        lambda: rerank.evaluate({i: [i] for i in range(30)}, SCORES),
        r"rerank\.evaluate\(scores, positives\)",
    ),
    "embeddings, judged": (lambda: rerank.evaluate(TEXTS, VIDEOS), "to judge embeddings"),
    "4 ids for 500": (
        lambda: rerank.fit(MANY, ids=list("abcd"), bank_texts=TEXTS),
        "4 ids for the 500 rows; every row needs its id",
    ),
    "4 ids, read": (lambda: rerank.as_embeddings(MANY, ids=list("abcd")), "4 ids for the 500"),
    "4 ids, made": (lambda: rerank.Embeddings(tuple("abcd"), MANY, "v"), "4 ids for the 500"),
    "only scores": (lambda: rerank.apply(SCORES), "give texts and videos, or scores"),
    "methods as data": (lambda: rerank.apply(TEXTS, VIDEOS, method=["em"]), "method='...'"),
    "a list as a path": (lambda: rerank.read_scores([1]), "read_scores: got list, expected the"),
    "an array, searched": (lambda: rerank.topk(SCORES, 3), r"such as Dense\(scores\)"),
    "an array as a bank": (lambda: rerank.Bank(SCORES), "Bank: got ndarray, expected a Simil"),
    "an unknown option": (lambda: rerank.compare(TEXTS, VIDEOS, fold=3), "got 'fold', expected"),
    "no results": (
        lambda: rerank.apply(TEXTS, VIDEOS[:20], k=0),
        "k: got 0, expected between 1 and the 30 texts there are",
    ),
    "too many results": (
        lambda: rerank.apply(TEXTS[:20], VIDEOS, k=31),
        "between 1 and the 30 videos there are",
    ),
    "a typing error": (lambda: rerank.rerank(SCORES, "sinkhron"), "did you mean 'sinkhorn'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_clear_error(case):
    call, message = REFUSED[case]
    with pytest.raises(RerankError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_name_is_a_pipeline():
    assert rerank.Pipeline("em+sinkhorn") == rerank.Pipeline((rerank.EM(), rerank.Sinkhorn()))


def test_a_frame_and_a_list_are_matrices():
    pandas = pytest.importorskip("pandas")
    expected = rerank.rerank(SCORES)
    frame = pandas.DataFrame(SCORES, index=list(BY_NAME), columns=[f"v{i}" for i in range(30)])
    found = rerank.rerank(frame)
    assert list(found.index) == list(BY_NAME) and list(found.columns) == list(frame.columns)
    np.testing.assert_array_equal(found.to_numpy(), expected)
    as_list = rerank.rerank(SCORES.astype(np.float64).tolist())
    np.testing.assert_array_equal(as_list, rerank.rerank(SCORES.astype(np.float64)))
    assert rerank.evaluate(frame) == rerank.evaluate(SCORES)
    by_frame = rerank.apply(scores=frame).t2v.scores
    np.testing.assert_array_equal(by_frame, rerank.apply(scores=SCORES).t2v.scores)
    whole = rerank.rerank(np.ma.masked_array(SCORES))
    np.testing.assert_array_equal(whole, expected)


def test_a_boolean_matrix_says_which_are_right():
    assert rerank.evaluate(SCORES, np.eye(30, dtype=bool)) == rerank.evaluate(SCORES)


def test_frames_compute_as_the_arrays_that_they_hold():
    pandas = pytest.importorskip("pandas")
    run = rerank.apply(pandas.DataFrame(TEXTS), pandas.Series(list(VIDEOS)))
    np.testing.assert_array_equal(run.t2v.scores, rerank.apply(TEXTS, VIDEOS).t2v.scores)
    found = MODEL.search(pandas.DataFrame(TEXTS, index=list(BY_NAME)), k=2)
    assert found.query_ids == tuple(BY_NAME)
    assert list(found.to_pandas()["query"][:3]) == ["t0", "t0", "t1"]


def test_results_show_themselves_in_one_line_and_in_tables():
    run = rerank.apply(TEXTS, VIDEOS, k=3)
    before_after = run.evaluate()
    for shown in (
        run, run.t2v, before_after, MODEL, MODEL.search(TEXTS, k=2), run.matrix(),
        rerank.evaluate(SCORES), rerank.Pair(TEXTS, VIDEOS), rerank.Dense(SCORES),
    ):  # fmt: skip
        assert "\n" not in repr(shown)
    for shown in (run, before_after, MODEL.search(TEXTS, k=2), rerank.inspect(TEXTS, VIDEOS)):
        assert shown._repr_html_().count("<table>") >= 1
    assert before_after.to_latex() == run.to_latex()
    assert before_after.to_latex().count(r"\\") == 5
    pytest.importorskip("pandas")
    assert list(before_after.to_pandas()["when"]) == ["before", "before", "after", "after"]


def test_python_is_told_of_arguments_and_never_of_flags(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 8))
    frames, ids = rng.normal(size=(30, 4, 8)), [str(i) for i in range(30)]
    np.savez(tmp_path / "frames.npz", embeddings=frames, ids=ids)
    zero = x.copy()
    zero[2] = 0
    asked = {
        "pool=": lambda: rerank.apply(tmp_path / "frames.npz", y),
        "bank_videos=": lambda: rerank.fit(y, bank_texts=x, method="em"),
        "bank_texts=": lambda: rerank.fit(y, bank_texts=x, method="emcl"),
        "(bank_texts= and bank_videos=)": lambda: rerank.apply(x, y, bank_texts=x, method="dualis"),
        'metric="dot"': lambda: rerank.apply(zero, y),
        "give texts and videos, or": lambda: rerank.apply(scores=x @ y.T, method="em"),
        "scores, not both": lambda: rerank.apply(x, scores=x @ y.T),
        "confidence=True": lambda: rerank.fit(y, bank_texts=x).sure(x),
    }
    if not torch.cuda.is_available():
        asked['device="cpu"'] = lambda: rerank.apply(x, y, device="cuda")
    for said, call in asked.items():
        with pytest.raises(RerankError) as error:
            call()
        assert said in str(error.value) and "--" not in str(error.value), str(error.value)


@pytest.mark.parametrize(("scale", "odd"), [(1e30, "all"), (1e30, "one"), (1e19, "all")])
@pytest.mark.parametrize("door", ["apply", "fit", "compare"])
def test_rows_too_long_for_inner_products_are_named_by_their_file(tmp_path, door, scale, odd):
    """Squares of their products are lost, and the whole ranking with them."""
    longer = VIDEOS.copy()
    longer[slice(None) if odd == "all" else 7] *= np.float32(scale)
    paths = {name: tmp_path / f"{name}.h5" for name in ("v", "t")}
    for name, rows in (("v", longer), ("t", TEXTS)):
        write_embeddings(paths[name], [f"{name}{i}" for i in range(30)], rows)
    row = int(np.linalg.norm(longer.astype(float), axis=1).argmax())
    wanted = rf"v\.h5: row {row} \(id 'v{row}'\) has norm .*overflow in float32; scale the embedd"
    (tmp_path / "gt.json").write_text(json.dumps({f"t{i}": f"v{i}" for i in range(30)}))
    given = {"apply": ("--texts", "t.h5"), "fit": ("--bank-texts", "t.h5", "--out", "m.st"),
             "compare": ("--texts", "t.h5", "--gt", "gt.json")}  # fmt: skip
    typed = (door, "--videos", "v.h5", *given[door], "--metric", "dot")
    _, err = run(*typed, cwd=tmp_path, code=2)
    assert re.search(wanted, err), err
    with pytest.raises(RerankError, match=f"videos: row {row} has norm .*overflow"):
        rerank.apply(TEXTS, longer, metric="dot")
    rerank.apply(TEXTS, longer, metric="cosine")


@pytest.mark.parametrize("odd", [0, np.nan, np.inf, 1e30])
def test_a_bad_row_is_of_the_side_that_holds_it(odd):
    """Whatever a bank is compared with: its rows are none of the queries, nor of the gallery."""
    given = {"texts": TEXTS, "videos": VIDEOS, "bank_texts": MANY[:40], "bank_videos": MANY[:40]}
    long = {"metric": "dot"} if odd == 1e30 else {}
    for bad in given:
        sides = {**given, bad: given[bad].copy()}
        sides[bad][7] = odd
        with pytest.raises(RerankError, match=f"^{bad}: row 7 "):
            rerank.apply(**sides, **long)
        for direction, gallery in (("t2v", "videos"), ("v2t", "texts")):
            if bad in ("texts", "videos") and bad != gallery:
                continue
            banks = {name: sides[name] for name in ("bank_texts", "bank_videos")}
            with pytest.raises(RerankError, match=f"^{bad}: row 7 "):
                rerank.fit(sides[gallery], direction=direction, **banks, **long)
    with pytest.raises(RerankError, match="^bank_texts: got d = 5, but videos have d = 8"):
        rerank.apply(TEXTS, VIDEOS, bank_texts=TEXTS[:, :5])


def test_products_of_large_but_sound_size_rank_as_small_ones_do():
    sizes = np.float32(1), np.float32(2**23)
    small, large = (rerank.apply(x * TEXTS, x * VIDEOS, metric="dot") for x in sizes)
    np.testing.assert_array_equal(small.t2v.ids, large.t2v.ids)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("form", ["matrix", "array"])
def test_every_sparse_matrix_of_scipy_is_refused_alike(kind, form):
    given = getattr(sparse, f"{kind}_{form}")(SCORES)
    for door in (rerank.rerank, rerank.evaluate, lambda x: rerank.apply(scores=x)):
        with pytest.raises(RerankError, match=rf"scores: got a sparse {kind}_{form}, .*toarray"):
            door(given)
    with pytest.raises(RerankError, match=r"positives: got a sparse"):
        rerank.evaluate(SCORES, given)


def test_a_tuple_of_rows_is_a_matrix():
    rows = tuple(map(tuple, SCORES.tolist()))
    assert np.array_equal(rerank.rerank(rows), rerank.rerank(SCORES.tolist()))
    one, other = (rerank.apply(scores=x).t2v.scores for x in (rows, SCORES.tolist()))
    assert np.array_equal(one, other)
