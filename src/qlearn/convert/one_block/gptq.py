"""GPTQ for one transformer block, its groups of layers one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qlearn.convert.blockwise import BlockResult
from qlearn.convert.one_block.stages import run_stages
from qlearn.convert.report import LayerReport, measure
from qlearn.convert.statistics import Hessian
from qlearn.methods.gptq import gptq_quantize
from qlearn.models.blocks import linear_layers, replace_weight, weight_of
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.walk import Walk
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.scheme import QuantScheme

_OPTIONS = ("act_order", "damping", "block_size", "static_groups")


def gptq_block(
    walk: Walk, index: int, names: list[str], scheme: QuantScheme, options: Mapping[str, Any]
) -> BlockResult:
    """Quantize a block's layers, each group on what the quantized groups before it give.

    Args:
        walk: stands in front of the block.
        index: the block's.
        names: the layers to quantize, by their name inside the block.
        scheme: bits, symmetry and group size.
        options: of :func:`qlearn.methods.gptq.gptq_quantize`; others are ignored.

    Raises:
        ValueError: as :func:`qlearn.methods.gptq.gptq_quantize`, with the block's index.
    """
    layers = linear_layers(walk.blocks[index])
    new: dict[str, QuantizedLinear] = {}
    reports: list[LayerReport] = []
    chosen = {name: options[name] for name in _OPTIONS if name in options}

    def finish(group: list[str], inputs: Tensor) -> None:
        hessian = Hessian(inputs.shape[1])
        hessian.add(inputs)
        weights = [weight_of(layers[name]) for name in group]
        try:
            quantized = quantize_together(weights, hessian.value, scheme, **chosen)
        except ValueError as error:
            raise ValueError(f"block {index}, layer {group[0]!r}: {error}") from error
        for name, weight, codes in zip(group, weights, quantized, strict=True):
            new[name] = QuantizedLinear(codes, getattr(layers[name], "bias", None))
            reports.append(measure(name, weight, new[name]))
            # Until the block is through, its layers compute with floats of the same values.
            replace_weight(layers[name], new[name].dequantize())

    outputs = run_stages(walk, index, names, finish)
    return BlockResult(new, reports, outputs)


def quantize_together(
    weights: list[Tensor], hessian: Tensor, scheme: QuantScheme, **options: Any
) -> list[QuantizedTensor]:
    """GPTQ of layers that share their input: their rows do not know of each other.

    So they are quantized as the rows of one weight, which halves the steps, unless all weights of
    a layer share one scale.
    """
    if scheme.group_size == "tensor" or len({weight.dtype for weight in weights}) > 1:
        return [gptq_quantize(weight, hessian, scheme, **options) for weight in weights]
    whole = gptq_quantize(torch.cat(weights), hessian, scheme, **options)
    rows = [len(weight) for weight in weights]
    parts = (part.split(rows) for part in (whole.codes, whole.scale, whole.zero_point))
    return [
        replace(whole, codes=codes, scale=scale, zero_point=zero, shape=codes.shape)
        for codes, scale, zero in zip(*parts, strict=True)
    ]
