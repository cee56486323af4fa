"""ONNX Runtime: INT8 weights with inputs rounded as they come, or on a grid fitted beforehand."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT = "onnxruntime"
REQUIREMENTS = (
    *("onnxruntime==1.32.0", "onnx==1.23.2", "onnxscript==0.7.2"),
    *("transformers==5.23.0", "safetensors==0.8.0", "numpy==2.2.6"),
)
ROWS_READ = 8  # of the calibration split
COMMON: dict[str, Any] = {
    "install": "pip install onnxruntime onnx onnxscript",
    "needs": "any CPU (x86, Arm); other providers run the same file on GPUs and NPUs",
    "packages": ("onnxruntime", "onnx", "onnxscript", "torch", "transformers"),
    "bits": 8,
}
WRAPPER = (
    "The lines lack the wrapper that hands the cache over as tensors (`_toolbox_step.py`, 20 lines)"
)
ROWS: dict[str, dict[str, Any]] = {
    "onnxruntime-dynamic": {
        **COMMON,
        "title": "ONNX Runtime, dynamic INT8",
        "notes": f"{WRAPPER}. The inputs of a layer share one 8-bit grid a call, so that a token's "
        "logits depend on which others are in the call.",
        "agree": 0.5,  # of tokens, between decoding and one pass over all: see the notes
    },
    "onnxruntime-static": {
        **COMMON,
        "title": "ONNX Runtime, static INT8",
        "notes": f"{WRAPPER}, and a reader of calibration rows (12 lines; {ROWS_READ} rows of 512 "
        "tokens). Layers alone are quantized, not attention's own products; the embedding stays "
        "in FP32.",
        "agree": 0.7,  # sums in another order move inputs over coarse steps
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Export, fold constants, quantize."""
    from _toolbox_onnx import prepared, step_and_inputs

    quantized = folder / "model.onnx"
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        float32 = Path(temporary) / "float32.onnx"
        step, inputs, shapes = step_and_inputs(model)
        # lines of onnxruntime-dynamic onnxruntime-static
        import torch

        torch.onnx.export(step, inputs, float32, dynamic_shapes=shapes, external_data=True)
        # end
        plain = prepared(float32, Path(temporary))
        if row == "onnxruntime-dynamic":
            dynamic(plain, quantized)
        else:
            static(plain, quantized, calibration[:ROWS_READ], model)


def dynamic(plain: Path, quantized: Path) -> None:
    """Weights in INT8, a grid a column; the inputs' grid is found at each call."""
    # lines of onnxruntime-dynamic
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(plain, quantized, per_channel=True, use_external_data_format=True)
    # end


def static(plain: Path, quantized: Path, tokens: Any, model: Path) -> None:
    """The same, with a grid for each layer's inputs, from the range they take on rows of text."""
    from _toolbox_onnx import CalibrationRows, linear_nodes

    layers, rows = linear_nodes(plain), CalibrationRows(tokens, plain, model)
    inputs_alone = {"OpTypesToExcludeOutputQuantization": ["MatMul"]}
    # lines of onnxruntime-static
    from onnxruntime.quantization import QuantType, quantize_static

    options = {"per_channel": True, "nodes_to_quantize": layers, "extra_options": inputs_alone}
    options["activation_type"] = QuantType.QUInt8  # with INT8, most layers run in FP32
    quantize_static(plain, quantized, rows, use_external_data_format=True, **options)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """A session."""
    from _toolbox_onnx import OnnxModel, session_options

    quantized, options = folder / "model.onnx", session_options()
    # lines of onnxruntime-dynamic onnxruntime-static
    import onnxruntime

    session = onnxruntime.InferenceSession(quantized, options)
    # end
    return OnnxModel(session)
