"""QuantizedLinear: a linear layer that keeps its weight as packed codes.

What it stores is what it costs: codes packed to ``bits`` each, scales in float16, zero-points
packed like codes. Its arithmetic is plain to see: unpack, ``(code - zero_point) * scale``, then the
product of :mod:`qlearn.models.layers.base`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import weight_of
from qlearn.models.layers.base import CodesLinear
from qlearn.numerics.affine import QuantizedTensor, quantize
from qlearn.numerics.packing import pack, unpack
from qlearn.numerics.scheme import QuantScheme


class QuantizedLinear(CodesLinear):
    """``y = x W'^T + b`` with ``W' = (codes - zero_point) * scale``.

    Args:
        quantized: a weight ``[out_features, in_features]`` as
            :func:`qlearn.numerics.affine.quantize` returns it.
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
        super().__init__(tuple(quantized.shape), quantized.dtype, bias)
        scheme = quantized.scheme
        self.scheme = scheme
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

    @classmethod
    def from_linear(cls, linear: nn.Module, scheme: QuantScheme) -> QuantizedLinear:
        """Round an ``nn.Linear`` or a ``Conv1D`` to the nearest codes (RTN); the bias is shared.

        Raises:
            ValueError: as :func:`qlearn.numerics.affine.quantize`, and for other modules.
        """
        bias = getattr(linear, "bias", None)
        return cls(quantize(weight_of(linear), scheme), bias)

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

    @property
    def nbytes(self) -> int:
        """Bytes that hold the weight: codes, scales and zero-points as they are stored."""
        tensors = [self.codes, self.scale, self.zero_point]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

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


def quantized_tensor(layer: QuantizedLinear) -> QuantizedTensor:
    """Unpack a layer: codes ``[out, in]``, scale and zero-point ``[out, groups]``.

    The scale keeps the dtype that the layer stores it in.
    """
    codes = unpack(layer.codes, layer.scheme.bits, layer.in_features)
    return QuantizedTensor(codes, layer.scale, zero_points(layer), layer.scheme, codes.shape)


def zero_points(layer: QuantizedLinear) -> Tensor:
    """The zero-points of a layer, int32, the shape of its scale."""
    if layer.zero_point is None:
        return torch.full_like(layer.scale, layer.scheme.levels // 2, dtype=torch.int32)
    return unpack(layer.zero_point, layer.scheme.bits, layer.scale.shape[-1]).to(torch.int32)


def _stored_scale(scale: Tensor) -> Tensor:
    """Float16 where that keeps every scale to 11 bits, else float32."""
    half = torch.finfo(torch.float16)
    low, high = torch.aminmax(scale.abs())
    fits = half.smallest_normal <= float(low) and float(high) <= half.max
    return scale.to(torch.float16 if fits else torch.float32)
