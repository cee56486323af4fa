"""Mean squared error on N(0, 1) of 4-bit grids and codebooks: ``results/codebook_error.json``.

2**24 seeded normal numbers in rows of 4096, each format with its usual group or block. Bits a
weight are counted whole.

    python tests/benchmarks/codebook_error.py
"""

from __future__ import annotations

import torch
from _results import save
from torch import Tensor

from qlearn import QuantScheme, quantize
from qlearn.numerics.codebook import FP4, NF4, CodebookScheme, quantize_blockwise

COMMAND = "python tests/benchmarks/codebook_error.py"
ROWS, COLUMNS = 4096, 4096
FORMATS: dict[str, QuantScheme | CodebookScheme] = {
    "INT4 g64 asymmetric": QuantScheme(4, False, 64),
    "INT4 g64 symmetric, absmax / 7.5": QuantScheme(4, True, 64),
    "INT4 g64 symmetric, absmax / 7": QuantScheme(4, True, 64, "restricted"),
    "NF4 b64": CodebookScheme(NF4, 64),
    "NF4 b64, double quantization": CodebookScheme(NF4, 64, double_quant=True),
    "bitsandbytes FP4 b64": CodebookScheme(FP4, 64),
}


def normal(rows: int = ROWS) -> Tensor:
    """The first rows of the seeded numbers."""
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))[:rows]


def error(values: Tensor, scheme: QuantScheme | CodebookScheme) -> float:
    """Mean squared error of one format."""
    if isinstance(scheme, CodebookScheme):
        stored = quantize_blockwise(
            values, scheme.codebook, scheme.block_size, scheme.double_quant
        ).dequantize()
    else:
        stored = quantize(values, scheme).dequantize()
    return float((stored - values).square().mean(dtype=torch.float64))


def row(name: str, values: Tensor) -> dict[str, object]:
    scheme = FORMATS[name]
    return {
        "format": name,
        "bits_per_weight": round(scheme.bits_per_weight((ROWS, COLUMNS)), 4),
        "mean_squared_error": round(error(values, scheme), 6),
    }


def main() -> None:
    torch.set_num_threads(2)
    values = normal()
    rows = sorted(
        (row(name, values) for name in FORMATS), key=lambda row: row["mean_squared_error"]
    )
    for line in rows:
        print(line)
    save("codebook_error", rows, command=COMMAND, numbers=values.numel())


if __name__ == "__main__":
    main()
