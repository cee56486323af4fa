"""bitsandbytes under transformers: LLM.int8() and NF4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = ""  # the course's own
REQUIREMENTS = ()
_COMMON = {
    "install": "pip install transformers accelerate bitsandbytes",
    "needs": "NVIDIA, AMD and Intel GPUs; x86 and Arm CPUs",
    "packages": ("bitsandbytes", "transformers", "torch"),
}
ROWS: dict[str, dict[str, Any]] = {
    "bitsandbytes-int8": {
        "title": "transformers + bitsandbytes, LLM.int8()",
        "bits": 8,
        **_COMMON,
    },
    "bitsandbytes-nf4": {
        "title": "transformers + bitsandbytes, NF4 with double quantization",
        "bits": 4,
        "group": 64,
        **_COMMON,
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize while loading, and save."""
    (int8 if row == "bitsandbytes-int8" else nf4)(model, folder)


def int8(model: Path, folder: Path) -> None:
    """Eight bits; columns with outliers stay in 16."""
    # lines of bitsandbytes-int8
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_8bit=True)
    quantized = AutoModelForCausalLM.from_pretrained(model, quantization_config=config)
    quantized.save_pretrained(folder)
    # end


def nf4(model: Path, folder: Path) -> None:
    """Four bits, whose scales have eight."""
    # lines of bitsandbytes-nf4
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    quantized = AutoModelForCausalLM.from_pretrained(
        model, quantization_config=config, dtype=torch.bfloat16
    )
    quantized.save_pretrained(folder)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel
    from transformers import AutoModelForCausalLM

    # lines of bitsandbytes-int8 bitsandbytes-nf4
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    # end
    return TransformersModel(loaded)
