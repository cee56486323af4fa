"""INT8 codes and products: by hand, and bit for bit with bitsandbytes."""

import pytest
import torch
from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_cases import each_dtype, each_threshold, inputs, silent_library

from qlearn.numerics import int8
from qlearn.numerics.affine import quantize
from qlearn.numerics.int8 import (
    MOST_FEATURES,
    PART,
    absmax_int8,
    dequantize_product,
    dequantize_rows,
    int8_product,
    plain_product,
    to_codes,
)
from qlearn.numerics.outliers import decompose, llm_int8
from qlearn.numerics.scheme import QuantScheme


@pytest.fixture(autouse=True)
def quiet():
    with silent_library():
        yield


def test_by_hand():
    # absmax 2 and 4: 127/2 = 63.5 steps a unit, and 31.75.
    x = torch.tensor([[2.0, -1.0, 0.25], [0.0, 4.0, -3.0]])
    codes, absmax = absmax_int8(x)
    assert codes.tolist() == [[127, -64, 16], [0, 127, -95]]  # 63.5 -> 64 and 15.875 -> 16
    assert absmax.tolist() == [2.0, 4.0]
    w = torch.tensor([[1.0, 1.0, -1.0]])
    weight, top = absmax_int8(w)
    product = int8_product(codes, weight)
    assert product.tolist() == [[127 * (127 - 64 - 16)], [127 * (127 + 95)]]
    expected = torch.tensor([[47 / 127 * 2], [222 / 127 * 4]])
    assert torch.allclose(dequantize_product(product, absmax, top), expected)
    assert absmax_int8(x, "tensor")[0].tolist() == [[64, -32, 8], [0, 127, -95]]
    assert to_codes(x, torch.tensor([1.0])).tolist() == [[127, -127, 32], [0, 127, -127]]


@each_dtype
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (9, 37), (64, 576)])
def test_codes_and_absmax_equal_bitsandbytes(dtype, shape):
    x = inputs(*shape).to(dtype) if shape[1] > 3 else torch.tensor([[-0.3]], dtype=dtype)
    codes, absmax = absmax_int8(x)
    theirs, stats, _ = int8_vectorwise_quant(x.to(torch.float16))
    assert torch.equal(codes, theirs)
    assert torch.equal(absmax, stats)
    values = dequantize_rows(codes, absmax)
    assert torch.allclose(values, int8_vectorwise_dequant(theirs, stats), rtol=1e-6, atol=0)
    assert ((values - x.half().float()).abs() <= absmax[:, None] / 254 * (1 + 1e-5)).all()


@each_dtype
@each_threshold
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_decomposition_equals_bitsandbytes(dtype, threshold, rows):
    x = inputs(rows).to(dtype)
    parts = decompose(x, threshold)
    theirs, stats, columns = int8_vectorwise_quant(x.to(torch.float16), threshold=threshold)
    assert torch.equal(parts.codes, theirs)
    assert torch.equal(parts.absmax, stats)
    assert parts.columns.tolist() == ([] if columns is None else columns.tolist())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 6),
    width=st.integers(1, 20),
    exponent=st.integers(-12, 10),
    threshold=st.sampled_from([0.0, 0.5, 6.0, 100.0]),
    seed=st.integers(0, 10**6),
)
def test_decomposition_equals_bitsandbytes_everywhere(rows, width, exponent, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator) * 2.0**exponent
    x[torch.rand(rows, width, generator=generator) < 0.1] *= 20
    x[torch.rand(rows, width, generator=generator) < 0.1] = 0
    half = x.to(torch.float16)
    parts = decompose(half, threshold)
    theirs, stats, columns = int8_vectorwise_quant(half.clone(), threshold=threshold)
    assert torch.equal(parts.codes, theirs) and torch.equal(parts.absmax, stats)
    assert parts.columns.tolist() == ([] if columns is None else columns.tolist())


def test_rounding_each_row_is_the_restricted_symmetric_grid():
    x = inputs().half().float()
    x = x[x.abs().amax(1) > 0]
    codes, absmax = absmax_int8(x)
    grid = quantize(x, QuantScheme(8, True, None, "restricted"))
    assert torch.equal(absmax[:, None] / 127, grid.scale)
    # The library multiplies by 127 / absmax where the grid divides by absmax / 127.
    off = (codes.int() - (grid.codes.int() - 128)).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 0.01


@pytest.mark.parametrize(
    ("rows", "features", "outputs"),
    [
        *((1, 1, 1), (3, 7, 5), (16, 8, 8), (17, 33, 9), (64, 576, 192)),
        *((5, PART, 4), (5, PART + 1, 4), (2, MOST_FEATURES, 3)),
    ],
)
@pytest.mark.parametrize("instructions", [True, False])
def test_products_of_integers_are_exact(rows, features, outputs, instructions, monkeypatch):
    monkeypatch.setattr(int8, "has_int8_instructions", lambda: instructions)
    generator = torch.Generator().manual_seed(rows)
    a = torch.randint(-128, 128, (rows, features), generator=generator, dtype=torch.int8)
    b = torch.randint(-128, 128, (outputs, features), generator=generator, dtype=torch.int8)
    if features in (PART, MOST_FEATURES):  # the largest sums that there are
        a, b = torch.full_like(a, -128), torch.full_like(b, -128)
    expected = a.long() @ b.long().T
    found = int8_product(a, b)
    assert found.dtype == torch.int32 and torch.equal(found.long(), expected)
    assert torch.equal(plain_product(a, b), found)
    every_second = torch.empty(rows, 2 * features, dtype=torch.int8)
    every_second[:, ::2] = a
    assert torch.equal(int8_product(every_second[:, ::2], b), found)


def test_no_rows_give_no_rows():
    empty = torch.empty(0, 8, dtype=torch.int8)
    assert int8_product(empty, torch.ones(3, 8, dtype=torch.int8)).shape == (0, 3)


X, CODES, ABSMAX = inputs(), *absmax_int8(inputs(5, 37, seed=4))
BAD = {
    "vector": (lambda: absmax_int8(X[0]), r"x is torch.float32 of shape \(37,\)"),
    "integers": (lambda: absmax_int8(X.int()), "x is torch.int32"),
    "no tensor": (lambda: absmax_int8([[1.0]]), "x is list; pass floats"),
    "empty": (lambda: absmax_int8(X[:0]), r"shape \(0, 37\) holds no values"),
    "no columns": (lambda: absmax_int8(X[:, :0]), "holds no values"),
    "NaN": (lambda: absmax_int8(X * torch.nan), "x holds 333 NaN or infinite values"),
    "infinite": (lambda: decompose(X / 0), "NaN or infinite values, for which there is no scale"),
    "infinite outlier": (
        lambda: llm_int8(X.masked_fill(X > 20, torch.inf), CODES, ABSMAX),
        "NaN or infinite values",
    ),
    "per": (lambda: absmax_int8(X, "column"), "per='column' is not known"),
    "threshold": (lambda: decompose(X, -1), "threshold=-1 is not a magnitude"),
    "NaN threshold": (lambda: decompose(X, torch.nan), "threshold=nan is not a magnitude"),
    "bool": (lambda: decompose(X, True), "threshold=True is not a magnitude"),
    "floats": (lambda: int8_product(X, CODES), "a has dtype torch.float32"),
    "unsigned": (lambda: int8_product(CODES, CODES.byte()), "b has dtype torch.uint8"),
    "widths": (lambda: int8_product(CODES, CODES[:, 1:]), "a has 37 features, b 36"),
    "overflow": (
        lambda: int8_product(*[torch.zeros(1, MOST_FEATURES + 1, dtype=torch.int8)] * 2),
        "may overflow 32 bits",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
