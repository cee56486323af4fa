"""What most benches measure: smollm2-135m on the full evaluation split of editorials."""

from __future__ import annotations

from typing import Any

import torch
from _results import save

from qlearn import load_model, load_tokenizer, load_tokens
from qlearn.measure.evaluate import remember


class Editorials:
    """The model, both splits and the original's predictions; saves rows measured on them.

    Attributes:
        model: the original, in float32.
        tokens: the evaluation split ``[20, 512]``.
        calibration: ``calibration_rows`` rows of the calibration split; all of it by default.
        reference: what the original predicts for ``tokens``.
    """

    def __init__(self, calibration_rows: int | None = None) -> None:
        """Load everything, for two threads."""
        torch.set_num_threads(2)
        self.model = load_model("smollm2-135m")
        tokenizer = load_tokenizer("smollm2-135m")
        self.tokens = load_tokens(tokenizer, "editorials", "evaluation")
        self.calibration = load_tokens(
            tokenizer, "editorials", "calibration", sequences=calibration_rows
        )
        self.reference = remember(self.model, self.tokens)

    def save(self, name: str, rows: list[dict[str, Any]], command: str) -> None:
        """Write a results file, with what its rows were measured on; print the last row."""
        print(rows[-1], flush=True)
        save(
            name,
            rows,
            command=command,
            corpus="editorials",
            split="evaluation",
            rows_of_512=len(self.tokens),
            calibration_rows=len(self.calibration),
        )
