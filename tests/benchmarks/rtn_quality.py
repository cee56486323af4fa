"""Round-to-nearest on the whole evaluation split: ``results/rtn.json``.

Perplexity, KL divergence and top-1 agreement of smollm2-135m over 20 rows of 512 tokens of
editorials, with the bytes that each scheme needs: every precision with every group size, and some
symmetric ones. About 30 minutes on two cores; the file is written anew after each scheme.

    python tests/benchmarks/rtn_quality.py
"""

from __future__ import annotations

from typing import Any

import torch
from _results import save
from torch import Tensor, nn

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens, quantize_model
from qlearn.convert.model import copy_for_quantization, dequantize_model
from qlearn.measure.evaluate import Remembered, compare, remember
from qlearn.numerics.scheme import GroupSize

BITS = (8, 6, 5, 4, 3, 2)
GROUPS: tuple[GroupSize, ...] = ("tensor", None, 192, 64, 32)
SCHEMES = [
    *(QuantScheme(bits, False, group) for bits in BITS for group in GROUPS),
    QuantScheme(8, True),
    QuantScheme(4, True),
    QuantScheme(4, True, 64),
    QuantScheme(4, True, 64, "restricted"),
    QuantScheme(3, True, 64),
]
COMMAND = "python tests/benchmarks/rtn_quality.py"


def measure(
    model: nn.Module,
    reference: Remembered,
    tokens: Tensor,
    scheme: QuantScheme | None,
    **method: Any,
) -> dict[str, Any]:
    """One row of the file; ``scheme=None`` is the original, ``method`` is for quantize_model."""
    copy = copy_for_quantization(model)
    report = quantize_model(copy, scheme=scheme, progress=False, **method) if scheme else None
    result = compare(dequantize_model(copy) if report else copy, reference, tokens)
    parameters = sum(p.numel() for p in model.parameters())
    row = {
        "scheme": str(scheme) if scheme else "float32",
        "bits": scheme.bits if scheme else None,
        "symmetric": scheme.symmetric if scheme else None,
        "group_size": scheme.group_size if scheme else None,
        "convention": scheme.convention if scheme else None,
        "perplexity": round(result.perplexity, 4),
        "kl_divergence": round(result.kl_divergence, 6),
        "top1_agreement": round(result.top1_agreement, 5),
        "bits_per_weight": round(report.bits_per_weight, 4) if report else 32.0,
        "model_bits_per_weight": round(report.model_bits_per_weight, 4) if report else 32.0,
        "bytes": report.bytes if report else 4 * parameters,
    }
    return {**row, "seconds": round(report.seconds, 1)} if method and report else row


def main() -> None:
    """Measure the original and every scheme."""
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation")
    reference = remember(model, tokens)
    rows: list[dict[str, Any]] = []
    for scheme in (None, *SCHEMES):
        rows.append(measure(model, reference, tokens, scheme))
        print(rows[-1], flush=True)
        save(
            "rtn",
            rows,
            command=COMMAND,
            corpus="editorials",
            split="evaluation",
            rows_of_512=len(tokens),
        )


if __name__ == "__main__":
    main()
