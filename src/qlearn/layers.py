"""QuantizedLinear: a linear layer that keeps its weight as packed codes.

What it stores is what it costs: codes packed to ``bits`` each, scales in float16, zero-points
packed like codes. Its forward pass shows the arithmetic: unpack, ``(code - zero_point) * scale``,
then an ordinary matrix product, a few rows at a time, so that the float weight never exists whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn.affine import QuantizedTensor, quantize
from qlearn.blocks import weight_of
from qlearn.packing import pack, unpack
from qlearn.scheme import QuantScheme

_CHUNK = 1 << 17  # weights dequantized at a time: their floats stay in the CPU's cache
_PRODUCT_CHUNK = 1 << 20  # weights multiplied at a time: 4 MB of float32


class QuantizedLinear(nn.Module):
    """``y = x W'^T + b`` with ``W' = (codes - zero_point) * scale``.

    Args:
        quantized: a weight ``[out_features, in_features]`` as :func:`qlearn.affine.quantize`
            returns it.
        bias: ``[out_features]`` or ``None``.

    Attributes:
        codes: uint8 ``[out_features, ceil(in_features * bits / 8)]``, packed.
        scale: float16 ``[rows, groups]``; float32 where a scale overflows float16 or is smaller
            than its smallest normal number.
        zero_point: uint8 ``[rows, ceil(groups * bits / 8)]``, packed; ``None`` for a symmetric
            scheme, whose zero-point is the constant ``2**(bits-1)``.

    Raises:
        ValueError: for a weight that is not a matrix, a bias of another shape, codes or
            zero-points that the scheme does not hold.

    >>> layer = QuantizedLinear.from_linear(nn.Linear(64, 8), QuantScheme(4, group_size=32))
    >>> layer.nbytes  # 8 rows of 32 bytes, 16 float16 scales, 8 bytes of zero-points
    296
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None

    def __init__(self, quantized: QuantizedTensor, bias: Tensor | None = None) -> None:
        super().__init__()
        scheme = quantized.scheme
        if len(quantized.shape) != 2:
            raise ValueError(
                f"quantized has shape {tuple(quantized.shape)}; "
                "pass a matrix [out_features, in_features]"
            )
        self.out_features, self.in_features = quantized.shape
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"bias has shape {tuple(bias.shape)}; pass ({self.out_features},)")
        self.scheme = scheme
        self.dtype = quantized.dtype
        self.register_buffer("codes", pack(quantized.codes, scheme.bits))
        self.register_buffer("scale", _stored_scale(quantized.scale))
        if scheme.symmetric:
            if bool((quantized.zero_point != scheme.levels // 2).any()):
                raise ValueError(
                    f"zero_point of a symmetric scheme is {scheme.levels // 2} everywhere; "
                    "use a scheme with symmetric=False for others"
                )
            self.register_buffer("zero_point", None)
        else:
            self.register_buffer("zero_point", pack(quantized.zero_point, scheme.bits))
        if bias is None or isinstance(bias, nn.Parameter):
            self.register_parameter("bias", bias)
        else:
            self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def from_linear(cls, linear: nn.Module, scheme: QuantScheme) -> QuantizedLinear:
        """Round an ``nn.Linear`` or a ``Conv1D`` to the nearest codes (RTN); the bias is shared.

        Raises:
            ValueError: as :func:`qlearn.affine.quantize`, and for other modules.
        """
        bias = getattr(linear, "bias", None)
        return cls(quantize(weight_of(linear), scheme), bias)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``, in the input's dtype.

        Gradients flow through the dequantized weight to the input; the codes get none.
        """
        output: Tensor = _Product.apply(input, self)
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

    def _dequantize_into(self, out: Tensor, rows: slice) -> None:
        """``out = (codes - zero_point) * scale`` for some rows, by way of float32."""
        bits = self.scheme.bits
        grid_rows = slice(None) if self.scheme.group_size == "tensor" else rows
        scale = self.scale[grid_rows]
        groups = scale.shape[-1]
        codes = unpack(self.codes[rows], bits, self.in_features)
        values = out.copy_(codes) if out.dtype == torch.float32 else codes.to(torch.float32)
        grouped = values.unflatten(-1, (groups, -1))
        if self.zero_point is None:
            grouped.sub_(self.scheme.levels // 2)
        else:
            zero_point = unpack(self.zero_point[grid_rows], bits, groups)
            grouped.sub_(zero_point.to(torch.float32)[..., None])
        grouped.mul_(scale.to(torch.float32)[..., None])
        if values is not out:
            out.copy_(values)

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
    def nbytes(self) -> int:
        """Bytes that hold the weight: codes, scales and zero-points as they are stored."""
        tensors = [self.codes, self.scale, self.zero_point]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        """``.to(dtype)`` moves the layer and changes what it computes in, not what it stores."""
        scale = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != scale.dtype:
            self.scale = scale.to(self.scale.device)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take over the dtype of stored scales: float32 ones must not be squeezed into float16."""
        scale = state_dict.get(f"{prefix}scale")
        if isinstance(scale, Tensor):
            self.scale = self.scale.to(scale.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _stored_scale(scale: Tensor) -> Tensor:
    """Float16 where that keeps every scale to 11 bits, else float32."""
    half = torch.finfo(torch.float16)
    low, high = torch.aminmax(scale.abs())
    fits = half.smallest_normal <= float(low) and float(high) <= half.max
    return scale.to(torch.float16 if fits else torch.float32)


class _Product(torch.autograd.Function):
    """``x W'^T``; the backward pass dequantizes again instead of keeping the floats alive."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: QuantizedLinear) -> Tensor:
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
        (gradient,) = gradients
        layer: QuantizedLinear = ctx.layer
        result = gradient.new_zeros((*gradient.shape[:-1], layer.in_features))
        for rows, weight in layer.weight_chunks(gradient.dtype):
            result += gradient[..., rows] @ weight
        return result, None
