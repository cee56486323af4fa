"""A canary: fixed questions to a model in use, and an alert when it answers fewer than before.

Not every fault breaks a model: one of doubled scales may go through the next norm unharmed. A fault
counts as a regression where 200 other questions of each task say so: fewer than 95% of the answers
that the accepted model gives. (That test was added after the first run, which counted all faults.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import nn

from qlearn import QuantScheme, load_model, quantize_model
from qlearn.convert.model import dequantize_model
from qlearn.models.blocks import block_linears
from qlearn.models.packaged import POCKET
from qlearn.models.pocket.questions import answer_questions
from qlearn.models.pocket.tasks import TASKS, make_questions

QUESTIONS = 20  # of each task
SEEDS = (1, 2, 3, 4, 5)  # of the healthy runs' own questions
ERRORS = 3  # standard errors below the accepted share that raise an alert
SOLVED = 0.95
KEPT = 0.95  # of the accepted model's answers, by many other questions: less is a regression
OTHERS, OTHER_SEED = 200, 9  # questions of each task, and their seed


def rounded(name: str, bits: int) -> nn.Module:
    """A pocket model with its layers rounded to so many bits, in float32."""
    model = load_model(name)
    quantize_model(model, "rtn", QuantScheme(bits, False, None), progress=False)
    return dequantize_model(model)


def two_bits(name: str) -> nn.Module:
    """The wrong number of bits was deployed."""
    return rounded(name, 2)


def with_layer(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """The accepted model, the middle one of its layers changed."""
    model = rounded(name, 8)
    layers = list(block_linears(model).values())
    layer = layers[len(layers) // 2]
    with torch.no_grad():
        layer.weight.copy_(change(layer.weight.clone()))
    return model


FAULTS: dict[str, Callable[[str], nn.Module]] = {
    "two bits": two_bits,
    "scales of one layer doubled": lambda name: with_layer(name, lambda w: 2 * w),
    "rows of one layer shifted by one": lambda name: with_layer(name, lambda w: w.roll(1, 0)),
    "one layer lost": lambda name: with_layer(name, torch.zeros_like),
}


def share(model: nn.Module, tasks: list[str], seed: int, count: int = QUESTIONS) -> float:
    """Share of ``count`` questions a task that a model answers."""
    asked = [one for task in tasks for one in make_questions(task, count, seed=seed)]
    return float(answer_questions(model, asked)[0].double().mean())


def canary() -> list[dict[str, Any]]:
    """One row in sum, and one for each fault and each healthy run that raised an alert."""
    faults = broken = found = healthy = false = 0
    rows: list[dict[str, Any]] = []
    for name in POCKET:
        accepted = rounded(name, 8)
        tasks = [
            task
            for task in TASKS
            if float(answer_questions(accepted, make_questions(task, 200))[0].double().mean())
            >= SOLVED
        ]
        count = QUESTIONS * len(tasks)
        before = share(accepted, tasks, 0)
        error = sqrt(max(before * (1 - before), 1 / count) / count)
        limit = before - ERRORS * error
        many = share(accepted, tasks, OTHER_SEED, OTHERS)
        for fault, make in FAULTS.items():
            model = make(name)
            after = share(model, tasks, 0)
            kept = share(model, tasks, OTHER_SEED, OTHERS) / many
            rows.append({**_row(name, fault, before, after, limit), "kept": round(kept, 4)})
            faults += 1
            if kept < KEPT:
                broken, found = broken + 1, found + (after < limit)
        for seed in SEEDS:
            after = share(copy.deepcopy(accepted), tasks, seed)
            healthy, false = healthy + 1, false + (after < limit)
            if after < limit:
                rows.append(_row(name, f"healthy, questions {seed}", before, after, limit))
    total = {
        "what": "canary",
        "faults": faults,
        "broken": broken,
        "found": found,
        "healthy": healthy,
        "false_alarms": false,
        "questions": QUESTIONS * len(TASKS),
        "standard_errors": ERRORS,
    }
    return [total, *rows]


def _row(model: str, case: str, before: float, after: float, limit: float) -> dict[str, Any]:
    return {
        "what": "canary run",
        "model": model,
        "case": case,
        "before": round(before, 4),
        "after": round(after, 4),
        "limit": round(limit, 4),
        "alert": after < limit,
    }
