"""A page for the teacher: scores by question, totals, and the commonest diagnoses, as plots."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qlearn.classroom.course import Course, CourseError, questions_of

__all__ = ["commonest", "figures", "read_records", "shares", "write_dashboard"]

Records = Mapping[str, Mapping[str, Any]]
COLOURS = {"right": "#0072b2", "wrong": "#d55e00", "blank": "#999999"}
WORDS = {"right": "right", "wrong": "wrong, in part or all", "blank": "not answered"}
MOST_DIAGNOSES = 12


def read_records(course: Course, name: str) -> dict[str, dict[str, Any]]:
    """Student -> record of one assignment.

    Raises:
        CourseError: nothing has been graded yet.
    """
    paths = sorted((course.root / "graded" / name).glob("*.json"))
    if not paths:
        raise CourseError(f"{name} has not been graded: run `python -m qlearn.classroom grade`")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def shares(records: Records) -> dict[str, dict[str, float]]:
    """Question -> the share of submissions that are right, wrong and blank, and of its points."""
    table: dict[str, dict[str, float]] = {}
    for question in dict.fromkeys(q for record in records.values() for q in record["questions"]):
        marks = [r["questions"][question] for r in records.values() if question in r["questions"]]
        kinds = Counter(mark["kind"] for mark in marks)
        table[question] = {kind: kinds[kind] / len(marks) for kind in COLOURS}
        points = sum(mark["points"] for mark in marks)
        table[question]["points"] = points / sum(mark["most"] for mark in marks)
    return table


def commonest(records: Records, most: int = MOST_DIAGNOSES) -> list[tuple[str, str, int]]:
    """The diagnoses that most students got: question, sentence, how many of them."""
    counts = Counter(
        (question, mark["diagnosis"])
        for record in records.values()
        for question, mark in record["questions"].items()
        if mark["kind"] == "wrong"
    )
    return [(question, text, count) for (question, text), count in counts.most_common(most)]


def figures(name: str, records: Records) -> list[Any]:
    """Three plotly figures: outcomes by question, totals, commonest diagnoses."""
    import plotly.graph_objects as go

    titles = {question.id: question.title for question in questions_of(name)}
    table = shares(records)
    labels = [f"{q}: {titles.get(q, '')}" for q in table]
    outcomes = go.Figure(
        [
            go.Bar(
                y=labels,
                x=[100 * row[kind] for row in table.values()],
                name=WORDS[kind],
                orientation="h",
                marker_color=colour,
            )
            for kind, colour in COLOURS.items()
        ]
    )
    outcomes.update_layout(barmode="stack", xaxis_title="% of submissions")
    outcomes.update_yaxes(autorange="reversed")
    outcomes.update_layout(title=f"Outcomes by question ({len(records)} submissions)")
    totals = go.Figure(go.Histogram(x=[r["points"] for r in records.values()], xbins={"size": 1}))
    most = max(record["most"] for record in records.values())
    totals.update_layout(
        title="Totals", xaxis_title=f"points of {most:g}", yaxis_title="submissions", bargap=0.1
    )
    rows = commonest(records)
    wrong = go.Figure(
        go.Bar(
            # Plotly reads tags in labels, and diagnoses quote what a submission raised.
            y=[f"{q}: {html.escape(_short(text))}" for q, text, _ in rows],
            x=[count for _, _, count in rows],
            orientation="h",
            marker_color=COLOURS["wrong"],
            hovertext=[html.escape(text) for _, text, _ in rows],
        )
    )
    wrong.update_yaxes(autorange="reversed")
    wrong.update_layout(title="The commonest diagnoses", xaxis_title="submissions")
    for figure, bars in ((outcomes, len(table)), (totals, 8), (wrong, len(rows))):
        figure.update_layout(template="plotly_white", height=180 + 32 * bars)
        figure.update_yaxes(automargin=True)
    return [outcomes, totals, wrong]


def write_dashboard(course: Course, assignments: Sequence[str] = ()) -> Path:
    """Write `dashboard.html`, which needs no network; give its path.

    Args:
        course: whose records.
        assignments: which; none means all that have been graded.
    """
    names = [course.named(one) for one in assignments]
    graded = [n for n in course.assignments() if (course.root / "graded" / n).is_dir()]
    parts, script = [], True
    for name in names or graded:
        records = read_records(course, name)
        parts.append(f"<h2>{html.escape(name)}</h2>")
        for figure in figures(name, records):
            parts.append(figure.to_html(full_html=False, include_plotlyjs=script))
            script = False
        parts.append(_table(records))
    if not parts:
        raise CourseError("nothing has been graded: run `python -m qlearn.classroom grade`")
    style = "body{font-family:sans-serif;max-width:70em;margin:auto}td,th{padding:.2em .8em}"
    page = course.root / "dashboard.html"
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>The class</title>'
        f"<style>{style}</style><h1>The class</h1>{''.join(parts)}</html>",
        encoding="utf-8",
    )
    return page


def _table(records: Records) -> str:
    """Submissions with notes: what was repaired, and what the grader could not do."""
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(student)}</th><td>{record['points']:g}</td>"
        f"<td>{html.escape(' '.join([*record['notes'], record.get('problem', '')]))}</td></tr>"
        for student, record in records.items()
        if record["notes"] or record.get("problem")
    )
    if not rows:
        return ""
    head = "<tr><th scope='col'>student</th><th scope='col'>points</th><th scope='col'>notes</th>"
    return f"<table><caption>Submissions with notes</caption>{head}</tr>{rows}</table>"


def _short(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
