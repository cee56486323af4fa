"""A causal language model as a function of plain tensors, the form in which exporters take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import DynamicLayer


class Step(nn.Module):
    """Tokens go in behind a cache; logits come out, and the cache that is longer by them.

    Args:
        model: a causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Logits ``[batch, tokens, vocabulary]``, then keys and values of each layer.

        Args:
            tokens: int64 ``[batch, tokens]``.
            cache: keys, then values, of each layer, ``[batch, heads, past, size]``; past may be 0.
        """
        past = DynamicCache()
        for keys, values in zip(cache[::2], cache[1::2], strict=True):
            layer = DynamicLayer()  # filled by hand: its own way starts from an empty tensor
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            past.layers.append(layer)
        logits = self.model(tokens, past_key_values=past, use_cache=True).logits
        return logits, *(part for layer in past.layers for part in (layer.keys, layer.values))


def step_of(model: Path) -> Step:
    """The model of a folder, in FP32."""
    return Step(AutoModelForCausalLM.from_pretrained(model, dtype="float32")).eval()


def cache_shape(config: Any, batch: int = 1, past: int = 0) -> tuple[int, int, int, int]:
    """The shape of a layer's keys, and of its values."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return batch, config.num_key_value_heads, past, size


def example(config: Any, batch: int = 2, tokens: int = 3, past: int = 4) -> tuple[Tensor, ...]:
    """Inputs for :class:`Step`, to trace it with."""
    shape = cache_shape(config, batch, past)
    cache = (torch.zeros(shape) for _ in range(2 * config.num_hidden_layers))
    return torch.ones(batch, tokens, dtype=torch.int64), *cache
