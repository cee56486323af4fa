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
    (fp32 if row == "torch-fp32" else bf16)(model, folder)


def fp32(model: Path, folder: Path) -> None:
    """The model in FP32, saved."""
    # lines of torch-fp32
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    whole.save_pretrained(folder)
    # end


def bf16(model: Path, folder: Path) -> None:
    """The model in BF16, saved."""
    # lines of torch-bf16
    from transformers import AutoModelForCausalLM

    half = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    half.save_pretrained(folder)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel
    from transformers import AutoModelForCausalLM

    # lines of torch-fp32 torch-bf16
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    # end
    return TransformersModel(loaded)
