"""Assignment 4, the search: of twenty exponents the one that leaves the least error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a4.parts import balanced, channel_scales, output_loss, rounded
from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.pocket_layer import layer_case
from qlearn.teach.checks.checker import Exercise

RATIOS = 20
CLEAR = 1.002  # by which the second-best exponent of a case is worse than the best


def losses(
    weight: Tensor, inputs: Tensor, bits: int, group_size: int | None, tried: int = RATIOS
) -> list[float]:
    """The outputs' error for each exponent."""
    moment = inputs.T @ inputs / len(inputs)
    return [
        output_loss(weight, moment, channel_scales(inputs, step / RATIOS), bits, group_size)
        for step in range(tried)
    ]


def last_is_best(seed: int) -> tuple[Tensor, Tensor]:
    """A layer whose error falls up to the last exponent, 0.95, and would go on falling at 1.

    A column's weights are as small as its inputs are large: to scale it costs the others nothing.
    """
    generator = generator_of(seed, 45)
    while True:
        size = torch.randn(48, generator=generator).mul(1.5).exp()
        weight = torch.randn(64, 48, generator=generator) / size
        inputs = torch.randn(160, 48, generator=generator) * size
        *found, beyond = losses(weight, inputs, 3, None, RATIOS + 1)
        if found[-1] * CLEAR < min(found[:-1]) and beyond * CLEAR < found[-1]:
            return weight, inputs


def best_ratio(weight: Tensor, inputs: Tensor, bits: int, group_size: int | None) -> float:
    """The exponent of the least error."""
    found = losses(weight, inputs, bits, group_size)
    return found.index(min(found)) / RATIOS


def make_search(seed: int) -> Exercise:
    """Of twenty exponents the best one, on layers where it is clear which."""
    cases = []
    plans = (
        ("1.mlp.down_proj", 3, 32),
        ("0.self_attn.q_proj", 3, None),
        ("1.mlp.up_proj", 4, None),
    )
    for layer, bits, group in plans:
        for text in range(50):
            weight, inputs = layer_case(layer, 48, 160, 100 * seed + text)
            found = sorted(losses(weight, inputs, bits, group))
            if found[1] > CLEAR * found[0]:
                break
        cases.append((weight, inputs, bits, group))
    cases.append((*last_is_best(seed), 3, None))

    def variant(
        loss: Callable[..., float] = output_loss,
        pick: Any = min,
        divide: int = RATIOS,
        of: str = "",
        count: int = RATIOS,
    ) -> Callable[..., float]:
        def wrong(w: Tensor, x: Tensor, bits: int, group: int | None) -> float:
            moment = torch.eye(x.shape[1]) if of == "weights" else x.T @ x / len(x)
            tried = []
            for step in range(count):
                scales = channel_scales(x, step / RATIOS)
                if of == "largest":
                    scales = balanced(x.abs().amax(0).pow(step / RATIOS))
                tried.append(loss(w, moment, scales, bits, group))
            return tried.index(pick(tried)) / divide

        return wrong

    def in_scaled_space(w: Tensor, m: Tensor, s: Tensor, bits: int, group: int | None) -> float:
        error = rounded(w * s, bits, group) - w * s
        return float(((error @ m) * error).sum())

    return Exercise(
        id="a4.search",
        task="Write `best_ratio(weight, inputs, bits, group_size)`: of the exponents 0, 0.05, ... "
        "0.95 the one whose scales leave the least error in the layer's outputs.",
        expected=best_ratio,
        cases=cases,
        mistakes={
            "You compare errors of the weights. These hardly gain from scaling; the outputs do.": (
                variant(of="weights")
            ),
            "You return the exponent of the largest error.": variant(pick=max),
            "You return which exponent it is, counted from 0; divide by 20.": variant(divide=1),
            "Your exponents end at 1: step / 19. AWQ's are step / 20, from 0 to 0.95.": (
                variant(divide=RATIOS - 1)
            ),
            "You try 21 exponents; 1 is not among AWQ's, which end at 0.95.": (
                variant(count=RATIOS + 1)
            ),
            "You try 19 exponents: 0.95 is missing.": variant(count=RATIOS - 1),
            "No exponent is tried: 0 is rounding to nearest.": lambda w, x, b, g: 0.0,
            "One exponent for all layers: 0.5 is the usual start. Search it for each.": (
                lambda w, x, b, g: 0.5
            ),
            "The error is measured on the scaled weight, but with inputs that are not divided by "
            "the scales.": variant(in_scaled_space),
            "The scales are made from the largest inputs; take the mean magnitude.": (
                variant(of="largest")
            ),
        },
        rtol=0.0,
        atol=1e-6,
        hint="Twenty exponents: channel_scales, output_loss, keep the smallest.",
    )
