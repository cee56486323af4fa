"""Tools tried, one small measurement a claim: ``results/tools.json``.

Each part rewrites its own rows and leaves the others. Parts that need libraries which the course's
environment lacks run in one that is made once, in the cache. Ten minutes of one core in all.

    python tests/benchmarks/tool_claims.py \\
        [calls packages starts speed qdq gguf load canary qlora trips]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _environments import ROOT, python_with
from _results import save
from _tool_llamacpp import ENVIRONMENT, REQUIREMENTS
from _tools_canary import canary
from _tools_load import loads
from _tools_packages import packages
from _tools_starts import starts
from _tools_weights import gradient, qlora_tensors, round_trips

from qlearn.course.article.call import article_calls, article_folders
from qlearn.measure.results import load
from qlearn.models.packaged import converted_folder

COMMAND = "python tests/benchmarks/tool_claims.py"
NEEDS = ("openvino", "nncf", "onnxruntime", "transformers", "safetensors", "numpy", "gguf")
Row = dict[str, Any]


def calls() -> list[Row]:
    """The article's call, and today's."""
    with article_folders() as folders:
        made = article_calls(*folders)
    return [
        {"what": "article call", "form": call.form, "loads": call.loads, "raises": call.raises}
        for call in made
    ]


def pins() -> dict[str, str]:
    """The course's versions, by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {line.partition("==")[0].lower(): line.strip() for line in lines if "==" in line}


def toolbox() -> Path:
    """The interpreter that has OpenVINO and ONNX Runtime."""
    return python_with("openvino", *(pins()[name] for name in NEEDS), "onnx")


def predecessors() -> Path:
    """The interpreter that packages of earlier years are installed beside."""
    needs = ("transformers", "accelerate", "peft", "safetensors", "numpy")
    return python_with("predecessors", *(pins()[name] for name in needs))


def llamacpp() -> Path:
    """The interpreter that has llama.cpp, compiled once: ten minutes of one core."""
    return python_with(ENVIRONMENT, *REQUIREMENTS)


def in_toolbox(script: str, python: Callable[[], Path] = toolbox) -> list[Row]:
    """Rows that a script prints as its last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python()), str(Path(__file__).with_name(script))]
        done = subprocess.run(
            [*command, str(converted_folder("smollm2-135m")), folder],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


PARTS: dict[str, Callable[[], list[Row]]] = {
    "calls": calls,
    "packages": lambda: packages(predecessors()),
    "starts": lambda: starts(toolbox()),
    "speed": lambda: in_toolbox("_with_openvino.py"),
    "qdq": lambda: in_toolbox("_with_onnxruntime.py"),
    "gguf": lambda: in_toolbox("_with_llamacpp.py", llamacpp),
    "load": loads,
    "canary": canary,
    "qlora": lambda: qlora_tensors() + gradient(),
    "trips": round_trips,
}


def main() -> None:
    """Measure the parts that are named, or all."""
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(PARTS)
    for part in wanted:
        if part not in PARTS:
            raise SystemExit(f"{part!r} is no part; choose from {', '.join(PARTS)}")
    for part in wanted:
        found = [{"part": part, **row} for row in PARTS[part]()]
        rows = [row for row in recorded() if row["part"] != part] + found
        save("tools", rows, COMMAND, threads=1, model="smollm2-135m")
        for row in found:
            print(row, flush=True)


def recorded() -> list[Row]:
    """The rows of the file as it is now."""
    try:
        rows: list[Row] = load("tools")["rows"]
    except FileNotFoundError:
        rows = []
    return rows


if __name__ == "__main__":
    main()
