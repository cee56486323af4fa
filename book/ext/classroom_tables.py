"""Sphinx directives of the instructor guide.

``{objectives}``, ``{questions}``, ``{grading-speed}``, ``{mutants}`` and ``{attacks}``. Nothing in
their tables is typed by hand: objectives and questions come from the package, the others from
``src/qlearn/results``: ``classroom.json`` (``make grade-demo``), ``graders.json`` and
``attacks.json``, whose command writes it only where every score was the one that is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from qlearn.assignments import assignments, in_assignment
from qlearn.classroom.objectives import OBJECTIVES
from qlearn.exercises import in_chapter
from qlearn.results import load

ROOT = Path(__file__).parents[2]
WARM_UP = "a0"
CLASSES = (30, 200, 1000)  # submissions
CORES = (2, 8, 32)


def table(headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> nodes.table:
    """A docutils table with a heading row."""
    group = nodes.tgroup(cols=len(headings))
    group += [nodes.colspec(colwidth=100 // len(headings)) for _ in headings]
    group += nodes.thead("", _row(headings))
    group += nodes.tbody("", *(_row(line) for line in lines))
    return nodes.table("", group, classes=["colwidths-auto"])


def questions(assignment: str) -> list[tuple[str, ...]]:
    """Title, points, minutes and target of each question, and their sums."""
    found = in_assignment(assignment)
    lines = [
        (f"{k}. {q.title}", str(q.points), str(q.minutes), q.target) for k, q in enumerate(found, 1)
    ]
    sums = sum(q.points for q in found), sum(q.minutes for q in found)
    return [*lines, ("All", *map(str, sums), "")]


def objectives() -> list[tuple[str, tuple[int, ...], str, str]]:
    """Each objective: its text, the chapters that teach it, its exercises, its questions."""
    return [
        (
            f"{one.text[0].upper()}{one.text[1:]}",
            one.chapters,
            ", ".join(exercise_number(exercise) for exercise in one.exercises) or "-",
            question_numbers(one.questions) or "-",
        )
        for one in OBJECTIVES
    ]


def exercise_number(exercise_id: str) -> str:
    """``ch02.codes`` -> ``2.2``, as its heading says."""
    chapter = exercise_id.partition(".")[0]
    own = [exercise.id for exercise in in_chapter(chapter)]
    return f"{int(chapter[2:])}.{own.index(exercise_id) + 1}"


def question_numbers(ids: Sequence[str]) -> str:
    """``a1.codes``, ``a1.back`` -> ``A1: 3, 4``."""
    places: dict[str, list[str]] = {}
    for question_id in ids:
        assignment = question_id.partition(".")[0]
        own = [question.id for question in in_assignment(assignment)]
        places.setdefault(assignment.upper(), []).append(str(own.index(question_id) + 1))
    return "; ".join(f"{assignment}: {', '.join(k)}" for assignment, k in places.items())


def speeds(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Minutes that a class takes on some numbers of cores; the measured one says so."""
    (row,) = results["rows"]
    core_seconds = row["seconds"] * results["cores"] / row["submissions"]
    lines = [
        (
            f"{row['submissions']}, {row['hostile']} of them hostile",
            str(results["cores"]),
            f"{row['seconds'] / 60:.0f}",
            "measured",
        )
    ]
    for students in CLASSES:
        for cores in CORES:
            minutes = students * core_seconds / cores / 60
            lines.append((f"{students:,}", str(cores), f"{max(minutes, 1):.0f}", "extrapolated"))
    return lines


def attacks(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Each attack of the synthetic class, and whether every score was the one that is due."""
    (row,) = results["rows"]
    if row["wrong_scores"]:
        raise ValueError(f"classroom.json has {row['wrong_scores']} wrong scores; mend the grader")
    return [(attack, "stopped") for attack in results["attacks"]]


class Objectives(Directive):
    """``{objectives}``: what students learn, with the chapters, exercises and questions for it."""

    def run(self) -> list[nodes.Node]:
        """The table; chapters are links."""
        lines = [(text, _links(numbers), *rest) for text, numbers, *rest in objectives()]
        headings = ("You will be able to", "Chapters", "Exercises", "Questions")
        return [table(headings, lines)]


class Questions(Directive):
    """``{questions} a1``: the questions of an assignment."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        name = self.arguments[0]
        if name not in assignments() or name == WARM_UP:
            raise self.error(f"{name!r} is no assignment; there are {', '.join(assignments())}")
        return [table(("Question", "Points", "Minutes", "Target"), questions(name))]


class GradingSpeed(Directive):
    """``{grading-speed}``: what was measured, and what follows from it."""

    def run(self) -> list[nodes.Node]:
        """The table, and how it was measured."""
        results = load("classroom")
        said = (
            f"Measured on {results['date'][:10]} with {results['command']} on "
            f"{results['cores']} cores ({results['cpu']}): {results['rows'][0]['per_hour']:,} "
            "submissions an hour. Extrapolated rows assume that cores do not wait for each other."
        )
        headings = ("Submissions", "Cores", "Minutes", "How we know")
        return [table(headings, speeds(results)), nodes.paragraph(text=said)]


class Attacks(Directive):
    """``{attacks}``: the hostile submissions that grading was tried on."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        try:
            lines = attacks(load("classroom"))
        except ValueError as error:
            raise self.error(str(error)) from error
        return [table(("Attack", "Outcome"), lines)]


def _links(chapters: Sequence[int]) -> nodes.paragraph:
    """``2, 3``, each a link to that chapter."""
    paragraph = nodes.paragraph()
    for chapter in chapters:
        (path,) = (ROOT / "notebooks").glob(f"{chapter:02d}_*.ipynb")
        paragraph += [nodes.Text(", ")] if len(paragraph) else []
        paragraph += pending_xref(
            "",
            nodes.inline("", str(chapter)),
            refdomain="std",
            reftype="doc",
            reftarget=f"/notebooks/{path.stem}",
            refexplicit=True,
        )
    return paragraph


def _row(cells: Sequence[str | nodes.paragraph]) -> nodes.row:
    paragraphs = (nodes.paragraph(text=c) if isinstance(c, str) else c for c in cells)
    return nodes.row("", *(nodes.entry("", paragraph) for paragraph in paragraphs))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("objectives", Objectives)
    app.add_directive("questions", Questions)
    app.add_directive("grading-speed", GradingSpeed)
    app.add_directive("attacks", Attacks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
