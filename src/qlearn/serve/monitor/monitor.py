"""Watching a served model: a canary, a baseline, charts, alarms.

    canary = question_canary(original, 1000)              # what the original says, written down
    run, rerun = canary.check(quantized), canary.check(quantized_in_bfloat16)
    monitor = make_monitor(run, [rerun])                  # thresholds from healthy prompts
    alarms = monitor.see(canary.check(served, slice(0, 16)))

The pieces, each in a module of its own: :mod:`qlearn.serve.monitor.canary` and
:mod:`qlearn.serve.monitor.make` (prompts and what the original said),
:mod:`qlearn.serve.monitor.baseline` (what is normal),
:mod:`qlearn.serve.monitor.charts.cumulative_sums`, :mod:`qlearn.serve.monitor.charts.chart` and
:mod:`qlearn.serve.monitor.misses` (sequential statistics), :mod:`qlearn.serve.monitor.text`
(servers that return text alone), :mod:`qlearn.serve.monitor.inputs` (drift of what users send),
:mod:`qlearn.serve.monitor.metrics` and :mod:`qlearn.serve.monitor.alerts.rules` (Prometheus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qlearn.numerics.refuse import check_positive
from qlearn.serve.monitor.baseline import Baseline, make_baseline
from qlearn.serve.monitor.canary import Canary, CanaryResult
from qlearn.serve.monitor.charts.chart import Cusum, design
from qlearn.serve.monitor.inputs import InputWatch
from qlearn.serve.monitor.make import load_canary, make_canary, question_canary
from qlearn.serve.monitor.misses import MissCusum, design_misses, rate_bound

__all__ = [
    "Alarm",
    "Baseline",
    "Canary",
    "CanaryResult",
    "InputWatch",
    "Monitor",
    "load_canary",
    "make_baseline",
    "make_canary",
    "make_monitor",
    "question_canary",
]

ONE_FALSE_ALARM_IN = 10_000  # prompts
MISSES_WORTH = 0.05  # more answers lost, as a share, that are worth an alarm


@dataclass(frozen=True)
class Alarm:
    """A chart went over its threshold.

    Attributes:
        chart: ``"kl"``, ``"surprise"`` or ``"answers"``.
        prompt: how many prompts were seen since the monitor (re)started, this one included.
        height: the chart's height.
        threshold: what it exceeds.
    """

    chart: str
    prompt: int
    height: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"{self.chart}: {self.height:.1f} is above {self.threshold:.1f} "
            f"after {self.prompt} prompts"
        )


@dataclass
class Monitor:
    """Charts that see the same prompts; made by :func:`make_monitor`.

    A chart raises one alarm, when it first stands above its threshold, and stays there while the
    fault lasts, so that a scrape every half minute sees it. After a repair call :meth:`restart`.

    Attributes:
        charts: the charts by name.
        baselines: how the values of each CUSUM are standardized.
        answered: which prompts the healthy model got right, where answers are paired.
        prompts: how many were seen since the (re)start.
        alarms: all that were raised since.
    """

    charts: Mapping[str, Cusum | MissCusum]
    baselines: Mapping[str, Baseline]
    answered: Tensor | None = None
    prompts: int = 0
    alarms: list[Alarm] = field(default_factory=list)

    def see(self, result: CanaryResult) -> list[Alarm]:
        """Take the next prompts' results in their order; the alarms that they raise.

        Raises:
            ValueError: for results that do not fit the baseline; none of them is then counted.
        """
        columns = {name: own.standardize(result) for name, own in self.baselines.items()}
        if "answers" in self.charts:
            columns["answers"] = self._misses(result)
        raised = []
        for row in range(len(result)):
            self.prompts += 1
            for name, values in columns.items():
                chart = self.charts[name]
                silent = chart.height <= chart.threshold
                if chart.update(float(values[row])) and silent and not self._has_alarmed(name):
                    raised.append(Alarm(name, self.prompts, chart.height, chart.threshold))
                    self.alarms.append(raised[-1])
        return raised

    def restart(self) -> None:
        """All charts to 0 and alarms forgotten, as after a roll-back."""
        for chart in self.charts.values():
            chart.restart()
        self.prompts = 0
        self.alarms.clear()

    def fresh(self) -> Monitor:
        """The same charts at 0, which move on their own: to try a version before it is served."""
        other = Monitor(
            {name: copy(chart) for name, chart in self.charts.items()},
            self.baselines,
            self.answered,
        )
        other.restart()
        return other

    def _has_alarmed(self, name: str) -> bool:
        return any(alarm.chart == name for alarm in self.alarms)

    def _misses(self, result: CanaryResult) -> Tensor:
        if result.exact is None:
            raise ValueError(
                "result has no answers and the monitor counts them; check the canary that it "
                "was made from"
            )
        if self.answered is None:
            return 1 - result.exact
        # A question that the healthy model missed says nothing new when it is missed again.
        own = self.answered[result.first : result.first + len(result)]
        return (own == 1) & (result.exact == 0)


def make_monitor(
    run: CanaryResult,
    reruns: Sequence[CanaryResult] = (),
    measures: Sequence[str] = ("kl",),
    one_false_alarm_in: float = ONE_FALSE_ALARM_IN,
) -> Monitor:
    """Charts whose thresholds keep one promise together, designed on healthy prompts.

    Args:
        run: the healthy quantized model as deployed, on all prompts of a canary.
        reruns: the same prompts, run in other harmless ways; without them any prompts of the same
            kind can be watched, with less power, see :mod:`qlearn.serve.monitor.baseline`.
        measures: ``"kl"``, ``"surprise"`` or both. Answers are counted wherever the canary has
            some.
        one_false_alarm_in: prompts between two false alarms of any chart, on average, at the least.

    Raises:
        ValueError: as :func:`qlearn.serve.monitor.baseline.make_baseline` and
            :func:`qlearn.serve.monitor.charts.chart.design`, and for no measures.
    """
    check_positive(one_false_alarm_in=one_false_alarm_in)
    if isinstance(measures, str) or not measures:
        raise ValueError(f'measures={measures!r} names no list of measures; pass ("kl",)')
    # Rates of false alarms add up at the most: each chart gets its share of the promise.
    each = one_false_alarm_in * (len(measures) + (run.exact is not None))
    baselines = {name: make_baseline(run, reruns, name) for name in measures}
    charts: dict[str, Cusum | MissCusum] = {
        name: design(own.sample, own.worth, each) for name, own in baselines.items()
    }
    answered = None
    if run.exact is not None:
        if reruns:
            answered = run.exact
            lost = [(answered == 1) & (rerun.exact == 0) for rerun in reruns]
            # Several reruns of a prompt are not several prompts.
            misses = int(torch.stack(lost).any(0).sum())
        else:
            misses = int((1 - run.exact).sum())
        rate = rate_bound(misses, len(run))
        worse = rate + MISSES_WORTH * (1 - rate)
        charts["answers"] = design_misses(rate, worse, each)
    return Monitor(charts, baselines, answered)
