"""Embeddings from what a program holds."""

from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
import torch

from rerank.core.errors import RerankError
from rerank.io import as_embeddings, read_embeddings, read_scores, write_embeddings
from tests.cli.test_cli import run
from tests.io_writers import write_named

X = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
IDS = list("abcde")

SAME = {
    "array": lambda: X,
    "fortran": lambda: np.asfortranarray(X),
    "big-endian": lambda: X.astype(">f4"),
    "reversed": lambda: X[::-1][::-1],
    "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "matrix": lambda: np.matrix(X),
    "unmasked": lambda: np.ma.masked_array(X, mask=np.zeros_like(X, bool)),
    "float64": lambda: X.astype("f8"),
    "longdouble": lambda: X.astype("g"),
    "lists": lambda: X.tolist(),
    "list of arrays": lambda: list(X),
    "array of arrays": lambda: np.array([*X, None], dtype=object)[:-1],
    "tensor": lambda: torch.from_numpy(X.copy()),
    "gradient": lambda: torch.from_numpy(X.copy()).requires_grad_(),
    "transposed": lambda: torch.from_numpy(X.T.copy()).T,
    "list of tensors": lambda: list(torch.from_numpy(X.copy())),
    "one frame": lambda: X[:, None],
}


@pytest.mark.parametrize("form", SAME)
def test_whatever_holds_them_they_are_the_same(form):
    found = as_embeddings(SAME[form]())
    np.testing.assert_allclose(found.vectors, X, rtol=1e-6)
    assert found.vectors.dtype.isnative
    assert not found.ids_given and found.ids == tuple("01234")
    assert as_embeddings(SAME[form](), ids=IDS).ids == tuple(IDS)


def test_one_matrix_behind_an_axis_of_one_is_no_item_of_frames():
    for given in (X[None], [X], torch.from_numpy(X)[None], X[None].tolist()):
        np.testing.assert_allclose(as_embeddings(given).vectors, X)
        np.testing.assert_allclose(as_embeddings(given, pool="mean").vectors, X)
    for given, ids in (({"a": X}, None), (X[None], ["a"])):
        with pytest.raises(RerankError, match="5 rows .frames"):
            as_embeddings(given, ids=ids)
        assert as_embeddings(given, ids=ids, pool="mean").vectors.shape == (1, 3)


def test_half_precision():
    for half in (X.astype("f2"), torch.from_numpy(X.copy()).half(), torch.from_numpy(X).bfloat16()):
        np.testing.assert_allclose(as_embeddings(half).vectors, X, rtol=1e-2, atol=1e-2)


def test_tables():
    pandas = pytest.importorskip("pandas")
    frames = (
        pandas.DataFrame(X, index=IDS),
        pandas.DataFrame({"id": IDS, **{str(i): X[:, i] for i in range(3)}}),
        pandas.DataFrame({"video_id": IDS, "clip": list(X)}),
        pandas.Series(list(X), index=IDS),
    )
    for frame in frames:
        found = as_embeddings(frame)
        assert found.ids == tuple(IDS) and found.ids_given
        np.testing.assert_allclose(found.vectors, X)
    assert not as_embeddings(pandas.DataFrame(X)).ids_given
    with pytest.raises(RerankError, match=r"texts: got a DataFrame.*'note'.*df\[\["):
        as_embeddings(pandas.DataFrame({"id": IDS, "x": X[:, 0], "note": IDS}), role="texts")


class Column(list):
    """A series as polars has it: no index, a type that knows whether it is numeric."""

    __module__ = "polars.series"

    class dtype:  # noqa: N801
        @staticmethod
        def is_numeric():
            return False

    def to_list(self):
        return list(self)


class Frame:
    """As much of a frame of polars as is used."""

    __module__ = "polars.dataframe"
    columns = ("id", "clip")

    def __getitem__(self, name):
        return Column(IDS if name == "id" else X.tolist())


def test_tables_of_polars():
    found = as_embeddings(Frame())
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, X, rtol=1e-6)


def _frames(library):
    """What a table of either library may look like that holds X under IDS."""
    frame, lists = library.DataFrame, X.tolist()
    columns = {f"f{i}": X[:, i] for i in range(3)}
    return {
        "columns": frame({"id": IDS, **columns}),
        "numbered columns": frame({"0": IDS, **{str(i + 1): X[:, i] for i in range(3)}, "id": IDS}),
        "lists": frame({"id": IDS, "clip": lists}),
        "lists beside others": frame({"id": IDS, "clip": lists, "t": [2.5] * 5, "note": IDS}),
        "columns beside others": frame({"id": IDS, **columns, "t": [2.5] * 5, "ok": [True] * 5}),
        "bytes": frame({"id": [name.encode() for name in IDS], "clip": lists}),
    }


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_every_table_of_either_library(library):
    module = pytest.importorskip(library)
    for name, frame in _frames(module).items():
        found = as_embeddings(frame, role="texts")
        assert found.ids == tuple(IDS), name
        np.testing.assert_allclose(found.vectors, X, rtol=1e-6, err_msg=name)
    frame = module.DataFrame({"id": IDS, "clip": X.tolist(), "blip": X.tolist()})
    with pytest.raises(RerankError, match=r"'clip', 'blip' could all be.*df\[\['id', 'clip'\]\]"):
        as_embeddings(frame)
    with pytest.raises(RerankError, match=r"ids: got a DataFrame.*such as df\['id'\]"):
        as_embeddings(X, ids=frame)
    assert as_embeddings(X, ids=frame["id"]).ids == tuple(IDS)


def test_decimals_of_polars_are_numbers():
    polars = pytest.importorskip("polars")
    numbers = [Decimal("1.5"), Decimal(2), Decimal("2.5"), Decimal(3), Decimal(4)]
    found = as_embeddings(polars.DataFrame({"id": IDS, "f0": numbers, "f1": numbers}))
    np.testing.assert_array_equal(found.vectors[:, 0], [1.5, 2, 2.5, 3, 4])
    missing = [numbers[0], None, *numbers[2:]]
    with pytest.raises(RerankError, match="column 'f0': row 1 is None: a missing value"):
        as_embeddings(polars.DataFrame({"id": IDS, "f0": missing, "f1": numbers}))


def test_the_precision_and_the_laziness_of_polars():
    polars = pytest.importorskip("polars")
    for kind in (polars.List(polars.Float32), polars.Array(polars.Float32, 3)):
        column = polars.Series("clip", X.tolist(), dtype=kind)
        for given in (column, polars.DataFrame([polars.Series("id", IDS), column])):
            found = as_embeddings(given)
            assert found.vectors.dtype == np.float32
            np.testing.assert_array_equal(found.vectors, X)
    with pytest.raises(RerankError, match="LazyFrame, which has no rows yet; give x.collect()"):
        as_embeddings(polars.DataFrame({"id": IDS, "clip": X.tolist()}).lazy())
    for names in (polars.Categorical, polars.Enum(IDS)):
        frame = polars.DataFrame({"id": polars.Series(IDS, dtype=names), "clip": X.tolist()})
        assert as_embeddings(frame).ids == tuple(IDS)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_as_ground_truth_says_what_to_give(library):
    import rerank

    module = pytest.importorskip(library)
    pairs = module.DataFrame({"query_id": [*IDS, "a"], "video_id": [*IDS, "b"]})
    both = ({i: y for i, y in zip(IDS, x, strict=True)} for x in (X, X[::-1]))
    run = rerank.apply(*both)
    with pytest.raises(RerankError, match="got a DataFrame") as caught:
        run.evaluate(pairs)
    assert "\n" not in str(caught.value)


def test_mappings_paths_and_embeddings(tmp_path):
    found = as_embeddings(dict(zip(IDS, X, strict=True)))
    assert found.ids == tuple(IDS)
    assert as_embeddings(found) is found
    write_embeddings(tmp_path / "v.h5", IDS, X)
    for path in (tmp_path / "v.h5", str(tmp_path / "v.h5")):
        read = as_embeddings(path, role="videos")
        assert read.ids == tuple(IDS)
        np.testing.assert_array_equal(read.vectors, X)
    assert as_embeddings(tmp_path / "v.h5", ids=list("vwxyz")).ids == tuple("vwxyz")


WRONG = {
    "too few ids": (lambda: (np.ones((500, 2)), list("abcd")), "4 ids for the 500 rows"),
    "ids twice": (lambda: (X, list("abcda")), "'a' stands in row 0 and again in row 4"),
    "masked": (lambda: (np.ma.masked_array(X, mask=X > 0), None), "masked"),
    "scipy": (lambda: (scipy.sparse.csr_matrix(X), None), "sparse.*toarray"),
    "torch sparse": (lambda: (torch.from_numpy(X).to_sparse(), None), "sparse.*to_dense"),
    "float8": (lambda: (torch.from_numpy(X).to(torch.float8_e4m3fn), None), "float8.*float()"),
    "objects": (lambda: (np.array([["a", 1]], dtype=object), None), "object array"),
    "ragged": (lambda: ([[1.0, 2.0], [1.0]], None), "row 1 has shape"),
    "words": (lambda: ([["a", "b"]], None), "row 0 is .*vector of numbers"),
    "integers": (lambda: (np.ones((3, 2), int), None), "integers"),
    "complex": (lambda: (np.ones((3, 2), complex), None), "complex"),
    "one vector": (lambda: (X[0], None), r"shape \(3,\)"),
    "number": (lambda: (3, None), "got int"),
    "nothing": (lambda: (None, None), "got NoneType"),
    "empty list": (lambda: ([], None), "empty list"),
    "no rows": (lambda: (X[:0], None), "empty"),
    "NaN": (lambda: (np.where(X == X[2, 1], np.nan, X), None), "row 2 .*NaN in column 1"),
    "zero row": (lambda: (X * (np.arange(5) != 3)[:, None], None), "row 3 .*all zeros"),
    "frames": (lambda: (np.ones((2, 3, 4)), None), "pool=.mean"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_given_wrongly_gets_one_clear_line(case):
    make, words = WRONG[case]
    given, ids = make()
    with pytest.raises(RerankError, match=words) as caught:
        as_embeddings(given, role="texts", ids=ids)
    assert str(caught.value).startswith("texts") and "\n" not in str(caught.value)


def test_inputs_are_left_alone():
    x = X.copy()
    found = as_embeddings(x)
    assert x.flags.writeable
    if np.shares_memory(x, found.vectors):
        assert not found.vectors.flags.writeable
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: np.ma.masked_array(X, mask=X > 0), "masked"),
        (lambda: torch.from_numpy(X).to_sparse(), "sparse.*to_dense"),
        (lambda: torch.from_numpy(X).to(torch.float8_e4m3fn), "float8.*float"),
    ],
)
def test_the_door_of_matrices_refuses_the_same(make, words):
    from rerank.core.arrays import as_matrix

    with pytest.raises(RerankError, match=rf"scores: .*{words}"):
        as_matrix(make(), "scores")


# ------------------------------------------------------- ids that are given over those of a file

NAMES = [f"v{i}" for i in range(5)]
MOVED = [NAMES[i] for i in (3, 0, 4, 1, 2)]


def _with_ids(path, ids, name="ids"):
    if path.suffix == ".csv":
        rows = [",".join([i, *map(repr, map(float, x))]) for i, x in zip(ids, X, strict=True)]
        path.write_text("\n".join([f"{name},f0,f1,f2", *rows]))
    elif path.suffix == ".npy":
        np.save(path, X)
        path.with_suffix(".ids.txt").write_text("\n".join(ids))
    elif path.suffix == ".pt":
        torch.save({"embeddings": torch.tensor(X), name: list(ids)}, path)
    elif path.name == "canonical.h5":
        write_embeddings(path, ids, X)
    else:
        write_named(path, {"embeddings": X, name: list(ids)})
    return path


@pytest.mark.parametrize("kind", ["v.npz", "v.h5", "v.pt", "v.csv", "v.npy", "canonical.h5"])
@pytest.mark.parametrize("form", ["{}", "videos/{}.mp4"])
def test_ids_given_in_another_order_than_the_own_are_refused(tmp_path, kind, form):
    path, given = _with_ids(tmp_path / kind, NAMES), tmp_path / "given.txt"
    given.write_text("\n".join(map(form.format, MOVED)))
    for ids in (given, [*map(form.format, MOVED)]):
        with pytest.raises(RerankError, match="another order than .* row 0 is 'v0' by its own and"):
            read_embeddings(path, ids=ids)
    given.write_text("\n".join(map(form.format, NAMES)))
    assert read_embeddings(path, ids=given).ids == tuple(map(form.format, NAMES))
    # Other names, also of some of them, and names in place of numbers are what the option is for.
    for other in (["a", "b", "c", "d", "e"], [*NAMES[:3], "x", "y"]):
        assert read_embeddings(path, ids=other).ids == tuple(other)
    if kind != "v.csv":
        _with_ids(path, [str(i) for i in range(5)])
        numbers = ["3", "7", "0", "12", "9"]
        assert read_embeddings(path, ids=numbers).ids == tuple(numbers)


@pytest.mark.parametrize("name", ["qids", "video_ids", "vids"])
def test_ids_of_a_side_are_its_own_too(tmp_path, name):
    path = _with_ids(tmp_path / "v.npz", NAMES, name)
    side = "texts" if name == "qids" else "videos"
    with pytest.raises(RerankError, match="row 0 is 'v0' by its own and 'v3' by these"):
        read_embeddings(path, ids=MOVED, side=side)


@pytest.mark.parametrize("kind", ["s.npz", "s.h5", "s.csv"])
@pytest.mark.parametrize("side", ["query_ids", "gallery_ids"])
def test_names_of_scores_given_in_another_order_are_refused(tmp_path, kind, side):
    path, given = tmp_path / kind, tmp_path / "given.txt"
    scores = np.random.default_rng(1).normal(size=(5, 5))
    own = {"query_ids": [f"t{i}" for i in range(5)], "gallery_ids": NAMES}
    if kind == "s.csv":
        rows = [",".join([t, *map(repr, map(float, x))])
                for t, x in zip(own["query_ids"], scores, strict=True)]  # fmt: skip
        path.write_text("\n".join([",".join(["query_id", *NAMES]), *rows]))
    else:
        write_named(path, {"scores": scores, **own})
    moved = [own[side][i] for i in (3, 0, 4, 1, 2)]
    given.write_text("\n".join(moved))
    with pytest.raises(RerankError, match=f"row 0 is '{own[side][0]}' by its own and '{moved[0]}'"):
        read_scores(path, **{side: given})
    given.write_text("\n".join(own[side]))
    assert read_scores(path, **{side: given}).gallery_ids == tuple(NAMES)


def test_the_command_names_an_id_and_leaving_them_out_works(tmp_path):
    _with_ids(tmp_path / "v.npz", NAMES)
    np.savez(tmp_path / "t.npz", embeddings=X + 0.5, ids=[f"t{i}" for i in range(5)])
    (tmp_path / "order.txt").write_text("\n".join(MOVED))
    line = ["apply", "--videos", "v.npz", "--texts", "t.npz"]
    _, err = run(*line, "--video-ids", "order.txt", cwd=tmp_path, code=2)
    assert "than order.txt: row 0 is 'v0' by its own" in err and err.count("\n") == 1
    run(*line, cwd=tmp_path)
