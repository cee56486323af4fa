"""nbgrader's autograder runs this in place of the notebook: verdicts that were made outside it.

Each check cell gets the verdict as its output and, as its result, the points, which nbgrader takes
as partial credit. A notebook that `grade_class` has not graded yet is graded now, in the sandbox.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

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
        from qlearn.classroom.classwork import Options, digest, grade_notebook
        from qlearn.classroom.course import Course

        names = resources["nbgrader"]
        course = Course(Path(self.course))
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
            lines = [f"- {html.escape(note)}" for note in notes]
            text = "\n".join(["**What was repaired or missing in this submission**", "", *lines])
            nb.cells.insert(0, nbformat.v4.new_markdown_cell(text))
        return nb
