"""The release and what a student handed in -> a sound notebook.

Check cells and texts are the release's, each once and after its solution cell. Solution cells are
the student's. Cells of their own are kept in their places, and so are copies of a solution cell.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from qlearn import needs
from qlearn.assignments.shared.question import Question
from qlearn.classroom.intake.intake import Cell

with needs("classroom"):
    import nbformat

__all__ = ["grade_id", "rebuild"]


def grade_id(cell: Any) -> str:
    """The id that nbgrader gave a cell, or ''."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def rebuild(
    release: Any, handed: Sequence[Cell] | None, questions: Sequence[Question]
) -> tuple[Any, list[str]]:
    """Put a student's answers into the release.

    Args:
        release: the notebook that was given out.
        handed: the cells that came back; None gives the release itself, with every blank.
        questions: of the assignment; their answers' names help where ids are lost.

    Returns:
        A notebook whose cells with ids are those of the release, each once, and sentences on what
        had to be repaired.
    """
    official = {grade_id(cell): cell for cell in release.cells if grade_id(cell)}
    if handed is None:
        return _notebook(release, list(release.cells)), []
    notes: list[str] = []
    cells = _answers(list(handed), official, notes)
    answers = {question.cell: question.answer for question in questions}
    _insert_missing(cells, release, official, answers, notes)
    return _notebook(release, cells), notes


def _defines(cell: Any, name: str) -> bool:
    """Whether a cell defines that name at its top level."""
    if cell.cell_type != "code" or name not in cell.source:
        return False
    try:
        body = ast.parse(cell.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return True
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
    return False


def _answers(cells: list[Cell], official: dict[str, Any], notes: list[str]) -> list[Any]:
    """The student's cells in their order; locked ones replaced by the release's."""
    last = {cell.grade_id: k for k, cell in enumerate(cells)}
    built: list[Any] = []
    for k, cell in enumerate(cells):
        theirs = official.get(cell.grade_id)
        if theirs is None:
            built.append(_own(cell))
        elif _locked(theirs):
            if last[cell.grade_id] == k:  # of copies the last, which comes after every answer
                if cell.source != theirs.source:
                    notes.append(f"{cell.grade_id} was edited: the released one counts.")
                built.append(nbformat.from_dict(theirs))
        elif last[cell.grade_id] == k:
            fresh = nbformat.from_dict(theirs)
            fresh.source = cell.source
            built.append(fresh)
        else:
            notes.append(f"{cell.grade_id} is there more than once: all of them run, in order.")
            built.append(_own(Cell(theirs.cell_type, cell.source)))
    return built


def _insert_missing(
    cells: list[Any],
    release: Any,
    official: dict[str, Any],
    answers: dict[str, str],
    notes: list[str],
) -> None:
    """Put deleted cells back after the one they followed, and checks after their solutions.

    Where a solution cell has lost its id, or all answers stand in one cell, an empty cell with the
    id goes after the cell that defines the answer: the blank would undo it.
    """
    before = ""
    for cell in release.cells:
        name = grade_id(cell)
        if not name:
            continue
        places = _places(cells)
        if name not in places:
            answer = answers.get(name)
            defined = [k for k, one in enumerate(cells) if answer and _defines(one, answer)]
            put = nbformat.from_dict(cell)
            if defined:
                put.source = f"# `{answer}` is defined in a cell above."
                cells.insert(defined[-1] + 1, put)
                notes.append(f"{name} was missing: another cell defines `{answer}`, which counts.")
            else:
                cells.insert(places.get(before, -1) + 1, put)
                notes.append(f"{name} was missing: it has been put back.")
        solution = name.removesuffix("_check")
        places = _places(cells)
        if name.endswith("_check") and solution in official and places[name] < places[solution]:
            moved = cells.pop(places[name])
            cells.insert(places[solution], moved)
            notes.append(f"{name} stood before its solution: it has been moved.")
        before = name


def _places(cells: list[Any]) -> dict[str, int]:
    return {grade_id(cell): k for k, cell in enumerate(cells) if grade_id(cell)}


def _locked(cell: Any) -> bool:
    settings = cell.metadata.get("nbgrader", {})
    return not settings.get("solution", False)


def _own(cell: Cell) -> Any:
    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }[cell.kind]
    return make(cell.source)


def _notebook(release: Any, cells: list[Any]) -> Any:
    """A notebook of these cells, with ids of its own and no outputs."""
    fresh = nbformat.v4.new_notebook(metadata=nbformat.from_dict(release.metadata))
    fresh.cells = [nbformat.from_dict(cell) for cell in cells]
    for k, cell in enumerate(fresh.cells):
        cell.id = f"cell-{k}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return fresh
