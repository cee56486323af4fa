"""quantize_model: which layers, the report's arithmetic, shared copies, and nothing half done."""

import gc
import weakref

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn.convert.model import (
    copy_for_quantization,
    dequantize_model,
    dequantized,
    quantize_model,
)
from qlearn.models.blocks import block_linears, find_blocks
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.numerics.affine import fake_quantize, sqnr
from qlearn.numerics.scheme import QuantScheme

G32 = QuantScheme(4, False, 32)
TOKENS = torch.arange(24).view(2, 12)


def tiny_gpt2() -> GPT2LMHeadModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config).eval()


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_finds_the_blocks_of_several_architectures(tiny_llama):
    assert find_blocks(tiny_llama)[0] == "model.layers"
    assert len(block_linears(tiny_llama)) == 2 * 7
    gpt2 = tiny_gpt2()
    assert find_blocks(gpt2)[0] == "transformer.h"
    assert next(iter(block_linears(gpt2))) == "transformer.h.0.attn.c_attn"
    assert len(block_linears(gpt2)) == 2 * 4


def test_a_list_of_experts_is_not_a_list_of_blocks():
    block = nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(4, 4) for _ in range(8))})
    model = nn.ModuleDict({"layers": nn.ModuleList([block])})
    assert find_blocks(model)[0] == "layers"
    assert len(block_linears(model)) == 8


@pytest.mark.parametrize("make", ["llama", "gpt2"])
def test_blocks_are_quantized_and_nothing_else(make, tiny_llama):
    model = tiny_llama if make == "llama" else tiny_gpt2()
    original = copy_for_quantization(model)
    names = list(block_linears(model))
    untouched = {n: p for n, p in model.named_parameters() if n.rpartition(".")[0] not in names}
    report = quantize_model(model, "rtn", G32, progress=False)
    assert [layer.name for layer in report.layers] == names
    for name in names:
        assert isinstance(model.get_submodule(name), QuantizedLinear)
    now = dict(model.named_parameters())
    for name, parameter in untouched.items():
        assert now[name] is parameter
    # The model computes what the original does with every weight rounded in place.
    for name, layer in block_linears(original).items():
        turned = type(layer).__name__ == "Conv1D"
        exact = layer.weight.T if turned else layer.weight
        rounded = fake_quantize(exact.contiguous(), G32)
        assert (model.get_submodule(name).dequantize() - rounded).abs().max() < 1e-3
        stored = model.get_submodule(name).dequantize()
        layer.weight = nn.Parameter(stored.T.contiguous() if turned else stored)
    assert torch.allclose(logits(model), logits(original), atol=1e-5)


def test_report_counts_what_is_stored(tiny_llama):
    weights = {
        name: layer.weight.detach().clone() for name, layer in block_linears(tiny_llama).items()
    }
    report = quantize_model(tiny_llama, scheme=G32, progress=False)
    quantized = sum(w.numel() for w in weights.values())
    stored = sum(G32.stored_bits(tuple(w.shape)) for w in weights.values())
    assert report.bits_per_weight == pytest.approx(stored / quantized)
    # Embedding 128 x 64 (tied to the head: counted once), two norms a block and the last one.
    others = 128 * 64 + 5 * 64
    assert report.bytes == stored // 8 + 4 * others
    assert report.model_bits_per_weight == pytest.approx(8 * report.bytes / (quantized + others))
    assert report.seconds > 0
    for layer in report.layers:
        held = tiny_llama.get_submodule(layer.name).dequantize()
        assert layer.shape == tuple(held.shape)
        assert layer.sqnr == pytest.approx(sqnr(weights[layer.name], held), abs=1e-4)
        assert layer.max_error == pytest.approx(float((weights[layer.name] - held).abs().max()))
    text = str(report)
    assert "14 layers" in text
    assert "mlp.down_proj" in text
    html = report._repr_html_()
    assert html.count("<tr>") == 1 + 7
    assert "64 × 128" in html


def test_all_zero_weights_lose_nothing(tiny_llama):
    name, layer = next(iter(block_linears(tiny_llama).items()))
    layer.weight.data.zero_()
    report = quantize_model(tiny_llama, scheme=G32, progress=False)
    assert report.layers[0].name == name
    assert report.layers[0].sqnr == float("inf")
    assert report.layers[0].max_error == 0


@pytest.mark.parametrize(
    ("skip", "left"), [(["down_proj"], 12), (["*.mlp.*"], 8), (["model.layers.0.*"], 7)]
)
def test_skip(tiny_llama, skip, left):
    assert len(quantize_model(tiny_llama, scheme=G32, skip=skip, progress=False).layers) == left


def test_the_copy_shares_every_tensor_and_the_original_stays(tiny_llama):
    expected = logits(tiny_llama)
    copy = copy_for_quantization(tiny_llama)
    assert copy is not tiny_llama
    for ours, theirs in zip(tiny_llama.parameters(), copy.parameters(), strict=True):
        assert ours is theirs
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    quantize_model(copy, scheme=QuantScheme(2, False, 32), progress=False)
    assert torch.equal(logits(tiny_llama), expected)
    assert not torch.allclose(logits(copy), expected, atol=1e-3)


def test_floats_are_freed_layer_by_layer(tiny_llama, monkeypatch):
    """When a layer is measured, the floats of all layers before it are gone."""
    references = [weakref.ref(layer.weight) for layer in block_linears(tiny_llama).values()]
    alive = []
    measure = QuantizedLinear.weight_chunks

    def counted(self, dtype):
        gc.collect()
        alive.append(sum(reference() is not None for reference in references))
        return measure(self, dtype)

    monkeypatch.setattr(QuantizedLinear, "weight_chunks", counted)
    quantize_model(tiny_llama, scheme=G32, progress=False)
    assert alive == list(range(14, 0, -1))
    gc.collect()
    assert not any(reference() is not None for reference in references)


def test_dequantized_models_compute_the_same(tiny_llama):
    quantize_model(tiny_llama, scheme=G32, progress=False)
    expected = logits(tiny_llama)
    name = next(n for n, m in tiny_llama.named_modules() if isinstance(m, QuantizedLinear))
    with dequantized(tiny_llama) as floats:
        assert type(floats.get_submodule(name)) is nn.Linear
        assert torch.allclose(logits(floats), expected, atol=1e-5)
    assert isinstance(tiny_llama.get_submodule(name), QuantizedLinear)
    with pytest.raises(RuntimeError, match="stop"), dequantized(tiny_llama):
        raise RuntimeError("stop")
    assert isinstance(tiny_llama.get_submodule(name), QuantizedLinear)
    assert dequantize_model(tiny_llama) is tiny_llama
    assert not any(isinstance(m, QuantizedLinear) for m in tiny_llama.modules())
    assert torch.allclose(logits(tiny_llama), expected, atol=1e-5)
    repr(tiny_llama)


def test_half_precision_models_stay_so(tiny_llama):
    model = tiny_llama.to(torch.bfloat16)
    quantize_model(model, scheme=G32, progress=False)
    assert logits(model).dtype == torch.bfloat16
    assert dequantize_model(model).model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


def test_a_layer_that_stands_twice_stays_one():
    shared = nn.Linear(32, 32)
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.Sequential(shared), nn.Sequential(shared)])})
    report = quantize_model(model, scheme=G32, progress=False)
    assert len(report.layers) == 1
    assert model["layers"][0][0] is model["layers"][1][0]
    assert isinstance(model["layers"][0][0], QuantizedLinear)
    dequantize_model(model)
    assert not any(isinstance(m, QuantizedLinear) for m in model.modules())


def spoil(value):
    def change(model):
        model.model.layers[1].mlp.down_proj.weight.data[3, 5] = value

    return change


def already(model):
    quantize_model(model, scheme=G32, skip=["down_proj"], progress=False)


def integers(model):
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(
        torch.zeros(128, 64, dtype=torch.uint8), requires_grad=False
    )


BAD = {
    "unknown method": ({"method": "gtpq"}, None, "method='gtpq' is not available; choose 'rtn'"),
    "not a scheme": ({"scheme": 4}, None, "scheme=4 is not a QuantScheme; pass one such as"),
    "group size": (
        {"scheme": QuantScheme(4, False, 96)},
        None,
        "'model.layers.0.self_attn.q_proj' does not fit .*not divisible by group_size=96; choose",
    ),
    "NaN": ({}, spoil(float("nan")), "layers.1.mlp.down_proj' holds 1 NaN or infinite"),
    "infinite": ({}, spoil(float("-inf")), "layers.1.mlp.down_proj' holds 1 NaN or infinite"),
    "integers": ({}, integers, "layers.1.mlp.up_proj' has weights of dtype torch.uint8"),
    "quantized": ({}, already, "already quantized .*copy_for_quantization"),
    "meta": ({}, lambda model: model.to("meta"), "not loaded .meta device."),
    "skip nothing": ({"skip": ["q_porj"]}, None, "skip='q_porj' matches no linear layer; .*q_proj"),
    "skip a text": ({"skip": "q_proj"}, None, "skip='q_proj' is not a list of names"),
    "skip all": ({"skip": ["*"]}, None, "leaves no layer to quantize"),
    "calibration": ({"calibration": torch.ones(2, 3)}, None, "calibration=Tensor is not a tensor"),
    "calibration text": ({"calibration": "text"}, None, "calibration=str is not a tensor of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_changes_nothing(tiny_llama, case):
    arguments, prepare, message = BAD[case]
    if prepare:
        prepare(tiny_llama)
    before = snapshot(tiny_llama)
    modules = [type(module) for module in tiny_llama.modules()]
    with pytest.raises(ValueError, match=message):
        quantize_model(tiny_llama, **{"scheme": G32, "progress": False, **arguments})
    assert [type(module) for module in tiny_llama.modules()] == modules
    for name, tensor in tiny_llama.state_dict().items():
        if not tensor.is_meta:
            assert torch.equal(tensor, before[name]) or tensor.isnan().any()


def test_models_that_have_nothing_to_do():
    with pytest.raises(ValueError, match="model='smollm2-135m' is not a model; pass one such as"):
        quantize_model("smollm2-135m", progress=False)
    with pytest.raises(ValueError, match="model=Linear holds no transformer blocks"):
        quantize_model(nn.Linear(4, 4), progress=False)
    with pytest.raises(ValueError, match="holds no quantized layer; call quantize_model first"):
        dequantize_model(nn.Linear(4, 4))
