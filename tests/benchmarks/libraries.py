"""qlearn's GPTQ and AWQ beside those of the libraries in use: ``results/libraries.json``.

GPTQModel, llm-compressor and qlearn each quantize the same model from the same 32 rows, each in a
process of its own. Seconds are those of quantizing alone; peak memory is the process's. What each
one saved is loaded by transformers and measured on the full evaluation split. llm-compressor wants
other versions and lives in an environment that is made once, in the cache. About an hour on two
cores that do nothing else. With methods as arguments only their rows are measured anew, so that the
rows of one method are always of one run.

    python tests/benchmarks/libraries.py [gptq] [awq] [awq+gptq]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _editorials import Editorials
from _environments import python_with, python_with_loaders
from safetensors.torch import save_file
from torch import Tensor

from qlearn import QuantScheme
from qlearn.measure.evaluate import Remembered, compare
from qlearn.measure.results import load
from qlearn.models.packaged import converted_folder

FOUR, THREE = QuantScheme(4, False, 64), QuantScheme(3, False, 64)
SYMMETRIC = QuantScheme(4, True, 64)
RUNS = [
    *(
        (tool, "gptq", scheme)
        for scheme in (FOUR, SYMMETRIC, THREE)
        for tool in ("qlearn", "gptqmodel", "llmcompressor")
    ),
    *((tool, "awq", FOUR) for tool in ("qlearn", "llmcompressor")),
    ("qlearn", "awq", THREE),
    *(("qlearn", "awq+gptq", scheme) for scheme in (FOUR, THREE)),
]
COMMAND = "python tests/benchmarks/libraries.py"


def quantize(
    python: Path, tool: str, method: str, scheme: QuantScheme, calibration: Tensor, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """Let ``tool`` quantize; the folder of its model, and what it took."""
    wanted = {"bits": scheme.bits, "symmetric": scheme.symmetric, "method": method}
    wanted["model"] = str(converted_folder("smollm2-135m"))
    (folder / "run.json").write_text(json.dumps(wanted))
    save_file({"tokens": calibration.contiguous()}, folder / "tokens.safetensors")
    # Without the first, GPTQModel asks for more workers than there are cores.
    variables = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2", "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).with_name(f"_with_{tool}.py")
    subprocess.run([python, script, folder], env=variables, cwd=folder, check=True)
    took = json.loads((folder / "measured.json").read_text())
    return folder / "model", took


def loaded(folder: Path) -> torch.nn.Module:
    """A saved model in float32, as transformers reads it."""
    from transformers import AutoModelForCausalLM

    config = json.loads((folder / "config.json").read_text())
    if config["quantization_config"]["quant_method"] == "compressed-tensors":
        # Without a kernel for it, a model with zero-points loads only as floats.
        config["quantization_config"]["dequantize"] = True
        (folder / "config.json").write_text(json.dumps(config))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def measure(
    python: Path,
    tool: str,
    method: str,
    scheme: QuantScheme,
    calibration: Tensor,
    reference: Remembered,
    tokens: Tensor,
) -> dict[str, Any]:
    """One row of the file."""
    with tempfile.TemporaryDirectory() as folder:
        model, took = quantize(python, tool, method, scheme, calibration, Path(folder))
        result = compare(loaded(model), reference, tokens)
    return {
        "tool": took["tool"],
        "method": method,
        "scheme": str(scheme),
        "perplexity": round(result.perplexity, 4),
        "kl_divergence": round(result.kl_divergence, 6),
        "top1_agreement": round(result.top1_agreement, 5),
        "seconds": round(took["seconds"], 1),
        "peak_bytes": took["peak_bytes"],
    }


def main() -> None:
    """Measure every run."""
    pythons = {
        "qlearn": Path(sys.executable),
        "gptqmodel": python_with_loaders(),
        "llmcompressor": python_with("llmcompressor", "llmcompressor==0.14.0.1"),
    }
    text = Editorials()
    wanted = sys.argv[1:] or list(dict.fromkeys(method for _, method, _ in RUNS))
    runs = [run for run in RUNS if run[1] in wanted]
    rows = [row for row in load("libraries")["rows"] if row["method"] not in wanted]
    for tool, method, scheme in runs:
        source = text.calibration, text.reference, text.tokens
        rows.append(measure(pythons[tool], tool, method, scheme, *source))
        text.save("libraries", rows, COMMAND)


if __name__ == "__main__":
    main()
