"""Layers that torch's kernels compute, against the plain path that shows the arithmetic."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized_llama import quantized
from tiny_models import llama
from torch import nn

from qlearn import QuantizedLinear, QuantScheme, quantize_model
from qlearn.convert.model import copy_for_quantization
from qlearn.models.layers.kernel import (
    GROUPS,
    HEAD,
    KernelEmbedding,
    KernelLinear,
    obstacle,
    use_kernels,
)

INT8 = QuantScheme(8, True)
BFLOAT16 = 2**-8  # largest relative error of rounding


def rounded(inputs, outputs, scheme, bias=False, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return QuantizedLinear.from_linear(nn.Linear(inputs, outputs, bias=bias), scheme)


def grid_in_bfloat16(layer):
    """The weight that the kernel multiplies: its scales and offsets have eight bits."""
    identity = torch.eye(layer.in_features, dtype=torch.bfloat16)
    bias, layer.bias = layer.bias, None
    weight = layer(identity).T.float()
    layer.bias = bias
    return weight


@settings(deadline=None, max_examples=25)
@given(
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from(GROUPS),
    groups=st.integers(1, 3),
    outputs=st.integers(1, 5),
    symmetric=st.booleans(),
    bias=st.booleans(),
    rows=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_kernel_computes_what_the_codes_say(
    bits, group, groups, outputs, symmetric, bias, rows, seed
):
    scheme = INT8 if bits == 8 else QuantScheme(4, symmetric, group)
    plain = rounded(group * groups, 16 * outputs, scheme, bias, seed)
    fast = KernelLinear(plain)
    weight = grid_in_bfloat16(fast)
    # A weight is (code - z) * s: s and the offset are rounded to bfloat16, each by half a spacing.
    scale = plain.scale.float().repeat_interleave(group * groups // plain.scale.shape[1], dim=1)
    slack = scale * (128 if bits == 8 else 8) * BFLOAT16
    assert ((weight - plain.dequantize()).abs() <= 2 * slack).all()
    x = torch.randn(rows, group * groups, generator=torch.Generator().manual_seed(seed))
    x = x.to(torch.bfloat16)
    wanted = x.float() @ weight.T
    if bias:
        wanted += plain.bias
    error = (fast(x).float() - wanted).abs()
    assert (error <= 4 * BFLOAT16 * (1 + x.float().abs() @ weight.abs().T)).all()


def test_bytes_are_those_of_codes_and_grid():
    # 48 x 64 codes of half a byte; 48 rows of 2 groups, scale and offset of two bytes each.
    assert KernelLinear(rounded(64, 48, QuantScheme(4, False, 32))).nbytes == 48 * 32 + 48 * 2 * 4
    assert KernelLinear(rounded(64, 48, INT8)).nbytes == 48 * 64 + 48 * 2


def test_shape_and_dtype_are_those_of_the_input():
    layer = KernelLinear(rounded(64, 32, QuantScheme(4, True, 64), bias=True))
    x = torch.randn(2, 3, 64)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        output = layer(x.to(dtype))
        assert output.shape == (2, 3, 32)
        assert output.dtype == dtype


def test_to_leaves_the_grid_in_what_the_kernel_reads():
    layer = KernelLinear(rounded(64, 32, INT8))
    before = layer(torch.ones(1, 64))
    layer.float()
    assert layer.grid.dtype == torch.bfloat16
    assert torch.equal(layer(torch.ones(1, 64)), before)
    assert torch.equal(copy.deepcopy(layer)(torch.ones(1, 64)), before)


@pytest.mark.parametrize(
    ("scheme", "outputs", "reason"),
    [
        (QuantScheme(8, False), 32, "no zero-points"),
        (QuantScheme(8, True, 32), 32, "one scale an output"),
        (QuantScheme(3, False, 32), 32, "8 and 4 bits, not 3"),
        (QuantScheme(4, False, 16), 32, "groups of 32, 64"),
        (QuantScheme(4, False, "tensor"), 32, "groups of 32, 64"),
        (QuantScheme(4, False, 32), 24, "24 outputs are no multiple of 16"),
    ],
)
def test_layers_without_a_kernel_say_why(scheme, outputs, reason):
    layer = rounded(64, outputs, scheme)
    assert reason in obstacle(layer)
    with pytest.raises(ValueError, match=reason):
        KernelLinear(layer)


def test_a_whole_model_predicts_the_same():
    tokens = torch.arange(24).reshape(2, 12)
    for scheme in (INT8, QuantScheme(4, False, 32)):
        plain = llama()
        quantize_model(plain, "rtn", scheme, progress=False)
        fast = copy.deepcopy(plain)
        assert use_kernels(fast) == {}
        kinds = {type(m) for m in fast.modules()}
        assert KernelLinear in kinds
        assert QuantizedLinear not in kinds
        with torch.inference_mode():
            ours, theirs = fast(tokens).logits.float(), plain(tokens).logits
        scale = theirs.std()
        assert (ours - theirs).abs().max() < 0.1 * scale
        assert fast(tokens).logits.dtype == torch.bfloat16


def test_layers_that_stay_are_named():
    model = llama()
    quantize_model(model, "rtn", QuantScheme(3, False, 32), progress=False)
    kept = use_kernels(model)
    assert len(kept) == 14
    assert all("not 3" in reason for reason in kept.values())


def test_a_model_without_quantized_layers_is_refused():
    with pytest.raises(ValueError, match="call quantize_model first"):
        use_kernels(llama())


def test_rotary_frequencies_keep_their_bits():
    """In bfloat16 a position of some hundreds would be turned by a wrong angle."""
    model = quantized()
    before = model.model.rotary_emb.inv_freq.clone()
    use_kernels(model)
    assert torch.equal(model.model.rotary_emb.inv_freq, before)
    assert before.to(torch.bfloat16).float().ne(before).any()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_shallow_copy_leaves_its_original_alone():
    original = llama(tie_word_embeddings=True)
    before = copy.deepcopy(original.state_dict())
    other = copy_for_quantization(original)
    quantize_model(other, "rtn", INT8, progress=False)
    use_kernels(other, round_head=True)
    after = original.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}


@pytest.mark.parametrize("tied", [True, False])
def test_a_rounded_head(tied):
    plain = quantized(tie_word_embeddings=tied)
    fast = copy.deepcopy(plain)
    assert use_kernels(fast, round_head=True) == {}
    head, embedding = fast.lm_head, fast.get_input_embeddings()
    assert isinstance(head, KernelLinear)
    assert head.scheme == HEAD
    # The oracle: the float model with the dequantized head, and table where it is tied.
    rounded_head = head.packed.float() * head.grid.float()[:, None]
    step = plain.lm_head.weight.abs().amax(1, keepdim=True) / 127
    # Half a step, and the scale in float16 and then in bfloat16, times the largest code.
    slack = 0.5 + 128 * (2**-11 + BFLOAT16)
    assert ((rounded_head - plain.lm_head.weight).abs() <= slack * step).all()
    plain.lm_head.weight.data = rounded_head
    tokens = torch.arange(24).reshape(2, 12)
    if tied:
        assert isinstance(embedding, KernelEmbedding)
        assert (embedding.num_embeddings, embedding.embedding_dim) == (128, 64)
        assert embedding.head is head
        # A dequantized number has more bits than bfloat16, which the look-up gives.
        rows = rounded_head[tokens]
        assert ((embedding(tokens).float() - rows).abs() <= BFLOAT16 * rows.abs()).all()
        assert plain.get_input_embeddings().weight is plain.lm_head.weight
    else:
        assert isinstance(embedding, nn.Embedding)
    with torch.inference_mode():
        ours, theirs = fast(tokens).logits.float(), plain(tokens).logits
    assert (ours - theirs).abs().max() < 0.1 * theirs.std()


def test_bytes_of_a_tied_head_are_held_once():
    model = quantized(tie_word_embeddings=True)
    use_kernels(model, round_head=True)
    held = {id(t): t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()]}
    head = 128 * 64 + 128 * 2
    norms = 5 * 64 * 2
    layers = sum(m.nbytes for m in model.model.modules() if isinstance(m, KernelLinear))
    rotary = sum(b.nbytes for b in model.model.rotary_emb.buffers())
    assert layers == held_layers(model) + head  # the embedding's head is among the modules
    assert sum(held.values()) == layers + norms + rotary


def held_layers(model):
    return sum(m.nbytes for m in model.model.layers.modules() if isinstance(m, KernelLinear))


def test_a_head_that_is_no_linear_layer_is_refused():
    body = quantized().model
    with pytest.raises(ValueError, match=r"round_head=True: the head of model=LlamaModel"):
        use_kernels(body, round_head=True)
    assert not any(isinstance(m, KernelLinear) for m in body.modules())
