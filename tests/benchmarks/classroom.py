"""A synthetic class through the whole of grading: ``results/classroom.json``.

160 honest and 40 hostile submissions of assignment 1 are taken in, graded in the sandbox, entered
into nbgrader's gradebook, given feedback and exported. Every score must be the one that is due
(`tests/synthetic_class.py`), in our records, in the gradebook and in Canvas's list.

    make grade-demo                                            # 200 submissions
    python tests/benchmarks/classroom.py --honest 6 --hostile 6   # a small class, nothing saved
    make grade-demo ARGS=--attacks                             # each attack once: attacks.json
    python tests/benchmarks/classroom.py --attacks "fork bomb" "lost ids"   # these, nothing saved
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from _results import save
from hostile_machine import MARK, SECRET
from hostile_submissions import ATTACKS, ELSEWHERE, some
from synthetic_class import make_class

from qlearn.classroom.cores import usable_cores
from qlearn.classroom.course import Course, make_course
from qlearn.classroom.intake.classwork import Options
from qlearn.classroom.marks.dashboard import write_dashboard
from qlearn.classroom.marks.gradebook import grade_all, scores
from qlearn.classroom.sandbox.sandbox import Limits

COMMAND = "make grade-demo"
ATTACKS_COMMAND = "make grade-demo ARGS=--attacks"
ROOT = Path(__file__).parents[2]
SEED = 20_261
LIMITS = Limits(cell_seconds=10, call_seconds=10)
# An element that would run or load something of a submission's.
ALIVE = re.compile(
    rf"<script[^>]*>\s*{MARK}|<(?!script)[a-z][^<>]*({MARK}|javascript:)", re.IGNORECASE
)


def grade_class(
    folder: Path, honest: int, hostile: int, say: Any = print, attacks: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Make a course and a class in `folder`, grade it, and compare all scores with what is due.

    Returns:
        Times in seconds, and the number of submissions whose scores are not what they should be.
    """
    course = make_course(folder / "course", seed=SEED, only=["a1"])
    name = course.named("a1")
    release = course.root / "release" / name / f"{name}.ipynb"
    source = ROOT / "notebooks" / "assignments" / "source" / name / f"{name}.ipynb"
    expected = make_class(
        course.root / "submitted", release, source, honest, hostile, SEED, attacks
    )
    begun = time.monotonic()
    stages: dict[str, float] = {}

    def note(line: str) -> None:
        for stage, words in (
            *(("taken_in", "taken in"), ("graded", "graded after")),
            *(("gradebook", "in the gradebook"), ("feedback", "feedback written")),
        ):
            if words in line:
                stages[stage] = round(time.monotonic() - begun, 1)
        say(line)

    os.environ[SECRET] = SECRET  # for attacks to find
    try:
        records = grade_all(course, name, Options(LIMITS), note)
    finally:
        del os.environ[SECRET]
    seconds = time.monotonic() - begun
    write_dashboard(course)
    wrong = compare(course, name, records, expected)
    by_kind = {
        kind: [r["seconds"] for s, r in records.items() if s.startswith("hostile") == (kind == 1)]
        for kind in (0, 1)
    }
    return {
        "submissions": len(expected),
        "hostile": hostile,
        "seconds": round(seconds, 1),
        "seconds_until": stages,
        "per_hour": round(3600 * len(expected) / seconds),
        "median_honest_s": round(statistics.median(by_kind[0]), 1) if honest else None,
        "median_hostile_s": round(statistics.median(by_kind[1]), 1) if hostile else None,
        "wrong_scores": len(wrong),
        "wrong": wrong,
        "points": {student: records[student]["points"] for student in expected},
        "most": max(record["most"] for record in records.values()),
    }


def compare(
    course: Course, name: str, records: Any, expected: dict[str, dict[str, float]]
) -> list[str]:
    """Every place where a score is not what is due: records, gradebook, feedback, Canvas's list."""
    wrong = []
    book = scores(course, name)
    with (course.root / "grades" / f"{name}_canvas.csv").open(encoding="utf-8") as file:
        listed = {row[3].removeprefix("'"): row[5] for row in list(csv.reader(file))[2:]}
    for student, due in expected.items():
        marks = records.get(student, {}).get("questions", {})
        got = {question: mark["points"] for question, mark in marks.items()}
        if got != due:
            wrong.append(f"{student}: {due} are due, the record says {got}")
        cells = {f"{question.replace('.', '_')}_check": points for question, points in due.items()}
        if book.get(student) != cells:
            wrong.append(f"{student}: {cells} are due, the gradebook says {book.get(student)}")
        if float(listed.get(student) or "nan") != sum(due.values()):
            wrong.append(f"{student}: the list for Canvas says {listed.get(student)}")
        page = course.root / "feedback" / student / name / f"{name}.html"
        if not page.is_file():
            wrong.append(f"{student}: no feedback")
        elif found := ALIVE.search(page.read_text(encoding="utf-8")):
            wrong.append(f"{student}: feedback holds {found[0]}")
        executed = course.root / "graded" / name / f"{student}.ipynb"
        if "SystemExit: FOUND" in executed.read_text(encoding="utf-8"):
            wrong.append(f"{student}: has seen what it must not")
    if found := ALIVE.search((course.root / "dashboard.html").read_text(encoding="utf-8")):
        wrong.append(f"the dashboard holds {found[0]}")
    extra = sorted({*records, *book} - set(expected))
    return wrong + [f"{student}: nobody of that name handed in" for student in extra]


def main(arguments: list[str]) -> int:
    """Grade a class and save the row; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--honest", type=int, default=160)
    parser.add_argument("--hostile", type=int, default=40)
    parser.add_argument("--attacks", nargs="*", metavar="NAME", help="each attack, or these, once")
    parser.add_argument("--keep", type=Path, help="a folder for the course, to look at afterwards")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("nbgrader") is None:
        print("classroom: left out, nbgrader is missing; `make grade-demo` installs it")
        return 0
    names = some(options.hostile)
    if options.attacks is not None:
        names = tuple(options.attacks) or tuple(ATTACKS)
        options.honest, options.hostile = 1, len(names)
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or Path(folder)
        row = grade_class(place, options.honest, options.hostile, attacks=names)
    wrong, points, most = row.pop("wrong"), row.pop("points"), row.pop("most")
    print(*wrong, sep="\n")
    print(
        f"{row['submissions']} submissions, {row['hostile']} of them hostile: {row['seconds']} s, "
        f"{row['per_hour']} an hour on {usable_cores()} cores; {len(wrong)} scores are wrong."
    )
    if wrong:
        return 1
    if (options.honest, options.hostile) == (160, 40):
        save("classroom", [row], command=COMMAND, attacks=list(names))
    if options.attacks == []:
        earned = {name: points[f"hostile {k:03d}"] for k, name in enumerate(names)}
        save("attacks", attack_rows(earned), ATTACKS_COMMAND, points=most)
    return 0


def attack_rows(earned: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each attack: its words, and its points in the class, or the test that tries it."""
    return [
        {
            "attack": name,
            "kind": attack.kind,
            "tries": attack.tries,
            "stopped_by": attack.stopped_by,
            "outcome": attack.outcome,
            **({"earned": earned[name]} if name in earned else {"test": attack.test}),
        }
        for name, attack in (*ATTACKS.items(), *ELSEWHERE.items())
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
