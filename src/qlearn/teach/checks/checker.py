"""Exercises and their checker: is the answer right, and if not, which mistake does it show?

An exercise asks for a function or for a prediction (a number, or several). It lists plausible
mistakes as code, so that an answer which behaves like one of them gets that mistake's diagnosis;
any other wrong answer gets yours beside the expected, and a numerical hint.

>>> double = Exercise(
...     id="demo.double",
...     task="Write `double(x)`, twice its argument.",
...     expected=lambda x: 2 * x,
...     cases=((1.0,), (3.0,)),
...     mistakes={"That is the square.": lambda x: x * x},
... )
>>> check(double, lambda x: x + x).passed
True
>>> check(double, lambda x: x**2).diagnosis
'That is the square.'
"""

from __future__ import annotations

from typing import Any

from qlearn.teach.checks.exercise import Exercise
from qlearn.teach.checks.function import check_function
from qlearn.teach.checks.run import is_blank
from qlearn.teach.checks.value import accepted, check_value
from qlearn.teach.checks.verdict import Verdict

__all__ = ["Exercise", "Verdict", "check"]


def check(exercise: Exercise, answer: Any) -> Verdict:
    """Check an answer. A wrong one never raises: it gets a verdict that says why.

    Args:
        exercise: an exercise.
        answer: a function, or the predicted value. None and ``...`` count as blank.

    Returns:
        A verdict that is true where the answer passed, and that Jupyter shows with a table.

    Raises:
        ValueError: for an exercise whose own reference fails.
    """
    if is_blank(answer):
        within = accepted(exercise)
        return Verdict(exercise.id, "blank", exercise.task, within and f"A number is {within}.")
    if exercise.is_function:
        return check_function(exercise, answer)
    return check_value(exercise, answer)
