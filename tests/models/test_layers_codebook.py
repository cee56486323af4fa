"""CodebookLinear: stored bytes, arithmetic, gradients, state dicts, dtypes; whole models."""

import copy
from math import ceil

import pytest
import torch
from torch import nn

from qlearn import QuantScheme, quantize_model
from qlearn.convert.model import copy_for_quantization, dequantize_model, dequantized
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.numerics.codebook import FP4, NF4, Codebook, CodebookScheme, quantize_blockwise

SCHEMES = [
    CodebookScheme(codebook, size, double)
    for codebook in (NF4, FP4)
    for size in (32, 64)
    for double in (False, True)
] + [CodebookScheme(Codebook("eight bits", torch.linspace(-1, 1, 255)), 32)]


def seeded_linear(inputs=96, outputs=40, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Linear(inputs, outputs, bias)


def llama_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, CodebookLinear)}


@pytest.mark.parametrize("inputs", [96, 33])  # 33: blocks and bytes run over the ends of rows
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_values_bytes_and_product(scheme, inputs):
    linear = seeded_linear(inputs)
    layer = CodebookLinear.from_linear(linear, scheme)
    expected = quantize_blockwise(
        linear.weight, scheme.codebook, scheme.block_size, scheme.double_quant
    )
    weight = expected.dequantize()
    assert torch.equal(layer.dequantize(), weight)
    buffers = [b.numel() * b.element_size() for b in layer.buffers()]
    assert sum(buffers) == layer.nbytes
    assert 8 * layer.nbytes == scheme.stored_bits((40, inputs))
    assert layer.bits_per_weight == scheme.bits_per_weight((40, inputs))
    x = torch.randn(3, 5, inputs, generator=torch.Generator().manual_seed(0))
    product = x.double() @ weight.double().T + linear.bias.double()
    assert (layer(x).double() - product).abs().max() < 1e-5
    assert layer.bias is linear.bias
    assert str(scheme) in repr(layer)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_rows_in_chunks_give_what_one_product_gives(monkeypatch, scheme):
    layer = CodebookLinear.from_linear(seeded_linear(33), scheme)
    x = torch.randn(4, 33)
    whole, weight = layer(x), layer.dequantize()
    monkeypatch.setattr("qlearn.models.layers.base._PRODUCT_CHUNK", 33 * 7)
    monkeypatch.setattr("qlearn.models.layers.base._CHUNK", 33 * 3)
    assert len(list(layer.weight_chunks(torch.float32))) == 6
    assert torch.equal(layer.dequantize(), weight)
    assert (layer(x) - whole).abs().max() < 1e-5


def test_gradients_equal_those_of_the_dequantized_layer():
    layer = CodebookLinear.from_linear(seeded_linear(), CodebookScheme(NF4, 64, double_quant=True))
    x = torch.randn(4, 96, requires_grad=True)
    layer(x).square().sum().backward()
    ours, x.grad = x.grad.clone(), None
    nn.functional.linear(x, layer.dequantize(), layer.bias).square().sum().backward()
    assert torch.allclose(ours, x.grad, rtol=1e-4, atol=1e-5)
    assert all(not buffer.requires_grad for buffer in layer.buffers())


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_to_dtype_leaves_what_is_stored(dtype, double):
    layer = CodebookLinear.from_linear(seeded_linear(), CodebookScheme(NF4, 64, double))
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    weight = layer.dequantize()
    layer.to(dtype)
    after = dict(layer.named_buffers())
    assert after.keys() == before.keys()
    for name, buffer in after.items():
        assert buffer.dtype == before[name].dtype
        assert torch.equal(buffer, before[name])
    assert layer.bias.dtype == layer.dequantize().dtype == dtype
    assert torch.equal(layer.dequantize(), weight.to(dtype))
    assert layer(torch.randn(2, 96).to(dtype)).dtype == dtype


@pytest.mark.parametrize("double", [False, True])
def test_state_dict_round_trip_keeps_every_bit(tmp_path, double):
    scheme = CodebookScheme(FP4, 64, double)
    source = CodebookLinear.from_linear(seeded_linear(), scheme)
    target = CodebookLinear.from_linear(nn.Linear(96, 40), scheme)
    assert not torch.equal(target.dequantize(), source.dequantize())
    torch.save(source.state_dict(), tmp_path / "layer.pt")
    target.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(target.dequantize(), source.dequantize())
    assert torch.equal(copy.deepcopy(source).dequantize(), source.dequantize())
    other = CodebookLinear.from_linear(nn.Linear(96, 40), CodebookScheme(FP4, 64, not double))
    with pytest.raises(RuntimeError, match="nested_absmax"):
        other.load_state_dict(source.state_dict())


def test_bad_layers():
    with pytest.raises(ValueError, match=r"shape \(4,\); pass a matrix"):
        CodebookLinear(quantize_blockwise(torch.ones(4)))
    with pytest.raises(ValueError, match=r"bias has shape \(3,\); pass \(2,\)"):
        CodebookLinear(quantize_blockwise(torch.ones(2, 4)), torch.ones(3))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("method", ["nf4", "fp4"])
def test_a_model_holds_what_its_report_counts(tiny_llama, method, double):
    floats = {
        n: m.weight.detach().clone()
        for n, m in tiny_llama.model.layers.named_modules()
        if isinstance(m, nn.Linear)
    }
    report = quantize_model(tiny_llama, method, double_quant=double, progress=False)
    layers = llama_layers(tiny_llama)
    assert len(layers) == len(floats) == len(report.layers) == 14
    weights = sum(weight.numel() for weight in floats.values())
    blocks = [ceil(weight.numel() / 64) for weight in floats.values()]
    stored = weights // 2 + sum(b + 4 * ceil(b / 256) + 4 if double else 4 * b for b in blocks)
    assert report.bits_per_weight == 8 * stored / weights
    rest = sum(p.numel() * p.element_size() for p in tiny_llama.parameters())
    assert report.bytes == stored + rest
    assert report.scheme == CodebookScheme({"nf4": NF4, "fp4": FP4}[method], 64, double)
    assert f"{method.upper()} b64" in str(report)
    for name, weight in floats.items():
        expected = quantize_blockwise(weight, report.scheme.codebook, 64, double).dequantize()
        assert torch.equal(layers[f"model.layers.{name}"].dequantize(), expected)
    line = next(layer for layer in report.layers if layer.name.endswith("1.mlp.down_proj"))
    error = layers[line.name].dequantize() - floats["1.mlp.down_proj"]
    assert line.max_error == float(error.abs().max())


def test_copies_skips_and_floats_again(tiny_llama):
    model = copy_for_quantization(tiny_llama)
    quantize_model(model, "nf4", skip=("down_proj",), block_size=32, progress=False)
    assert {type(m).__name__ for n, m in model.named_modules() if n.endswith("down_proj")} == {
        "Linear"
    }
    assert not llama_layers(tiny_llama)
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad():
        quantized = model(tokens).logits
        with dequantized(model):
            assert not llama_layers(model)
            assert torch.allclose(model(tokens).logits, quantized, atol=1e-5)
        assert len(llama_layers(model)) == 12
        with pytest.raises(ValueError, match="already quantized"):
            quantize_model(model, "nf4", progress=False)
        dequantize_model(model)
    assert not llama_layers(model)


def test_a_layer_that_stands_twice_stays_one(tiny_llama):
    layers = tiny_llama.model.layers
    layers[1].mlp = layers[0].mlp
    report = quantize_model(tiny_llama, "fp4", progress=False)
    assert layers[0].mlp.up_proj is layers[1].mlp.up_proj
    assert isinstance(layers[0].mlp.up_proj, CodebookLinear)
    assert len(report.layers) == 11


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scheme": QuantScheme(4)}, "scheme=INT4.*is not used by method='nf4'.*block_size=64"),
        ({"block_size": 3}, "block_size=3 is not an even number"),
        ({"block_size": 64.0}, "block_size=64.0 is not of the kind"),
        ({"block_size": 0}, "block_size=0"),
        ({"double_quant": 1}, "double_quant=1 is not of the kind"),
        ({"act_order": True}, "act_order=True is not an option of method='nf4'.*block_size"),
        ({"resume": "x"}, "resume='x' is not used by method='nf4'"),
    ],
)
def test_what_is_refused_changes_nothing(tiny_llama, arguments, words):
    with pytest.raises(ValueError, match=words):
        quantize_model(tiny_llama, "nf4", progress=False, **arguments)
    assert not llama_layers(tiny_llama)


def test_weights_that_do_not_fit_change_nothing(tiny_llama):
    weight = tiny_llama.model.layers[1].mlp.down_proj.weight
    weight.data[0, 0] = 1e38
    with pytest.raises(ValueError, match=r"down_proj.*too large.*double_quant=False"):
        quantize_model(tiny_llama, "nf4", double_quant=True, progress=False)
    assert not llama_layers(tiny_llama)
    weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"down_proj.*1 NaN or infinite"):
        quantize_model(tiny_llama, "nf4", progress=False)
    tiny_llama.double()
    weight.data[0, 0] = 1e300
    with pytest.raises(ValueError, match=r"down_proj.*1 NaN or infinite"):
        quantize_model(tiny_llama, "nf4", progress=False)
    assert not llama_layers(tiny_llama)
