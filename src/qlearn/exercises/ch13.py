"""Chapter 13: percentiles, a queue, a CUSUM by hand, its delay, a promise of alarms."""

from __future__ import annotations

from math import ceil
from statistics import fmean, quantiles

from qlearn.teach.checks.checker import Exercise

TURN, MINUTES = 16, 5
DAYS = 10_000 / TURN * MINUTES / 60 / 24


def _percentile(values: list[float], share: float) -> float:
    """Nearest rank."""
    return sorted(values)[max(0, ceil(share * len(values) - 1e-9) - 1)]


def _one_further(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values) + 1e-9))]


def _between(values: list[float], share: float) -> float:
    """Interpolated between two neighbours."""
    return quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]


def _latencies(due: list[float], service: float) -> list[float]:
    """From when each request came to when it was answered; one is served at a time."""
    free, waits = 0.0, []
    for moment in due:
        free = max(free, moment) + service
        waits.append(free - moment)
    return waits


def _served_at_once(due: list[float], service: float) -> list[float]:
    return [service] * len(due)


def _only_waiting(due: list[float], service: float) -> list[float]:
    return [wait - service for wait in _latencies(due, service)]


def _behind_all(due: list[float], service: float) -> list[float]:
    """The server is thought never to be idle."""
    return [due[0] + (place + 1) * service - moment for place, moment in enumerate(due)]


def _ends(due: list[float], service: float) -> list[float]:
    return [wait + moment for wait, moment in zip(_latencies(due, service), due, strict=True)]


def _heights(values: list[float], allowance: float) -> list[float]:
    height, found = 0.0, []
    for value in values:
        height = max(0.0, height + value - allowance)
        found.append(height)
    return found


def _below_zero(values: list[float], allowance: float) -> list[float]:
    height, found = 0.0, []
    for value in values:
        height += value - allowance
        found.append(height)
    return found


def _no_memory(values: list[float], allowance: float) -> list[float]:
    return [max(0.0, value - allowance) for value in values]


def _late_allowance(values: list[float], allowance: float) -> list[float]:
    """What is taken off is not carried on."""
    return [max(0.0, height - allowance) for height in _heights(values, 0.0)]


def _delay(shift: float, allowance: float, threshold: float) -> int:
    """Prompts until a chart stands above the threshold, each value ``shift`` high; 0 for never."""
    gain = shift - allowance
    return int(threshold / gain + 1e-9) + 1 if gain > 0 else 0


def _at_the_threshold(shift: float, allowance: float, threshold: float) -> int:
    gain = shift - allowance
    return ceil(threshold / gain - 1e-9) if gain > 0 else 0


def _no_allowance(shift: float, allowance: float, threshold: float) -> int:
    return _delay(shift, 0.0, threshold)


EXERCISES = [
    Exercise(
        id="ch13.percentile",
        task="Write `percentile(values, share)`: the smallest of the values that a share of all "
        "values does not exceed. No interpolation.",
        expected=_percentile,
        cases=(
            ([40, 10, 30, 20], 0.5),
            ([8, 1, 9, 2, 7, 3, 6, 4, 5, 100], 0.95),
            ([8, 1, 9, 2, 7, 3, 6, 4, 5, 100], 0.9),
            (list(range(20, 0, -1)), 0.95),
            ([3.5, 1.25, 7.0], 0.01),
        ),
        mistakes={
            "The values are not sorted. A rank counts from the smallest.": lambda values, share: (
                values[max(0, ceil(share * len(values) - 1e-9) - 1)]
            ),
            "That is one rank too far. The value of rank r stands at index r - 1.": _one_further,
            "That lies between two values: nobody waited that long. Take one of the values.": (
                _between
            ),
            "That is the mean. It says nothing of how many wait longer.": lambda values, share: (
                fmean(values)
            ),
            "That counts from the largest: it is the value that so many do exceed.": (
                lambda values, share: sorted(values, reverse=True)[
                    max(0, ceil(share * len(values) - 1e-9) - 1)
                ]
            ),
        },
        hint="Sort; the rank is ceil(share * n), and the first rank is index 0.",
    ),
    Exercise(
        id="ch13.queue",
        task="Write `latencies(due, service)`: requests come at the seconds `due`, in order; the "
        "server takes one at a time, in their order, and needs `service` seconds for each. Give "
        "for each request the seconds from when it came to when it is answered.",
        expected=_latencies,
        cases=(
            ([0.0, 1.0, 2.0], 0.5),
            ([0.0, 0.1, 0.2, 3.0], 1.0),
            ([5.0, 5.0, 5.0, 5.0], 0.25),
            ([1.0, 1.5, 4.0, 4.5, 4.75], 1.0),
        ),
        mistakes={
            "That is the time of service alone. A request that comes while another is served waits "
            "first.": _served_at_once,
            "That is the waiting alone. Its own service comes on top.": _only_waiting,
            "The server is idle between requests: it begins at the later of the two, when it is "
            "free and when the request comes.": _behind_all,
            "These are the moments at which answers are there. Subtract when each request came.": (
                _ends
            ),
        },
        hint="free = max(free, moment) + service; the latency is free - moment.",
    ),
    Exercise(
        id="ch13.heights",
        task="Write `heights(values, allowance)`: the height of a CUSUM after each value.",
        expected=_heights,
        cases=(
            ([0.0, 1.5, 2.0, -3.0], 0.5),
            ([-1.0, -2.0, 3.0, 0.25], 0.5),
            ([0.5, 0.5, 0.5, 0.5], 0.25),
            ([2.0, -0.5, 1.0, 1.0, -4.0, 2.0], 1.0),
        ),
        mistakes={
            "It falls below zero, and would have to climb back first. Zero is the least.": (
                _below_zero
            ),
            "The allowance is missing: take it off at each value.": lambda values, allowance: (
                _heights(values, 0.0)
            ),
            "Each value stands alone. Add it to the height so far.": _no_memory,
            "The allowance is taken off what is shown, not off what is carried on.": (
                _late_allowance
            ),
            "A CUSUM of distances sees a better model as a fault too. Keep the signs.": (
                lambda values, allowance: _heights([abs(value) for value in values], allowance)
            ),
        },
        hint="height = max(0, height + value - allowance), from 0.",
    ),
    Exercise(
        id="ch13.delay",
        task="Write `delay(shift, allowance, threshold)`: after how many prompts does a CUSUM "
        "stand above the threshold for the first time, when it begins at 0 and each value is "
        "exactly `shift`? 0 where it never does.",
        expected=_delay,
        cases=(
            (3.0, 0.5, 4.0),
            (1.0, 0.5, 5.0),
            (0.5, 0.25, 4.0),
            (0.4, 0.5, 4.0),
            (6.0, 0.5, 4.0),
            (0.7, 0.2, 4.2),
        ),
        mistakes={
            "At the threshold there is no alarm yet: the chart must stand above it.": (
                _at_the_threshold
            ),
            "The allowance is missing: a prompt adds what exceeds it.": _no_allowance,
            "A shift below the allowance never gets off the ground: give 0.": (
                lambda shift, allowance, threshold: (
                    int(threshold / abs(shift - allowance) + 1e-9) + 1
                )
            ),
            "That is one prompt too few: after so many the chart is at the threshold or below.": (
                lambda shift, allowance, threshold: max(0, _delay(shift, allowance, threshold) - 1)
            ),
        },
        hint="The height after n prompts is n * (shift - allowance).",
    ),
    Exercise(
        id="ch13.days",
        task="A monitor promises one false alarm in 10,000 prompts. It has two charts, which share "
        f"this promise, and asks {TURN} prompts every {MINUTES} minutes. How many days lie between "
        "two false alarms, on average, at the least?",
        expected=DAYS,
        rtol=0.01,
        unit="days",
        mistakes={
            "The promise is of all charts together already.": DAYS / 2,
            "Two charts do not alarm half as often. The promise is of both together.": DAYS * 2,
            "These are hours.": 24 * DAYS,
            "One prompt is not asked every five minutes, but a turn of them.": TURN * DAYS,
        },
        hint="10,000 prompts are 625 turns.",
    ),
]
