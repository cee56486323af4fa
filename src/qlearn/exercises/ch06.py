"""Exercises of chapter 6: loss, compensation, factor, and GPTQ without the stale inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise

LEVELS = 8
UNCORRELATED_LOSS = 0.84  # of rounding to nearest, in the prediction


def _loss(weight: Tensor, approximation: Tensor, hessian: Tensor) -> float:
    """Half of the trace of E H E^T."""
    error = (weight - approximation).double()
    return float(((error @ hessian.double()) * error).sum() / 2)


def _diagonal_loss(weight: Tensor, approximation: Tensor, hessian: Tensor) -> float:
    return _loss(weight, approximation, torch.diag(hessian.diagonal()))


def _weight_loss(weight: Tensor, approximation: Tensor, hessian: Tensor) -> float:
    return float((weight - approximation).double().square().sum())


def _compensate(row: Tensor, i: int, value: float, inverse: Tensor) -> Tensor:
    """The row with weight i at ``value`` and all others moved to make it good."""
    return row + (value - row[i]) * inverse[i] / inverse[i, i]


def _compensate_wrong_sign(row: Tensor, i: int, value: float, inverse: Tensor) -> Tensor:
    moved = row - (value - row[i]) * inverse[i] / inverse[i, i]
    moved[i] = value
    return moved


def _compensate_undivided(row: Tensor, i: int, value: float, inverse: Tensor) -> Tensor:
    moved = row + (value - row[i]) * inverse[i]
    moved[i] = value
    return moved


def _compensate_nothing(row: Tensor, i: int, value: float, inverse: Tensor) -> Tensor:
    moved = row.clone()
    moved[i] = value
    return moved


def _compensate_unfrozen(row: Tensor, i: int, value: float, inverse: Tensor) -> Tensor:
    moved = _compensate(row, i, value, inverse)
    moved[i] = row[i]
    return moved


def _factor(hessian: Tensor) -> Tensor:
    """Upper triangular U with U^T U = H^-1."""
    return torch.linalg.cholesky(torch.linalg.inv(hessian.double()), upper=True).to(hessian.dtype)


def _factor_other_side(hessian: Tensor) -> Tensor:
    return torch.linalg.inv(torch.linalg.cholesky(hessian.double())).T.to(hessian.dtype)


def _gptq(
    weight: Tensor,
    hessian: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    *,
    rule: str = "free",
) -> Tensor:
    """GPTQ on one given grid of 3 bits, naive; ``rule`` spoils it in one way each."""
    now, done = weight.double(), torch.zeros(weight.shape, dtype=torch.float64)
    hessian = hessian.double()
    whole = torch.linalg.inv(hessian)
    scale, zero_point = scale[:, 0].double(), zero_point[:, 0].double()
    for i in range(weight.shape[1]):
        code = ((now[:, i] / scale).round() + zero_point).clamp(0, LEVELS - 1)
        done[:, i] = (code - zero_point) * scale
        error = now[:, i] - done[:, i]
        if rule == "original":
            error = weight[:, i].double() - done[:, i]
        inverse = torch.linalg.inv(hessian[i:, i:])
        if rule == "stale":
            move = whole[i, i:] / whole[i, i]
        elif rule == "hessian":
            move = hessian[i, i:] / hessian[i, i]
        elif rule == "none":
            move = torch.zeros_like(inverse[0])
        else:
            move = inverse[0] / inverse[0, 0]
        sign = -1 if rule == "sign" else 1
        now[:, i:] -= sign * error[:, None] * move
    return done.to(weight.dtype)


def _right_gptq(weight: Tensor, hessian: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return _gptq(weight, hessian, scale, zero_point)


def _hessian(size: int, seed: int) -> Tensor:
    """A Hessian of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator)
    inputs = torch.randn(4 * size, size, generator=generator) @ (torch.eye(size) + 0.7 * mixing)
    return 2 / len(inputs) * inputs.T @ inputs


def _loss_cases() -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(6)
    cases = []
    for rows, size in ((1, 3), (4, 6)):
        weight = torch.randn(rows, size, generator=generator)
        cases.append((weight, weight.round(), _hessian(size, size)))
    return cases


def _compensate_cases() -> list[tuple[Tensor, int, float, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    cases = []
    for size, i in ((3, 0), (5, 2), (5, 4)):
        row = 2 * torch.randn(size, generator=generator)
        cases.append((row, i, float(row[i].round()), torch.linalg.inv(_hessian(size, 10 + i))))
    return cases


def _gptq_cases() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(8)
    cases = []
    for rows, size in ((2, 5), (6, 12)):
        weight = torch.randn(rows, size, generator=generator)
        scale = (weight.amax(1, keepdim=True) - weight.amin(1, keepdim=True)) / (LEVELS - 1)
        zero_point = (-weight.amin(1, keepdim=True) / scale).round()
        cases.append((weight, _hessian(size, 20 + size), scale, zero_point))
    return cases


EXERCISES = [
    Exercise(
        id="ch06.loss",
        task="Write `loss(weight, approximation, hessian)`: the loss of a layer's outputs, "
        "half of the trace of E H E^T with E = weight - approximation, as a float.",
        expected=_loss,
        cases=_loss_cases,
        mistakes={
            "The half is missing: the Hessian is 2/n X^T X, so the squared error is half of "
            "E H E^T.": lambda w, a, h: 2 * _loss(w, a, h),
            "Only the diagonal of the Hessian is used, as if no two inputs moved together.": (
                _diagonal_loss
            ),
            "This is the error of the weights; the Hessian weighs it by the inputs.": _weight_loss,
            "This is the mean over the rows. Each row is an output; add them up.": (
                lambda w, a, h: _loss(w, a, h) / len(w)
            ),
        },
        rtol=1e-4,
        hint="E is [out, in]: multiply E @ H elementwise by E, add everything up, halve.",
    ),
    Exercise(
        id="ch06.compensate",
        task="Write `compensate(row, i, value, inverse)`: the row after weight `i` was set to "
        "`value` and all the others moved to make it good; `inverse` is that of the Hessian.",
        expected=_compensate,
        cases=_compensate_cases,
        mistakes={
            "The others move the wrong way: they add to the error of weight `i`. The move is "
            "`(value - row[i])` times the row of the inverse.": _compensate_wrong_sign,
            "The row of the inverse is not divided by its entry `i`, so that weight `i` itself "
            "would not arrive at `value`.": _compensate_undivided,
            "Weight `i` is set and no other weight moves: that is rounding to nearest.": (
                _compensate_nothing
            ),
            "Weight `i` is still where it was; it has to be `value`.": _compensate_unfrozen,
        },
        rtol=1e-4,
        hint="One line: row + (value - row[i]) * inverse[i] / inverse[i, i].",
    ),
    Exercise(
        id="ch06.factor",
        task="Write `factor(hessian)`: the upper triangular U whose U^T U is the inverse of the "
        "Hessian.",
        expected=_factor,
        cases=tuple((_hessian(size, 30 + size),) for size in (2, 4, 7)),
        mistakes={
            "This factor is lower triangular. `torch.linalg.cholesky(..., upper=True)` gives the "
            "upper one.": lambda h: _factor(h).T.contiguous(),
            "This is the factor of the Hessian; take that of its inverse.": (
                lambda h: torch.linalg.cholesky(h, upper=True)
            ),
            "U U^T is the inverse, and U^T U was asked for. Both are upper triangular, but the "
            "rows of this one do not hold the compensations.": _factor_other_side,
            "This is the inverse itself.": torch.linalg.inv,
        },
        rtol=1e-3,
        atol=1e-4,
        hint="Invert, then factor.",
    ),
    Exercise(
        id="ch06.gptq",
        task="Write `gptq(weight, hessian, scale, zero_point)`: the values of GPTQ's codes on a "
        "given grid of 3 bits, without the stale inverse. `scale` and `zero_point` are [rows, 1]; "
        "take columns as they come, without damping.",
        expected=_right_gptq,
        cases=_gptq_cases,
        mistakes={
            "The stale inverse: you use row `i` of the inverse of the whole Hessian, which counts "
            "on help from columns that are frozen. Invert `hessian[i:, i:]`, or use the factor.": (
                lambda w, h, s, z: _gptq(w, h, s, z, rule="stale")
            ),
            "No column makes good the error of another: this is rounding to nearest.": (
                lambda w, h, s, z: _gptq(w, h, s, z, rule="none")
            ),
            "The free columns move the wrong way, and double the damage.": (
                lambda w, h, s, z: _gptq(w, h, s, z, rule="sign")
            ),
            "You take the row of the Hessian. How far the others must move stands in its "
            "inverse.": lambda w, h, s, z: _gptq(w, h, s, z, rule="hessian"),
            "The error is measured from the weight as it was given. A column has moved by the time "
            "it is rounded: measure from where it is now.": (
                lambda w, h, s, z: _gptq(w, h, s, z, rule="original")
            ),
        },
        rtol=1e-3,
        atol=1e-4,
        hint="For each column: code, value, error from where the column is now, then move the "
        "columns right of it by the first row of the inverse of what is still free.",
    ),
    Exercise(
        id="ch06.uncorrelated",
        task="A layer's inputs are uncorrelated, but some are large and some are small. Rounding "
        "to nearest has a loss of 0.84. Predict the loss of GPTQ on the same grid.",
        expected=UNCORRELATED_LOSS,
        mistakes={
            "GPTQ halves the loss where inputs are correlated. Without correlation no weight can "
            "make good another's error.": UNCORRELATED_LOSS / 2,
            "The loss is 0 only where nothing is rounded.": 0.0,
            "It can't be larger: the inverse of a diagonal matrix is diagonal, so no other weight "
            "moves at all.": 2 * UNCORRELATED_LOSS,
        },
        rtol=0.0,
        atol=0.01,
        hint="What is the inverse of a diagonal matrix, and which weights does it move?",
    ),
]
