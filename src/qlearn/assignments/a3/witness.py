"""Assignment 3: where the given code goes wrong, and an input that shows it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a3.stale import gptq, loss, suspect
from qlearn.assignments.a3.steps import correlated
from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.teach.checks.checker import Exercise

Problem = tuple[Tensor, Tensor, Tensor, Tensor]  # weight, hessian, scale, zero_point
BITS = 3
SHOWN = 1.05  # times the right loss that the given code must lose
CONDITION = 1e5
BUG = "the given code loses more"
LUCK = "the given code loses less"


def make_smallest(_: int) -> Exercise:
    """A prediction: the same for every seed."""

    def both(columns: int, wrong_moves: int) -> dict[str, int]:
        return {"columns": columns, "wrong_moves": wrong_moves}

    return Exercise(
        id="a3.smallest",
        task="Predict the least number of columns at which the given code can give wrong codes, "
        "and how many of the 6 moves (one column's error to a later column) are wrong with 4.",
        expected=both(3, 3),
        mistakes={
            "With 2 columns there is one move, from the first column, and nothing is frozen before "
            "it.": both(2, 3),
            "With one column nothing moves.": both(1, 3),
            "The second column's move into the third is already wrong: 3 columns are enough.": both(
                4, 3
            ),
            "The moves from column 1 are right: the inverse is still fresh. Three others are "
            "not.": both(3, 6),
            "Columns 2 and 3 move three columns between them: 2 into 3, 2 into 4, 3 into 4.": both(
                3, 2
            ),
            "More than one move is wrong: every column but the first uses the stale inverse.": both(
                3, 1
            ),
            "These are the columns that are rounded from a wrong place. Count the moves.": both(
                2, 2
            ),
            "The last column moves nothing, and the first one's three moves are right: 3.": both(
                3, 4
            ),
            "The count starts with the second column of two; but there, nothing is stale yet.": (
                both(2, 6)
            ),
        },
        rtol=0.0,
        atol=0.0,
        hint="Which columns are frozen when a move is made? Whose inverse is used?",
    )


def judge(result: Any, columns: int) -> str:
    """What a witness shows, in words: :data:`BUG`, or what is wrong with it."""
    return f"{columns} columns: {_judge(result, columns)}"


def _judge(result: Any, columns: int) -> str:
    names = ("weight", "hessian", "scale", "zero_point")
    shapes = ((1, columns), (columns, columns), (1, 1), (1, 1))
    if not isinstance(result, tuple | list) or len(result) != 4:
        return "not a tuple of weight, hessian, scale and zero_point"
    for name, tensor, shape in zip(names, result, shapes, strict=True):
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            return f"a {name} that is no tensor of shape {list(shape)}"
        if not bool(torch.isfinite(tensor.double()).all()):
            return f"a {name} that is not finite"
    weight, hessian, scale, zero_point = (tensor.double() for tensor in result)
    if float((hessian - hessian.T).abs().max()) > 1e-5 * float(hessian.abs().max()):
        return "a hessian that is not symmetric"
    values = torch.linalg.eigvalsh(hessian)
    if float(values[0]) <= 0:
        return "a hessian that is not positive definite"
    if float(values[-1] / values[0]) > CONDITION:
        return f"a hessian whose condition number exceeds {CONDITION:g}"
    if float(scale) <= 0:
        return "a scale that is not above 0"
    if float(zero_point) not in range(2**BITS):
        return f"a zero_point that is no code from 0 to {2**BITS - 1}"
    problem = (weight, hessian, scale, zero_point)
    ours = loss(suspect(*problem, BITS), *problem)
    right = loss(gptq(*problem, BITS), *problem)
    if max(ours, right) <= 1e-9:
        return "both lose nothing"
    if abs(ours - right) <= 1e-9 * max(ours, right, 1e-12):
        return "both lose the same"
    if ours < right:
        return LUCK
    if ours < SHOWN * right:
        return "the given code loses too little more"
    return BUG


@cache
def _found(columns: int, shows: str) -> Problem:
    """The first drawn input that shows this.

    Raises:
        ValueError: where none of those tried does.
    """
    grid = torch.full((1, 1), 0.5), torch.full((1, 1), 4.0)
    for seed in range(2000):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(1, columns, generator=generator)
        problem = (weight, correlated(columns, generator, 1.0), *grid)
        if _judge(problem, columns) == shows:
            return problem
    raise ValueError(f"columns={columns} has no input on which {shows}; choose 3 or more")


def witness(columns: int) -> Problem:
    """The reference of a3.witness."""
    return _found(columns, BUG)


WITNESS_PARTS = ("3 columns", "4 to 6 columns", "7 to 10 columns", "11 columns or more")


def make_witness(seed: int) -> Exercise:
    """Widths from 3 on."""
    few, several, many = 4, 7, 11
    if seed:  # other widths than those that are visible
        generator = generator_of(seed, 33)
        few, several, many = (
            int(torch.randint(low, high, (1,), generator=generator))
            for low, high in ((5, 7), (8, 11), (12, 20))
        )

    def spoilt(change: Callable[[Problem], Any]) -> Callable[[int], Any]:
        return lambda columns: change(witness(columns))

    def with_hessian(change: Callable[[Tensor], Tensor]) -> Callable[[int], Any]:
        return spoilt(lambda p: (p[0], change(p[1]), *p[2:]))

    wrong: dict[str, Callable[[int], Any]] = {
        "The inputs are uncorrelated: then nothing moves, and both round to nearest. Put something "
        "beside the diagonal.": with_hessian(lambda h: torch.diag(h.diagonal())),
        "The weights stand on the grid, so there is nothing to make good.": spoilt(
            lambda p: (torch.zeros_like(p[0]), *p[1:])
        ),
        "The Hessian is not symmetric. Build it as `2/n X^T X`.": with_hessian(
            lambda h: h.triu() + 2 * h.tril(-1)
        ),
        "The Hessian is not positive definite: no inputs have such a one. Build it as "
        "`2/n X^T X`.": with_hessian(lambda h: -h),
        "The Hessian can hardly be inverted: the inputs' sizes differ too much.": with_hessian(
            lambda h: h * torch.outer(*[10.0 ** torch.linspace(0, 4, len(h))] * 2)
        ),
        "The scale is 0 or negative.": spoilt(lambda p: (p[0], p[1], -p[2], p[3])),
        "The zero-point is no 3-bit code.": spoilt(lambda p: (p[0], p[1], p[2], p[3] + 100)),
        "The weight has more than one row: one is enough, `[1, columns]`.": spoilt(
            lambda p: (p[0].repeat(2, 1), *p[1:])
        ),
        "The scale has no dimensions: it is `[1, 1]`, as the given code takes it.": spoilt(
            lambda p: (p[0], p[1], p[2].reshape(()), p[3])
        ),
        "On this input the bug helps, by luck. Look for one on which it hurts.": (
            # With 3 columns luck can't help: only the last one's place is wrong.
            lambda columns: _found(columns, LUCK if columns > 3 else BUG)
        ),
        "The given code returns these codes; the question is for an input.": (
            lambda columns: suspect(*witness(columns), BITS)
        ),
    }
    return Exercise(
        id="a3.witness",
        task="Write `witness(columns)`: an input `(weight [1, columns], hessian, scale [1, 1], "
        f"zero_point [1, 1])` of {BITS} bits on which the given code loses {SHOWN - 1:.0%} more.",
        expected=remembered(measured(witness, judge)),
        cases=[(3,), (few,), (several,), (many,)],
        mistakes=measured_all(wrong, judge),
        hint="Draw inputs from a seed until your slow GPTQ, by `best_free`, beats the given code.",
    )
