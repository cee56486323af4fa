"""LLM.int8(): naively in float64, and beside bitsandbytes' layer."""

import bitsandbytes
import pytest
import torch
from int8_cases import each_dtype, each_threshold, inputs, silent_library
from torch import nn

from qlearn.numerics.int8 import absmax_int8, dequantize_product, dequantize_rows
from qlearn.numerics.outliers import decompose, llm_int8, outlier_columns


@pytest.fixture(autouse=True)
def quiet():
    with silent_library():
        yield


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


@pytest.fixture(autouse=True)
def seeded():
    """Layers begin with the same weights, whatever ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


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
