"""Answers to chapter 11's exercises, written apart from them: right ones and wrong ones."""

from itertools import pairwise

import numpy as np


def beaten(point, points):
    return any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)


def front_by_definition(points):
    return sorted({point for point in points if not beaten(point, points)})


def front_from_the_best(points):
    """From the least loss down in size."""
    found, rest = [], list(points)
    while rest:
        best = min(rest, key=lambda point: (point[1], point[0]))
        found.append(best)
        rest = [point for point in rest if point[0] < best[0]]
    return found[::-1]


def running_most(points):
    found = []
    for point in sorted(points):
        if all(point[1] > other[1] for other in found):
            found.append(point)
    return found


def falling_steps(points):
    ordered = sorted(points)
    return ordered[:1] + [after for before, after in pairwise(ordered) if after[1] < before[1]]


def smallest_by_sorting(levels, most):
    for name, _, loss in sorted(levels, key=lambda level: level[1]):
        if loss <= most:
            return name
    return ""


def paired_by_numpy(first, second):
    return float(np.std(np.subtract(second, first), ddof=1) / len(first) ** 0.5)


def paired_by_counts(first, second):
    """Only the questions that one of the two answers matter."""
    n = len(first)
    lost = sum(a > b for a, b in zip(first, second, strict=True))
    won = sum(a < b for a, b in zip(first, second, strict=True))
    mean = (won - lost) / n
    return (((lost + won) / n - mean**2) * n / (n - 1) / n) ** 0.5


def unpaired_by_numpy(first, second):
    return float(((np.var(first, ddof=1) + np.var(second, ddof=1)) / len(first)) ** 0.5)


def pick_in_a_loop(budget, models, key=lambda name, size, bits, loss: loss, strict=False):
    best, chosen = None, None
    for name, size, losses in models:
        for bits, loss in losses.items():
            bytes_needed = size * bits / 8
            if bytes_needed > budget or (strict and bytes_needed == budget):
                continue
            value = key(name, size, bits, loss)
            if best is None or value < best:
                best, chosen = value, (name, bits)
    return chosen


CASES = {
    "ch11.front": {
        "right": [front_by_definition, front_from_the_best],
        "wrong": [
            (lambda points: sorted(points, key=lambda p: (p[0], p[1])), "Every point is kept"),
            (
                lambda points: sorted(
                    p for p in points if all(q[0] >= p[0] or q[1] >= p[1] for q in points)
                ),
                "both kept",
            ),
            (running_most, "rise along"),
            (lambda points: front_by_definition(points)[::-1], "largest comes first"),
            (falling_steps, "the one before it"),
        ],
    },
    "ch11.smallest": {
        "right": [smallest_by_sorting],
        "wrong": [
            (lambda levels, most: min(levels, key=lambda x: x[2])[0], "loses least"),
            (lambda levels, most: min(levels, key=lambda x: x[1])[0], "smallest of all"),
            (
                lambda levels, most: smallest_by_sorting(
                    [(name, -size, loss) for name, size, loss in levels], most
                ),
                "largest within",
            ),
            (lambda levels, most: next(x[0] for x in levels if x[2] <= most), "order of the list"),
            (
                lambda levels, most: smallest_by_sorting(
                    [level for level in levels if level[2] != most], most
                ),
                "exactly the bound",
            ),
        ],
    },
    "ch11.paired": {
        "right": [paired_by_numpy, paired_by_counts],
        "wrong": [
            (unpaired_by_numpy, "different questions"),
            (lambda a, b: float(np.std(np.subtract(b, a), ddof=1)), "spread of one difference"),
            (lambda a, b: float(np.std(np.subtract(b, a)) / len(a) ** 0.5), "variance is over n."),
            (lambda a, b: float(np.var(np.subtract(b, a), ddof=1) / len(a)), "is a variance"),
            (lambda a, b: float(np.std(np.add(b, a), ddof=1) / len(a) ** 0.5), "of the sums"),
        ],
    },
    "ch11.crossover": {
        "right": [lambda bits, operations, bandwidth: operations * bits / (16 * bandwidth)],
        "wrong": [
            (lambda b, o, w: o * b / (8 * w), "two operations"),
            (lambda b, o, w: o * b / (2 * w), "taken for bytes"),
            (lambda b, o, w: o / w, "width is missing"),
            (lambda b, o, w: 16 * w / (o * b), "the inverse"),
            (lambda b, o, w: 4 * o / (w * b), "above the line"),
        ],
    },
    "ch11.equal": {
        "right": [pick_in_a_loop],
        "wrong": [
            (
                lambda budget, models: pick_in_a_loop(
                    budget, models, lambda name, size, bits, loss: (-size, loss)
                ),
                "largest model",
            ),
            (
                lambda budget, models: pick_in_a_loop(
                    budget, models, lambda name, size, bits, loss: (-bits, loss)
                ),
                "most bits",
            ),
            (lambda budget, models: pick_in_a_loop(10**12, models), "budget is not looked at"),
            (
                lambda budget, models: pick_in_a_loop(
                    budget, models, lambda name, size, bits, loss: size * bits
                ),
                "fewest bytes",
            ),
            (
                lambda budget, models: pick_in_a_loop(budget, models, strict=True),
                "exactly the budget",
            ),
        ],
    },
}
