"""True-sequential passes: each group of layers sees what the quantized groups before it give.

Within a block, query, key and value come first, then the output projection, then gate and up, then
down. One pass of the block serves them all: it halts in front of each group, the group is quantized
from the inputs that stand there, and the pass goes on through the new weights. So nothing is
computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.walk import Walk, block_layers, sharing_layers

Finish = Callable[[list[str], Tensor], None]


def run_stages(walk: Walk, index: int, names: Collection[str], finish: Finish) -> list[Tensor]:
    """Run all rows through one block, finishing its layers one group after the other.

    Args:
        walk: stands in front of the block.
        index: the block's.
        names: the layers to finish, by their name inside the block; others are left as they are.
        finish: called with the names of layers that share an input, and with that input,
            ``[tokens, in_features]``. It puts a new ``weight`` into each of these modules (not into
            the tensor, which a copy of the model may share).

    Returns:
        The outputs of the finished block, one a row.

    Raises:
        ValueError: for a layer that no row reached.
    """
    layers = block_layers(walk.blocks[index])
    reached: set[str] = set()
    with ExitStack() as stack:
        for shared in sharing_layers(walk, index):
            group = [name for name in shared if name in names]

            def halt(_: nn.Module, args: tuple[Any, ...], group: list[str] = group) -> None:
                if not reached.issuperset(group):
                    reached.update(group)
                    finish(group, args[0].flatten(0, -2))

            # Whichever layer of the group is run first: that may depend on the rows.
            for name in group:
                stack.enter_context(layers[name].register_forward_pre_hook(halt))
        # All rows at once: a halted pass can't begin again for the next row.
        hidden = torch.cat(walk.hidden)
        walk.hidden = list(hidden.split(1))  # the rows as they were need not live beside it
        outputs = walk.run_one(index, hidden).split(1)
    missed = sorted(set(names) - reached)
    if missed:
        raise ValueError(
            f"calibration never runs layer {missed[0]!r} of block {index}; calibrate on more "
            f"text, or leave the layer out with skip=({missed[0]!r},)"
        )
    return list(outputs)
