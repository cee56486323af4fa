"""Predicted memory and speed of smollm2-135m beside what is measured: ``results/memory.json``.

Four precisions: float32, bfloat16, INT8 (one scale an output) and INT4 (groups of 64), the last two
rounded to nearest, with embedding and norms in float32. Of each: the bytes that the model holds,
those of its KV cache, the growth of a process that loads it (median of five fresh processes), and
the speed of decoding beside what the measured bandwidth would allow. Of INT8 and INT4 also the
speed by torch's kernels (:mod:`qlearn.models.layers.kernel`), all else then in bfloat16. About 5
minutes on two cores that do nothing else.

    python tests/benchmarks/memory.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import torch
from _results import save
from torch import Tensor, nn

from qlearn import QuantScheme, estimate_memory, load_model, quantize_model
from qlearn.measure.memory.architectures import get_architecture
from qlearn.measure.memory.inference import decode_speed_bound, scheme_bits
from qlearn.models.layers.int8 import SCHEME as INT8
from qlearn.models.layers.kernel import KernelLinear, use_kernels
from qlearn.models.long_runs import free_memory

MODEL = "smollm2-135m"
COMMAND = "python tests/benchmarks/memory.py"
PRECISIONS = ("FP32", "BF16", "INT8", "INT4")
SCHEMES = {"INT8": INT8, "INT4": QuantScheme(4, False, 64)}
PROCESSES, THREADS = 5, 2
BATCH, TOKENS = 2, 256  # of the KV cache
PROMPT, STEPS = 32, 48  # of decoding
READ = 1 << 27  # numbers that the bandwidth is measured on: 512 MiB, more than caches hold
ROUNDS = 9


def prepared(model: str, precision: str) -> Any:
    """The model in one of the four precisions; nothing of the float original is left."""
    made = load_model(model, torch.bfloat16 if precision == "BF16" else torch.float32)
    if precision in SCHEMES:
        scheme = SCHEMES[precision]
        quantize_model(made, "rtn", scheme, progress=False)
        # Weights are mapped from the file, which stays resident as long as one of them is: copies
        # let it go.
        for parameter in made.parameters():
            parameter.data = parameter.data.clone()
    free_memory()
    return made


def widths(model: str, precision: str) -> dict[str, Any]:
    """What the prediction is told: nothing that was measured."""
    if precision not in SCHEMES:
        return {"bits_per_weight": 16 if precision == "BF16" else 32}
    bits = scheme_bits(_sizes(model), SCHEMES[precision])
    return {"bits_per_weight": bits, "other_bits": 32, "kv_bits": 32}


def row(precision: str, what: str, predicted: float, measured: float, unit: str) -> dict[str, Any]:
    """One line of the file."""
    return {
        "precision": precision,
        "what": what,
        "unit": unit,
        "predicted": predicted,
        "measured": measured,
        "ratio": round(measured / predicted, 4),
    }


def footprint(made: nn.Module) -> int:
    """Bytes of all parameters and buffers as they are stored, each once."""
    tensors = {id(t): t for t in chain(made.parameters(), made.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


@torch.inference_mode()
def kv_cache(made: Any) -> int:
    """Bytes of the cache that transformers keeps after some tokens."""
    from transformers import DynamicCache

    cache = DynamicCache(config=made.config)
    made(_tokens(made, BATCH, TOKENS), past_key_values=cache, logits_to_keep=1)
    tensors = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    return sum(t.numel() * t.element_size() for t in tensors)


def held(made: Any, model: str, precision: str) -> list[dict[str, Any]]:
    """The rows of a model's own bytes and of its cache's."""
    told = widths(model, precision)
    predicted = estimate_memory(_sizes(model), context=TOKENS, batch=BATCH, **told)
    return [
        row(precision, "footprint", predicted.weights, footprint(made), "bytes"),
        row(precision, "kv_cache", predicted.kv_cache, kv_cache(made), "bytes"),
    ]


@torch.inference_mode()
def growth(model: str, precision: str) -> int:
    """How much this process grows by a model that it loads, runs once and holds.

    A tiny model goes the same way before, so that no library is loaded in between; the run makes
    sure that every weight is in memory, not in a file that is mapped.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        first = prepared(folder, precision)
        first(_tokens(first, 1, 1), use_cache=False)
        del first
    free_memory()
    before = psutil.Process().memory_info().rss
    made = prepared(model, precision)
    made(_tokens(made, 1, 1), use_cache=False)
    free_memory()
    return int(psutil.Process().memory_info().rss - before)


def grown(model: str, precision: str) -> dict[str, Any]:
    """The median growth of fresh processes."""
    command = [sys.executable, __file__, "growth", model, precision]
    runs = []
    for _ in range(PROCESSES):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(int(json.loads(done.stdout.splitlines()[-1])))
    predicted = estimate_memory(_sizes(model), context=1, **widths(model, precision))
    found = row(precision, "growth", predicted.weights, int(statistics.median(runs)), "bytes")
    return {**found, "runs": runs}


def bandwidth() -> float:
    """Bytes a second at which a large tensor is read, the best of some rounds."""
    numbers = torch.ones(READ)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - start)
    return READ * 4 / best


@torch.inference_mode()
def decode(
    made: Any, model: str, precision: str, speed: float, told: dict[str, Any], what: str = "decode"
) -> dict[str, Any]:
    """Tokens a second of batch 1, the median step; the bound is that of the mean context."""
    from transformers import DynamicCache

    cache = DynamicCache(config=made.config)
    token = made(_tokens(made, 1, PROMPT), past_key_values=cache, logits_to_keep=1)
    token = token.logits.argmax(-1)
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        token = made(token, past_key_values=cache).logits.argmax(-1)
        seconds.append(time.perf_counter() - start)
    context = PROMPT + STEPS // 2
    bound = decode_speed_bound(_sizes(model), speed, context=context, **told)
    measured = 1 / statistics.median(seconds)
    return row(precision, what, round(bound, 2), round(measured, 2), "tokens/s")


def kernel_widths(made: nn.Module) -> dict[str, Any]:
    """What the bound is told of a model whose layers are kernels: their bits, all else in 16."""
    layers = [layer for layer in made.modules() if isinstance(layer, KernelLinear)]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    return {"bits_per_weight": 8 * sum(layer.nbytes for layer in layers) / weights}


def _sizes(model: str) -> Any:
    """A model's sizes by its name, or by the folder that it is in."""
    if not Path(model).is_dir():
        return get_architecture(model)
    from transformers import AutoConfig

    return get_architecture(AutoConfig.from_pretrained(model))


def _tokens(made: Any, batch: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(made.config.vocab_size, (batch, count), generator=generator)


def measure(model: str, precision: str, speed: float) -> list[dict[str, Any]]:
    """All rows of one precision."""
    made = prepared(model, precision)
    rows = held(made, model, precision)
    rows.append(decode(made, model, precision, speed, widths(model, precision)))
    if precision in SCHEMES:
        use_kernels(made)
        rows.append(decode(made, model, precision, speed, kernel_widths(made), "decode_kernels"))
    del made
    free_memory()
    return [*rows, grown(model, precision)]


def main() -> None:
    """Measure every precision."""
    torch.set_num_threads(THREADS)
    speed = bandwidth()
    rows: list[dict[str, Any]] = []
    for precision in PRECISIONS:
        rows += measure(MODEL, precision, speed)
        for one in rows:
            if one["precision"] == precision:
                print(one, flush=True)
    save(
        "memory",
        rows,
        COMMAND,
        model=MODEL,
        threads=THREADS,
        bandwidth=round(speed),
        processes=PROCESSES,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["growth"]:
        torch.set_num_threads(THREADS)
        print(growth(*sys.argv[2:]))
    else:
        main()
