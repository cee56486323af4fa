"""INT8 products and LLM.int8(): by hand, naively in float64, and bit for bit with bitsandbytes."""

import logging
import warnings

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qlearn.affine import quantize
from qlearn.int8 import (
    MOST_FEATURES,
    absmax_int8,
    dequantize_product,
    dequantize_rows,
    int8_product,
    plain_product,
    to_codes,
)
from qlearn.outliers import decompose, llm_int8, outlier_columns
from qlearn.scheme import QuantScheme

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_threshold = pytest.mark.parametrize("threshold", [0.0, 2.5, 6.0])


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def inputs(rows: int = 9, width: int = 37, seed: int = 0, loud: int = 3) -> torch.Tensor:
    """Floats with a loud column, a lone outlier and a row of zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator)
    x[:, loud] *= 15
    x[-1, -1] = -40.0
    x[rows // 2] = 0
    return x


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
    [(1, 1, 1), (3, 7, 5), (16, 8, 8), (17, 33, 9), (64, 576, 192), (2, MOST_FEATURES, 3)],
)
def test_products_of_integers_are_exact(rows, features, outputs):
    generator = torch.Generator().manual_seed(rows)
    a = torch.randint(-128, 128, (rows, features), generator=generator, dtype=torch.int8)
    b = torch.randint(-128, 128, (outputs, features), generator=generator, dtype=torch.int8)
    if features == MOST_FEATURES:
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


def naive(x: torch.Tensor, weight: torch.Tensor, threshold: float) -> torch.Tensor:
    """LLM.int8() from its description, an element at a time, in float64."""
    x, weight = x.half().double(), weight.half().double()
    rows, outputs = len(x), len(weight)
    columns = range(x.shape[1])
    out = [k for k in columns if threshold and any(abs(x[:, k]) >= threshold)]
    result = torch.zeros(rows, outputs, dtype=torch.float64)
    for j in range(outputs):
        top = weight[j].abs().max()
        codes = [round(float(weight[j, k] * 127 / top)) if top else 0 for k in columns]
        for i in range(rows):
            small = [abs(v) for v in x[i].tolist() if not threshold or abs(v) < threshold]
            most = max(small, default=0.0)
            for k in columns:
                if k in out:
                    result[i, j] += x[i, k] * codes[k] * top / 127
                elif most:
                    result[i, j] += (
                        round(float(x[i, k]) * 127 / most) * codes[k] * most * top / 127**2
                    )
    return result


@each_threshold
def test_llm_int8_equals_the_naive_sum(threshold):
    x, weight = inputs(7, 11).half(), inputs(5, 11, seed=1).half()
    codes, absmax = absmax_int8(weight)
    found = llm_int8(x.double(), codes, absmax, threshold)
    expected = naive(x, weight, threshold)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def library_layer(linear: nn.Linear, threshold: float) -> nn.Module:
    layer = bitsandbytes.nn.Linear8bitLt(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        has_fp16_weights=False,
        threshold=threshold,
    )
    layer.load_state_dict(linear.state_dict())
    return layer.to("cpu").eval()  # .to() is what quantizes


@each_dtype
@each_threshold
@pytest.mark.parametrize("bias", [False, True])
def test_llm_int8_equals_the_librarys_layer(dtype, threshold, bias):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        linear = nn.Linear(37, 24, bias).to(dtype)
    x = inputs().to(dtype)
    codes, absmax = absmax_int8(linear.weight)
    with torch.no_grad():
        layer = library_layer(linear, threshold)
        theirs = layer(x)
        found = llm_int8(x, codes, absmax, threshold, linear.bias)
    assert torch.equal(codes, layer.state.CB) and torch.equal(absmax, layer.state.SCB)
    assert found.dtype == theirs.dtype == dtype
    # What is left: their CPU code multiplies by 6.200124e-05, which is 1/127^2 times 1.000018, and
    # the result is rounded to the dtype twice where outliers are added.
    bound = 2e-5 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    assert (found - theirs).abs().max() <= bound * theirs.abs().max()


def test_the_librarys_constant_is_off_by_18_in_a_million():
    product = torch.tensor([[127 * 127]], dtype=torch.int32)
    one = torch.ones(1)
    theirs = torch.ops.bitsandbytes.int8_mm_dequant(product, one, one, dtype=torch.float32)
    assert dequantize_product(product, one, one).item() == pytest.approx(1, rel=1e-7)
    assert theirs.item() == pytest.approx(1.000018, abs=5e-7)


def test_the_librarys_layer_rounds_no_inputs_while_training():
    linear = nn.Linear(37, 24, bias=False)
    layer, x = library_layer(linear, 0.0), inputs()
    codes, absmax = absmax_int8(linear.weight)
    with torch.no_grad():
        rounded = llm_int8(x, codes, absmax, 0)
        assert (layer(x) - rounded).abs().max() <= 2e-5 * rounded.abs().max()
        floats = x @ dequantize_rows(codes, absmax).T
        assert (layer.train()(x) - floats).abs().max() <= 1e-5 * floats.abs().max()
    assert (rounded - floats).abs().max() > 1e-3 * floats.abs().max()


def test_where_float16_overflows():
    linear = nn.Linear(37, 24, bias=False)
    x = inputs()
    x[2] *= 1e5
    codes, absmax = absmax_int8(linear.weight)
    with torch.no_grad():
        assert library_layer(linear, 0.0)(x)[2].isnan().all()
        expected = x @ linear.weight.T
        for threshold in (0.0, 6.0):
            found = llm_int8(x, codes, absmax, threshold)
            assert (found - expected).abs().amax(1)[2] < 0.03 * expected[2].abs().max()


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_every_column_an_outlier_and_none(threshold):
    weight = inputs(5, 16, seed=2)
    codes, absmax = absmax_int8(weight)
    values = dequantize_rows(codes, absmax)
    loud = torch.full((3, 16), 7.0) + torch.arange(16)
    parts = decompose(loud, 6.0)
    assert parts.columns.tolist() == list(range(16)) and not parts.codes.any()
    assert parts.absmax.tolist() == [0.0] * 3
    assert torch.allclose(llm_int8(loud, codes, absmax, 6.0), loud @ values.T, rtol=1e-5)
    quiet = torch.rand(3, 16)
    assert outlier_columns(quiet, threshold).tolist() == []
    assert torch.equal(llm_int8(quiet, codes, absmax, threshold), llm_int8(quiet, codes, absmax, 0))
    assert not llm_int8(torch.zeros(2, 16), codes, absmax, threshold).any()


def test_taking_outliers_out_helps_the_others():
    x, weight = inputs(64, 64), torch.randn(32, 64, generator=torch.Generator().manual_seed(3))
    codes, absmax = absmax_int8(weight)
    exact = x @ weight.T
    errors = [(llm_int8(x, codes, absmax, t) - exact).square().mean() for t in (0.0, 6.0)]
    assert errors[1] < 0.3 * errors[0]


def test_a_tokens_result_depends_on_the_tokens_beside_it():
    x, weight = torch.rand(2, 8), torch.rand(3, 8)
    codes, absmax = absmax_int8(weight)
    alone = llm_int8(x[:1], codes, absmax, 6.0)
    x[1, 0] = 9.0  # now column 0 is taken out of the first row too
    assert not torch.equal(llm_int8(x, codes, absmax, 6.0)[:1], alone)


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
