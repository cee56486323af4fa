"""A task for a language model that only predicts text: which of some answers is the likeliest?

Each candidate answer is scored by the log-likelihood of its tokens after the prompt. Right padding
needs no mask here: a causal model's earlier positions never look at later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.predictor import Predictor, check_tokens

_TOKENS_AT_ONCE = 1024
_POSITIONS = 128  # whose logits exist at one time
SENTIMENT_PROMPT = "Movie review: {review}\nThe sentiment of this review is"
SENTIMENT_ANSWERS = (" negative", " positive")


def answer_log_likelihoods(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], candidates: Sequence[str]
) -> Tensor:
    """How likely each candidate is as the continuation of each prompt.

    Prompt and candidate are tokenized apart, so that a candidate is the same tokens after every
    prompt; begin it with a space where a word follows.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prompts: texts that must not end in a space.
        candidates: continuations such as ``(" negative", " positive")``.

    Returns:
        float64 ``[prompts, candidates]``: summed log-likelihood of the candidate's tokens in nats.

    Raises:
        ValueError: for empty lists or texts, a prompt that ends in a space, or a prompt and
            candidate longer than the model reads.
    """
    heads, tails = _tokenized(tokenizer, prompts, candidates)
    # Candidates of one token share a prompt's one pass; longer ones need a pass a common beginning.
    passes: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for row, head in enumerate(heads):
        for column, tail in enumerate(tails):
            passes.setdefault((*head, *tail[:-1]), []).append((row, column))
    longest = max(passes, key=len)
    predictor = Predictor(model, torch.tensor([longest if len(longest) > 1 else longest * 2]))
    for tail in tails:
        check_tokens(torch.tensor([tail]), predictor.vocab_size, least=1)
    result = torch.zeros(len(heads), len(tails), dtype=torch.float64)
    with predictor.evaluating(), torch.inference_mode():
        for batch in _batches(sorted(passes, key=len)):
            width = len(batch[-1])
            padded = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in batch])
            hidden = predictor.hidden(padded)
            wanted = [
                (i, len(heads[row]) - 1 + step, row, column, token)
                for i, ids in enumerate(batch)
                for row, column in passes[ids]
                for step, token in enumerate(tails[column])
            ]
            for start in range(0, len(wanted), _POSITIONS):
                lines, places, rows, columns, chosen = (
                    torch.tensor(part)
                    for part in zip(*wanted[start : start + _POSITIONS], strict=True)
                )
                logits = predictor.logits(hidden[lines, places])
                picked = logits[torch.arange(len(chosen)), chosen].double()
                score = (picked - logits.logsumexp(-1).double()).cpu()
                result.index_put_((rows, columns), score, accumulate=True)
    return result


def accuracy(scores: Tensor, labels: Tensor | Sequence[int]) -> float:
    """Share of rows whose largest score stands in the column that ``labels`` names.

    Args:
        scores: ``[rows, classes]``, as :func:`answer_log_likelihoods` returns them.
        labels: the right column of each row.

    Raises:
        ValueError: for shapes that differ, NaN scores, or labels that are not columns.
    """
    labels = torch.as_tensor(labels)
    if scores.dim() != 2 or scores.shape[0] == 0 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)}, labels {tuple(labels.shape)}; "
            "pass scores [rows, classes] and one label a row"
        )
    if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]:
        raise ValueError(
            f"labels are not columns of scores; pass whole numbers from 0 to {scores.shape[1] - 1}"
        )
    if bool(scores.isnan().any()):
        raise ValueError("scores holds NaN; look for NaN weights in the model")
    return float((scores.argmax(-1).cpu() == labels.cpu()).double().mean())


def sentiment_scores(
    model: nn.Module, tokenizer: Any, reviews: Sequence[str], prompt: str = SENTIMENT_PROMPT
) -> Tensor:
    """How much likelier " positive" is than " negative" after each review, in nats.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        reviews: texts.
        prompt: what surrounds a review, with ``{review}`` in its place.

    Returns:
        float64 ``[reviews]``; above 0 where the model finds the review positive.

    Raises:
        ValueError: as :func:`answer_log_likelihoods`, and for a prompt without ``{review}``.
    """
    if "{review}" not in prompt:
        raise ValueError(f"prompt={prompt!r} has no place for the text; put {{review}} into it")
    prompts = [prompt.replace("{review}", review) for review in reviews]
    scores = answer_log_likelihoods(model, tokenizer, prompts, SENTIMENT_ANSWERS)
    return scores[:, 1] - scores[:, 0]


def area_under_curve(scores: Tensor, positive: Tensor | Sequence[bool]) -> float:
    """Chance that a positive example scores above a negative one; ties count half (ROC AUC).

    Unlike accuracy it needs no threshold, so a model that leans to one answer is not punished.

    Args:
        scores: ``[examples]``.
        positive: which of them are positive, ``[examples]``.

    Raises:
        ValueError: for shapes that differ, NaN scores, or examples of one kind only.
    """
    positive = torch.as_tensor(positive).bool()
    if scores.dim() != 1 or positive.shape != scores.shape:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)}, positive {tuple(positive.shape)}; "
            "pass one score and one label an example"
        )
    if bool(scores.isnan().any()):
        raise ValueError("scores holds NaN; look for NaN weights in the model")
    high, low = scores[positive], scores[~positive]
    if not high.numel() or not low.numel():
        raise ValueError(
            f"positive marks {high.numel()} of {positive.numel()} examples; pass some of both kinds"
        )
    ordered = low.sort().values
    below = torch.searchsorted(ordered, high, right=False)
    not_above = torch.searchsorted(ordered, high, right=True)
    return float((below + not_above).double().mean() / (2 * low.numel()))


def _tokenized(
    tokenizer: Any, prompts: Sequence[str], candidates: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    for name, texts in (("prompts", prompts), ("candidates", candidates)):
        if isinstance(texts, str) or not len(texts) or not all(isinstance(t, str) for t in texts):
            raise ValueError(
                f"{name}={texts!r:.60} is not a list of texts; pass one such as ['...']"
            )
    for prompt in prompts:
        if prompt.endswith(" "):
            raise ValueError(
                f"prompts has one that ends in a space, ...{prompt[-20:]!r}; "
                "move the space to the front of the candidates"
            )
    heads = [list(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    tails = [list(tokenizer(c, add_special_tokens=False)["input_ids"]) for c in candidates]
    for name, ids in (("prompts", heads), ("candidates", tails)):
        if not all(ids):
            raise ValueError(f"{name} has one without a token; pass texts that are not empty")
    return heads, tails


def _batches(passes: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Neighbours in length together, as many as the padded batch may hold."""
    batches: list[list[tuple[int, ...]]] = []
    for ids in passes:
        if batches and (len(batches[-1]) + 1) * len(ids) <= _TOKENS_AT_ONCE:
            batches[-1].append(ids)
        else:
            batches.append([ids])
    return batches
