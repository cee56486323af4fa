"""RTN and packing throughput beside gguf-py's and bitsandbytes', in one run.

Writes ``results/throughput.json``. Millions of parameters a second, median of nine rounds; the
tools take turns within a round, so that a busy machine slows all of them alike.

    python tests/benchmarks/throughput.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import bitsandbytes.functional as bnb
import gguf
import torch
from _results import save

from qlearn.numerics.affine import quantize
from qlearn.numerics.packing import pack, unpack
from qlearn.numerics.scheme import QuantScheme

SIZE, ROUNDS, THREADS = 4096, 9, 2


def contenders(weight: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Each tool's call on one and the same float32 weight."""
    array = weight.numpy()
    codes = {bits: quantize(weight, QuantScheme(bits)).codes for bits in (2, 3, 4)}
    packed = {bits: pack(code, bits) for bits, code in codes.items()}

    def rtn(scheme: QuantScheme) -> Callable[[], object]:
        return lambda: pack(quantize(weight, scheme).codes, scheme.bits)

    table: dict[str, Callable[[], object]] = {
        "gguf-py Q4_0": lambda: gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q4_0),
        "gguf-py Q4_1": lambda: gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q4_1),
        "gguf-py Q8_0": lambda: gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0),
        "bitsandbytes NF4 b64": lambda: bnb.quantize_4bit(weight, quant_type="nf4", blocksize=64),
        "bitsandbytes FP4 b64": lambda: bnb.quantize_4bit(weight, quant_type="fp4", blocksize=64),
        "qlearn INT4 g32 sym, packed": rtn(QuantScheme(4, True, 32)),
        "qlearn INT4 g64 asym, packed": rtn(QuantScheme(4, False, 64)),
        "qlearn INT3 g64 asym, packed": rtn(QuantScheme(3, False, 64)),
        "qlearn INT8 per channel sym, packed": rtn(QuantScheme(8, True, None)),
    }
    for bits in codes:
        table[f"qlearn pack {bits} bits"] = lambda bits=bits: pack(codes[bits], bits)  # type: ignore[misc]
        table[f"qlearn unpack {bits} bits"] = lambda bits=bits: unpack(packed[bits], bits)  # type: ignore[misc]
    return table


def measure(table: dict[str, Callable[[], object]], parameters: int) -> list[dict[str, object]]:
    """Rounds in which every contender runs once; the median of each, in Mparam/s."""
    seconds: dict[str, list[float]] = {name: [] for name in table}
    for round_number in range(ROUNDS + 1):
        for name, call in table.items():
            start = time.perf_counter()
            call()
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference = medians["gguf-py Q4_0"]
    return [
        {
            "what": name,
            "million_parameters_per_second": round(parameters / median / 1e6, 1),
            "times_gguf_q4_0": round(reference / median, 2),
        }
        for name, median in medians.items()
    ]


def main() -> None:
    torch.set_num_threads(THREADS)
    weight = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    rows = measure(contenders(weight), weight.numel())
    save("throughput", rows, command="python tests/benchmarks/throughput.py", threads=THREADS)
    for row in rows:
        print(f"{row['what']:40} {row['million_parameters_per_second']:>8} Mparam/s")


if __name__ == "__main__":
    main()
