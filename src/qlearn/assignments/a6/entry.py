"""The capstone's question: an entry, evaluated, with points by the published curve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qlearn.assignments.shared.question import Mark, Question
from qlearn.course.capstone import CAPSTONE, EntryError, Track, evaluate_entry
from qlearn.teach.checks.checker import Exercise, Verdict
from qlearn.teach.checks.run import is_blank

__all__ = ["FILE", "EntryQuestion", "make_entry", "submitted"]

FILE = "entry.bin"
_submission: ContextVar[tuple[Path, int]] = ContextVar("_submission", default=(Path(), 0))


@contextmanager
def submitted(folder: Path, code: int) -> Iterator[None]:
    """Say where the entry's file lies and how many bytes the notebook's code has.

    The grader says so for each submission. Otherwise the file lies in the working directory, and
    code is not counted.
    """
    token = _submission.set((folder, code))
    try:
        yield
    finally:
        _submission.reset(token)


@dataclass(frozen=True)
class EntryQuestion(Question):
    """A question whose answer is a decoder, and whose case is the submission's own file.

    Points follow :func:`qlearn.course.capstone.share_of_points`. The seed changes nothing: the
    budget and the text are the same for all.
    """

    track: Track = CAPSTONE

    def mark(self, answer: Any, seed: int, exercise: Exercise | None = None) -> Mark:
        """Evaluate the entry. What breaks a rule earns nothing, and the verdict names the rule."""
        exercise = exercise or self.exercise(seed)
        if is_blank(answer):
            return Mark(self, 0.0, Verdict(self.id, "blank", exercise.task))
        if not callable(answer):
            return self._none(f"`{self.answer}` is no function: keep the name, write its body.")
        folder, code = _submission.get()
        if not (folder / FILE).is_file():
            if _gives_nothing(answer):
                return self._blank(exercise)
            return self._none(f"There is no {FILE} beside the notebook: hand it in with it.")
        try:
            entry = evaluate_entry(folder / FILE, _or_blank(answer), self.track, code)
        except _BlankError:
            return self._blank(exercise)
        except EntryError as problem:
            return self._none(f"This entry can't be taken: {problem}.")
        except (Exception, SystemExit) as error:
            return self._none(f"`{self.answer}` raises {type(error).__name__}: {error}")
        points = entry.points(self.points)
        kind = "right" if points > 0 else "wrong"
        worse = "No better than rounding to nearest" if entry.share <= 0 else "Not half a point yet"
        words = f"{entry}." if points > 0 else f"{worse}. {entry}."
        return Mark(self, points, Verdict(self.id, kind, words))  # type: ignore[arg-type]

    def _blank(self, exercise: Exercise) -> Mark:
        text = f"`{self.answer}` returns nothing yet. {exercise.task}"
        return Mark(self, 0.0, Verdict(self.id, "blank", text))

    def _none(self, diagnosis: str) -> Mark:
        return Mark(self, 0.0, Verdict(self.id, "wrong", diagnosis))


class _BlankError(Exception):
    """The decoder's body is still the blank."""


def _or_blank(decode: Any) -> Any:
    def call(data: Any) -> Any:
        result = decode(data)
        if is_blank(result):
            raise _BlankError
        return result

    return call


def _gives_nothing(decode: Any) -> bool:
    """Whether the decoder's body is still the blank; one that fails without a file is not."""
    try:
        return bool(is_blank(decode(torch.zeros(0, dtype=torch.uint8))))
    except (Exception, SystemExit):
        return False


def make_entry(_: int) -> Exercise:
    """What the capstone asks for. Its measure is no comparison, so the value stands for 'all'."""
    return Exercise(
        id="a6.entry",
        task=f"Write `decode(data)` for your own {FILE}: from the file's bytes, a uint8 tensor, to "
        "a dict of float tensors, one for each parameter of smollm2-135m.",
        expected=1.0,
    )
