"""Each format that we write, loaded by transformers in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from qlearn import (
    QuantScheme,
    load_model,
    load_tokenizer,
    load_tokens,
    quantize_model,
    save_quantized,
)

SYMMETRIC, ASYMMETRIC = QuantScheme(4, True, 64), QuantScheme(4, False, 64)
FORMATS = {
    "gptq": ("rtn", SYMMETRIC),
    "awq": ("rtn", ASYMMETRIC),
    "compressed-tensors": ("rtn", SYMMETRIC),
    "bitsandbytes": ("nf4", None),
}
LOAD = """
import json, sys, time
from transformers import AutoModelForCausalLM
start = time.perf_counter()
try:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
except ImportError as error:
    print(json.dumps({"loads": False, "raises": "ImportError", "message": str(error)}))
else:
    print(json.dumps({"loads": True, "raises": None, "bytes": model.get_memory_footprint()}))
print(time.perf_counter() - start)
"""


def loads() -> list[dict[str, Any]]:
    """A row a format: whether it loads, how long that takes at best, and what its folder says."""
    model = load_model("smollm2-135m")
    text = load_tokens(load_tokenizer("smollm2-135m"))
    took = quantize_model(model, "gptq", ASYMMETRIC, text, progress=False).seconds
    rows = []
    for name, (method, scheme) in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = load_model("smollm2-135m")
            quantize_model(model, method, scheme, progress=False)
            saved = save_quantized(model, Path(folder, "model"), format=name)
            del model
            config = json.loads((saved / "config.json").read_text())["quantization_config"]
            outcome, seconds = min((_load(saved) for _ in range(3)), key=lambda found: found[1])
            size = sum(file.stat().st_size for file in saved.iterdir())
        rows.append(
            {
                "what": "load",
                "format": name,
                "inside": config["quant_method"],
                "file_bytes": size,
                **outcome,
                "seconds": round(seconds, 1),
                "quantize_seconds": round(took, 1),
            }
        )
    return rows


def _load(folder: Path) -> tuple[dict[str, Any], float]:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    outcome, seconds = done.stdout.splitlines()[-2:]
    return json.loads(outcome), float(seconds)
