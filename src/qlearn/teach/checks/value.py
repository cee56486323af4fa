"""Check a prediction: a number, or a few of them, within a stated tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch

from qlearn.teach.checks.compare import Difference, Tolerance, leaves
from qlearn.teach.checks.exercise import Exercise
from qlearn.teach.checks.function import safe_compare
from qlearn.teach.checks.hints import hint_for_number
from qlearn.teach.checks.run import is_blank
from qlearn.teach.checks.verdict import Row, Verdict, rows, short

__all__ = ["accepted", "check_value"]

EXACT = Tolerance(rtol=0.0, atol=0.0, exact_integers=False)


def check_value(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on a value that was handed in."""
    if callable(answer):
        diagnosis = "This is a function, but the exercise asks for a value."
        return Verdict(exercise.id, "wrong", diagnosis, "Hand in what it returns.")
    if blanks := _blanks(answer):
        return Verdict(exercise.id, "blank", f"Still blank: {blanks}. {exercise.task}")
    worst = safe_compare(answer, exercise.expected, exercise.tolerance)
    verdict = _judge(exercise, answer, worst)
    return replace(verdict, outcomes=_outcomes(exercise, answer, worst))


def _judge(exercise: Exercise, answer: Any, worst: Difference | None) -> Verdict:
    if worst is None:
        parts = (_with_unit(short(exercise.expected), exercise.unit), accepted(exercise))
        return Verdict(exercise.id, "right", f"Expected: {', '.join(filter(None, parts))}.")
    if known := _find_mistake(exercise, answer):
        return Verdict(exercise.id, "wrong", known, _sentence(accepted(exercise)))
    diagnosis = " ".join(filter(None, (worst.message, _guess(exercise, worst), exercise.hint)))
    caption = "Yours beside the expected" + (f", in {exercise.unit}" if exercise.unit else "")
    table: tuple[Row, ...] = ()
    if worst.kind in ("value", "nan"):
        table = rows(answer, exercise.expected, exercise.rtol, exercise.atol)
    return Verdict(exercise.id, "wrong", diagnosis, _sentence(accepted(exercise)), caption, table)


def accepted(exercise: Exercise) -> str:
    """The tolerance of a prediction in words: ``accepted within 2%``; '' without numbers."""
    numbers = [leaf for _, leaf in leaves(exercise.expected) if _is_number(leaf)]
    if exercise.is_function or not numbers:
        return ""
    bounds = []
    if exercise.rtol >= 1e-4:
        bounds.append(f"{100 * exercise.rtol:g}%")
    if exercise.atol > 1e-3 * max(abs(number) for number in numbers):
        bounds.append(_with_unit(f"{exercise.atol:g}", exercise.unit))
    if not bounds:
        return "accepted when exact"
    return f"accepted within {' plus '.join(bounds)}"


def _outcomes(exercise: Exercise, answer: Any, worst: Difference | None) -> tuple[bool, ...]:
    """Which elements of a list, tuple or mapping are right; of anything else the whole."""
    expected = exercise.expected
    if isinstance(expected, Mapping) and isinstance(answer, Mapping) and expected:
        pairs = [(answer.get(key), item) for key, item in expected.items()]
    elif isinstance(expected, list | tuple) and isinstance(answer, list | tuple) and expected:
        if len(answer) != len(expected):
            return (False,) * len(expected)
        pairs = list(zip(answer, expected, strict=True))
    else:
        return (worst is None,)
    return tuple(safe_compare(a, b, exercise.tolerance) is None for a, b in pairs)


def _find_mistake(exercise: Exercise, answer: Any) -> str:
    """The diagnosis of the listed mistake nearest to the answer, if within tolerance; or ''."""
    near = []
    for diagnosis, wrong in exercise.mistakes.items():
        if safe_compare(answer, wrong, exercise.tolerance) is None:
            exactly = safe_compare(answer, wrong, EXACT)
            near.append((_gap(exactly), diagnosis))
    return min(near)[1] if near else ""


def _gap(difference: Difference | None) -> float:
    """The distance of two numbers; 0 where nothing differs or where there is no distance."""
    if difference is None or not (_is_number(difference.yours) and _is_number(difference.expected)):
        return 0.0
    return float(abs(difference.yours - difference.expected))


def _guess(exercise: Exercise, worst: Difference) -> str:
    """A hint on one wrong leaf of a prediction, or ''."""
    yours, expected = worst.yours, worst.expected
    if isinstance(yours, torch.Tensor) and yours.numel() == 1:
        yours = yours.item()
    if isinstance(yours, str) and _is_number(expected):
        where = f", in {exercise.unit}" if exercise.unit else ""
        return f"Give the bare number without quotes{where}."
    if isinstance(yours, str) and isinstance(expected, str):
        same = yours.strip().lower() == expected.strip().lower()
        return "Mind capitals and spaces." if same else ""
    if worst.kind != "value" or not (_is_number(yours) and _is_number(expected)):
        return ""
    try:
        return hint_for_number(float(yours), float(expected))
    except OverflowError:
        return "Your number is far too large."


def _blanks(answer: Any) -> str:
    try:
        return ", ".join(path or "all" for path, leaf in leaves(answer) if is_blank(leaf))
    except RecursionError:  # a list that holds itself is wrong, not blank
        return ""


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
