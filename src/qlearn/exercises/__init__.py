"""The exercises of every chapter, looked up by id: ``ch02.scale`` is in ``qlearn.exercises.ch02``.

A chapter's module holds a list ``EXERCISES``; it is imported when one of its exercises is first
asked for. Each id is the module's name, a dot and a short name.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from qlearn.teach.checks.checker import Exercise, Verdict
from qlearn.teach.checks.checker import check as check_exercise

__all__ = ["chapters", "check", "find", "in_chapter"]


def chapters() -> list[str]:
    """Names of all chapter modules that hold exercises, sorted: ``["ch01", "ch02", ...]``."""
    return sorted(module.name for module in iter_modules(__path__) if module.name[:2] == "ch")


def in_chapter(chapter: str) -> list[Exercise]:
    """A chapter's exercises in their order.

    Raises:
        ValueError: where no such chapter exists, or two of its exercises share an id.
    """
    if chapter not in chapters():
        known = ", ".join(chapters()) or "none yet"
        raise ValueError(f"chapter={chapter!r} has no exercises; chapters that have: {known}")
    exercises: list[Exercise] = import_module(f"{__name__}.{chapter}").EXERCISES
    ids = [exercise.id for exercise in exercises]
    wrong = sorted({i for i in ids if ids.count(i) > 1 or not i.startswith(f"{chapter}.")})
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)} in {chapter}: an id is '{chapter}.' and a name, used once"
        )
    return exercises


def find(exercise_id: str) -> Exercise:
    """The exercise of that id.

    Raises:
        ValueError: where there is none; the message names the nearest ids.
    """
    chapter = exercise_id.partition(".")[0]
    known = {exercise.id: exercise for exercise in in_chapter(chapter)}
    if exercise_id not in known:
        near = get_close_matches(exercise_id, known, n=3, cutoff=0.5) or sorted(known)
        raise ValueError(f"exercise_id={exercise_id!r} does not exist; try {', '.join(near)}")
    return known[exercise_id]


def check(exercise: Exercise | str, answer: Any) -> Verdict:
    """Check an answer to an exercise, or to the one of an id (``"ch02.scale"``).

    Args:
        exercise: an exercise, or the id of one.
        answer: a function, or the predicted value. None and ``...`` count as blank.

    Returns:
        A verdict that is true where the answer passed, and that Jupyter shows with a table.

    Raises:
        ValueError: for an id that does not exist, or an exercise whose own reference fails.
    """
    return check_exercise(find(exercise) if isinstance(exercise, str) else exercise, answer)
