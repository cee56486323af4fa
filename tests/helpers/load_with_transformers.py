"""Load folders as a user of transformers does, and save each one's logits.

Run as `python load_with_transformers.py TOKENS FOLDER...` in a process of its own: GPTQModel starts
threads and changes settings of torch and of the environment when it is imported.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def main(tokens_file, *folders):
    tokens = load_file(tokens_file)["tokens"]
    for folder in map(Path, folders):
        model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        with torch.no_grad():
            logits = model(tokens).logits.float()
        save_file({"logits": logits}, folder / "logits.bin")
        kinds = {name: type(module).__name__ for name, module in model.named_modules()}
        facts = {
            "missing": sorted(report["missing_keys"]),
            "unexpected": sorted(report["unexpected_keys"]),
            "kinds": kinds,
            "dtype": str(model.dtype),
            "tied": model.lm_head.weight is model.get_input_embeddings().weight,
        }
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        del model


if __name__ == "__main__":
    main(*sys.argv[1:])
