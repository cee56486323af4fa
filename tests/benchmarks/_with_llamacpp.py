"""qlearn's GGUF files in llama.cpp: tokens and logits beside the quantized model's in torch.

Both compute from the same blocks. llama.cpp rounds inputs to 8 bits and keeps its cache in FP16,
so logits are near, not equal. Prints rows as JSON; other tokens, or logits that are further off
than that explains, raise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from _toolbox_llamacpp import CONTEXT, LlamaCppModel
from _toolbox_quality import log_probabilities
from llama_cpp import Llama

from qlearn import load_model, load_tokenizer, load_tokens, quantize_model, save_quantized
from qlearn.checkpoints.gguf.blocks import SCHEMES

TOKENS = 256
TEXTS = (
    "The capital of France is",
    "Year 2024: 1,000 caf\u00e9s \u2014 don't!\n\n  def f(x):",
)
MOST_KL, LEAST_TOP1 = 0.02, 0.9


def compared(kind: str, folder: Path) -> dict[str, Any]:
    """A row of one type of block.

    Raises:
        ValueError: where llama.cpp reads other tokens, or its logits are too far off.
    """
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    quantize_model(model, "rtn", SCHEMES[kind], progress=False)
    save_quantized(model, folder / kind, "gguf", tokenizer)
    tokens = load_tokens(tokenizer, "editorials", "evaluation", 1)[0, :TOKENS]
    with torch.inference_mode():
        truth = model(tokens[None]).logits[0].numpy()
    file = folder / kind / "model.gguf"
    llm = Llama(str(file), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, verbose=False)
    for text in TEXTS:
        theirs = llm.tokenize(text.encode(), add_bos=False)
        if theirs != tokenizer(text).input_ids:
            raise ValueError(f"{kind}: {text!r} is {theirs} in llama.cpp")
    logits = LlamaCppModel(llm).logits(tokens.numpy())
    mine, theirs = log_probabilities(truth), log_probabilities(logits)
    kl = float((np.exp(mine) * (mine - theirs)).sum(-1, dtype=np.float64).mean())
    top1 = float((truth.argmax(-1) == logits.argmax(-1)).mean())
    if not (kl <= MOST_KL and top1 >= LEAST_TOP1):
        raise ValueError(f"{kind}: KL {kl:.3g} to torch, top-1 agreement {top1:.3g}")
    return {
        "what": "gguf loads",
        "type": kind,
        "version": f"llama-cpp-python {llama_cpp.__version__}",
        "bytes": file.stat().st_size,
        "tokens": TOKENS,
        "same_tokens": True,
        "kl": round(kl, 6),
        "top1": round(top1, 4),
        "largest_difference": round(float(np.abs(truth - logits).max()), 3),
        "relative_difference": round(
            float(np.linalg.norm(truth - logits) / np.linalg.norm(truth)), 5
        ),
    }


def main(folder: str) -> None:
    """Compare all types, and print."""
    torch.set_num_threads(1)
    print(json.dumps([compared(kind, Path(folder)) for kind in SCHEMES]))


if __name__ == "__main__":
    main(sys.argv[2])
