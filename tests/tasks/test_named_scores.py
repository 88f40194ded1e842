"""Names of rows and columns of scores in a table travel to results and meet the ground truth."""

import numpy as np
import pytest

import rerank
from rerank import RerankError
from rerank.io import ScoreMatrix

pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng(0)
N = 12
VIDEOS = [f"clip{i}" for i in range(N)]
TEXTS = [f"t{i}" for i in range(2 * N)]
SCORES = RNG.normal(size=(2 * N, N))
OWNER = np.repeat(np.arange(N), 2)
GT = {t: VIDEOS[o] for t, o in zip(TEXTS, OWNER, strict=True)}
FRAME = pandas.DataFrame(SCORES, index=TEXTS, columns=VIDEOS)
ORDER = RNG.permutation(N)
SQUARE = SCORES[:N]
MIXED = pandas.DataFrame(SQUARE[:, ORDER], index=VIDEOS, columns=[VIDEOS[i] for i in ORDER])
WANTED = rerank.evaluate(SCORES, OWNER)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("frame", "gt"),
    [(FRAME, GT), (FRAME, list(GT.values())), (FRAME, OWNER),
     (FRAME.sample(frac=1.0, random_state=0), GT)],
)  # fmt: skip
def test_names_of_a_frame_meet_the_ground_truth(frame, gt):
    run = rerank.apply(scores=frame)
    assert run.t2v.query_ids == tuple(frame.index) and run.t2v.gallery_ids == tuple(VIDEOS)
    assert run.evaluate(gt).before["t2v"]["R@1"] == WANTED["t2v"]["R@1"]
    assert rerank.evaluate(frame, gt)["t2v"]["R@1"] == WANTED["t2v"]["R@1"]
    assert rerank.tune(scores=frame, gt=gt, folds=2).n_pairs == 2 * N
    found = rerank.compare(scores=frame, gt=gt, methods=["csls"], resamples=10)
    assert found.tables
    assert rerank.inspect(scores=frame)["hubness"]


@pytest.mark.parametrize("columns", [ORDER, [VIDEOS[i] for i in ORDER]])
@pytest.mark.parametrize("gt", ["diagonal", None])
def test_columns_in_another_order_are_no_diagonal(columns, gt):
    index = list(range(N)) if columns is ORDER else VIDEOS
    frame = pandas.DataFrame(SQUARE[:, ORDER], index=index, columns=columns)
    with pytest.raises(RerankError, match="another order"):
        rerank.apply(scores=frame).evaluate(gt)
    if gt is None:
        with pytest.raises(RerankError, match="another order"):
            rerank.evaluate(frame)
    names = {str(i): str(c) for i, c in zip(index, index, strict=True)}
    assert rerank.evaluate(frame, names)["t2v"]["R@1"] == rerank.evaluate(SQUARE)["t2v"]["R@1"]


def test_numbers_of_rows_beside_names_that_are_such_numbers_are_asked_about():
    frame = pandas.DataFrame(SQUARE[:, ORDER], columns=ORDER)
    with pytest.raises(RerankError, match="numbers could be rows or names"):
        rerank.evaluate(frame, np.arange(N))
    right = np.asarray(frame.columns)[None] == np.arange(N)[:, None]
    for gt in (right, right.astype(int), {str(i): str(i) for i in range(N)}):
        assert rerank.evaluate(frame, gt)["t2v"]["R@1"] == rerank.evaluate(SQUARE)["t2v"]["R@1"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (FRAME.assign(label=OWNER), r"'label' among .* x\.drop\(columns=\['label'\]\)"),
        (FRAME.assign(max=SCORES.max(1)), r"'max' .* x\.drop"),
        (FRAME.set_axis(list(GT.values())), r"stands in row 0 and again.*x\.to_numpy\(\)"),
        ({"t2v": MIXED, "v2t": MIXED.T.loc[VIDEOS]}, r"v2t\.loc\[t2v\.columns, t2v\.index\]"),
    ],
)
def test_names_that_cannot_be_used_are_refused(frame, said):
    for call in (lambda x: rerank.apply(scores=x), rerank.evaluate):
        with pytest.raises(RerankError, match=said):
            call(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame(SCORES),
        pandas.DataFrame(SCORES, index=np.arange(2 * N), columns=np.arange(N)),
        pandas.DataFrame(SCORES, index=np.arange(2 * N) + 100, columns=[f"{i}.mp4" for i in ORDER]),
        pandas.DataFrame(SCORES, columns=["cat", "dog", *VIDEOS[2:]]),
    ],
)
def test_frames_by_rows_stay_as_they_are(frame):
    assert rerank.evaluate(frame, OWNER) == WANTED
    run = rerank.apply(scores=frame)
    plain = rerank.apply(scores=SCORES).evaluate(OWNER)
    assert run.evaluate(OWNER).before["t2v"] == plain.before["t2v"]


def test_columns_of_a_bank_are_matched_by_name():
    bank = pandas.DataFrame(RNG.normal(size=(30, N)), columns=VIDEOS)
    wanted = rerank.apply(scores=FRAME, bank_scores=bank).t2v.scores
    turned = rerank.apply(scores=FRAME, bank_scores=bank[[VIDEOS[i] for i in ORDER]]).t2v.scores
    np.testing.assert_array_equal(turned, wanted)
    with pytest.raises(RerankError, match="bank_scores: no column is called"):
        rerank.apply(scores=FRAME, bank_scores=bank.rename(columns={"clip0": "other"}))


def test_scores_that_were_read_are_taken():
    read = ScoreMatrix(SCORES, tuple(TEXTS), tuple(VIDEOS), "s.csv", total_rows=2 * N)
    assert rerank.evaluate(read, GT) == WANTED
    assert rerank.apply(scores=read).evaluate(GT).before["t2v"]["R@1"] == WANTED["t2v"]["R@1"]
    far = ScoreMatrix(SCORES, tuple(TEXTS), tuple(VIDEOS), "s.h5", called="distances")
    with pytest.raises(RerankError, match=r"the smallest is best; give -x\.scores"):
        rerank.evaluate(far, GT)


@pytest.mark.parametrize("scores", [SCORES, FRAME.T])
def test_a_name_that_is_none_is_told_with_those_there_are(scores):
    with pytest.raises(RerankError, match="no text is called 't0'; the texts are called") as error:
        rerank.apply(scores=scores).evaluate(GT)
    assert "query_ids" not in str(error.value)


def test_pairs_of_names_are_pairs_unless_they_may_be_items():
    assert rerank.evaluate(FRAME, list(GT.items())) == WANTED
    assert rerank.evaluate(FRAME, list(GT.items())[::-1]) == WANTED
    same = pandas.DataFrame(SQUARE, index=VIDEOS, columns=VIDEOS)
    pairs = [(VIDEOS[i], VIDEOS[j]) for i, j in enumerate(ORDER)]
    with pytest.raises(RerankError, match=r"two right videos of each text; give dict\(x\)"):
        rerank.evaluate(same, pairs)
    assert rerank.evaluate(same, dict(pairs)) == rerank.evaluate(SQUARE, ORDER)
    both = rerank.evaluate(same, dict(zip(VIDEOS, pairs, strict=True)))
    assert both == rerank.evaluate(SQUARE, dict(enumerate([i, j] for i, j in enumerate(ORDER))))


def test_fused_matrices_are_matched_by_name():
    mixed = FRAME[[VIDEOS[i] for i in ORDER]]
    same, other = (rerank.fuse(scores=[FRAME, x]) for x in (FRAME, mixed))
    np.testing.assert_allclose(other.scores, same.scores)
