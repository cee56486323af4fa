"""CodebookLinear: a linear layer whose weight is NF4, FP4, or codes of another codebook."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qlearn.models.blocks import weight_of
from qlearn.models.layers.base import CodesLinear
from qlearn.numerics.codebook import (
    BlockwiseTensor,
    CodebookScheme,
    dequantize_range,
    quantize_blockwise,
)
from qlearn.numerics.nested import NestedAbsmax


class CodebookLinear(CodesLinear):
    """``y = x W'^T + b`` with ``W' = level * absmax``.

    Args:
        quantized: a weight ``[out_features, in_features]`` as
            :func:`qlearn.numerics.codebook.quantize_blockwise` returns it.
        bias: ``[out_features]`` or ``None``.

    Attributes:
        codes: uint8, all rows one after the other, two codes a byte.
        absmax: float32 ``[blocks]``; with double quantization uint8 codes for it.
        nested_absmax: float32 ``[ceil(blocks / 256)]``, with double quantization alone.
        nested_offset: float32 scalar, likewise.

    Raises:
        ValueError: for a weight that is not a matrix, or a bias of another shape.

    >>> from qlearn.numerics.codebook import NF4
    >>> CodebookLinear.from_linear(nn.Linear(64, 8), CodebookScheme(NF4)).nbytes
    288
    """

    absmax: Tensor
    nested_absmax: Tensor | None
    nested_offset: Tensor | None
    scheme: CodebookScheme

    def __init__(self, quantized: BlockwiseTensor, bias: Tensor | None = None) -> None:
        super().__init__(tuple(quantized.shape), quantized.dtype, bias)
        self.scheme = quantized.scheme
        stored = quantized.statistics
        nested = stored if isinstance(stored, NestedAbsmax) else None
        self.register_buffer("codes", quantized.codes)
        self.register_buffer("absmax", stored.codes if isinstance(stored, NestedAbsmax) else stored)
        self.register_buffer("nested_absmax", nested.absmax if nested else None)
        self.register_buffer("nested_offset", nested.offset if nested else None)

    @classmethod
    def from_linear(cls, linear: nn.Module, scheme: CodebookScheme) -> CodebookLinear:
        """Round an ``nn.Linear`` or a ``Conv1D`` to the nearest levels; the bias is shared.

        Raises:
            ValueError: as :func:`qlearn.numerics.codebook.quantize_blockwise`, and for other
                modules.
        """
        quantized = quantize_blockwise(
            weight_of(linear), scheme.codebook, scheme.block_size, scheme.double_quant
        )
        return cls(quantized, getattr(linear, "bias", None))

    @property
    def quantized(self) -> BlockwiseTensor:
        """The weight as it is stored; it shares the layer's memory."""
        stored: Tensor | NestedAbsmax = self.absmax
        if self.nested_absmax is not None and self.nested_offset is not None:
            stored = NestedAbsmax(self.absmax, self.nested_absmax, self.nested_offset)
        shape = torch.Size((self.out_features, self.in_features))
        return BlockwiseTensor(self.codes, stored, self.scheme, shape, self.dtype)

    def _dequantize_into(self, out: Tensor, rows: slice) -> None:
        start, stop = rows.start * self.in_features, rows.stop * self.in_features
        out.copy_(dequantize_range(self.quantized, start, stop).view(out.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of codes and absmax as they are stored; the table of levels is not counted."""
        return self.quantized.nbytes

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CodebookLinear:
        """``.to(dtype)`` moves the layer and changes what it computes in, not what it stores."""
        stored = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, before in stored.items():
            moved = getattr(self, name)
            if moved.dtype != before.dtype:
                setattr(self, name, before.to(moved.device))
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self
