"""TensorRT: the ONNX model with Q/DQ nodes that it takes, the engine where there is a GPU."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT = "onnxruntime"
REQUIREMENTS = (
    *("onnxruntime==1.32.0", "onnx==1.23.2", "onnxscript==0.7.2"),
    *("transformers==5.23.0", "safetensors==0.8.0", "numpy==2.2.6"),
)
ROWS_READ, CHECKED_TOKENS = 8, 64
MOST_TOKENS, MOST_SEQUENCES = 1024, 8
ROWS: dict[str, dict[str, Any]] = {
    "tensorrt-qdq": {
        "title": "TensorRT, INT8 by Q/DQ nodes",
        "install": "pip install onnxruntime onnx onnxscript, and tensorrt on the GPU's machine",
        "needs": "an NVIDIA GPU, to build the engine and to run it",
        "packages": ("onnxruntime", "onnx", "onnxscript", "torch", "transformers"),
        "registry": "tensorrt",
        "bits": 8,
        "speed": False,
        "agree": 0.7,  # sums in another order move inputs over coarse steps
        "notes": "The model with Q/DQ nodes was made and verified here; its quality is that of "
        "ONNX Runtime's CPU provider. It has no speed: ONNX Runtime's is not TensorRT's. The lines "
        "lack the wrapper of the cache and a reader of calibration rows, as ONNX Runtime's.",
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> dict[str, Any]:
    """Export, put Q/DQ nodes in, verify; then the engine, or why there is none."""
    from _toolbox_onnx import prepared, step_and_inputs
    from _toolbox_qdq import verified

    quantized = folder / "model.onnx"
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        float32 = Path(temporary) / "float32.onnx"
        step, inputs, shapes = step_and_inputs(model)
        # lines of tensorrt-qdq
        import torch

        torch.onnx.export(step, inputs, float32, dynamic_shapes=shapes, external_data=True)
        # end
        with_qdq(prepared(float32, Path(temporary)), quantized, calibration[:ROWS_READ], model)
    found = verified(quantized, model, calibration[-1, :CHECKED_TOKENS])
    reason = why_no_engine()
    if reason is None:
        (folder / "model.plan").write_bytes(engine(quantized))
    return {**found, "engine": "built" if reason is None else f"skipped: {reason}"}


def with_qdq(plain: Path, quantized: Path, tokens: Any, model: Path) -> None:
    """Q/DQ nodes before each layer: symmetric, as TensorRT asks for."""
    from _toolbox_onnx import CalibrationRows, linear_nodes

    layers, rows = linear_nodes(plain), CalibrationRows(tokens, plain, model)
    # lines of tensorrt-qdq
    from onnxruntime.quantization import quantize_static

    symmetric = {"ActivationSymmetric": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}
    options = {"per_channel": True, "nodes_to_quantize": layers, "extra_options": symmetric}
    quantize_static(plain, quantized, rows, use_external_data_format=True, **options)
    # end


def why_no_engine() -> str | None:
    """What is missing to build an engine; ``None``: nothing."""
    if shutil.which("nvidia-smi") is None:
        return "this machine has no NVIDIA GPU (there is no nvidia-smi)"
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed"
    return None


def engine(file: Path) -> bytes:
    """TensorRT's plan for an ONNX model of tokens and a cache, for up to eight sequences.

    Raises:
        ValueError: where TensorRT does not read the file, or builds nothing.
    """
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # Types are those of the Q/DQ nodes; newer versions know no other way and drop the flag.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(file)):
        raise ValueError(f"TensorRT does not read {file.name}: {parser.get_error(0).desc()}")
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        given = network.get_input(i)
        if i == 0:
            sizes = [(1, 1), (1, 1), (MOST_SEQUENCES, MOST_TOKENS)]
        else:
            _, heads, _, size = given.shape
            sizes = [
                (batch, heads, past, size)
                for batch, past in ((1, 0), (1, 64), (MOST_SEQUENCES, MOST_TOKENS))
            ]
        profile.set_shape(given.name, *sizes)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError("TensorRT built no engine; its log says why")
    return bytes(plan)


def load(row: str, folder: Path, model: Path) -> Any:
    """The verified model, in ONNX Runtime's CPU provider."""
    import onnxruntime
    from _toolbox_onnx import OnnxModel, session_options

    return OnnxModel(onnxruntime.InferenceSession(folder / "model.onnx", session_options()))
