"""AWQ's scales judged where the paper judges them: by the output of the module around the layers.

Query, key and value meet in a softmax, gate and up in a product. What their errors do to attention
or to the MLP as a whole is not the sum of what they do to each layer's own output, so the module is
run with every candidate.

Source: Lin et al. 2023 (arXiv 2306.00978), section 3.2, and its authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.methods.awq import RATIOS, channel_scales
from qlearn.models.blocks import replace_weight, weight_of
from qlearn.models.walk import Walk
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme

ROWS = 2  # of the calibration text, run with every candidate


def module_around(group: Sequence[str]) -> str:
    """The module that holds all layers of a group, by its name inside the block; "" for the block.

    >>> module_around(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))
    'self_attn'
    """
    parents = [name.split(".")[:-1] for name in group]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return ".".join(parts[0] for parts in shared)


def search_on_module(
    walk: Walk,
    index: int,
    group: Mapping[str, nn.Module],
    mean: Tensor,
    scheme: QuantScheme,
    rows: int = ROWS,
    ratios: int = RATIOS,
) -> tuple[Tensor, float, float]:
    """The power of ``mean|X|`` with which rounding the group moves its module's output least.

    Args:
        walk: stands in front of the block, whose weights are not quantized yet.
        index: the block's.
        group: layers that share an input, by their name inside the block.
        mean: ``mean|X|`` of that input, ``[in_features]``.
        scheme: bits, symmetry, convention and group size.
        rows: of calibration text to run.
        ratios: powers to try, evenly from 0 (no scaling) to less than 1.

    Returns:
        The scales ``[in_features]``, their power, and the mean squared error of the outputs.
    """
    name = module_around(tuple(group))
    module = walk.blocks[index].get_submodule(name)
    calls, expected = _record(walk, index, module, rows)
    weights = {layer: weight_of(layer) for layer in group.values()}
    best = torch.ones_like(mean), 0.0, float("inf")
    try:
        for step in range(ratios):
            scales = channel_scales(mean, step / ratios)
            for layer, weight in weights.items():
                rounded = fake_quantize(weight.float() * scales, scheme) / scales
                replace_weight(layer, rounded.to(weight.dtype))
            found = _first(module(*calls[0], **calls[1]))
            loss = float((found - expected).square().mean())
            if loss < best[2]:
                best = scales, step / ratios, loss
    finally:
        for layer, weight in weights.items():
            replace_weight(layer, weight)
    return best


def _record(
    walk: Walk, index: int, module: nn.Module, rows: int
) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], Tensor]:
    """What the module is called with for the first rows, and what it gives."""
    seen: list[tuple[Any, Any, Tensor]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        seen.append((args, kwargs, _first(output)))

    with module.register_forward_hook(note, with_kwargs=True):
        walk.run_one(index, torch.cat(walk.hidden[:rows]))
    args, kwargs, output = seen[0]
    return (args, kwargs), output


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
