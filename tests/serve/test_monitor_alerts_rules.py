"""Metrics as Prometheus reads them, and rules as promtool evaluates them."""

import mmap
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from needs import require
from prometheus_client.parser import text_string_to_metric_families

import qlearn
from qlearn.measure import results
from qlearn.serve.monitor.alerts.promtool import RULES, TESTS, healthy_series, write_rules
from qlearn.serve.monitor.alerts.rules import Budget, alert_rules, rules_document
from qlearn.serve.monitor.canary import CanaryResult
from qlearn.serve.monitor.charts.chart import Cusum
from qlearn.serve.monitor.inputs import InputDrift
from qlearn.serve.monitor.metrics import Metrics, resident_bytes
from qlearn.serve.monitor.misses import design_misses
from qlearn.serve.monitor.monitor import Alarm, InputWatch, Monitor
from qlearn.serve.monitor.text import TextResult

ASSETS = Path(qlearn.__file__).parent / "serve" / "monitor" / "alerts"
THRESHOLDS = {"kl": 4.25, "surprise": 5.0, "answers": 111}


@pytest.fixture(scope="module")
def promtool():
    found = require("promtool")
    return lambda *arguments: subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def page(metrics):
    families = text_string_to_metric_families(metrics.page().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_page_that_prometheus_reads():
    metrics = Metrics()
    metrics.request(0.3, read=12, generated=5, first_token=0.02)
    metrics.request(3.0, read=1, generated=2)
    column = torch.tensor([0.1, 0.3]).double()
    metrics.check(CanaryResult(column, column * 2, column, None, 0, "x"))
    metrics.check(TextResult(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5]), ("a", "b")))
    monitor = Monitor(
        {"kl": Cusum(0.5, 4.0, torch.zeros(30)), "answers": design_misses(0.01, 0.1)}, {}
    )
    monitor.charts["kl"].update(2.0)
    metrics.watch(monitor)
    metrics.inputs([InputDrift("length", 0.2, 0.01, 0.15, True)])
    found = page(metrics)
    assert found["qlearn_request_seconds_count",] == 2
    assert found["qlearn_request_seconds_bucket", "0.5"] == 1
    assert found["qlearn_first_token_seconds_count",] == 1
    assert found["qlearn_tokens_total", "read"] == 13
    assert found["qlearn_tokens_total", "generated"] == 7
    assert found["qlearn_canary_prompts_total",] == 4
    assert found["qlearn_canary_kl_nats",] == pytest.approx(0.2)
    assert found["qlearn_canary_surprise_nats",] == pytest.approx(0.4)
    assert found["qlearn_canary_agreement_ratio",] == 0.75
    assert found["qlearn_canary_exact_ratio",] == 0.5
    assert found["qlearn_chart_height", "kl"] == 1.5
    assert found["qlearn_chart_threshold", "kl"] == 4
    assert found["qlearn_alarms_total", "kl"] == found["qlearn_alarms_total", "answers"] == 0
    assert found["qlearn_input_p_value", "length"] == 0.01
    assert found["qlearn_input_stability_index", "length"] == 0.15
    assert 1e7 < found["qlearn_resident_memory_bytes",] < 1e11


def test_alarms_are_counted_and_servers_do_not_share():
    metrics, other = Metrics(), Metrics()
    monitor = Monitor({"kl": Cusum(0.5, 4.0, torch.zeros(30))}, {})
    for _ in range(2):
        metrics.watch(monitor, [Alarm("kl", 3, 5.0, 4.0)])
    other.watch(monitor)
    assert page(metrics)["qlearn_alarms_total", "kl"] == 2
    assert page(other)["qlearn_alarms_total", "kl"] == 0


def test_memory_grows_with_what_is_held():
    size = 100_000_000
    before = resident_bytes()
    with mmap.mmap(-1, size) as held:  # new pages: a tensor may get some that lie about
        held.write(b"1" * size)
        grown = resident_bytes() - before
    assert grown > 0.8 * size


def test_every_metric_in_a_rule_is_exported():
    metrics = Metrics()
    metrics.watch(Monitor({name: Cusum(1, 4, torch.zeros(30)) for name in THRESHOLDS}, {}))
    metrics.inputs([InputDrift("length", 0.2, 0.01, 0.15, True)])
    names = {name for name, *_ in page(metrics)}
    rules = alert_rules(THRESHOLDS, 0.005)
    used = {series.partition("{")[0] for series in healthy_series(rules)}
    used |= {series.partition("{")[0] for rule in rules for series in rule.fires}
    assert used <= names
    assert all(any(name in rule.expression for name in used) for rule in rules)


def test_a_budget_is_a_bucket_of_the_histogram():
    """A percentile beyond the last bucket, or between far ones, would be a guess."""
    bounds = {float(key[1]) for key in page(Metrics()) if key[0] == "qlearn_request_seconds_bucket"}
    assert max(bound for bound in bounds if bound < float("inf")) >= 2 * Budget().seconds


def test_files_read_as_what_they_were_written_from(tmp_path):
    rules = alert_rules(THRESHOLDS, 0.005, Budget(seconds=0.5))
    file, tests = write_rules(tmp_path, rules, Budget(seconds=0.5))
    assert yaml.safe_load(file.read_text()) == rules_document(rules)
    content = yaml.safe_load(tests.read_text())
    assert [test["name"] for test in content["tests"]] == ["healthy", *(r.name for r in rules)]
    for test in content["tests"]:
        fired = [c["alertname"] for c in test["alert_rule_test"] if c["exp_alerts"]]
        assert fired == ([] if test["name"] == "healthy" else [test["name"]])
    assert [path.name for path in sorted(tmp_path.iterdir())] == [RULES, TESTS]


def test_prometheus_evaluates_the_rules(promtool, tmp_path):
    file, tests = write_rules(tmp_path, alert_rules(THRESHOLDS, 0.005))
    for arguments in (("check", "rules", file), ("test", "rules", tests)):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_promtool_notices_a_rule_that_does_not_fire(promtool, tmp_path):
    rules = alert_rules(THRESHOLDS, 0.005)
    _, tests = write_rules(tmp_path, rules)
    blunt = [replace(rule, expression=rule.expression.replace("> 4.25", "> 6")) for rule in rules]
    (tmp_path / RULES).unlink()
    good = tests.read_text()
    write_rules(tmp_path, blunt)
    tests.write_text(good)
    done = promtool("test", "rules", tests)
    assert done.returncode != 0
    assert "QlearnCanaryDivergence" in done.stdout + done.stderr


def test_the_committed_rules_are_those_of_the_measured_monitor(tmp_path):
    charts = results.load("monitor")["charts"]["paired"]
    thresholds = {name: chart["threshold"] for name, chart in charts.items()}
    limit = InputWatch({"length": torch.ones(9), "surprise": torch.ones(9)}).limit
    for made in write_rules(tmp_path, alert_rules(thresholds, limit)):
        assert made.read_text() == (ASSETS / made.name).read_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alert_rules({"cosine": 1.0}, 0.01), "thresholds names 'cosine'"),
        (lambda: alert_rules({"kl": 0.0}, 0.01), "kl=0.0 must be a number above 0"),
        (lambda: alert_rules({"kl": 1.0}, -1), "input_limit=-1"),
        (lambda: Budget(seconds=0), "seconds=0"),
        (lambda: Budget(silence=-5), "silence=-5"),
        (lambda: write_rules("nowhere", []), "rules is empty"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        write_rules(tmp_path / "nowhere", alert_rules(THRESHOLDS, 0.005))
