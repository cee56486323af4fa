"""The assignments' questions, looked up by id: ``a1.pack`` is in ``qlearn.assignments.a1``.

An assignment's module holds a list ``QUESTIONS``; it is imported when one of its questions is
first asked for. ``check`` is what a notebook's check cell calls.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from qlearn.assignments.shared.question import Packaged, Question
from qlearn.assignments.shared.withhold import without_answer
from qlearn.teach.checks.checker import Verdict

__all__ = ["Packaged", "Question", "assignments", "check", "find", "in_assignment"]


def assignments() -> list[str]:
    """Names of all assignment modules, sorted: ``["a0", "a1", ...]``."""
    names = [module.name for module in iter_modules(__path__)]
    return sorted(name for name in names if re.fullmatch(r"a\d", name))


def in_assignment(assignment: str) -> list[Question]:
    """An assignment's questions in their order.

    Raises:
        ValueError: where no such assignment exists, or two of its questions share an id.
    """
    if assignment not in assignments():
        known = ", ".join(assignments()) or "none yet"
        raise ValueError(f"assignment={assignment!r} does not exist; there are: {known}")
    questions: list[Question] = import_module(f"{__name__}.{assignment}").QUESTIONS
    ids = [question.id for question in questions]
    wrong = sorted({i for i in ids if ids.count(i) > 1 or not i.startswith(f"{assignment}.")})
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)} in {assignment}: an id is '{assignment}.' and a name, used once"
        )
    return questions


def find(question_id: str) -> Question:
    """The question of that id.

    Raises:
        ValueError: where there is none; the message names the nearest ids.
    """
    known = {question.id: question for question in in_assignment(question_id.partition(".")[0])}
    if question_id not in known:
        near = get_close_matches(question_id, known, n=3, cutoff=0.5) or sorted(known)
        raise ValueError(f"question_id={question_id!r} does not exist; try {', '.join(near)}")
    return known[question_id]


def check(question_id: str, answer: Any) -> Verdict:
    """Check an answer on the visible cases and say how many points they give.

    Grading uses other cases, made with the teacher's seed. A value that is predicted or worked out
    by hand is the same for both: there the check says which part is wrong, and keeps the answer.
    """
    question = find(question_id)
    mark = question.mark(answer, seed=0)
    if not question.exercise(0).is_function:
        mark = replace(mark, verdict=without_answer(question.exercise(0), mark.verdict))
    return mark.shown()
