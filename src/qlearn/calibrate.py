"""Walks a model block by block and hands each linear layer what is known of its inputs.

Block ``i`` sees the outputs of the blocks before it as they are *now*: when ``visit`` has quantized
a block, the next one is calibrated on what the quantized block gives (GPTQ's and AWQ's order). At
any time there are the statistics of one block, and the hidden states between two.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from qlearn.activations import AbsMax, AbsMean, Hessian, Inputs, Statistic
from qlearn.blocks import device_of, find_blocks, input_vocabulary, is_linear, longest_row
from qlearn.layers import QuantizedLinear
from qlearn.logits import (
    body_of,
    check_tokens,
    evaluating,
    run_body,
)

__all__ = ["AbsMax", "AbsMean", "Hessian", "Inputs", "Statistic", "Walk", "calibrate"]

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
        bar = tqdm(total=len(walk.blocks), desc="calibrate", unit="block", disable=not progress)
        with bar:
            for index, block in enumerate(walk.blocks):
                statistics, outputs = _gather(walk, index, make_statistic)
                unchanged = visit(index, block, statistics) is False
                del statistics
                walk.hidden = outputs if unchanged else walk.run(index, walk.hidden)
                walk.check_finite(index)
                del outputs
                bar.update()


class Walk:
    """A model's blocks, their first inputs, and the other arguments that each block is called with.

    Attributes:
        blocks: the transformer blocks.
        hidden: inputs of the next block, one ``[1, length, width]`` a row of tokens; at first
            those of block 0.
        arguments: for each block its positional arguments after the hidden states, and its
            keyword arguments (position embeddings, attention mask).

    Raises:
        ValueError: as :func:`calibrate`.
    """

    def __init__(self, model: nn.Module, tokens: Tensor) -> None:
        check_tokens(tokens, input_vocabulary(model), longest_row(model), least=1)
        self.blocks = list(find_blocks(model)[1])
        body = body_of(model)
        self.hidden: list[Tensor] = []
        rows = tokens.to(device_of(model)).long().split(1)
        # Blocks may differ in mask (sliding window) or rotation, so a whole pass of one row tells
        # what each is called with; the rows are of one length, so that holds for all of them.
        self.arguments = _record(body, self.blocks, rows[0])
        for row in rows:
            hidden, args, kwargs = _first_call(body, self.blocks[0], row)
            if not _same((args, kwargs), self.arguments[0]):
                raise ValueError(
                    f"model={type(model).__name__} calls its blocks with arguments that depend on "
                    "the tokens, which block-by-block calibration can't replay; use another model"
                )
            self.hidden.append(hidden)

    def run_one(self, index: int, hidden: Tensor) -> Tensor:
        """Output of one block for one row."""
        args, kwargs = self.arguments[index]
        output = self.blocks[index](hidden, *args, **kwargs)
        return output if isinstance(output, Tensor) else output[0]

    def run(self, index: int, hidden: list[Tensor]) -> list[Tensor]:
        """Outputs of one block for all rows."""
        return [self.run_one(index, row) for row in hidden]

    def check_finite(self, index: int) -> None:
        """Raise a ``ValueError`` where the hidden states after a block are NaN or infinite."""
        if not all(bool(torch.isfinite(row.sum())) for row in self.hidden):
            raise ValueError(
                f"block {index} gives NaN or infinite hidden states; look at its weights, or load "
                "the model in dtype=torch.float32 if float16 overflows"
            )


def _gather(
    walk: Walk, index: int, make_statistic: Callable[[int], Statistic]
) -> tuple[dict[str, Statistic], list[Tensor]]:
    """The statistics of one block's layers, and the block's outputs."""
    layers = _layers(walk.blocks[index])
    leaders = _leaders(walk, index, layers)
    statistics = {
        name: make_statistic(_in_features(layers[name])) for name in dict.fromkeys(leaders.values())
    }
    with ExitStack() as stack:
        for name, statistic in statistics.items():

            def note(_: nn.Module, args: tuple[Any, ...], statistic: Statistic = statistic) -> None:
                statistic.add(args[0].reshape(-1, args[0].shape[-1]))

            stack.enter_context(layers[name].register_forward_pre_hook(note))
        outputs = walk.run(index, walk.hidden)
    return {name: statistics[leader] for name, leader in leaders.items()}, outputs


def _leaders(walk: Walk, index: int, layers: dict[str, nn.Module]) -> dict[str, str]:
    """For each layer the first one that is fed the very same tensors, found by running one row."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    with ExitStack() as stack:
        for name, layer in layers.items():

            def note(_: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                seen[name].append(args[0])

            stack.enter_context(layer.register_forward_pre_hook(note))
        walk.run_one(index, walk.hidden[0])
    leaders: dict[str, str] = {}
    first: dict[tuple[int, ...], str] = {}
    for name, inputs in seen.items():
        # The tensors are all alive in `seen`, so their ids are their own. A layer that this row
        # did not reach (an expert) shares with nobody.
        key = tuple(id(tensor) for tensor in inputs)
        leaders[name] = first.setdefault(key, name) if key else name
    return leaders


def _layers(block: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in block.named_modules()
        if is_linear(module) or isinstance(module, QuantizedLinear)
    }


def _in_features(layer: nn.Module) -> int:
    size = getattr(layer, "in_features", None)
    return int(size if size is not None else layer.nx)  # type: ignore[arg-type]


class _Stop(Exception):
    """Ends a forward pass early; no error."""


def _first_call(body: nn.Module, block: nn.Module, row: Tensor) -> tuple[Tensor, Any, Any]:
    """What ``block`` is called with for ``row``; nothing after it is run."""
    call: list[tuple[Tensor, Any, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call.append(_split(args, kwargs))
        raise _Stop

    with block.register_forward_pre_hook(note, with_kwargs=True), suppress(_Stop):
        run_body(body, row)
    return call[0]


def _record(body: nn.Module, blocks: list[nn.Module], row: Tensor) -> list[tuple[Any, Any]]:
    """The arguments beside the hidden states that each block is called with."""
    calls: dict[int, tuple[Any, Any]] = {}
    with ExitStack() as stack:
        for index, block in enumerate(blocks):

            def note(_: Any, args: Any, kwargs: dict[str, Any], index: int = index) -> None:
                calls[index] = _split(args, kwargs)[1:]

            stack.enter_context(block.register_forward_pre_hook(note, with_kwargs=True))
        run_body(body, row)
    return [calls[index] for index in range(len(blocks))]


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Any, Any]:
    """Hidden states, other positional arguments, other keyword arguments of a block."""
    if args:
        return args[0], args[1:], kwargs
    rest = dict(kwargs)
    return rest.pop("hidden_states"), (), rest


def _same(a: Any, b: Any) -> bool:
    """Whether two nests of tuples, lists, dicts and tensors hold the same."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.shape == b.shape and torch.equal(a, b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a is b or bool(a == b)
