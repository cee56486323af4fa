"""How many held-out questions a model answers, task by task, and how likely it holds the answers.

An answer counts when each of its characters is the model's first choice after the right ones before
it: that is the answer that greedy generation gives, exactly. The likelihood moves before a first
choice does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qlearn.models.pocket.batches import encode
from qlearn.models.pocket.tasks import TASKS, PocketQuestion, make_questions
from qlearn.models.predictor import Predictor

_ROWS = 500  # questions at a time


@dataclass(frozen=True)
class TaskScore:
    """What a model made of one task.

    Attributes:
        accuracy: share of the questions answered in full, 0 to 1.
        nll: surprise at the right answer in nats, mean over its characters; 3.8 is a blind guess.
        questions: how many were asked.
    """

    accuracy: float
    nll: float
    questions: int


def answer_questions(
    model: nn.Module, questions: Iterable[PocketQuestion]
) -> tuple[Tensor, Tensor]:
    """Ask questions of equal or different length, each by itself.

    Args:
        model: a pocket model, quantized or not.
        questions: of :func:`qlearn.models.pocket.tasks.make_questions`.

    Returns:
        ``(right, nll)``, a value a question: bool, and the answer's mean surprise a character in
        nats (float32).

    Raises:
        ValueError: for no questions, or a model that does not know the alphabet.
    """
    asked = list(questions)
    if not asked:
        raise ValueError("questions is empty; make some with make_questions(task, 1000)")
    right, surprise = [], []
    for start in range(0, len(asked), _ROWS):
        part = asked[start : start + _ROWS]
        tokens, scored = question_rows(part)
        predictor = Predictor(model, tokens)
        with predictor.evaluating(), torch.inference_mode():
            hidden = predictor.features(slice(0, len(part)))
            row, position = scored.nonzero(as_tuple=True)
            logits = predictor.logits(hidden[row, position])  # the answers' characters alone
        targets = tokens[:, 1:][scored]
        wrong = torch.zeros(len(part)).index_add_(0, row, (logits.argmax(-1) != targets).float())
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        total = torch.zeros(len(part)).index_add_(0, row, losses)
        right.append(wrong == 0)
        surprise.append(total / scored.sum(1))
    return torch.cat(right), torch.cat(surprise)


def accuracy_by_task(
    model: nn.Module, tasks: Iterable[str] = tuple(TASKS), count: int = 1000, seed: int = 0
) -> Mapping[str, TaskScore]:
    """Ask a model held-out questions of each task.

    Args:
        model: a pocket model, quantized or not.
        tasks: keys of :data:`qlearn.models.pocket.tasks.TASKS`.
        count: questions a task.
        seed: of the questions.

    Raises:
        ValueError: as :func:`qlearn.models.pocket.tasks.make_questions`.
    """
    sets = {task: make_questions(task, count, "evaluation", seed) for task in tasks}
    scores = {}
    for task, questions in sets.items():
        right, nll = answer_questions(model, questions)
        scores[task] = TaskScore(
            float(right.double().mean()), float(nll.double().mean()), len(questions)
        )
    return scores


def question_rows(questions: list[PocketQuestion]) -> tuple[Tensor, Tensor]:
    """Tokens ``[rows, length]``, and which of their successors ``[rows, length - 1]`` count."""
    length = max(len(question.text) for question in questions) + 1
    tokens = torch.zeros(len(questions), length, dtype=torch.int64)
    scored = torch.zeros(len(questions), length - 1, dtype=torch.bool)
    for row, question in enumerate(questions):
        tokens[row, : len(question.text) + 1] = torch.tensor(encode("\n" + question.text))
        scored[row, list(question.scored)] = True  # a text's position p is predicted at p
    return tokens, scored
