"""GPTQ over the whole model at several widths and groups: ``results/calibrated.json``.

Calibrated on 32 rows of editorials, measured on the full evaluation split. About 12 minutes on two
cores that do nothing else; the file is written anew after each run. AWQ stands in ``libraries.py``.

    python tests/benchmarks/calibrated.py
"""

from __future__ import annotations

from typing import Any

import torch
from rtn_quality import measure

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.evaluate import remember
from qlearn.results import save

RUNS = [
    *(QuantScheme(bits, False, group) for group in (64, None) for bits in (4, 3, 2)),
    QuantScheme(4, True, 64),
]
COMMAND = "python tests/benchmarks/calibrated.py"


def main() -> None:
    """Measure every run."""
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    calibration = load_tokens(tokenizer, corpus="editorials", split="calibration")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation")
    reference = remember(model, tokens)
    rows: list[dict[str, Any]] = []
    for scheme in RUNS:
        row = measure(model, reference, tokens, scheme, calibration=calibration, method="gptq")
        rows.append({"method": "gptq", **row})
        print(rows[-1], flush=True)
        save(
            "calibrated",
            rows,
            command=COMMAND,
            corpus="editorials",
            split="evaluation",
            rows_of_512=len(tokens),
            calibration_rows=len(calibration),
        )


if __name__ == "__main__":
    main()
