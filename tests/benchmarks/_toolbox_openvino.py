"""A model compiled by OpenVINO as the tools table measures it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from _toolbox_step import cache_shape, example, step_of


def step_and_shapes(model: Path) -> tuple[Any, tuple[Any, ...], list[ov.PartialShape]]:
    """A model of plain tensors, inputs to trace it with, and shapes with free axes as -1."""
    step = step_of(model)
    inputs = example(step.model.config)
    _, heads, _, size = cache_shape(step.model.config)
    cache = [ov.PartialShape([-1, heads, -1, size]) for _ in inputs[1:]]
    return step, inputs, [ov.PartialShape([-1, -1]), *cache]


class OpenvinoModel:
    """Logits and greedy decoding of a compiled model whose cache is inputs and outputs."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.request = compiled.create_infer_request()

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """int64 ``[length]`` to float32 ``[length, vocabulary]``."""
        return self._run(tokens[None], self._empty(1))[0][0]

    def decoder(self, prompt: np.ndarray) -> Callable[[], np.ndarray]:
        """A function that writes a token for each sequence of ``prompt`` ``[batch, length]``."""
        _, *cache = self._run(prompt[:, :-1], self._empty(len(prompt)))
        newest = prompt[:, -1:]

        def step() -> np.ndarray:
            nonlocal newest, cache
            logits, *cache = self._run(newest, cache)
            newest = logits[:, -1].argmax(-1)[:, None]
            return newest[:, 0]

        return step

    def _run(self, tokens: np.ndarray, cache: list[np.ndarray]) -> list[np.ndarray]:
        """All outputs, copied: the next call writes over OpenVINO's own."""
        self.request.infer([np.ascontiguousarray(tokens), *cache])
        return [np.array(output.data) for output in self.request.output_tensors]

    def _empty(self, batch: int) -> list[np.ndarray]:
        """Keys and values of no token yet."""
        shapes = [one.partial_shape for one in self.compiled.inputs[1:]]
        return [
            np.zeros((batch, shape[1].get_length(), 0, shape[3].get_length()), np.float32)
            for shape in shapes
        ]
