"""NF4 and FP4 of a 4096 x 4096 weight beside bitsandbytes, in one run: ``results/blockwise.json``.

Millions of parameters a second, median of nine rounds in which all take turns. ``compiled`` is the
form fused by torch.compile, its compilation not counted. Memory is what a call's peak lies above
what it began with, its result included, measured in a process of its own.

    python tests/benchmarks/blockwise.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bitsandbytes.functional as bnb
import torch
from torch import Tensor

from qlearn.codebook import FP4, NF4, Codebook, quantize_blockwise
from qlearn.codebook_compiled import compiled_ranks
from qlearn.results import save

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
    if compiled_ranks(codebook, BLOCK) is not None:
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
        }
        for (step, codebook, tool), median in medians.items()
    ]


def peak_megabytes(step: str, codebook: str, tool: str) -> float:
    """What one call adds to a process's peak memory, in MB."""
    arguments = [sys.executable, __file__, step, codebook, tool]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(step: str, codebook: str, tool: str) -> None:
    """The child's part of :func:`peak_megabytes`: warm up on a small weight, reset, call."""
    chosen = {"nf4": NF4, "fp4": FP4}[codebook]
    make = {"quantize": quantizers, "dequantize": dequantizers}[step]
    # 2**18 weights fill a chunk, so that the compiled form is compiled before it is measured.
    make(torch.ones(512, 512), chosen)[tool]()
    call = make(seeded(), chosen)[tool]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = resident("VmRSS")
    kept = call()
    print((resident("VmHWM") - before) / 1e3)
    del kept


def resident(key: str) -> int:
    """A line of this process's status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def seeded() -> Tensor:
    return torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def main() -> None:
    torch.set_num_threads(THREADS)
    if len(sys.argv) > 1:
        print_peak(*sys.argv[1:])
        return
    rows = measure(seeded())
    for row in rows:
        row["peak_megabytes"] = round(
            peak_megabytes(str(row["step"]), str(row["codebook"]), str(row["tool"])), 1
        )
        print(row, flush=True)
    save("blockwise", rows, command=COMMAND, threads=THREADS, size=SIZE, block_size=BLOCK)


if __name__ == "__main__":
    main()
