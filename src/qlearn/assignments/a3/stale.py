"""Assignment 3: the given code, whose inverse goes stale, and its repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a3.steps import correlated
from qlearn.assignments.shared.cases import MARGIN, clear, generator_of, off_ties
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.teach.checks.checker import Exercise


def run(
    weight: Tensor,
    hessian: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bits: int,
    *,
    rule: str = "",
) -> tuple[Tensor, Tensor]:
    """GPTQ by inverting what is left at every step; ``rule`` spoils one step.

    Returns:
        uint8 codes, and where each column stood when it was rounded, in steps from code 0.
    """
    left, h = weight.double().clone(), hessian.double()
    scale, zero_point = scale.double()[:, 0], zero_point.double()[:, 0]
    whole = torch.linalg.inv(h)
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    places = torch.zeros_like(left)
    columns = range(weight.shape[1])
    for i in reversed(columns) if rule == "reversed" else columns:
        places[:, i] = left[:, i] / scale + zero_point
        code = (left[:, i] / scale).round() + zero_point
        if rule == "truncated":
            code = (left[:, i] / scale).trunc() + zero_point
        if rule != "unclamped":
            code = code.clamp(0, 2**bits - 1)
        value = (code - zero_point) * scale
        codes[:, i] = code.to(torch.int64).remainder(256).to(torch.uint8)
        error = left[:, i] - value
        if rule == "original":
            error = weight[:, i].double() - value
        if rule == "reversed":
            inverse = torch.linalg.inv(h[: i + 1, : i + 1])
            left[:, :i] -= error[:, None] * (inverse[i, :i] / inverse[i, i])
            continue
        inverse = torch.linalg.inv(h[i:, i:])
        move = inverse[0, 1:] / inverse[0, 0]
        if rule == "stale":
            move = whole[i, i + 1 :] / whole[i, i]
        elif rule == "stale pivot":
            move = inverse[0, 1:] / whole[i, i]
        elif rule == "undivided":
            move = inverse[0, 1:]
        elif rule == "hessian":
            move = h[i, i + 1 :] / h[i, i]
        elif rule == "factor of the hessian":
            factor = torch.linalg.cholesky(h, upper=True)
            move = factor[i, i + 1 :] / factor[i, i]
        elif rule == "sign":
            move = -move
        elif rule == "nearest":
            move = torch.zeros_like(move)
        elif rule == "next":
            move = torch.cat((move[:1], torch.zeros_like(move[1:])))
        left[:, i + 1 :] -= error[:, None] * move
    return codes, places


def suspect(
    weight: Tensor, hessian: Tensor, scale: Tensor, zero_point: Tensor, bits: int
) -> Tensor:
    """What the notebook's given code computes."""
    return run(weight, hessian, scale, zero_point, bits, rule="stale")[0]


def gptq(weight: Tensor, hessian: Tensor, scale: Tensor, zero_point: Tensor, bits: int) -> Tensor:
    """The reference of a3.gptq."""
    return run(weight, hessian, scale, zero_point, bits)[0]


def loss(
    codes: Tensor, weight: Tensor, hessian: Tensor, scale: Tensor, zero_point: Tensor
) -> float:
    """Half of the trace of E H E^T for codes on the grid."""
    values = (codes.double() - zero_point.double()) * scale.double()
    error = weight.double() - values
    return float(((error @ hessian.double()) * error).sum() / 2)


def judged(result: Any, *problem: Any) -> Any:
    """The codes, and how many times the right loss they lose; other results as they are."""
    weight, hessian, scale, zero_point, _ = problem
    if not isinstance(result, Tensor) or result.shape != weight.shape or result.is_complex():
        return result
    best = loss(gptq(*problem), weight, hessian, scale, zero_point)
    found = loss(result, weight, hessian, scale, zero_point)
    return {"codes": result, "loss, times the right one": found / best}


GPTQ_PARTS = (
    "3 columns",
    *["several rows"] * 2,
    "strong correlation",
    "weights beyond the grid",
    "2 bits",
    "32 columns",
    "float16 weights",
)


def _gptq_cases(seed: int) -> list[tuple[Any, ...]]:
    generator = generator_of(seed, 34)

    def made(
        rows: int,
        size: int,
        bits: int = 3,
        strength: float = 0.7,
        shrink: float = 1.0,
        half: int = 0,
    ) -> tuple[Any, ...]:
        def make() -> tuple[Any, ...]:
            weight = torch.randn(rows, size, generator=generator)
            low, high = weight.amin(1, True).clamp(max=0), weight.amax(1, True).clamp(min=0)
            scale = shrink * (high - low) / (2**bits - 1)
            zero_point = (-shrink * low / scale).round().clamp(0, 2**bits - 1)
            if half:
                weight = weight.half()
            return weight, correlated(size, generator, strength), scale, zero_point, bits

        def is_clear(case: tuple[Any, ...]) -> bool:
            """No near-tie, and codes that the stale inverse and rounding to nearest don't give."""
            codes, places = run(*case)
            others = [run(*case, rule=rule)[0] for rule in ("stale", "nearest", "stale pivot")]
            lost = [loss(c, *case[:4]) for c in (codes, *others[:1])]
            return (
                off_ties(places)
                and not any(torch.equal(codes, other) for other in others)
                and lost[1] > (1 + 50 * MARGIN) * lost[0]
            )

        return clear(make, is_clear)

    return [
        made(1, 3, strength=1.0),
        made(4, 6),
        made(3, 12),
        made(3, 10, strength=3.0),
        made(3, 8, shrink=0.5),
        made(4, 8, bits=2),
        made(3, 32),
        made(3, 8, half=1),
    ]


def make_gptq(seed: int) -> Exercise:
    """Inputs on which the stale inverse gives other codes and a larger loss."""
    rules = {
        "This is the given code's stale inverse: it counts on help from columns that are frozen. "
        "Invert what is left, `hessian[i:, i:]`, or take the Cholesky factor of the inverse.": (
            "stale"
        ),
        "The moves are fresh, but they are divided by the stale inverse's diagonal.": "stale pivot",
        "The error is not divided by the inverse's diagonal.": "undivided",
        "You take the Hessian's row. How far the others move stands in its inverse.": "hessian",
        "This is the Cholesky factor of the Hessian: take the one of its inverse.": (
            "factor of the hessian"
        ),
        "The free columns move the wrong way.": "sign",
        "Nothing moves: this is rounding to nearest.": "nearest",
        "Only the next column moves. All later ones make the error good together.": "next",
        "The error is measured from the weight as given, not from where the column is by now.": (
            "original"
        ),
        "The columns are done from last to first: the codes are another solution's.": "reversed",
        "The codes are not clamped to the grid.": "unclamped",
        "The columns are cut towards 0, not rounded.": "truncated",
    }

    def spoilt(rule: str) -> Callable[..., Tensor]:
        return lambda *problem: run(*problem, rule=rule)[0]

    wrong = {diagnosis: spoilt(rule) for diagnosis, rule in rules.items()}
    return Exercise(
        id="a3.gptq",
        task="Write `gptq(weight, hessian, scale, zero_point, bits)`, the given code repaired: "
        "uint8 codes.",
        expected=remembered(measured(gptq, judged)),
        cases=_gptq_cases(seed),
        mistakes=measured_all(wrong, judged),
        rtol=0.001,
        atol=0.0,
        hint="Compare with `best_free`: after column i, the free columns must stand there.",
    )
