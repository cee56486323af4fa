"""Assignment 0, ten minutes: how assignments work, with a function and a prediction to hand in."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.assignments.shared.question import Question
from qlearn.teach.checks.checker import Exercise


def _step(weights: Tensor, bits: int) -> Tensor:
    return weights.abs().amax(dim=1) / (2 ** (bits - 1) - 1)


def _make_step(seed: int) -> Exercise:
    generator = torch.Generator().manual_seed(seed)
    cases = [(torch.randn(4, 8, generator=generator), bits) for bits in (8, 4, 3)]
    cases.append((-torch.rand(3, 5, generator=generator) - 1, 4))
    cases.append((torch.zeros(2, 4), 4))
    return Exercise(
        id="a0.step",
        task="Write `step(weights, bits)`: the symmetric step of each row, a 1-D tensor.",
        expected=_step,
        cases=cases,
        mistakes={
            "One step for the whole tensor: take the maximum of each row (dim=1).": (
                lambda weights, bits: (weights.abs().max() / (2 ** (bits - 1) - 1)).expand(
                    weights.shape[0]
                )
            ),
            "The maximum of the columns, not of the rows: dim=1 runs along a row.": (
                lambda weights, bits: weights.abs().amax(dim=0) / (2 ** (bits - 1) - 1)
            ),
            "Without abs() a row's largest negative weight is missed.": (
                lambda weights, bits: weights.amax(dim=1) / (2 ** (bits - 1) - 1)
            ),
            "2^(bits-1) is one more than the largest positive code: divide by 2^(bits-1) - 1.": (
                lambda weights, bits: weights.abs().amax(dim=1) / 2 ** (bits - 1)
            ),
            "2^bits - 1 steps span a whole range; the magnitude has 2^(bits-1) - 1.": (
                lambda weights, bits: weights.abs().amax(dim=1) / (2**bits - 1)
            ),
            "The range of a row is the affine step; the symmetric one takes the magnitude.": (
                lambda weights, bits: (
                    (weights.amax(dim=1) - weights.amin(dim=1)) / (2 ** (bits - 1) - 1)
                )
            ),
            "The mean magnitude leaves the large weights out of the grid.": (
                lambda weights, bits: weights.abs().mean(dim=1) / (2 ** (bits - 1) - 1)
            ),
            "A column of steps: the task asks for a 1-D tensor (no keepdim).": (
                lambda weights, bits: (
                    weights.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
                )
            ),
        },
    )


def _make_levels(seed: int) -> Exercise:
    return Exercise(
        id="a0.levels",
        task="How many levels have a 3-bit, a 4-bit and an 8-bit code? A list of three.",
        expected=[8, 16, 256],
        mistakes={
            "2^bits - 1 is the largest code; zero is a level too.": [7, 15, 255],
            "These are the bits times two: each bit doubles the number of levels.": [6, 8, 16],
            "These are the magnitudes of a signed code; the signs double them.": [4, 8, 128],
            "These are the magnitudes without the zero of a signed code.": [3, 7, 127],
            "These are squares of the bits: 2 is the base, the bits are the exponent.": [9, 16, 64],
            "These are the bits themselves.": [3, 4, 8],
            "One too many: codes run from 0 to 2^bits - 1.": [9, 17, 257],
            "The order is 3, 4, 8 bits.": [256, 16, 8],
        },
        rtol=0.0,
        atol=0.0,
    )


QUESTIONS = [
    Question(
        id="a0.step",
        title="The step of each row",
        points=3,
        minutes=7,
        target="each step within 1e-6 + 0.001% of the reference",
        answer="step",
        make=_make_step,
        blocked=("qlearn.numerics", "qlearn.exercises"),
        parts=("any rows", "any rows", "any rows", "negative rows", "rows of zeros"),
    ),
    Question(
        id="a0.levels",
        title="Levels of a code",
        points=2,
        minutes=3,
        target="exact",
        answer="levels",
        make=_make_levels,
    ),
]
