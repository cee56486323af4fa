"""``results/monitor.json``, measured again: a fault, a healthy model, the charts, the inputs."""

import importlib
from pathlib import Path

import pytest
import torch

from qlearn import load_model
from qlearn.measure import results
from qlearn.serve.monitor.monitor import question_canary

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("monitor")


@pytest.fixture(scope="module")
def canary(bench):
    return question_canary(load_model(bench.MODEL), bench.PROMPTS)


@pytest.fixture(scope="module")
def watching(bench, canary):
    return bench.monitors(canary)


def recorded(**wanted):
    rows = results.load("monitor")["rows"]
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def test_the_charts(watching):
    charts = results.load("monitor")["charts"]
    assert charts.keys() == watching.keys()
    for kind, monitor in watching.items():
        assert charts[kind].keys() == monitor.charts.keys()
        for name, chart in monitor.charts.items():
            # Another CPU rounds logits otherwise: a robust spread hardly notices.
            assert charts[kind][name]["threshold"] == pytest.approx(chart.threshold, rel=0.1)


def test_a_fault(bench, canary, watching):
    result = canary.check(bench.served(2))
    for kind, monitor in watching.items():
        for again in bench.fault_rows("2 bits", monitor, kind, result):
            row = recorded(case="2 bits", baseline=kind, chart=again["chart"])
            assert again["found"] == row["found"] == bench.STARTS
            assert again["median_prompts"] == pytest.approx(row["median_prompts"], abs=3)
            assert again["most_prompts"] == pytest.approx(row["most_prompts"], abs=5)


def test_a_healthy_model(bench, canary, watching):
    result = canary.check(bench.served(dtype=torch.bfloat16))
    again = bench.healthy_row("bfloat16", watching["paired"], "paired", result)
    row = recorded(case="healthy, bfloat16", baseline="paired")
    assert again["alarms"] == row["alarms"] == 0
    assert again["prompts"] == row["prompts"] == 1000


def test_all_healthy_rows_and_all_faults():
    rows = results.load("monitor")["rows"]
    healthy = [row for row in rows if row["case"].startswith("healthy")]
    assert len(healthy) == 6
    assert all(row["alarms"] == 0 and row["prompts"] == 1000 for row in healthy)
    faults = [row for row in rows if "chart" in row]
    assert len(faults) == 4 * 2 * 2
    assert all(row["found"] == row["starts"] for row in faults)


def test_the_inputs(bench):
    again = bench.input_rows(["sums alone"])
    assert again == [recorded(case="inputs: sums alone")]
    assert recorded(case="inputs: the same tasks")["windows_drifted"] == 0
