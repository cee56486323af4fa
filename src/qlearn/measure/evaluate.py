"""How good a language model is, and how far a quantized one has moved from its original.

All figures are means over the predicted tokens: ``length - 1`` in each row, each predicted from
the tokens before it in its row. Logits are made some positions at a time and summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf

import torch
from torch import Tensor, nn

from qlearn.measure.answers import (
    accuracy,
    answer_log_likelihoods,
    area_under_curve,
    sentiment_scores,
)
from qlearn.models.predictor import Predictor, Remembered, predictor_of, remember, row_slices

__all__ = [
    "Comparison",
    "Remembered",
    "accuracy",
    "answer_log_likelihoods",
    "area_under_curve",
    "compare",
    "kl_divergence",
    "perplexity",
    "remember",
    "sentiment_scores",
    "top1_agreement",
]

_POSITIONS = 128  # whose logits exist at one time: 25 MB for 49,152 classes

Model = nn.Module | Remembered


@dataclass(frozen=True)
class Comparison:
    """A model beside its reference.

    Attributes:
        perplexity: of the model.
        kl_divergence: KL(reference || model) in nats, mean a predicted token.
        top1_agreement: share of tokens for which both would say the same, 0 to 1.
        reference_perplexity: of the reference.
    """

    perplexity: float
    kl_divergence: float
    top1_agreement: float
    reference_perplexity: float

    def __str__(self) -> str:
        return (
            f"perplexity {self.perplexity:.2f} (reference {self.reference_perplexity:.2f}), "
            f"KL {self.kl_divergence:.4f} nats, top-1 agreement {self.top1_agreement:.1%}"
        )


def perplexity(model: Model, tokens: Tensor) -> float:
    """``exp`` of the mean negative log-likelihood of each token after the first of its row.

    Args:
        model: a causal language model (or a :class:`Remembered` one).
        tokens: integers ``[rows, length]``.

    Raises:
        ValueError: for tokens that are empty, not integers, not ``[rows, length]``, shorter than
            two or outside the vocabulary, and for logits that are NaN or infinite.
    """
    predictor = predictor_of(model, tokens)
    total = 0.0
    with predictor.evaluating(), torch.inference_mode():
        for (features,), targets in _positions([predictor], tokens):
            logits = predictor.logits(features)
            total += _surprise(logits, logits.logsumexp(-1), targets)
    return _exp(total / _predictions(tokens))


def compare(model: Model, reference: Model, tokens: Tensor) -> Comparison:
    """Perplexity, KL divergence and top-1 agreement in one pass over both models.

    Args:
        model: the quantized model.
        reference: the original, or ``remember(original, tokens)``.
        tokens: integers ``[rows, length]``.

    Raises:
        ValueError: as :func:`perplexity`, and for models whose vocabularies differ in size.
    """
    mine, theirs = predictor_of(model, tokens), predictor_of(reference, tokens)
    if mine.vocab_size != theirs.vocab_size:
        raise ValueError(
            f"model predicts {mine.vocab_size} classes, reference {theirs.vocab_size}; "
            "compare models of one vocabulary"
        )
    surprise = reference_surprise = divergence = 0.0
    agreements = 0
    with mine.evaluating(), theirs.evaluating(), torch.inference_mode():
        for (own, other), targets in _positions([mine, theirs], tokens):
            ours = mine.logits(own)
            truth = theirs.logits(other).to(ours.device)
            agreements += int((ours.argmax(-1) == truth.argmax(-1)).sum())
            our_total, true_total = ours.logsumexp(-1), truth.logsumexp(-1)
            surprise += _surprise(ours, our_total, targets)
            reference_surprise += _surprise(truth, true_total, targets)
            divergence += _divergence(ours, truth, true_total - our_total, true_total)
    count = _predictions(tokens)
    return Comparison(
        perplexity=_exp(surprise / count),
        kl_divergence=divergence / count,
        top1_agreement=agreements / count,
        reference_perplexity=_exp(reference_surprise / count),
    )


def kl_divergence(model: Model, reference: Model, tokens: Tensor) -> float:
    """KL(reference || model) in nats, mean a predicted token; see :func:`compare`."""
    return compare(model, reference, tokens).kl_divergence


def top1_agreement(model: Model, reference: Model, tokens: Tensor) -> float:
    """Share of tokens for which both models hold the same one likeliest; see :func:`compare`."""
    return compare(model, reference, tokens).top1_agreement


def _positions(
    predictors: list[Predictor | Remembered], tokens: Tensor
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Features of each predictor ``[n, width]`` and the tokens ``[n]`` that they predict."""
    for rows in row_slices(tokens):
        features = [predictor.features(rows).flatten(0, 1) for predictor in predictors]
        targets = tokens[rows, 1:].long().flatten()
        for start in range(0, targets.numel(), _POSITIONS):
            part = slice(start, start + _POSITIONS)
            yield [each[part] for each in features], targets[part]


def _predictions(tokens: Tensor) -> int:
    return tokens.shape[0] * (tokens.shape[1] - 1)


def _surprise(logits: Tensor, total: Tensor, targets: Tensor) -> float:
    """Summed negative log-likelihood of ``targets`` in nats; ``total`` is logsumexp(logits)."""
    chosen = logits.gather(-1, targets.to(logits.device)[:, None])[:, 0]
    return float((total.double() - chosen.double()).sum())


def _divergence(logits: Tensor, truth: Tensor, shift: Tensor, true_total: Tensor) -> float:
    """Summed KL(truth || logits) in nats."""
    # log p - log q = (t - l) - (logsumexp t - logsumexp l): `shift` serves all classes.
    ratio = torch.sub(truth, logits).sub_(shift[:, None])
    weight = (truth - true_total[:, None]).exp_()
    return float(weight.mul_(ratio).sum(dtype=torch.float64))


def _exp(mean: float) -> float:
    """``exp`` that gives infinity where a float64 can't hold the result."""
    return exp(mean) if mean < 709 else inf
