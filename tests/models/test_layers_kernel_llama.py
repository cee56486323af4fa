"""A Llama in fewer calls predicts what the whole one does."""

import copy

import pytest
import torch
from quantized_llama import quantized
from tiny_models import gemma2, llama
from torch import nn
from transformers import DynamicCache, StaticCache
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

from qlearn import QuantizedLinear, QuantScheme, quantize_model
from qlearn.models.layers.kernel import KernelLinear, use_kernels
from qlearn.models.layers.kernel_llama import (
    FusedBlock,
    FusedNorm,
    SignedRotary,
    fuse_layers,
    merge,
    rms_norm,
    rotate,
)

TOKENS = torch.arange(24).reshape(2, 12)
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def logits(model, *args, **kwargs):
    with torch.inference_mode():
        return model(*args, **kwargs).logits.float()


def fused(model):
    other = copy.deepcopy(model)
    assert fuse_layers(other) == {}
    return other


def perturbed(model):
    """Norms that are not all ones, biases that are not all zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_floats_predict_the_same(heads, attention):
    biases = {"attention_bias": True, "mlp_bias": True}
    model = perturbed(llama(heads, attn_implementation=attention, **biases))
    other = fused(model)
    kinds = [type(m) for m in other.modules()]
    assert kinds.count(FusedBlock) == 2
    assert kinds.count(FusedNorm) == kinds.count(SignedRotary) == 1
    assert kinds.count(nn.Linear) == 4 * 2 + 1
    torch.testing.assert_close(logits(other, TOKENS), logits(model, TOKENS), **CLOSE)


def test_padding_and_caches_are_as_before():
    model = perturbed(llama())
    other = fused(model)
    mask = torch.ones_like(TOKENS)
    mask[0, :5] = 0
    found, wanted = (logits(m, TOKENS, attention_mask=mask) for m in (other, model))
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], **CLOSE)
    whole = logits(model, TOKENS)
    for cache in (DynamicCache(config=model.config), StaticCache(model.config, max_cache_len=16)):
        pieces = [
            logits(other, TOKENS[:, start:end], past_key_values=cache)
            for start, end in ((0, 6), (6, 9), (9, 10), (10, 11), (11, 12))
        ]
        torch.testing.assert_close(torch.cat(pieces, 1), whole, **CLOSE)


def test_generation_writes_the_same():
    model = perturbed(llama())
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    found = fused(model).generate(TOKENS, **options)
    assert torch.equal(found, model.generate(TOKENS, **options))


@pytest.mark.parametrize(
    "scheme",
    [QuantScheme(4, False, 32), QuantScheme(8, True), QuantScheme(3, False, 16)],
    ids=str,
)
def test_codes_stay_what_they_are(scheme):
    model = quantized(scheme)
    other = fused(model)
    attention, merged = model.model.layers[1].self_attn, other.model.layers[1]
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    assert isinstance(merged.qkv_proj, QuantizedLinear)
    whole = torch.cat([part.dequantize() for part in parts])
    assert torch.equal(merged.qkv_proj.dequantize(), whole)
    assert merged.qkv_proj.nbytes == sum(part.nbytes for part in parts)
    torch.testing.assert_close(logits(other, TOKENS), logits(model, TOKENS), **CLOSE)


@pytest.mark.parametrize("scheme", [QuantScheme(4, False, 32), QuantScheme(8, True)], ids=str)
def test_with_kernels(scheme):
    model = quantized(scheme, tie_word_embeddings=True)
    other = fused(model)
    assert use_kernels(other, round_head=True) == {}
    kinds = [type(m) for m in other.modules()]
    assert QuantizedLinear not in kinds
    assert kinds.count(KernelLinear) == 4 * 2 + 1
    theirs = logits(model, TOKENS)
    assert (logits(other, TOKENS) - theirs).abs().max() < 0.1 * theirs.std()


def test_rotation_is_that_of_transformers():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, 5, 16, generator=generator)
    angles = torch.rand(2, 5, 8, generator=generator).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    wanted, _ = apply_rotary_pos_emb(states, states, cos, sin)
    signed = SignedRotary(nn.Identity())  # which hands on the pair that it is given
    torch.testing.assert_close(rotate(states, *signed((cos, sin))), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])  # at the smallest, eps matters
@pytest.mark.parametrize("hidden", [16, 576])
def test_the_norm_is_that_of_float64(hidden, size, dtype):
    generator = torch.Generator().manual_seed(hidden)
    states = size * torch.randn(3, 5, hidden, generator=generator) + size
    states, weight = states.to(dtype), torch.rand(hidden, generator=generator).to(dtype)
    found = rms_norm(states, weight.repeat(2), 1e-5)
    wanted = torch.nn.functional.rms_norm(states.double(), (hidden,), weight.double(), 1e-5)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=8 * torch.finfo(dtype).eps, atol=1e-6)


def test_hidden_states_are_still_given():
    model = perturbed(llama())
    found, wanted = (
        m(TOKENS, output_hidden_states=True).hidden_states for m in (fused(model), model)
    )
    assert len(found) == len(wanted) == 3
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_what_can_not_be_merged_stays():
    model = llama()
    quantize_model(model, "rtn", QuantScheme(4, False, 32), skip=("v_proj",), progress=False)
    before = logits(model, TOKENS)
    kept = fuse_layers(model)
    assert list(kept) == ["model.layers.0", "model.layers.1"]
    assert set(kept.values()) == {"some are quantized, some are not"}
    assert type(model.model.layers[0]) is LlamaDecoderLayer
    torch.testing.assert_close(logits(model, TOKENS), before, **CLOSE)

    tensor = quantized(QuantScheme(8, True, "tensor"))
    assert set(fuse_layers(tensor).values()) == {"each has one scale for all of its weight"}
    parts = [QuantizedLinear.from_linear(nn.Linear(32, 8), QuantScheme(b)) for b in (3, 4)]
    with pytest.raises(ValueError, match="their schemes differ: INT3"):
        merge(*parts)
    with pytest.raises(ValueError, match="LayerNorm is neither"):
        merge(nn.LayerNorm(4), nn.LayerNorm(4))


def test_other_architectures_are_refused():
    with pytest.raises(ValueError, match="Gemma2ForCausalLM is no Llama"):
        fuse_layers(gemma2())
