"""Whether an ONNX model with Q/DQ nodes is what TensorRT takes, and computes what it should.

Two checks, each of which raises where it fails: on the graph, that each product with a weight reads
symmetric INT8 through Q/DQ nodes on both sides; on logits, that ONNX Runtime, with its own fusions
off, gives what the model of torch gives when inputs and weights are rounded on the same grids. The
logits compared are those of single tokens, each a text of its own. Behind a longer text a sum in
another order moves some input over a step, steps are coarse here, and both go different ways: how
far, and how far torch itself goes when its embeddings are moved by 1e-5, is told and not judged.

Source of TensorRT's rules: its developer guide, "Working with Quantized Types".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

LEAST, GREATEST = -128, 127
TOLERANCE = 1e-3  # of the logits' length, for the median of the single tokens
MOVED = 1e-5  # of the embeddings, at random


@dataclass(frozen=True)
class Product:
    """A product with a weight: codes int8 ``[in, out]``, a scale a column, one for the inputs."""

    node: str
    codes: np.ndarray
    weight_scales: np.ndarray
    input_scale: float


def products(model: onnx.ModelProto) -> list[Product]:
    """The products with a weight, in the graph's order.

    Raises:
        ValueError: for one that is not symmetric INT8 on both sides, or where there are none.
    """
    constants = {one.name: one for one in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        if node.input[1] in constants:
            raise ValueError(f"node {node.name!r} multiplies with a weight that is not quantized")
        weight = makers.get(node.input[1])
        if weight is None or weight.op_type != "DequantizeLinear" or not _constant(weight, makers):
            continue  # a product of attention
        inputs = makers.get(node.input[0])
        if inputs is None or inputs.op_type != "DequantizeLinear":
            raise ValueError(f"node {node.name!r} has inputs without Q/DQ nodes")
        rounding = makers[inputs.input[0]]
        if rounding.op_type != "QuantizeLinear" or rounding.input[1:] != inputs.input[1:]:
            raise ValueError(f"node {node.name!r} has inputs whose Q and DQ nodes differ")
        codes, weight_scales = (_array(constants, name) for name in weight.input[:2])
        for name, side in ((weight, "weights"), (inputs, "inputs")):
            zero_point = _array(constants, name.input[2])
            if zero_point.dtype != np.int8 or zero_point.any():
                raise ValueError(f"node {node.name!r} has {side} that are not symmetric INT8")
        found.append(
            Product(node.name, codes, weight_scales, _array(constants, inputs.input[1]).item())
        )
    if not found:
        raise ValueError("the model has no product with a quantized weight")
    return found


def matched(found: list[Product], weights: dict[str, np.ndarray]) -> dict[str, Product]:
    """Which product is which layer's: its codes are the weight's, to half a step.

    Args:
        found: the products.
        weights: float32 ``[out, in]`` of each layer, by name.

    Raises:
        ValueError: for a product or a layer that has no other side.
    """
    left, pairs = dict(weights), {}
    for product in found:
        for name, weight in left.items():
            if product.codes.shape == weight.shape[::-1] and _rounds(product, weight):
                pairs[name] = product
                del left[name]
                break
        else:
            raise ValueError(f"node {product.node!r} holds no layer's weight, to half a step")
    if left:
        raise ValueError(f"layer {next(iter(left))!r} has no product in the model")
    return pairs


def round_on_grids(model: Any, pairs: dict[str, Product]) -> None:
    """Have a model of torch compute as the ONNX model should: both sides rounded, in floats."""
    import torch

    def rounding(scale: float) -> Any:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
            return (inputs[0] / scale).round().clamp(LEAST, GREATEST) * scale

        return hook

    for name, product in pairs.items():
        layer = model.get_submodule(name)
        floats = product.codes.astype(np.float32) * product.weight_scales
        layer.weight = torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(floats.T)))
        layer.register_forward_pre_hook(rounding(product.input_scale))


def verified(file: Path, model: Path, tokens: np.ndarray) -> dict[str, Any]:
    """Check an ONNX file against the model of torch on a row of tokens; what was found.

    Raises:
        ValueError: where the graph or the logits are not as they should be.
    """
    import onnx
    import onnxruntime
    import torch
    from _toolbox_onnx import OnnxModel, session_options
    from _toolbox_step import step_of

    loaded = onnx.load(file)
    found = products(loaded)
    copy = step_of(model).model
    layers = {name: one for name, one in copy.named_modules() if isinstance(one, torch.nn.Linear)}
    pairs = matched(found, {name: one.weight.detach().numpy() for name, one in layers.items()})
    text, singles = torch.from_numpy(tokens)[None], torch.from_numpy(tokens)[:, None]
    with torch.inference_mode():
        plain = copy(text).logits[0].numpy()
        round_on_grids(copy, pairs)
        should, alone = copy(text).logits[0].numpy(), copy(singles).logits[:, 0].numpy()
        noise = torch.randn(*text.shape, 1, generator=torch.Generator().manual_seed(0))
        embedded = copy.get_input_embeddings()(text) * (1 + MOVED * noise)
        moved = copy(inputs_embeds=embedded).logits[0].numpy()
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    runner = OnnxModel(onnxruntime.InferenceSession(file, options))
    errors = [
        distance(runner.logits(one[None])[0], truth)
        for one, truth in zip(tokens, alone, strict=True)
    ]
    error = float(np.median(errors))
    if not error <= TOLERANCE:
        raise ValueError(f"logits are off by {error:.3g} of their length, more than {TOLERANCE}")
    return {
        "qdq_products": len(found),
        "qdq_logits_error": float(f"{error:.3g}"),
        "qdq_same": round(float(np.mean(np.array(errors) <= TOLERANCE)), 4),
        "qdq_text_error": round(distance(runner.logits(tokens), should), 4),
        "moved_text_error": round(distance(moved, should), 4),
        "rounding_text_error": round(distance(should, plain), 4),
        "qdq_tokens": len(tokens),
    }


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Length of the difference, over the truth's."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def _rounds(product: Product, weight: np.ndarray) -> bool:
    for rows in (slice(0, 8), slice(None)):  # most are told apart by their first rows
        floats = product.codes[rows].astype(np.float32) * product.weight_scales
        if np.abs(floats - weight.T[rows]).max() > 0.501 * product.weight_scales.max():
            return False
    return True


def _array(constants: dict[str, onnx.TensorProto], name: str) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(constants[name])


def _constant(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> bool:
    return node.input[0] not in makers
