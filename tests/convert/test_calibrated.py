"""quantize_model with GPTQ and AWQ: by hand, in half precision, with layers left out, bad input."""

import pytest
import torch
from tiny_models import SharedLayer
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn.convert.methods import AWQ_OPTIONS, GPTQ_OPTIONS, METHODS, options_of
from qlearn.convert.model import copy_for_quantization, quantize_model
from qlearn.convert.statistics import Hessian
from qlearn.measure.evaluate import kl_divergence
from qlearn.methods.gptq import gptq_quantize
from qlearn.models.blocks import block_linears, replace_weight, weight_of
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme

TOKENS = torch.randint(128, (6, 48), generator=torch.Generator().manual_seed(2))
G32 = QuantScheme(3, False, 32)
CALIBRATED = {
    "gptq": {"method": "gptq"},
    "gptq in order": {"method": "gptq", "act_order": False},
    "awq": {"method": "awq"},
    "awq, not clipped": {"method": "awq", "clipping": False},
    "awq, then gptq": {"method": "awq", "rounding": "gptq"},
}


def gpt2() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("case", CALIBRATED)
@pytest.mark.parametrize("scheme", [G32, QuantScheme(3, True, None), QuantScheme(4, False, 64)])
def test_better_than_rounding(tiny_llama, case, scheme):
    for name, parameter in tiny_llama.named_parameters():
        if "layernorm" in name:
            parameter.data[::16] *= 8  # a few salient inputs, as real models have them
    arguments = {"scheme": scheme, "calibration": TOKENS, "progress": False}
    rounded = copy_for_quantization(tiny_llama)
    plain = quantize_model(rounded, "rtn", scheme, progress=False)
    before = {name: tensor.clone() for name, tensor in tiny_llama.state_dict().items()}
    model = copy_for_quantization(tiny_llama)
    report = quantize_model(model, **CALIBRATED[case], **arguments)
    names = list(block_linears(tiny_llama))
    assert [layer.name for layer in report.layers] == names
    assert all(isinstance(model.get_submodule(name), QuantizedLinear) for name in names)
    assert report.method == CALIBRATED[case]["method"] and report.scheme == scheme
    assert report.bits_per_weight == plain.bits_per_weight and report.bytes == plain.bytes
    found = kl_divergence(model, tiny_llama, TOKENS)
    assert found < 0.9 * kl_divergence(rounded, tiny_llama, TOKENS)
    for name, tensor in tiny_llama.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_gptq_equals_the_sequence_by_hand(tiny_llama):
    """Group after group, each on the inputs of the whole model as it is by then."""
    scheme = QuantScheme(3, False, 32)
    hand = copy_for_quantization(tiny_llama)
    quantize_model(tiny_llama, "gptq", scheme, TOKENS, progress=False)
    groups = [
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.o_proj",),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("mlp.down_proj",),
    ]
    for block in range(2):
        for group in groups:
            layers = [hand.get_submodule(f"model.layers.{block}.{name}") for name in group]
            hessian = Hessian(layers[0].in_features)
            hook = layers[0].register_forward_pre_hook(
                lambda _, args, hessian=hessian: hessian.add(args[0].flatten(0, 1))
            )
            with torch.no_grad():
                hand(TOKENS)
            hook.remove()
            for name, layer in zip(group, layers, strict=True):
                found = gptq_quantize(layer.weight, hessian.value, scheme, act_order=True)
                ours = tiny_llama.get_submodule(f"model.layers.{block}.{name}")
                expected = QuantizedLinear(found).dequantize()
                same = (ours.dequantize() - expected).abs() <= 1e-6
                assert same.float().mean() > 0.99, name  # a tie may fall to the other side
                replace_weight(layer, expected)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_conv1d_layers(method):
    original = gpt2()
    model, rounded = copy_for_quantization(original), copy_for_quantization(original)
    quantize_model(model, method, G32, TOKENS, progress=False)
    quantize_model(rounded, "rtn", G32, progress=False)
    found = kl_divergence(model, original, TOKENS)
    assert found < kl_divergence(rounded, original, TOKENS)
    assert model.transformer.h[1].mlp.c_proj.bias is original.transformer.h[1].mlp.c_proj.bias


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_layers_left_out_and_half_precision(tiny_llama, method):
    model = tiny_llama.to(torch.bfloat16)
    original = copy_for_quantization(model)
    report = quantize_model(
        model, method, G32, TOKENS, progress=False, skip=["v_proj", "model.layers.1.mlp.*"]
    )
    assert len(report.layers) == 2 * 7 - 2 - 3
    for name, layer in block_linears(original).items():
        ours = model.get_submodule(name)
        left = name.endswith("v_proj") or name.startswith("model.layers.1.mlp")
        assert isinstance(ours, QuantizedLinear) != left
        if left and method == "gptq":
            assert ours.weight is layer.weight
    with torch.no_grad():
        assert model(TOKENS).logits.dtype == torch.bfloat16
    assert kl_divergence(model, original, TOKENS) < 0.01


def test_a_layer_that_stands_twice_stays_one():
    model = SharedLayer()
    report = quantize_model(model, "gptq", G32, TOKENS, progress=False)
    assert len(report.layers) == 1
    assert model.layers[0][0] is model.layers[1][0]
    assert isinstance(model.layers[0][0], QuantizedLinear)


def test_one_scale_for_all(tiny_llama):
    scheme = QuantScheme(4, False, "tensor")
    original = copy_for_quantization(tiny_llama)
    quantize_model(tiny_llama, "gptq", scheme, TOKENS, progress=False)
    for name, layer in block_linears(original).items():
        ours = tiny_llama.get_submodule(name)
        assert ours.scale.shape == (1, 1)
        size = float(fake_quantize(weight_of(layer), scheme).abs().max())
        assert float(ours.dequantize().abs().max()) == pytest.approx(size, rel=0.2)


def test_options():
    assert options_of("gptq", {"damping": 1}) == {**GPTQ_OPTIONS, "damping": 1}
    assert options_of("awq", {}) == AWQ_OPTIONS
    both = options_of("awq", {"rounding": "gptq", "block_size": 64})
    assert both == {**AWQ_OPTIONS, **GPTQ_OPTIONS, "rounding": "gptq", "block_size": 64}
    assert options_of("rtn", {}) == {}
    assert [name for name, method in METHODS.items() if method.calibrated] == ["gptq", "awq"]


BAD = {
    "no text": ({"method": "gptq"}, "calibration=None, but method='gptq' looks at activations"),
    "no text for AWQ": ({"method": "awq"}, "calibration=None, but method='awq' .*load_tokens"),
    "unknown option": (
        {"method": "gptq", "actorder": True},
        "actorder=True is not an option of method='gptq'; choose from act_order, damping",
    ),
    "of another method": ({"method": "awq", "damping": 0.1}, "damping=0.1 is not an option"),
    "none": ({"method": "rtn", "damping": 0.1}, "not an option of method='rtn'; it takes none"),
    "kind": ({"method": "gptq", "act_order": 1}, "act_order=1 is not of the kind of its default"),
    "damping": ({"method": "gptq", "damping": -1}, "damping=-1 is not a share"),
    "block size": ({"method": "gptq", "block_size": 0}, "block_size=0 is not a count"),
    "rounding": ({"method": "awq", "rounding": "up"}, "rounding='up' is not known"),
    "ids": (
        {"method": "gptq", "calibration": TOKENS + 100},
        "ids .* the model knows 0 to 128",
    ),
    "resume": (
        {"method": "rtn", "resume": "folder"},
        "resume='folder' is not used by method='rtn'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_changes_nothing(tiny_llama, case):
    arguments, message = BAD[case]
    modules = [type(module) for module in tiny_llama.modules()]
    tensors = [id(tensor) for tensor in tiny_llama.parameters()]
    with pytest.raises(ValueError, match=message):
        quantize_model(tiny_llama, **{"scheme": G32, "progress": False, **arguments})
    assert [type(module) for module in tiny_llama.modules()] == modules
    assert [id(tensor) for tensor in tiny_llama.parameters()] == tensors


def test_errors_name_the_layer(tiny_llama):
    with pytest.raises(ValueError, match=r"block 0, layer 'self_attn.q_proj': .*larger damping"):
        quantize_model(tiny_llama, "gptq", G32, TOKENS[:1, :4], progress=False, damping=0.0)
