"""A class of synthetic students for assignment 1, with the points that each must get.

Honest students answer some questions right, some wrong, some not at all, from the answers that
test the graders (`assignments_cases/a1.py`). What they are due is found without any of the
classroom's machinery: their solution cells run here, one after the other, and `Question.mark`
judges what they leave. Hostile students are those of `hostile_submissions.py`.
"""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from assignments_cases import cases_of, without
from hostile_submissions import ATTACKS, some
from hostile_work import MARKED, ZERO, Work, grade_id

from qlearn.assignments import in_assignment

__all__ = ["NAMES", "due", "make_class", "right_work"]

ASSIGNMENT = "a1"
BEFORE = "import math\nfrom torch import Tensor\n\n"
NAMES = [
    "Ana García",
    "Zoë",
    "李雷",
    "Søren Åberg",
    "O'Brien",
    "Ольга",
    "smith-j",
    "محمد",
    "j.doe+x",
]


def right_work(release: Path, source: Path) -> Work:
    """The released notebook with the author's solutions in it."""
    cells = json.loads(release.read_text(encoding="utf-8"))["cells"]
    solved = {
        grade_id(cell): "".join(cell["source"])
        for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]
        if grade_id(cell)
    }
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        cell.pop("id", None)
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = solved[grade_id(cell)]
    return Work(release.stem, cells)


def due(work: Work, seed: int, calls: bool = False) -> dict[str, float]:
    """Question -> points: the solution cells run in this process, and `mark` judges each."""
    questions = {question.check_cell: question for question in in_assignment(ASSIGNMENT)}
    blocked = tuple(sorted({name for q in questions.values() for name in q.blocked}))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("import torch\n", names)
    points = {}
    for cell in work.cells:
        if question := questions.get(grade_id(cell)):
            with without(blocked) if calls else nullcontext():
                points[question.id] = question.mark(names.get(question.answer), seed).points
        elif cell["metadata"].get("nbgrader", {}).get("solution"):
            with without(blocked) if calls else nullcontext():
                exec(cell["source"], names)
    return points


def make_class(
    submitted: Path,
    release: Path,
    source: Path,
    honest: int,
    hostile: int,
    seed: int,
    attacks: tuple[str, ...] = (),
) -> dict[str, dict[str, float]]:
    """Write a class's submissions below `submitted`; attacks of all kinds, or those named.

    Returns:
        Student -> question -> the points that are due with the cases of that seed.
    """
    expected: dict[str, dict[str, float]] = {}
    for k in range(honest):
        work = right_work(release, source)
        calls = _answer_by_chance(work, random.Random(1000 + k))
        student = f"{NAMES[k % len(NAMES)]} {k:03d}"
        work.write(submitted / student / work.name)
        expected[student] = due(work, seed, calls)
    full = due(right_work(release, source), seed)
    for k in range(hostile):
        chosen = attacks or some(hostile)
        attack = chosen[k % len(chosen)]
        student = f"hostile {k:03d}"
        expected[student] = hostile_student(
            attack, submitted / student, release, source, full, seed
        )
    return expected


def hostile_student(
    attack: str, folder: Path, release: Path, source: Path, full: dict[str, float], seed: int
) -> dict[str, float]:
    """Write one attack's submission; give the points that are due."""
    work = right_work(release, source)
    loss = ATTACKS[attack](work, folder / work.name)
    if loss == ZERO:
        return dict.fromkeys(full, 0.0)
    if loss == MARKED:
        return due(work, seed)
    points = dict(full)
    for short, left in loss.items():
        question = f"{ASSIGNMENT}.{short}"
        if isinstance(left, str):  # a wrong answer whose right cases count
            wrong = right_work(release, source)
            wrong.answer(short, left)
            left = due(wrong, seed)[question]
        points[question] = float(left)
    return points


def _answer_by_chance(work: Work, chance: random.Random) -> bool:
    """Replace solutions; tell whether one of them calls the package."""
    calls = False
    released_blank = "def {name}(*arguments):\n    ...\n"
    for question in in_assignment(ASSIGNMENT):
        answers = cases_of(ASSIGNMENT)[question.id]
        short = question.id.partition(".")[2]
        draw = chance.random()
        if draw < 0.35:
            continue  # the author's
        if draw < 0.6:
            work.answer(short, BEFORE + _plain(chance.choice(answers["right"])))
        elif draw < 0.85:
            work.answer(short, BEFORE + _plain(chance.choice(answers["wrong"])[0]))
        elif draw < 0.9 and answers.get("calls"):
            work.answer(short, BEFORE + _plain(chance.choice(answers["calls"])))
            calls = True
        elif question.exercise(0).is_function:
            work.answer(short, released_blank.format(name=question.answer))
        else:
            work.answer(short, f"{question.answer} = ...\n")
    return calls


def _plain(source: str) -> str:
    from textwrap import dedent

    return dedent(source)
