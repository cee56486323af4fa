"""GPTQModel: GPTQ and AWQ, quantized and loaded by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "gptqmodel"
REQUIREMENTS = (
    "gptqmodel==7.6.0",
    "optimum==2.3.0",
    "datasets==5.2.0",
    "setuptools==84.2.1",
    "wheel==0.48.0",
    "ninja==1.13.2",
    "transformers==5.23.0",
    "safetensors==0.8.0",
    "numpy==2.2.6",
    "accelerate==1.15.0",
)
_COMMON = {
    "install": "pip install gptqmodel optimum",
    "needs": "NVIDIA, AMD and Intel GPUs, Apple silicon; any CPU, with a C compiler to install",
    "packages": ("gptqmodel", "transformers", "torch"),
    "bits": 4,
    "group": 64,
}
ROWS: dict[str, dict[str, Any]] = {
    "gptqmodel-gptq": {"title": "GPTQModel, GPTQ", **_COMMON},
    "gptqmodel-awq": {
        "title": "GPTQModel, AWQ by one row of text",
        **_COMMON,
        "state": "For those who come from AutoAWQ, which is deprecated and untested since "
        "transformers 4.51 (https://github.com/casper-hansen/AutoAWQ).",
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize by calibration text, and save."""
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in calibration.tolist()]
    (gptq if row == "gptqmodel-gptq" else awq)(str(model), rows, str(folder))


def gptq(model: str, rows: list[dict[str, list[int]]], folder: str) -> None:
    """Each layer's error is spread over the columns still to come."""
    # lines of gptqmodel-gptq
    from gptqmodel import GPTQModel
    from gptqmodel.quantization import GPTQConfig

    config = GPTQConfig(bits=4, group_size=64, sym=False)
    quantized = GPTQModel.load(model, config, device="cpu")
    quantized.quantize(rows, batch_size=1)
    quantized.save(folder)
    # end


def awq(model: str, rows: list[dict[str, list[int]]], folder: str) -> None:
    """Columns that matter are scaled up before rounding.

    Its search takes minutes a row of text on a CPU, so it is given one. Of itself it asks
    for a kernel that needs CUDA, to quantize too; the one in torch is named instead.
    """
    # lines of gptqmodel-awq
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization import AWQConfig

    config = AWQConfig(bits=4, group_size=64, sym=False)
    quantized = GPTQModel.load(model, config, device="cpu")
    quantized.quantize(rows[:1], batch_size=1, backend=BACKEND.AWQ_TORCH)
    quantized.save(folder)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved, with the kernel that the library chooses."""
    from _toolbox_transformers import TransformersModel
    from gptqmodel import GPTQModel

    # lines of gptqmodel-gptq gptqmodel-awq
    loaded = GPTQModel.load(str(folder), device="cpu")
    # end
    return TransformersModel(loaded.model)
