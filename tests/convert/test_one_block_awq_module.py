"""Scales searched on the output of a module, against the same by hand in a copy of the block."""

import copy

import pytest
import torch

from qlearn.convert.one_block.awq_module import module_around, search_on_module
from qlearn.methods.awq import channel_scales
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme

QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (QKV, "self_attn"),
        (("mlp.gate_proj", "mlp.up_proj"), "mlp"),
        (("mlp.up_proj", "mlp_extra.up_proj"), ""),
        (("attn.a.q", "attn.b.q"), "attn"),
    ],
)
def test_module_around(group, expected):
    assert module_around(group) == expected


def by_hand(block, names, mean, scheme, ratio, hidden, arguments):
    """Error of the attention's output, in a copy of the block whose layers are rounded so."""
    args, kwargs = arguments
    other = copy.deepcopy(block)
    seen = []
    for each in (block, other):
        each.self_attn.register_forward_hook(lambda *given: seen.append(given[-1][0]))
    scales = channel_scales(mean, ratio)
    for name in names:
        layer = other.get_submodule(name)
        layer.weight.data = fake_quantize(layer.weight.data * scales, scheme) / scales
    for each in (block, other):
        each(hidden, *args, **kwargs)
        each.self_attn._forward_hooks.clear()
    return float((seen[0] - seen[1]).square().mean())


def test_scales_of_query_key_and_value_are_judged_by_the_attention_that_they_make(tiny_llama):
    model = tiny_llama
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scheme = QuantScheme(3, False, 16)
    tokens = torch.randint(128, (3, 24), generator=torch.Generator().manual_seed(2))
    with evaluating(model), torch.no_grad():
        walk = Walk(model, tokens)
        block = walk.blocks[0]
        hidden = torch.cat(walk.hidden[:2])
        mean = block.input_layernorm(hidden).abs().flatten(0, 1).mean(0)
        group = {name: block.get_submodule(name) for name in QKV}
        scales, ratio, loss = search_on_module(walk, 0, group, mean, scheme, ratios=5)
        losses = {
            k / 5: by_hand(block, QKV, mean, scheme, k / 5, hidden, walk.arguments[0])
            for k in range(5)
        }
    assert loss == pytest.approx(min(losses.values()), rel=1e-4)
    assert losses[ratio] == min(losses.values())
    assert torch.equal(scales, channel_scales(mean, ratio))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
