"""QuantizedLinear: the stored bytes, the arithmetic, gradients, state dicts, dtypes."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from qlearn.models.layers.affine import QuantizedLinear
from qlearn.numerics.affine import QuantizedTensor, fake_quantize, quantize
from qlearn.numerics.packing import unpack
from qlearn.numerics.scheme import QuantScheme

SCHEMES = [
    QuantScheme(bits, symmetric, group)
    for bits in (2, 3, 4, 5, 8)
    for symmetric in (False, True)
    for group in (32, None, "tensor")
] + [QuantScheme(4, False, 32, "raw-range"), QuantScheme(8, True, None, "restricted")]


def seeded_linear(inputs: int = 96, outputs: int = 40, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(inputs, outputs, bias)


def by_hand(layer: QuantizedLinear) -> torch.Tensor:
    """The weight from the stored buffers, in float64 and with no shortcut."""
    scheme = layer.scheme
    codes = unpack(layer.codes, scheme.bits, layer.in_features).double()
    rows, groups = layer.scale.shape
    if layer.zero_point is None:
        zero_point = torch.full((rows, groups), scheme.levels / 2, dtype=torch.float64)
    else:
        zero_point = unpack(layer.zero_point, scheme.bits, groups).double()
    size = codes.numel() // (rows * groups)
    grid = codes.reshape(rows, groups, size)
    values = (grid - zero_point[..., None]) * layer.scale.double()[..., None]
    return values.reshape(codes.shape)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_values_bytes_and_product(scheme):
    linear = seeded_linear()
    layer = QuantizedLinear.from_linear(linear, scheme)
    weight = by_hand(layer)
    # float16 scales have 11 bits, codes 8: their product is exact in float32.
    assert torch.equal(layer.dequantize().double(), weight)
    # They move a value by 2**-11 of itself at the most from what float32 scales would give.
    exact = fake_quantize(linear.weight, scheme)
    assert ((layer.dequantize() - exact).abs() <= exact.abs() * 2**-11 + 1e-9).all()
    assert layer.nbytes * 8 == scheme.stored_bits((40, 96))
    assert layer.bits_per_weight == scheme.bits_per_weight((40, 96))
    buffers = {name: b.numel() * b.element_size() for name, b in layer.named_buffers()}
    assert sum(buffers.values()) == layer.nbytes
    assert ("zero_point" in buffers) != scheme.symmetric
    x = torch.randn(3, 5, 96, generator=torch.Generator().manual_seed(0))
    expected = x.double() @ weight.T + linear.bias.double()
    assert (layer(x).double() - expected).abs().max() < 1e-5
    assert layer(x).shape == (3, 5, 40)


def test_conv1d_is_a_linear_layer_turned_over():
    conv = Conv1D(24, 64)
    layer = QuantizedLinear.from_linear(conv, QuantScheme(8, False, 32))
    assert (layer.out_features, layer.in_features) == (24, 64)
    x = torch.randn(7, 64)
    assert (layer(x) - conv(x)).abs().max() < 0.01 * conv(x).abs().max()
    assert layer.bias is conv.bias


def test_rows_in_chunks_give_what_one_product_gives(monkeypatch):
    layer = QuantizedLinear.from_linear(seeded_linear(), QuantScheme(3, False, 32))
    x = torch.randn(4, 96)
    whole, weight = layer(x), layer.dequantize()
    monkeypatch.setattr(
        "qlearn.models.layers.base._PRODUCT_CHUNK", 96 * 7
    )  # 40 rows: five chunks of 7, one of 5
    monkeypatch.setattr("qlearn.models.layers.base._CHUNK", 96 * 3)
    assert len(list(layer.weight_chunks(torch.float32))) == 6
    assert torch.equal(layer.dequantize(), weight)
    assert (layer(x) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("chunk", [1 << 20, 96 * 7])
def test_gradients_equal_those_of_the_dequantized_layer(monkeypatch, chunk):
    monkeypatch.setattr("qlearn.models.layers.base._PRODUCT_CHUNK", chunk)
    layer = QuantizedLinear.from_linear(seeded_linear(), QuantScheme(4, False, 32))
    x = torch.randn(4, 96, requires_grad=True)
    layer(x).square().sum().backward()
    ours, bias = x.grad.clone(), layer.bias.grad.clone()
    x.grad = layer.bias.grad = None
    nn.functional.linear(x, layer.dequantize(), layer.bias).square().sum().backward()
    assert torch.allclose(ours, x.grad, rtol=1e-4, atol=1e-5)
    assert torch.allclose(bias, layer.bias.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_output_has_the_inputs_dtype(dtype):
    layer = QuantizedLinear.from_linear(seeded_linear(), QuantScheme(4, False, 32))
    x = torch.randn(4, 96).to(dtype)
    assert layer(x).dtype == dtype
    expected = nn.functional.linear(x.float(), layer.dequantize(), layer.bias)
    tolerance = 8 * torch.finfo(dtype).eps if dtype != torch.float64 else 1e-5
    assert (layer(x).float() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_to_dtype_leaves_what_is_stored(dtype):
    layer = QuantizedLinear.from_linear(seeded_linear(), QuantScheme(4, False, 32))
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer.to(dtype)
    for name, buffer in layer.named_buffers():
        assert buffer.dtype == before[name].dtype
        assert torch.equal(buffer, before[name])
    assert layer.bias.dtype == dtype
    assert layer.dequantize().dtype == dtype


def test_state_dict_round_trip_keeps_every_bit(tmp_path):
    scheme = QuantScheme(3, False, 32)
    source = QuantizedLinear.from_linear(seeded_linear(), scheme)
    target = QuantizedLinear.from_linear(nn.Linear(96, 40), scheme)
    assert not torch.equal(target.dequantize(), source.dequantize())
    torch.save(source.state_dict(), tmp_path / "layer.pt")
    target.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(target.dequantize(), source.dequantize())
    assert torch.equal(target.bias, source.bias)
    assert torch.equal(copy.deepcopy(source).dequantize(), source.dequantize())


@pytest.mark.parametrize("factor", [1e-7, 1e7, 1e35])
def test_scales_beyond_float16_stay_float32(factor):
    linear = seeded_linear(bias=False)
    linear.weight.data.mul_(factor)
    layer = QuantizedLinear.from_linear(linear, QuantScheme(4, False, 32))
    assert layer.scale.dtype == torch.float32
    assert torch.equal(layer.dequantize(), fake_quantize(linear.weight, layer.scheme))
    assert layer.bits_per_weight == layer.scheme.bits_per_weight((40, 96)) + 16 / 32
    other = QuantizedLinear.from_linear(seeded_linear(bias=False), layer.scheme)
    assert other.scale.dtype == torch.float16
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.dequantize(), layer.dequantize())


def test_repr_says_what_it_holds():
    layer = QuantizedLinear.from_linear(seeded_linear(), QuantScheme(4, False, 32))
    assert "in_features=96, out_features=40, bias=True, INT4 g32 asym" in repr(layer)
    assert "4.667 bits a weight" in repr(layer)  # 4 + 16/32, and 3 zero-points padded to 2 bytes


def tensor_of(shape, scheme, zero_point=0):
    good = quantize(torch.randn(40, 96), scheme)
    return QuantizedTensor(
        torch.zeros(shape, dtype=torch.uint8),
        good.scale,
        torch.full_like(good.zero_point, zero_point),
        scheme,
        torch.Size(shape),
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuantizedLinear(tensor_of((2, 40, 96), QuantScheme(4))), "pass a matrix"),
        (
            lambda: QuantizedLinear(quantize(torch.randn(40, 96), QuantScheme(4)), torch.ones(3)),
            r"bias has shape \(3,\); pass \(40,\)",
        ),
        (
            lambda: QuantizedLinear(tensor_of((40, 96), QuantScheme(4, True), 7)),
            "symmetric scheme is 8 everywhere; use a scheme with symmetric=False",
        ),
        (lambda: QuantizedLinear(tensor_of((40, 96), QuantScheme(4), 16)), r"outside \[0, 15\]"),
        (
            lambda: QuantizedLinear.from_linear(nn.LayerNorm(8), QuantScheme(4)),
            "linear=LayerNorm is not a linear layer",
        ),
        (
            lambda: QuantizedLinear.from_linear(nn.Linear(96, 4), QuantScheme(4, False, 64)),
            "in_features=96 is not divisible by group_size=64",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
