"""One transformer block of SmolLM2: its weights, what its layers are fed with, what it computes."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.assignments.shared.weights import put_weights

__all__ = ["SHARED", "block_error", "block_inputs", "block_weights"]

BLOCKS = (1, 2, 3)  # early ones, so that hardly a pass is needed to reach them
ROWS, LENGTH = 4, 128
# What is divided by scales, and the layers whose columns grow by them. The output projection is
# left alone: it takes 576 inputs, and the value projection makes 192, each used by three heads.
SHARED = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.up_proj": ("mlp.down_proj",),
}


def block_weights(seed: int) -> dict[str, Tensor]:
    """A block's parameters by name, two norms and seven linear layers; which block: by the seed."""
    return _parameters(BLOCKS[seed % len(BLOCKS)])


def block_inputs(seed: int) -> dict[str, Tensor]:
    """For each linear layer of that block its inputs on calibration text, ``[tokens, in]``."""
    from qlearn.models.blocks import linear_layers

    block, arguments, hidden = _fed("calibration", BLOCKS[seed % len(BLOCKS)])
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, layer in linear_layers(block).items():

        def note(_: nn.Module, args: Any, name: str = name) -> None:
            seen[name] = args[0].flatten(0, -2)

        hooks.append(layer.register_forward_pre_hook(note))
    _run(block, arguments, hidden)
    for hook in hooks:
        hook.remove()
    return seen


def block_error(new: Any, old: dict[str, Tensor]) -> float:
    """How far new weights move what a block adds to its input, on text that was not calibrated on.

    Args:
        new: the parameters that changed, by name.
        old: the block's own, as :func:`block_weights` gives them.

    Returns:
        The squared error of the block's outputs, over the squared size of what it adds.

    Raises:
        ValueError: for weights that the block can't take.
    """
    norm = "input_layernorm.weight"
    index = next(i for i in BLOCKS if torch.equal(_parameters(i)[norm], old[norm]))
    block, arguments, hidden = _fed("evaluation", index)
    before = _outputs(index)
    changed = copy.deepcopy(block)
    put_weights(changed, new)
    after = _run(changed, arguments, hidden)
    return float((after - before).square().sum() / (before - hidden).square().sum())


@cache
def _model() -> Any:
    from qlearn.models.load import load_model

    return load_model("smollm2-135m").requires_grad_(False)


def _parameters(index: int) -> dict[str, Tensor]:
    from qlearn.models.blocks import find_blocks

    parameters = find_blocks(_model())[1][index].named_parameters()
    return {name: parameter.detach().clone() for name, parameter in parameters}


@cache
def _fed(split: str, index: int) -> Any:
    """A block, its arguments, and the hidden states in front of it for some rows of text."""
    from qlearn.models.load import load_tokenizer
    from qlearn.models.text import load_tokens
    from qlearn.models.walk import Walk

    tokens = load_tokens(load_tokenizer("smollm2-135m"), "editorials", split, ROWS, LENGTH)
    with torch.no_grad():
        walk = Walk(_model(), tokens)
        for before in range(index):
            walk.hidden = walk.run(before, walk.hidden)
        return walk.blocks[index], walk.arguments[index], torch.cat(walk.hidden)


@cache
def _outputs(index: int) -> Tensor:
    return _run(*_fed("evaluation", index))


def _run(block: nn.Module, arguments: Any, hidden: Tensor) -> Tensor:
    args, kwargs = arguments
    with torch.no_grad():
        output = block(hidden, *args, **kwargs)
    return output if isinstance(output, Tensor) else output[0]
