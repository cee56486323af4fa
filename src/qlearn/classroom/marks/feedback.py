"""nbgrader's feedback pages made readable: titles, diagnoses on top, a phone's width."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qlearn.classroom.course import Course, questions_of

__all__ = ["readable", "rewrite"]

WITHOUT_GENERATED_CELLS = (
    "--HTMLExporter.preprocessors=nbconvert.preprocessors.TagRemovePreprocessor",
    "--TagRemovePreprocessor.enabled=True",
    "--TagRemovePreprocessor.remove_cell_tags=remove-cell",
)
# A verdict is a paragraph, which nbgrader's page puts on one line; code keeps its lines.
STYLE = """<meta name="viewport" content="width=device-width, initial-scale=1"><style>
.output_area pre { white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; }
.output_execute_result { display: none; } /* the points, which stand beside the cell's name */
.rendered_html td, .rendered_html th { padding: .2em .8em; }
div.prompt { display: none; }
#toc li { margin-bottom: .4em; }
.toc-said { display: block; color: #333; }
@media (max-width: 40em) {
  .container, #notebook-container, .panel-body { padding: 4px; }
  .output_area pre { font-size: 12px; }
  div.nbgrader_cell .panel-heading { height: auto; overflow: auto; }
}
</style>"""
ENTRY = re.compile(r'<li><a href="#(?P<cell>\w+)">Test cell</a>(?P<score>[^<]*)</li>')
KINDS = {"right": "Right.", "blank": "Not answered.", "wrong": ""}


def readable(page: str, titles: Mapping[str, str], questions: Mapping[str, Any]) -> str:
    """Name the questions at the top of a page, each with its diagnosis; let long lines wrap.

    Args:
        page: as nbgrader wrote it.
        titles: check cell -> the question's title.
        questions: of the student's record.
    """
    marks = {mark["cell"]: mark for mark in questions.values()}

    def entry(found: re.Match[str]) -> str:
        cell = found["cell"]
        if cell not in titles:
            return found[0]
        mark = marks.get(cell, {"kind": "blank", "diagnosis": ""})
        said = KINDS.get(mark["kind"]) or html.escape(mark["diagnosis"])
        name = html.escape(titles[cell])
        link = f'<a href="#{cell}">{name}</a>{found["score"]}'
        return f'<li>{link}<span class="toc-said">{said}</span></li>'

    page = ENTRY.sub(entry, page)
    page = page.replace("<html>", '<html lang="en">', 1)
    return page.replace("</head>", f"{STYLE}</head>", 1)


def rewrite(course: Course, name: str, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Make every feedback page of an assignment readable."""
    titles = {question.check_cell: question.title for question in questions_of(name)}
    for student, record in records.items():
        path = Path(course.root / "feedback" / student / name / f"{name}.html")
        if path.is_file() and "toc-said" not in (page := path.read_text(encoding="utf-8")):
            path.write_text(readable(page, titles, record["questions"]), encoding="utf-8")
