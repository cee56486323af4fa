"""Integer matrix products beside float ones: ``results/int8_speed.json``.

Shapes of smollm2-135m's layers and of a model of 7 billion parameters; 1 to 512 tokens. Times
are the least of many rounds in which every contender runs once, and ``times_float32`` is the ratio
to float32 of the same run. "product alone" multiplies codes that are there already; the others
begin with float32 inputs and end with float32 outputs (bfloat16: with its own).

    python tests/benchmarks/int8_speed.py
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import bitsandbytes
import torch
from _results import save
from torch import nn
from torch.nn.functional import linear as product

from qlearn.models.layers.int8 import Int8Linear
from qlearn.numerics.int8 import absmax_int8

SHAPES = [(576, 576), (576, 192), (576, 1536), (1536, 576), (4096, 4096), (4096, 11008)]
TOKENS = (1, 16, 128, 512)
SECONDS, LEAST_ROUNDS = 2.0, 5  # for each shape and number of tokens
COMMAND = "python tests/benchmarks/int8_speed.py"


def contenders(tokens: int, inputs: int, outputs: int) -> dict[str, Callable[[], object]]:
    """Each way to compute one layer, on one and the same weight and input."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, inputs, generator=generator)
    linear = nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    codes, _ = absmax_int8(linear.weight)
    x_codes, _ = absmax_int8(x)
    half, x_half = linear.weight.data.bfloat16(), x.bfloat16()
    ours = {t: Int8Linear.from_linear(linear, threshold=t) for t in (0.0, 6.0)}
    theirs = bitsandbytes.nn.Linear8bitLt(inputs, outputs, bias=False, has_fp16_weights=False)
    theirs.load_state_dict(linear.state_dict())
    theirs = theirs.to("cpu").eval()
    return {
        "float32": lambda: product(x, linear.weight),
        "bfloat16": lambda: product(x_half, half),
        "torch._int_mm, product alone": lambda: torch._int_mm(x_codes, codes.t()),
        "qlearn Int8Linear": lambda: ours[0.0](x),
        "qlearn Int8Linear, threshold 6": lambda: ours[6.0](x),
        "bitsandbytes Linear8bitLt": lambda: theirs(x),
        **{f"torch dynamic INT8, {name}": call for name, call in torch_layers(linear, x)},
    }


def torch_layers(linear: nn.Linear, x: torch.Tensor) -> list[tuple[str, Callable[[], object]]]:
    """torch's own dynamically quantized layer, by each engine that it has here."""
    found = []
    for engine in ("onednn", "fbgemm"):
        if engine not in torch.backends.quantized.supported_engines:
            continue
        torch.backends.quantized.engine = engine
        layer = torch.ao.nn.quantized.dynamic.Linear(
            linear.in_features, linear.out_features, bias_=False
        )
        scale = linear.weight.detach().abs().amax(1).double() / 127
        zero = torch.zeros(linear.out_features, dtype=torch.int64)
        weight = torch.quantize_per_channel(linear.weight.detach(), scale, zero, 0, torch.qint8)
        layer.set_weight_bias(weight, None)

        def call(layer: nn.Module = layer, engine: str = engine) -> object:
            torch.backends.quantized.engine = engine
            return layer(x)

        found.append((engine, call))
    return found


def measure(tokens: int, inputs: int, outputs: int) -> list[dict[str, Any]]:
    """The rows of one shape: the contenders take turns until the time is over."""
    table = contenders(tokens, inputs, outputs)
    least = dict.fromkeys(table, float("inf"))
    rounds, end = 0, time.perf_counter() + SECONDS
    with torch.inference_mode():
        while rounds <= LEAST_ROUNDS or time.perf_counter() < end:
            for name, call in table.items():
                start = time.perf_counter()
                call()
                if rounds:  # the first round warms up
                    least[name] = min(least[name], time.perf_counter() - start)
            rounds += 1
    return [
        {
            "what": name,
            "tokens": tokens,
            "in_features": inputs,
            "out_features": outputs,
            "milliseconds": round(1e3 * seconds, 4),
            "times_float32": round(least["float32"] / seconds, 2),
        }
        for name, seconds in least.items()
    ]


def main() -> None:
    """Measure every shape."""
    warnings.filterwarnings("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    torch.set_num_threads(2)
    rows: list[dict[str, Any]] = []
    for inputs, outputs in SHAPES:
        for tokens in TOKENS:
            rows += measure(tokens, inputs, outputs)
            for row in rows[-8:]:
                print(f"{row['what']:32} {tokens:4} {inputs} {outputs} {row['times_float32']:6}")
    save("int8_speed", rows, command=COMMAND, threads=2)


if __name__ == "__main__":
    main()
