"""Tokens a second of smollm2-135m, one at a time, in torch and in OpenVINO; prints rows as JSON.

Both read the same cache as inputs and give it back as outputs, token by token, on one thread. All
take turns, five rounds of sixteen tokens behind eight; medians. OpenVINO in FP32 is left out: this
model's float layers end in a floating-point exception of OpenVINO 2026.4's on one thread.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import nncf
import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import DynamicLayer

PROMPT, TOKENS, ROUNDS = 8, 16, 5
MODES = {"INT8": (nncf.CompressWeightsMode.INT8_ASYM, None),
         "INT4": (nncf.CompressWeightsMode.INT4_ASYM, 64)}  # fmt: skip


class Step(nn.Module):
    """One token of a model: its cache goes in and comes out as plain tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        """Logits, then keys and values of each layer."""
        past = DynamicCache()
        for keys, values in zip(cache[::2], cache[1::2], strict=True):
            layer = DynamicLayer()  # filled by hand: its own way starts from an empty tensor
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            past.layers.append(layer)
        logits = self.model(token, past_key_values=past, use_cache=True).logits
        return logits, *(part for layer in past.layers for part in (layer.keys, layer.values))


def load(folder: str, dtype: torch.dtype) -> nn.Module:
    """The model in a float type."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def first_cache(model: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """The cache of a prompt of fixed tokens."""
    tokens = torch.arange(100, 100 + PROMPT)[None]
    with torch.inference_mode():
        past = model(tokens, use_cache=True).past_key_values
    return [part.to(dtype).clone() for layer in past.layers for part in (layer.keys, layer.values)]


def with_torch(folder: str, dtype: torch.dtype) -> Callable[[], list[int]]:
    """A call that writes ``TOKENS`` tokens."""
    model = load(folder, dtype)
    step, start = Step(model), first_cache(model, dtype)

    def write() -> list[int]:
        token, cache, said = 1, start, []
        with torch.inference_mode():
            for _ in range(TOKENS):
                logits, *cache = step(torch.tensor([[token]]), *cache)
                token = int(logits[0, -1].argmax())
                said.append(token)
        return said

    return write


def with_openvino(folder: str, precision: str) -> Callable[[], list[int]]:
    """The same, by a model converted and compressed."""
    model = load(folder, torch.float32)
    start = first_cache(model, torch.float32)
    example = (torch.tensor([[1]]), *start)
    heads, size = start[0].shape[1], start[0].shape[3]
    shapes = [ov.PartialShape([1, 1]), *[ov.PartialShape([1, heads, -1, size]) for _ in start]]
    converted = ov.convert_model(Step(model), example_input=example, input=shapes)
    mode, group = MODES[precision]
    more = {"group_size": group, "ratio": 1.0} if group else {}
    converted = nncf.compress_weights(converted, mode=mode, **more)
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.compile_model(converted, "CPU", settings)
    cache_before = [part.numpy() for part in start]

    def write() -> list[int]:
        token, cache, said = 1, cache_before, []
        for _ in range(TOKENS):
            found = compiled([np.array([[token]]), *cache])
            outputs = [np.array(found[i]) for i in range(len(cache) + 1)]
            token = int(outputs[0][0, -1].argmax())
            cache = outputs[1:]
            said.append(token)
        return said

    return write


def main(folder: str) -> None:
    """Measure all, and print."""
    torch.set_num_threads(1)
    contenders = {
        ("torch", "FP32"): with_torch(folder, torch.float32),
        ("torch", "BF16"): with_torch(folder, torch.bfloat16),
        ("openvino", "INT8"): with_openvino(folder, "INT8"),
        ("openvino", "INT4"): with_openvino(folder, "INT4"),
    }
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in contenders}
    said = {name: write() for name, write in contenders.items()}  # and warms up
    for _ in range(ROUNDS):
        for name, write in contenders.items():
            begin = time.perf_counter()
            write()
            seconds[name].append(time.perf_counter() - begin)
    exact = said["torch", "FP32"]
    if said["openvino", "INT8"][:2] != exact[:2]:  # eight bits change hardly a first choice
        raise ValueError(f"OpenVINO in INT8 wrote {said['openvino', 'INT8']}, torch {exact}")
    rows = [
        {
            "what": "speed",
            "tool": tool,
            "precision": precision,
            "version": ov.__version__ if tool == "openvino" else torch.__version__,
            "tokens_per_second": round(TOKENS / statistics.median(times), 2),
            "same_tokens": sum(a == b for a, b in zip(said[tool, precision], exact, strict=True)),
            "of": TOKENS,
        }
        for (tool, precision), times in seconds.items()
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1])
