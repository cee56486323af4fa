"""Every exercise of every chapter: proven, posed in its notebook, told apart from mistakes."""

import ast
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qlearn.exercises import chapters, find, in_chapter
from qlearn.teach.checks.checker import Exercise, check
from qlearn.teach.checks.proof import prove

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
EXERCISES = [exercise for chapter in chapters() for exercise in in_chapter(chapter)]
FENCE = re.compile(r"^```python\n(.*?)^```\s*$", re.DOTALL | re.MULTILINE)

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


@dataclass(frozen=True)
class Posed:
    """An exercise in its notebook: the cell's code, its output, the answer's expression, and the
    solution from the dropdown that follows; ``imports`` are those of the cells before it."""

    code: str
    output: str
    answer: str
    solution: str
    imports: str


def check_calls(code: str) -> list[tuple[str, str]]:
    """Every ``check("id", answer)`` in a cell, as the id and the source of the answer."""
    return [
        (node.args[0].value, ast.unparse(node.args[1]))
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "check"
        and len(node.args) == 2
        and isinstance(node.args[0], ast.Constant)
    ]


def imports_of(code: str) -> str:
    """The top-level import statements of a cell; not the bootstrap's, which stand in a branch."""
    body = ast.parse(code).body
    return "".join(
        f"{ast.unparse(node)}\n" for node in body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def plain(cell: dict[str, Any]) -> str:
    """All plain-text output of a code cell."""
    found = []
    for output in cell["outputs"]:
        found += output.get("text", []) or output.get("data", {}).get("text/plain", [])
    return "".join(found)


def posed_in(path: Path) -> dict[str, list[Posed]]:
    """The exercises of a notebook by id."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found: dict[str, list[Posed]] = {}
    imports = ""
    for k, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        code = "".join(cell["source"])
        if re.match(r"\s*%", code):  # a cell of magics is not Python
            continue
        imports += imports_of(code)
        for exercise_id, answer in check_calls(code):
            solution = solution_after(cells[k + 1 :])
            posed = Posed(code, plain(cell), answer, solution, imports)
            found.setdefault(exercise_id, []).append(posed)
    return found


def solution_after(cells: list[dict[str, Any]]) -> str:
    """The Python in the first dropdown before the next code cell; '' where there is none."""
    for cell in cells:
        if cell["cell_type"] == "code":
            return ""
        text = "".join(cell["source"])
        if "dropdown" in text or "<details" in text:
            return "\n".join(FENCE.findall(text))
    return ""


def notebook_of(chapter: str) -> Path:
    """The notebook of a chapter's exercises."""
    return next((path for path in NOTEBOOKS if path.name[:2] == chapter[2:]), ROOT / chapter)


def posed(exercise: Exercise) -> Posed:
    found = posed_in(notebook_of(exercise.id.partition(".")[0])).get(exercise.id, [])
    assert len(found) == 1, f"{exercise.id} is checked in {len(found)} cells of its notebook"
    return found[0]


def answer_from(posed: Posed, code: str) -> Any:
    """Run code after the notebook's imports, and evaluate what the cell hands in."""
    names: dict[str, Any] = {"check": lambda *_: None}
    exec(posed.imports, names)
    names["check"] = lambda *_: None
    exec(code, names)
    return eval(posed.answer, names)


def cases_of(chapter: str) -> dict[str, dict[str, list[Any]]]:
    """The hand-written answers of a chapter: ``CASES`` in ``exercises_cases/chNN.py``."""
    path = Path(__file__).parents[1] / "helpers" / "exercises_cases" / f"{chapter}.py"
    assert path.is_file(), f"{path.name} with hand-written answers is missing"
    spec = importlib.util.spec_from_file_location(f"exercises_cases_{chapter}", path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases: dict[str, dict[str, list[Any]]] = module.CASES
    return cases


def test_every_notebook_has_exercises():
    numbers = {path.name[:2] for path in NOTEBOOKS}
    assert {"01", "02", "03", "04"} <= numbers
    assert {f"ch{number}" for number in numbers} == set(chapters())


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_poses_exactly_its_exercises(chapter):
    ids = [exercise.id for exercise in in_chapter(chapter)]
    assert len(ids) >= 3
    assert list(posed_in(notebook_of(chapter))) == ids
    assert sorted(cases_of(chapter)) == sorted(ids)
    assert [find(exercise_id).id for exercise_id in ids] == ids


@each_exercise
def test_it_is_proven(exercise):
    prove(exercise)
    diagnoses = {check(exercise, wrong).diagnosis for wrong in exercise.mistakes.values()}
    assert len(diagnoses) == len(exercise.mistakes) >= 3


@each_exercise
def test_the_notebook_shows_a_blank_that_says_what_is_asked(exercise):
    cell = posed(exercise)
    assert f"Not answered yet ({exercise.id})" in cell.output
    verdict = check(exercise, answer_from(cell, cell.code))
    assert verdict.kind == "blank", verdict.message
    assert exercise.task in verdict.message
    assert verdict.message.strip() in cell.output


@each_exercise
def test_the_notebooks_solution_passes(exercise):
    cell = posed(exercise)
    assert cell.solution, f"no dropdown with a python fence follows {exercise.id}"
    check(exercise, answer_from(cell, cell.solution)).require()


@each_exercise
def test_other_right_answers_pass(exercise):
    right = cases_of(exercise.id.partition(".")[0])[exercise.id]["right"]
    assert right, f"{exercise.id} needs a second correct solution"
    for answer in right:
        assert answer is not exercise.expected
        check(exercise, answer).require()


@each_exercise
def test_hand_written_wrong_answers_fail_with_the_right_diagnosis(exercise):
    wrong = cases_of(exercise.id.partition(".")[0])[exercise.id]["wrong"]
    diagnoses = set()
    for answer, words in wrong:
        assert len(words) >= 6, f"{words!r} is too short to tell a diagnosis"
        verdict = check(exercise, answer)
        assert verdict.kind == "wrong", verdict.message
        assert words in verdict.diagnosis, f"{words!r} not in: {verdict.message}"
        diagnoses.add(verdict.diagnosis)
    assert len(diagnoses) >= 3, f"{exercise.id} needs three wrong answers with three diagnoses"


NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "source": ["import math\n", "x = 1"], "outputs": []},
        {
            "cell_type": "code",
            "source": ["def half(x):\n", "    ...\n", 'check("ch99.half", half)'],
            "outputs": [{"data": {"text/plain": ["○ Not answered yet (ch99.half)."]}}],
        },
        {"cell_type": "markdown", "source": ["Think first."]},
        {
            "cell_type": "markdown",
            "source": [
                "````{dropdown} Solution\n",
                "```python\ndef half(x):\n    return x / math.floor(2.5)\n```\n",
                "````",
            ],
        },
        {"cell_type": "code", "source": ['check("ch99.none", ...)'], "outputs": []},
    ]
}


def test_the_notebook_reader_finds_cells_solutions_and_imports(tmp_path):
    path = tmp_path / "99_test.ipynb"
    path.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    found = posed_in(path)
    assert list(found) == ["ch99.half", "ch99.none"]
    (half,), (none,) = found.values()
    assert "Not answered yet" in half.output
    assert answer_from(half, half.code)(3) is None
    assert answer_from(half, half.solution)(3) == 1.5
    assert none.solution == ""
    assert answer_from(none, none.code) is ...
