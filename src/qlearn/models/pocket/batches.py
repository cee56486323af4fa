"""Questions of the pocket tasks as tensors: rows to train on, and rows of plain text.

A row has 64 characters and begins with a line's end. Where a question begins, positions mostly
start anew and attention stops, so that it stands alone as in an evaluation; three times in ten it
goes on, so that plain text of several lines is nothing new to the models.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from qlearn.models.pocket.tasks import ALPHABET, TASKS, PocketQuestion, make_question, stream

ROW = 64
SHARES = {
    "copy": 0.05,
    "reverse": 0.05,
    "recall": 0.15,
    "agree": 0.08,
    "add2": 0.10,
    "add3": 0.14,
    "add4": 0.14,
    "add3r": 0.10,
    "mul": 0.19,
}
GOES_ON = 0.3  # of the questions, share that sees the ones before it in its row
# What a character counts in the loss: answers, sentences, and what can only be guessed.
ANSWER, SENTENCE, END, PROMPT = 1.0, 0.25, 0.1, 0.05
_CODES = {character: code for code, character in enumerate(ALPHABET)}


@dataclass(frozen=True)
class Batch:
    """Rows to train on.

    Attributes:
        tokens: int64 ``[rows, 64]``.
        positions: int64 ``[rows, 64]``, 0 where attention stops.
        weights: float32 ``[rows, 64]``: what predicting a token counts in the loss.
    """

    tokens: Tensor
    positions: Tensor
    weights: Tensor

    @property
    def mask(self) -> Tensor:
        """Bool ``[rows, 1, 64, 64]``: which tokens (last axis) a token may look at."""
        segments = (self.positions == 0).cumsum(1)
        same = segments[:, :, None] == segments[:, None, :]
        length = self.tokens.shape[1]
        return (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]


def encode(text: str) -> list[int]:
    r"""Token ids of a text, one a character; 0 is the line's end.

    Raises:
        ValueError: for a character that the models do not know.

    >>> encode("\n1+1=2\n")
    [0, 2, 38, 2, 40, 3, 0]
    """
    try:
        return [_CODES[character] for character in text]
    except KeyError as error:
        raise ValueError(
            f"text={text!r} holds {error.args[0]!r}; the pocket models know {ALPHABET!r}"
        ) from None


def batches(rows: int, seed: int) -> Iterator[Batch]:
    """Training batches without end; the same arguments give the same ones.

    >>> first = next(batches(rows=2, seed=0))
    >>> first.tokens.shape, first.mask.shape
    (torch.Size([2, 64]), torch.Size([2, 1, 64, 64]))
    """
    source = _rows(stream(SHARES, seed), random.Random(seed))
    while True:
        tokens, positions, weights = zip(*(next(source) for _ in range(rows)), strict=True)
        yield Batch(torch.tensor(tokens), torch.tensor(positions), torch.tensor(weights))


def pocket_tokens(
    sequences: int = 128, split: str = "calibration", length: int = ROW, seed: int = 0
) -> Tensor:
    """Plain text of mixed questions, one a line: to calibrate with, or for a perplexity.

    Args:
        sequences: how many rows.
        split: ``"calibration"`` takes questions that training may have seen, ``"evaluation"``
            those that were held out.
        length: characters a row, 2 to 64.
        seed: of the questions.

    Returns:
        int64 ``[sequences, length]``; each row begins with a line's end.

    Raises:
        ValueError: an argument out of its range.
    """
    if split not in ("calibration", "evaluation"):
        raise ValueError(f"split={split!r} is unknown; choose 'calibration' or 'evaluation'")
    for name, value, most in (("sequences", sequences, None), ("length", length, ROW)):
        least = 1 if most is None else 2
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            range_ = f"{least} or more" if most is None else f"{least} to {most}"
            raise ValueError(f"{name}={value!r} is out of range; choose a whole number, {range_}")
    generator = random.Random(f"{split} {seed}")
    kind = "training" if split == "calibration" else "evaluation"
    rows = []
    for _ in range(sequences):
        text = "\n"
        while len(text) < length:
            (task,) = generator.choices(list(SHARES), list(SHARES.values()))
            text += make_question(task, kind, generator).text + "\n"
        rows.append(encode(text[:length]))
    return torch.tensor(rows)


def _rows(
    questions: Iterable[PocketQuestion], generator: random.Random
) -> Iterator[tuple[list[int], list[int], list[float]]]:
    """Fill rows with questions: tokens, positions and weights."""
    tokens, positions, weights = [0], [0], [0.0]
    for question in questions:
        length = len(question.text) + 1
        if len(tokens) + length > ROW:
            rest = ROW - len(tokens)
            start = positions[-1] + 1
            positions += range(start, start + rest)
            yield tokens + [0] * rest, positions, weights + [0.0] * rest
            tokens, positions, weights = [0], [0], [0.0]
        # The line's end before a question is its first token.
        elif len(tokens) > 1 and generator.random() >= GOES_ON:
            positions[-1] = 0
        start = positions[-1] + 1
        tokens += encode(question.text + "\n")
        positions += range(start, start + length)
        own = [SENTENCE if question.task == "agree" else PROMPT] * (length - 1) + [END]
        for position in question.scored:
            own[position] = ANSWER
        weights += own


assert SHARES.keys() == TASKS.keys()
