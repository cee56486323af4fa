"""A library's run in a process of its own, from which seconds and peak memory come.

The parent hands over a folder with ``run.json`` (``bits``, ``symmetric``, ``method``, ``model``)
and the calibration tokens; the child leaves the quantized model and ``measured.json`` there. Only
torch and safetensors are imported, since a library may need an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class Run:
    """What to quantize, how, and where to put it."""

    folder: Path
    bits: int
    symmetric: bool
    method: str
    model: str
    tokens: torch.Tensor  # [rows, length]

    @classmethod
    def given(cls) -> Run:
        """The run whose folder is the command's only argument."""
        torch.set_num_threads(2)
        folder = Path(sys.argv[1])
        wanted = json.loads((folder / "run.json").read_text())
        return cls(folder, tokens=load_file(folder / "tokens.safetensors")["tokens"], **wanted)


def measured(run: Run, package: str, quantize: Callable[[], Any]) -> Any:
    """Time ``quantize`` and write down what it took; returns its result."""
    start = time.perf_counter()
    result = quantize()
    seconds = time.perf_counter() - start
    # Not getrusage's: a child begins with its parent's maximum there.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    took = {"tool": f"{package} {version(package)}", "seconds": seconds, "peak_bytes": peak}
    (run.folder / "measured.json").write_text(json.dumps(took))
    return result
