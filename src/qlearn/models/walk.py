"""Walk: a model's transformer blocks, fed one after the other with the hidden states between them.

A quantizer needs the inputs of a few layers at a time, never the whole model's: the walk holds the
hidden states in front of one block, and what else each block is called with.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import device_of, find_blocks, input_vocabulary, is_linear, longest_row
from qlearn.models.layers.base import CodesLinear
from qlearn.models.predictor import body_of, check_tokens, run_body


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


def sharing_layers(walk: Walk, index: int) -> list[list[str]]:
    """The linear layers of one block in groups that are fed the very same tensors.

    Found by running one row, so that no architecture has to be known: in a Llama's block, query,
    key and value; output; gate and up; down. Groups come in the order in which they are run, those
    that the row did not reach (experts) at the end, each on its own.
    """
    layers = block_layers(walk.blocks[index])
    seen: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for name, layer in layers.items():

            def note(_: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                seen.setdefault(name, []).append(args[0])

            stack.enter_context(layer.register_forward_pre_hook(note))
        walk.run_one(index, walk.hidden[0])
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, inputs in seen.items():
        # The tensors are all alive in `seen`, so their ids are their own.
        groups.setdefault(tuple(id(tensor) for tensor in inputs), []).append(name)
    return [*groups.values(), *([name] for name in layers if name not in seen)]


def block_layers(block: nn.Module) -> dict[str, nn.Module]:
    """The linear layers inside a block by name, quantized ones among them."""
    return {
        name: module
        for name, module in block.named_modules()
        if is_linear(module) or isinstance(module, CodesLinear)
    }


def in_features(layer: nn.Module) -> int:
    """Width of a linear layer's input."""
    size = getattr(layer, "in_features", None)
    return int(size if size is not None else layer.nx)  # type: ignore[arg-type]


class Stop(Exception):
    """Ends a forward pass early; no error."""


def _first_call(body: nn.Module, block: nn.Module, row: Tensor) -> tuple[Tensor, Any, Any]:
    """What ``block`` is called with for ``row``; nothing after it is run."""
    call: list[tuple[Tensor, Any, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call.append(_split(args, kwargs))
        raise Stop

    with block.register_forward_pre_hook(note, with_kwargs=True), suppress(Stop):
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
