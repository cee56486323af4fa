"""One transformer block of SmolLM2: its weights, what its layers are fed with, what it computes."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.assignments.model_question import put_weights

__all__ = ["SHARED", "block_error", "block_inputs", "block_weights"]

BLOCK = 1
ROWS, LENGTH = 4, 256
# What is divided by scales, and the layers whose columns grow by them. The output projection is
# left alone: it takes 576 inputs, and the value projection makes 192, each used by three heads.
SHARED = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.up_proj": ("mlp.down_proj",),
}


def block_weights() -> dict[str, Tensor]:
    """The block's parameters by name: two norms and seven linear layers."""
    parameters = _block()[0].named_parameters()
    return {name: parameter.detach().clone() for name, parameter in parameters}


def block_inputs(seed: int) -> dict[str, Tensor]:
    """For each linear layer its inputs on calibration text, ``[tokens, in]``."""
    from qlearn.blocks import linear_layers

    block, arguments, hidden = _fed("calibration", seed)
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


def block_error(weights: Any, seed: int) -> float:
    """How far new weights move what the block adds to its input, on text that was not calibrated on.

    Returns:
        The squared error of the block's outputs, over the squared size of what it adds.

    Raises:
        ValueError: for weights that the block can't take.
    """
    block, arguments, hidden = _fed("evaluation", seed)
    before = _run(block, arguments, hidden)
    changed = copy.deepcopy(block)
    put_weights(changed, weights)
    after = _run(changed, arguments, hidden)
    return float((after - before).square().sum() / (before - hidden).square().sum())


@cache
def _block() -> Any:
    from qlearn.blocks import find_blocks
    from qlearn.zoo import load_model

    model: Any = load_model("smollm2-135m")
    return copy.deepcopy(find_blocks(model)[1][BLOCK]).requires_grad_(False), model


@cache
def _fed(split: str, seed: int) -> Any:
    """The block, its arguments, and the hidden states in front of it for some rows of text."""
    from qlearn.corpora import load_tokens
    from qlearn.walk import Walk
    from qlearn.zoo import load_tokenizer

    tokens = load_tokens(load_tokenizer("smollm2-135m"), "editorials", split, sequences=20)
    first = ROWS * seed % (len(tokens) - ROWS + 1)
    block, model = _block()
    with torch.no_grad():
        walk = Walk(model, tokens[first : first + ROWS, :LENGTH])
        for index in range(BLOCK):
            walk.hidden = walk.run(index, walk.hidden)
        return block, walk.arguments[BLOCK], torch.cat(walk.hidden)


def _run(block: nn.Module, arguments: Any, hidden: Tensor) -> Tensor:
    args, kwargs = arguments
    with torch.no_grad():
        output = block(hidden, *args, **kwargs)
    return output if isinstance(output, Tensor) else output[0]
