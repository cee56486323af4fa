"""torchao: INT4 weights in the kernel that it has for CPUs, and INT8 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "torchao"
REQUIREMENTS = (
    "torchao==0.18.0",
    "transformers==5.23.0",
    "safetensors==0.8.0",
    "numpy==2.2.6",
    "accelerate==1.15.0",
)
_COMMON = {
    "install": "pip install torchao transformers",
    "needs": "NVIDIA, AMD and Intel GPUs, x86 and Arm CPUs; which formats run differs among them",
    "packages": ("torchao", "transformers", "torch"),
}
ROWS: dict[str, dict[str, Any]] = {
    "torchao-int8": {"title": "torchao, INT8 weights", "bits": 8, **_COMMON},
    "torchao-int4": {
        "title": "torchao, INT4 weights",
        "bits": 4,
        "group": 64,
        **_COMMON,
        "state": "Its INT4 layout for CPUs is imported from torchao.prototype in this version.",
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize and save."""
    (int8 if row == "torchao-int8" else int4)(model, folder)


def int8(model: Path, folder: Path) -> None:
    """One scale an output."""
    # lines of torchao-int8
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import AutoModelForCausalLM, TorchAoConfig

    config = TorchAoConfig(Int8WeightOnlyConfig())
    quantized = AutoModelForCausalLM.from_pretrained(
        model, dtype="bfloat16", quantization_config=config
    )
    quantized.save_pretrained(folder)
    # end


def int4(model: Path, folder: Path) -> None:
    """The layout for CPUs, which the library still counts among its prototypes."""
    # lines of torchao-int4
    import torch
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import quantize_
    from transformers import AutoModelForCausalLM

    quantized = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    quantize_(quantized.model, PrototypeInt4WeightOnlyConfig(group_size=64))
    torch.save(quantized.state_dict(), folder / "model.pt")
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel

    if row == "torchao-int8":
        return TransformersModel(int8_loaded(folder))
    return TransformersModel(int4_loaded(folder, model))


def int8_loaded(folder: Path) -> Any:
    """The model of eight bits."""
    from transformers import AutoModelForCausalLM

    # lines of torchao-int8
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    # end
    return loaded  # noqa: RET504 - the lines stand as a reader writes them


def int4_loaded(folder: Path, model: Path) -> Any:
    """The model of four bits: its layout is one that transformers can't save."""
    import torch
    from torchao.prototype.quantization.int4 import Int4OpaqueTensor
    from transformers import AutoModelForCausalLM

    # lines of torchao-int4
    torch.serialization.add_safe_globals([Int4OpaqueTensor])
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    loaded.load_state_dict(torch.load(folder / "model.pt"), assign=True)
    # end
    return loaded
