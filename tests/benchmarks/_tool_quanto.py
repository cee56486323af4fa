"""optimum-quanto: INT8 and INT4 weights, rounded to nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "quanto"
REQUIREMENTS = (
    "optimum-quanto==0.2.7",
    "transformers==5.23.0",
    "safetensors==0.8.0",
    "numpy==2.2.6",
    "accelerate==1.15.0",
    "setuptools==84.2.1",
    "ninja==1.13.2",
)
_COMMON = {
    "install": "pip install optimum-quanto transformers accelerate",
    "needs": "NVIDIA GPUs, Apple silicon, any CPU (a C++ compiler for its unpacking)",
    "packages": ("optimum-quanto", "transformers", "torch"),
}
ROWS: dict[str, dict[str, Any]] = {
    "quanto-int8": {"title": "optimum-quanto, INT8", "bits": 8, **_COMMON},
    "quanto-int4": {
        "title": "optimum-quanto, INT4",
        "bits": 4,
        "group": 96,
        **_COMMON,
        "state": "It chooses groups itself: 96 weights here, 128 in the layers of 1,536 inputs.",
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize and save."""
    (int8 if row == "quanto-int8" else int4)(model, folder)


def int8(model: Path, folder: Path) -> None:
    """One scale an output."""
    # lines of quanto-int8
    from optimum.quanto import QuantizedModelForCausalLM, qint8
    from transformers import AutoModelForCausalLM

    original = AutoModelForCausalLM.from_pretrained(model)
    quantized = QuantizedModelForCausalLM.quantize(original, weights=qint8, exclude="lm_head")
    quantized.save_pretrained(folder)
    # end


def int4(model: Path, folder: Path) -> None:
    """Groups that the library chooses: from 128 down in steps of 32, until one divides a row."""
    # lines of quanto-int4
    from optimum.quanto import QuantizedModelForCausalLM, qint4
    from transformers import AutoModelForCausalLM

    original = AutoModelForCausalLM.from_pretrained(model)
    quantized = QuantizedModelForCausalLM.quantize(original, weights=qint4, exclude="lm_head")
    quantized.save_pretrained(folder)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel

    # lines of quanto-int8 quanto-int4
    from optimum.quanto import QuantizedModelForCausalLM

    loaded = QuantizedModelForCausalLM.from_pretrained(folder)
    # end
    return TransformersModel(loaded._wrapped)
