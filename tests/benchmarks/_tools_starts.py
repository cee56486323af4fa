"""The shortest script with each tool that rounds a model to 4 bits and writes with it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _environments import ROOT

from qlearn.models.packaged import converted_folder

WRITE = """
inputs = tokenizer("The capital of France is", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]))
"""
BITSANDBYTES = """
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
config = BitsAndBytesConfig(load_in_4bit=True)
model = AutoModelForCausalLM.from_pretrained(FOLDER, quantization_config=config)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
"""
QLEARN = """
from qlearn import QuantScheme, load_model, load_tokenizer, quantize_model
model = load_model("smollm2-135m")
tokenizer = load_tokenizer("smollm2-135m")
quantize_model(model, "rtn", QuantScheme(4, False, 64))
"""
# Weights in 4 bits; to write on from its own cache takes more statements than these.
OPENVINO = """
import nncf
import numpy as np
import openvino as ov
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, tokens, mask):
        return self.model(tokens, attention_mask=mask, use_cache=False).logits
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = Logits(AutoModelForCausalLM.from_pretrained(FOLDER)).eval()
ones = torch.ones(1, 8, dtype=torch.int64)
model = ov.convert_model(model, example_input=(ones, ones))
model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=64)
run = ov.compile_model(model, "CPU")
tokens = tokenizer("The capital of France is")["input_ids"]
for _ in range(8):
    mask = np.ones((1, len(tokens)), dtype=np.int64)
    tokens.append(int(np.argmax(run([np.array([tokens]), mask])[0][0, -1])))
print(tokenizer.decode(tokens))
"""


def starts(toolbox: Path) -> list[dict[str, Any]]:
    """A row a tool; ``toolbox`` is the interpreter that has OpenVINO."""
    own = Path(sys.executable)
    scripts = {
        "transformers and bitsandbytes": (own, BITSANDBYTES + WRITE),
        "qlearn": (own, QLEARN + WRITE),
        "openvino and nncf": (toolbox, OPENVINO),
    }
    return [_start(name, python, code) for name, (python, code) in scripts.items()]


def statements(code: str) -> int:
    """How many statements a script has, those inside loops included.

    >>> statements("import a\\nfor _ in a:\\n    print(_)")
    3
    """
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(code)))


def _start(name: str, python: Path, code: str) -> dict[str, Any]:
    folder = repr(str(converted_folder("smollm2-135m")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    done = subprocess.run(
        [str(python), "-c", code.replace("FOLDER", folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.strip().splitlines() if not done.returncode else []
    return {
        "what": "start",
        "tool": name,
        "statements": statements(code),
        "runs": not done.returncode,
        "seconds": round(time.perf_counter() - begin, 1),
        "wrote": said[-1] if said else None,
        "error": done.stderr.strip().splitlines()[-1][:200] if done.returncode else None,
    }
