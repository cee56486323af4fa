"""A model as ONNX whose cache is inputs and outputs; ONNX Runtime that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from _toolbox_step import cache_shape, example, step_of
from _toolbox_worker import THREADS
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import AutoConfig


def step_and_inputs(model: Path) -> tuple[torch.nn.Module, tuple[Any, ...], Any]:
    """A model of plain tensors, inputs to export it with, and which axes are free."""
    step = step_of(model)
    inputs = example(step.model.config)
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 1: free}, tuple({0: free, 2: free} for _ in inputs[1:]))
    return step, inputs, shapes


def prepared(float32: Path, folder: Path) -> Path:
    """An exported model with its constants folded, which lets its tied head be quantized too."""
    plain = folder / "prepared.onnx"
    quant_pre_process(float32, plain, skip_symbolic_shape=True, save_as_external_data=True)
    return plain


def linear_nodes(model: Path) -> list[str]:
    """Names of the products with a weight; the others are those of attention."""
    graph = onnx.load(model, load_external_data=False).graph
    return weight_products(graph)


def weight_products(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes ``MatMul`` whose second input is a constant."""
    constants = {constant.name for constant in graph.initializer}
    return [
        node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in constants
    ]


def feeds(session: Any, tokens: np.ndarray, cache: Iterable[Any]) -> dict[str, Any]:
    """A session's inputs by name."""
    names = [one.name for one in session.get_inputs()]
    return dict(zip(names, (tokens, *cache), strict=True))


def empty_cache(session: Any, batch: int) -> list[np.ndarray]:
    """Keys and values of no token yet."""
    shapes = [one.shape for one in session.get_inputs()[1:]]
    return [np.zeros((batch, shape[1], 0, shape[3]), np.float32) for shape in shapes]


class CalibrationRows(CalibrationDataReader):
    """Rows of tokens ``[rows, length]``, one at a time, each behind an empty cache."""

    def __init__(self, tokens: np.ndarray, file: Path, model: Path) -> None:
        names = [one.name for one in onnx.load(file, load_external_data=False).graph.input]
        cache = np.zeros(cache_shape(AutoConfig.from_pretrained(model)), np.float32)
        self.rows = iter({names[0]: row[None], **dict.fromkeys(names[1:], cache)} for row in tokens)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next row's inputs."""
        return next(self.rows, None)


class OnnxModel:
    """Logits and greedy decoding of a model in a session."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """int64 ``[length]`` to float32 ``[length, vocabulary]``."""
        cache = empty_cache(self.session, 1)
        name = self.session.get_outputs()[0].name
        (logits,) = self.session.run([name], feeds(self.session, tokens[None], cache))
        return logits[0]

    def decoder(self, prompt: np.ndarray) -> Callable[[], np.ndarray]:
        """A function that writes a token for each sequence of ``prompt`` ``[batch, length]``."""
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        # An empty cache can't be one of ONNX Runtime's own values, so the prompt goes in as numpy.
        first = feeds(self.session, prompt[:, :-1], empty_cache(self.session, len(prompt)))
        cache = [value(part) for part in self.session.run(None, first)[1:]]
        newest = prompt[:, -1:]

        def step() -> np.ndarray:
            nonlocal newest, cache
            given = feeds(self.session, value(np.ascontiguousarray(newest)), cache)
            logits, *cache = self.session.run_with_ort_values(None, given)  # nothing is copied
            newest = logits.numpy()[:, -1].argmax(-1)[:, None]
            return newest[:, 0]

        return step


def session_options() -> Any:
    """Two threads, as everybody has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return options
