"""Quantize a model block by block, each calibrated on what the quantized blocks before it give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.convert.report import LayerReport
from qlearn.convert.resume import Progress
from qlearn.models.blocks import block_linears, find_blocks, is_linear, set_module
from qlearn.models.layers.base import CodesLinear
from qlearn.models.long_runs import progress_bar
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk
from qlearn.numerics.scheme import QuantScheme


@dataclass(frozen=True)
class BlockResult:
    """One block, quantized.

    Attributes:
        layers: the new layers, by their name inside the block.
        reports: what became of each of them.
        outputs: hidden states behind the block, one ``[1, length, width]`` a row.
    """

    layers: Mapping[str, CodesLinear]
    reports: list[LayerReport]
    outputs: list[Tensor]


# (walk in front of the block, its index, names of the layers inside it, scheme, options)
RunBlock = Callable[[Walk, int, list[str], QuantScheme, Mapping[str, Any]], BlockResult]


@dataclass(frozen=True)
class BlockMethod:
    """A method with all that it takes beside a block: its name, scheme and options."""

    name: str
    run: RunBlock
    scheme: QuantScheme
    options: Mapping[str, Any]


def quantize_blocks(
    model: nn.Module,
    names: Sequence[str],
    method: BlockMethod,
    tokens: Tensor,
    kept: Progress | None = None,
    progress: bool = True,
) -> list[LayerReport]:
    """Quantize the named layers of all blocks, in place.

    Args:
        model: a decoder.
        names: layers by their name in the model.
        method: what to do with each block.
        tokens: calibration text, integers ``[rows, length]``.
        kept: where finished blocks are kept; those that are there already are taken over.
        progress: show a progress bar.

    Returns:
        One report a layer.

    Raises:
        ValueError: as :class:`qlearn.models.walk.Walk` and the method.
        OSError: for finished blocks that can't be written or read.
    """
    prefix = find_blocks(model)[0]
    homes: dict[int, list[str]] = {}  # a layer that stands in two places stays one
    for name, layer in block_linears(model).items():
        homes.setdefault(id(layer), []).append(name)
    reports: list[LayerReport] = []
    with evaluating(model), torch.no_grad():
        walk = Walk(model, tokens)
        title = f"{method.name} {method.scheme}"
        with progress_bar(len(walk.blocks), title, "block", progress) as bar:
            for index, block in enumerate(walk.blocks):
                inner = f"{prefix}.{index}." if prefix else f"{index}."
                inside = [name.removeprefix(inner) for name in names if name.startswith(inner)]
                own = [name for name in inside if is_linear(block.get_submodule(name))]
                found = kept.load(index, block, own, method.scheme) if kept else None
                if found is not None:
                    new_reports, hidden = found
                    walk.hidden = hidden or walk.run(index, walk.hidden)
                else:
                    result = method.run(walk, index, own, method.scheme, method.options)
                    for name, layer in result.layers.items():
                        for home in homes[id(block.get_submodule(name))]:
                            set_module(model, home, layer.eval())
                    walk.hidden = result.outputs
                    walk.check_finite(index)
                    new_reports = [
                        replace(report, name=inner + report.name) for report in result.reports
                    ]
                    if kept:
                        kept.save(index, block, new_reports, walk.hidden)
                reports += new_reports
                bar.update()
    order = {name: place for place, name in enumerate(names)}
    return sorted(reports, key=lambda report: order[report.name])
