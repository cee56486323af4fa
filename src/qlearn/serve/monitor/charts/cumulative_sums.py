"""CUSUM: a small drift, found as soon as its sum stands out.

Each prompt gives a number ``z``, 0 on average while all is well. The chart adds up what exceeds an
allowance ``k`` and never falls below zero (Page, "Continuous inspection schemes", Biometrika 41,
1954):

    S = max(0, S + z - k),   alarm when S > h

An average over many prompts would find a small drift late and a large one no sooner. Here a large
one takes few prompts and a small one takes more, without a window to choose. With ``k`` at half of
the drift to find, no other rule of the same false-alarm rate finds it sooner in the worst case
(Moustakides 1986, for normal ``z``).

How long it takes is a Markov chain: ``[0, h]`` is cut into cells, and the mean number of steps
until the chain leaves them solves a linear system (Brook and Evans, "An approach to the probability
distribution of CUSUM run length", Biometrika 59, 1972). The steps may have any distribution: here
those of real prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

CELLS = 100
_LONGEST = 1e12  # run lengths beyond it are lost in float64's rounding

Distribution = Callable[[Tensor], Tensor]  # P(z <= x) for x [n]: [n], or [charts, n] for several


def cusum(values: Tensor, allowance: float, start: float = 0.0) -> Tensor:
    """The chart's height after each of ``values``, a float64 tensor as long as they are.

    >>> cusum(torch.tensor([0.0, 1.5, 2.0, -3.0]), allowance=0.5).tolist()
    [0.0, 1.0, 2.5, 0.0]
    """
    heights = []
    for value in values.tolist():
        start = max(0.0, start + value - allowance)
        heights.append(start)
    return torch.tensor(heights, dtype=torch.float64)


def first_alarm(values: Tensor, allowance: float, threshold: float) -> int | None:
    """How many values it takes until the chart stands above ``threshold``; ``None`` if never.

    >>> first_alarm(torch.tensor([0.0, 1.5, 2.0, -3.0]), 0.5, threshold=2.0)
    3
    """
    above = (cusum(values, allowance) > threshold).nonzero()
    return int(above[0]) + 1 if len(above) else None


def average_run_length(
    distribution: Distribution, allowance: float, threshold: float, cells: int = CELLS
) -> Tensor:
    """Mean number of independent values until an alarm, the chart at 0 to begin with.

    While all is well that is the mean time between false alarms; for a distribution that has
    drifted it is the mean delay.

    Args:
        distribution: P(z <= x), a function of tensors.
        allowance: k.
        threshold: h.
        cells: into which ``[0, h]`` is cut.

    Returns:
        float64, a value a chart: ``[]``, or ``[charts]`` where ``distribution`` is of several.
        Infinite where it is above 1e12.
    """
    width = 2 * threshold / (2 * cells - 1)  # the first cell is half as wide: its middle is 0
    steps = torch.arange(-cells, cells, dtype=torch.float64)
    # A step from cell i ends in cell j or lower when z - k <= (j - i + 1/2) widths.
    below = distribution(allowance + (steps + 0.5) * width).double()
    i, j = torch.arange(cells)[:, None], torch.arange(cells)[None, :]
    place = j - i + cells
    chain = below[..., place] - below[..., place - 1]
    chain[..., 0] = below[..., place[:, 0]]  # whatever would be negative is 0
    system = torch.eye(cells, dtype=torch.float64) - chain
    solution, trouble = torch.linalg.solve_ex(
        system, torch.ones(*system.shape[:-1], 1, dtype=torch.float64)
    )
    length = solution[..., 0, 0]
    lost = (trouble != 0) | ~torch.isfinite(length) | (length < 1) | (length > _LONGEST)
    return torch.where(lost, inf, length)


def normal(mean: float = 0.0) -> Distribution:
    """The normal distribution of deviation 1, for :func:`average_run_length`."""

    def below(x: Tensor) -> Tensor:
        return torch.special.ndtr(x.double() - mean)

    return below


@dataclass(frozen=True)
class Empirical:
    """A distribution that is a list of values, each with its weight; or several of them.

    Attributes:
        values: float64 ``[n]`` in ascending order.
        weights: float64 ``[n]`` or ``[charts, n]``, each row's sum 1.
    """

    values: Tensor
    weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """P(value <= x)."""
        total = torch.nn.functional.pad(self.weights.cumsum(-1), (1, 0))
        # A grain of tolerance: a value on a cell's border must not fall to rounding.
        return total[..., torch.searchsorted(self.values, x.double() + 1e-9, right=True)]
