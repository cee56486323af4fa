"""Faults behind a real server, alerts of a real Prometheus: what fires, how soon, and false ones.

The rules' times are divided by 60, as are the scrapes'; prompts are counted, not seconds.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from monitor import SUMS, traffic  # the benchmark beside this one

from qlearn import load_model, load_tokenizer
from qlearn.checkpoints.load import load_quantized
from qlearn.course.chapters.ch13 import FAULTS, save_faults, save_healthy
from qlearn.models.layers.copies import dequantize_model
from qlearn.models.pocket.tasks import TASKS
from qlearn.serve.monitor.alerts.prometheus import Prometheus, faster
from qlearn.serve.monitor.alerts.rules import Budget, alert_rules
from qlearn.serve.monitor.canary import Canary
from qlearn.serve.monitor.metrics import Metrics
from qlearn.serve.monitor.monitor import InputWatch, Monitor, make_monitor, question_canary
from qlearn.serve.monitor.served import served_canary
from qlearn.serve.monitor.watch import Watch
from qlearn.serve.server import Server
from qlearn.serve.versions import Versions

MODEL, PROMPTS, TURN = "pocket-400k", 1000, 25
ASKED = tuple(task for task in TASKS if task != "recall")  # its answer stands in two places
TIMES = 60  # the rules' minutes are seconds here
SILENCE = 30  # seconds
CHART_ALERTS = {"kl": "QlearnCanaryDivergence", "answers": "QlearnCanaryAnswers"}


def made_monitor(canary: Canary, healthy: Path) -> Monitor:
    """Thresholds from the healthy version, read and computed in two ways."""
    run = canary.check(load_model(healthy))
    again = dequantize_model(load_quantized(healthy)).to(torch.bfloat16)
    return make_monitor(run, [canary.check(again)])


def watch_rows(prompts: int = PROMPTS, python: str | None = None) -> list[dict[str, Any]]:
    """A healthy version, each fault, silence, and drifting inputs; a row each."""
    chosen = {} if python is None else {"python": python}
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        healthy = save_healthy(MODEL, root)
        save_faults(MODEL, healthy)
        versions = Versions(root)
        versions.switch(healthy.name)
        canary = question_canary(load_model(MODEL), PROMPTS, ASKED)
        monitor = made_monitor(canary, healthy)
        server = stack.enter_context(Server(threads=1, **chosen))
        metrics = Metrics(memory=server.memory)
        target = stack.enter_context(metrics.exported())
        served = served_canary(canary, load_tokenizer(MODEL))
        watch = Watch(server.address, versions, served, monitor, metrics, size=TURN)
        inputs = InputWatch(traffic(tuple(TASKS), 900, seed=0))
        metrics.watch(monitor)
        thresholds = {name: chart.threshold for name, chart in monitor.charts.items()}
        watch.ask(versions.current, slice(0, 1))  # loads the model
        budget = Budget(silence=SILENCE / 60)
        rules = faster(alert_rules(thresholds, inputs.limit, budget), TIMES)
        prometheus = stack.enter_context(Prometheus(rules, target))
        rows = [healthy_row(watch, prometheus, prompts)]
        rows += [fault_row(name, watch, prometheus) for name in FAULTS]
        rows += [silence_row(watch, prometheus), *input_rows(inputs, metrics, prometheus)]
    return rows


def healthy_row(watch: Watch, prometheus: Prometheus, prompts: int) -> dict[str, Any]:
    """All prompts once, through the endpoint; alerts at any evaluation."""
    right = 0.0
    for _ in range(-(-prompts // TURN)):
        watch.turn()
        right += float(watch.last.exact.sum())
    time.sleep(1)  # two more scrapes
    return {
        "what": "watch",
        "case": "healthy",
        "prompts": watch.monitor.prompts,
        "right": int(right),
        "alarms": len(watch.monitor.alarms),
        "fired": sorted(prometheus.ever_fired()),
    }


def fault_row(name: str, watch: Watch, prometheus: Prometheus, most: int = 12) -> dict[str, Any]:
    """Switch to a version that is wrong, wait for its alerts, roll back, wait for them to end."""
    watch.monitor.restart()
    refused = watch.complaints(watch.versions.root / name)
    watch.versions.switch(name)
    found: dict[str, int] = {}
    seconds: dict[str, float | None] = {}
    for _ in range(most):
        for alarm in watch.turn():
            found[alarm.chart] = alarm.prompt
            seconds[alarm.chart] = prometheus.wait_for(CHART_ALERTS[alarm.chart])
        if len(found) == len(watch.monitor.charts):
            break
    fired = sorted(prometheus.firing())
    back = watch.roll_back().name
    alarms_after = len(watch.turn())
    ended = [prometheus.wait_for(CHART_ALERTS[chart], firing=False) for chart in found]
    return {
        "what": "watch",
        "case": name,
        "refused_before": bool(refused),
        **{f"{chart}_prompts": found.get(chart) for chart in CHART_ALERTS},
        "fired": fired,
        "seconds_to_fire": _most(list(seconds.values())),
        "rolled_back_to": back,
        "alarms_after": alarms_after,
        "seconds_to_end": _most(ended),
        "firing_after": sorted(prometheus.firing()),
    }


def silence_row(watch: Watch, prometheus: Prometheus) -> dict[str, Any]:
    """Nobody asks the canary any more, then somebody does."""
    seconds = prometheus.wait_for("QlearnCanarySilent", patience=3 * SILENCE)
    fired = sorted(prometheus.firing())
    watch.turn()
    ended = prometheus.wait_for("QlearnCanarySilent", firing=False)
    return {
        "what": "watch",
        "case": "canary stopped",
        "fired": fired,
        "seconds_to_fire": _most([seconds]),
        "seconds_to_end": _most([ended]),
        "firing_after": sorted(prometheus.firing()),
    }


def input_rows(
    inputs: InputWatch, metrics: Metrics, prometheus: Prometheus
) -> list[dict[str, Any]]:
    """Users as before, users who turn to sums, and users as before again."""
    rows = []
    cases = {"inputs as before": tuple(TASKS), "sums alone": SUMS, "as before again": tuple(TASKS)}
    for seed, (case, tasks) in enumerate(cases.items(), start=1):
        live = traffic(tasks, 100, seed)
        for prompt in range(100):
            metrics.inputs(inputs.update(**{key: float(live[key][prompt]) for key in live}))
        drifted = tasks == SUMS
        seconds = prometheus.wait_for("QlearnInputsDrifted", patience=10, firing=drifted)
        time.sleep(1)
        rows.append(
            {
                "what": "watch",
                "case": case,
                "prompts": 100,
                "fired": sorted(prometheus.firing()),
                "seconds_to_fire" if drifted else "seconds_to_end": _most([seconds]),
            }
        )
    return rows


def _most(seconds: list[float | None]) -> float | None:
    """The longest wait; ``None`` where one was in vain, or there was none."""
    known = [each for each in seconds if each is not None]
    return round(max(known), 2) if known and len(known) == len(seconds) else None
