"""Round-to-nearest, GPTQ and quantization-aware training of the pocket models, 8 to 2 bits.

Writes ``results/qat.json``: accuracy and surprise on 1,000 held-out questions of each task. One
scale an output row, zero kept exact. QAT continues from the trained model for a few steps on new
training questions; ``rtn after training`` spends the same steps without fake quantization and
rounds afterwards, so that what more training does is not taken for what QAT does. The smallest
model is trained with three seeds, with fitted and with learned scales (LSQ). About 25 minutes of
one core; the file is written anew after each row.

    python tests/benchmarks/qat.py [model ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _results import save
from torch import nn

from qlearn import QuantScheme, copy_for_quantization, load_model, quantize_model
from qlearn.convert.qat import convert_qat, prepare_qat
from qlearn.measure.results import load
from qlearn.models.packaged import POCKET
from qlearn.models.pocket.batches import pocket_tokens
from qlearn.models.pocket.questions import accuracy_by_task
from qlearn.models.pocket.train import RECIPES, fit

COMMAND = "python tests/benchmarks/qat.py"
BITS = (8, 4, 3, 2)
QUESTIONS = 1000
CALIBRATION_ROWS = 128
# QAT's own training: steps, and half the learning rate that the model was made with.
STEPS = {"pocket-100k": 200, "pocket-400k": 150, "pocket-1m": 100, "pocket-4m": 60}
SEEDS = (1, 2, 3)  # of the training questions; larger models take the first alone
FLOAT, RTN, GPTQ, QAT, LSQ, LATER = "float", "rtn", "gptq", "qat", "lsq", "rtn after training"


def rate(name: str) -> float:
    """Learning rate of QAT."""
    return RECIPES[name].learning_rate / 2


def continue_training(name: str, model: nn.Module, seed: int) -> None:
    """Train on questions that the model's own training did not begin with."""
    recipe = RECIPES[name]
    fit(model, STEPS[name], rate(name), 1000 + seed, warmup=10, bfloat16=recipe.bfloat16)


def row(
    name: str, method: str, bits: int | None, model: nn.Module, seconds: float, **more: Any
) -> dict[str, Any]:
    """What one quantized model knows."""
    scores = accuracy_by_task(model, count=QUESTIONS)
    return {
        "model": name,
        "method": method,
        "bits": bits,
        "seed": more.get("seed"),
        "bits_per_weight": more.get("bits_per_weight"),
        "seconds": round(seconds, 1),
        "accuracy": {task: round(score.accuracy, 4) for task, score in scores.items()},
        "nll": {task: round(score.nll, 5) for task, score in scores.items()},
    }


def post_training(name: str, original: nn.Module, method: str, bits: int) -> dict[str, Any]:
    """Quantize without training."""
    model = copy_for_quantization(original)
    tokens = pocket_tokens(CALIBRATION_ROWS) if method == GPTQ else None
    report = quantize_model(model, method, QuantScheme(bits), tokens, progress=False)
    return row(
        name, method, bits, model, report.seconds, bits_per_weight=round(report.bits_per_weight, 4)
    )


def aware(name: str, bits: int, seed: int, learned: bool = False) -> dict[str, Any]:
    """Quantize with training."""
    model = load_model(name)
    start = time.process_time()
    prepare_qat(model, QuantScheme(bits), learned)
    continue_training(name, model, seed)
    report = convert_qat(model)
    seconds = time.process_time() - start
    kept = {"seed": seed, "bits_per_weight": round(report.bits_per_weight, 4)}
    return row(name, LSQ if learned else QAT, bits, model, seconds, **kept)


def rounded_later(name: str, seed: int) -> list[dict[str, Any]]:
    """The same training without fake quantization, then round-to-nearest."""
    trained = load_model(name)
    start = time.process_time()
    continue_training(name, trained, seed)
    seconds = time.process_time() - start
    rows = []
    for bits in BITS:
        model = copy_for_quantization(trained)
        report = quantize_model(model, RTN, QuantScheme(bits), progress=False)
        kept = {"seed": seed, "bits_per_weight": round(report.bits_per_weight, 4)}
        rows.append(row(name, LATER, bits, model, seconds, **kept))
    return rows


def measure(name: str, keep: Callable[[dict[str, Any]], None]) -> None:
    """Every row of one model; ``keep`` takes each as it comes."""
    original = load_model(name)
    keep(row(name, FLOAT, None, original, 0.0))
    for method in (RTN, GPTQ):
        for bits in BITS:
            keep(post_training(name, original, method, bits))
    seeds = SEEDS if name == POCKET[0] else SEEDS[:1]
    for seed in seeds:
        for bits in BITS:
            # At 8 and 4 bits little is left to win: one seed shows it.
            if bits <= 3 or seed == SEEDS[0]:
                keep(aware(name, bits, seed))
                if name == POCKET[0] and bits <= 3:
                    keep(aware(name, bits, seed, learned=True))
    for found in rounded_later(name, SEEDS[0]):
        keep(found)


def main() -> None:
    """Measure the models that are named, or all; rows of the others stay as they are."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(POCKET)
    try:
        rows = [found for found in load("qat")["rows"] if found["model"] not in names]
    except FileNotFoundError:
        rows = []
    order = {name: place for place, name in enumerate(POCKET)}

    def keep(found: dict[str, Any]) -> None:
        rows.append(found)
        rows.sort(key=lambda each: order[each["model"]])
        mean = sum(found["accuracy"].values()) / len(found["accuracy"])
        print({**found, "accuracy": round(mean, 3), "nll": None}, flush=True)
        save(
            "qat",
            rows,
            command=COMMAND,
            scheme=str(QuantScheme(4))[5:],
            questions=QUESTIONS,
            calibration_rows=CALIBRATION_ROWS,
            steps=STEPS,
            learning_rates={name: rate(name) for name in POCKET},
        )

    for name in names:
        measure(name, keep)


if __name__ == "__main__":
    main()
