"""CodesLinear: what linear layers share that keep their weight as codes.

The forward pass dequantizes and multiplies a few rows at a time, so that the float weight never
exists whole. A subclass says how its codes become floats, and which bytes hold them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHUNK = 1 << 17  # weights dequantized at a time: their floats stay in the CPU's cache
_PRODUCT_CHUNK = 1 << 20  # weights multiplied at a time: 4 MB of float32


class CodesLinear(nn.Module, ABC):
    """``y = x W'^T + b`` where a subclass makes ``W'`` out of what it stores.

    A subclass registers a buffer ``codes``, sets ``scheme``, and has :meth:`_dequantize_into` and
    :attr:`nbytes`.

    Args:
        shape: ``(out_features, in_features)``.
        dtype: of the floats that :meth:`dequantize` returns.
        bias: ``[out_features]`` or ``None``; a parameter is shared, a tensor is wrapped.

    Raises:
        ValueError: for a shape that is no matrix's, or a bias of another shape.
    """

    codes: Tensor
    scheme: Any

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, bias: Tensor | None) -> None:
        super().__init__()
        if len(shape) != 2:
            raise ValueError(
                f"quantized has shape {shape}; pass a matrix [out_features, in_features]"
            )
        self.out_features, self.in_features = shape
        self.dtype = dtype
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"bias has shape {tuple(bias.shape)}; pass ({self.out_features},)")
        if bias is None or isinstance(bias, nn.Parameter):
            self.register_parameter("bias", bias)
        else:
            self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    @abstractmethod
    def _dequantize_into(self, out: Tensor, rows: slice) -> None:
        """Write the floats of some rows to ``out`` ``[rows, in_features]``, of any float dtype."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that hold the weight."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``, in the input's dtype.

        Gradients flow through the dequantized weight to the input; the codes get none.
        """
        output: Tensor = Product.apply(input, self)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The whole weight ``[out_features, in_features]`` as floats.

        ``dtype`` is by default that of the weight the layer was made from, or of the last
        ``.to(dtype)``.
        """
        dtype = dtype or self.dtype
        shape = self.out_features, self.in_features
        weight = torch.empty(shape, dtype=dtype, device=self.codes.device)
        for rows in self._row_slices(_CHUNK):
            self._dequantize_into(weight[rows], rows)
        return weight

    def _row_slices(self, weights: int) -> Iterator[slice]:
        """All output rows, about ``weights`` weights at a time."""
        step = max(1, weights // self.in_features)
        for start in range(0, self.out_features, step):
            yield slice(start, min(start + step, self.out_features))

    def weight_chunks(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """The float weight, some rows at a time; the chunks share one buffer."""
        buffer: Tensor | None = None
        for rows in self._row_slices(_PRODUCT_CHUNK):
            count = rows.stop - rows.start
            if buffer is None:
                shape = count, self.in_features
                buffer = torch.empty(shape, dtype=dtype, device=self.codes.device)
            step = max(1, _CHUNK // self.in_features)
            for start in range(rows.start, rows.stop, step):
                part = slice(start, min(start + step, rows.stop))
                self._dequantize_into(
                    buffer[part.start - rows.start : part.stop - rows.start], part
                )
            yield rows, buffer[:count]

    @property
    def bits_per_weight(self) -> float:
        """Stored bits over the number of weights."""
        return 8 * self.nbytes / (self.in_features * self.out_features)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.scheme}, {self.bits_per_weight:.3f} bits a weight"
        )


class Product(torch.autograd.Function):
    """``x W'^T``; the backward pass dequantizes again instead of keeping the floats alive."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: CodesLinear) -> Tensor:
        """Multiply, a few rows of the weight at a time."""
        ctx.layer = layer
        output = input.new_empty((*input.shape[:-1], layer.out_features))
        for rows, weight in layer.weight_chunks(input.dtype):
            product = F.linear(input, weight)
            if rows.stop - rows.start == layer.out_features:
                return product
            output[..., rows] = product
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Give the input its gradient, the layer none."""
        (gradient,) = gradients
        layer: CodesLinear = ctx.layer
        result = gradient.new_zeros((*gradient.shape[:-1], layer.in_features))
        for rows, weight in layer.weight_chunks(gradient.dtype):
            result += gradient[..., rows] @ weight
        return result, None
