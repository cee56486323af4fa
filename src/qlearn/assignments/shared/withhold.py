"""A verdict that does not give a value away: one wrong try must not earn the points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qlearn.teach.checks.exercise import Exercise
from qlearn.teach.checks.verdict import Verdict

__all__ = ["without_answer"]


def without_answer(exercise: Exercise, verdict: Verdict) -> Verdict:
    """The same verdict, naming the parts that are wrong in place of what was expected.

    A listed mistake keeps its diagnosis, and so does an answer of another kind or length: these
    sentences hold no expected value.

    >>> exercise = Exercise("a1.x", "Give both.", {"scale": 0.2, "zero": 5}, hint="Range first.")
    >>> verdict = Verdict("a1.x", "wrong", "It is 0.1; expected 0.2.", outcomes=(False, True))
    >>> without_answer(exercise, replace(verdict, table=("a row",))).diagnosis
    'Not right: `scale`. Right: `zero`. Range first.'
    """
    if verdict.kind != "wrong" or not verdict.table:
        return verdict
    names = _names(exercise.expected)
    if len(names) != len(verdict.outcomes):
        said = "This is not the value."
    else:
        pairs = list(zip(names, verdict.outcomes, strict=True))
        wrong = ", ".join(name for name, right in pairs if not right)
        rest = ", ".join(name for name, right in pairs if right)
        said = f"Not right: {wrong}." + (f" Right: {rest}." if rest else "")
    diagnosis = " ".join(filter(None, (said, exercise.hint)))
    return replace(verdict, diagnosis=diagnosis, caption="", table=())


def _names(expected: Any) -> list[str]:
    """What a student calls the parts of a value: keys, or places from 1; none of a whole."""
    if isinstance(expected, Mapping):
        return [f"`{key}`" for key in expected]
    if isinstance(expected, list | tuple):
        return [f"number {k + 1}" for k in range(len(expected))]
    return []
