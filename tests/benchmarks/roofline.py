"""Decoding smollm2-135m beside what the machine allows: ``results/roofline.json``.

Two roofs: the bandwidth of the memory, measured by reading a large tensor, and the rate at which a
large product of the same kind is computed. Below them one decode step of each precision, at batches
from 1 to 64, behind a KV cache of 128 tokens. A precision has up to three ways:

- ``layers``: transformers' own blocks; INT8 and INT4 by torch's kernels, the head in BF16;
- ``head``: the output head, which is tied to the embedding, in INT8 too;
- ``fused``: fewer calls a block (:mod:`qlearn.models.layers.kernel_llama`) beside that.

Within a round every way runs once; medians over the rounds. Bytes and operations are counted, not
measured. What the rounded head costs in quality stands in ``quality``.

    python tests/benchmarks/roofline.py
"""

from __future__ import annotations

import logging
import time
from fractions import Fraction
from typing import Any

import torch
from _kernels import BF16, EIGHT, FOUR, make
from _results import save
from batching import decode_step, measure
from memory import bandwidth
from torch.nn.functional import linear

from qlearn import load_model, load_tokens, quantize_model
from qlearn.measure.evaluate import compare, remember
from qlearn.measure.memory.architectures import get_architecture
from qlearn.measure.memory.parts import cache_bytes
from qlearn.models.layers.kernel import KernelLinear, use_kernels
from qlearn.models.layers.kernel_llama import fuse_layers
from qlearn.models.load import load_tokenizer

MODEL, COMMAND = "smollm2-135m", "python tests/benchmarks/roofline.py"
BATCHES, CACHED, THREADS = (1, 2, 4, 8, 16, 32, 64), 128, 2
SCHEMES = {"INT8": EIGHT, "INT4": FOUR}
FLOATS = {"FP32": torch.float32, "BF16": BF16}
WAYS = dict.fromkeys(FLOATS, ("layers", "fused"))
WAYS |= dict.fromkeys(SCHEMES, ("layers", "head", "fused"))
SQUARE, PEAK_ROUNDS = 2048, 7  # of the product whose rate is the roof
SEQUENCES, LENGTH = 8, 512  # of the text for the quality


def prepared(model: str, precision: str, way: str) -> Any:
    """The model, by its name or folder, in one precision and way."""
    made = load_model(model, FLOATS.get(precision, torch.float32))
    if precision in SCHEMES:
        quantize_model(made, "rtn", SCHEMES[precision], progress=False)
    kept = fuse_layers(made) if way == "fused" else {}
    if precision in SCHEMES:
        kept |= use_kernels(made, round_head=way != "layers")
    for name, reason in kept.items():
        raise ValueError(f"{name!r} stays as it is: {reason}")
    return made.eval()


def weight_bytes(model: Any) -> int:
    """Bytes of weights that a step reads: all, since the head is the embedding's table."""
    if not model.config.tie_word_embeddings:
        raise ValueError(f"model={type(model).__name__} has a head of its own; count its table out")
    tensors = list(model.parameters())
    for module in model.modules():
        if isinstance(module, KernelLinear):
            tensors += [module.packed, module.grid]
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())


def step_operations(model: str, batch: int) -> int:
    """Multiplications and additions of a step: two a weight, and attention's two products."""
    sizes = get_architecture(model)
    weights = sizes.linear_parameters + sizes.vocab * sizes.hidden
    attention = 2 * sizes.layers * sizes.heads * sizes.head_dim * (CACHED + 1)
    return 2 * batch * (weights + attention)


def peak(precision: str) -> float:
    """Operations a second of a large product in this precision, the best of some rounds."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(SQUARE, SQUARE, generator=generator)
    x = torch.randn(SQUARE, SQUARE, generator=generator).to(FLOATS.get(precision, BF16))
    layer: Any
    if precision in SCHEMES:
        layer = make(weight, SCHEMES[precision].bits)
    else:
        same = weight.to(x.dtype)
        layer = lambda x: linear(x, same)  # noqa: E731
    best = float("inf")
    with torch.inference_mode():
        for _ in range(PEAK_ROUNDS):
            start = time.perf_counter()
            layer(x)
            best = min(best, time.perf_counter() - start)
    return float(2 * SQUARE**3 / best)


def below(row: dict[str, Any], speed: float, peaks: dict[str, float]) -> dict[str, Any]:
    """The row with its bound: a step takes the longer of its bytes' and its operations' time."""
    read = row["weight_bytes"] + row["cache_bytes"]
    seconds = max(read / speed, row["operations"] / peaks[row["precision"]])
    bound = row["batch"] / seconds
    share = row["tokens_per_second"] / bound
    return row | {"bound_tokens_per_second": round(bound, 2), "share_of_bound": round(share, 4)}


def speeds(models: dict[str, dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """The rows of one batch; ``times_float32`` is over FP32's ``layers``."""
    contenders = {
        precision: {way: decode_step(made, batch, CACHED) for way, made in ways.items()}
        for precision, ways in models.items()
    }
    measured = {row["precision"]: row["ways"] for row in measure("decode", batch, contenders)}
    sizes, rows = get_architecture(MODEL), []
    for precision, ways in models.items():
        wide = 32 if precision == "FP32" else 16
        for way, made in ways.items():
            speed = measured[precision][way]
            row = {"precision": precision, "way": way, "batch": batch, "tokens_per_second": speed}
            row |= {"times_float32": round(speed / measured["FP32"]["layers"], 3)}
            row |= {"weight_bytes": weight_bytes(made)}
            row |= {"cache_bytes": cache_bytes(sizes, Fraction(wide), CACHED, batch)}
            rows.append(row | {"operations": step_operations(MODEL, batch)})
    return rows


def quality(models: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Divergence from FP32 of each way that rounds something else."""
    tokens = load_tokens(
        load_tokenizer(MODEL), split="evaluation", sequences=SEQUENCES, length=LENGTH
    )
    reference, rows = remember(models["FP32"]["layers"], tokens), []
    for precision, ways in models.items():
        for way in [way for way in ways if way != "fused" and precision != "FP32"]:
            found = compare(ways[way], reference, tokens)
            row = {"precision": precision, "way": way, "perplexity": round(found.perplexity, 4)}
            rows.append(row | {"kl_divergence": round(found.kl_divergence, 6)})
    return rows


def main() -> None:
    """Measure the roofs, then what stands below them."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(THREADS)
    speed = bandwidth()
    peaks = {precision: peak(precision) for precision in WAYS}
    models = {p: {way: prepared(MODEL, p, way) for way in ways} for p, ways in WAYS.items()}
    rows: list[dict[str, Any]] = []
    for batch in BATCHES:
        rows += [below(row, speed, peaks) for row in speeds(models, batch)]
        for row in rows[-sum(map(len, WAYS.values())) :]:
            name = f"{row['precision']} {row['way']}"
            print(f"{name:12}{batch:3}{row['tokens_per_second']:9}{row['times_float32']:7}")
    facts = {"model": MODEL, "threads": THREADS, "cached_tokens": CACHED}
    facts |= {"bandwidth": round(speed), "peaks": {k: round(v) for k, v in peaks.items()}}
    facts |= {"schemes": {k: str(v) for k, v in SCHEMES.items()}}
    facts |= {"evaluation": [SEQUENCES, LENGTH], "quality": quality(models)}
    save("roofline", rows, COMMAND, **facts)


if __name__ == "__main__":
    main()
