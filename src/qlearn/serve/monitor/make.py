"""Making canaries: from any tokens, from questions of known answer, from a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from random import Random

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from qlearn.models.pocket.questions import question_rows
from qlearn.models.pocket.tasks import TASKS, make_questions
from qlearn.models.predictor import Predictor, check_tokens, row_slices
from qlearn.serve.monitor.canary import Canary, merge

TOP = 64  # likeliest tokens remembered at a position: 0.5 kB


def make_canary(
    model: nn.Module,
    tokens: Tensor,
    counted: Tensor | None = None,
    answers: Tensor | None = None,
    top: int = TOP,
) -> Canary:
    """Ask the original once and write down what it says.

    Neighbours in a text resemble one another, and the statistics want prompts that do not: shuffle
    rows that were cut from one text.

    Args:
        model: the original, unquantized.
        tokens: integers ``[prompts, length]``, such as ``load_tokens(tokenizer,
            split="evaluation", sequences=100, length=64)``: text that neither training nor
            calibration saw.
        counted: bool ``[prompts, length - 1]``: which predictions count; ``None`` counts all.
            Padding does not count.
        answers: bool ``[prompts, length - 1]``: which predictions are the answer, for prompts that
            have one.
        top: how many of the likeliest tokens to remember at each position.

    Raises:
        ValueError: for tokens the model can't read, masks that do not fit them or leave a prompt
            without a token, or ``top`` below 1.
    """
    predictor = Predictor(model, tokens)
    shape = (tokens.shape[0], tokens.shape[1] - 1)
    counted = torch.ones(shape, dtype=torch.bool) if counted is None else counted
    for name, mask in (("counted", counted), ("answers", answers)):
        if mask is not None and (mask.dtype != torch.bool or mask.shape != shape):
            raise ValueError(
                f"{name} is {mask.dtype} of shape {tuple(mask.shape)}; pass bool {shape}, "
                "a value a predicted token"
            )
        if mask is not None and not bool((mask & counted).any(1).all()):
            raise ValueError(f"{name} leaves a prompt without a token; mark one or more in each")
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ValueError(f"top={top!r} is not a number of tokens; choose 64, or 1 at the least")
    size = min(top, predictor.vocab_size)
    ids, values = [], []
    with predictor.evaluating(), torch.inference_mode():
        for rows in row_slices(tokens):
            for features, own in zip(predictor.features(rows), counted[rows], strict=True):
                logits = predictor.logits(features[own.to(features.device)]).cpu()
                best = logits.topk(size, -1).indices
                ids.append(best.int())
                values.append(merge(logits, best, best[:, 0])[0].float())
    kept = tokens.long().cpu().clone()
    return Canary(kept, counted, answers, torch.cat(ids), torch.cat(values), predictor.vocab_size)


def load_canary(path: str | os.PathLike[str]) -> Canary:
    """Read a canary that :meth:`Canary.save` wrote.

    Raises:
        OSError: no such file, a damaged one, or one that holds something else.
    """
    try:
        found = load_file(path)
        classes = int(found.pop("classes"))
        canary = Canary(answers=found.pop("answers", None), classes=classes, **found)
        check_tokens(canary.tokens, classes)
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise OSError(f"{path} holds no canary ({error}); write it with canary.save") from error
    return canary


def question_canary(
    model: nn.Module, count: int, tasks: Iterable[str] = tuple(TASKS), seed: int = 0
) -> Canary:
    """A canary of held-out questions with known answers, for the pocket models.

    Args:
        model: a pocket model, unquantized.
        count: how many questions, the tasks in turn equally often and shuffled.
        tasks: keys of :data:`qlearn.models.pocket.tasks.TASKS`.
        seed: of the questions; another seed gives other ones.

    Raises:
        ValueError: for no tasks, an unknown one, or a count below 1 or above what they have.
    """
    names = list(tasks)
    if not names:
        raise ValueError("tasks is empty; name some of qlearn.models.pocket.tasks.TASKS")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count={count!r} is not a number of questions; choose 1 or more")
    each = -(-count // len(names))
    questions = [q for task in names for q in make_questions(task, each, "evaluation", seed)]
    Random(seed).shuffle(questions)
    questions = questions[:count]
    tokens, answers = question_rows(questions)
    counted = torch.arange(tokens.shape[1] - 1) < torch.tensor([[len(q.text)] for q in questions])
    return make_canary(model, tokens, counted, answers)
