"""Layers of a pocket model with the inputs that they see, and which of them can share scales."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SHARED", "layer_case", "pocket"]

# What is divided by scales, and the layers whose columns are multiplied by them.
SHARED = (
    ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("self_attn.v_proj", ("self_attn.o_proj",)),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    ("mlp.up_proj", ("mlp.down_proj",)),
)


@cache
def pocket(name: str = "pocket-100k") -> Any:
    """A pocket model, loaded once; nobody may change it."""
    from qlearn.models.load import load_model

    return load_model(name)


def _linear_inputs(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """The inputs of each linear layer in a Llama's blocks, ``[tokens, in]``, by its name."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear) and ".layers." in name:

                def note(_: nn.Module, args: Any, name: str = name) -> None:
                    seen[name] = args[0].detach().flatten(0, -2)

                stack.enter_context(layer.register_forward_pre_hook(note))
        with torch.no_grad():
            model(tokens)
    return seen


@cache
def _inputs(model: str, seed: int) -> dict[str, Tensor]:
    from qlearn.models.pocket.batches import pocket_tokens

    return _linear_inputs(pocket(model), pocket_tokens(4, "calibration", seed=seed))


def layer_case(layer: str, rows: int, tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first rows of a layer's weight in pocket-100k, and some tokens' inputs of it.

    Args:
        layer: its name in the model without ``model.layers.``, such as ``"1.mlp.up_proj"``.
        rows: of the weight.
        tokens: of calibration text; which ones depends on the seed.
        seed: of the text.
    """
    name = f"model.layers.{layer}"
    weight = pocket().get_submodule(name).weight.detach()[:rows].clone()
    return weight, _inputs("pocket-100k", seed)[name][:tokens].clone()
