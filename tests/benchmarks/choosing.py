"""Quality against size, method by method: ``results/choosing.json``.

The pocket family with every method, width and group: accuracy and surprise on 1,000 held-out
questions of each task, perplexity and KL divergence on 512 rows of held-out text. Of smollm2-135m
the rows that ``rtn.json``, ``calibrated.json`` and ``libraries.json`` lack, on the full evaluation
split of editorials. Weights are rounded, arithmetic stays in float32: so for bfloat16 too.

Half an hour of one core for the pocket models, as much of two cores for smollm2-135m. The file is
written anew after each row; processes may add rows of different models at the same time. With
``--missing`` rows that stand in the file are not measured again.

    python tests/benchmarks/choosing.py [--missing] [model ...]
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from _choosing import FLOAT, SMOLLM_RUNS, WIDTHS, Run, keep, measured, pocket_runs, sizes
from _editorials import Editorials
from torch import Tensor, nn

from qlearn import copy_for_quantization, load_model, quantize_model
from qlearn.convert.model import dequantize_model
from qlearn.measure.evaluate import Remembered, compare, remember
from qlearn.models.packaged import DEFAULT, POCKET
from qlearn.models.pocket.batches import pocket_tokens
from qlearn.models.pocket.questions import TaskScore, accuracy_by_task

COMMAND = "python tests/benchmarks/choosing.py"
FILE = "choosing"
MODELS = (*POCKET, DEFAULT)
QUESTIONS = 1000
POCKET_ROWS = 512
CALIBRATION_ROWS = {"pocket": 128, DEFAULT: 32}


def rounded(model: nn.Module, run: Run, calibration: Tensor) -> tuple[nn.Module, dict[str, Any]]:
    """The model as a run leaves it, in float32, and what the run took."""
    if run.method in WIDTHS:
        width = WIDTHS[run.method]
        result = model if run.method == FLOAT else as_bfloat16(model)
        total = sum(p.numel() for p in model.parameters())
        cost = {"bits_per_weight": float(width), "model_bits_per_weight": float(width)}
        return result, {**cost, "bytes": total * width // 8, "seconds": 0.0}
    result = copy_for_quantization(model)
    calibrated = run.method in ("gptq", "awq")
    report = quantize_model(
        result, run.method, run.scheme, calibration if calibrated else None, progress=False
    )
    took = {
        "bits_per_weight": round(report.bits_per_weight, 4),
        "model_bits_per_weight": round(report.model_bits_per_weight, 4),
        "bytes": report.bytes,
        "seconds": round(report.seconds, 1),
    }
    return dequantize_model(result), took


def as_bfloat16(model: nn.Module) -> nn.Module:
    """A copy whose every parameter went through bfloat16; the buffers of positions did not."""
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    return copied


def row(
    name: str,
    run: Run,
    model: nn.Module,
    reference: Remembered,
    tokens: Tensor,
    calibration: Tensor,
    questions: int | None = None,
) -> dict[str, Any]:
    """One row of the file; ``questions`` a task for a pocket model, ``None`` for another."""
    result, took = rounded(model, run, calibration)
    found = compare(result, reference, tokens)
    scores = accuracy_by_task(result, count=questions) if questions else None
    return {
        "model": name,
        "method": run.method,
        "bits": run.bits,
        "group_size": run.group_size,
        "symmetric": run.scheme.symmetric if run.scheme else None,
        "bits_per_weight": took["bits_per_weight"],
        "model_bits_per_weight": took["model_bits_per_weight"],
        "bytes": took["bytes"],
        "perplexity": round(found.perplexity, 4),
        "kl_divergence": round(found.kl_divergence, 6),
        "top1_agreement": round(found.top1_agreement, 5),
        "accuracy": by_task(scores, "accuracy", 4),
        "nll": by_task(scores, "nll", 5),
        "seconds": took["seconds"],
    }


def by_task(
    scores: Mapping[str, TaskScore] | None, what: str, digits: int
) -> dict[str, float] | None:
    """One figure of each task."""
    if scores is None:
        return None
    return {task: round(getattr(score, what), digits) for task, score in scores.items()}


def pocket(name: str) -> tuple[nn.Module, list[Run], partial[dict[str, Any]]]:
    """A pocket model, its runs, and what measures one."""
    torch.set_num_threads(1)
    model = load_model(name)
    tokens = pocket_tokens(POCKET_ROWS, "evaluation")
    reference = remember(model, tokens)
    calibration = pocket_tokens(CALIBRATION_ROWS["pocket"])
    measure = partial(
        row, name, model=model, reference=reference, tokens=tokens, calibration=calibration,
        questions=QUESTIONS,
    )  # fmt: skip
    return model, pocket_runs(model), measure


def smollm() -> tuple[nn.Module, list[Run], partial[dict[str, Any]]]:
    """The same of smollm2-135m."""
    text = Editorials()
    measure = partial(
        row, DEFAULT, model=text.model, reference=text.reference, tokens=text.tokens,
        calibration=text.calibration,
    )  # fmt: skip
    return text.model, SMOLLM_RUNS, measure


def main() -> None:
    """Measure the models that are named, or all."""
    arguments = sys.argv[1:]
    known = measured(FILE) if "--missing" in arguments else set()
    names = [argument for argument in arguments if argument != "--missing"] or list(MODELS)
    for name in names:
        model, runs, measure = smollm() if name == DEFAULT else pocket(name)
        for run in runs:
            if (name, run.method, run.bits, run.group_size) in known:
                continue
            found = measure(run)
            print(found, flush=True)
            keep(
                FILE, found, MODELS, COMMAND, sizes(model),
                questions=QUESTIONS, pocket_rows_of_64=POCKET_ROWS, editorial_rows_of_512=20,
                calibration_rows=CALIBRATION_ROWS,
            )  # fmt: skip


if __name__ == "__main__":
    main()
