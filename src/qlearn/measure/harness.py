"""A task of one's own for lm-evaluation-harness, and error bars for two models on one task.

The harness reads a task from a folder: a file of questions, one JSON object a line, and a YAML file
that says how to ask them. Nothing needs to be on the hub.

Two models that answer the same questions are compared question by question: most answers agree, so
the difference is known far better than either accuracy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from qlearn import needs
from qlearn.models.text import load_reviews

TASK = "movie_sentiment"
LABELS = ("negative", "positive")
REVIEWS = 1000
# The prompt is that of qlearn.measure.answers.sentiment_scores, so both must choose alike.
_YAML = """\
task: {task}
dataset_path: json            # a local file: `datasets` reads it without the hub
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice  # the likelier continuation is the answer
doc_to_text: "Movie review: {{{{review}}}}\\nThe sentiment of this review is"
doc_to_choice: {labels}
doc_to_target: label          # the right one's place among the choices
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def review_questions(count: int = REVIEWS, seed: int = 0) -> list[dict[str, Any]]:
    """A seeded sample of the movie reviews as questions: ``{"review": ..., "label": 0 or 1}``.

    Args:
        count: how many, 1 to 10,605.
        seed: of the sample.

    Raises:
        ValueError: for a count out of its range.
        OSError: where the reviews are neither in the cache nor within reach.
    """
    texts, ratings = load_reviews()
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or not 1 <= count <= len(texts):
        raise ValueError(
            f"count={count!r} is out of range; choose a whole number, 1 to {len(texts)}"
        )
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))
    return [{"review": texts[i], "label": int(ratings[i] > 0)} for i in order[:count].tolist()]


def write_task(
    folder: str | os.PathLike[str], questions: Sequence[dict[str, Any]] | None = None
) -> Path:
    """Write a task's two files, ``movie_sentiment.jsonl`` and ``movie_sentiment.yaml``.

    Args:
        folder: made where it is missing.
        questions: as :func:`review_questions` returns them, which is also the default.

    Returns:
        The YAML file's path.

    Raises:
        ValueError: for no questions, or one without a review or a label.
        OSError: where the folder can't be written.
    """
    asked = review_questions() if questions is None else list(questions)
    if not asked:
        raise ValueError("questions is empty; take some with review_questions(1000)")
    for question in asked:
        if not question.get("review") or question.get("label") not in (0, 1):
            raise ValueError(
                f"questions holds {question!r:.80}; give each a 'review', and a 'label' that is 0 "
                "(negative) or 1 (positive)"
            )
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{TASK}.jsonl"
    lines = [json.dumps(question, ensure_ascii=False) for question in asked]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = folder / f"{TASK}.yaml"
    # What JSON quotes, YAML reads.
    text = _YAML.format(task=TASK, data=json.dumps(str(data)), labels=json.dumps(LABELS))
    task.write_text(text, encoding="utf-8")
    return task


@dataclass(frozen=True)
class TaskResult:
    """What the harness found.

    Attributes:
        accuracy: share of right answers, 0 to 1.
        standard_error: of the accuracy, as the harness gives it.
        right: for each question, whether its answer is right.
    """

    accuracy: float
    standard_error: float
    right: tuple[bool, ...]


def run_harness(
    model: Any, tokenizer: Any, folder: str | os.PathLike[str], batch_size: int = 16
) -> TaskResult:
    """Let lm-evaluation-harness ask a model the questions of :func:`write_task`.

    Args:
        model: a transformers model, quantized or not.
        tokenizer: its tokenizer.
        folder: where the task lies.
        batch_size: questions at a time.

    Raises:
        OSError: where the folder holds no task.
        ImportError: where the harness is missing, with the command that installs it.
    """
    if not (Path(folder) / f"{TASK}.yaml").is_file():
        raise FileNotFoundError(f"{folder} holds no {TASK}.yaml; write it with write_task(folder)")
    try:
        with needs("toolbox"):
            from lm_eval import simple_evaluate
            from lm_eval.models.huggingface import HFLM
            from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ImportError("lm-evaluation-harness is missing; run `pip install lm_eval`") from error
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu"),
        tasks=[TASK],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=100,  # a mean has a formula for its error; 0 would leave that out too
    )
    result = found["results"][TASK]
    samples = sorted(found["samples"][TASK], key=lambda sample: sample["doc_id"])
    right = tuple(bool(sample["acc"]) for sample in samples)
    return TaskResult(result["acc,none"], result["acc_stderr,none"], right)


@dataclass(frozen=True)
class Paired:
    """Two models on the same questions.

    Attributes:
        difference: accuracy of the second less that of the first.
        standard_error: of the difference, question by question.
        unpaired_standard_error: what it would be with other questions for each model.
        lost: questions that only the first answers.
        won: questions that only the second answers.
    """

    difference: float
    standard_error: float
    unpaired_standard_error: float
    lost: int
    won: int

    @property
    def standard_errors(self) -> float:
        """How many standard errors the difference is away from 0; 2 or more is seldom chance."""
        if self.standard_error == 0:
            return 0.0 if self.difference == 0 else float("inf")
        return abs(self.difference) / self.standard_error


def standard_error(right: Sequence[bool]) -> float:
    """Standard error of an accuracy, from a sample's own spread (``n - 1``), as the harness does.

    Raises:
        ValueError: for fewer than two questions.

    >>> round(standard_error([True] * 80 + [False] * 20), 4)
    0.0402
    """
    return _standard_error([float(each) for each in right])


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compare two models by the questions that they answer differently.

    Args:
        before: whether the first model answers each question.
        after: the same of the second, in the same order.

    Raises:
        ValueError: for sequences of different length, or of fewer than two questions.

    >>> found = paired_difference([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0])
    >>> found.difference, found.lost, found.won
    (-0.125, 1, 0)
    """
    if len(before) != len(after):
        raise ValueError(
            f"before has {len(before)} answers and after {len(after)}; give both models the same "
            "questions in the same order"
        )
    steps = [int(bool(b)) - int(bool(a)) for a, b in zip(before, after, strict=True)]
    error = _standard_error([float(step) for step in steps])
    return Paired(
        difference=sum(steps) / len(steps),
        standard_error=error,
        unpaired_standard_error=sqrt(standard_error(before) ** 2 + standard_error(after) ** 2),
        lost=steps.count(-1),
        won=steps.count(1),
    )


def _standard_error(values: Sequence[float]) -> float:
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} questions have no spread; ask two at the least, better 1,000")
    mean = sum(values) / count
    return sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
