"""W8A8 over the whole evaluation split: ``results/int8.json``.

Perplexity, KL divergence and top-1 agreement of smollm2-135m over 20 rows of 512 tokens of
editorials, inputs and weights in 8 bits: one grid for all inputs of a layer or one a token, fixed
or fitted anew, LLM.int8() with several thresholds, SmoothQuant with several alphas. Calibrated on
8 rows. A row also says which share of the columns LLM.int8() took out. The file is written anew
after each run; about 20 minutes on two cores that do nothing else.

    python tests/benchmarks/int8_quality.py
"""

from __future__ import annotations

from typing import Any, Self

from _editorials import Editorials
from torch import Tensor, nn

from qlearn import quantize_model
from qlearn.convert.model import copy_for_quantization
from qlearn.measure.evaluate import Remembered, compare
from qlearn.models.layers.int8 import Int8Linear
from qlearn.numerics.outliers import outlier_columns

DEFAULTS: dict[str, Any] = {
    "activations": "token",
    "threshold": 0.0,
    "smooth": None,
    "smooth_up": False,
    "skip": None,
}
THRESHOLDS = (2.0, 3.0, 4.0, 6.0, 12.0, 24.0)
ALPHAS = (0.3, 0.5, 0.7, 0.85)
# The three layers whose inputs hold a value beyond 400, found by chapter 5.
LOUDEST = tuple(f"model.layers.{block}.mlp.down_proj" for block in (11, 28, 29))
STATIC = {"activations": "static"}
RUNS: list[dict[str, Any]] = [  # the first ones are those that chapter 5 needs most
    {"activations": "tensor"},
    {},
    {"threshold": 6.0},
    STATIC,
    {**STATIC, "skip": LOUDEST},
    {**STATIC, "smooth": 0.5},
    {**STATIC, "smooth": 0.5, "smooth_up": True},
    {**STATIC, "smooth": 0.5, "skip": LOUDEST},
    {"smooth": 0.5},
    {"smooth": 0.5, "smooth_up": True},
    *({"threshold": threshold} for threshold in THRESHOLDS if threshold != 6.0),
    *({**STATIC, "smooth": a, "smooth_up": True} for a in ALPHAS if a != 0.5),
    *({**STATIC, "smooth": a, "skip": LOUDEST} for a in ALPHAS if a != 0.5),
    *({"smooth": a} for a in ALPHAS if a != 0.5),
    {"smooth": 0.5, "threshold": 6.0},
]
CALIBRATION_ROWS = 8  # a maximum changes little after that
COMMAND = "python tests/benchmarks/int8_quality.py"


def measure(
    model: nn.Module,
    reference: Remembered,
    tokens: Tensor,
    calibration: Tensor | None,
    run: dict[str, Any] | None,
) -> dict[str, Any]:
    """One row of the file; ``run=None`` is the original."""
    row: dict[str, Any] = dict(DEFAULTS)
    copy = copy_for_quantization(model)
    if run is None:
        row |= {"activations": None, "bits_per_weight": 32.0}
        result = compare(copy, reference, tokens)
    else:
        report = quantize_model(copy, "int8", calibration=calibration, progress=False, **run)
        row |= run
        row["skip"] = ", ".join(run["skip"]) if run.get("skip") else None
        row["bits_per_weight"] = round(report.bits_per_weight, 4)
        row["seconds"] = round(report.seconds, 1)
        with Columns(copy) as columns:
            result = compare(copy, reference, tokens)
        if row["threshold"]:
            row["columns_out"] = round(columns.share, 5)
    row["perplexity"] = round(result.perplexity, 4)
    row["kl_divergence"] = round(result.kl_divergence, 6)
    row["top1_agreement"] = round(result.top1_agreement, 5)
    return row


class Columns:
    """Counts, while a model runs, the columns that its layers take out of the integer product."""

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, Int8Linear)]
        self._layers = [layer for layer in layers if layer.threshold]
        self._hooks: list[Any] = []
        self.out = self.all = 0

    def __enter__(self) -> Self:
        self._hooks = [layer.register_forward_pre_hook(self._note) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, layer: nn.Module, args: tuple[Any, ...]) -> None:
        inputs = args[0].flatten(0, -2)
        self.out += len(outlier_columns(inputs, float(layer.threshold)))  # type: ignore[arg-type]
        self.all += inputs.shape[1]

    @property
    def share(self) -> float:
        """Share of all columns of all calls."""
        return self.out / self.all


def main() -> None:
    """Measure the original and every run."""
    text = Editorials(CALIBRATION_ROWS)
    rows: list[dict[str, Any]] = []
    for run in (None, *RUNS):
        rows.append(measure(text.model, text.reference, text.tokens, text.calibration, run))
        text.save("int8", rows, COMMAND)


if __name__ == "__main__":
    main()
