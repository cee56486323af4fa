"""Sphinx directives of the instructor guide.

``{objectives}``, ``{questions}``, ``{grading-speed}``, ``{mutants}`` and ``{attacks}``. Nothing in
their tables is typed by hand: objectives and questions come from the package, the others from
``src/qlearn/measure/results/course``: ``classroom.json`` (``make grade-demo``), ``graders.json``
and ``attacks.json``, whose command writes it only where every score was the one that is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from qlearn.assignments import assignments, in_assignment
from qlearn.course.objectives import OBJECTIVES
from qlearn.exercises import in_chapter
from qlearn.measure.results import load

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


def attacks(results: dict[str, Any], kind: str) -> list[tuple[str, ...]]:
    """The attacks of a kind: what each tries, what meets it, its outcome, what it earned.

    The last cell names points where a class of submissions tried it, and the test that does
    otherwise.
    """
    rows = [row for row in results["rows"] if row["kind"] == kind]
    if not rows:
        kinds = ", ".join(sorted({row["kind"] for row in results["rows"]}))
        raise ValueError(f"kind={kind!r} has no attacks; there are {kinds}")
    most = results["points"]
    return [
        (
            row["attack"],
            row["tries"],
            row["stopped_by"],
            row["outcome"],
            f"{row['earned']:g} of {most:g}" if "earned" in row else _tested(row["test"]),
        )
        for row in rows
    ]


def _tested(test: str) -> str:
    return f"a test: {Path(test.partition('::')[0]).stem}" if test else "-"


def mutants(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """How many mutants of each assignment's solutions the graders refuse, and a sum."""
    lines = []
    for assignment in sorted({row["question"].partition(".")[0] for row in results["rows"]}):
        own = [r for r in results["rows"] if r["question"].startswith(f"{assignment}.")]
        lines.append((assignment[1:], len(own), *_counts(own)))
    lines.append(("All", len(results["rows"]), *_counts(results["rows"])))
    return [tuple(map(str, line)) for line in lines]


def _counts(rows: Sequence[dict[str, Any]]) -> tuple[int, int, str]:
    made, caught = sum(r["mutants"] for r in rows), sum(r["caught"] for r in rows)
    return made, caught, f"{caught / made:.1%}"


def accepted(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """How many mutants a question's grader took for right, and why that is so."""
    return [
        (row["question"], str(len(row["accepted"])), row["why"])
        for row in results["rows"]
        if row["accepted"]
    ]


class Objectives(Directive):
    """``{objectives}``: what students learn, with the chapters, exercises and questions for it."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        lines = [(text, ", ".join(map(str, k)), *rest) for text, k, *rest in objectives()]
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
            f"Measured on {results['date'][:10]} with `{results['command']}` on "
            f"{results['cores']} cores ({results['cpu']}): {results['rows'][0]['per_hour']:,} "
            "submissions an hour. Extrapolated rows assume that cores do not wait for each other."
        )
        headings = ("Submissions", "Cores", "Minutes", "How we know")
        return [table(headings, speeds(results)), paragraph(said)]


class Mutants(Directive):
    """``{mutants}``: what the graders make of solutions with one change."""

    def run(self) -> list[nodes.Node]:
        """Both tables."""
        results = load("graders")
        counts = table(("Assignment", "Questions", "Mutants", "Caught", "Share"), mutants(results))
        said = paragraph(
            "Accepted, and why each of them is right or near enough (the changes themselves are in "
            "`src/qlearn/measure/results/course/graders.json`):"
        )
        return [counts, said, table(("Question", "Accepted", "Why"), accepted(results))]


class Attacks(Directive):
    """``{attacks} machine``: the attacks of a kind that grading was tried on."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        kind = self.arguments[0]
        try:
            lines = attacks(load("attacks"), kind)
        except ValueError as error:
            raise self.error(str(error)) from error
        remedy = "What helps" if kind == "open" else "What meets it"
        return [table(("Attack", "What it tries", remedy, "Outcome", "Earned"), lines)]


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", paragraph(cell)) for cell in cells))


def paragraph(text: str) -> nodes.paragraph:
    """Text, with what stands between backticks as code."""
    made = nodes.paragraph()
    for k, part in enumerate(text.split("`")):
        made += nodes.literal(text=part) if k % 2 else nodes.Text(part)
    return made


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("objectives", Objectives)
    app.add_directive("questions", Questions)
    app.add_directive("grading-speed", GradingSpeed)
    app.add_directive("mutants", Mutants)
    app.add_directive("attacks", Attacks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
