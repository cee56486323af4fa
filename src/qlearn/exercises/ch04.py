"""Exercises of chapter 4: perplexity, KL divergence, a model's bytes, a choice under a budget."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qlearn.teach.checks.checker import Exercise

# SmolLM2-135M, from its configuration: 30 blocks of hidden 576, MLP 1536, key and value width 192.
LINEAR = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
EMBEDDING = 49152 * 576
NORMS = (2 * 30 + 1) * 576
BITS_INT4_G64 = 4 + 16 / 64 + 4 / 64


def _token_losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """Negative log-likelihood of each next token, nats, ``[T - 1]``."""
    return F.cross_entropy(logits[:-1].double(), tokens[1:], reduction="none")


def perplexity(logits: Tensor, tokens: Tensor) -> float:
    """Exp of the mean negative log-likelihood of tokens 1 on, each from the logits before it."""
    return float(_token_losses(logits, tokens).mean().exp())


def kl(reference: Tensor, quantized: Tensor) -> float:
    """KL(reference || quantized) in nats, mean over positions; logits ``[T, V]``."""
    p, q = reference.double().log_softmax(-1), quantized.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def _logit_cases() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    return [
        (torch.randn(t, v, generator=generator) * 3, torch.randint(v, (t,), generator=generator))
        for t, v in ((5, 4), (9, 11))
    ]


def _kl_cases() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    pairs = []
    for shape in ((3, 4), (6, 10)):
        reference = torch.randn(shape, generator=generator) * 3
        pairs.append((reference, reference + torch.randn(shape, generator=generator)))
    return pairs


def _row(scheme: str, bits_per_weight: float, ppl: float) -> dict[str, Any]:
    return {"scheme": scheme, "bits_per_weight": bits_per_weight, "perplexity": ppl}


ROWS = [
    _row("fine", 8.2, 10.0),
    _row("coarse", 4.1, 15.0),
    _row("grouped", 4.3, 11.0),
    _row("tiny", 2.3, 900.0),
    _row("odd", 5.0, 12.5),
    _row("broken", 3.0, 2000.0),
]


def _best(rows: list[dict[str, Any]], budget: float, key: str, sign: int = 1) -> str:
    """The row within budget that is first by `key`; how the mistakes choose."""
    fitting = [row for row in rows if row["bits_per_weight"] <= budget]
    return str(min(fitting, key=lambda row: sign * row[key])["scheme"]) if fitting else "none"


PERPLEXITY_MISTAKES = {
    "The logits were not shifted: row t predicts token t + 1, not token t.": (
        lambda x, t: float(F.cross_entropy(x.double(), t).exp())
    ),
    "This is the mean loss in nats; perplexity is its exponential.": (
        lambda x, t: float(_token_losses(x, t).mean())
    ),
    "The exponential came before the mean: it is exp(mean(loss)), not mean(exp(loss)).": (
        lambda x, t: float(_token_losses(x, t).exp().mean())
    ),
    "The losses were summed; take their mean over the T - 1 predictions.": (
        lambda x, t: float(_token_losses(x, t).sum().exp())
    ),
    "The sum was divided by T; T tokens make T - 1 predictions.": (
        lambda x, t: float((_token_losses(x, t).sum() / len(t)).exp())
    ),
    "A base is mixed up: 2 ** (loss in nats). Use exp, or turn the loss into bits first.": (
        lambda x, t: float(2 ** _token_losses(x, t).mean())
    ),
}
KL_MISTAKES = {
    "The direction is reversed: the reference's probabilities do the weighting.": (
        lambda r, q: kl(q, r)
    ),
    "The mean ran over the vocabulary too: sum over V first, then take the mean over T.": (
        lambda r, q: kl(r, q) / r.shape[-1]
    ),
    "The positions were summed; take their mean.": lambda r, q: kl(r, q) * len(r),
    "The result is in bits (log2); use the natural logarithm for nats.": (
        lambda r, q: kl(r, q) / math.log(2)
    ),
    "The logits were compared as they are; log_softmax makes them log-probabilities first.": (
        lambda r, q: float((r.double().softmax(-1) * (r.double() - q.double())).sum(-1).mean())
    ),
}
WIDE = (EMBEDDING + NORMS) * 4  # bytes in float32
BYTES_MISTAKES = {
    "The embedding was counted at 4 bits; round-to-nearest here leaves it in float32.": (
        (LINEAR + EMBEDDING + NORMS) * BITS_INT4_G64 / 8 / 1e6
    ),
    "Scales and zero-points are missing: each group of 64 adds 16 + 4 bits.": (
        (LINEAR * 4 / 8 + WIDE) / 1e6
    ),
    "The embedding was counted twice; the output head is tied to it and stores nothing.": (
        (LINEAR * BITS_INT4_G64 / 8 + WIDE + EMBEDDING * 4) / 1e6
    ),
    "The embedding was left out: it is a fifth of the parameters and stays wide.": (
        LINEAR * BITS_INT4_G64 / 8 / 1e6
    ),
    "The embedding was counted in float16; this model is float32.": (
        (LINEAR * BITS_INT4_G64 / 8 + WIDE / 2) / 1e6
    ),
}
BUDGET_MISTAKES = {
    "The budget was ignored.": lambda rows, budget: _best(rows, math.inf, "perplexity"),
    "The smallest row that fits was taken, not the one of lowest perplexity.": (
        lambda rows, budget: _best(rows, budget, "bits_per_weight")
    ),
    "The highest perplexity was taken; lower is better.": (
        lambda rows, budget: _best(rows, budget, "perplexity", -1)
    ),
    "A row that uses the whole budget fits too: compare with <=.": (
        lambda rows, budget: _best(rows, math.nextafter(budget, 0), "perplexity")
    ),
}

EXERCISES = [
    Exercise(
        id="ch04.perplexity",
        task="Write `perplexity(logits, tokens)`: logits [T, V] and tokens [T] of one text, to the "
        "perplexity of its T - 1 predictions, a float.",
        expected=perplexity,
        cases=_logit_cases,
        mistakes=PERPLEXITY_MISTAKES,
        rtol=1e-4,
    ),
    Exercise(
        id="ch04.kl",
        task="Write `kl(reference, quantized)`: two logits [T, V] to the mean KL divergence "
        "KL(reference || quantized) a position, in nats, a float.",
        expected=kl,
        cases=_kl_cases,
        mistakes=KL_MISTAKES,
        rtol=1e-4,
    ),
    Exercise(
        id="ch04.bytes",
        task="Predict the size in MB (1e6 bytes) of smollm2-135m with its 210 linear layers at "
        "INT4, asymmetric, groups of 64 with a float16 scale and a 4-bit zero-point, and the "
        "embedding and the norms left in float32.",
        expected=(LINEAR * BITS_INT4_G64 / 8 + WIDE) / 1e6,
        mistakes=BYTES_MISTAKES,
        rtol=0.01,
        unit="MB",
    ),
    Exercise(
        id="ch04.best_under",
        task="Write `best_under(rows, budget)`: the `scheme` of lowest `perplexity` among the rows "
        "whose `bits_per_weight` is at most `budget`, or 'none' where none fits.",
        expected=lambda rows, budget: _best(rows, budget, "perplexity"),
        cases=((ROWS, 4.5), (ROWS, 16.0), (ROWS, 4.3), (ROWS, 4.2), (ROWS, 2.0)),
        mistakes=BUDGET_MISTAKES,
    ),
]
