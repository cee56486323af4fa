"""A chart whose threshold keeps a promise: at most one false alarm in so many prompts.

The promise is about real prompts, not about a normal distribution. Three things stand between a
sample of healthy prompts and that promise:

- **One wild prompt.** KL divergences have heavy tails, and one odd prompt must wake nobody. Values
  are cut at three deviations above the allowance (winsorized), and the threshold is four at the
  least: an alarm takes two prompts, and the second must stand out too.
- **A small sample.** Its mean is a little off, and run lengths depend on the mean exponentially.
  So the sample is drawn again with replacement, many times; the threshold keeps the promise for 95
  in 100 of these samples (Gandy and Kvaloy, "Guaranteed conditional performance of control charts
  via bootstrap methods", Scandinavian Journal of Statistics 40, 2013).
- **What the sample did not show.** Something that happens to 3 prompts in n is missed by a sample
  of n one time in twenty (the rule of three: Hanley and Lippman-Hand, JAMA 249, 1983). A share of
  3/n is counted as the worst value possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from qlearn.numerics.refuse import check_positive
from qlearn.serve.monitor.charts.cumulative_sums import (
    Empirical,
    average_run_length,
)

WINSOR = 3.0  # deviations above the allowance that one value counts at the most
LEAST_THRESHOLD = 4.0
RESAMPLES = 200
CONFIDENCE = 0.95
LEAST_SAMPLE = 30
_HIGHEST = 60.0  # deviations; above it the Markov chain's cells are too coarse


@dataclass
class Cusum:
    """A CUSUM that watches standardized values, and remembers where it stands.

    Attributes:
        allowance: k, in deviations.
        threshold: h, in deviations.
        sample: healthy standardized values ``[n]`` that it was designed on.
        height: S, the chart's height now.
    """

    allowance: float
    threshold: float
    sample: Tensor
    height: float = 0.0

    def update(self, value: float) -> bool:
        """Take one prompt's value; whether the chart now stands above its threshold."""
        value = inf if value != value else value  # NaN is as bad as can be
        step = min(value, self.allowance + WINSOR) - self.allowance
        self.height = max(0.0, self.height + step)
        return self.height > self.threshold

    def restart(self) -> None:
        """Begin anew, as after a model was rolled back."""
        self.height = 0.0

    def run_length(self, shift: float = 0.0) -> float:
        """Mean number of prompts until an alarm, when each value lies ``shift`` higher.

        With no shift, the mean number between false alarms, for the sample as it is.
        """
        return float(
            average_run_length(
                _worst(self.sample + shift, self.allowance, unseen=0.0),
                self.allowance,
                self.threshold,
            )
        )

    def detection_delay(self, shift: float) -> float:
        """Expected number of prompts until a drift of ``shift`` deviations is found.

        Counted from a chart at 0, its slowest position.

        Raises:
            ValueError: for a shift that is not above 0.
        """
        check_positive(shift=shift)
        return self.run_length(shift)


def design(sample: Tensor, shift: float, one_false_alarm_in: float = 10_000) -> Cusum:
    """The chart that finds a drift of ``shift`` soonest and keeps the promise.

    Args:
        sample: standardized values ``[n]`` of healthy prompts, 30 at the least: 0 on average and
            about 1 in size, of any distribution.
        shift: the drift worth finding, in deviations; the allowance is half of it.
        one_false_alarm_in: prompts between two false alarms, on average, at the least.

    Raises:
        ValueError: for a sample that is too small, not ``[n]`` or holds NaN, a shift or rate out of
            range, or a shift that healthy prompts themselves show.

    >>> values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    >>> chart = design(values, shift=1.0)
    >>> chart.run_length() > 10_000, chart.detection_delay(1.0) < 30
    (True, True)
    """
    check_positive(shift=shift, one_false_alarm_in=one_false_alarm_in)
    if sample.dim() != 1 or len(sample) < LEAST_SAMPLE:
        raise ValueError(
            f"sample has shape {tuple(sample.shape)}; pass the values of {LEAST_SAMPLE} healthy "
            "prompts or more, [n]"
        )
    if not bool(torch.isfinite(sample).all()):
        raise ValueError("sample holds NaN or infinity; a healthy model gives neither")
    sample = sample.double()
    allowance = shift / 2
    healthy = _resampled(_worst(sample, allowance, unseen=3 / len(sample)), len(sample))

    drift = float((healthy.weights @ healthy.values).quantile(CONFIDENCE))
    small = (
        f"shift={shift:.3g} is too small: healthy prompts alone may drift by {drift:.3g}, and half "
        "of the shift must lie well above that; raise the shift, or measure more healthy prompts"
    )
    if drift >= allowance:
        raise ValueError(small)

    def keeps(threshold: float) -> bool:
        lengths = average_run_length(healthy, allowance, threshold)
        return float(lengths.quantile(1 - CONFIDENCE)) >= one_false_alarm_in

    low, high = LEAST_THRESHOLD, LEAST_THRESHOLD
    while not keeps(high):
        low, high = high, high * 1.5
        if high > _HIGHEST:
            raise ValueError(small)
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return Cusum(allowance, high, sample)


def _worst(sample: Tensor, allowance: float, unseen: float) -> Empirical:
    """The sample, cut above, and the worst value once more with the weight ``unseen``."""
    most = allowance + WINSOR
    values = torch.cat([sample.clamp(max=most).sort().values, sample.new_tensor([most])])
    weights = torch.full_like(values, (1 - unseen) / len(sample))
    weights[-1] = unseen
    return Empirical(values, weights)


def _resampled(healthy: Empirical, size: int) -> Empirical:
    """As many samples drawn again; the last weight, of what no sample shows, stays."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(size, (RESAMPLES, size), generator=generator)
    counts = torch.zeros(RESAMPLES, size, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    unseen = healthy.weights[-1]
    last = unseen.expand(RESAMPLES, 1)
    return Empirical(healthy.values, torch.cat([counts / size * (1 - unseen), last], 1))
