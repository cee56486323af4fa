"""Weights in fewer bits at batch 1, 32 and 512: ``results/batching.json``.

One linear layer of 4096 x 4096, and smollm2-135m's decode step behind a KV cache of 128 tokens,
with the kernels that torch has. Within a round every contender runs once; medians over the rounds.
Where a precision can be computed in several ways, the row names the fastest, and ``ways`` holds
tokens a second of each. FP32 has FP32 inputs, and INT8's "dynamic" ways round such to 8 bits; all
else has BF16 inputs but where it is named. Embedding and head of the model are BF16 but in FP32.

    python tests/benchmarks/batching.py
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from _kernels import BF16, EIGHT, FOUR, check_product, make, swap_linears
from _results import save
from int8_speed import torch_layers
from torch import nn
from torch.nn.functional import linear as product
from transformers import DynamicCache

from qlearn import QuantizedLinear, load_model, quantize

SIZE, TOKENS = 4096, (1, 8, 32, 128, 512)
BATCHES, CACHED = (1, 32), 128
SECONDS, LEAST_ROUNDS, THREADS = 6.0, 7, 2  # for each number of tokens
ROUNDED_INPUTS = 0.04  # one grid of 7 or 8 bits for all inputs costs one or two parts in a hundred
COMMAND = "python tests/benchmarks/batching.py"
FP32 = torch.float32

Ways = dict[str, Callable[[], object]]


def layer_contenders(size: int, tokens: int) -> dict[str, Ways]:
    """Each precision's ways to compute one layer; those with codes are checked here."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, size, generator=generator)
    weight = torch.randn(size, size, generator=generator) / size**0.5
    x_half, half = x.bfloat16(), weight.bfloat16()
    linear = nn.Linear(size, size, bias=False)
    linear.weight.data = weight
    whole = quantize(weight, EIGHT).dequantize()
    integer = {f"dynamic INT8, {engine}": call for engine, call in torch_layers(linear, x)}
    exact = x @ whole.T
    for name, call in integer.items():
        off = float((call() - exact).norm() / exact.norm())  # type: ignore[operator]
        if not off <= ROUNDED_INPUTS:
            raise ValueError(f"{name} is off by {off:.2g} of its output")
    # With FP32 inputs these two kernels have no fast path: ten times slower and more.
    eight, four = make(weight, 8), make(weight, 4)
    ours = QuantizedLinear(quantize(weight, FOUR))
    check_product(ours, ours.dequantize(), FP32)
    return {
        "FP32": {"linear": lambda: product(x, weight)},
        "BF16": {"linear": lambda: product(x_half, half)},
        "INT8": {"_weight_int8pack_mm": lambda: eight(x_half), **integer},
        "INT4": {"_weight_int4pack_mm": lambda: four(x_half)},
        "qlearn INT4": {"FP32 inputs": lambda: ours(x), "BF16 inputs": lambda: ours(x_half)},
    }


def load_variants(name: str = "smollm2-135m") -> dict[str, nn.Module]:
    """The model in each precision, one copy each."""
    variants = {}
    for precision, bits in (("FP32", 0), ("BF16", 0), ("INT8", 8), ("INT4", 4)):
        model = load_model(name)
        if bits:
            swap_linears(model, bits)
        variants[precision] = model if precision == "FP32" else model.to(BF16)
    return variants


def decode_contenders(variants: Mapping[str, nn.Module], batch: int) -> dict[str, Ways]:
    """One decode step of each: a token a sequence, behind a cache of ``CACHED`` tokens."""
    return {
        precision: {"decode": decode_step(model, batch, CACHED)}
        for precision, model in variants.items()
    }


def measure(what: str, tokens: int, contenders: dict[str, Ways]) -> list[dict[str, Any]]:
    """The rows of one number of tokens: everybody takes turns until the time is over."""
    seconds: dict[tuple[str, str], list[float]] = {
        (precision, way): [] for precision, ways in contenders.items() for way in ways
    }
    rounds, end = 0, time.perf_counter() + SECONDS
    with torch.inference_mode():
        while rounds <= LEAST_ROUNDS or time.perf_counter() < end:
            for precision, way in seconds:
                start = time.perf_counter()
                contenders[precision][way]()
                if rounds:  # the first round warms up
                    seconds[precision, way].append(time.perf_counter() - start)
            rounds += 1
    speeds: dict[str, dict[str, float]] = {}
    for (precision, way), values in seconds.items():
        speeds.setdefault(precision, {})[way] = tokens / statistics.median(values)
    full = max(speeds["FP32"].values())
    rows = []
    for precision, ways in speeds.items():
        best = max(ways, key=lambda way: ways[way])
        row = {"what": what, "precision": precision, "tokens": tokens, "way": best}
        row |= {"tokens_per_second": round(ways[best], 2)}
        row |= {"times_float32": round(ways[best] / full, 3)}
        rows.append(row | {"ways": {way: round(value, 2) for way, value in ways.items()}})
    return rows


def main() -> None:
    """Measure the layer, then the model."""
    warnings.filterwarnings("ignore")  # torch's quantized tensors are to move
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(THREADS)
    rows: list[dict[str, Any]] = []
    for tokens in TOKENS:
        rows += measure("layer", tokens, layer_contenders(SIZE, tokens))
    variants = load_variants()
    for batch in BATCHES:
        rows += measure("model", batch, decode_contenders(variants, batch))
    facts = {"layer": [SIZE, SIZE], "model": "smollm2-135m", "cached_tokens": CACHED}
    schemes = {"INT8": str(EIGHT), "INT4": str(FOUR)}
    save("batching", rows, command=COMMAND, threads=THREADS, **facts, schemes=schemes)
    for row in rows:
        print(f"{row['what']:6}{row['precision']:12}{row['tokens']:5}{row['times_float32']:8.2f}")


def decode_step(model: Any, batch: int, cached: int) -> Callable[[], object]:
    """A call that decodes one token a sequence, and leaves the cache as it was.

    The cache is filled with random numbers: a step takes the same time whatever it holds.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.config
    token = torch.randint(config.vocab_size, (batch, 1), generator=generator)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (batch, config.num_key_value_heads, cached, width)
    cache = DynamicCache(config=config)
    for layer in range(config.num_hidden_layers):
        key, value = torch.randn((2, *shape), generator=generator).to(model.dtype)
        cache.update(key, value, layer)
    model.eval()

    def call() -> object:
        logits = model(token, past_key_values=cache, use_cache=True).logits
        cache.crop(-1)
        return logits

    return call


if __name__ == "__main__":
    main()
