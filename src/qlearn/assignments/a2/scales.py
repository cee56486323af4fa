"""Assignment 2: what a grid costs in bits, and scales that are shared.

A scale is shared by a tensor, a row or a column here; groups are in :mod:`a2_groups`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import generator_of, real_rows
from qlearn.teach.checks.checker import Exercise


def _cost(
    rows: int,
    columns: int,
    bits: int,
    group_size: int | None,
    symmetric: bool,
    *,
    scale_bits: int = 16,
    zero_bits: int | None = None,
    whole: Callable[[float], int] = ceil,
    pad: str = "row",
    zeros: str = "asymmetric",
    per_row_means_one: bool = False,
    scales: bool = True,
) -> float:
    """Bits a weight, counted whole; the keywords spoil one step each."""

    def padded(count: float) -> float:
        return count if pad == "none" else 8 * ceil(count / 8)

    groups = 1 if group_size is None else max(1, whole(columns / group_size))
    total = rows * padded(columns * bits)
    if pad == "total":
        total = padded(rows * columns * bits)
    n_scales = 1 if group_size is None and per_row_means_one else rows * groups
    total += scale_bits * n_scales * scales
    if zeros == "always" or (zeros == "asymmetric" and not symmetric):
        if zero_bits is not None:
            total += zero_bits * rows * groups
        elif pad == "total":
            total += padded(rows * groups * bits)
        else:
            total += rows * padded(groups * bits)
    return total / (rows * columns)


def cost(rows: int, columns: int, bits: int, group_size: int | None, symmetric: bool) -> float:
    """The reference of a2.bits."""
    return _cost(rows, columns, bits, group_size, symmetric)


BITS_PARTS = (
    "symmetric, per row",
    "asymmetric, per row",
    "symmetric, groups",
    *["asymmetric, groups"] * 2,
    *["rows that fill no whole byte"] * 2,
    *["a shorter last group"] * 2,
)
BitsCase = tuple[int, int, int, int | None, bool]


def _bits_cases(seed: int) -> list[BitsCase]:
    generator = generator_of(seed, 22)

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    rows = [drawn(2, 7) for _ in range(9)]  # odd below: no whole byte over all rows either
    wide = [64 * drawn(2, 8) for _ in range(9)]
    return [
        (rows[0], wide[0], 4, None, True),
        (rows[1], wide[1], 8, None, False),
        (rows[2], wide[2], 3, 64, True),
        (rows[3], wide[3], 4, 32, False),
        (rows[4], wide[4], 3, 64, False),
        (rows[5] | 1, 8 * drawn(1, 4) + 3, 3, None, False),
        (rows[6] | 1, 2 * drawn(3, 9) + 1, 4, None, True),
        (rows[7], 32 * drawn(1, 3) + 8, 4, 32, False),
        (rows[8], 64 * drawn(1, 3) + 48, 3, 64, True),
    ]


def make_bits(seed: int) -> Exercise:
    """Sizes with and without a remainder."""

    def spoilt(**change: object) -> Callable[..., float]:
        return lambda r, c, b, g, s: _cost(r, c, b, g, s, **change)  # type: ignore[arg-type]

    return Exercise(
        id="a2.bits",
        task="Write `bits_per_weight(rows, columns, bits, group_size, symmetric)`: all stored bits "
        "over the number of weights.",
        expected=cost,
        cases=_bits_cases(seed),
        mistakes={
            "The scales are counted with 32 bits: they are stored as float16.": spoilt(
                scale_bits=32
            ),
            "The scales are missing.": spoilt(scales=False),
            "The zero-points are missing: an asymmetric grid stores one a group.": spoilt(
                zeros="never"
            ),
            "Symmetric grids pay for zero-points too. Theirs is always the middle, and is not "
            "stored.": spoilt(zeros="always"),
            "The last, shorter group has no scale: round the number of groups up.": spoilt(
                whole=int
            ),
            "The padding is missing: each row of codes, and of zero-points, fills whole bytes.": (
                spoilt(pad="none")
            ),
            "The padding is counted once for the tensor: each row is padded by itself.": spoilt(
                pad="total"
            ),
            "The zero-points have 16 bits: they are codes, so they have `bits` and are packed.": (
                spoilt(zero_bits=16)
            ),
            "Each zero-point takes a whole byte: a row's zero-points are packed together.": spoilt(
                zero_bits=8
            ),
            "`group_size=None` is one scale for each row, not one for the tensor.": spoilt(
                per_row_means_one=True
            ),
            "These are bytes: 8 bits each.": lambda r, c, b, g, s: cost(r, c, b, g, s) / 8,
            "This is the total. Divide by the number of weights.": (
                lambda r, c, b, g, s: cost(r, c, b, g, s) * r * c
            ),
        },
        rtol=1e-9,
        atol=0.0,
        hint="Three sums, each row by row: codes, scales, zero-points.",
    )


def _scale(
    weight: Tensor,
    bits: int,
    granularity: str,
    *,
    names: tuple[str, str] = ("row", "column"),
    size: Callable[[Tensor], Tensor] = torch.abs,
    steps: Callable[[int], int] = lambda bits: 2 ** (bits - 1) - 1,
    guard: str = "one",
    wide: bool = True,
    mean: bool = False,
    keep: bool = True,
) -> Tensor:
    """Symmetric scale; the keywords spoil one step each."""
    values = size(weight.float() if wide else weight)
    dims = {names[0]: (1,), names[1]: (0,)}.get(granularity, (0, 1))
    absmax = values.mean(dims, keepdim=keep) if mean else values.amax(dims, keepdim=keep)
    scale = absmax / steps(bits)
    if guard == "one":
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    elif guard == "floor":
        scale = scale.clamp(min=1e-5)
    return scale.float()


def scale(weight: Tensor, bits: int, granularity: str) -> Tensor:
    """The reference of a2.scales."""
    return _scale(weight, bits, granularity)


SCALES_PARTS = (
    "per tensor",
    *["per row"] * 2,
    "per column",
    "negative rows",
    "rows and columns of zeros",
    "rows and columns of zeros",
    "tiny weights",
    "one column",
    "float16 weights",
    "a real layer",
)


def _scales_cases(seed: int) -> list[tuple[Tensor, int, str]]:
    generator = generator_of(seed, 23)

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator)

    row, column, small = normal(4, 6), normal(5, 4), normal(3, 5).abs() * 6e-8
    row[2], column[:, 1] = 0.0, 0.0
    return [
        (normal(4, 6), 4, "tensor"),
        (normal(4, 6), 4, "row"),
        (normal(3, 9) * 30, 8, "row"),
        (normal(4, 6), 3, "column"),
        (-normal(3, 4).abs() - 1, 4, "row"),
        (row, 4, "row"),
        (column, 4, "column"),
        (small.clamp(min=1e-8), 4, "row"),
        (normal(4, 1), 4, "row"),
        (small.mul(1e1).clamp(min=2e-7).half(), 8, "row"),
        (real_rows(4, 96, seed), 4, "column"),
    ]


def make_scales(seed: int) -> Exercise:
    """Three granularities, and rows without a scale of their own."""

    def spoilt(**change: object) -> Callable[..., Tensor]:
        return lambda w, b, g: _scale(w, b, g, **change)  # type: ignore[arg-type]

    return Exercise(
        id="a2.scales",
        task='Write `symmetric_scale(weight, bits, granularity)`: float32 scales for "tensor" '
        '`[1, 1]`, "row" `[rows, 1]` and "column" `[1, columns]`.',
        expected=scale,
        cases=_scales_cases(seed),
        mistakes={
            "Rows and columns are swapped: a row's scale reduces along dim=1.": spoilt(
                names=("column", "row")
            ),
            "Columns get one scale for the whole tensor.": spoilt(names=("row", "-")),
            "Rows get one scale for the whole tensor.": spoilt(names=("-", "column")),
            "The largest value is not the largest magnitude: take abs() first.": spoilt(
                size=torch.clone
            ),
            "2^(bits-1) is one more than the largest code: the grid runs to 2^(bits-1) - 1.": (
                spoilt(steps=lambda bits: 2 ** (bits - 1))
            ),
            "2^bits - 1 steps span both sides; one side has 2^(bits-1) - 1.": spoilt(
                steps=lambda bits: 2**bits - 1
            ),
            "A row or column of zeros gets scale 0: put 1 there.": spoilt(guard="none"),
            "A floor on the scale swallows tiny weights: replace a scale of exactly 0 alone.": (
                spoilt(guard="floor")
            ),
            "The scale is rounded to float16: convert the weight to float32 first.": spoilt(
                wide=False
            ),
            "The mean magnitude clips half of the weights: take the largest.": spoilt(mean=True),
            "Keep the reduced dimensions, so that the result divides the weight (keepdim=True).": (
                spoilt(keep=False)
            ),
        },
        rtol=1e-5,
        atol=0.0,
        hint="Which dimension does amax run over? Which one is left?",
    )
