"""The class's steps through nbgrader: grade, check that nothing was lost, feedback, export."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.classroom.cores import usable_cores
from qlearn.classroom.course import Course, CourseError
from qlearn.classroom.intake.classwork import Options, grade_class, take_in
from qlearn.classroom.marks.feedback import WITHOUT_GENERATED_CELLS, rewrite

__all__ = ["canvas_rows", "export", "grade_all", "moodle_rows", "read_roster", "scores"]


# The worksheet's names for identifier, grade and time are Moodle's own; it finds columns by them.
MOODLE_COLUMNS = (
    *("Identifier", "Full name", "ID number", "Email address"),
    *("Grade", "Last modified (grade)", "Feedback comments"),
)


def grade_all(
    course: Course,
    assignment: str,
    options: Options,
    say: Callable[[str], object] = str,
    feedback: bool = True,
) -> dict[str, dict[str, Any]]:
    """Take in, grade, enter into nbgrader's gradebook, write feedback and the lists of grades.

    Returns:
        Student -> record, as `grade_class` gives them. The gradebook holds the same points.

    Raises:
        CourseError: a submission or a point has been lost on the way.
    """
    name = course.named(assignment)
    begun = time.monotonic()
    notes = take_in(course, name)
    say(f"{len(notes)} submissions taken in, {sum(map(bool, notes.values()))} of them with notes")
    records = grade_class(course, name, options, say)
    say(f"graded after {time.monotonic() - begun:.0f} s")
    course.nbgrader("autograde", name, "--create", "--force", check=False)
    compare(records, scores(course, name))
    say(f"in the gradebook after {time.monotonic() - begun:.0f} s")
    if feedback:
        _write_feedback(course, name, sorted(records), options.processes or usable_cores())
        rewrite(course, name, records)
        say(f"feedback written after {time.monotonic() - begun:.0f} s")
    export(course, name, records)
    return records


def _write_feedback(course: Course, name: str, students: list[str], processes: int) -> None:
    """Several nbgraders write a part of the pages each: they only read the gradebook."""
    parts = [students[k::processes] for k in range(processes) if students[k::processes]]

    def write(part: list[str]) -> None:
        others = ",".join(sorted(set(students) - set(part)))
        course.nbgrader(
            *("generate_feedback", name, "--force"),
            f"--CourseDirectory.student_id_exclude={others}",
            *WITHOUT_GENERATED_CELLS,
        )

    with ThreadPoolExecutor(len(parts) or 1) as pool:
        list(pool.map(write, parts))


def scores(course: Course, name: str) -> dict[str, dict[str, float]]:
    """Student -> check cell -> points, from nbgrader's database."""
    with needs("classroom"):
        from nbgrader.api import Gradebook, MissingEntry

    found: dict[str, dict[str, float]] = {}
    with Gradebook(f"sqlite:///{course.root / 'gradebook.db'}") as book:
        try:
            assignment = book.find_assignment(name)
        except MissingEntry:
            return {}
        for submission in assignment.submissions:
            cells = {
                grade.name: float(grade.score)
                for notebook in submission.notebooks
                for grade in notebook.grades
                if not grade.needs_manual_grade
            }
            found[submission.student.id] = cells
    return found


def compare(
    records: Mapping[str, Mapping[str, Any]], book: Mapping[str, Mapping[str, float]]
) -> None:
    """Raise where the gradebook and the records differ: nothing may be lost in between."""
    wrong = []
    for student, record in records.items():
        if record.get("problem"):
            wrong.append(f"{student}: the grader failed: {record['problem'][-300:]}")
            continue
        due = {mark["cell"]: mark["points"] for mark in record["questions"].values()}
        if book.get(student) != due:
            wrong.append(f"{student}: {due} graded, {book.get(student)} in the gradebook")
    if wrong:
        raise CourseError("not everything arrived in the gradebook:\n" + "\n".join(wrong))


def read_roster(course: Course) -> list[dict[str, str]]:
    """The rows of `roster.csv`: column `id` is the folder's name; the others are the LMS's own.

    Columns that are known: id, name, email, canvas_id, sis_user_id, sis_login_id, section,
    moodle_participant, moodle_id. Without the file the list is empty.
    """
    path = course.root / "roster.csv"
    if not path.is_file():
        return []
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    if rows and "id" not in rows[0]:
        raise CourseError(f"{path} has no column `id`, the name of a student's folder; add it")
    return [{key: value or "" for key, value in row.items() if key} for row in rows]


def export(course: Course, name: str, records: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Write `grades/NAME_canvas.csv`, `_moodle.csv` and `_questions.csv`; give their paths."""
    roster = read_roster(course)
    known = {row["id"] for row in roster}
    roster += [{"id": student} for student in records if student not in known]
    folder = course.root / "grades"
    folder.mkdir(exist_ok=True)
    written = []
    for kind, rows in (
        ("canvas", canvas_rows(name, roster, records)),
        ("moodle", moodle_rows(roster, records, time.strftime("%Y-%m-%d %H:%M"))),
        ("questions", question_rows(roster, records)),
    ):
        path = folder / f"{name}_{kind}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        written.append(path)
    return written


def canvas_rows(
    name: str, roster: list[dict[str, str]], records: Mapping[str, Mapping[str, Any]]
) -> list[list[str]]:
    """Canvas's import of a gradebook: five columns that find a student, a row of points possible.

    A student without points has no row: to Canvas's importer an empty cell is a change, which would
    take a grade away that was set there by hand (``lib/gradebook_importer.rb`` of its source).
    """
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", name]
    most = max((record["most"] for record in records.values()), default=0)
    rows = [head, ["Points Possible", "", "", "", "", f"{most:g}"]]
    rows += [
        [
            _text(row.get("name") or row["id"]),
            row.get("canvas_id") or (row["id"] if row["id"].isdigit() else ""),
            _text(row.get("sis_user_id", "")),
            _text(row.get("sis_login_id") or ("" if row["id"].isdigit() else row["id"])),
            _text(row.get("section", "")),
            points,
        ]
        for row in roster
        if (points := _points(records.get(row["id"])))
    ]
    return rows


def moodle_rows(
    roster: list[dict[str, str]],
    records: Mapping[str, Mapping[str, Any]],
    graded: str = "",
) -> list[list[str]]:
    """Moodle's offline grading worksheet, which *Upload grading worksheet* takes as it is.

    The number in a download's folder names is the one that the worksheet calls ``Participant 815``,
    so no roster is needed. *Grades > Import* takes the same file by ID number or address.

    Args:
        roster: rows of students.
        records: student -> record.
        graded: when; Moodle leaves a grade alone that somebody changed there later.
    """
    rows = [list(MOODLE_COLUMNS)]
    for row in roster:
        record = records.get(row["id"])
        wrong = [
            f"{question}: {mark['diagnosis']}"
            for question, mark in (record or {}).get("questions", {}).items()
            if mark["points"] < mark["most"]
        ]
        comment = " ".join([*(record or {}).get("notes", []), *wrong])
        number = row.get("moodle_participant") or row["id"]
        participant = f"Participant {number}" if number.isdigit() else ""
        ids = [participant, row.get("name", ""), row.get("moodle_id", ""), row.get("email", "")]
        points = _points(record)
        when = graded if points else ""
        rows.append([*map(_text, ids), points, when, _text(_cut(comment))])
    return rows


def question_rows(
    roster: list[dict[str, str]], records: Mapping[str, Mapping[str, Any]]
) -> list[list[str]]:
    """One row a student, one column a question."""
    ids = list(dict.fromkeys(q for record in records.values() for q in record["questions"]))
    rows = [["id", *ids, "total", "notes"]]
    for row in roster:
        record = records.get(row["id"])
        marks = record["questions"] if record else {}
        points = [f"{marks[q]['points']:g}" if q in marks else "" for q in ids]
        notes = " ".join(record["notes"]) if record else "Nothing was handed in."
        rows.append([_text(row["id"]), *points, _points(record), _text(notes)])
    return rows


def _cut(comment: str, most: int = 1500) -> str:
    return comment if len(comment) <= most else f"{comment[: most - 2].rsplit(' ', 1)[0]} …"


def _points(record: Mapping[str, Any] | None) -> str:
    return f"{record['points']:g}" if record and not record.get("problem") else ""


def _text(value: str) -> str:
    """Text that no spreadsheet takes for a formula, whatever a student is called."""
    return f"'{value}" if value[:1] in ("=", "+", "@", "\t", "\r") or value[:1] == "-" else value
