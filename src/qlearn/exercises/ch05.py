"""Exercises of chapter 5: absmax, outlier columns, LLM.int8(), SmoothQuant, one grid for all."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise

LOUDEST_INPUT = 3000.0
THRESHOLD = 6.0


def _absmax(x: Tensor) -> Tensor:
    """int8 codes, each row on the grid of its own largest magnitude."""
    return (x * (127 / x.abs().amax(1, keepdim=True))).round().to(torch.int8)


def _absmax_128(x: Tensor) -> Tensor:
    scaled = x * (128 / x.abs().amax(1, keepdim=True))
    return scaled.round().clamp(-128, 127).to(torch.int8)


def _columns(x: Tensor, threshold: float) -> Tensor:
    return (x.abs() >= threshold).any(0).nonzero().flatten()


def _product(x: Tensor, weight: Tensor, threshold: float, rule: str = "") -> Tensor:
    """LLM.int8(), written plainly; ``rule`` spoils it in one way each."""
    loud = (x.abs() >= threshold).any(0)
    rest = x.masked_fill(loud, 0)
    top = (x if rule == "stretched" else rest).abs().amax(1, keepdim=True)
    steps = 127 / top.clamp(min=1e-12)
    codes = ((x if rule == "twice" else rest) * steps).round()
    heavy = weight.abs().amax(1, keepdim=True)
    weight_codes = (weight * (127 / heavy)).round()
    scale = top * heavy.T / (127 if rule == "one scale" else 127**2)
    output = codes @ weight_codes.T * scale
    if rule == "dropped":
        return output
    values = weight if rule == "floats" else weight_codes * heavy / 127
    return output + x[:, loud] @ values[:, loud].T


def _right_product(x: Tensor, weight: Tensor, threshold: float) -> Tensor:
    return _product(x, weight, threshold)


def _smooth(absmax: Tensor, weight: Tensor, alpha: float) -> Tensor:
    """max|X|^alpha / max|W|^(1 - alpha), one a column."""
    return absmax**alpha / weight.abs().amax(0) ** (1 - alpha)


def _absmax_cases() -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(5)
    first = torch.tensor([[0.3, -1.0, 0.27], [9.0, 1.4, -2.6]])
    return [(first,), (torch.randn(3, 5, generator=generator) * torch.tensor([[1], [20], [0.1]]),)]


def _column_cases() -> list[tuple[Tensor, float]]:
    x = torch.tensor([[0.5, -7.0, 1.0, 6.0], [2.0, 0.3, -0.4, 1.0], [8.0, -9.0, 0.1, 5.9]])
    return [(x, THRESHOLD), (x, 9.5), (x, 1.0)]


def _product_cases() -> list[tuple[Tensor, Tensor, float]]:
    generator = torch.Generator().manual_seed(6)
    cases = []
    for rows, size, outputs in ((2, 4, 3), (5, 12, 6)):
        x = torch.randn(rows, size, generator=generator).clamp(-3, 3)
        x[:, 1] *= 0.01  # quiet but for one token
        x[0, 1] = 50.0
        cases.append((x, torch.randn(outputs, size, generator=generator), THRESHOLD))
    return cases


def _smooth_cases() -> list[tuple[Tensor, Tensor, float]]:
    generator = torch.Generator().manual_seed(7)
    absmax = torch.tensor([16.0, 1.0, 4.0])
    weight = torch.tensor([[4.0, 0.25, -1.0], [1.0, 0.2, 0.3], [-0.5, -0.1, 0.6]])
    other = torch.randn(4, 4, generator=generator)
    return [(absmax, weight, 0.5), (10 * torch.rand(4, generator=generator) + 1, other, 0.8)]


EXERCISES = [
    Exercise(
        id="ch05.absmax",
        task="Write `absmax_codes(x)`: the int8 codes of `x` [tokens, features], each row on a "
        "grid that takes its largest magnitude to 127.",
        expected=_absmax,
        cases=_absmax_cases,
        mistakes={
            "One grid for the whole tensor. Each row has a largest magnitude of its own: "
            "`amax(1, keepdim=True)`.": lambda x: (x * (127 / x.abs().max())).round().char(),
            "These grids belong to the columns. A scale that differs between columns can't be "
            "taken out of the sum over them.": (
                lambda x: (x * (127 / x.abs().amax(0))).round().char()
            ),
            "The largest magnitude becomes 128, which int8 does not have; clipped to 127 it is "
            "wrong, and all others are stretched.": _absmax_128,
            "Converting to int8 cuts digits off. Round first.": (
                lambda x: (x / x.abs().amax(1, keepdim=True) * 127).char()
            ),
            "The largest value is taken with its sign; a row whose largest magnitude is negative "
            "then leaves the range.": (
                lambda x: (x * (127 / x.amax(1, keepdim=True))).round().clamp(-127, 127).char()
            ),
        },
        exact_dtype=False,
        hint="Largest magnitude of each row, multiply by 127 over it, round, convert.",
    ),
    Exercise(
        id="ch05.columns",
        task="Write `outlier_columns(x, threshold)`: the indices, ascending, of the columns in "
        "which some row holds a magnitude of `threshold` or more.",
        expected=_columns,
        cases=_column_cases,
        mistakes={
            "These are rows. An outlier takes its column out, for all tokens.": (
                lambda x, t: (x.abs() >= t).any(1).nonzero().flatten()
            ),
            "Negative outliers are missed: compare magnitudes.": (
                lambda x, t: (x >= t).any(0).nonzero().flatten()
            ),
            "A magnitude equal to the threshold is an outlier too: `>=`.": (
                lambda x, t: (x.abs() > t).any(0).nonzero().flatten()
            ),
            "One row is enough: you ask for columns that are loud in all rows.": (
                lambda x, t: (x.abs() >= t).all(0).nonzero().flatten()
            ),
        },
        exact_dtype=False,
        hint="A mask of the shape of x, `any(0)`, then the places where it is true.",
    ),
    Exercise(
        id="ch05.product",
        task="Write `llm_int8(x, weight, threshold)`: `x weight^T` by LLM.int8(). Set the outlier "
        "columns of `x` to 0 and round what is left row by row; round `weight` [out, in] row by "
        "row; multiply the codes and take both scales off; add the outlier columns times the "
        "dequantized weights that they meet.",
        expected=_right_product,
        cases=_product_cases,
        mistakes={
            "The outlier columns are lost: they have left the integer product, and nothing makes "
            "good for them.": lambda x, w, t: _product(x, w, t, "dropped"),
            "The outlier columns are counted twice. Set them to 0 before the integer product.": (
                lambda x, w, t: _product(x, w, t, "twice")
            ),
            "The rows' grids are still stretched by the outliers. Take the largest magnitude of "
            "what is left.": lambda x, w, t: _product(x, w, t, "stretched"),
            "One division by 127 is missing: both factors were multiplied by it.": (
                lambda x, w, t: _product(x, w, t, "one scale")
            ),
            "The weights beside the outliers are the original floats, and those are gone. Use the "
            "dequantized codes.": lambda x, w, t: _product(x, w, t, "floats"),
        },
        rtol=1e-4,
        atol=1e-5,
        hint="Two products: codes of the quiet columns, and floats of the loud ones.",
    ),
    Exercise(
        id="ch05.smooth",
        task="Write `smoothing(absmax, weight, alpha)`: SmoothQuant's scales, one a column. "
        "`absmax` [in] holds the largest magnitude of each column of the inputs, `weight` is "
        "[out, in].",
        expected=_smooth,
        cases=_smooth_cases,
        mistakes={
            "Alpha and 1 - alpha are exchanged: alpha is how much the weights take over, so it "
            "belongs to the inputs' maximum.": lambda a, w, alpha: _smooth(a, w, 1 - alpha),
            "The weight's maximum belongs below the line: where the weights are heavy already, "
            "less may be handed over.": (
                lambda a, w, alpha: a**alpha * w.abs().amax(0) ** (1 - alpha)
            ),
            "The weight's maximum is taken with its sign: take magnitudes first.": (
                lambda a, w, alpha: a**alpha / w.amax(0).clamp(min=1e-5) ** (1 - alpha)
            ),
            "This is one over the scales: the inputs are divided by them, the weights "
            "multiplied.": lambda a, w, alpha: 1 / _smooth(a, w, alpha),
        },
        rtol=1e-4,
        hint="A column of the weight [out, in] is one of its second dimension: amax(0).",
    ),
    Exercise(
        id="ch05.survives",
        task="A layer's inputs share one grid of 8 bits, -127 to 127. The loudest of them is "
        "3,000. Predict the smallest magnitude that is not rounded to 0.",
        expected=LOUDEST_INPUT / 254,
        mistakes={
            "This is one whole step. Rounding goes to the nearest code; half a step is enough.": (
                LOUDEST_INPUT / 127
            ),
            "This is half a step of a grid with 255 codes above 0. It has 127, and 127 below.": (
                LOUDEST_INPUT / 510
            ),
            "0.5 is half a code, not half a step: a step is 3,000 / 127.": 0.5,
        },
        rtol=0.003,
        atol=0.0,
        hint="How large is one step, and which part of it reaches the next code?",
    ),
]
