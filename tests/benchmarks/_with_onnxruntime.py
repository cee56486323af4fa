"""A linear layer as ONNX with Q/DQ nodes, what TensorRT builds its INT8 engines from.

Without a GPU no engine is built; ONNX Runtime runs the same file on the CPU, beside the layer in
FP32. Weights and inputs are symmetric, as TensorRT asks for: weights a scale an output, inputs one.
Prints rows as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

LAYER = "model.layers.0.mlp.gate_proj.weight"
TOKENS, ROUNDS = 128, 31
LIMIT = 127


def graph(weight: np.ndarray, scale: float | None) -> onnx.ModelProto:
    """The layer: in FP32, or with Q/DQ nodes where the inputs' scale is given."""
    inputs, outputs = weight.shape
    nodes, constants = [], []
    if scale is None:
        constants.append(numpy_helper.from_array(weight, "w"))
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    else:
        steps = (np.abs(weight).max(0) / LIMIT).astype(np.float32)
        codes = np.rint(weight / steps).clip(-LIMIT, LIMIT).astype(np.int8)
        constants += [
            numpy_helper.from_array(codes, "codes"),
            numpy_helper.from_array(steps, "w_scale"),
            numpy_helper.from_array(np.zeros(outputs, np.int8), "w_zero"),
            numpy_helper.from_array(np.array(scale, np.float32), "x_scale"),
            numpy_helper.from_array(np.array(0, np.int8), "x_zero"),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "x_scale", "x_zero"], ["xq"]),
            helper.make_node("DequantizeLinear", ["codes", "w_scale", "w_zero"], ["wq"], axis=1),
            helper.make_node("MatMul", ["xq", "wq"], ["y"]),
        ]
    made = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [TOKENS, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [TOKENS, outputs])],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def main(folder: str) -> None:
    """Build, run, compare, print."""
    weights = load_file(next(Path(folder).glob("*.safetensors")))
    weight = np.ascontiguousarray(weights[LAYER].astype(np.float32).T)
    x = np.random.default_rng(0).standard_normal((TOKENS, weight.shape[0])).astype(np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    models = {"FP32": graph(weight, None), "INT8": graph(weight, float(np.abs(x).max() / LIMIT))}
    sessions = {
        name: ort.InferenceSession(model.SerializeToString(), options)
        for name, model in models.items()
    }
    exact = x @ weight
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            begin = time.perf_counter()
            session.run(None, {"x": x})
            seconds[name].append(time.perf_counter() - begin)
    rows = []
    for name, session in sessions.items():
        (result,) = session.run(None, {"x": x})
        rows.append(
            {
                "what": "qdq",
                "tool": f"onnxruntime {ort.__version__}",
                "precision": name,
                "operators": [node.op_type for node in models[name].graph.node],
                "tokens": TOKENS,
                "milliseconds": round(1000 * statistics.median(seconds[name]), 3),
                "error": round(float(np.linalg.norm(result - exact) / np.linalg.norm(exact)), 5),
                "bytes": models[name].ByteSize(),
            }
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1])
