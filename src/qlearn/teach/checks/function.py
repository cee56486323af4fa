"""Check a function: call it on every case, and say what the outcomes show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from qlearn.teach.checks.compare import Difference, Tolerance, compare, describe
from qlearn.teach.checks.exercise import Exercise
from qlearn.teach.checks.hints import hint_for_outputs
from qlearn.teach.checks.run import Case, Outcome, arity_problem, call_text, is_blank, run
from qlearn.teach.checks.verdict import Row, Verdict, rows, short

__all__ = ["check_function", "safe_compare"]


@dataclass(frozen=True)
class Trial:
    """An answer's outcome in one case, the reference's, and the difference between the two."""

    call: str
    ours: Outcome
    theirs: Outcome
    difference: Difference | None


def check_function(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on a function that was handed in.

    Raises:
        ValueError: where the exercise's own reference fails on one of its cases.
    """
    if not callable(answer):
        diagnosis = f"This is {describe(answer)}, but the exercise asks for a function."
        return Verdict(exercise.id, "wrong", diagnosis, "Hand in its name, without parentheses.")
    cases = exercise.build_cases()
    if problem := arity_problem(answer, cases[0], exercise.parameters):
        return Verdict(exercise.id, "wrong", f"The function has the wrong parameters. {problem}")
    trials = _try(exercise, answer, cases)
    if all(_left_blank(trial.ours) for trial in trials):
        blank = f"`{_name(answer)}` returns nothing yet. {exercise.task}"
        return Verdict(exercise.id, "blank", blank)
    outcomes = tuple(not (trial.difference or trial.ours.changed) for trial in trials)
    for trial in trials:
        if trial.ours.changed:
            diagnosis = f"The function changes its argument `{trial.ours.changed}` in place."
            note = f"The caller still needs it: return a new one. {trial.call}"
            return Verdict(exercise.id, "wrong", diagnosis, note, outcomes=outcomes)
    if all(outcomes):
        passed = f"{len(trials)} of {len(trials)} cases pass."
        return Verdict(exercise.id, "right", passed, outcomes=outcomes)
    return replace(_explain(exercise, cases, trials), outcomes=outcomes)


def safe_compare(yours: Any, expected: Any, tolerance: Tolerance) -> Difference | None:
    """`compare` for answers of any kind: one that breaks the comparison is a wrong answer too."""
    try:
        return compare(yours, expected, tolerance)
    except Exception as error:
        message = f"The result cannot be compared ({type(error).__name__}: {error})."
        return Difference("type", message, "", yours, expected)


def _try(exercise: Exercise, answer: Any, cases: list[Case]) -> list[Trial]:
    trials = []
    names = exercise.parameters
    for k, case in enumerate(cases):
        call = f"Case {k + 1} of {len(cases)}: `{call_text(_name(answer), case, names, short)}`."
        theirs = run(exercise.expected, case, names)
        if theirs.error is not None:
            raise ValueError(f"expected of {exercise.id} raises {theirs.error!r}. {call}")
        ours = run(answer, case, names)
        difference = None
        if ours.error is not None:
            difference = Difference("error", _error_text(ours.error), "", None, theirs.value)
        elif ours.value is None and theirs.value is not None:
            message = "The function returns nothing here: is there a branch without a return?"
            difference = Difference("type", message, "", None, theirs.value)
        else:
            difference = safe_compare(ours.value, theirs.value, exercise.tolerance)
        trials.append(Trial(call, ours, theirs, difference))
    return trials


def _explain(exercise: Exercise, cases: list[Case], trials: list[Trial]) -> Verdict:
    """A mismatch: the listed mistake that behaves the same, or the worst case and a hint."""
    known = _find_mistake(exercise, cases, trials)
    size = [trial.difference.size if trial.difference else -1.0 for trial in trials]
    k = size.index(max(size))
    worst, difference = trials[k], trials[k].difference
    assert difference is not None
    right = sum(trial.difference is None for trial in trials)
    detail = f"{worst.call} Right in {right} of {len(trials)} cases."
    if difference.kind == "error":
        return Verdict(exercise.id, "wrong", known or difference.message, detail)
    table: tuple[Row, ...] = ()
    if difference.kind in ("value", "nan"):
        table = rows(worst.ours.value, worst.theirs.value, exercise.rtol, exercise.atol)
    caption = f"Yours beside the expected, case {k + 1}"
    if known:
        return Verdict(exercise.id, "wrong", known, detail, caption, table)
    parts = [difference.message, _guess(trials), exercise.hint]
    diagnosis = " ".join(part for part in parts if part)
    return Verdict(exercise.id, "wrong", diagnosis, detail, caption, table)


def _find_mistake(exercise: Exercise, cases: list[Case], trials: list[Trial]) -> str:
    """The diagnosis of the listed mistake that does the same in every case, or ''."""
    for diagnosis, wrong in exercise.mistakes.items():
        theirs = (run(wrong, case, exercise.parameters) for case in cases)
        pairs = zip(trials, theirs, strict=True)
        if all(_alike(trial, other, exercise.tolerance) for trial, other in pairs):
            return diagnosis
    return ""


def _alike(trial: Trial, mistake: Outcome, tolerance: Tolerance) -> bool:
    ours = trial.ours
    if ours.error is not None or mistake.error is not None:
        return type(ours.error) is type(mistake.error)
    bounds = tolerance.for_mistake(trial.theirs.value, mistake.value)
    return safe_compare(ours.value, mistake.value, bounds) is None


def _guess(trials: list[Trial]) -> str:
    """A numerical hint; none where an outcome is an error or of a kind that has no numbers."""
    if any(trial.ours.error for trial in trials):
        return ""
    try:
        return hint_for_outputs(
            [trial.ours.value for trial in trials], [trial.theirs.value for trial in trials]
        )
    except (RuntimeError, TypeError, ValueError, OverflowError):  # an odd tensor, an odd object
        return ""


def _left_blank(outcome: Outcome) -> bool:
    if outcome.error is not None:
        return isinstance(outcome.error, NotImplementedError)
    return is_blank(outcome.value) and not outcome.changed


def _error_text(error: BaseException) -> str:
    text = str(error).strip()
    text = f"{text[:297]}..." if len(text) > 300 else text
    return f"The function raises {type(error).__name__}{': ' if text else ''}{text or '.'}"


def _name(function: Any) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    return "answer" if name == "<lambda>" else name
