"""The course's own package: INT8 and INT4, decoded by the kernels that torch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = ""  # the course's own
REQUIREMENTS = ()
_COMMON = {
    "install": "pip install qlearn (this repository)",
    "needs": "x86 and Arm CPUs",
    "packages": ("qlearn", "transformers", "torch"),
    "published": False,  # no registry has it
}
ROWS: dict[str, dict[str, Any]] = {
    "qlearn-int8": {"title": "qlearn, INT8, one scale an output", "bits": 8, **_COMMON},
    "qlearn-int4": {"title": "qlearn, GPTQ INT4", "bits": 4, "group": 64, **_COMMON},
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize and save."""
    if row == "qlearn-int8":
        int8(model, folder)
    else:
        int4(model, calibration, folder)


def int8(model: Path, folder: Path) -> None:
    """Round to nearest."""
    # lines of qlearn-int8
    from qlearn import QuantScheme, load_model, quantize_model, save_quantized

    quantized = load_model(str(model))
    quantize_model(quantized, "rtn", QuantScheme(8, symmetric=True, group_size=None))
    save_quantized(quantized, folder)
    # end


def int4(model: Path, calibration: Any, folder: Path) -> None:
    """GPTQ by calibration text."""
    import torch

    tokens = torch.from_numpy(calibration)
    # lines of qlearn-int4
    from qlearn import QuantScheme, load_model, quantize_model, save_quantized

    quantized = load_model(str(model))
    quantize_model(quantized, "gptq", QuantScheme(4, symmetric=False, group_size=64), tokens)
    save_quantized(quantized, folder, format="gptq_v2")
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved, with kernels in."""
    from _toolbox_transformers import TransformersModel

    # lines of qlearn-int8 qlearn-int4
    from qlearn import load_quantized
    from qlearn.models.layers import fuse_layers, use_kernels

    loaded = load_quantized(folder)
    fuse_layers(loaded)
    use_kernels(loaded, round_head=True)
    # end
    return TransformersModel(loaded)
