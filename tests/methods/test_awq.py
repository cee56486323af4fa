"""AWQ: the searches against the outputs themselves, and scales that change nothing."""

import pytest
import torch
from decoders import TOKENS, drift, gpt2, shake
from tiny_models import gemma2, llama
from torch import nn

from qlearn.convert.folding import Folding, find_foldings
from qlearn.convert.model import copy_for_quantization
from qlearn.convert.one_block.awq import rescale
from qlearn.methods.awq import awq_search, channel_scales, clip, search_clipping
from qlearn.models.blocks import block_linears, linear_layers
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk
from qlearn.numerics.affine import fake_quantize, quantize
from qlearn.numerics.scheme import QuantScheme

SCHEMES = [
    QuantScheme(bits, symmetric, group)
    for bits in (2, 4)
    for symmetric in (False, True)
    for group in (16, None, "tensor")
]


def layer(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight ``[12, 48]`` and inputs of which every tenth feature is 20 times as large."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, 48, generator=generator)
    inputs[:, ::10] *= 20
    return torch.randn(12, 48, generator=generator), inputs


def outputs_error(weight: torch.Tensor, other: torch.Tensor, inputs: torch.Tensor) -> float:
    return float((inputs.double() @ (other - weight).double().T).square().mean())


def test_channel_scales_by_hand():
    # 1 and 16 to the power of 1/2 are 1 and 4, whose geometric middle is 2.
    assert channel_scales(torch.tensor([1.0, 16.0]), 0.5).tolist() == [0.5, 2.0]
    assert channel_scales(torch.tensor([3.0, 0.1]), 0.0).tolist() == [1.0, 1.0]
    dead = channel_scales(torch.tensor([0.0, 1.0]), 0.9)  # 0 is raised to 1e-4
    assert dead.tolist() == pytest.approx([0.01, 100.0])


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_scale_search_finds_the_least_error_of_the_outputs(scheme):
    weight, inputs = layer()
    found = awq_search(weight, inputs, scheme, clipping=False)
    tried = []
    for step in range(20):
        scales = channel_scales(inputs.abs().mean(0), step / 20)
        rounded = fake_quantize(weight * scales, scheme) / scales
        tried.append(outputs_error(weight, rounded, inputs))
    assert found.ratio == tried.index(min(tried)) / 20
    assert found.loss == pytest.approx(min(tried), rel=1e-4)
    assert found.share is None
    applied = found.quantize(weight, scheme).dequantize() / found.scales
    assert outputs_error(weight, applied, inputs) == pytest.approx(found.loss, rel=1e-4)
    if scheme.bits == 4 and scheme.group_size == 16:
        assert found.ratio > 0 and min(tried) < 0.6 * tried[0]  # ratio 0 is plain rounding


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_clipping_search_finds_the_least_error_of_each_group(scheme):
    weight, inputs = layer(1)
    found = search_clipping(weight, inputs.T @ inputs, scheme)
    rows, groups, _ = scheme.grid_shape((12, 48))
    size = 48 // groups
    assert found.shape == (rows, groups)
    shares = [1 - step * 0.45 / 10 for step in range(11)]
    for row in range(rows):
        for group in range(groups):
            part = slice(group * size, (group + 1) * size)
            own = slice(None) if rows == 1 else slice(row, row + 1)
            piece, fed = weight[own, part], inputs[:, part]
            low, high = piece.min(), piece.max()
            errors = []
            for share in shares:
                rounded = fake_quantize(
                    piece.clamp(low * share, high * share),
                    QuantScheme(scheme.bits, scheme.symmetric, "tensor" if rows == 1 else None),
                )
                errors.append(outputs_error(piece, rounded, fed))
            chosen = errors[shares.index(pytest.approx(float(found[row, group])))]
            assert chosen <= min(errors) * (1 + 1e-4)
    assert scheme.bits == 4 or bool((found < 1).any())


def test_clipping_lowers_the_error_further():
    weight, inputs = layer()
    scheme = QuantScheme(3, False, 16)
    plain = outputs_error(weight, quantize(weight, scheme).dequantize(), inputs)
    scaled = awq_search(weight, inputs, scheme, clipping=False)
    both = awq_search(weight, inputs, scheme)
    assert both.share is not None and both.loss < scaled.loss < 0.5 * plain
    applied = both.quantize(weight, scheme).dequantize() / both.scales
    assert outputs_error(weight, applied, inputs) == pytest.approx(both.loss, rel=1e-3)


def test_clip_by_hand():
    weight = torch.tensor([[-1.0, 0.5, 2.0, -4.0, 3.0, 1.0]])
    found = clip(weight, torch.tensor([[0.5, 1.0]]), QuantScheme(4, False, 3))
    assert found.tolist() == [[-0.5, 0.5, 1.0, -4.0, 3.0, 1.0]]


QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
MLP = [
    Folding("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    Folding("mlp.up_proj", ("mlp.down_proj",)),
]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (llama, [Folding("input_layernorm", QKV), *MLP]),  # grouped queries: value is narrower
        (
            lambda: llama(4),
            [
                Folding("input_layernorm", QKV),
                Folding("self_attn.v_proj", ("self_attn.o_proj",)),
                *MLP,
            ],
        ),
        (gpt2, [Folding("ln_1", ("attn.c_attn",)), Folding("ln_2", ("mlp.c_fc",))]),
    ],
    ids=["grouped queries", "one head each", "gpt2"],
)
def test_where_scales_go(make, expected):
    with torch.no_grad():
        assert find_foldings(Walk(make(), TOKENS), 0) == expected


def rescale_all(model: nn.Module, tokens: torch.Tensor, scheme: QuantScheme) -> None:
    with evaluating(model), torch.no_grad():
        walk = Walk(model, tokens)
        for index, block in enumerate(walk.blocks):
            rescale(walk, index, list(linear_layers(block)), scheme)
            walk.hidden = walk.run(index, walk.hidden)


@pytest.mark.parametrize(
    "make",
    [
        llama,
        lambda: shake(llama(4, attention_bias=True, mlp_bias=True)),
        lambda: shake(gpt2()),
    ],
    ids=["grouped queries", "one head each, biases", "gpt2"],
)
def test_rescaling_changes_nothing_before_rounding(make):
    original = make()
    model = copy_for_quantization(original)
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    rescale_all(model, TOKENS, QuantScheme(3, False, 16))
    assert drift(model, original, TOKENS) <= 1e-5
    changed = [
        name
        for name, layer in block_linears(model).items()
        if not torch.equal(layer.weight, original.get_submodule(name).weight)
    ]
    assert changed, "no layer was rescaled, so nothing was tested"
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def is_mean(given):
    return isinstance(given, torch.Tensor) and given.dim() == 1


@pytest.mark.model
@pytest.mark.slow
def test_rescaling_changes_nothing_in_the_real_model(smollm, tokenizer, monkeypatch):
    from qlearn.models.text import load_tokens

    # Which power is the best takes a while to find; any must change nothing.
    for search in ("search_scales", "search_on_module"):
        monkeypatch.setattr(
            f"qlearn.convert.one_block.awq.{search}",
            lambda *given: (channel_scales(next(g for g in given if is_mean(g)), 0.5), 0.5, 0.0),
        )
    tokens = load_tokens(tokenizer, sequences=2, length=256)
    model = copy_for_quantization(smollm)
    rescale_all(model, tokens, QuantScheme(4, False, 64))
    unseen = load_tokens(tokenizer, split="evaluation", sequences=1, length=128)
    assert drift(model, smollm, unseen) <= 1e-5
    layer = "model.layers.3.mlp.down_proj.weight"
    assert not torch.allclose(model.get_parameter(layer), smollm.get_parameter(layer), rtol=0.1)


def test_architectures_that_can_not_be_folded():
    gemma = gemma2(num_hidden_layers=2)
    generator = torch.Generator().manual_seed(0)
    gemma.model.embed_tokens.weight.data *= 1 + 9 * torch.rand(32, generator=generator)
    with pytest.raises(ValueError, match="block 0: dividing 'input_layernorm' does not undo"):
        rescale_all(gemma, TOKENS, QuantScheme(3, False, 16))

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(128, 8)
            self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])

        def forward(self, ids):
            hidden = self.embedding(ids)
            for block in self.layers:
                hidden = block(hidden)
            return hidden

    with pytest.raises(ValueError, match="no norm that feeds its linear layers"):
        rescale_all(Bare(), TOKENS, QuantScheme(3, False, 4))


WEIGHT, INPUTS = layer()
BAD = {
    "one token": ({"activations": INPUTS[0]}, r"activations has shape \(48,\)"),
    "no tokens": ({"activations": INPUTS[:0]}, r"activations has shape \(0, 48\)"),
    "integers": ({"activations": INPUTS.long()}, "dtype torch.int64; pass floats"),
    "width": ({"activations": INPUTS[:, :40]}, "are of 40 features, weight of in_features=48"),
    "NaN": ({"activations": INPUTS * torch.nan}, "activations hold NaN or infinite values"),
    "infinite": ({"activations": INPUTS / 0}, "activations hold NaN or infinite values"),
    "vector": ({"weight": WEIGHT[0]}, r"weight has shape \(48,\)"),
    "NaN weight": ({"weight": WEIGHT * torch.nan}, "holds 576 NaN or infinite values"),
    "group size": ({"scheme": QuantScheme(4, False, 32)}, "not divisible by group_size=32"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changed, message = BAD[case]
    arguments = {"weight": WEIGHT, "activations": INPUTS, "scheme": QuantScheme(4, False, 16)}
    with pytest.raises(ValueError, match=message):
        awq_search(**{**arguments, **changed})
