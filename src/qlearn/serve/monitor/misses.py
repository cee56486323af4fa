"""Counting wrong answers as they come: all that a server shows which returns text alone.

A sequential test asks after each answer how much likelier it is under "the model misses too often"
than under "all is well", and adds up the logarithms (Wald, *Sequential Analysis*, 1947): a miss
adds ``ln(p1/p0)``, a right answer takes ``ln((1-p0)/(1-p1))`` off. Begun anew whenever the sum
falls below 0 it is a CUSUM, and it never stops watching.

The ratio of the two is rounded to a whole number, so that the chart counts in whole steps. Its run
length is then exact, not an approximation (Reynolds and
Stoumbos, "A CUSUM chart for monitoring a proportion when inspecting continuously", Journal of
Quality Technology 31, 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, lgamma, log, log1p

import torch

from qlearn.numerics.refuse import check_positive

_HIGHEST = 1000  # steps


@dataclass
class MissCusum:
    """A CUSUM of misses.

    Attributes:
        rate: p0, the healthy share of misses.
        worse: p1, the share that it is to find.
        gain: whole steps that a miss adds (after the one that each answer takes off, ``gain - 1``).
        threshold: whole steps; an alarm stands above it.
        height: where it stands now.
    """

    rate: float
    worse: float
    gain: int
    threshold: int
    height: float = 0.0

    def update(self, miss: float) -> bool:
        """Take one answer, 1 for a miss and 0 for a right one; whether there is an alarm."""
        step = self.gain - 1 if miss else -1
        self.height = max(0.0, self.height + step)
        return self.height > self.threshold

    def restart(self) -> None:
        """Begin anew."""
        self.height = 0.0

    def run_length(self, rate: float | None = None) -> float:
        """Mean number of answers until an alarm at a share ``rate`` of misses, exactly."""
        return run_length(self.rate if rate is None else rate, self.gain, self.threshold)

    def detection_delay(self, rate: float) -> float:
        """Expected number of answers until a share ``rate`` of misses is found.

        Raises:
            ValueError: for a rate that is no share above the healthy one.
        """
        if not self.rate < rate <= 1:
            raise ValueError(f"rate={rate!r} is not above the healthy {self.rate:.3g}; raise it")
        return self.run_length(rate)


def design_misses(rate: float, worse: float, one_false_alarm_in: float = 10_000) -> MissCusum:
    """The chart that finds a share ``worse`` of misses soonest, and keeps the promise at ``rate``.

    Args:
        rate: p0, healthy misses; take :func:`rate_bound`, since a count is only an estimate.
        worse: p1, above it; the ratio of its steps is rounded to a whole number.
        one_false_alarm_in: answers between two false alarms, on average, at the least.

    Raises:
        ValueError: for rates that are no shares or not in this order.

    >>> chart = design_misses(rate=0.01, worse=0.05)
    >>> chart.gain, chart.threshold, round(chart.detection_delay(0.05))
    (40, 120, 112)
    """
    check_positive(rate=rate, worse=worse, one_false_alarm_in=one_false_alarm_in)
    if not rate < worse < 1:
        raise ValueError(
            f"rate={rate:.3g} and worse={worse:.3g} must be shares, 0 < rate < worse < 1; "
            "choose a larger worse"
        )
    lost = log1p(-rate) - log1p(-worse)  # what a right answer takes off
    gain = max(2, round((log(worse / rate) + lost) / lost))
    low, high = gain - 1, gain  # never an alarm from a single miss
    while run_length(rate, gain, high) < one_false_alarm_in:
        low, high = high, high * 2
        if high > _HIGHEST:
            raise ValueError(
                f"worse={worse:.3g} is too near to rate={rate:.3g} to be told apart; raise worse"
            )
    if run_length(rate, gain, low) >= one_false_alarm_in:
        high = low
    while high - low > 1:
        middle = (low + high) // 2
        if run_length(rate, gain, middle) >= one_false_alarm_in:
            high = middle
        else:
            low = middle
    return MissCusum(rate, worse, gain, high)


def run_length(rate: float, gain: int, threshold: int) -> float:
    """Mean number of answers until ``S = max(0, S + gain * miss - 1)`` stands above ``threshold``.

    Exact: from each height 0 to ``threshold`` there are two ways on.

    >>> run_length(0.5, gain=2, threshold=0)  # the first miss of a fair coin
    2.0
    """
    size = threshold + 1
    system = torch.eye(size, dtype=torch.float64)
    heights = torch.arange(size)
    system[heights, (heights - 1).clamp(min=0)] -= 1 - rate
    up = heights + gain - 1
    stays = up <= threshold
    system[heights[stays], up[stays]] -= rate
    solution, trouble = torch.linalg.solve_ex(system, torch.ones(size, 1, dtype=torch.float64))
    length = float(solution[0, 0])
    return inf if int(trouble) or not 1 <= length < 1e12 else length


def rate_bound(misses: int, answers: int, confidence: float = 0.95) -> float:
    """The largest share of misses that so few observed ones leave plausible.

    Clopper and Pearson's (Biometrika 26, 1934): the share at which ``misses`` or fewer would be
    seen in ``1 - confidence`` of all samples.

    Raises:
        ValueError: for counts that can't be.

    >>> round(rate_bound(0, 1000), 4)  # about 3 in 1000, the rule of three
    0.003
    """
    if not 0 <= misses <= answers or answers < 1:
        raise ValueError(f"misses={misses} of answers={answers} can't be; count both again")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} is not between 0 and 1; choose 0.95")
    low, high = 0.0, 1.0
    while misses < answers and high - low > 1e-9:
        middle = (low + high) / 2
        if _at_most(misses, answers, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(misses: int, answers: int, rate: float) -> float:
    """P(Binomial(answers, rate) <= misses)."""
    return sum(
        exp(
            lgamma(answers + 1)
            - lgamma(k + 1)
            - lgamma(answers - k + 1)
            + k * log(rate)
            + (answers - k) * log1p(-rate)
        )
        for k in range(misses + 1)
    )
