"""Quantization-aware training: round in the forward pass, look away in the backward one.

The forward pass sees the weight that the quantized model will have. Rounding has derivative 0
almost everywhere, so the backward pass takes that of the identity instead (the straight-through
estimator), and 0 where the weight lies outside the grid: moving it there changes nothing.

Sources: Bengio et al. 2013 (arXiv 1308.3432) for the estimator; Jacob et al. 2018 (arXiv
1712.05877) for training with it; Esser et al. 2020 (LSQ, arXiv 1902.08153) for learned scales.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qlearn.numerics.affine import QuantizedTensor, choose_qparams, round_to_codes
from qlearn.numerics.scheme import QuantScheme


def straight_through(
    weight: Tensor, scale: Tensor, zero_point: Tensor, scheme: QuantScheme
) -> Tensor:
    """Quantize and dequantize on a given grid, with gradients for the weight and the scale.

    With ``q = clamp(round(w / s) + z)``, the result is ``(q - z) * s``. Inside the grid its
    gradient is taken to be 1 for ``w`` and ``round(w/s) - w/s`` for ``s``; outside, where the
    clamp acts, 0 and ``q - z`` (LSQ, equations 3 and 5).

    Args:
        weight: float, shape ``[..., in_features]``.
        scale: float ``[rows, groups]``, positive.
        zero_point: int32, same shape as ``scale``.
        scheme: bits, convention and group size.

    Returns:
        The shape and dtype of ``weight``.

    Raises:
        ValueError: for a scale or zero-point of a shape that the scheme does not give.

    >>> weight = torch.tensor([[-1.0, 0.3, 1.4]], requires_grad=True)
    >>> grid = torch.tensor([[0.5]]), torch.tensor([[2]], dtype=torch.int32)
    >>> result = straight_through(weight, *grid, QuantScheme(bits=2))
    >>> result.tolist()  # codes 0, 3, 3: the last one would be 5
    [[-1.0, 0.5, 0.5]]
    >>> result.sum().backward()
    >>> weight.grad.tolist()
    [[1.0, 1.0, 0.0]]
    """
    shape = scheme.grid_shape(tuple(weight.shape))
    for name, tensor in (("scale", scale), ("zero_point", zero_point)):
        if tuple(tensor.shape) != shape[:2]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; a weight {tuple(weight.shape)} under "
                f"{scheme} takes {shape[:2]}"
            )
    result: Tensor = _StraightThrough.apply(weight, scale, zero_point, scheme)
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, scale: Tensor, zero_point: Tensor, scheme: QuantScheme
    ) -> Tensor:
        groups = weight.to(scale.dtype).reshape(scheme.grid_shape(tuple(weight.shape)))
        scale, zero_point = scale[..., None], zero_point[..., None]
        steps = round_to_codes(groups, scale, zero_point, scheme).sub_(zero_point)
        exact = groups / scale
        inside = exact.round() == steps
        slope = None
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, steps - exact, steps)
        ctx.save_for_backward(inside, slope)
        return steps.mul_(scale).view(weight.shape).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        inside, slope = ctx.saved_tensors
        for_weight = for_scale = None
        if ctx.needs_input_grad[0]:
            for_weight = gradient * inside.view(gradient.shape)
        if slope is not None:
            for_scale = (gradient.to(slope.dtype).reshape(slope.shape) * slope).sum(-1)
        return for_weight, for_scale, None, None


def lsq_factor(shape: tuple[int, ...], scheme: QuantScheme) -> float:
    """LSQ's factor for the gradient of a scale: ``1 / sqrt(N * Qp)``.

    ``N`` weights share the scale and ``Qp = 2**(bits-1) - 1`` steps lie above zero. Without it a
    scale's gradient is as large as those of its ``N`` weights together (section 2.2 of the paper).

    >>> lsq_factor((8, 64), QuantScheme(bits=4, group_size=32))  # 1 / sqrt(32 * 7)
    0.0668153104781061
    """
    weights = scheme.grid_shape(shape)[2]
    return float((weights * _steps_above(scheme)) ** -0.5)


def lsq_scale(weight: Tensor, scheme: QuantScheme) -> tuple[Tensor, Tensor]:
    """Where a learned scale starts: ``2 * mean|w| / sqrt(Qp)``, but no wider than the weights.

    Args:
        weight: float, shape ``[..., in_features]``.
        scheme: bits, convention and group size.

    Returns:
        ``(scale, zero_point)`` as :func:`qlearn.numerics.affine.choose_qparams` gives them; the
        zero-point is that of the range of the weights.

    Raises:
        ValueError: as :func:`qlearn.numerics.affine.choose_qparams`.

    >>> lsq_scale(torch.tensor([[0.5, -0.5, 0.5, 3.0]]), QuantScheme(bits=4, symmetric=True))[0]
    tensor([[0.4000]])
    >>> lsq_scale(torch.tensor([[0.5, -0.5, 0.5, 0.6]]), QuantScheme(bits=2, symmetric=True))[0]
    tensor([[0.4000]])
    """
    widest, zero_point = choose_qparams(weight, scheme)
    groups = weight.detach().to(widest.dtype).reshape(scheme.grid_shape(tuple(weight.shape)))
    usual = 2 * groups.abs().mean(-1) * _steps_above(scheme) ** -0.5
    return torch.where(usual > 0, torch.minimum(usual, widest), widest), zero_point


def with_gradient_factor(tensor: Tensor, factor: float) -> Tensor:
    """The tensor itself, whose gradient is multiplied by ``factor`` on the way back.

    >>> scale = torch.ones(2, requires_grad=True)
    >>> with_gradient_factor(scale, 0.25).sum().backward()
    >>> scale.grad
    tensor([0.2500, 0.2500])
    """
    result: Tensor = _Factor.apply(tensor, factor)
    return result


class _Factor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def as_stored(scale: Tensor, down: bool = False) -> Tensor:
    """Scales rounded to float16, as a quantized layer stores them; gradients pass straight through.

    Training on the scales that will be stored makes the converted model equal to the trained one.
    All are left as they are where one overflows float16 or is below its smallest normal number.

    Args:
        scale: positive, of any shape.
        down: to the next float16 below instead of the nearest one. Where the grid is fitted to
            the largest weight of a group so that it lies half a step beyond the last code
            (symmetric, full range), this weight then always rounds away from zero; rounded to the
            nearest, the scale would send it to either code, now here, now there, as it trains.
    """
    half = torch.finfo(torch.float16)
    low, high = torch.aminmax(scale.detach().abs())
    if not (half.smallest_normal <= float(low) and float(high) <= half.max):
        return scale
    rounded = scale.detach().to(torch.float16)
    if down:
        below = torch.nextafter(rounded, torch.zeros_like(rounded))
        rounded = torch.where(rounded.to(scale.dtype) > scale.detach(), below, rounded)
    rounded = rounded.to(scale.dtype)
    return scale + (rounded - scale.detach())  # both steps are exact: the two lie close together


def round_on_grid(
    weight: Tensor, scale: Tensor, zero_point: Tensor, scheme: QuantScheme
) -> QuantizedTensor:
    """The codes whose values :func:`straight_through` returns, on the same grid."""
    groups = weight.detach().to(scale.dtype).reshape(scheme.grid_shape(tuple(weight.shape)))
    scale, zero_point = scale.detach(), zero_point.detach()
    codes = round_to_codes(groups, scale[..., None], zero_point[..., None], scheme)
    return QuantizedTensor(
        codes.to(torch.uint8).view(weight.shape),
        scale,
        zero_point,
        scheme,
        weight.shape,
        weight.dtype,
    )


def _steps_above(scheme: QuantScheme) -> int:
    """``Qp``: codes above the middle of the grid."""
    return scheme.levels // 2 - 1
