"""Weights that were handed in: put into a model, and looked at for the grid that they lie on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["distinct_values", "put_weights"]


def put_weights(model: nn.Module, weights: Any) -> None:
    """Put tensors into a model by the names of its parameters.

    Raises:
        ValueError: for something else than a dict of tensors, a name that the model does not have,
            a wrong shape, NaN or infinite values.
    """
    if not isinstance(weights, Mapping):
        raise ValueError("return a dict: the name of each changed parameter -> its tensor")
    parameters = dict(model.named_parameters())
    for name, tensor in weights.items():
        if name not in parameters:
            raise ValueError(f"{name!r} is no parameter of the model; name them as it does")
        if not isinstance(tensor, Tensor) or tensor.shape != parameters[name].shape:
            shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {shape}; expected {list(parameters[name].shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def distinct_values(weight: Tensor, group_size: int | None) -> int:
    """The most different values that one group of a weight ``[out, in]`` holds.

    >>> distinct_values(torch.tensor([[0.0, 1.0, 1.0, 2.0]]), group_size=2)
    2
    """
    groups = weight.reshape(-1, group_size or weight.shape[-1]).sort(dim=1).values
    # Values of one code may differ in their last bits, by how they were multiplied out.
    gap = groups.abs().amax(dim=1, keepdim=True) * 1e-5
    return int((groups.diff(dim=1) > gap).sum(dim=1).max()) + 1
