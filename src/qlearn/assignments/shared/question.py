"""A question of an assignment: its points, its cases made from a seed, and its score."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from qlearn.assignments.shared.measured import measured
from qlearn.teach.checks.checker import Exercise, Verdict
from qlearn.teach.checks.checker import check as check_exercise

__all__ = ["Mark", "Packaged", "Question", "points_for", "resolve"]


@dataclass(frozen=True)
class Packaged:
    """Stands for a packaged model among a case's arguments: each process loads its own.

    A model is too large to send for each call. Answers, references and mistakes all receive the
    loaded model in its place.
    """

    name: str

    def load(self) -> Any:
        """The model itself, in float32, made anew so that one call can't spoil the next."""
        from qlearn.models.load import load_model

        return load_model(self.name)


@dataclass(frozen=True)
class Mark:
    """A question's score and the verdict that explains it."""

    question: Question
    points: float
    verdict: Verdict

    def by_part(self) -> list[tuple[str, int, int]]:
        """Per named part of the cases: its name, how many are right, how many there are."""
        names, outcomes = self.question.parts, self.verdict.outcomes
        if not names or len(names) != len(outcomes):
            return []
        return [
            (
                part,
                sum(o for n, o in zip(names, outcomes, strict=True) if n == part),
                names.count(part),
            )
            for part in dict.fromkeys(names)
        ]

    def shown(self, where: str = "on the visible cases") -> Verdict:
        """The verdict with its points, and its parts where some are wrong, added to the detail."""
        line = f"{self.points:g} of {self.question.points} points {where}."
        if not self.verdict.passed and (parts := self.by_part()):
            line += f" By part: {', '.join(f'{part} {k} of {n}' for part, k, n in parts)}."
        return replace(self.verdict, detail="\n".join(filter(None, (self.verdict.detail, line))))


@dataclass(frozen=True)
class Question:
    """What is asked, what it is worth, and how its cases are made.

    Args:
        id: assignment and name, ``"a1.pack"``. Its cells in the notebook have the nbgrader ids
            ``a1_pack`` (solution) and ``a1_pack_check`` (check).
        title: a few words.
        points: what a right answer earns.
        minutes: of a student's time.
        target: one line that the notebook shows: the number to reach, with its tolerance.
        answer: name of the function or variable that the student leaves in the notebook.
        make: seed -> Exercise. Seed 0 gives the visible cases; grading uses the teacher's seed.
            The number and the order of the cases do not depend on the seed.
        blocked: what would be the answer if it were called: ``"qlearn.numerics.packing.pack"`` (a
            name of a module) or ``"qlearn.numerics.packing"`` (all of it). Absent where submissions
            are graded.
        measure: where it is set, ``measure(result, *arguments)`` is compared instead of the result:
            a loss, an accuracy or bytes, found in the trusted process. ``make`` gives a reference
            and mistakes that are measured already (:mod:`qlearn.assignments.shared.measured`).
        parts: a name for each case, so that partial credit can say ``constant rows 0 of 1``.
        seconds: how long one call may take where submissions are graded.
        megabytes: how large one result may be.
        models: whether the packaged models are there where submissions are graded.

    Raises:
        ValueError: where a field cannot make a working question; the message says which.
    """

    id: str
    title: str
    points: int
    minutes: int
    target: str
    answer: str
    make: Callable[[int], Exercise]
    blocked: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    measure: Callable[..., Any] | None = None
    seconds: float = 20.0
    megabytes: int = 64
    models: bool = True

    def __post_init__(self) -> None:
        assignment, dot, name = self.id.partition(".")
        if not (assignment and dot and name.isidentifier()):
            raise ValueError(f"id={self.id!r} needs an assignment and a name, like 'a1.pack'")
        if self.points < 1 or self.minutes < 1:
            raise ValueError(
                f"points={self.points}, minutes={self.minutes} of {self.id}: give 1 or more of each"
            )
        if not self.answer.isidentifier():
            raise ValueError(f"answer={self.answer!r} of {self.id} is not a Python name")
        if not self.title.strip() or not self.target.strip():
            raise ValueError(f"title and target of {self.id} say what to do: write both")
        if not self.seconds > 0 or self.megabytes < 1:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes} of {self.id} must be positive"
            )

    @property
    def cell(self) -> str:
        """The nbgrader id of the solution cell."""
        return self.id.replace(".", "_")

    @property
    def check_cell(self) -> str:
        """The nbgrader id of the check cell."""
        return f"{self.cell}_check"

    def exercise(self, seed: int) -> Exercise:
        """The exercise of that seed; its functions receive models where cases name them."""
        made = _made(self.make, seed)
        if made.id != self.id:
            raise ValueError(f"make of {self.id} gives an exercise {made.id!r}; use the same id")
        if not made.is_function:
            return made
        wrong = {diagnosis: resolve(one) for diagnosis, one in made.mistakes.items()}
        return replace(made, expected=resolve(made.expected), mistakes=wrong)

    def mark(self, answer: Any, seed: int, exercise: Exercise | None = None) -> Mark:
        """Judge an answer on the cases of that seed. A wrong answer never raises.

        Args:
            answer: what the student left.
            seed: of the cases.
            exercise: the exercise of that seed, where the caller has made it before.
        """
        exercise = exercise or self.exercise(seed)
        if exercise.is_function and callable(answer) and not hasattr(answer, "resolves_itself"):
            answer = resolve(answer)
        if self.measure is not None and exercise.is_function and callable(answer):
            answer = measured(answer, self.measure)
        verdict = check_exercise(exercise, answer)
        return Mark(self, points_for(self.points, verdict), verdict)


@functools.lru_cache(maxsize=64)
def _made(make: Callable[[int], Exercise], seed: int) -> Exercise:
    """What a question makes of a seed, made once for a whole class."""
    return make(seed)


def points_for(points: int, verdict: Verdict) -> float:
    """Points times the share of right cases, in halves rounded down; all of them where it passed.

    >>> points_for(4, Verdict("a1.x", "wrong", "", outcomes=(True, True, False)))
    2.5
    """
    if verdict.passed:
        return float(points)
    if verdict.kind == "blank" or not verdict.outcomes:
        return 0.0
    # A wrong answer whose outcomes all pass (it can't be) would still not earn every point.
    return min(
        math.floor(2 * points * sum(verdict.outcomes) / len(verdict.outcomes)) / 2, points - 0.5
    )


def resolve(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the loaded models where it is called with `Packaged` arguments."""

    @functools.wraps(function)
    def resolved(*arguments: Any) -> Any:
        return function(*(a.load() if isinstance(a, Packaged) else a for a in arguments))

    return resolved
