"""Odd tensors, arrays and tables: computed with rightly, or refused with a way out that works."""

from decimal import Decimal

import numpy as np
import pytest
import torch

import rerank
from rerank import RerankError
from rerank.core.arrays import as_matrix
from rerank.core.handed import array_conversion, numbers_of, readable, table_conversion

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 8)).astype(np.float32)
V = RNG.normal(size=(12, 8)).astype(np.float32)
S = X @ V.T

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Own(torch.Tensor):
    """A subclass that computes as its parent does."""


class Foreign:
    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x if dtype is None else self.x.astype(dtype)


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("out\nof order")


def tensor(x):
    return torch.from_numpy(x.copy())


def freed(x):
    made = tensor(x).clone()
    made.untyped_storage().resize_(0)
    return made


def imaginary(x):
    return torch.complex(tensor(x), tensor(-x)).conj().imag


def quantised(x):
    return torch.quantize_per_tensor(tensor(x), 0.05, 0, torch.qint8)


def masked(x):
    from torch.masked import masked_tensor

    return masked_tensor(tensor(x), tensor(x < 1))


def fake(x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.empty(x.shape)


def unknown(x):
    return torch.nn.UninitializedParameter()


def structured(x):
    made = np.zeros(len(x), dtype=[(f"c{i}", "f4") for i in range(x.shape[1])])
    for i in range(x.shape[1]):
        made[f"c{i}"] = x[:, i]
    return made


SAME = {
    "gradient": lambda x: tensor(x).requires_grad_(),
    "computed": lambda x: tensor(x).requires_grad_() * 1,
    "parameter": lambda x: torch.nn.Parameter(tensor(x)),
    "subclass": lambda x: tensor(x).as_subclass(Own),
    "subclass with gradient": lambda x: tensor(x).requires_grad_().as_subclass(Own),
    "negative view": lambda x: torch._neg_view(tensor(-x)),
    "imaginary part": imaginary,
    "nested of one length": lambda x: torch.nested.nested_tensor(list(tensor(x))),
    "inference": lambda x: torch.inference_mode()(tensor)(x),
    "list of tensors": lambda x: list(tensor(x)),
    "list with gradients": lambda x: [row.requires_grad_() for row in tensor(x).clone()],
    "list of negative views": lambda x: [torch._neg_view(row) for row in tensor(-x)],
    "list of subclasses": lambda x: list(tensor(x).as_subclass(Own)),
    "big-endian": lambda x: x.astype(">f4"),
    "negative strides": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "longdouble": lambda x: x.astype(np.longdouble),
    "memory": memoryview,
    "another library": Foreign,
}


@pytest.mark.parametrize("kind", SAME)
def test_computed_as_plain_arrays_are(kind):
    make = SAME[kind]
    expected = rerank.apply(X, V).t2v.scores
    for sides in ((make(X), V), (X, make(V))):
        np.testing.assert_allclose(rerank.apply(*sides).t2v.scores, expected, atol=1e-5)
    found = rerank.rerank(make(S))
    found = found.numpy() if isinstance(found, torch.Tensor) else found
    np.testing.assert_allclose(np.asarray(found, np.float64), rerank.rerank(S), atol=1e-4)
    by_scores = rerank.apply(scores=make(S)).t2v.scores
    np.testing.assert_allclose(by_scores, rerank.apply(scores=S).t2v.scores, atol=1e-4)


# What is refused, and its way out, as printed, with x for what was given.
REFUSED = {
    "float8": (lambda x: tensor(x).to(torch.float8_e4m3fn), "x.float()"),
    "float8, unsigned": (lambda x: tensor(x).to(torch.float8_e5m2), "x.float()"),
    "quantised": (quantised, "x.dequantize()"),
    "coo": (lambda x: tensor(x).to_sparse(), "x.to_dense()"),
    "csr": (lambda x: tensor(x).to_sparse_csr(), "x.to_dense()"),
    "mkldnn": (lambda x: tensor(x).to_mkldnn(), "x.to_dense()"),
    "sparse float8": (
        lambda x: tensor(x).to_sparse().to(torch.float8_e4m3fn),
        "x.float().to_dense()",
    ),
    "masked tensor": (masked, "x.to_tensor("),
    "meta": (lambda x: torch.empty(x.shape, device="meta"), ""),
    "fake": (fake, ""),
    "freed": (freed, ""),
    "uninitialised": (unknown, ""),
    "packed": (lambda x: torch.zeros(12, 12, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), ""),
    "complex": (lambda x: torch.complex(tensor(x), tensor(x)), ""),
    "booleans": (lambda x: tensor(x) > 0, ""),
    "bytes": (lambda x: tensor(x).to(torch.int8), ""),
    "no axis": (lambda x: torch.tensor(1.0), ""),
    "list of float8": (lambda x: list(tensor(x).to(torch.float8_e4m3fn)), ""),
    "list of meta": (lambda x: list(torch.empty(x.shape, device="meta")), ""),
    "list of complex": (lambda x: [torch.complex(row, row) for row in tensor(x)], ""),
    "list of quantised": (lambda x: [quantised(row) for row in x], ""),
    "list of sparse": (lambda x: [row.to_sparse() for row in tensor(x)], ""),
    "structured": (structured, "np.stack([x[name] for name in x.dtype.names], axis=-1)"),
    "dates": (lambda x: np.full(x.shape, np.datetime64("2020-01-01")), ""),
    "objects": (lambda x: x.astype(object), "x.astype('float32')"),
    "texts": (lambda x: x.astype(str), "x.astype('float32')"),
    "huge numbers": (lambda x: [[10**400, 1], [1, 2]], ""),
    "broken": (lambda x: Broken(), ""),
}
DOORS = {
    "texts": lambda make: rerank.apply(make(X), V),
    "videos": lambda make: rerank.apply(X, make(V)),
    "rerank": lambda make: rerank.rerank(make(S)),
    "scores": lambda make: rerank.apply(scores=make(S)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_with_a_way_out_that_works(kind, door):
    make, way = REFUSED[kind]
    if kind == "list of float8" and door in ("rerank", "scores"):
        return  # lists of scores are meant as numbers
    with pytest.raises(RerankError) as caught:
        DOORS[door](make)
    said = str(caught.value)
    assert "\n" not in said and "not both and not neither" not in said
    if not way or (way.startswith("x.astype") and "astype" not in said):
        return
    code = next(part for part in (way, way.removeprefix("x")) if part in said)
    code = f"x{code}" if code.startswith(".") else code
    if code.endswith("("):
        code = said[said.index(code) :]
    DOORS[door](lambda x: eval(code, {"x": make(x), "np": np, "torch": torch}))


@pytest.mark.parametrize(
    ("rows", "scores", "way"),
    [
        ([[3], [4]], True, "torch.nested.to_padded_tensor(x, float('-inf'))"),
        ([[3, 5], [4, 5]], False, "torch.nested.to_padded_tensor(x, 0.0)"),
        ([[3], [4]], False, "a dense tensor"),
    ],
)
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_filled_where_that_means_something(rows, scores, way, layout):
    x = torch.nested.nested_tensor([torch.ones(shape) for shape in rows], layout=layout)
    with pytest.raises(RerankError, match="row 1 has shape") as caught:
        readable(x, "them", scores=scores)
    assert str(caught.value).endswith(f"give {way}")
    if "torch" in way:
        made = eval(way, {"x": x, "torch": torch})
        assert readable(made, "them").shape[:2] == (2, 4)


def test_what_is_plain_is_handed_on_as_it_is():
    x = tensor(X)
    assert readable(x, "texts") is x
    assert as_matrix(x, "texts").data_ptr() == x.data_ptr()


def test_tensors_inside_a_map_are_refused():
    def door(row):
        with pytest.raises(RerankError, match=r"outside of torch\.func"):
            readable(row, "texts")
        return row

    torch.func.vmap(door)(tensor(X))


ITEMS = {
    "gradient": lambda x: tensor(x).requires_grad_(),
    "negative view": lambda x: torch._neg_view(tensor(-x)),
    "bfloat16": lambda x: tensor(x).bfloat16(),
    "subclass": lambda x: tensor(x).requires_grad_().as_subclass(Own),
    "decimals": lambda x: [Decimal(float(part)) for part in x],
    "big-endian": lambda x: x.astype(">f4"),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_numbers_of_items_are_read_from_anything(kind):
    weights = np.arange(1, 13, dtype=np.float32)
    np.testing.assert_array_equal(numbers_of(ITEMS[kind](weights), "bias"), weights)
    found = rerank.rerank(S, query_mass=ITEMS[kind](weights))
    np.testing.assert_allclose(found, rerank.rerank(S, query_mass=weights), atol=1e-6)
    run = rerank.apply(X, V, bias=ITEMS[kind](weights))
    np.testing.assert_allclose(run.t2v.scores, rerank.apply(X, V, bias=weights).t2v.scores)


@pytest.mark.parametrize("make", [freed, quantised, masked, fake, unknown])
def test_odd_tensors_are_refused_at_every_door(make):
    """Some may be the right answers, weights or ids; a freed one read there ends the program."""
    odd = make(X[:, 0])
    for door in (
        lambda: rerank.evaluate(S, odd),
        lambda: rerank.rerank(S, query_mass=odd),
        lambda: rerank.apply(X, V, bias=odd),
        lambda: rerank.as_embeddings(X, ids=odd),
        lambda: rerank.fit(make(X[0]), bank_texts=make(X[0])),
        lambda: rerank.as_embeddings(X, ids=torch.tensor(1)),
        lambda: rerank.evaluate(S, torch.tensor(1)),
    ):
        with pytest.raises(RerankError):
            door()


def test_right_answers_and_ids_may_be_tensors():
    rows = torch.arange(12)
    assert rerank.evaluate(S, rows) == rerank.evaluate(S, rows.numpy())
    for ids in (rows, rows.numpy()):
        assert rerank.as_embeddings(X, ids=ids).ids == tuple(map(str, range(12)))


def test_tables_are_refused_in_their_own_words():
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame((X * 9).astype(int)).astype("Int64")
    with pytest.raises(RerankError, match=r"give x\.astype\('float32'\)"):
        rerank.rerank(x)
    rerank.rerank(x.astype("float32"))
    assert table_conversion(pandas.Series(list(X))) == "np.stack(x)"
    assert not table_conversion(pandas.DataFrame({"a": pandas.date_range("2020", periods=3)}))
    assert not table_conversion(pandas.DataFrame({"a": ["one", "two"]}))
    assert array_conversion(np.array([[1, 2], [3]], dtype=object)) == ""


def test_columns_of_one_name_are_not_taken_for_each_other():
    pandas = pytest.importorskip("pandas")
    for names in (["f0", "f1", "f0"], [0, 1, "0"], ["id", "f0", "id"]):
        with pytest.raises(RerankError, match="two columns called"):
            rerank.as_embeddings(pandas.DataFrame(X[:, :3], columns=names))


def test_a_column_of_tensors_holds_vectors():
    pandas = pytest.importorskip("pandas")
    rows = list(tensor(X).requires_grad_().clone())
    found = rerank.as_embeddings(pandas.DataFrame({"id": list("abcdefghijkl"), "e": rows}))
    np.testing.assert_array_equal(found.vectors, X)
    frame = pandas.DataFrame({"id": ["a"], "e": [torch.ones(3).to(torch.float8_e4m3fn)]})
    with pytest.raises(RerankError, match=r"row 0: got torch\.float8_e4m3fn.*\.float\(\)"):
        rerank.as_embeddings(frame)


@pytest.mark.parametrize("rows", [list, tuple])
def test_masks_of_rows_in_a_list_are_seen_as_those_of_one_array_are(rows):
    """What lies below a mask is no number, and what is printed fills it."""
    mask = RNG.random(S.shape) < 0.1
    held = rows(np.ma.array(x, mask=m) for x, m in zip(S, mask, strict=True))
    with pytest.raises(RerankError, match="scores: .*masked values; fill them") as caught:
        rerank.rerank(held)
    way = str(caught.value).partition("fill them: ")[2]
    filled = eval(way, {"numpy": np, "np": np, "x": held})
    np.testing.assert_array_equal(filled == -np.inf, mask)
    masked = [np.ma.array(x, mask=x > 0.5) for x in X]
    for texts in (rows(masked), dict(enumerate(masked))):
        with pytest.raises(RerankError, match="texts: row 0: got a masked array"):
            rerank.apply(texts, V)
    rerank.apply(rows(np.ma.array(x) for x in X), V)
    as_matrix(rows(np.ma.array(x) for x in S), "scores")


@pytest.mark.parametrize("kind", ["Float32", "Float64", "float[pyarrow]", "double[pyarrow]"])
def test_frames_of_pandas_that_could_miss_numbers_and_miss_none_are_read(kind):
    pandas = pytest.importorskip("pandas")
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(S.astype("f8")).astype(kind)
    want = rerank.rerank(S if kind in ("Float32", "float[pyarrow]") else S.astype("f8"))
    np.testing.assert_allclose(rerank.rerank(frame).to_numpy(), want, rtol=1e-5)
    mixed = frame.copy()
    mixed[0] = mixed[0].astype("f4")
    assert as_matrix(mixed, "scores").shape == S.shape
    frame.iloc[0, 0] = pandas.NA
    with pytest.raises(RerankError, match="of dtype object"):
        rerank.rerank(frame)
