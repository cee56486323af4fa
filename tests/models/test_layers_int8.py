"""Int8Linear: integers really multiplied, what it stores, and bad input."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from qlearn.models.layers.int8 import Int8Linear
from qlearn.numerics import int8
from qlearn.numerics.int8 import (
    absmax_int8,
    dequantize_product,
    dequantize_rows,
    plain_product,
    to_codes,
)
from qlearn.numerics.outliers import llm_int8

FIXED = torch.tensor(3.0)
KINDS = {
    "token": {},
    "tensor": {"activations": "tensor"},
    "static": {"activations": "static", "input_absmax": FIXED},
    "outliers": {"threshold": 2.5},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def seeded_linear(inputs: int = 96, outputs: int = 40, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(inputs, outputs, bias)


def some_inputs() -> torch.Tensor:
    x = torch.randn(3, 5, 96, generator=torch.Generator().manual_seed(0))
    x[..., 7] *= 6
    x[1, 2] = 0
    return x


@each_kind
def test_the_product_is_that_of_the_plain_path(kind, monkeypatch):
    linear = seeded_linear()
    layer, x = Int8Linear.from_linear(linear, **KINDS[kind]), some_inputs()
    codes, absmax = absmax_int8(linear.weight)
    assert torch.equal(layer.codes, codes) and torch.equal(layer.absmax, absmax)
    rows = x.flatten(0, 1)
    if kind == "outliers":
        expected = llm_int8(rows, codes, absmax, 2.5)
    else:
        if kind == "static":
            inner, top = to_codes(rows.half(), FIXED[None]), FIXED[None]
        else:
            inner, top = absmax_int8(rows, "row" if kind == "token" else "tensor")
        expected = dequantize_product(plain_product(inner, codes), top, absmax)
    assert torch.equal(layer(x), (expected + linear.bias).view(3, 5, 40))
    calls = []
    monkeypatch.setattr(int8, "_takes", lambda a, b: calls.append(a) or False)
    assert torch.equal(layer(x), (expected + linear.bias).view(3, 5, 40))
    assert len(calls) == 1 and calls[0].dtype == torch.int8
    # Near the floats, by the steps of the grids: half a code of 127 in either factor.
    exact = linear(x)
    if kind != "static":
        assert (layer(x) - exact).abs().max() < 0.05 * exact.abs().max()


def test_fixed_grids_clip():
    linear = seeded_linear(bias=False)
    layer = Int8Linear.from_linear(linear, activations="static", input_absmax=FIXED)
    x = torch.full((1, 96), 30.0)
    assert torch.allclose(layer(x), layer(torch.full((1, 96), 3.0)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@each_kind
def test_output_has_the_inputs_dtype(dtype, kind):
    layer = Int8Linear.from_linear(seeded_linear(), **KINDS[kind])
    x = some_inputs().half().to(dtype)  # values that all but bfloat16 hold
    y = layer(x)
    assert y.dtype == dtype and y.shape == (3, 5, 40)
    wide = layer(x.float())
    assert (y.float() - wide).abs().max() <= 4 * torch.finfo(dtype).eps * wide.abs().max() + 1e-6


@each_kind
def test_stored_bytes_and_dequantized_weight(kind):
    linear = seeded_linear()
    layer = Int8Linear.from_linear(linear, **KINDS[kind])
    buffers = {name: b.numel() * b.element_size() for name, b in layer.named_buffers()}
    assert layer.nbytes == sum(buffers.values()) == 40 * 96 + 40 * 4 + 4 * (kind == "static")
    assert layer.bits_per_weight == pytest.approx(8 + 32 / 96 + 32 * (kind == "static") / 3840)
    weight = dequantize_rows(*absmax_int8(linear.weight))
    assert torch.equal(layer.dequantize(), weight)
    assert torch.equal(
        torch.cat([w.clone() for _, w in layer.weight_chunks(torch.float32)]), weight
    )


@each_kind
def test_gradients_flow_as_through_the_dequantized_weight(kind):
    layer = Int8Linear.from_linear(seeded_linear(), **KINDS[kind])
    x = some_inputs().requires_grad_()
    layer(x).sum().backward()
    ours, bias = x.grad.clone(), layer.bias.grad.clone()
    expected = layer.dequantize().sum(0).expand(3, 5, 96)
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(bias, torch.full((40,), 15.0))


@each_kind
def test_state_dicts_copies_and_dtypes_keep_every_bit(kind):
    source = Int8Linear.from_linear(seeded_linear(), **KINDS[kind])
    other = dict(KINDS[kind])
    if kind == "static":
        other["input_absmax"] = torch.tensor(9.0)
    with torch.random.fork_rng():
        target = Int8Linear.from_linear(nn.Linear(96, 40), **other)
    x = some_inputs()
    assert not torch.equal(target(x), source(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target(x), source(x))
    assert torch.equal(copy.deepcopy(source)(x), source(x))
    expected = source(x)
    half = copy.deepcopy(source).to(torch.bfloat16)
    assert half.absmax.dtype == torch.float32 and torch.equal(half.absmax, source.absmax)
    assert half.dequantize().dtype == torch.bfloat16 and half.bias.dtype == torch.bfloat16
    assert (half(x) - expected).abs().max() < 0.01  # the bias alone lost bits


def test_odd_shapes_and_no_inputs():
    layer = Int8Linear.from_linear(seeded_linear(37, 5))
    assert layer(torch.randn(37)).shape == (5,)
    assert layer(torch.empty(0, 37)).shape == (0, 5)
    conv = Conv1D(24, 64)
    turned, x = Int8Linear.from_linear(conv), torch.randn(7, 64)
    assert (turned(x) - conv(x)).abs().max() < 0.05 * conv(x).abs().max()


def test_repr_says_what_it_holds():
    text = repr(Int8Linear.from_linear(seeded_linear(), threshold=6.0))
    assert "in_features=96, out_features=40, bias=True, W8A8 token, threshold=6" in text


CODES, ABSMAX = absmax_int8(torch.randn(4, 6))
BAD_LAYERS = {
    "codes": (lambda: Int8Linear(CODES.int(), ABSMAX), "codes are torch.int32"),
    "absmax": (lambda: Int8Linear(CODES, ABSMAX[1:]), r"absmax of shape \(3,\)"),
    "bias": (lambda: Int8Linear(CODES, ABSMAX, torch.ones(3)), r"bias has shape \(3,\)"),
    "no grid": (
        lambda: Int8Linear(CODES, ABSMAX, activations="static"),
        "input_absmax=None does not go with activations='static'",
    ),
    "a grid too many": (
        lambda: Int8Linear(CODES, ABSMAX, input_absmax=FIXED),
        "does not go with activations='token'",
    ),
    "module": (lambda: Int8Linear.from_linear(nn.LayerNorm(8)), "is not a linear layer"),
    "NaN weight": (
        lambda: Int8Linear.from_linear(spoiled(torch.nan)),
        "holds 1 NaN or infinite values",
    ),
    "NaN input": (
        lambda: Int8Linear(CODES, ABSMAX)(torch.full((2, 6), torch.nan)),
        "x holds 12 NaN or infinite",
    ),
    "NaN input, fixed grid": (
        lambda: Int8Linear(CODES, ABSMAX, activations="static", input_absmax=FIXED)(
            torch.full((2, 6), torch.nan)
        ),
        "input holds 12 NaN or infinite",
    ),
    "width": (lambda: Int8Linear(CODES, ABSMAX)(torch.ones(2, 5)), r"pass \[..., 6\]"),
    "integer input": (
        lambda: Int8Linear(CODES, ABSMAX)(torch.ones(2, 6, dtype=torch.int64)),
        "x is torch.int64",
    ),
}


def spoiled(value: float) -> nn.Linear:
    linear = seeded_linear()
    linear.weight.data[0, 0] = value
    return linear


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_bad_layers(case):
    make, message = BAD_LAYERS[case]
    with pytest.raises(ValueError, match=message):
        make()
