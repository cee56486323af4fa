"""The three figures of a model's quality, from logits in numpy: tools need not bring torch."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def log_probabilities(logits: Logits) -> Logits:
    """Logarithms of the softmax over the last axis, in float32."""
    shifted = logits - logits.max(-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(-1, dtype=np.float64, keepdims=True))
    return (shifted - total).astype(np.float32)


def likeliest(logits: Logits, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each token ``[length]`` is the likeliest by its logits ``[length, vocabulary]``.

    Logits that a model gave in BF16 stand 1/8 apart where they are around 20, and often tie; sums
    in another order move them by such a step. There a token counts that is one step behind.
    """
    best = logits.max(-1)
    behind = best - np.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    in_bfloat16 = not (np.ascontiguousarray(logits).view(np.uint32) & 0xFFFF).any()
    # Of a number in [2^(e-1), 2^e) with 8 bits of significand; np.frexp gives e.
    step = np.ldexp(1.0, np.frexp(best)[1] - 8) if in_bfloat16 else 0.0
    return np.asarray(behind <= step)


def quality(
    rows: Iterable[Logits], reference: Iterable[Logits], tokens: NDArray[np.int64]
) -> dict[str, float]:
    """Perplexity, KL(reference || model) in nats a token, and top-1 agreement from 0 to 1.

    Args:
        rows: logits ``[length, vocabulary]`` of each row of ``tokens``.
        reference: log-probabilities ``[length - 1, vocabulary]`` of the model in FP32.
        tokens: ``[rows, length]``; all but the first of a row are predicted.

    Raises:
        ValueError: for logits of another shape, or that are not finite.
    """
    surprise = divergence = 0.0
    agreements = 0
    for logits, truth, row in zip(rows, reference, tokens, strict=True):
        if logits.shape != (len(row), truth.shape[-1]):
            raise ValueError(
                f"logits of shape {logits.shape} for {len(row)} tokens; "
                f"give [{len(row)}, {truth.shape[-1]}]"
            )
        if not np.isfinite(logits).all():
            raise ValueError("the logits are not all finite numbers")
        mine = log_probabilities(logits[:-1])
        surprise -= float(mine[np.arange(len(row) - 1), row[1:]].sum(dtype=np.float64))
        divergence += float((np.exp(truth) * (truth - mine)).sum(dtype=np.float64))
        agreements += int((mine.argmax(-1) == truth.argmax(-1)).sum())
    count = tokens.shape[0] * (tokens.shape[1] - 1)
    return {
        "perplexity": exp(surprise / count),
        "kl": divergence / count,
        "top1": agreements / count,
    }
