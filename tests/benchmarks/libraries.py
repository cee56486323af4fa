"""Other libraries' quantizers on the same model and text: ``results/libraries.json``.

GPTQModel quantizes in a process of its own, from the very folder that qlearn loads, with the same
32 rows to calibrate. Its result is loaded by transformers and measured on the full evaluation
split. Needs the toolbox extra (``pip install -c constraints.txt -e ".[course,toolbox]"``); about 10
minutes on two cores.

    python tests/benchmarks/libraries.py
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.evaluate import compare, remember
from qlearn.results import save
from qlearn.zoo_packaged import converted_folder

SCHEMES = [QuantScheme(4, True, 64), QuantScheme(4, False, 64), QuantScheme(3, False, 64)]
COMMAND = "python tests/benchmarks/libraries.py"


def quantize(target: Path, bits: int, symmetric: bool) -> None:
    """Let GPTQModel write its model to ``target``; print seconds and peak memory as JSON."""
    from gptqmodel import GPTQModel, QuantizeConfig

    torch.set_num_threads(2)
    tokens = load_tokens(load_tokenizer("smollm2-135m"), corpus="editorials", split="calibration")
    config = QuantizeConfig(bits=bits, group_size=64, sym=symmetric)
    model = GPTQModel.load(str(converted_folder("smollm2-135m")), config, device="cpu")
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in tokens.tolist()]
    start = time.perf_counter()
    model.quantize(rows, batch_size=1)
    seconds = time.perf_counter() - start
    model.save(str(target))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (target / "measured.json").write_text(json.dumps({"seconds": seconds, "peak_bytes": peak}))


def measure(scheme: QuantScheme, reference: Any, tokens: torch.Tensor) -> dict[str, Any]:
    """One row of the file."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        arguments = [folder, str(scheme.bits), str(int(scheme.symmetric))]
        variables = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2", "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, __file__, *arguments], env=variables, check=True)
        took = json.loads(Path(folder, "measured.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        result = compare(model.eval(), reference, tokens)
    return {
        "tool": f"GPTQModel {version('gptqmodel')}",
        "method": "GPTQ",
        "scheme": str(scheme),
        "perplexity": round(result.perplexity, 4),
        "kl_divergence": round(result.kl_divergence, 6),
        "top1_agreement": round(result.top1_agreement, 5),
        "seconds": round(took["seconds"], 1),
        "peak_bytes": took["peak_bytes"],
    }


def main() -> None:
    """Measure every scheme."""
    torch.set_num_threads(2)
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation")
    reference = remember(model, tokens)
    rows = []
    for scheme in SCHEMES:
        rows.append(measure(scheme, reference, tokens))
        print(rows[-1], flush=True)
        save("libraries", rows, command=COMMAND, corpus="editorials", rows_of_512=len(tokens))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        quantize(Path(sys.argv[1]), int(sys.argv[2]), bool(int(sys.argv[3])))
    else:
        main()
