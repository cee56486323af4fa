"""Assignment 2: a static grid for activations, calibrated on batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import clear, generator_of, off_ties
from qlearn.teach.checks.checker import Exercise

Grid = tuple[float, int]
TOP = 255


def _grid(low: float, high: float, *, zero: bool = True, steps: int = TOP) -> Grid:
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / steps
    return step, round(-low / step)


def _static(batches: list[Tensor], keep: float, *, rule: str = "") -> Grid:
    """An 8-bit grid that holds ``keep`` of all values; ``rule`` spoils one step."""
    parts = [batch.double().flatten() for batch in batches]
    values = parts[-1] if rule == "last" else parts[0] if rule == "first" else torch.cat(parts)
    tail = (1 - keep) if rule == "both tails" else (1 - keep) / 2
    if rule == "ignored":
        tail = 0.0
    if rule == "magnitude":
        reach = float(values.abs().quantile(keep))
        return 2 * reach / TOP, (TOP + 1) // 2
    if rule == "one tail":
        return _grid(float(values.min()), float(values.quantile(keep)))
    if rule in ("mean", "widest"):
        ends = [(float(p.quantile(tail)), float(p.quantile(1 - tail))) for p in parts]
        lows, highs = zip(*ends, strict=True)
        if rule == "widest":
            return _grid(min(lows), max(highs))
        return _grid(sum(lows) / len(lows), sum(highs) / len(highs))
    low, high = float(values.quantile(tail)), float(values.quantile(1 - tail))
    if rule == "256":
        return _grid(low, high, steps=TOP + 1)
    if rule in ("low", "high"):  # one end alone is not brought to 0
        low, high = (low, max(high, 0.0)) if rule == "low" else (min(low, 0.0), high)
    step, zero_point = _grid(low, high, zero=rule not in ("raw", "low", "high"))
    return (step, -zero_point) if rule == "sign" else (step, zero_point)


def static(batches: list[Tensor], keep: float) -> Grid:
    """The reference of a2.static."""
    return _static(batches, keep)


STATIC_PARTS = (
    "everything kept",
    *["tails cut"] * 2,
    "batches of different sizes",
    *["values of one sign"] * 2,
    "one batch",
    "float16 batches",
)


def _cases(seed: int) -> list[tuple[list[Tensor], float]]:
    generator = generator_of(seed, 26)

    def drawn(sizes: list[tuple[int, ...]], keep: float, shift: float = 0.3) -> tuple:  # type: ignore[type-arg]
        def make() -> tuple[list[Tensor], float]:
            batches = []
            for k, size in enumerate(sizes):
                batch = torch.randn(size, generator=generator) * (1 + k) + shift
                batch.view(-1)[0] = 12.0 + k  # an activation outlier
                batches.append(batch)
            return batches, keep

        def is_clear(case: tuple[list[Tensor], float]) -> bool:
            values = torch.cat([batch.flatten() for batch in case[0]]).double()
            tail = (1 - case[1]) / 2
            low, high = (min(0.0, float(values.quantile(tail))), float(values.quantile(1 - tail)))
            return off_ties(torch.tensor(255 * low / (high - low)))

        return clear(make, is_clear)

    def positive(case: tuple[list[Tensor], float]) -> tuple[list[Tensor], float]:
        return [batch.abs() + 0.5 for batch in case[0]], case[1]

    def negative(case: tuple[list[Tensor], float]) -> tuple[list[Tensor], float]:
        return [-0.1 * batch for batch in positive(case)[0]], case[1]

    def half() -> tuple[list[Tensor], float]:
        batches, keep = drawn([(3, 5, 8), (2, 5, 8)], 0.9)
        return [batch.half() for batch in batches], keep

    def half_clear(case: tuple[list[Tensor], float]) -> bool:
        step, _ = static(*case)
        tail = (1 - case[1]) / 2
        values = torch.cat([batch.flatten() for batch in case[0]]).double()
        return off_ties(torch.tensor(float(values.quantile(tail)) / step))

    return [
        drawn([(4, 8), (4, 8)], 1.0),
        drawn([(10, 20), (10, 20)], 0.98),
        drawn([(10, 20)] * 3, 0.9),
        drawn([(2, 8), (30, 8), (5, 8)], 0.95),
        positive(drawn([(6, 10), (6, 10)], 0.9)),
        negative(drawn([(6, 10), (4, 10)], 0.9)),
        drawn([(7, 30)], 0.9),
        clear(half, half_clear),
    ]


def make_static(seed: int) -> Exercise:
    """Batches of several sizes and signs."""
    rules = {
        "Each tail loses all of `1 - keep`: half of it goes at either end.": "both tails",
        "Only the upper tail is cut: cut half of `1 - keep` at either end.": "one tail",
        "The range is made symmetric. Activations are not: take a quantile at each end.": (
            "magnitude"
        ),
        "Nothing is cut: `keep` is not used.": "ignored",
        "The ends of the batches are averaged, so that a small batch counts as a large one. Join "
        "all values first.": "mean",
        "The widest ends of any batch are taken, and so more than `keep` is kept. Join all values "
        "first.": "widest",
        "Only the last batch is used.": "last",
        "Only the first batch is used.": "first",
        "The range does not reach 0 where all values have one sign.": "raw",
        "The lower end does not come down to 0 where all values are positive.": "low",
        "The upper end does not come up to 0 where all values are negative.": "high",
        "Between 256 codes lie 255 steps.": "256",
        "The zero-point has the wrong sign.": "sign",
    }

    def spoilt(rule: str) -> Callable[..., Grid]:
        return lambda batches, keep: _static(batches, keep, rule=rule)

    return Exercise(
        id="a2.static",
        task="Write `static_grid(batches, keep)`: the scale (a float) and the zero-point (an int) "
        "of one 8-bit grid that holds the middle `keep` of all values, and 0.",
        expected=static,
        cases=_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        rtol=1e-4,
        atol=0.0,
        hint="One long tensor, two quantiles, 0 inside, then scale and zero-point.",
    )
