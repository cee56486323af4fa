"""A page for the teacher: scores by question, totals, and the commonest diagnoses, as plots.

The plots are tables whose rows carry a bar, so that a screen reader, a phone and a printer have the
numbers as well. The page needs no script and no network.
"""

from __future__ import annotations

import html
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qlearn.classroom.course import Course, CourseError, questions_of
from qlearn.classroom.marks.dashboard_page import bar, page_of, section, table

__all__ = ["commonest", "read_records", "shares", "totals", "write_dashboard"]

Records = Mapping[str, Mapping[str, Any]]
KINDS = {"right": "right", "wrong": "wrong, in part or all", "blank": "not answered"}
MOST_DIAGNOSES = 12
MOST_BINS = 10
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")


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
        table[question] = {kind: kinds[kind] / len(marks) for kind in KINDS}
        points = sum(mark["points"] for mark in marks)
        table[question]["points"] = points / sum(mark["most"] for mark in marks)
    return table


def commonest(records: Records, most: int = MOST_DIAGNOSES) -> list[tuple[str, str, int]]:
    """The diagnoses that most students got: question, sentence, how many of them.

    Sentences that differ in numbers alone, such as a student's own value, count as one; the
    commonest of them stands for all.
    """
    groups: dict[tuple[str, str], Counter[str]] = {}
    for record in records.values():
        for question, mark in record["questions"].items():
            if mark["kind"] == "wrong":
                text = mark["diagnosis"]
                groups.setdefault((question, NUMBER.sub("#", text)), Counter())[text] += 1
    rows = [
        (question, texts.most_common(1)[0][0], texts.total())
        for (question, _), texts in groups.items()
    ]
    return sorted(rows, key=lambda row: -row[2])[:most]


def totals(records: Records) -> list[tuple[str, int]]:
    """Ranges of points, from none to all, and how many submissions lie in each.

    >>> totals({k: {"points": p, "most": 20} for k, p in (("a", 0), ("b", 3.5), ("c", 20))})[:3]
    [('0 to 1.5', 1), ('2 to 3.5', 1), ('4 to 5.5', 0)]
    """
    most = max(record["most"] for record in records.values())
    width = math.ceil(most / MOST_BINS)
    counts = Counter(min(int(r["points"] // width), (most - 1) // width) for r in records.values())
    rows = []
    for k in range((most - 1) // width + 1):
        end = (k + 1) * width - 0.5 if (k + 1) * width < most else most
        rows.append((f"{k * width:g} to {end:g}", counts[k]))
    return rows


def _outcomes(name: str, records: Records) -> str:
    titles = {question.id: question.title for question in questions_of(name)}
    rows = []
    for question, row in shares(records).items():
        percent = {kind: 100 * row[kind] for kind in KINDS}
        title = f"{html.escape(titles.get(question, question))} <small>{question}</small>"
        cells = [f"{percent[kind]:.0f}%" for kind in KINDS]
        rows.append([title + bar(percent), *cells, f"{100 * row['points']:.0f}%"])
    heads = [f'<span class="key {kind}"></span>{words}' for kind, words in KINDS.items()]
    return table(["question", *heads, "points earned"], rows)


def _totals(records: Records) -> str:
    rows = totals(records)
    most = max(count for _, count in rows)
    drawn = [[f"{words}{bar({'plain': 100 * n / most})}", str(n)] for words, n in rows]
    return table(["points", "submissions"], drawn)


def _diagnoses(records: Records) -> str:
    found = commonest(records)
    if not found:
        return "<p>No answer was wrong.</p>"
    most = found[0][2]
    rows = [
        [f"{_inline(text)} <small>{question}</small>{bar({'wrong': 100 * n / most})}", str(n)]
        for question, text, n in found
    ]
    return table(["diagnosis", "submissions"], rows)


def _noted(records: Records) -> str:
    """Submissions with notes: what was repaired, and what the grader could not do."""
    rows = [
        [html.escape(student), f"{record['points']:g}", _notes(record)]
        for student, record in records.items()
        if record["notes"] or record.get("problem")
    ]
    return table(["student", "points", "notes"], rows) if rows else "<p>None.</p>"


def _notes(record: Mapping[str, Any]) -> str:
    return html.escape(" ".join([*record["notes"], record.get("problem", "")]))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _assignment(name: str, records: Records) -> str:
    points = [record["points"] for record in records.values()]
    most = max(record["most"] for record in records.values())
    middle = f"The median is {statistics.median(points):g} of {most:g} points."
    return section(
        name,
        f"{len(records)} submissions. {middle}",
        {
            "Outcomes by question": _outcomes(name, records),
            "Totals": _totals(records),
            "The commonest diagnoses": _diagnoses(records),
            "Submissions with notes": _noted(records),
        },
    )


def write_dashboard(course: Course, assignments: Sequence[str] = ()) -> Path:
    """Write `dashboard.html`; give its path.

    Args:
        course: whose records.
        assignments: which; none means all that have been graded.
    """
    names = [course.named(one) for one in assignments]
    graded = [n for n in course.assignments() if (course.root / "graded" / n).is_dir()]
    parts = [_assignment(name, read_records(course, name)) for name in names or graded]
    if not parts:
        raise CourseError("nothing has been graded: run `python -m qlearn.classroom grade`")
    page = course.root / "dashboard.html"
    page.write_text(page_of("The class", parts), encoding="utf-8")
    return page
