"""True-sequential passes: what each group is handed is what the model computes at that moment."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn.convert.model import copy_for_quantization
from qlearn.convert.one_block.stages import run_stages
from qlearn.models.blocks import find_blocks, linear_layers, weight_of
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk, sharing_layers
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme

TOKENS = torch.randint(128, (3, 24), generator=torch.Generator().manual_seed(2))
COARSE = QuantScheme(2, False, None)


def gpt2() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config)


def inputs_of(model: nn.Module, layer: str) -> torch.Tensor:
    """One layer's inputs ``[tokens, in_features]`` in a pass of the whole model."""
    seen = []
    model = copy_for_quantization(model)
    for module in model.modules():
        module._forward_pre_hooks.clear()  # the halts of the pass that is under way
    layer = model.get_submodule(layer)
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
    for row in TOKENS.split(1):
        model(row)
    return torch.cat(seen)


def coarsen(layer: nn.Module) -> None:
    weight = fake_quantize(weight_of(layer).contiguous(), COARSE)
    turned = type(layer).__name__ == "Conv1D"
    layer.weight = nn.Parameter(weight.T.contiguous() if turned else weight, requires_grad=False)


GROUPS = {
    "llama": [
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        ["self_attn.o_proj"],
        ["mlp.gate_proj", "mlp.up_proj"],
        ["mlp.down_proj"],
    ],
    "gpt2": [["attn.c_attn"], ["attn.c_proj"], ["mlp.c_fc"], ["mlp.c_proj"]],
}


@pytest.mark.parametrize("kind", GROUPS)
def test_each_group_sees_what_the_finished_ones_give(tiny_llama, kind):
    model = tiny_llama if kind == "llama" else gpt2()
    original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prefix_of_blocks, blocks = find_blocks(model)
    order = []
    with evaluating(model), torch.no_grad():
        walk = Walk(model, TOKENS)
        for index, block in enumerate(blocks):
            prefix = f"{prefix_of_blocks}.{index}."
            layers = linear_layers(block)
            assert sharing_layers(walk, index) == GROUPS[kind]

            def finish(names, inputs, layers=layers, prefix=prefix):
                order.append(names)
                # The pass is halted: the whole model, run beside it, is in the same state.
                expected = inputs_of(model, prefix + names[0])
                assert inputs.shape == expected.shape
                assert (inputs - expected).abs().max() <= 1e-4 * expected.abs().max()
                for name in names:
                    coarsen(layers[name])

            walk.hidden = run_stages(walk, index, list(layers), finish)
        assert order == GROUPS[kind] * 2
        expected = torch.cat(Walk(model, TOKENS).hidden)
        for block in range(len(blocks)):
            walk_again = Walk(model, TOKENS)
            walk_again.hidden = list(expected.split(1))
            expected = torch.cat(walk_again.run(block, walk_again.hidden))
        assert torch.allclose(torch.cat(walk.hidden), expected, atol=1e-4)
    assert not any(module._forward_pre_hooks for module in model.modules())
    # Later groups saw the finished ones, so the weights differ; nothing was written into.
    assert any(not torch.equal(t, original[n]) for n, t in model.state_dict().items())


def test_layers_that_are_left_out_keep_their_weights(tiny_llama):
    finished = []
    with torch.no_grad():
        walk = Walk(tiny_llama, TOKENS)
        expected = torch.cat(walk.run(0, walk.hidden))
        names = ["self_attn.k_proj", "mlp.down_proj"]
        outputs = run_stages(walk, 0, names, lambda group, inputs: finished.append(group))
    assert finished == [["self_attn.k_proj"], ["mlp.down_proj"]]
    assert torch.allclose(torch.cat(outputs), expected, atol=1e-5)


def test_a_layer_that_is_never_run():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, hidden_states):
            return self.used(hidden_states)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(128, 8)
            self.layers = nn.ModuleList([Lazy()])

        def forward(self, ids):
            return self.layers[0](self.embedding(ids))

    walk = Walk(Model(), TOKENS)
    assert sharing_layers(walk, 0) == [["used"], ["unused"]]
    with pytest.raises(ValueError, match=r"never runs layer 'unused' of block 0; .*skip="):
        run_stages(walk, 0, ["used", "unused"], lambda group, inputs: None)
