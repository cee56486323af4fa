"""Answers to chapter 8's exercises, written apart from the exercises: right ones and wrong ones."""

import torch


def by_autograd(weight, scale, zero_point, upstream):
    """The detach trick, with the clamp's own gradient."""
    w = weight.clone().requires_grad_()
    exact = w / scale
    rounded = exact + (exact.round() - exact).detach()
    code = (rounded + zero_point).clamp(0, 7)
    ((code - zero_point) * scale).backward(upstream)
    return w.grad


def scale_by_autograd(weight, scale, zero_point, upstream):
    s = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    exact = weight.double() / s
    rounded = exact + (exact.round() - exact).detach()
    value = ((rounded + zero_point).clamp(0, 7) - zero_point) * s
    (value * upstream).sum().backward()
    return s.grad.item()


def scale_in_a_loop(weight, scale, zero_point, upstream, outside=True, exact_outside=False):
    total = 0.0
    for w, g in zip(weight.tolist(), upstream.tolist(), strict=True):
        code = round(w / scale) + zero_point
        if 0 <= code <= 7:
            total += g * (code - zero_point - w / scale)
        elif outside:
            end = min(max(code, 0), 7) - zero_point
            total += g * (end - w / scale * exact_outside)
    return total


def codes_times(weight, scale, zero_point, upstream):
    codes = (torch.round(weight / scale) + zero_point).clamp(0, 7)
    return ((codes - zero_point) * upstream).sum().item()


def step_by_autograd(weight, x, y, rate):
    w = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    (x * (w + (w.round() - w).detach()) - y).square().backward()
    return (w - rate * w.grad).item()


CASES = {
    "ch08.gradient": {
        "right": [by_autograd],
        "wrong": [
            (lambda w, s, z, u: u * 0, "true derivative"),
            (lambda w, s, z, u: u, "still get a gradient"),
            (
                lambda w, s, z, u: torch.where((w < -z * s) | (w > (7 - z) * s), 0 * u, u),
                "half a step too early",
            ),
            (lambda w, s, z, u: u - by_autograd(w, s, z, u), "turned round"),
            (lambda w, s, z, u: by_autograd(w, s, z, u) / s, "divide by the scale"),
        ],
    },
    "ch08.scale_gradient": {
        "right": [scale_by_autograd, scale_in_a_loop],
        "wrong": [
            (codes_times, "code is held fixed"),
            (
                lambda w, s, z, u: scale_in_a_loop(w, s, z, u, outside=False),
                "what tells the scale to grow",
            ),
            (
                lambda w, s, z, u: scale_in_a_loop(w, s, z, u, exact_outside=True),
                "does not follow it",
            ),
            (lambda w, s, z, u: scale_by_autograd(w, s, z, u) / len(w), "mean over the weights"),
        ],
    },
    "ch08.step": {
        "right": [step_by_autograd],
        "wrong": [
            (lambda w, x, y, r: w - r * 2 * x * (x * w - y), "what it rounds to"),
            (
                lambda w, x, y, r: step_by_autograd(w, x, y, r) - w + round(w),
                "You move the rounded weight",
            ),
            (lambda w, x, y, r: 2 * w - step_by_autograd(w, x, y, r), "climbs"),
            (lambda w, x, y, r: w - (w - step_by_autograd(w, x, y, r)) / x, "factor is missing"),
        ],
    },
    "ch08.crossing": {
        "right": [7.0],
        "wrong": [(24, "half way"), (6, "still rounds to 0"), (1, "waits until")],
    },
    "ch08.factor": {
        "right": [1 / (16 * 7**0.5), 0.0236],
        "wrong": [
            (0.0625, "Qp is missing"),
            (1 / 1792, "square root is missing"),
            (0.01614, "begins at 0"),
            (42.33, "divides by it"),
        ],
    },
}
