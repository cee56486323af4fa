"""Chapter 11: a Pareto front, a bound on the loss, paired error bars, rooflines, equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import pstdev, stdev
from typing import Any

from qlearn.teach.checks.checker import Exercise

Point = tuple[float, float]
Level = tuple[str, int, float]
Model = tuple[str, int, dict[int, float]]


def _front(points: list[Point]) -> list[Point]:
    """Smallest first; each loses less than all that are smaller."""
    kept: list[Point] = []
    for size, loss in sorted(points):
        if not kept or loss < kept[-1][1]:
            kept.append((size, loss))
    return kept


def _front_all(points: list[Point]) -> list[Point]:
    return sorted(points)


def _front_ties(points: list[Point]) -> list[Point]:
    """Beaten only by a point that is better in both."""
    return sorted(p for p in points if not any(q[0] < p[0] and q[1] < p[1] for q in points))


def _front_upper(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for size, loss in sorted(points):
        if not kept or loss > kept[-1][1]:
            kept.append((size, loss))
    return kept


def _front_backward(points: list[Point]) -> list[Point]:
    return _front(points)[::-1]


def _front_neighbours(points: list[Point]) -> list[Point]:
    """Compared with the point before it, not with all smaller ones."""
    ordered = sorted(points)
    pairs = zip([(0.0, float("inf")), *ordered], ordered, strict=False)
    return [here for before, here in pairs if here[1] < before[1]]


def _smallest(levels: list[Level], most: float) -> str:
    return min((level for level in levels if level[2] <= most), key=lambda level: level[1])[0]


def _paired(first: list[int], second: list[int]) -> float:
    """Of the mean difference, question by question."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    return stdev(differences) / sqrt(len(differences))


def _unpaired(first: list[int], second: list[int]) -> float:
    return sqrt((stdev(first) ** 2 + stdev(second) ** 2) / len(first))


def _of_population(first: list[int], second: list[int]) -> float:
    return pstdev([b - a for a, b in zip(first, second, strict=True)]) / sqrt(len(first))


def _crossover(bits: float, operations: float, bandwidth: float) -> float:
    """Tokens at which two operations a weight and token take as long as reading the weights."""
    return bits / 8 * operations / (2 * bandwidth)


def _pick(
    budget: float,
    models: list[Model],
    better: Callable[[int, int, float], Any] = lambda parameters, bits, loss: loss,
) -> tuple[str, int]:
    """Name and bits of what is least in ``better`` among all that fit."""
    fitting = [
        (better(parameters, bits, loss), name, bits)
        for name, parameters, losses in models
        for bits, loss in losses.items()
        if parameters * bits / 8 <= budget
    ]
    _, name, bits = min(fitting, key=lambda one: one[0])
    return name, bits


def _best(budget: float, models: list[Model]) -> tuple[str, int]:
    return _pick(budget, models)


FIVE = [(540.0, 0.0), (135.0, 0.004), (80.0, 0.18), (72.0, 0.42), (76.0, 0.65)]
FRONTS = (
    (FIVE,),
    ([(4.0, 1.0), (4.0, 2.0), (5.0, 1.0), (6.0, 0.5), (6.0, 0.25), (8.0, 0.4), (9.0, 0.3)],),
    ([(3.0, 0.2), (1.0, 0.9), (2.0, 0.5), (2.5, 0.7), (2.6, 0.6)],),
)
LEVELS = [
    ("6 bits", 110, 0.03),
    ("8 bits", 140, 0.01),
    ("NF4", 84, 0.05),
    ("3 bits", 60, 0.65),
    ("4 bits", 80, 0.2),
]
SMALLEST = (
    (LEVELS, 0.2),
    (LEVELS, 0.1),
    ([("a", 7, 0.1), ("b", 9, 0.3), ("c", 5, 0.5), ("d", 6, 0.4), ("e", 8, 0.4)], 0.4),
)
ANSWERS = (
    ([1, 1, 1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 1, 1, 1]),
    ([1] * 60 + [0] * 40, [1] * 50 + [0] * 45 + [1] * 5),
    ([1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 1, 0]),
)
EQUAL = [
    ("small", 1000, {16: 0.30, 8: 0.31, 4: 0.36}),
    ("large", 4000, {16: 0.10, 8: 0.11, 4: 0.15, 3: 0.24, 2: 0.70}),
]
EQUALS = (
    (2000, EQUAL),  # large at 4 bits, exactly as many bytes as small at 16
    (1600, EQUAL),  # large at 3
    (1200, EQUAL),  # large at 2 fits, but small at 8 loses less
    (9000, EQUAL),  # all fit
    (3000, [("odd", 2000, {8: 0.4, 4: 0.2}), ("even", 1000, {16: 0.3})]),
)

EXERCISES = [
    Exercise(
        id="ch11.front",
        task="Write `front(points)`: of a list of `(size, loss)`, those that no other point beats, "
        "smallest first. A point is beaten by one that is no larger, loses no more, and is better "
        "in one of the two.",
        expected=_front,
        cases=FRONTS,
        mistakes={
            "Every point is kept. Leave out those that lose as much as a smaller one, or more.": (
                _front_all
            ),
            "Points of equal size, or equal loss, are both kept. The worse of the two is beaten.": (
                _front_ties
            ),
            "The losses rise along your front: these are the worst points. They must fall as the "
            "size grows.": _front_upper,
            "The front is right, but the largest comes first. Begin with the smallest.": (
                _front_backward
            ),
            "Each point is compared with the one before it. Compare it with the best of all "
            "smaller ones.": _front_neighbours,
        },
        hint="Sort by size, then go through the points and remember the least loss so far.",
    ),
    Exercise(
        id="ch11.smallest",
        task="Write `smallest(levels, most)`: the name of the smallest level that loses no more "
        "than `most`. A level is `(name, bytes, loss)`.",
        expected=_smallest,
        cases=SMALLEST,
        mistakes={
            "That is the level that loses least. Of those within the bound, take the smallest.": (
                lambda levels, most: min(levels, key=lambda level: level[2])[0]
            ),
            "That is the smallest of all. Leave out the levels that lose more than the bound.": (
                lambda levels, most: min(levels, key=lambda level: level[1])[0]
            ),
            "That is the largest within the bound. Take the smallest.": lambda levels, most: max(
                (level for level in levels if level[2] <= most), key=lambda level: level[1]
            )[0],
            "That is the first within the bound, in the order of the list. Take the smallest.": (
                lambda levels, most: next(level[0] for level in levels if level[2] <= most)
            ),
            "A level that loses exactly the bound is allowed: compare with <=.": (
                lambda levels, most: min(
                    (level for level in levels if level[2] < most), key=lambda level: level[1]
                )[0]
            ),
        },
        hint="min(..., key=lambda level: level[1]) over those with level[2] <= most.",
    ),
    Exercise(
        id="ch11.paired",
        task="Write `standard_error(first, second)`: two models answered the same questions, 1 for "
        "right and 0 for wrong. Give the standard error of the mean difference, question by "
        "question, with the variance over n - 1.",
        expected=_paired,
        cases=ANSWERS,
        mistakes={
            "This treats the two models as asked different questions. Take the difference of each "
            "question first.": _unpaired,
            "This is the spread of one difference. The mean of n of them has it over sqrt(n).": (
                lambda first, second: _paired(first, second) * sqrt(len(first))
            ),
            "The variance is over n. Over n - 1 it is right on average.": _of_population,
            "This is a variance. The standard error is its square root.": (
                lambda first, second: _paired(first, second) ** 2
            ),
            "This is the spread of the sums. Subtract, question by question.": (
                lambda first, second: _paired([-a for a in first], second)
            ),
        },
        hint="statistics.stdev of the differences, over the square root of their number.",
    ),
    Exercise(
        id="ch11.crossover",
        task="Write `crossover(bits, operations, bandwidth)`: the number of tokens at which a "
        "layer's arithmetic takes as long as reading its weights once. A weight has `bits`; each "
        "token needs two operations a weight; the device does `operations` and reads `bandwidth` "
        "bytes a second.",
        expected=_crossover,
        cases=((16, 160e12, 1000e9), (4, 160e12, 1000e9), (4.5, 1e12, 50e9), (32, 3e12, 60e9)),
        mistakes={
            "A token needs two operations a weight: multiply and add.": (
                lambda bits, operations, bandwidth: bits / 8 * operations / bandwidth
            ),
            "The bits are taken for bytes: divide by 8.": (
                lambda bits, operations, bandwidth: bits * operations / (2 * bandwidth)
            ),
            "The width is missing. Fewer bits are read sooner, so fewer tokens are enough.": (
                lambda bits, operations, bandwidth: operations / bandwidth
            ),
            "That is the inverse: operations stand above, bandwidth below.": (
                lambda bits, operations, bandwidth: 1 / _crossover(bits, operations, bandwidth)
            ),
            "Fewer bits take less time to read: the width belongs above the line.": (
                lambda bits, operations, bandwidth: 8 / bits * operations / (2 * bandwidth)
            ),
        },
        hint="Reading a weight takes bits / 8 / bandwidth; a token's part of it 2 / operations.",
    ),
    Exercise(
        id="ch11.equal",
        task="Write `pick(budget, models)`: name and bits of what loses least in `budget` bytes. A "
        "model is `(name, parameters, losses)`, and `losses` maps bits to what the model loses "
        "there. Weights alone count, without scales.",
        expected=_best,
        cases=EQUALS,
        mistakes={
            "That is the largest model that fits at any width. At very few bits a smaller one can "
            "lose less: compare losses.": lambda budget, models: _pick(
                budget, models, lambda parameters, bits, loss: (-parameters, loss)
            ),
            "That is the most bits that fit. A larger model at fewer bits can lose less: compare "
            "losses.": lambda budget, models: _pick(
                budget, models, lambda parameters, bits, loss: (-bits, loss)
            ),
            "The budget is not looked at. Leave out what needs more bytes.": (
                lambda budget, models: _pick(float("inf"), models)
            ),
            "That is what needs the fewest bytes. All that fit are free to take: compare losses.": (
                lambda budget, models: _pick(
                    budget, models, lambda parameters, bits, loss: parameters * bits
                )
            ),
            "What needs exactly the budget fits: compare with <=.": lambda budget, models: _pick(
                budget - 1, models
            ),
        },
        hint="Go through all pairs of model and bits, keep those that fit, take the least loss.",
    ),
]
