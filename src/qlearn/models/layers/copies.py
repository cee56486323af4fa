"""Copies of a model that cost no memory, and quantized models as floats again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from torch import nn
from torch.nn.utils import skip_init

from qlearn.models.blocks import set_module
from qlearn.models.layers.base import CodesLinear
from qlearn.models.layers.int8 import Int8Linear


def copy_for_quantization(model: nn.Module) -> nn.Module:
    """A copy of ``model`` to quantize beside it: new modules around the very same tensors.

    It costs next to no memory, since quantizing replaces layers and leaves their tensors alone.
    Whatever writes *into* a tensor (training, for one) changes both models.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


def dequantize_model(model: nn.Module) -> nn.Module:
    """Turn every quantized layer into an ``nn.Linear`` of the values it stands for, in place.

    The model computes the same, faster, and takes as much memory as before it was quantized.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: where no layer is quantized, or one rounds its inputs too (INT8).
    """
    for name, layer in _quantized_layers(model):
        set_module(model, name, _as_linear(layer))
    return model


@contextmanager
def dequantized(model: nn.Module) -> Iterator[nn.Module]:
    """:func:`dequantize_model` for the length of a ``with`` block; the codes come back after it."""
    layers = _quantized_layers(model)
    try:
        yield dequantize_model(model)
    finally:
        for name, layer in layers:
            set_module(model, name, layer)


def _quantized_layers(model: nn.Module) -> list[tuple[str, CodesLinear]]:
    modules = model.named_modules(remove_duplicate=False)
    layers = [(name, module) for name, module in modules if isinstance(module, CodesLinear)]
    if not layers:
        raise ValueError(
            f"model={type(model).__name__} holds no quantized layer; call quantize_model first"
        )
    for name, layer in layers:
        if isinstance(layer, Int8Linear):
            raise ValueError(
                f"layer {name!r} rounds its inputs too, so no layer of floats computes the same; "
                "use the model as it is"
            )
    return layers


def _as_linear(layer: CodesLinear) -> nn.Linear:
    linear: nn.Linear = skip_init(nn.Linear, 1, 1, bias=False)  # its tensors are replaced at once
    linear.in_features, linear.out_features = layer.in_features, layer.out_features
    linear.weight = nn.Parameter(layer.dequantize(), requires_grad=False)
    linear.bias = layer.bias
    return linear.train(layer.training)
