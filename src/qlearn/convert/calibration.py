"""Walks a model block by block and hands each linear layer what is known of its inputs.

Block ``i`` sees the outputs of the blocks before it as they are *now*: when ``visit`` has quantized
a block, the next one is calibrated on what the quantized block gives (GPTQ's and AWQ's order). At
any time there are the statistics of one block, and the hidden states between two.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.convert.statistics import AbsMax, AbsMean, Hessian, Inputs, Statistic
from qlearn.models.long_runs import progress_bar
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk, block_layers, in_features, sharing_layers

__all__ = ["AbsMax", "AbsMean", "Hessian", "Inputs", "Statistic", "Walk", "calibrate", "gather"]

Visit = Callable[[int, nn.Module, dict[str, Any]], object]


def calibrate(
    model: nn.Module,
    tokens: Tensor,
    make_statistic: Callable[[int], Statistic],
    visit: Visit,
    progress: bool = True,
) -> None:
    """Gather a statistic for every linear layer of a block, hand them over, go to the next block.

    Args:
        model: a decoder.
        tokens: calibration text, integers ``[rows, length]``.
        make_statistic: from ``in_features`` to a statistic, such as :class:`Hessian` or
            ``lambda width: Inputs(width, limit=256)``. Layers that share an input (query, key and
            value; gate and up) share one statistic.
        visit: called with the block's index, the block, and a dict from the layers' names inside
            the block to their statistics; it may change the block. Its statistics are freed after
            the call, unless it keeps them. Returning ``False`` promises that the block computes
            what it did, which saves one pass.
        progress: show a progress bar.

    Raises:
        ValueError: for tokens that the model can't read, a model without transformer blocks, or
            hidden states that turn NaN or infinite.
    """
    with evaluating(model), torch.no_grad():
        walk = Walk(model, tokens)
        with progress_bar(len(walk.blocks), "calibrate", "block", progress) as bar:
            for index, block in enumerate(walk.blocks):
                statistics, outputs = gather(walk, index, make_statistic)
                unchanged = visit(index, block, statistics) is False
                del statistics
                walk.hidden = outputs if unchanged else walk.run(index, walk.hidden)
                walk.check_finite(index)
                del outputs
                bar.update()


def gather(
    walk: Walk, index: int, make_statistic: Callable[[int], Statistic]
) -> tuple[dict[str, Statistic], list[Tensor]]:
    """The statistics of one block's layers, by their names inside it, and the block's outputs.

    The rows go through one after the other, so that at any time one row's activations are there.
    """
    layers = block_layers(walk.blocks[index])
    statistics: dict[str, Statistic] = {}
    with ExitStack() as stack:
        for names in sharing_layers(walk, index):
            statistic = make_statistic(in_features(layers[names[0]]))
            statistics |= dict.fromkeys(names, statistic)

            def note(_: nn.Module, args: tuple[Any, ...], statistic: Statistic = statistic) -> None:
                statistic.add(args[0].reshape(-1, args[0].shape[-1]))

            stack.enter_context(layers[names[0]].register_forward_pre_hook(note))
        outputs = walk.run(index, walk.hidden)
    return {name: statistics[name] for name in layers}, outputs
