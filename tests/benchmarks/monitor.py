"""How soon each planted fault is found, and how often a healthy model raises an alarm.

Writes ``results/monitor.json`` and the alert rules of this monitor, ``alerts.yml``. Two
minutes of one core.

    python tests/benchmarks/monitor.py
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _results import save
from torch import Tensor, nn

import qlearn
from qlearn import QuantScheme, load_model, quantize_model
from qlearn.models.layers.copies import dequantize_model
from qlearn.models.pocket.batches import encode
from qlearn.models.pocket.tasks import TASKS, make_questions
from qlearn.serve.monitor.alerts.promtool import write_rules
from qlearn.serve.monitor.alerts.rules import alert_rules
from qlearn.serve.monitor.canary import CanaryResult
from qlearn.serve.monitor.charts.chart import WINSOR
from qlearn.serve.monitor.inputs import prompt_features
from qlearn.serve.monitor.monitor import InputWatch, Monitor, make_monitor, question_canary

COMMAND = "python tests/benchmarks/monitor.py"
ASSETS = Path(qlearn.__file__).parent / "serve" / "monitor" / "alerts"
MODEL, GROUP = "pocket-400k", 32
PROMPTS = 1000
STARTS = 20  # prompts at which the round begins: delays are of the median and the worst of these


def served(bits: int = 4, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A quantized model, computing in ``dtype``."""
    model = load_model(MODEL)
    quantize_model(model, "rtn", QuantScheme(bits, group_size=GROUP), progress=False)
    return dequantize_model(model).to(dtype)


def damaged() -> nn.Module:
    """One layer of 28 lost a third of its weights, as a bad transfer loses a part of a file."""
    model = served()
    weight = model.get_submodule("model.layers.2.mlp.down_proj").weight
    with torch.no_grad():
        weight[: len(weight) // 3] = 0
    return model


class OtherTokenizer(nn.Module):
    """A tokenizer whose ids lie one higher, for what goes in and for what comes out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the tokens as the client numbers them."""
        classes: int = self.model.config.vocab_size
        logits: Tensor = self.model((ids + 1) % classes).logits
        return logits.roll(-1, -1)


FAULTS: dict[str, Callable[[], nn.Module]] = {
    "2 bits": lambda: served(2),
    "3 bits": lambda: served(3),
    "layer damaged": damaged,
    "tokenizer changed": lambda: OtherTokenizer(served()),
}
SUMS = ("add2", "add3", "add4")
TRAFFIC: dict[str, tuple[str, ...]] = {
    "the same tasks": tuple(TASKS),
    "three times as many sums": (*TASKS, *SUMS, *SUMS),
    "sums alone": SUMS,
}
HEALTHY: dict[str, Callable[[], nn.Module]] = {
    "float32": served,
    "bfloat16": lambda: served(dtype=torch.bfloat16),
}


def monitors(canary: Any) -> dict[str, Monitor]:
    """One that compares prompt by prompt, and one for any prompts of the kind."""
    run = canary.check(served())
    rerun = canary.check(served(dtype=torch.float16))
    return {"paired": make_monitor(run, [rerun]), "unpaired": make_monitor(run)}


def delays(monitor: Monitor, result: CanaryResult, starts: int = STARTS) -> dict[str, list[int]]:
    """Prompts until the alarm of each chart, begun at several places of the round."""
    found: dict[str, list[int]] = {chart: [] for chart in monitor.charts}
    for start in range(0, len(result), len(result) // starts):
        monitor.restart()
        for first in range(0, len(result), len(result) // starts):
            place = (start + first) % len(result)
            monitor.see(result[place : place + len(result) // starts])
            if len(monitor.alarms) == len(monitor.charts):
                break
        for alarm in monitor.alarms:
            found[alarm.chart].append(alarm.prompt)
    monitor.restart()
    return found


def fault_rows(
    name: str, monitor: Monitor, kind: str, result: CanaryResult
) -> list[dict[str, Any]]:
    """A row for each chart."""
    return [
        {
            "case": name,
            "baseline": kind,
            "chart": chart,
            "starts": STARTS,
            "found": len(prompts),
            "median_prompts": median(prompts) if prompts else None,
            "most_prompts": max(prompts, default=None),
        }
        for chart, prompts in delays(monitor, result).items()
    ]


def healthy_row(name: str, monitor: Monitor, kind: str, result: CanaryResult) -> dict[str, Any]:
    """Alarms over all prompts, and how near the charts came to one."""
    monitor.restart()
    nearest = 0.0
    for start in range(len(result)):
        monitor.see(result[start : start + 1])
        nearest = max(nearest, *(c.height / c.threshold for c in monitor.charts.values()))
    row = {
        "case": f"healthy, {name}",
        "baseline": kind,
        "prompts": len(result),
        "alarms": len(monitor.alarms),
        "nearest": round(nearest, 3),
    }
    monitor.restart()
    return row


def simulate(
    values: Tensor, allowance: float, threshold: float, charts: int = 1000, steps: int = 2000
) -> int:
    """False alarms of many charts at once on values drawn with replacement; each then restarts."""
    generator = torch.Generator().manual_seed(1)
    height = torch.zeros(charts, dtype=torch.float64)
    alarms = 0
    for _ in range(steps):
        drawn = values[torch.randint(len(values), (charts,), generator=generator)]
        height = (height + drawn.clamp(max=allowance + WINSOR) - allowance).clamp(min=0)
        over = height > threshold
        alarms += int(over.sum())
        height[over] = 0
    return alarms


def traffic(tasks: tuple[str, ...], count: int, seed: int) -> dict[str, Tensor]:
    """Features of users' questions, under the original."""
    each = -(-count // len(tasks))
    questions = [
        question
        for place, task in enumerate(tasks)  # a task named twice gives other questions
        for question in make_questions(task, each, "evaluation", 100 * seed + place)
    ]
    random.Random(seed).shuffle(questions)
    questions = questions[:count]
    return prompt_features(load_model(MODEL), [encode("\n" + q.prompt) for q in questions])


def input_rows(names: Iterable[str] = tuple(TRAFFIC)) -> list[dict[str, Any]]:
    """The same traffic again, and users who have turned to sums."""
    healthy = traffic(tuple(TASKS), 900, seed=0)
    rows = []
    for name in names:
        live = traffic(TRAFFIC[name], 1000, seed=1)
        watch = InputWatch(healthy)
        found = []
        for prompt in range(1000):
            drifts = watch.update(**{key: float(live[key][prompt]) for key in live})
            found += [prompt + 1 for drift in drifts if drift.drifted][:1]
        rows.append(
            {
                "case": f"inputs: {name}",
                "prompts": 1000,
                "windows_drifted": len(found),
                "first_prompts": found[0] if found else None,
            }
        )
    return rows


def main() -> None:
    """Measure everything."""
    torch.set_num_threads(1)
    original = load_model(MODEL)
    canary, fresh = question_canary(original, PROMPTS), question_canary(original, PROMPTS, seed=1)
    watching = monitors(canary)
    rows: list[dict[str, Any]] = []
    for name, make in HEALTHY.items():
        model = make()
        rows += [healthy_row(name, m, k, canary.check(model)) for k, m in watching.items()]
        result = fresh.check(model)
        rows.append(healthy_row(f"{name}, new prompts", watching["unpaired"], "unpaired", result))
    for name, make in FAULTS.items():
        result = canary.check(make())
        for kind, monitor in watching.items():
            rows += fault_rows(name, monitor, kind, result)
    rows += input_rows()
    for row in rows:
        print(row, flush=True)
    charts = {
        kind: {
            name: {
                "threshold": round(chart.threshold, 4),
                "prompts_between_false_alarms": min(chart.run_length(), 1e9),
            }
            for name, chart in monitor.charts.items()
        }
        for kind, monitor in watching.items()
    }
    save("monitor", rows, command=COMMAND, model=MODEL, group_size=GROUP, charts=charts)
    thresholds = {name: chart["threshold"] for name, chart in charts["paired"].items()}
    limit = InputWatch(traffic(tuple(TASKS), 9, seed=0)).limit
    write_rules(ASSETS, alert_rules(thresholds, limit))


if __name__ == "__main__":
    main()
