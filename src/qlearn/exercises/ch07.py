"""Exercises of chapter 7: scales, folding them, their loss, the search, and a prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme
from qlearn.teach.checks.checker import Exercise

RATIOS = 20
FACTOR = 4  # by which a column is enlarged in the prediction


def _scales(mean: Tensor, ratio: float) -> Tensor:
    """``mean`` to the power of ``ratio``, divided by the root of its largest times smallest."""
    scales = mean**ratio
    return scales / (scales.max() * scales.min()).sqrt()


def _scales_without_root(mean: Tensor, ratio: float) -> Tensor:
    scales = mean**ratio
    return scales / (scales.max() * scales.min())


def _scales_around_the_mean(mean: Tensor, ratio: float) -> Tensor:
    scales = mean**ratio
    return scales / scales.mean()


def _fold(norm: Tensor, weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """The norm's weight divided, the layer's columns multiplied."""
    return norm / scales, weight * scales


def _fold_other_way(norm: Tensor, weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    return norm * scales, weight / scales


def _fold_half(norm: Tensor, weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    return norm, weight * scales


def _fold_twice(norm: Tensor, weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    return norm * scales, weight * scales


def _fold_rows(norm: Tensor, weight: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    return norm / scales, weight * scales[:, None]


def _output_loss(weight: Tensor, inputs: Tensor, scales: Tensor, scheme: QuantScheme) -> float:
    """Mean squared error of the outputs, the columns scaled before rounding and back after it."""
    rounded = fake_quantize(weight * scales, scheme) / scales
    return float((inputs @ (rounded - weight).T).square().mean())


def _loss_not_scaled_back(
    weight: Tensor, inputs: Tensor, scales: Tensor, scheme: QuantScheme
) -> float:
    rounded = fake_quantize(weight * scales, scheme)
    return float((inputs @ (rounded - weight).T).square().mean())


def _loss_of_the_weights(
    weight: Tensor, inputs: Tensor, scales: Tensor, scheme: QuantScheme
) -> float:
    rounded = fake_quantize(weight * scales, scheme) / scales
    return float((rounded - weight).square().mean())


def _loss_summed(weight: Tensor, inputs: Tensor, scales: Tensor, scheme: QuantScheme) -> float:
    return _output_loss(weight, inputs, scales, scheme) * len(inputs) * len(weight)


def _loss_unscaled(weight: Tensor, inputs: Tensor, scales: Tensor, scheme: QuantScheme) -> float:
    return _output_loss(weight, inputs, torch.ones_like(scales), scheme)


def _search(weight: Tensor, inputs: Tensor, scheme: QuantScheme, *, rule: str = "outputs") -> float:
    """The best power of 20; ``rule`` spoils the search in one way each."""
    mean = inputs.mean(0).abs() if rule == "signed" else inputs.abs().mean(0)
    measured = _loss_of_the_weights if rule == "weights" else _output_loss
    losses = [
        measured(weight, inputs, _scales(mean.clamp(min=1e-6), step / RATIOS), scheme)
        for step in range(RATIOS)
    ]
    pick = max if rule == "largest" else min
    step = losses.index(pick(losses))
    if rule == "index":
        return float(step)
    return step / (RATIOS - 1 if rule == "ends" else RATIOS)


def _best_ratio(weight: Tensor, inputs: Tensor, scheme: QuantScheme) -> float:
    return _search(weight, inputs, scheme)


def _layer(seed: int, rows: int, width: int, tokens: int) -> tuple[Tensor, Tensor]:
    """A weight, and inputs of which a few are much larger than the others."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=generator)
    size = torch.rand(width, generator=generator).mul(3).exp()
    return weight, torch.randn(tokens, width, generator=generator) * size


def _fold_cases() -> list[tuple[Tensor, Tensor, Tensor]]:
    cases = []
    for seed, width in ((1, 4), (2, 6)):
        weight, inputs = _layer(seed, width, width, 8)
        cases.append((1 + inputs[0].abs() / 8, weight, _scales(inputs.abs().mean(0), 0.5)))
    return cases


def _loss_cases() -> list[tuple[Tensor, Tensor, Tensor, QuantScheme]]:
    cases = []
    for seed, bits, group in ((3, 3, None), (4, 4, 8)):
        weight, inputs = _layer(seed, 6, 16, 12)
        cases.append(
            (weight, inputs, _scales(inputs.abs().mean(0), 0.6), QuantScheme(bits, False, group))
        )
    return cases


def _search_cases() -> list[tuple[Tensor, Tensor, QuantScheme]]:
    return [
        (*_layer(seed, 24, 32, 64), QuantScheme(bits, False, 16)) for seed, bits in ((5, 3), (6, 4))
    ]


EXERCISES = [
    Exercise(
        id="ch07.channel_scales",
        task="Write `channel_scales(mean, ratio)`: `mean` to the power of `ratio`, divided by "
        "the square root of its largest times its smallest value.",
        expected=_scales,
        cases=(
            (torch.tensor([1.0, 16.0]), 0.5),
            (torch.tensor([0.2, 3.0, 0.7, 1.1]), 0.35),
            (torch.tensor([0.5, 2.5, 9.0]), 0.0),
        ),
        mistakes={
            "The power is there, the division is missing: the scales do not lie around 1.": (
                lambda mean, ratio: mean**ratio
            ),
            "You divide by the largest times the smallest; take the square root of that product.": (
                _scales_without_root
            ),
            "These are the inverse scales: columns of large inputs must grow, not shrink.": (
                lambda mean, ratio: 1 / _scales(mean, ratio)
            ),
            "You divide by the mean of the scales. AWQ divides by sqrt(max * min), so that the "
            "largest is as far above 1 as the smallest is below.": _scales_around_the_mean,
            "You multiply by `ratio`; it is an exponent.": (
                lambda mean, ratio: mean * ratio / (mean.max() * mean.min()).sqrt()
            ),
        },
        hint="First the power, then the largest and the smallest of what came out.",
    ),
    Exercise(
        id="ch07.fold",
        task="Write `fold(norm, weight, scales)`: the norm's weight and the layer's weight "
        "`[out_features, in_features]` after `scales` were folded in, such that the layer's "
        "outputs stay what they were and its columns are multiplied by `scales`.",
        expected=_fold,
        cases=_fold_cases,
        mistakes={
            "The wrong way round: the columns of the weight are multiplied, the norm is divided.": (
                _fold_other_way
            ),
            "The norm is as it was, so the layer's outputs have changed.": _fold_half,
            "Both are multiplied: the outputs grow by the square of the scales.": _fold_twice,
            "You scale the rows of the weight, its outputs. The inputs are its columns.": (
                _fold_rows
            ),
        },
        hint="What the columns are multiplied by, the input must be divided by.",
    ),
    Exercise(
        id="ch07.output_loss",
        task="Write `output_loss(weight, inputs, scales, scheme)`: the columns of `weight` are "
        "multiplied by `scales`, rounded with `fake_quantize(..., scheme)` and divided by `scales` "
        "again. Return the mean squared error of the outputs for `inputs` `[tokens, in_features]`, "
        "as a float.",
        expected=_output_loss,
        cases=_loss_cases,
        mistakes={
            "The rounded weight was not divided by the scales again.": _loss_not_scaled_back,
            "This is the error of the weights. Multiply it by the inputs first.": (
                _loss_of_the_weights
            ),
            "This is a sum; take the mean over tokens and outputs.": _loss_summed,
            "The scales have no effect: this is the loss of rounding to nearest.": _loss_unscaled,
        },
        rtol=1e-3,
        hint="Weight error first, [out, in]; then inputs @ error.T, squared, mean.",
    ),
    Exercise(
        id="ch07.best_ratio",
        task="Write `best_ratio(weight, inputs, scheme)`: of the exponents 0, 0.05, ... 0.95 the "
        "one whose scales, made from the inputs' mean magnitude, give the least error of the "
        "outputs.",
        expected=_best_ratio,
        cases=_search_cases,
        mistakes={
            "You compare errors of the weights. These hardly gain from scaling; it is the outputs "
            "that do.": lambda w, x, s: _search(w, x, s, rule="weights"),
            "You return the exponent of the largest error.": (
                lambda w, x, s: _search(w, x, s, rule="largest")
            ),
            "You return which exponent it is, counted from 0; divide by 20.": (
                lambda w, x, s: _search(w, x, s, rule="index")
            ),
            "Your exponents end at 1: step / 19. AWQ's are step / 20, from 0 to 0.95.": (
                lambda w, x, s: _search(w, x, s, rule="ends")
            ),
            "You take the magnitude of the mean, in which signs cancel; take the mean of the "
            "magnitudes.": lambda w, x, s: _search(w, x, s, rule="signed"),
        },
        rtol=0.0,
        atol=1e-6,
        hint="Twenty exponents: channel_scales, output_loss, keep the smallest.",
    ),
    Exercise(
        id="ch07.smaller",
        task="A column is multiplied by 4 before it is rounded, its input divided by 4, and no "
        "group's step grows. By which factor does the expected squared error that the column "
        "leaves in the output fall?",
        expected=float(FACTOR**2),
        mistakes={
            "That is the factor of the error itself. Its square falls by the square.": float(
                FACTOR
            ),
            "The rounding error of a code is as large as before, but it then meets an input "
            "that is 4 times smaller.": 1.0,
            "That is the root of the factor. The error falls by the factor itself, and its square "
            "was asked for.": 2.0,
            "You squared twice: it is the error that falls by the column's factor.": float(
                FACTOR**4
            ),
        },
        rtol=0.0,
        atol=0.01,
        hint="The error in the output is rounding error times input; only the input changed.",
    ),
]
