"""Prove that an exercise's check can fail, and that it tells its mistakes apart.

A check that accepts a blank, a constant, or a result that is wrong by half is no check. Each
exercise of the course goes through this in the tests; one written elsewhere can do so too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from qlearn.teach.checks.checker import Exercise, check
from qlearn.teach.checks.run import run

__all__ = ["prove"]

LEAST_MISTAKES = 3


def prove(exercise: Exercise) -> None:
    """Try the reference, the blank, every listed mistake and a few spoilt references.

    Raises:
        ValueError: with the first thing that is wrong with the exercise.
    """
    if len(exercise.mistakes) < LEAST_MISTAKES:
        raise _bad(exercise, f"lists {len(exercise.mistakes)} mistakes; list {LEAST_MISTAKES}")
    reference = check(exercise, exercise.expected)
    if not reference:
        raise _bad(exercise, f"refuses its own reference: {reference.message}")
    for blank in (None, ..., *([_returns_nothing, _raises_blank] if exercise.is_function else [])):
        _prove_blank(exercise, blank)
    for diagnosis, wrong in exercise.mistakes.items():
        verdict = check(exercise, wrong)
        if verdict.kind != "wrong":
            raise _bad(exercise, f"does not refuse its mistake {diagnosis!r}: {verdict.message}")
        if verdict.diagnosis != diagnosis:
            raise _bad(
                exercise, f"gives its mistake {diagnosis!r} the diagnosis {verdict.diagnosis!r}"
            )
    for name, spoilt in _spoilt_answers(exercise).items():
        if check(exercise, spoilt):
            raise _bad(exercise, f"accepts {name}; add cases, or lower rtol and atol")


def _prove_blank(exercise: Exercise, blank: Any) -> None:
    verdict = check(exercise, blank)
    if verdict.kind != "blank" or exercise.task not in verdict.message:
        raise _bad(exercise, f"does not tell a blank what is asked: {verdict.message}")


def _spoilt_answers(exercise: Exercise) -> dict[str, Any]:
    """Answers that no check may accept, each with a name. Left out where they change nothing."""
    changes: dict[str, Callable[[Any], Any]] = {
        "a result 1.5 times too large": lambda value: value * 1.5,
        "a result of the wrong sign": lambda value: -value,
        "zeros": lambda value: value * 0,
        "the opposite": lambda value: value,
    }
    if not exercise.is_function:
        spoilt = {name: _spoil(exercise.expected, change) for name, change in changes.items()}
        return {name: value for name, value in spoilt.items() if value is not None}
    cases, names = exercise.build_cases(), exercise.parameters
    results = [run(exercise.expected, case, names).value for case in cases]
    functions: dict[str, Any] = {"the first case's result for every case": lambda *_: results[0]}
    for name, change in changes.items():
        if any(_spoil(result, change) is not None for result in results):
            functions[name] = _spoilt_function(exercise, change)
    return functions


def _spoilt_function(exercise: Exercise, change: Callable[[Any], Any]) -> Callable[..., Any]:
    def spoilt(*arguments: Any) -> Any:
        result = exercise.expected(*arguments)
        changed = _spoil(result, change)
        return result if changed is None else changed

    return spoilt


def _spoil(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with every number changed and every bool turned over; None where that is no change.

    Integer tensors keep their dtype, so that the values themselves are what the check must catch.
    """
    if isinstance(value, Mapping):
        items = {key: _spoil(item, change) for key, item in value.items()}
        if all(item is None for item in items.values()):
            return None
        return {key: value[key] if item is None else item for key, item in items.items()}
    if isinstance(value, list | tuple):
        parts = [_spoil(item, change) for item in value]
        if all(part is None for part in parts):
            return None
        return [old if new is None else new for old, new in zip(value, parts, strict=True)]
    if isinstance(value, torch.Tensor):
        if value.dtype == torch.bool:
            return ~value if value.numel() else None
        changed = change(value.to(torch.float64)).to(value.dtype)
        return None if torch.equal(changed, value) else changed
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"not {value}"
    if isinstance(value, int | float):
        return None if change(value) == value else change(value)
    return None


def _returns_nothing(*_: Any) -> None:
    return None


def _raises_blank(*_: Any) -> None:
    raise NotImplementedError


def _bad(exercise: Exercise, text: str) -> ValueError:
    return ValueError(f"exercise {exercise.id} {text}")
