"""GPTQ and AWQ over the whole model: ``results/calibrated.json``.

Calibrated on 32 rows of editorials, measured on the full evaluation split. About 20 minutes on two
cores that do nothing else; the file is written anew after each run.

    python tests/benchmarks/calibrated.py
"""

from __future__ import annotations

from typing import Any

import torch
from rtn_quality import measure

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.evaluate import remember
from qlearn.results import save

GPTQ: dict[str, Any] = {"method": "gptq"}
AWQ: dict[str, Any] = {"method": "awq"}
BOTH: dict[str, Any] = {"method": "awq", "rounding": "gptq"}
NAMES = {"gptq": GPTQ, "awq": AWQ, "awq+gptq": BOTH}
RUNS = [
    *(("gptq", QuantScheme(bits, False, group)) for group in (64, None) for bits in (4, 3, 2)),
    ("gptq", QuantScheme(4, True, 64)),
    *((name, QuantScheme(bits, False, 64)) for bits in (4, 3) for name in ("awq", "awq+gptq")),
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
    for name, scheme in RUNS:
        row = measure(model, reference, tokens, scheme, calibration=calibration, **NAMES[name])
        rows.append({"method": name, **row})
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
