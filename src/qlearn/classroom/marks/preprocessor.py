"""nbgrader's autograder runs this in place of the notebook: verdicts that were made outside it.

Each check cell gets the verdict as its output and, as its result, the points, which nbgrader takes
as partial credit. A notebook that `grade_class` has not graded yet is graded now, in the sandbox.

Texts that are not the release's are shown as typed: nbgrader's feedback renders Markdown and raw
cells with all their HTML, scripts included.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qlearn import needs

with needs("classroom"):
    import nbformat
    from nbgrader.preprocessors import NbGraderPreprocessor
    from traitlets import Bool, Unicode

__all__ = ["TrustedGrades"]


class TrustedGrades(NbGraderPreprocessor):
    """Put outputs into a submitted notebook, from the sandbox and from the trusted grader."""

    course = Unicode(help="The course's folder.").tag(config=True)
    isolated = Bool(True, help="False runs students' code with your own rights.").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Fill in every cell's outputs."""
        from qlearn.classroom.course import Course
        from qlearn.classroom.intake.classwork import Options, digest, grade_notebook

        names = resources["nbgrader"]
        course = Course(Path(self.course))
        given = {c.source for c in course.release(names["assignment"]).cells}
        for k, cell in enumerate(nb.cells):
            if cell.cell_type != "code" and cell.source not in given:
                nb.cells[k] = as_typed(cell)
        record = course.root / "graded" / names["assignment"] / f"{names['student']}.json"
        executed = record.with_suffix(".ipynb")
        if record.is_file() and executed.is_file():
            found = json.loads(record.read_text(encoding="utf-8"))
            if found.get("digest") == digest(nb) and found.get("seed") == course.seed:
                graded = nbformat.read(executed, as_version=4)
                return self._filled(nb, graded.cells, found["notes"]), resources
        self.log.warning("%s is graded now: no record fits it", names["student"])
        made = grade_notebook(course, names["assignment"], nb, {}, Options(isolated=self.isolated))
        return self._filled(nb, made["notebook"].cells, []), resources

    def _filled(self, nb: Any, graded: list[Any], notes: list[str]) -> Any:
        for cell, done in zip(nb.cells, graded, strict=True):
            if cell.cell_type == "code":
                cell.outputs = done.outputs
                cell.execution_count = None
                if "def _bootstrap(" in cell.source:  # generated: no part of a feedback page
                    cell.metadata["tags"] = ["remove-cell"]
        if notes:  # for the student to read at the top of the feedback
            title = "**What was repaired or missing in this submission**"
            text = fenced("\n".join(f"- {note}" for note in notes))  # they quote names of files
            nb.cells.insert(0, nbformat.v4.new_markdown_cell(f"{title}\n\n{text}"))
        return nb


def fenced(text: str) -> str:
    """Markdown that shows a text as it is, whatever stands in it.

    >>> print(fenced("<b>"))
    ~~~text
    <b>
    ~~~
    """
    longest = max(map(len, re.findall("~+", text)), default=0)
    fence = "~" * max(longest + 1, 3)
    return f"{fence}text\n{text}\n{fence}"


def as_typed(cell: Any) -> Any:
    """A Markdown cell that shows another cell's text."""
    shown = nbformat.v4.new_markdown_cell(fenced(cell.source), metadata=cell.metadata)
    if "id" in cell:
        shown.id = cell.id
    return shown
