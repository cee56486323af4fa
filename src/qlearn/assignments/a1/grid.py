"""Assignment 1, the grid: a row worked by hand, then a grid for each row of a weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import clear, generator_of, off_ties, real_rows
from qlearn.teach.checks.checker import Exercise

ROW = [-1.0, -0.34, 0.25, 0.44, 2.0]  # worked by hand: no value lies near a tie


def _by_hand(*, steps: int = 15, rounding: str = "round", zero: bool = True) -> dict[str, Any]:
    """Scale, zero-point and codes of ROW; the keywords spoil one step each."""
    low, high = min(ROW), max(ROW)
    scale = (high - low) / steps
    zero_point = round(-low / scale)
    cuts: dict[str, Callable[[float], float]] = {"round": round, "trunc": int, "none": float}
    cut = cuts[rounding]
    codes = [cut(w / scale) + zero_point * zero for w in ROW]
    return {"scale": scale, "zero_point": zero_point, "codes": codes}


def _by_hand_symmetric() -> dict[str, Any]:
    scale = max(map(abs, ROW)) / 7
    return {"scale": scale, "zero_point": 8, "codes": [round(w / scale) + 8 for w in ROW]}


def make_by_hand(_: int) -> Exercise:
    """A prediction: the same for every seed."""
    right = _by_hand()
    return Exercise(
        id="a1.by_hand",
        task="Work out the scale, the zero-point and the five 4-bit codes of the row by hand, and "
        "fill in the dict.",
        expected=right,
        mistakes={
            "The range is divided by 16. Sixteen codes have fifteen steps between them.": _by_hand(
                steps=16
            ),
            "This is the symmetric grid: it wastes half of its codes where one side is longer. Use "
            "the range from the smallest to the largest weight.": _by_hand_symmetric(),
            "The zero-point has the wrong sign: it says how many steps 0 lies above code 0.": {
                **right,
                "zero_point": -right["zero_point"],
            },
            "The zero-point is the smallest weight. It is the code of 0, a count of steps.": {
                **right,
                "zero_point": min(ROW),
            },
            "The codes are cut towards 0. Round each to the nearest step.": _by_hand(
                rounding="trunc"
            ),
            "The codes lack the zero-point: add it, so that the smallest weight gets code 0.": (
                _by_hand(zero=False)
            ),
            "The codes are not whole numbers: round `w / scale` before you add the zero-point.": (
                _by_hand(rounding="none")
            ),
            "This is the grid of 3 bits, 7 steps. Four bits give 15.": _by_hand(steps=7),
            "The codes begin at 1. The first of sixteen codes is 0.": {
                **right,
                "codes": [code + 1 for code in right["codes"]],
            },
            "The scale is the whole range: divide it by the number of steps.": {
                **right,
                "scale": max(ROW) - min(ROW),
            },
        },
        rtol=1e-3,
        atol=0.0,
        hint="Range, then range / 15, then where 0 falls, then each weight in steps.",
    )


def _grid(
    weight: Tensor,
    bits: int,
    *,
    steps: int = -1,
    zero: bool = True,
    dim: int | None = 1,
    wide: bool = True,
    guard: str = "one",
    rounding: str = "round",
    sign: int = -1,
) -> tuple[Tensor, Tensor]:
    """Scale and zero-point of each row; the keywords spoil one step each."""
    values = weight.float() if wide else weight
    if dim is None:
        shape = (weight.shape[0], 1)
        low, high = values.min().expand(shape), values.max().expand(shape)
    else:
        low, high = values.amin(dim, keepdim=True), values.amax(dim, keepdim=True)
    constant = high == low
    if zero:
        low, high = low.clamp(max=0), high.clamp(min=0)
    scale = (high - low) / (2**bits + steps)
    if guard == "one":
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    elif guard == "floor":
        scale = scale.clamp(min=1e-5)
    elif guard == "constant":
        scale = torch.where(constant, torch.ones_like(scale), scale)
    zero_point = sign * low / scale
    zero_point = zero_point.round() if rounding == "round" else zero_point.trunc()
    return scale.float(), zero_point.nan_to_num().int().to(torch.uint8)


def grid(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The reference of a1.grid."""
    return _grid(weight, bits)


def _grid_symmetric(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = weight.float().abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, torch.full_like(scale, 2 ** (bits - 1)).to(torch.uint8)


def _flat(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0].flatten(), pair[1].flatten()


GRID_PARTS = (
    *["ordinary rows"] * 3,
    "all-positive rows",
    "all-negative rows",
    "constant rows",
    "rows of zeros",
    "tiny weights",
    "one column",
    "float16 weights",
    "a real layer",
)


def _grid_cases(seed: int) -> list[tuple[Tensor, int]]:
    generator = generator_of(seed, 12)

    def normal(rows: int, columns: int, size: float = 1.0) -> Tensor:
        return size * torch.randn(rows, columns, generator=generator)

    def positive() -> Tensor:
        return 0.5 + torch.rand(3, 6, generator=generator)

    def settled(make: Callable[[], Tensor], bits: int = 4) -> tuple[Tensor, int]:
        def is_clear(case: tuple[Tensor, int]) -> bool:
            low = case[0].float().amin(1, keepdim=True).clamp(max=0)
            tied = [off_ties(-low / _grid(*case, guard=g)[0]) for g in ("one", "floor")]
            return all(tied)

        return clear(lambda: (make(), bits), is_clear)

    height = 0.5 + torch.rand(2, 1, generator=generator)
    others = itertools.count(seed)  # where the seed's own rows of the layer hold a tie
    return [
        settled(lambda: normal(4, 8)),
        settled(lambda: normal(4, 8, 0.03), 2),
        settled(lambda: normal(3, 16, 20.0), 8),
        (positive(), 4),
        (-positive(), 4),
        (torch.cat((height, -height)).expand(4, 5).clone(), 4),
        settled(lambda: normal(4, 8) * torch.tensor([[1.0], [0.0], [1.0], [0.0]])),
        settled(lambda: normal(3, 6, 1e-6)),
        (normal(4, 1), 4),
        settled(lambda: (normal(3, 8, 3e4).clamp(-6e4, 6e4)).half()),
        settled(lambda: real_rows(4, 256, next(others))),
    ]


def make_grid(seed: int) -> Exercise:
    """Rows of every kind."""
    return Exercise(
        id="a1.grid",
        task="Write `choose_grid(weight, bits)`: the float32 scale and the uint8 zero-point of "
        "each row, both `[rows, 1]`.",
        expected=grid,
        cases=_grid_cases(seed),
        mistakes={
            "The range is divided by the number of codes, `2**bits`. There are `2**bits - 1` steps "
            "between them.": lambda w, b: _grid(w, b, steps=0),
            "The range does not reach 0 where all weights of a row have one sign: then no code "
            "stands for 0.": lambda w, b: _grid(w, b, zero=False),
            "The zero-point has the wrong sign: it is `-low / scale`, rounded.": (
                lambda w, b: _grid(w, b, sign=1)
            ),
            "The zero-point is cut to a whole number, not rounded to the nearest.": (
                lambda w, b: _grid(w, b, rounding="trunc")
            ),
            "One grid for the whole tensor: take minimum and maximum of each row (dim=1).": (
                lambda w, b: _grid(w, b, dim=None)
            ),
            "One grid for each column: a row is an output, reduce along dim=1.": (
                lambda w, b: _grid(w, b, dim=0)
            ),
            "A row of zeros gets scale 0, and dividing by it gives NaN: use scale 1 there.": (
                lambda w, b: _grid(w, b, guard="none")
            ),
            "A floor on the scale swallows rows of tiny weights: replace a scale of exactly 0, and "
            "no other.": lambda w, b: _grid(w, b, guard="floor"),
            "Constant rows get scale 1. Stretch the range to 0 first, then their scale is not 0; "
            "a row of zeros alone needs the 1.": lambda w, b: _grid(w, b, guard="constant"),
            "The range is computed in float16, which overflows at 65504: convert the weight to "
            "float32 first.": lambda w, b: _grid(w, b, wide=False),
            "This is the symmetric grid around 0. Use the whole range of the row.": _grid_symmetric,
            "Keep the dimension: both results are `[rows, 1]`, so that they divide the rows "
            "(keepdim=True).": lambda w, b: _flat(_grid(w, b)),
            "The two results are swapped: the scale comes first.": lambda w, b: _grid(w, b)[::-1],
        },
        rtol=1e-5,
        atol=0.0,
        hint="Row by row: low and high with 0 inside, scale, then the code of 0.",
    )
