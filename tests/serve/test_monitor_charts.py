"""Run lengths and thresholds: textbook tables, simulation and enumeration as oracles."""

import itertools
import math
import random

import pytest
import torch
from textbook_cusum import normal_threshold, siegmund

from qlearn.serve.monitor.charts.chart import (
    LEAST_THRESHOLD,
    WINSOR,
    Cusum,
    design,
)
from qlearn.serve.monitor.charts.cumulative_sums import (
    Empirical,
    average_run_length,
    cusum,
    first_alarm,
    normal,
)
from qlearn.serve.monitor.misses import MissCusum, design_misses, rate_bound, run_length


def simulated(values, allowance, threshold, charts=4000, longest=4000, seed=0):
    """Mean length until an alarm, value by value, of many charts at once."""
    generator = torch.Generator().manual_seed(seed)
    height, length = torch.zeros(charts), torch.full((charts,), float(longest))
    running = torch.ones(charts, dtype=torch.bool)
    for step in range(1, longest + 1):
        drawn = values[torch.randint(len(values), (charts,), generator=generator)]
        height = (height + drawn.clamp(max=allowance + WINSOR) - allowance).clamp(min=0)
        now = running & (height > threshold)
        length[now] = step
        running &= ~now
        if not running.any():
            break
    return float(length.mean()), bool(running.any())


def false_alarms(values, chart, charts=1000, steps=1000):
    """Alarms in a million prompts drawn from ``values``, each chart restarted after its own."""
    generator = torch.Generator().manual_seed(1)
    height, alarms = torch.zeros(charts, dtype=torch.float64), 0
    for _ in range(steps):
        drawn = values[torch.randint(len(values), (charts,), generator=generator)]
        height += drawn.clamp(max=chart.allowance + WINSOR) - chart.allowance
        height.clamp_(min=0)
        over = height > chart.threshold
        alarms += int(over.sum())
        height[over] = 0
    return alarms


def heavy(count, seed=0):
    """Log-normal and then some: one value in fifty is ten times as large."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(count, generator=generator) < 0.02, values * 10, values)


def test_by_hand():
    assert cusum(torch.tensor([1.0, -2.0, 3.0, 0.0]), 1.0).tolist() == [0, 0, 2, 1]
    assert first_alarm(torch.tensor([1.0, -2.0, 3.0, 0.0]), 1.0, 2.0) is None  # not above
    assert first_alarm(torch.tensor([1.0, -2.0, 3.0, 0.0]), 1.0, 1.9) == 3


@pytest.mark.parametrize(
    ("threshold", "shift", "expected"),
    # Montgomery, Introduction to Statistical Quality Control, table 9.3, k = 1/2; two-sided there,
    # which halves the time between false alarms and hardly touches a delay.
    [(4, 0, 2 * 168), (5, 0, 2 * 465), (4, 0.5, 26.6), (4, 1, 8.38), (5, 1, 10.4), (5, 2, 4.01)],
)
def test_run_lengths_of_the_textbook(threshold, shift, expected):
    found = float(average_run_length(normal(shift), 0.5, threshold))
    assert found == pytest.approx(expected, rel=0.006)
    assert siegmund(0.5, threshold, shift) == pytest.approx(expected, rel=0.08)


def test_siegmund_without_a_drift():
    assert siegmund(0.5, 4, 0.5) == pytest.approx(siegmund(0.5, 4, 0.5 + 1e-4), rel=1e-3)


def test_an_empirical_distribution():
    own = Empirical(torch.tensor([0.0, 2.0]).double(), torch.tensor([0.25, 0.75]).double())
    assert own(torch.tensor([-1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0.25, 0.25, 1]
    # Alarm on the second 2 in a row or not: S > 1 needs one step of +1.5: geometric.
    assert float(average_run_length(own, 0.5, 1.0)) == pytest.approx(1 / 0.75)


def test_run_lengths_equal_simulation_on_heavy_tails():
    values = heavy(500)
    found = Cusum(0.5, 5.0, values)
    mean, cut = simulated(values, 0.5, 5.0)
    assert not cut
    assert found.run_length() == pytest.approx(mean, rel=0.05)
    mean, cut = simulated(values + 1, 0.5, 5.0)
    assert not cut
    assert found.detection_delay(1.0) == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("shift", [0.8, 2.0])
def test_the_promise_holds_for_heavy_tails_and_other_samples(shift):
    """Designed on 500 values, tried on 20,000 others of the same kind."""
    chart = design(heavy(500), shift, one_false_alarm_in=2000)
    assert false_alarms(heavy(20_000, seed=9), chart) <= 1_000_000 / 2000
    # A textbook threshold breaks the promise on these values: the check above can fail.
    naive = Cusum(shift / 2, normal_threshold(shift, 2000), heavy(500))
    assert false_alarms(heavy(20_000, seed=9), naive) > 1_000_000 / 2000


def test_one_wild_prompt_raises_no_alarm():
    chart = design(heavy(500), shift=1.0)
    assert not chart.update(1e9)
    chart.restart()
    assert not chart.update(float("nan"))
    assert chart.height == pytest.approx(WINSOR)
    narrow = design(torch.zeros(1000), shift=4.0)
    assert [narrow.update(math.inf), narrow.update(2.5), narrow.update(math.inf)] == [
        False,
        False,
        True,
    ]


def test_a_chart_of_constant_values():
    """A deterministic server moves nothing; what was not seen still counts."""
    chart = design(torch.zeros(1000), shift=3.6)
    assert chart.threshold == LEAST_THRESHOLD > WINSOR
    assert chart.run_length() == math.inf
    assert chart.detection_delay(3.6) == pytest.approx(3)  # 1.8, 3.6, 5.4: over at the third
    assert design(torch.zeros(50), shift=3.6).threshold > chart.threshold  # few prompts cost


def test_a_rarer_false_alarm_costs_delay():
    own = [design(heavy(500), 1.0, rate) for rate in (1000, 10_000)]
    assert own[0].threshold < own[1].threshold
    assert own[0].detection_delay(1.0) < own[1].detection_delay(1.0) < own[1].detection_delay(0.7)


@pytest.mark.parametrize(
    ("sample", "shift", "rate", "message"),
    [
        (torch.zeros(10), 1.0, 1000, "sample has shape"),
        (torch.zeros(100, 2), 1.0, 1000, "sample has shape"),
        (torch.full((100,), math.nan), 1.0, 1000, "NaN or infinity"),
        (torch.zeros(100), 0.0, 1000, "shift=0.0 must be a number above 0"),
        (torch.zeros(100), 1.0, math.inf, "one_false_alarm_in=inf"),
        (torch.ones(100), 1.5, 1000, "shift=1.5 is too small"),
    ],
)
def test_bad_designs(sample, shift, rate, message):
    with pytest.raises(ValueError, match=message):
        design(sample, shift, rate)


def test_misses_equal_simulation_and_geometry():
    assert run_length(0.2, 5, 0) == pytest.approx(5)  # the first miss
    values = [3.0] + [-1.0] * 9  # one in ten, gain 4
    generator = random.Random(0)
    lengths = []
    for _ in range(2000):
        height, step = 0.0, 0
        while height <= 7:
            step += 1
            height = max(0.0, height + generator.choice(values))
        lengths.append(step)
    assert run_length(0.1, 4, 7) == pytest.approx(sum(lengths) / 2000, rel=0.07)


def test_misses_by_hand():
    chart = MissCusum(0.01, 0.1, gain=10, threshold=12)
    seen = [chart.update(miss) for miss in (1, 0, 0, 1)]
    assert seen == [False, False, False, True]
    assert chart.height == 9 - 2 + 9
    chart.restart()
    assert chart.height == 0


def test_the_design_for_misses_is_the_least_that_keeps_the_promise():
    chart = design_misses(0.01, 0.08, 5000)
    assert chart.run_length() >= 5000 > run_length(0.01, chart.gain, chart.threshold - 1)
    assert chart.threshold >= chart.gain - 1  # two misses at the least
    ratio = math.log(8) / math.log(0.99 / 0.92)
    assert chart.gain == round(ratio + 1)
    assert chart.detection_delay(0.5) < chart.detection_delay(0.08) < 100


def test_the_bound_of_a_rate():
    assert rate_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20), abs=1e-6)
    assert rate_bound(5, 5) == 1
    # By enumeration of all outcomes of 8 answers, at the bound: 2 misses or fewer.
    p = rate_bound(2, 8)
    total = sum(
        math.prod(p if miss else 1 - p for miss in outcome)
        for outcome in itertools.product((0, 1), repeat=8)
        if sum(outcome) <= 2
    )
    assert total == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: design_misses(0.1, 0.05), "0 < rate < worse < 1"),
        (lambda: design_misses(0.0, 0.05), "rate=0.0 must be a number above 0"),
        (lambda: design_misses(0.1, 0.1001, 1e8), "too near"),
        (lambda: rate_bound(3, 2), "can't be"),
        (lambda: rate_bound(1, 2, confidence=95), "confidence=95"),
        (lambda: MissCusum(0.1, 0.2, 3, 9).detection_delay(0.05), "is not above"),
        (lambda: Cusum(0.5, 4.0, torch.zeros(50)).detection_delay(-1), "shift=-1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
