"""Assignment 1: weights to codes on a given grid, and codes back to weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from qlearn.assignments.a1.grid import grid
from qlearn.assignments.shared.cases import clear, generator_of, off_ties, real_rows
from qlearn.teach.checks.checker import Exercise

CodesCase = tuple[Tensor, Tensor, Tensor, int]


def _codes(
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bits: int,
    *,
    rule: str = "",
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    """Codes on a given grid; ``rule`` spoils one step."""
    top = 2**bits - 1
    values = weight.float()
    steps = values * scale if rule == "multiplied" else values / scale
    if rule == "first row":
        steps = values / scale[:1]
    if rule == "half":
        steps = (weight.half() / scale.half()).float()
    rounded = {
        "trunc": torch.trunc,
        "floor": torch.floor,
        "half up": lambda x: torch.floor(x + 0.5),
    }.get(rule, torch.round)(steps)
    codes = rounded + zero_point
    if rule == "zero first":
        codes = torch.round(steps + zero_point)
    elif rule == "subtracted":
        codes = rounded - zero_point.float()
    elif rule == "signed":
        codes = rounded.clamp(-(top // 2) - 1, top // 2) + zero_point
    elif rule == "no zero":
        codes = rounded
    if rule == "one more":
        top += 1
    if rule not in ("unclamped", "signed"):
        codes = codes.clamp(0, top)
    return codes.to(torch.int64).remainder(256).to(dtype)


def codes(weight: Tensor, scale: Tensor, zero_point: Tensor, bits: int) -> Tensor:
    """The reference of a1.codes."""
    return _codes(weight, scale, zero_point, bits)


CODES_PARTS = (
    *["ordinary rows"] * 3,
    *["weights beyond the grid"] * 2,
    "ties",
    "rows of zeros",
    "one column",
    "float16 weights",
    "a real layer",
)


def _codes_cases(seed: int) -> list[CodesCase]:
    generator = generator_of(seed, 13)

    def made(rows: int, columns: int, bits: int, shrink: float, size: float = 1.0) -> CodesCase:
        def make() -> CodesCase:
            weight = size * torch.randn(rows, columns, generator=generator)
            scale, zero_point = grid(weight, bits)
            return weight, shrink * scale, zero_point, bits

        return clear(make, lambda case: off_ties(case[0] / case[1]))

    def half_weights() -> CodesCase:
        weight = (0.1 * torch.randn(3, 40, generator=generator)).half()
        return weight, *grid(weight, 8), 8

    others = itertools.count(seed)  # where the seed's own rows of the layer hold a near-tie

    def real() -> CodesCase:
        weight = real_rows(4, 192, next(others))
        return weight, *grid(weight, 4), 4

    # Exact halves on a step that is a power of two: 0.5 and 2.5 go down, 1.5 goes up.
    start = torch.randint(-3, 0, (2, 1), generator=generator)
    ties = (start + torch.arange(8) + 0.5) * 0.25
    zero = made(3, 6, 4, 1.0)
    weight, scale = zero[0].clone(), zero[1].clone()
    weight[1], scale[1] = 0.0, 1.0
    return [
        made(4, 8, 4, 1.0),
        made(4, 8, 2, 1.0, 0.1),
        made(3, 16, 8, 1.0, 20.0),
        made(4, 8, 4, 0.3),
        made(2, 6, 8, 0.05),
        (ties, torch.full((2, 1), 0.25), torch.tensor([[5], [4]], dtype=torch.uint8), 4),
        (weight, scale, zero[2], 4),
        made(5, 1, 4, 0.7),
        clear(half_weights, lambda case: off_ties(case[0].float() / case[1])),
        clear(real, lambda case: off_ties(case[0] / case[1])),
    ]


def make_codes(seed: int) -> Exercise:
    """Weights on, between and beyond the points of a grid."""
    rules = {
        "The codes are not clamped: a weight beyond the grid wraps around to the other end.": (
            "unclamped"
        ),
        "The clamp lets `2**bits` through. The largest code is `2**bits - 1`.": "one more",
        "The clamp comes before the zero-point is added, with a signed range. Add first, then "
        "clamp to 0 and `2**bits - 1`.": "signed",
        "The weights are cut towards 0, not rounded: errors reach a whole step.": "trunc",
        "The weights are rounded down, not to the nearest step.": "floor",
        "Halves are always rounded up. torch.round sends them to the even neighbour, so that they "
        "do not all drift one way.": "half up",
        "The zero-point is added before rounding: with an odd zero-point halves then go the other "
        "way. Round `weight / scale` alone.": "zero first",
        "The weights are multiplied by the scale: divide, to count steps.": "multiplied",
        "The zero-point is subtracted. It is added on the way to codes, and taken off on the way "
        "back.": "subtracted",
        "The zero-point is missing, so all negative weights end at code 0.": "no zero",
        "The first row's scale is used for every row.": "first row",
        "The division runs in float16, whose 11 bits put weights near a tie on the wrong side. "
        "Convert to float32 first.": "half",
    }

    def spoilt(rule: str) -> Callable[..., Tensor]:
        return lambda w, s, z, b: _codes(w, s, z, b, rule=rule)

    return Exercise(
        id="a1.codes",
        task="Write `quantize(weight, scale, zero_point, bits)`: the uint8 codes of the weights, "
        "rounded half to even and clamped.",
        expected=codes,
        cases=_codes_cases(seed),
        mistakes={
            **{diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
            "The codes are signed bytes. Codes run from 0: return uint8.": (
                lambda w, s, z, b: _codes(w, s, z, b, dtype=torch.int8)
            ),
        },
        hint="round(weight / scale), add the zero-point, clamp, convert to uint8.",
    )


def _values(codes: Tensor, scale: Tensor, zero_point: Tensor, *, rule: str = "") -> Tensor:
    """Weights that codes stand for; ``rule`` spoils one step."""
    wide = codes.float()
    if rule == "wraps":
        return (codes - zero_point).float() * scale
    if rule == "signed bytes":
        return (codes.to(torch.int8).float() - zero_point.to(torch.int8).float()) * scale
    if rule == "no zero":
        return wide * scale
    if rule == "added":
        return (wide + zero_point) * scale
    if rule == "divided":
        return (wide - zero_point) / scale
    if rule == "in codes":
        return wide * scale - zero_point
    if rule == "first row":
        return (wide - zero_point) * scale[:1]
    if rule == "mean zero":
        return (wide - zero_point.float().mean().round()) * scale
    if rule == "half":
        return ((wide - zero_point).half() * scale.half()).float()
    return (wide - zero_point) * scale


def values(codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """The reference of a1.back."""
    return _values(codes, scale, zero_point)


BACK_PARTS = (
    "codes above the zero-point",
    *["codes on both sides"] * 2,
    "codes of 8 bits",
    "one column",
)


def _back_cases(seed: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = generator_of(seed, 14)
    cases = []
    for rows, columns, bits, least in ((2, 6, 4, 0), (4, 8, 4, 6), (3, 9, 2, 1), (3, 16, 8, 90)):
        drawn = torch.randint(0, 2**bits, (rows, columns), generator=generator)
        drawn[:, 0], drawn[:, 1] = 0, 2**bits - 1
        zero_point = least + torch.arange(rows).flip(0)[:, None] % (2**bits - least)
        zero_point = zero_point if least else torch.zeros_like(zero_point)
        scale = 0.05 + torch.rand(rows, 1, generator=generator)
        cases.append((drawn.to(torch.uint8), scale, zero_point.to(torch.uint8)))
    column = torch.tensor([[3], [15], [0]], dtype=torch.uint8)
    zero_point = torch.tensor([[9], [9], [4]], dtype=torch.uint8)
    return [*cases, (column, 0.05 + torch.rand(3, 1, generator=generator), zero_point)]


def make_back(seed: int) -> Exercise:
    """Codes on both sides of the zero-point."""
    rules = {
        "uint8 minus uint8 wraps around below 0 (3 - 5 gives 254): convert the codes first.": (
            "wraps"
        ),
        "The codes become signed bytes, in which codes from 128 on turn negative. Convert to "
        "float32.": "signed bytes",
        "The zero-point is missing: code `zero_point` must come back as 0.": "no zero",
        "The zero-point is added; on the way back it is taken off.": "added",
        "The codes are divided by the scale: multiply, to turn steps into weights.": "divided",
        "The zero-point is taken off after the scale: it is a code, so take it off the codes.": (
            "in codes"
        ),
        "The first row's scale is used for every row.": "first row",
        "One zero-point for all rows: each row has its own.": "mean zero",
        "The product runs in float16 and loses the scale's last bits. Stay in float32.": "half",
    }

    def spoilt(rule: str) -> Callable[..., Tensor]:
        return lambda c, s, z: _values(c, s, z, rule=rule)

    return Exercise(
        id="a1.back",
        task="Write `dequantize(codes, scale, zero_point)`: the float32 weights that the codes "
        "stand for.",
        expected=values,
        cases=_back_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        hint="What does uint8 arithmetic do with 3 - 5?",
    )
