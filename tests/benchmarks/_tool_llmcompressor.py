"""llm-compressor: GPTQ in the format that vLLM reads; transformers loads it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "llmcompressor"
REQUIREMENTS = ("llmcompressor==0.14.0.1",)
ROWS: dict[str, dict[str, Any]] = {
    "llmcompressor-gptq": {
        "title": "llm-compressor, GPTQ W4A16",
        "install": "pip install llmcompressor",
        "needs": "any CPU to quantize; made for vLLM on NVIDIA and AMD GPUs, TPUs, x86 CPUs",
        "packages": ("llmcompressor", "compressed-tensors", "transformers", "torch"),
        "bits": 4,
        "group": 64,
        "state": "vLLM's own; AutoAWQ, which is deprecated, names it as its heir "
        "(https://github.com/casper-hansen/AutoAWQ).",
    },
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Quantize by calibration text, and save."""
    from datasets import Dataset

    tokens = calibration.tolist()
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in tokens]
    dataset = Dataset.from_list(rows)
    # lines of llmcompressor-gptq
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    weights = {"num_bits": 4, "symmetric": True, "strategy": "group", "group_size": 64}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    recipe = GPTQModifier(config_groups=groups, ignore=["lm_head"])
    quantized = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    oneshot(
        model=quantized,
        dataset=dataset,
        recipe=recipe,
        max_seq_length=512,
        num_calibration_samples=32,
    )
    quantized.save_pretrained(folder, save_compressed=True)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The model saved."""
    from _toolbox_transformers import TransformersModel
    from transformers import AutoModelForCausalLM

    # lines of llmcompressor-gptq
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    # end
    return TransformersModel(loaded)
