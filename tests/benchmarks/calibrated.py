"""GPTQ over the whole model at several widths and groups: ``results/calibrated.json``.

Calibrated on 32 rows of editorials, measured on the full evaluation split. About 12 minutes on two
cores that do nothing else; the file is written anew after each run. AWQ stands in ``libraries.py``.

    python tests/benchmarks/calibrated.py
"""

from __future__ import annotations

from typing import Any

from _editorials import Editorials
from rtn_quality import measure

from qlearn import QuantScheme

RUNS = [
    *(QuantScheme(bits, False, group) for group in (64, None) for bits in (4, 3, 2)),
    QuantScheme(4, True, 64),
]
COMMAND = "python tests/benchmarks/calibrated.py"


def main() -> None:
    """Measure every run."""
    text = Editorials()
    rows: list[dict[str, Any]] = []
    for scheme in RUNS:
        row = measure(
            text.model,
            text.reference,
            text.tokens,
            scheme,
            calibration=text.calibration,
            method="gptq",
        )
        rows.append({"method": "gptq", **row})
        text.save("calibrated", rows, COMMAND)


if __name__ == "__main__":
    main()
