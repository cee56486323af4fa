"""Prepare, train, convert: exactly what was trained."""

import pytest
import torch
from tiny_train import logits, train_a_little
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn import QuantizedLinear, quantize_model
from qlearn.convert.model import copy_for_quantization
from qlearn.convert.qat import FakeQuantizedLinear, convert_qat, prepare_qat
from qlearn.methods.qat import lsq_factor, straight_through
from qlearn.models.blocks import block_linears
from qlearn.models.layers.affine import QuantizedLinear as Layer
from qlearn.numerics.scheme import QuantScheme

SCHEMES = [QuantScheme(2), QuantScheme(3, False, 32), QuantScheme(4, True, 16)]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_converted_model_is_the_trained_one(tiny_llama, scheme, learned):
    prepare_qat(tiny_llama, scheme, learned)
    losses = train_a_little(tiny_llama)
    assert losses[-1] < losses[0]
    tiny_llama.eval()
    before = logits(tiny_llama)
    weights = {
        name: layer.fake_weight().detach() for name, layer in block_linears(tiny_llama).items()
    }
    report = convert_qat(tiny_llama)
    assert torch.equal(logits(tiny_llama), before)
    assert len(report.layers) == len(weights) == 14
    assert (report.method, report.scheme) == ("qat", scheme)
    for name, weight in weights.items():
        layer = tiny_llama.get_submodule(name)
        assert type(layer) is Layer
        assert torch.equal(layer.dequantize(), weight), name
        assert layer.scheme == scheme


def test_before_training_it_is_round_to_nearest(tiny_llama):
    scheme = QuantScheme(3, False, 32)
    rounded = copy_for_quantization(tiny_llama)
    quantize_model(rounded, "rtn", scheme, progress=False)
    prepare_qat(tiny_llama, scheme)
    # The grid is that of round-to-nearest, its scales in float16 before the codes are taken
    # instead of after: next to no weight changes its code for that.
    for name, layer in block_linears(tiny_llama).items():
        codes = QuantizedLinear(layer.quantized()).codes
        assert (codes != rounded.get_submodule(name).codes).float().mean() < 0.01
    assert (logits(tiny_llama) - logits(rounded)).abs().max() < 0.02


def test_gradients_of_a_layer_by_hand():
    linear = nn.Linear(64, 8, bias=True)
    scheme = QuantScheme(2, True, 32)
    layer = FakeQuantizedLinear(linear, scheme, learned=True)
    inputs = torch.randn(5, 64)
    layer(inputs).sum().backward()
    upstream = inputs.sum(0).expand(8, 64)  # of the fake weight
    weight = linear.weight.detach().clone().requires_grad_()
    scale = layer.scale.detach().half().float().requires_grad_()
    straight_through(weight, scale, layer.zero_point, scheme).backward(upstream)
    assert torch.allclose(layer.weight.grad, weight.grad, rtol=1e-5, atol=1e-6)
    expected = scale.grad * lsq_factor((8, 64), scheme)
    assert torch.allclose(layer.scale.grad, expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(layer.bias.grad, torch.full((8,), 5.0))
    assert layer.weight is linear.weight and layer.bias is linear.bias


def test_a_scale_below_zero_means_its_size():
    layer = FakeQuantizedLinear(nn.Linear(32, 4), QuantScheme(3, True), learned=True)
    expected = layer.fake_weight().detach()
    with torch.no_grad():
        layer.scale.neg_()
    assert torch.equal(layer.fake_weight(), expected)
    assert torch.equal(layer.quantized().dequantize(), expected)


def test_layers_left_out_conv1d_and_shared_layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=2, n_positions=32)
        model = GPT2LMHeadModel(config).eval()
    prepare_qat(model, QuantScheme(4), skip=["model.h.1.*", "*.h.1.*"][1:])
    assert isinstance(model.transformer.h[0].mlp.c_fc, FakeQuantizedLinear)
    assert model.transformer.h[0].mlp.c_fc.weight.shape == (128, 32)
    assert not isinstance(model.transformer.h[1].mlp.c_fc, FakeQuantizedLinear)
    before = logits(model)
    assert len(convert_qat(model).layers) == 4
    assert torch.allclose(logits(model), before, atol=1e-5)


def test_a_layer_that_stands_twice_stays_one():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            shared = nn.Linear(32, 32)
            self.layers = nn.ModuleList([nn.Sequential(shared), nn.Sequential(shared)])

    model = prepare_qat(Model(), QuantScheme(4))
    assert model.layers[0][0] is model.layers[1][0]
    assert len(convert_qat(model).layers) == 1
    assert model.layers[0][0] is model.layers[1][0]
    assert isinstance(model.layers[0][0], QuantizedLinear)


def test_bad_input_changes_nothing(tiny_llama):
    with pytest.raises(ValueError, match="scheme=4 is not a QuantScheme"):
        prepare_qat(tiny_llama, 4)
    with pytest.raises(ValueError, match="group_size=48"):
        prepare_qat(tiny_llama, QuantScheme(4, group_size=48))
    with pytest.raises(ValueError, match="matches no linear layer"):
        prepare_qat(tiny_llama, QuantScheme(4), skip=["nothing"])
    with pytest.raises(ValueError, match="holds no prepared layer; call prepare_qat first"):
        convert_qat(tiny_llama)
    assert not any(isinstance(module, FakeQuantizedLinear) for module in tiny_llama.modules())
    prepare_qat(tiny_llama, QuantScheme(4))
    with pytest.raises(ValueError, match="already prepared"):
        prepare_qat(tiny_llama, QuantScheme(4))
    with torch.no_grad():
        tiny_llama.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.down_proj' holds 1 NaN"):
        convert_qat(tiny_llama)
    assert isinstance(tiny_llama.model.layers[0].mlp.down_proj, FakeQuantizedLinear)


def test_the_largest_weight_of_a_fitted_group_rounds_away_from_zero():
    """On a full-range grid it lies half a step beyond the last code: no step may send it back."""
    linear = nn.Linear(64, 256, bias=False)
    for seed in range(3):
        linear.weight.data = torch.randn(256, 64, generator=torch.Generator().manual_seed(seed))
        codes = FakeQuantizedLinear(linear, QuantScheme(2, True, 32)).quantized().codes
        groups, codes = (t.view(256, 2, 32) for t in (linear.weight.detach(), codes.float() - 2))
        place = groups.abs().argmax(-1, keepdim=True)
        largest, code = groups.gather(-1, place), codes.gather(-1, place)
        assert torch.equal(code, torch.where(largest < 0, -2.0, 1.0))
