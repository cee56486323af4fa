"""Scales that change nothing: a layer's inputs divided by what its columns are multiplied by.

The division is folded into the operation that makes the input: a norm's weight, or the rows of a
linear layer whose outputs reach the input one to one (value to output projection, up to down).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import is_linear, replace_weight, weight_of
from qlearn.models.walk import Walk, in_features, sharing_layers

# The input of the first is the output of the second, times something that has no scale of its own.
_CHAINS = {"o_proj": "v_proj", "down_proj": "up_proj"}
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


@dataclass(frozen=True)
class Folding:
    """One place for scales.

    Attributes:
        source: the module whose output is divided, by its name inside the block.
        layers: the linear layers that are fed with it.
    """

    source: str
    layers: tuple[str, ...]


def find_foldings(walk: Walk, index: int) -> list[Folding]:
    """Where a block can take scales: found by running one row, and by the names of a Llama's parts.

    A norm is found by its output, which is the very tensor that the layers are fed with. Value and
    output projection are left alone where their shapes differ (grouped-query attention).
    """
    block = walk.blocks[index]
    made: dict[int, str] = {}
    fed: dict[str, Tensor] = {}
    alive: list[Any] = []  # so that no id is used twice
    groups = sharing_layers(walk, index)
    with ExitStack() as stack:
        for name, module in block.named_modules():

            def note(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
                alive.append((args, output))
                made.setdefault(id(output), name)
                if args:
                    fed.setdefault(name, args[0])

            stack.enter_context(module.register_forward_hook(note))
        walk.run_one(index, walk.hidden[0])
    found = []
    for group in groups:
        source = made.get(id(fed.get(group[0])))
        if source is None:
            parent, _, name = group[0].rpartition(".")
            source = ".".join(filter(None, (parent, _CHAINS.get(name, ""))))
        if _fits(block, source, group):
            found.append(Folding(source, tuple(group)))
    return found


def _fits(block: nn.Module, source: str, group: list[str]) -> bool:
    """Whether ``source`` gives one output for each input of the group, with a weight to divide."""
    try:
        module = block.get_submodule(source)
    except AttributeError:
        return False
    weight = getattr(module, "weight", None)
    if not source or not isinstance(weight, Tensor):
        return False
    outputs = len(weight_of(module)) if is_linear(module) else weight.numel()
    return outputs == in_features(block.get_submodule(group[0]))


def fold(block: nn.Module, folding: Folding, scales: Tensor) -> None:
    """Multiply the layers' columns by ``scales``, and divide what feeds them.

    New tensors are put into the modules; a copy of the model may share the old ones.
    """
    source: Any = block.get_submodule(folding.source)
    if is_linear(source):
        weight = weight_of(source)
        replace_weight(source, (weight / scales[:, None]).to(weight.dtype))
    else:
        source.weight = _parameter(source.weight, source.weight / scales)
    bias = getattr(source, "bias", None)
    if isinstance(bias, Tensor):
        source.bias = _parameter(bias, bias / scales)
    for name in folding.layers:
        layer = block.get_submodule(name)
        weight = weight_of(layer)
        replace_weight(layer, (weight * scales).to(weight.dtype))


def fold_each(
    walk: Walk,
    index: int,
    foldings: Sequence[Folding],
    names: Collection[str],
    choose: Callable[[list[str]], Tensor],
) -> dict[str, Tensor]:
    """Fold scales into one place after the other, and check that the block gives what it gave.

    Args:
        walk: stands in front of the block, which is not quantized yet.
        index: the block's.
        foldings: places of :func:`find_foldings`.
        names: layers that take scales; a place that feeds none of them is left out.
        choose: from the names of layers that share an input to its scales, ``[in_features]``.

    Returns:
        For each layer that got scales what its columns were multiplied by.

    Raises:
        ValueError: as :func:`check_fold`.
    """
    expected = walk.run_one(index, walk.hidden[0])
    chosen: dict[str, Tensor] = {}
    for folding in foldings:
        group = [name for name in folding.layers if name in names]
        if group:
            scales = choose(group)
            fold(walk.blocks[index], folding, scales)
            check_fold(walk, index, folding, expected)
            chosen |= dict.fromkeys(group, scales)
    return chosen


def check_fold(walk: Walk, index: int, folding: Folding, expected: Tensor) -> None:
    """Raise a ``ValueError`` unless the block still gives what it gave for its first row."""
    found = walk.run_one(index, walk.hidden[0])
    tolerance = _TOLERANCE.get(expected.dtype, 0.05)
    if float((found - expected).abs().max()) > tolerance * float(expected.abs().max()):
        raise ValueError(
            f"block {index}: dividing {folding.source!r} does not undo scales on "
            f"{', '.join(folding.layers)}, so scales can't be moved in this architecture; use a "
            "method without them, or a Llama-like model (Llama, Mistral, Qwen, SmolLM2)"
        )


def _parameter(like: Tensor, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=False)
