"""lm-evaluation-harness on a task of our own, before and after rounding: ``results/harness.json``.

1,000 movie reviews, negative or positive? smollm2-135m answers in float32 and in INT4; every row
keeps which answers were right, so that models can be compared question by question. The harness
lives in an environment that is made once, in the cache. About a quarter of an hour of one core.

    python tests/benchmarks/harness.py
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
from _environments import ROOT, python_with
from _results import save

from qlearn import (
    QuantScheme,
    copy_for_quantization,
    load_model,
    load_tokenizer,
    load_tokens,
    quantize_model,
)
from qlearn.convert.model import dequantize_model
from qlearn.measure.harness import TASK, TaskResult, paired_difference, run_harness, write_task

COMMAND = "python tests/benchmarks/harness.py"
MODEL = "smollm2-135m"
SCHEMES = {
    "INT4 RTN": ("rtn", QuantScheme(4, False, 64)),
    "INT4 GPTQ": ("gptq", QuantScheme(4, False, 64)),
    "INT3 RTN": ("rtn", QuantScheme(3, False, 64)),
}
NEEDS = ("lm_eval", "transformers", "accelerate", "gguf", "safetensors", "numpy", "tqdm")


def row(precision: str, method: str, scheme: str, result: TaskResult) -> dict[str, Any]:
    """What one model answered; ``right`` holds a 0 or 1 for each question."""
    return {
        "precision": precision,
        "method": method,
        "scheme": scheme,
        "task": TASK,
        "questions": len(result.right),
        "accuracy": round(result.accuracy, 4),
        "standard_error": round(result.standard_error, 5),
        "right": "".join(str(int(each)) for each in result.right),
    }


def beside(row: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """The row with its difference to the float model, paired over the questions."""
    if row is first:
        nothing = ("difference", "difference_standard_error", "unpaired_standard_error")
        return {**row, **dict.fromkeys((*nothing, "lost", "won"))}
    found = paired_difference(*([each == "1" for each in one["right"]] for one in (first, row)))
    return {
        **row,
        "difference": round(found.difference, 4),
        "difference_standard_error": round(found.standard_error, 5),
        "unpaired_standard_error": round(found.unpaired_standard_error, 5),
        "lost": found.lost,
        "won": found.won,
    }


def evaluate(folder: Path) -> list[dict[str, Any]]:
    """Ask every model; runs where the harness is."""
    torch.set_num_threads(1)
    write_task(folder)
    model, tokenizer = load_model(MODEL), load_tokenizer(MODEL)
    rows = [row("FP32", "float32", "float32", run_harness(model, tokenizer, folder))]
    for precision, (method, scheme) in SCHEMES.items():
        copy = copy_for_quantization(model)
        text = load_tokens(tokenizer) if method == "gptq" else None
        quantize_model(copy, method, scheme, text, progress=False)
        result = run_harness(dequantize_model(copy), tokenizer, folder)
        rows.append(row(precision, method, str(scheme), result))
        print({**rows[-1], "right": None}, file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Run the harness in its environment, and keep what it found."""
    python = python_with("lm_eval", "-c", str(ROOT / "constraints.txt"), *NEEDS)
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_DATASETS_CACHE": f"{folder}/datasets",
        }
        subprocess.run([python, __file__, folder], env=variables, check=True)
        found = json.loads((Path(folder) / "rows.json").read_text())
    rows = [beside(each, found["rows"][0]) for each in found["rows"]]
    save("harness", rows, COMMAND, model=MODEL, tool=found["tool"])


def child(folder: Path) -> None:
    """The part that runs where the harness is."""
    from importlib.metadata import version

    content = {"rows": evaluate(folder), "tool": f"lm_eval {version('lm_eval')}"}
    (folder / "rows.json").write_text(json.dumps(content))


if __name__ == "__main__":
    child(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
