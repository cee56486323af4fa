"""A real task for a language model: which movie reviews are favourable?

The model reads a review and one more line, and we compare how likely it finds two words next. No
training and no sampling, so the figure is exact for a given model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

PROMPT = "Movie review: {text}\nThe sentiment of this review is"
WORDS = (" positive", " negative")


@torch.inference_mode()
def sentiment_scores(
    model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 16
) -> Tensor:
    """How much likelier *positive* is than *negative* after each review.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        texts: reviews, of any length that the model takes.
        batch_size: reviews in one forward pass; those of like length go together.

    Returns:
        float32 ``[len(texts)]``: the difference of the two log-probabilities, in nats.

    Raises:
        ValueError: for no texts, an empty text, or a batch size below 1.
    """
    if not texts or not all(text.strip() for text in texts):
        raise ValueError(f"texts holds {len(texts)} reviews, some of them empty; pass written ones")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is below 1; choose 1 or more")
    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS]
    rows = [tokenizer(PROMPT.format(text=text.strip()))["input_ids"] for text in texts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    scores = torch.empty(len(rows))
    device = next(model.parameters()).device
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        lengths = torch.tensor([len(rows[i]) for i in batch])
        ids = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
        for row, i in enumerate(batch):
            ids[row, : len(rows[i])] = torch.tensor(rows[i])
        # Padding stands on the right, where a causal model's earlier positions never see it.
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        hidden = model.base_model(ids.to(device), attention_mask=mask.to(device)).last_hidden_state
        last = hidden[torch.arange(len(batch)), lengths - 1]
        logits = model.get_output_embeddings()(last)[:, words].float().cpu()
        scores[batch] = logits[:, 0] - logits[:, 1]
    return scores


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve: how often a positive item outscores a negative one.

    Ties count one half; 0.5 is chance. (Mann and Whitney 1947.)

    Args:
        scores: float ``[n]``.
        positive: bool ``[n]``.

    Raises:
        ValueError: where the shapes differ, or one of the two classes is empty.

    >>> area_under_curve(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([False, True, False]))
    1.0
    """
    if scores.shape != positive.shape or scores.dim() != 1:
        raise ValueError(
            f"scores {tuple(scores.shape)} and positive {tuple(positive.shape)} differ; "
            "pass two vectors of one length"
        )
    winners, losers = scores[positive], scores[~positive]
    if not len(winners) or not len(losers):
        raise ValueError(
            f"positive holds {len(winners)} of {len(scores)}; both classes are needed for a curve"
        )
    ahead = (winners[:, None] > losers).double().mean()
    tied = (winners[:, None] == losers).double().mean()
    return float(ahead + tied / 2)
