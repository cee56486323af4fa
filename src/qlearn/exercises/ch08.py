"""Exercises of chapter 8: straight-through gradients, learned scales, one step by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise

TOP = 7  # the largest code of three bits
FACTOR = (256 * 7) ** -0.5  # of LSQ, for 256 weights of four bits


def _codes(weight: Tensor, scale: float, zero_point: int) -> Tensor:
    return (weight / scale).round() + zero_point


def _inside(weight: Tensor, scale: float, zero_point: int) -> Tensor:
    codes = _codes(weight, scale, zero_point)
    return (codes >= 0) & (codes <= TOP)


def _gradient(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    """The gradient that comes in, 0 where the code is clamped."""
    return upstream * _inside(weight, scale, zero_point)


def _gradient_true(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    return torch.zeros_like(upstream)


def _gradient_everywhere(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    return upstream.clone()


def _gradient_early(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    exact = weight / scale + zero_point
    return upstream * ((exact >= 0) & (exact <= TOP))


def _gradient_outside(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    return upstream * ~_inside(weight, scale, zero_point)


def _gradient_scaled(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> Tensor:
    return _gradient(weight, scale, zero_point, upstream) / scale


def _slope(weight: Tensor, scale: float, zero_point: int) -> Tensor:
    steps = _codes(weight, scale, zero_point).clamp(0, TOP) - zero_point
    return torch.where(_inside(weight, scale, zero_point), steps - weight / scale, steps)


def _scale_gradient(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> float:
    """LSQ's gradient of one scale that all weights share, without its factor."""
    return float((upstream * _slope(weight, scale, zero_point)).double().sum())


def _scale_gradient_of_codes(
    weight: Tensor, scale: float, zero_point: int, upstream: Tensor
) -> float:
    steps = _codes(weight, scale, zero_point).clamp(0, TOP) - zero_point
    return float((upstream * steps).double().sum())


def _scale_gradient_inside_alone(
    weight: Tensor, scale: float, zero_point: int, upstream: Tensor
) -> float:
    inside = _inside(weight, scale, zero_point)
    return float((upstream * _slope(weight, scale, zero_point) * inside).double().sum())


def _scale_gradient_everywhere(
    weight: Tensor, scale: float, zero_point: int, upstream: Tensor
) -> float:
    exact = weight / scale
    steps = _codes(weight, scale, zero_point).clamp(0, TOP) - zero_point
    return float((upstream * (steps - exact)).double().sum())


def _scale_gradient_mean(weight: Tensor, scale: float, zero_point: int, upstream: Tensor) -> float:
    return _scale_gradient(weight, scale, zero_point, upstream) / weight.numel()


def _step(weight: float, x: float, y: float, rate: float) -> float:
    """One step of a weight that is rounded to whole numbers, straight through."""
    return weight - rate * 2 * x * (x * round(weight) - y)


def _step_unrounded(weight: float, x: float, y: float, rate: float) -> float:
    return weight - rate * 2 * x * (x * weight - y)


def _step_from_the_code(weight: float, x: float, y: float, rate: float) -> float:
    return round(weight) - rate * 2 * x * (x * round(weight) - y)


def _step_up(weight: float, x: float, y: float, rate: float) -> float:
    return weight + rate * 2 * x * (x * round(weight) - y)


def _step_without_input(weight: float, x: float, y: float, rate: float) -> float:
    return weight - rate * 2 * (x * round(weight) - y)


def _cases() -> list[tuple[Tensor, float, int, Tensor]]:
    generator = torch.Generator().manual_seed(8)
    cases = []
    for count, scale, zero_point in ((12, 0.25, 3), (40, 0.4, 4), (25, 0.3, 0)):
        weight = torch.randn(count, generator=generator)
        # Between the end of the grid and half a step beyond it, and far beyond it.
        weight[0], weight[1] = (TOP - zero_point + 0.3) * scale, (TOP - zero_point + 3) * scale
        weight[2], weight[3] = (-zero_point - 0.3) * scale, (-zero_point - 3) * scale
        cases.append((weight, scale, zero_point, torch.randn(count, generator=generator)))
    return cases


EXERCISES = [
    Exercise(
        id="ch08.gradient",
        task="Write `gradient(weight, scale, zero_point, upstream)`: the straight-through gradient "
        "of the weight. Codes have three bits, 0 to 7; `upstream` is the gradient of the rounded "
        "weight.",
        expected=_gradient,
        cases=_cases,
        mistakes={
            "This is the true derivative, and with it no weight ever learns.": _gradient_true,
            "Weights outside the grid still get a gradient. Where the clamp acts, moving the "
            "weight changes nothing.": _gradient_everywhere,
            "You cut half a step too early: a weight just beyond the last code still rounds to "
            "it. Test the rounded code, before the clamp.": _gradient_early,
            "The mask is turned round: this passes the gradient outside the grid and stops it "
            "inside.": _gradient_outside,
            "You divide by the scale. The scale of `w / s` and the one that multiplies the code "
            "cancel.": _gradient_scaled,
        },
        hint="Pass `upstream` on where 0 <= round(weight / scale) + zero_point <= 7.",
    ),
    Exercise(
        id="ch08.scale_gradient",
        task="Write `scale_gradient(weight, scale, zero_point, upstream)`: LSQ's gradient of the "
        "one scale that all these weights share, a float, without the factor. Three bits.",
        expected=_scale_gradient,
        cases=_cases,
        mistakes={
            "The code is held fixed: you left out that w / s itself moves with the scale. Inside "
            "the grid the slope is round(w / s) - w / s.": _scale_gradient_of_codes,
            "Weights outside the grid are left out. They are what tells the scale to grow: their "
            "slope is the last code, less the zero-point.": _scale_gradient_inside_alone,
            "Outside the grid w / s does not count: the clamped code does not follow it.": (
                _scale_gradient_everywhere
            ),
            "This is the mean over the weights; each of them pulls at the scale. Add them up.": (
                _scale_gradient_mean
            ),
        },
        rtol=1e-4,
        atol=1e-5,
        hint="slope = torch.where(inside, steps - weight / scale, steps), steps being clamped "
        "codes less the zero-point.",
    ),
    Exercise(
        id="ch08.step",
        task="Write `step(weight, x, y, rate)`: the weight after one step of gradient descent on "
        "(x * round(weight) - y)^2, straight through. Plain floats.",
        expected=_step,
        cases=(
            (0.3, 1.0, 0.8, 0.05),
            (1.7, -2.0, 1.5, 0.01),
            (-0.6, 0.5, 0.0, 0.1),
            (2.2, 3.0, 5.0, 0.02),
        ),
        mistakes={
            "The loss is taken at the weight itself. The forward pass has to see what it rounds "
            "to.": _step_unrounded,
            "You move the rounded weight. Steps smaller than half a code are then lost; keep the "
            "float weight and move that.": _step_from_the_code,
            "This climbs: subtract the gradient.": _step_up,
            "The derivative of x * round(weight) is x, with rounding taken as the identity. That "
            "factor is missing.": _step_without_input,
        },
        hint="weight - rate * 2 * x * (x * round(weight) - y).",
    ),
    Exercise(
        id="ch08.crossing",
        task="A weight of 0.30 is rounded to whole numbers. Each step moves it up by 0.03. After "
        "how many steps does the forward pass see a 1?",
        expected=7,
        mistakes={
            "The forward pass changes at 0.5, half way, not when the weight arrives at 1.": 24,
            "After six steps the weight is 0.48, which still rounds to 0.": 6,
            "A step moves the float weight; the rounded one waits until it crosses 0.5.": 1,
        },
        hint="0.30 + 0.03 k has to pass 0.5.",
    ),
    Exercise(
        id="ch08.factor",
        task="256 weights of four bits share a learned scale. By what factor does LSQ multiply its "
        "gradient?",
        expected=FACTOR,
        mistakes={
            "Qp is missing: seven steps lie above zero at four bits.": 256**-0.5,
            "The square root is missing.": 1 / (256 * 7),
            "That is Qp of a grid that begins at 0. Of sixteen codes around zero, seven lie above "
            "it.": (256 * 15) ** -0.5,
            "You took the root of the product, and LSQ divides by it.": (256 * 7) ** 0.5,
        },
        rtol=0.01,
        atol=0.0,
        hint="1 / sqrt(N * Qp), with Qp = 2^(bits-1) - 1.",
    ),
]
