"""Properties that hold whatever the numbers are."""

from functools import partial

import numpy as np
import torch

from rerank import Dense, Pair
from rerank.core import memory
from rerank.io import read_embeddings, read_ground_truth, read_scores, sha256_of, write_embeddings
from rerank.io.files import named, one_line, parse_json, printable, to_json
from rerank.io.ids import check_ids, first_duplicate
from rerank.io.rankings import strictly_falling
from rerank.methods.registry import pipeline
from rerank.metrics.ranks import ranks
from rerank.passes import reduce
from tests.reliability.matrix import Case, row

LAWS = []
TIMES = 200


def law(function):
    """A property: `function(rng, folder)` raises where it does not hold."""
    LAWS.append(function)
    return function


@row("property tests", "hold for 200 random inputs each", quick=5, slow=9)
def laws():
    for function in LAWS:
        yield Case(function.__name__.replace("_", " "), partial(_often, function))


def _often(function, folder):
    for number in range(TIMES):
        function(np.random.default_rng(number), folder)


def sizes(rng, most=12):
    return rng.integers(1, most, 2)


def scores_of(rng, most=12):
    return rng.normal(size=sizes(rng, most)) * 10.0 ** rng.integers(-3, 4)


def words(rng, count):
    letters = "ab/#:.-_ é日\u202e'\"\\\t,;"
    return ["".join(rng.choice(list(letters), rng.integers(1, 9))) + f"{i}" for i in range(count)]


@law
def the_transpose_of_the_transpose_is_the_same(rng, folder):
    s = scores_of(rng)
    assert torch.equal(Dense(s).T.T.scores(), Dense(s).scores())


@law
def a_query_bias_changes_no_ranking(rng, folder):
    s = scores_of(rng)
    k = int(rng.integers(1, s.shape[1] + 1))
    shifted = Dense(s).add_query_bias(torch.tensor(np.round(rng.normal(size=len(s)))))
    gaps = np.diff(np.sort(s, axis=1))
    if gaps.size and gaps.min() < 1e-9 * np.abs(s).max():
        return
    assert torch.equal(reduce.topk(shifted, k).indices, reduce.topk(Dense(s), k).indices)


@law
def the_best_are_those_of_a_sort(rng, folder):
    s = np.round(scores_of(rng), 1)
    k = int(rng.integers(1, s.shape[1] + 1))
    wanted = np.argsort(-s, axis=1, kind="stable")[:, :k]
    assert (reduce.topk(Dense(s), k).indices.numpy() == wanted).all()


@law
def blocks_change_nothing(rng, folder):
    s = scores_of(rng)
    step = int(rng.integers(1, len(s) + 1))
    one, many = (
        reduce.logsumexp(Dense(s, block_size=b), 1.0, over="queries") for b in (None, step)
    )
    assert torch.allclose(one, many, rtol=1e-12)


@law
def a_sum_of_exponentials_is_that_of_float64(rng, folder):
    s = scores_of(rng)
    tau = float(10.0 ** rng.integers(-2, 3))
    top = (s / tau).max(axis=1, keepdims=True)
    wanted = (top + np.log(np.exp(s / tau - top).sum(axis=1, keepdims=True)))[:, 0]
    found = reduce.logsumexp(Dense(s), tau, over="gallery").numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@law
def sinkhorn_reaches_its_marginals(rng, folder):
    s = rng.normal(size=sizes(rng) + 3)
    tau = 0.5
    found = pipeline("sinkhorn", tau=tau, n_iters=500, tol=1e-7, rho=1.0).fit(Dense(s))
    sim = found.transform(Dense(s)).scores().double().numpy() / tau
    plan = np.exp(sim - sim.max(axis=1, keepdims=True))
    plan /= plan.sum(axis=1, keepdims=True)
    assert np.abs(plan.sum(axis=0) - len(s) / s.shape[1]).max() < 1e-3 * len(s)


@law
def a_constant_added_to_all_scores_changes_no_ranking(rng, folder):
    s = np.round(rng.normal(size=sizes(rng) + 2), 2)
    found = [
        (lambda sim: reduce.topk(pipeline("is", tau=0.5).fit(sim).transform(sim), 1).indices)(
            Dense(x)
        )
        for x in (s, s + 4.0)
    ]
    gap = np.sort(s, axis=1)
    if (gap[:, -1] - gap[:, -2]).min() > 0:
        sims = pipeline("is", tau=0.5).fit(Dense(s)).transform(Dense(s)).scores().numpy()
        ordered = np.sort(sims, axis=1)
        if (ordered[:, -1] - ordered[:, -2]).min() > 1e-9:
            assert torch.equal(*found)


@law
def renamed_rows_give_renamed_biases(rng, folder):
    s = rng.normal(size=sizes(rng) + 2)
    order = rng.permutation(s.shape[1])
    one = pipeline("is", tau=0.3).fit(Dense(s)).gallery_bias
    two = pipeline("is", tau=0.3).fit(Dense(s[:, order])).gallery_bias
    np.testing.assert_allclose(one.numpy()[order], two.numpy(), atol=1e-9)


@law
def ranks_are_between_one_and_the_gallery(rng, folder):
    s = np.round(scores_of(rng), 0)
    right = rng.integers(0, s.shape[1], len(s))
    found = ranks(Dense(s), right).values
    assert (found >= 1).all() and (found <= s.shape[1]).all()


@law
def expected_ranks_are_the_mean_over_ties(rng, folder):
    s = np.round(rng.normal(size=sizes(rng)), 0)
    right = rng.integers(0, s.shape[1], len(s))
    own = s[np.arange(len(s)), right][:, None]
    wanted = 1 + (s > own).sum(axis=1) + ((s == own).sum(axis=1) - 1) / 2
    np.testing.assert_allclose(ranks(Dense(s), right).values, wanted)


@law
def cosines_do_not_depend_on_lengths(rng, folder):
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    scaled = x * np.exp(rng.normal(size=(4, 1)))
    np.testing.assert_allclose(
        Pair(scaled, y).scores().numpy(), Pair(x, y).scores().numpy(), atol=1e-12
    )


@law
def embeddings_come_back(rng, folder):
    x = rng.normal(size=sizes(rng)).astype(rng.choice(["f4", "f8"]))
    ids = words(rng, len(x))
    write_embeddings(folder / "v.h5", ids, x)
    found = read_embeddings(folder / "v.h5", metric="dot")
    assert list(found.ids) == ids and (found.vectors == x).all()


@law
def scores_come_back(rng, folder):
    s = scores_of(rng)
    rows, columns = words(rng, len(s)), words(rng, s.shape[1])
    np.savez(folder / "s.npz", scores=s, query_ids=rows, gallery_ids=columns)
    found = read_scores(folder / "s.npz")
    assert list(found.query_ids) == [str(np.str_(x)) for x in np.array(rows)]
    assert (found.scores == s).all()


@law
def ground_truth_comes_back(rng, folder):
    texts = [f"t{i}" for i in range(rng.integers(1, 9))]
    videos = [f"v{i}" for i in range(rng.integers(1, 9))]
    right = {name: str(rng.choice(videos)) for name in texts}
    path = folder / "gt.json"
    path.write_text(to_json(right))
    found = read_ground_truth(path, texts, videos)
    assert [videos[int(p[0])] for p in found.positives] == [right[t] for t in texts]


@law
def the_order_of_ground_truth_does_not_matter(rng, folder):
    texts, videos = [f"t{i}" for i in range(6)], [f"v{i}" for i in range(4)]
    pairs = [(t, str(rng.choice(videos))) for t in texts]
    found = []
    for order in (range(6), rng.permutation(6)):
        path = folder / "gt.tsv"
        path.write_text("query-id\tcorpus-id\tscore\n" + "".join(
            f"{pairs[i][0]}\t{pairs[i][1]}\t1\n" for i in order
        ))  # fmt: skip
        found.append([p.tolist() for p in read_ground_truth(path, texts, videos).positives])
    assert found[0] == found[1]


@law
def hashes_do_not_depend_on_the_layout(rng, folder):
    x = rng.normal(size=sizes(rng)).astype("f4")
    assert sha256_of(x) == sha256_of(np.asfortranarray(x)) == sha256_of(x.astype(">f4"))
    other = x.copy()
    other[0, 0] += 1
    assert sha256_of(x) != sha256_of(other)


@law
def hashes_tell_lists_of_words_apart(rng, folder):
    a = words(rng, 4)
    assert sha256_of(a) != sha256_of([a[0] + a[1], *a[2:]])
    assert sha256_of(a) != sha256_of(a[::-1])


@law
def messages_are_printable_lines(rng, folder):
    text = "".join(chr(c) for c in rng.integers(0, 0x3000, 30) if not 0xD800 <= c < 0xE000)
    assert printable(text).isprintable() and one_line(text).isprintable()
    assert named([text]).isprintable() and len(one_line(text, limit=20)) <= 20


@law
def json_comes_back(rng, folder):
    value = {w: rng.normal(size=2).tolist() for w in words(rng, 3)}
    assert parse_json(to_json(value), "here") == value


@law
def falling_scores_keep_their_order(rng, folder):
    s = -np.sort(-np.round(rng.normal(size=sizes(rng, 20)), 1)).astype("f4")
    found = strictly_falling(s)
    assert (np.diff(found, axis=1) < 0).all()
    np.testing.assert_allclose(found, s, atol=1e-3)


@law
def a_name_that_comes_twice_is_found(rng, folder):
    ids = [f"i{i}" for i in range(6)]
    assert first_duplicate(ids) is None
    a, b = sorted(rng.choice(6, 2, replace=False))
    ids[b] = ids[a]
    assert first_duplicate(ids) == (ids[a], a, b)


@law
def whole_numbers_are_one_id_however_stored(rng, folder):
    number = int(rng.integers(0, 1 << 40))
    assert len({check_ids([x], "here") for x in (number, float(number), str(number))}) == 1


@law
def sizes_of_memory_are_read_as_written(rng, folder):
    number = int(rng.integers(1, 1000))
    assert memory.parse(f"{number}MB") == number * 10**6
    assert memory.parse(f" {number} gib ") == number * 2**30


@law
def k_occurrences_sum_to_the_lists(rng, folder):
    s = scores_of(rng)
    k = int(rng.integers(1, s.shape[1] + 1))
    assert int(reduce.k_occurrence(Dense(s), k).sum()) == len(s) * k


@law
def inputs_are_not_written_to(rng, folder):
    s = rng.normal(size=sizes(rng) + 2)
    kept = s.copy()
    s.setflags(write=False)
    sim = Dense(s)
    pipeline("sinkhorn", tau=0.3).fit(sim).transform(sim).scores()
    assert (s == kept).all()


@law
def mass_counts_as_often_as_a_row_that_is_repeated(rng, folder):
    s = rng.normal(size=(4, 5))
    twice = np.concatenate([s, s[:1]])
    whole = {"tau": 0.4, "rho": 1.0, "n_iters": 200, "tol": 1e-9, "duplicates": "count"}
    one = pipeline("sinkhorn", **whole).fit(Dense(twice)).gallery_bias.numpy()
    sim = Dense(s).with_mass(queries=np.array([2.0, 1, 1, 1]))
    two = pipeline("sinkhorn", **whole).fit(sim).gallery_bias.numpy()
    np.testing.assert_allclose(one - one.mean(), two - two.mean(), atol=1e-6)
