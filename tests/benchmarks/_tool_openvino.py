"""OpenVINO, whose weights NNCF compresses: INT8, and INT4 in groups of 64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "openvino"
REQUIREMENTS = (
    *("openvino==2026.4.1", "nncf==3.4.0", "onnxruntime==1.32.0", "transformers==5.23.0"),
    *("safetensors==0.8.0", "numpy==2.2.6", "gguf==0.19.0", "onnx"),
)
COMMON: dict[str, Any] = {
    "install": "pip install openvino nncf",
    "needs": "CPUs (x86, Arm); GPUs and NPUs of Intel",
    "packages": ("openvino", "nncf", "torch", "transformers"),
    "notes": "The lines lack the wrapper that hands the cache over as tensors (`_toolbox_step.py`, "
    "20 lines); optimum-intel brings its own, for versions of transformers below 5.6. Embedding "
    "and head are INT8. On a CPU with BF16 instructions OpenVINO computes in BF16 by default.",
}
ROWS: dict[str, dict[str, Any]] = {
    "openvino-int8": {**COMMON, "title": "OpenVINO + NNCF, INT8", "bits": 8},
    "openvino-int4": {**COMMON, "title": "OpenVINO + NNCF, INT4", "bits": 4, "group": 64},
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Convert, compress, save."""
    from _toolbox_openvino import step_and_shapes

    step, example, shapes = step_and_shapes(model)
    # lines of openvino-int8 openvino-int4
    import nncf
    import openvino as ov

    converted = ov.convert_model(step, example_input=example, input=shapes)
    # end
    if row == "openvino-int8":
        # lines of openvino-int8
        nncf.compress_weights(converted)  # to INT8 by default
        # end
    else:
        # lines of openvino-int4
        int4 = nncf.CompressWeightsMode.INT4_ASYM
        nncf.compress_weights(converted, mode=int4, group_size=64, ratio=1.0)
        # end
    file = folder / "model.xml"
    # lines of openvino-int8 openvino-int4
    ov.save_model(converted, file)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model, compiled for this CPU."""
    from _toolbox_openvino import OpenvinoModel
    from _toolbox_worker import THREADS

    file, settings = folder / "model.xml", {"INFERENCE_NUM_THREADS": THREADS}
    import openvino as ov

    # lines of openvino-int8 openvino-int4
    compiled = ov.compile_model(file, "CPU", settings)
    # end
    return OpenvinoModel(compiled)
