"""The model as it is, in transformers: FP32, which all are compared with, and BF16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = ""  # the course's own
REQUIREMENTS = ()
ROWS: dict[str, dict[str, Any]] = {
    "torch-fp32": {
        "title": "transformers, FP32",
        "install": "pip install transformers torch",
        "needs": "any CPU; NVIDIA, AMD and Intel GPUs, Apple silicon",
        "packages": ("transformers", "torch"),
        "bits": 32,
    },
    "torch-bf16": {
        "title": "transformers, BF16",
        "install": "pip install transformers torch",
        "needs": "any CPU, fast on those with BF16 instructions; GPUs of today",
        "packages": ("transformers", "torch"),
        "bits": 16,
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Save the model in its type."""
    if row == "torch-fp32":
        fp32(model).save_pretrained(folder)
    else:
        bf16(model, folder)


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel

    return TransformersModel(fp32(folder) if row == "torch-fp32" else bf16_loaded(folder))


def fp32(model: Path) -> Any:
    """The model in FP32."""
    # lines: torch-fp32
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    # end
    return loaded


def bf16(model: Path, folder: Path) -> None:
    """The model in BF16, saved."""
    # lines: torch-bf16
    from transformers import AutoModelForCausalLM

    half = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    half.save_pretrained(folder)
    # end


def bf16_loaded(folder: Path) -> Any:
    """The model in BF16, loaded."""
    from transformers import AutoModelForCausalLM

    # lines: torch-bf16
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    # end
    return loaded
