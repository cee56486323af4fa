"""The assignments' notebooks: their cells, and what their solutions do."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import qlearn.assignments

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "notebooks" / "assignments" / "source"


@cache
def notebook(assignment: str) -> list[dict[str, Any]]:
    """The cells of an assignment's source notebook."""
    (path,) = SOURCE.glob(f"{assignment}_*/{assignment}_*.ipynb")
    assert path.stem == path.parent.name
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tagged(cell: dict[str, Any]) -> dict[str, Any]:
    return cell["metadata"].get("nbgrader", {})


def solved(assignment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a source notebook's cells; the names it leaves, and the verdict of each check."""
    verdicts: dict[str, Any] = {}
    real = qlearn.assignments.check

    def noting(question_id: str, answer: Any) -> Any:
        verdicts[question_id] = real(question_id, answer)
        return verdicts[question_id]

    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.chdir(folder)  # the capstone's entry is written there
        patch.setattr(qlearn.assignments, "check", noting)
        for cell in notebook(assignment):
            if cell["cell_type"] == "code":
                exec(code(cell), names)
    return names, verdicts


@cache
def solution(assignment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return solved(assignment)
