"""What the formats of quantized checkpoints share: one layer's codes, and the questions put to it.

A format writes a model into a folder. Most are a safetensors file in some layout, which says how a
layer's codes, scales and zero-points lie in it, which schemes it can hold, and what a loader must
read in ``config.json`` to find its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from qlearn.models.layers.base import CodesLinear
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.codebook import BlockwiseTensor, CodebookScheme
from qlearn.numerics.scheme import QuantScheme

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds, as far as its configuration has to name it.

    Attributes:
        scheme: the one scheme of all quantized layers.
        dtype: what they compute in, by name, such as ``"float32"``.
        quantized: dotted names of the quantized layers.
        kept: dotted names of the linear layers that keep their floats, the output head included.
        blocks: dotted name of the list of transformer blocks.
    """

    scheme: Any
    dtype: str
    quantized: tuple[str, ...]
    kept: tuple[str, ...]
    blocks: str


class Format(Protocol):
    """One way to write a quantized model down: what ``save_quantized`` asks of it, in order."""

    @property
    def name(self) -> str:
        """What ``save_quantized`` calls it."""
        ...

    @property
    def layer(self) -> type[CodesLinear]:
        """The kind of layer that it holds."""
        ...

    def check_model(
        self,
        model: Any,
        layers: Mapping[str, CodesLinear],
        tokenizer: PreTrainedTokenizerBase | None,
    ) -> None:
        """Raise a ValueError for a model or a tokenizer that it can't hold."""
        ...

    def check(self, name: str, layer: Any) -> None:
        """Raise a ValueError for a layer that it can't hold."""
        ...

    def write(
        self,
        model: Any,
        layers: Mapping[str, CodesLinear],
        tokenizer: PreTrainedTokenizerBase | None,
        folder: Path,
    ) -> None:
        """Write all files into a folder that is there and empty."""
        ...


class Layout(Protocol):
    """One way to lay quantized layers out in a safetensors file."""

    @property
    def name(self) -> str:
        """What ``save_quantized`` calls it."""
        ...

    @property
    def layer(self) -> type[CodesLinear]:
        """The kind of layer that it holds."""
        ...

    @property
    def mark(self) -> str:
        """The tensor whose presence tells a quantized layer."""
        ...

    def tensor_names(self, scheme: Any) -> tuple[str, ...]:
        """The tensors of a layer that a file must hold."""
        ...

    def check(self, name: str, layer: Any) -> None:
        """Raise a ValueError where this layout, or its loader, can't hold the layer."""
        ...

    def tensors(self, layer: Any) -> dict[str, Tensor]:
        """What is written for a layer, by the last part of its name."""
        ...

    def config(self, contents: Contents) -> dict[str, Any]:
        """The ``quantization_config`` of ``config.json``."""
        ...

    def read_scheme(self, config: Mapping[str, Any]) -> QuantScheme | CodebookScheme:
        """The scheme that a ``quantization_config`` describes."""
        ...

    def read(
        self, tensors: Mapping[str, Tensor], shape: tuple[int, int], scheme: Any
    ) -> QuantizedTensor | BlockwiseTensor:
        """A layer of ``(out_features, in_features)`` out of its tensors."""
        ...


def check_choice(name: str, layout: str, argument: str, value: object, fitting: list[Any]) -> None:
    """Raise a ValueError where a layer's ``value`` is not one that the layout can hold."""
    if value not in fitting:
        listed = ", ".join(map(repr, fitting))
        raise ValueError(
            f"layer {name!r} has {argument}={value!r}, which format={layout!r} does not hold; "
            f"quantize with one of {listed}, or choose another format"
        )


def check_whole_words(name: str, layout: str, argument: str, size: int, bits: int) -> None:
    """Raise a ValueError where ``size`` codes do not fill 32-bit words to the last bit."""
    if size * bits % 32:
        raise ValueError(
            f"layer {name!r} has {argument}={size}, whose {bits}-bit codes do not fill 32-bit "
            f"words, as format={layout!r} wants; leave the layer out with skip=, or choose "
            'format="compressed-tensors"'
        )


def stored_group_size(scheme: QuantScheme) -> int:
    """How configurations write a group size: -1 is per channel."""
    assert scheme.group_size != "tensor"
    return -1 if scheme.group_size is None else scheme.group_size


def read_group_size(value: object) -> int | None:
    """The inverse of :func:`stored_group_size`; ``None``, or any count below 1, is per channel."""
    if value is None or (isinstance(value, int) and value < 1):
        return None
    return int(str(value))


def expect(tensor: Tensor, name: str, shape: tuple[int, ...], dtype: torch.dtype | None) -> Tensor:
    """Return ``tensor`` where it has this shape (-1: any) and dtype (``None``: any float).

    Raises:
        ValueError: where it has another one.
    """
    fits = tensor.is_floating_point() if dtype is None else tensor.dtype == dtype
    same = tensor.dim() == len(shape)
    same = same and all(want in (-1, have) for want, have in zip(shape, tensor.shape, strict=True))
    if not same or not fits:
        raise ValueError(
            f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}; "
            f"{dtype or 'floats'} of shape {shape} belong there"
        )
    return tensor
