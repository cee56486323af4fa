"""NF4 and FP4 of a 4096 x 4096 weight beside bitsandbytes, in one run: ``results/blockwise.json``.

Millions of parameters a second, median of nine rounds in which all take turns. ``compiled`` is the
form fused by torch.compile, its compilation not counted. Memory is how far the peak of one more
call lies above what the process held before it, the result included (Linux only).

    python tests/benchmarks/blockwise.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from _results import save
from torch import Tensor

from qlearn.models.long_runs import free_memory
from qlearn.numerics.codebook import FP4, NF4, Codebook, quantize_blockwise
from qlearn.numerics.nearest import _CHUNK
from qlearn.numerics.nearest_compiled import compiled_ranks

COMMAND = "python tests/benchmarks/blockwise.py"
SIZE, ROUNDS, THREADS, BLOCK = 4096, 9, 2, 64


def quantizers(weight: Tensor, codebook: Codebook) -> dict[str, Callable[[], object]]:
    """Each tool's call on one and the same float32 weight."""
    table: dict[str, Callable[[], object]] = {
        "bitsandbytes": lambda: bnb.quantize_4bit(
            weight, quant_type=codebook.name, blocksize=BLOCK
        ),
        "qlearn": lambda: quantize_blockwise(weight, codebook, BLOCK),
    }
    if compiled_ranks(codebook, _CHUNK // BLOCK, BLOCK) is not None:
        table["qlearn compiled"] = lambda: quantize_blockwise(
            weight, codebook, BLOCK, compiled=True
        )
    return table


def dequantizers(weight: Tensor, codebook: Codebook) -> dict[str, Callable[[], object]]:
    """The way back."""
    codes, state = bnb.quantize_4bit(weight, quant_type=codebook.name, blocksize=BLOCK)
    ours = quantize_blockwise(weight, codebook, BLOCK)
    return {
        "bitsandbytes": lambda: bnb.dequantize_4bit(codes, state),
        "qlearn": ours.dequantize,
    }


def check_equal(weight: Tensor, codebook: Codebook) -> None:
    """Stop where the tools do not give the same codes: then there is nothing to compare."""
    codes, _ = bnb.quantize_4bit(weight, quant_type=codebook.name, blocksize=BLOCK)
    for compiled in (False, True):
        found = quantize_blockwise(weight, codebook, BLOCK, compiled=compiled)
        if not torch.equal(found.codes, codes.view(-1)):
            raise SystemExit(f"{codebook}, compiled={compiled}: other codes than bitsandbytes'")


def measure(weight: Tensor) -> list[dict[str, object]]:
    """Rounds in which each call runs once; a row for each."""
    calls: dict[tuple[str, str, str], Callable[[], object]] = {}
    for codebook in (NF4, FP4):
        check_equal(weight, codebook)
        for step, table in (
            ("quantize", quantizers(weight, codebook)),
            ("dequantize", dequantizers(weight, codebook)),
        ):
            calls |= {(step, codebook.name, tool): call for tool, call in table.items()}
    seconds: dict[tuple[str, str, str], list[float]] = {key: [] for key in calls}
    for round_number in range(ROUNDS + 1):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            if round_number:  # the first round warms up
                seconds[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    return [
        {
            "step": step,
            "codebook": codebook,
            "tool": tool,
            "million_parameters_per_second": round(weight.numel() / median / 1e6, 1),
            "times_bitsandbytes": round(medians[step, codebook, "bitsandbytes"] / median, 2),
            "peak_megabytes": round(peak_megabytes(calls[step, codebook, tool]), 1),
        }
        for (step, codebook, tool), median in medians.items()
    ]


def peak_megabytes(call: Callable[[], object]) -> float:
    """How far one call lifts the process's memory, its result included, in MB."""
    free_memory()  # what earlier calls left must not hold the result
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    kept = call()
    peak = resident("VmHWM")
    del kept
    return (peak - before) / 1e3


def resident(key: str) -> int:
    """A line of this process's status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def seeded() -> Tensor:
    return torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def main() -> None:
    torch.set_num_threads(THREADS)
    rows = measure(seeded())
    for row in rows:
        print(row, flush=True)
    save("blockwise", rows, command=COMMAND, threads=THREADS, size=SIZE, block_size=BLOCK)


if __name__ == "__main__":
    main()
