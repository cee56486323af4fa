"""One model trained for quantization by qlearn and by torchao: ``results/qat_torchao.json``.

The smallest pocket model, symmetric grids in groups of 32, the same questions in the same order.
On these grids the largest weight of a group lies half a step beyond the last code, and rounding
errors of the scale send it to either side; nothing else differs
(``tests/methods/test_qat_torchao.py``). ``loss_apart`` is the largest difference to torchao's loss
of a step as a share of it, ``outputs_apart`` that of the logits before the first step. About three
minutes; needs torchao.

    python tests/benchmarks/qat_torchao.py
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from _results import save
from torch import nn

from qlearn import QuantScheme, choose_qparams, load_model
from qlearn.convert.qat import FakeQuantizedLinear, convert_qat, prepare_qat
from qlearn.methods.qat import as_stored
from qlearn.models.load import quiet
from qlearn.models.pocket.batches import pocket_tokens
from qlearn.models.pocket.questions import accuracy_by_task
from qlearn.models.pocket.train import fit

COMMAND = "python tests/benchmarks/qat_torchao.py"
MODEL = "pocket-100k"
GROUP = 32
DTYPES = {4: torch.int4, 2: torch.int2}
TRAINING: dict[str, Any] = {"steps": 60, "learning_rate": 3e-3, "warmup": 10}
SEEDS = (1001, 1002, 1003)  # of the training questions
QUESTIONS = 500


def inside(module: nn.Module, name: str) -> bool:
    """Whether a layer lies in a transformer block."""
    return isinstance(module, nn.Linear) and ".layers." in name


def by_torchao(bits: int) -> tuple[nn.Module, Any]:
    """A prepared model, and what converts it."""
    with quiet():
        from torchao.quantization import IntxWeightOnlyConfig, MappingType, quantize_
        from torchao.quantization.granularity import PerGroup
        from torchao.quantization.qat import QATConfig

        base = IntxWeightOnlyConfig(
            weight_dtype=DTYPES[bits],
            granularity=PerGroup(GROUP),
            mapping_type=MappingType.SYMMETRIC,
        )
        model = load_model(MODEL)
        quantize_(model, QATConfig(base, step="prepare"), filter_fn=inside)
    return model, lambda: quantize_(model, QATConfig(base, step="convert"), filter_fn=inside)


def by_qlearn(bits: int) -> tuple[nn.Module, Any]:
    """A prepared model, and what converts it."""
    model = prepare_qat(load_model(MODEL), QuantScheme(bits, True, GROUP))
    return model, lambda: convert_qat(model)


def by_qlearn_to_nearest(bits: int) -> tuple[nn.Module, Any]:
    """As `by_qlearn`, but the fitted scales are rounded to the nearest float16, not down."""
    model, convert = by_qlearn(bits)
    for layer in model.modules():
        if isinstance(layer, FakeQuantizedLinear):
            layer.grid = MethodType(_nearest, layer)  # type: ignore[method-assign]
    return model, convert


def _nearest(layer: FakeQuantizedLinear) -> tuple[torch.Tensor, torch.Tensor]:
    scale, zero_point = choose_qparams(layer.weight, layer.scheme)
    return as_stored(scale), zero_point


MAKE = {
    "torchao": by_torchao,
    "qlearn": by_qlearn,
    "qlearn, scales to the nearest float16": by_qlearn_to_nearest,
}


def measure(bits: int, seed: int) -> list[dict[str, Any]]:
    """A row for each tool, from one seed."""
    tokens = pocket_tokens(16, "evaluation")
    rows: list[dict[str, Any]] = []
    outputs, losses = [], []
    for tool, make in MAKE.items():
        model, convert = make(bits)
        with torch.no_grad():
            outputs.append(model(tokens).logits)
        seen: list[float] = []
        fit(model, **TRAINING, seed=seed, after=lambda _, loss, seen=seen: seen.append(loss))
        convert()
        scores = accuracy_by_task(model, count=QUESTIONS)
        mean = sum(score.accuracy for score in scores.values()) / len(scores)
        rows.append(
            {
                "bits": bits,
                "seed": seed,
                "tool": tool,
                "loss_first": round(seen[0], 5),
                "loss_last_ten": round(sum(seen[-10:]) / 10, 5),
                "accuracy": round(mean, 4),
            }
        )
        losses.append(seen)
        far = (outputs[-1] - outputs[0]).abs().max() / outputs[0].abs().max()
        apart = max(abs(a - b) / b for a, b in zip(seen, losses[0], strict=True))
        rows[-1] |= {"outputs_apart": round(float(far), 5), "loss_apart": round(apart, 5)}
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure both widths."""
    torch.set_num_threads(1)
    rows = [row for bits in DTYPES for seed in SEEDS for row in measure(bits, seed)]
    save("qat_torchao", rows, COMMAND, model=MODEL, group_size=GROUP, training=TRAINING)


if __name__ == "__main__":
    main()
