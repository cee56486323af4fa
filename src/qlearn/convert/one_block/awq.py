"""AWQ for one transformer block: scales folded into its norms, ranges clipped, then rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from qlearn.convert.blockwise import BlockResult
from qlearn.convert.calibration import gather
from qlearn.convert.folding import find_foldings, fold_each
from qlearn.convert.one_block.awq_module import search_on_module
from qlearn.convert.one_block.gptq import gptq_block
from qlearn.convert.report import LayerReport, measure
from qlearn.convert.statistics import AbsMean, Hessian
from qlearn.methods.awq import clip, search_clipping, search_scales
from qlearn.models.blocks import linear_layers, replace_weight, weight_of
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.walk import Walk
from qlearn.numerics.affine import quantize
from qlearn.numerics.scheme import QuantScheme

_UNCLIPPED = ("q_proj", "k_proj")  # their errors meet in a product, which the search can't see


@dataclass
class _Seen:
    """What one group of layers was fed with."""

    mean: Tensor  # mean|X|
    moment: Tensor  # 2/n X^T X


class _Moments:
    """A statistic: both at once."""

    def __init__(self, in_features: int) -> None:
        self._mean, self._hessian = AbsMean(in_features), Hessian(in_features)

    def add(self, inputs: Tensor) -> None:
        self._mean.add(inputs)
        self._hessian.add(inputs)

    @cached_property
    def value(self) -> _Seen:
        return _Seen(self._mean.value, self._hessian.value)


def awq_block(
    walk: Walk, index: int, names: list[str], scheme: QuantScheme, options: Mapping[str, Any]
) -> BlockResult:
    """Quantize a block's layers on scaled columns.

    Args:
        walk: stands in front of the block.
        index: the block's.
        names: the layers to quantize, by their name inside the block.
        scheme: bits, symmetry and group size.
        options: ``clipping``; ``rounding``, ``"rtn"`` or ``"gptq"``; GPTQ's, where it rounds.

    Raises:
        ValueError: for a block without a place for scales, and as the searches.
    """
    seen = rescale(walk, index, names, scheme)
    if options["rounding"] == "gptq":
        return gptq_block(walk, index, names, scheme, options)
    layers = linear_layers(walk.blocks[index])
    new: dict[str, QuantizedLinear] = {}
    reports: list[LayerReport] = []
    for name in names:
        weight = weight_of(layers[name])
        clipped = weight
        if options["clipping"] and name.rpartition(".")[2] not in _UNCLIPPED:
            share = search_clipping(weight, seen[name].moment, scheme)
            clipped = clip(weight.float(), share, scheme).to(weight.dtype)
        new[name] = QuantizedLinear(quantize(clipped, scheme), getattr(layers[name], "bias", None))
        reports.append(measure(name, weight, new[name]))
        replace_weight(layers[name], new[name].dequantize())
    return BlockResult(new, reports, walk.run(index, walk.hidden))


def rescale(walk: Walk, index: int, names: list[str], scheme: QuantScheme) -> dict[str, _Seen]:
    """Search scales for each group of a block's layers and fold them in; nothing is rounded.

    Returns:
        For each layer what it is fed with now.

    Raises:
        ValueError: where no group has a place for its scales.
    """
    block = walk.blocks[index]
    foldings = find_foldings(walk, index)
    if not foldings:
        raise ValueError(
            f"block {index} has no norm that feeds its linear layers alone, so AWQ has no place "
            "for its scales; use method='gptq'"
        )
    layers = linear_layers(block)
    statistics, _ = gather(walk, index, _Moments)
    seen = {name: statistics[name].value for name in names}

    def choose(group: list[str]) -> Tensor:
        before = seen[group[0]]
        if len(group) == 1:
            alone = weight_of(layers[group[0]])
            return search_scales(alone, before.mean, before.moment, scheme)[0]
        shared = {name: layers[name] for name in group}
        return search_on_module(walk, index, shared, before.mean, scheme)[0]

    for name, scales in fold_each(walk, index, foldings, names, choose).items():
        before = seen[name]
        seen[name] = _Seen(before.mean / scales, before.moment / scales / scales[:, None])
    return seen
