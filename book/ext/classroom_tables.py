"""Sphinx directives of the instructor guide: ``{questions}``, ``{grading-speed}``, ``{attacks}``.

Nothing in their tables is typed by hand: questions come from the package, speed and attacks from
``src/qlearn/results/classroom.json``, which ``make grade-demo`` writes only where every score of
every submission was the one that is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from qlearn.assignments import assignments, in_assignment
from qlearn.results import load

WARM_UP = "a0"
CLASSES = (30, 200, 1000)  # submissions
CORES = (2, 8, 32)


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> nodes.table:
    """A docutils table with a heading row."""
    group = nodes.tgroup(cols=len(headings))
    group += [nodes.colspec(colwidth=100 // len(headings)) for _ in headings]
    group += nodes.thead("", _row(headings))
    group += nodes.tbody("", *(_row(line) for line in lines))
    return nodes.table("", group, classes=["colwidths-auto"])


def questions(assignment: str) -> list[tuple[str, ...]]:
    """Title, points, minutes and target of each question, and their sums."""
    found = in_assignment(assignment)
    lines = [(q.title, str(q.points), str(q.minutes), q.target) for q in found]
    sums = sum(q.points for q in found), sum(q.minutes for q in found)
    return [*lines, ("All", *map(str, sums), "")]


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


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("questions", Questions)
    app.add_directive("grading-speed", GradingSpeed)
    app.add_directive("attacks", Attacks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
