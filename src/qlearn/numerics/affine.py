"""Affine quantization: a real weight becomes ``(code - zero_point) * scale``.

Rounding is half to even, as torch rounds. Scales are computed in float32 (float64 for float64
weights). A group whose scale would be 0, because its weights are all zero or too small for one,
gets scale 1 and keeps every weight at its zero-point, so it comes back as exact zeros.

Sources: Jacob et al. 2018 (arXiv 1712.05877) equation 1; the conventions are those that GPTQ, AWQ
and compressed-tensors use, see :data:`qlearn.numerics.scheme.CONVENTIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qlearn.numerics.scheme import QuantScheme

_CHUNK = 1 << 18  # weights handled at a time: they stay in the CPU's cache from step to step
AWQ_MIN_SCALE = 1e-5


@dataclass(frozen=True)
class QuantizedTensor:
    """Codes and the grid that gives them their meaning.

    Attributes:
        codes: uint8 in ``[0, 2**bits - 1]``, the weight's own shape.
        scale: float, shape ``[rows, groups]`` (``[1, 1]`` per tensor).
        zero_point: int32, same shape as ``scale``: the code that stands for 0.
        scheme: the :class:`~qlearn.numerics.scheme.QuantScheme`.
        shape: shape of the weight.
        dtype: dtype of the weight, and of what :meth:`dequantize` returns.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    scheme: QuantScheme
    shape: torch.Size
    dtype: torch.dtype = torch.float32

    def dequantize(self) -> Tensor:
        """The weights that the codes stand for, shape ``shape``, dtype ``dtype``."""
        return dequantize(self)

    @property
    def stored_bits(self) -> int:
        """Bits on disk: packed codes, float16 scales, packed zero-points, padding."""
        return self.scheme.stored_bits(tuple(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self.stored_bits // 8

    @property
    def bits_per_weight(self) -> float:
        """Stored bits over the number of weights."""
        return self.scheme.bits_per_weight(tuple(self.shape))


def choose_qparams(weight: Tensor, scheme: QuantScheme) -> tuple[Tensor, Tensor]:
    """Fit the grid of each group to its weights.

    Args:
        weight: any float dtype, shape ``[..., in_features]``.
        scheme: bits, convention and group size.

    Returns:
        ``(scale, zero_point)``, each ``[rows, groups]``: float32 (float64 for float64 weights)
        and int32.

    Raises:
        ValueError: for a weight that is empty, not floating point, NaN or infinite, or a group
            size that does not divide ``in_features``.

    >>> choose_qparams(torch.tensor([[-1.0, 0.0, 2.0]]), QuantScheme(bits=2))
    (tensor([[1.]]), tensor([[1]], dtype=torch.int32))
    """
    groups = _grouped(weight, scheme)
    low, high = torch.aminmax(groups, dim=-1)
    _check_finite(low, high, weight)
    return _fit(low, high, scheme)


def quantize(weight: Tensor, scheme: QuantScheme) -> QuantizedTensor:
    """Round a weight to the nearest codes of a grid fitted to it (RTN).

    Args:
        weight: any float dtype and strides, shape ``[..., in_features]``.
        scheme: bits, convention and group size.

    Raises:
        ValueError: as :func:`choose_qparams`.

    >>> quantize(torch.tensor([[-1.0, 0.0, 2.0]]), QuantScheme(bits=2)).codes
    tensor([[0, 1, 3]], dtype=torch.uint8)
    """
    groups = _grouped(weight, scheme)
    rows, per_row, size = groups.shape
    codes = torch.empty((rows, per_row, size), dtype=torch.uint8, device=weight.device)
    scale = torch.empty((rows, per_row), dtype=groups.dtype, device=weight.device)
    zero_point = torch.empty((rows, per_row), dtype=torch.int32, device=weight.device)
    step = max(1, _CHUNK // (per_row * size))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        low, high = torch.aminmax(groups[part], dim=-1)
        _check_finite(low, high, weight)
        scale[part], zero_point[part] = _fit(low, high, scheme)
        codes[part] = round_to_codes(
            groups[part], scale[part, :, None], zero_point[part, :, None], scheme
        )
    return QuantizedTensor(
        codes.view(weight.shape), scale, zero_point, scheme, weight.shape, weight.dtype
    )


def round_to_codes(
    weight: Tensor, scale: Tensor, zero_point: Tensor, scheme: QuantScheme
) -> Tensor:
    """Codes of ``weight`` on a given grid: ``clamp(round(w / scale) + zero_point)``.

    ``scale`` and ``zero_point`` broadcast against ``weight``. Returns floats that hold whole
    numbers in ``[0, 2**bits - 1]`` (from 1 under the restricted convention).
    """
    lowest = 1 if scheme.convention == "restricted" else 0
    return (weight / scale).round_().add_(zero_point).clamp_(lowest, scheme.max_code)


def dequantize(quantized: QuantizedTensor) -> Tensor:
    """``(codes - zero_point) * scale``, in the weight's own shape and dtype."""
    groups = quantized.codes.reshape(quantized.scheme.grid_shape(tuple(quantized.shape)))
    values = groups.to(quantized.scale.dtype).sub_(quantized.zero_point[..., None])
    return values.mul_(quantized.scale[..., None]).view(quantized.shape).to(quantized.dtype)


def fake_quantize(weight: Tensor, scheme: QuantScheme) -> Tensor:
    """Quantize and dequantize: the weight as the quantized model sees it."""
    return quantize(weight, scheme).dequantize()


def sqnr(signal: Tensor, approximation: Tensor) -> float:
    """Signal to quantization-noise ratio, ``10 log10(sum x^2 / sum (x - x')^2)``, in dB.

    Infinite where the two are equal.

    Raises:
        ValueError: for shapes that differ, or a signal without energy.
    """
    if signal.shape != approximation.shape:
        raise ValueError(
            f"approximation has shape {tuple(approximation.shape)}, signal {tuple(signal.shape)}; "
            "pass two tensors of one shape"
        )
    power = signal.detach().double().square().sum()
    if not 0 < power < torch.inf:
        raise ValueError(f"signal has energy {power.item()}; pass finite values that are not all 0")
    noise = (signal.detach().double() - approximation.detach().double()).square().sum()
    return float(10 * torch.log10(power / noise))


def _grouped(weight: Tensor, scheme: QuantScheme) -> Tensor:
    """``weight`` as float32 or float64 ``[rows, groups, size]``; a view where that is possible."""
    if not isinstance(weight, Tensor):
        raise ValueError(
            f"weight={type(weight).__name__} is not a tensor; pass one, such as layer.weight or "
            "torch.as_tensor(array)"
        )
    if not isinstance(scheme, QuantScheme):
        raise ValueError(
            f"scheme={scheme!r} is not a QuantScheme; pass one such as "
            "QuantScheme(bits=4, group_size=64)"
        )
    if not weight.is_floating_point():
        raise ValueError(f"weight has dtype {weight.dtype}; pass a floating-point tensor")
    if weight.is_meta or weight.layout != torch.strided:
        state = "on the meta device, without values" if weight.is_meta else f"{weight.layout}"
        raise ValueError(f"weight is {state}; load it first, or pass weight.to_dense()")
    shape = scheme.grid_shape(tuple(weight.shape))
    wide = weight.detach()
    if weight.dtype not in (torch.float32, torch.float64):
        wide = wide.to(torch.float32)
    return wide.reshape(shape)


def _check_finite(low: Tensor, high: Tensor, weight: Tensor) -> None:
    """NaN and infinities both survive ``aminmax``, so the extremes alone need a look."""
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} holds {bad} NaN or infinite values; "
            "replace them (torch.nan_to_num) or find where they come from"
        )


def _fit(low: Tensor, high: Tensor, scheme: QuantScheme) -> tuple[Tensor, Tensor]:
    """Scale and zero-point of each group from its smallest and largest weight."""
    if scheme.symmetric:
        absmax = torch.maximum(low.abs(), high.abs())
        steps = scheme.max_code / 2 if scheme.convention == "full-range" else scheme.levels / 2 - 1
        scale = absmax / steps
        zero_point = torch.full_like(scale, scheme.levels / 2)
    else:
        if scheme.convention == "zero-exact":
            low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / scheme.max_code
        # The difference of two huge weights may overflow where their shares do not.
        scale = torch.where(scale.isfinite(), scale, high / scheme.max_code - low / scheme.max_code)
        if scheme.convention == "raw-range":
            scale = scale.clamp(min=AWQ_MIN_SCALE)
        zero_point = None
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    if zero_point is None:
        zero_point = (-low / scale).round_().clamp_(0, scheme.max_code)
    return scale, zero_point.to(torch.int32)
