"""Round-to-nearest on the whole evaluation split: ``results/rtn.json``.

Perplexity, KL divergence and top-1 agreement of smollm2-135m over 20 rows of 512 tokens of
editorials, with the bytes that each grid needs. The file is written
anew after each grid.

    python tests/benchmarks/rtn_quality.py
"""

from __future__ import annotations

import torch

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens, quantize_model
from qlearn.convert import copy_for_quantization
from qlearn.evaluate import compare, remember
from qlearn.results import save

HEADLINE = [
    QuantScheme(8, True),
    QuantScheme(4),
    QuantScheme(4, False, 64),
    QuantScheme(4, True, 64),
    QuantScheme(4, True, 64, "restricted"),
    QuantScheme(3, False, 64),
    QuantScheme(2, False, 64),
]
COMMAND = "python tests/benchmarks/rtn_quality.py"


def measure(model, reference, tokens: torch.Tensor, scheme: QuantScheme | None) -> dict:  # type: ignore[no-untyped-def,type-arg]
    """One row of the file; ``scheme=None`` is the original."""
    copy = copy_for_quantization(model)
    report = quantize_model(copy, scheme=scheme, progress=False) if scheme else None
    result = compare(copy, reference, tokens)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "scheme": str(scheme) if scheme else "float32",
        "bits": scheme.bits if scheme else None,
        "symmetric": scheme.symmetric if scheme else None,
        "group_size": scheme.group_size if scheme else None,
        "perplexity": round(result.perplexity, 4),
        "kl_divergence": round(result.kl_divergence, 6),
        "top1_agreement": round(result.top1_agreement, 5),
        "bits_per_weight": round(report.bits_per_weight, 4) if report else 32.0,
        "model_bits_per_weight": round(report.model_bits_per_weight, 4) if report else 32.0,
        "bytes": report.bytes if report else 4 * parameters,
    }


def main() -> None:
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation")
    reference = remember(model, tokens)
    rows: list[dict] = []  # type: ignore[type-arg]
    for scheme in (None, *HEADLINE):
        rows.append(measure(model, reference, tokens, scheme))
        print(rows[-1], flush=True)
        save("rtn", rows, command=COMMAND, corpus="editorials", split="evaluation", rows_of_512=20)


if __name__ == "__main__":
    main()
