"""Exercise: what is asked, the reference answer, its cases, and the mistakes it knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qlearn.teach.checks.compare import Tolerance
from qlearn.teach.checks.run import Case, is_blank

__all__ = ["Exercise"]


@dataclass(frozen=True)
class Exercise:
    """What is asked, the reference answer, and the mistakes that have a diagnosis of their own.

    Args:
        id: chapter and name, ``"ch02.scale"``.
        task: one or two sentences that say what to write or predict; a blank is told this.
        expected: a reference function, or the value to predict (number, string, bool, or a list,
            tuple or dict of these).
        cases: for a function: tuples of positional arguments, or a function without arguments that
            makes them (for cases that are costly to make). Answers get copies.
        mistakes: diagnosis sentence -> the wrong function or value that shows this mistake.
        rtol, atol: elementwise bounds, ``|yours - expected| <= atol + rtol * |expected|``. Two
            integers that a function returns are compared exactly.
        unit: unit of a prediction (``"GB"``), for messages.
        exact_dtype: False lets a tensor have another dtype of the same kind (int64 for uint8).
        hint: one sentence shown with a mismatch that no listed mistake explains.

    Raises:
        ValueError: where a field cannot make a working exercise; the message says which.
    """

    id: str
    task: str
    expected: Any
    cases: Sequence[Case] | Callable[[], Sequence[Case]] = ()
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    rtol: float = 1e-5
    atol: float = 1e-6
    unit: str = ""
    exact_dtype: bool = True
    hint: str = ""

    def __post_init__(self) -> None:
        if "." not in self.id.strip("."):
            raise ValueError(
                f"id={self.id!r} needs a chapter and a name; write it like 'ch02.scale'"
            )
        if not self.task.strip():
            raise ValueError(f"task of {self.id} is empty; say what to write or predict")
        if not 0 <= self.rtol < 0.5 or not 0 <= self.atol < float("inf"):
            raise ValueError(
                f"rtol={self.rtol}, atol={self.atol} of {self.id} are out of range; choose rtol "
                "from 0 to below 0.5 and a finite atol of 0 or more"
            )
        if is_blank(self.expected):
            raise ValueError(f"expected of {self.id} is blank; give a function or a value")
        if self.is_function and not callable(self.cases) and not self.cases:
            raise ValueError(f"cases of {self.id} is empty; give at least one tuple of arguments")
        for diagnosis, wrong in self.mistakes.items():
            if callable(wrong) != self.is_function:
                kind = "a function" if self.is_function else "a value"
                raise ValueError(
                    f"mistake {diagnosis!r} of {self.id} is not {kind}, as expected is"
                )

    @property
    def is_function(self) -> bool:
        """Whether the exercise asks for a function."""
        return callable(self.expected)

    @property
    def tolerance(self) -> Tolerance:
        """The bounds in the form that the comparison takes."""
        return Tolerance(self.rtol, self.atol, self.exact_dtype, exact_integers=self.is_function)

    @property
    def parameters(self) -> list[str]:
        """Names of the reference function's parameters."""
        return list(inspect.signature(self.expected).parameters) if self.is_function else []

    def build_cases(self) -> list[Case]:
        """The tuples of arguments, made now if they are made by a function."""
        cases = list(self.cases() if callable(self.cases) else self.cases)
        if not cases or not all(isinstance(case, tuple) for case in cases):
            raise ValueError(f"cases of {self.id} must be tuples of arguments; write (x,) for one")
        return cases
