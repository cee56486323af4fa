"""A class's submissions of one assignment: taken in, graded in parallel, kept as files.

`received/STUDENT/NAME` keeps what came, untouched. `submitted/STUDENT/NAME` gets the sound notebook
that was made of it, which nbgrader can't stumble over. `graded/NAME/STUDENT.json` and `.ipynb` are
the verdicts and the notebook with its outputs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import time
import traceback
import unicodedata
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.assignments.a6.entry import FILE, submitted
from qlearn.classroom.cores import usable_cores
from qlearn.classroom.course import Course, questions_of
from qlearn.classroom.intake.intake import read_submission
from qlearn.classroom.intake.rebuild import grade_id, rebuild
from qlearn.classroom.marks.grade import grade, room_for
from qlearn.classroom.marks.nbgrader_files import SMALL_FILES, carry
from qlearn.classroom.sandbox.sandbox import Limits, NotIsolatedError, availability
from qlearn.course.capstone import code_bytes
from qlearn.models.long_runs import whole_file

with needs("classroom"):
    import nbformat

__all__ = ["Options", "digest", "grade_class", "grade_student", "take_in"]

MANIFEST = "received/manifest.json"


@dataclass(frozen=True)
class Options:
    """How a class is graded."""

    limits: Limits = field(default_factory=Limits)
    isolated: bool = True
    processes: int = 0  # 0: as many as there are cores
    again: bool = False  # also what has been graded before


def digest(notebook: Any) -> str:
    """A mark of a notebook's cells: their kinds, sources and ids."""
    cells = [[cell.cell_type, cell.source, grade_id(cell)] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def safe_name(name: str) -> str:
    """A student's folder name, without characters that nbgrader's patterns interpret.

    >>> safe_name("a [2]"), safe_name("李雷")
    ('a _2_', '李雷')
    """
    composed = unicodedata.normalize("NFC", name)  # macOS writes accents apart
    return re.sub(r"[^\w.@+' -]", "_", composed).strip(". ") or "_"


def take_in(course: Course, name: str) -> dict[str, list[str]]:
    """Make a sound notebook of every submission below `submitted`.

    A submission that is there again, changed, replaces the one that was taken in before.

    Returns:
        Student -> sentences on what was wrong with the submission.
    """
    questions, release = questions_of(name), course.release(name)
    known = [grade_id(cell) for cell in release.cells if grade_id(cell)]
    manifest = _read_json(course.root / MANIFEST)
    submitted, received = course.root / "submitted", course.root / "received"
    submitted.mkdir(exist_ok=True)
    received.mkdir(exist_ok=True)
    notes: dict[str, list[str]] = {}
    for folder in sorted(p for p in submitted.iterdir() if not p.name.startswith(".")):
        if folder.is_symlink() or not folder.is_dir() or not os.path.lexists(folder / name):
            continue
        student = safe_name(folder.name)
        while student != folder.name and (student in notes or (submitted / student).exists()):
            student += "_2"  # two names that differ only in what has been replaced
        key = f"{student}/{name}"
        theirs, kept = folder / name, received / student / name
        if not _is_ours(theirs, name, manifest.get(key, {})):
            _keep(theirs, kept)
        handed = read_submission(kept, name, known)
        notebook, repairs = rebuild(release, handed.cells, questions)
        target = submitted / student / name
        target.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target / f"{name}.ipynb")
        carry(kept, target)
        renamed = [f"The folder {folder.name} is called {student} here."] * (folder.name != student)
        notes[student] = [*renamed, *handed.notes, *repairs]
        files = {file: str(path) for file, path in handed.files.items() if file not in SMALL_FILES}
        manifest[key] = {"digest": digest(notebook), "notes": notes[student], "files": files}
        if folder.name != student and not any(folder.iterdir()):
            folder.rmdir()
    _write_json(course.root / MANIFEST, manifest)
    return notes


def grade_class(
    course: Course,
    name: str,
    options: Options,
    say: Callable[[str], object] = str,
) -> dict[str, dict[str, Any]]:
    """Grade all that was taken in, on all cores; give student -> record.

    A record that is there already, for the same notebook and seed, is kept. A failure of the
    grader itself is recorded as a ``problem`` with no points: nothing is lost, nobody is stopped.

    Raises:
        NotIsolatedError: there is no isolation here and nobody said to go on without.
    """
    if options.isolated and (reason := availability()):
        raise NotIsolatedError(
            f"students' code can't be run isolated: {reason}. With `--without-isolation` it runs "
            "with your own rights, able to read and change your files and others' submissions"
        )
    manifest = _read_json(course.root / MANIFEST)
    students = sorted(key.split("/")[0] for key in manifest if key.split("/", 1)[1] == name)
    records, todo = {}, []
    for student in students:
        record = _read_json(_record_path(course, name, student))
        same = record.get("digest") == manifest[f"{student}/{name}"]["digest"]
        same = same and record.get("seed") == course.seed and not record.get("problem")
        if same and not options.again:
            records[student] = record
        else:
            todo.append(student)
    for student, record in _in_parallel(course, name, todo, options):
        records[student] = record
        say(f"{student}: {record['points']:g} of {record['most']} in {record['seconds']:.1f} s")
    return dict(sorted(records.items()))


def _in_parallel(course: Course, name: str, students: list[str], options: Options) -> Any:
    """Records as they come; a grader's process that dies costs nobody a record."""
    workers = min(options.processes or usable_cores(), max(len(students), 1))
    spawn = multiprocessing.get_context("spawn")
    left = set(students)
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        jobs = {pool.submit(grade_student, course, name, s, options): s for s in students}
        for job in as_completed(jobs):
            try:
                record = job.result()
            except BrokenProcessPool:
                break
            left.discard(jobs[job])
            yield jobs[job], record
    for student in sorted(left):  # one after the other, each in a process of its own
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            try:
                yield student, pool.submit(grade_student, course, name, student, options).result()
            except BrokenProcessPool:
                text = "The grader's process died on this submission: grade it by hand."
                yield student, _save(course, name, student, _empty(name, course.seed, text))


def grade_student(course: Course, name: str, student: str, options: Options) -> dict[str, Any]:
    """Grade one submission that was taken in, write its record, and give it."""
    import torch

    torch.set_num_threads(1)
    begun = time.monotonic()
    entry = _read_json(course.root / MANIFEST)[f"{student}/{name}"]
    path = course.root / "submitted" / student / name / f"{name}.ipynb"
    try:
        notebook = nbformat.read(path, as_version=4)
        record = grade_notebook(course, name, notebook, entry["files"], options)
    except NotIsolatedError:
        raise
    except Exception:
        record = _empty(name, course.seed, traceback.format_exc(limit=-5))
    record |= {"notes": entry["notes"], "seconds": time.monotonic() - begun}
    return _save(course, name, student, record)


def grade_notebook(
    course: Course, name: str, notebook: Any, files: dict[str, str], options: Options
) -> dict[str, Any]:
    """Grade a sound notebook; the record holds plain values and the notebook with its outputs."""
    questions = questions_of(name)
    paths = {file: Path(path) for file, path in files.items()}
    room = room_for(questions, paths, options.limits, options.isolated)
    beside = paths[FILE].parent if FILE in paths else course.root / "nothing was handed in"
    with submitted(beside, code_bytes(notebook)):  # what the capstone counts
        graded = grade(notebook, questions, course.seed, room, course.cache)
    marks = {
        mark.question.id: {
            "points": mark.points,
            "most": mark.question.points,
            "kind": mark.verdict.kind,
            "diagnosis": mark.verdict.diagnosis,
            "detail": mark.shown("on the cases that count").detail,
            "cell": mark.question.check_cell,
        }
        for mark in graded.marks.values()
    }
    return {
        "assignment": name,
        "digest": digest(notebook),
        "seed": course.seed,
        "points": graded.points,
        "most": sum(question.points for question in questions),
        "questions": marks,
        "notebook": graded.notebook,
    }


def _empty(name: str, seed: int, problem: str) -> dict[str, Any]:
    most = sum(question.points for question in questions_of(name))
    empty = {"questions": {}, "notes": [], "seconds": 0.0}
    return {"assignment": name, "seed": seed, "points": 0.0, "most": most, **empty} | {
        "digest": "",
        "problem": problem,
    }


def _save(course: Course, name: str, student: str, record: dict[str, Any]) -> dict[str, Any]:
    path = _record_path(course, name, student)
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = record.pop("notebook", None)
    if notebook is not None:
        nbformat.write(notebook, path.with_suffix(".ipynb"))
    record["student"] = student
    _write_json(path, record)
    return record


def _record_path(course: Course, name: str, student: str) -> Path:
    return course.root / "graded" / name / f"{student}.json"


def _is_ours(theirs: Path, name: str, entry: dict[str, Any]) -> bool:
    """Whether `submitted` still holds the notebook that was made of this submission."""
    path = theirs / f"{name}.ipynb"
    if not entry or theirs.is_symlink() or path.is_symlink() or not path.is_file():
        return False
    others = {p.name for p in theirs.iterdir()} - {path.name, *SMALL_FILES}
    if others or path.stat().st_size > 10_000_000:
        return False
    try:
        return digest(nbformat.read(path, as_version=4)) == entry["digest"]
    except Exception:  # whatever is wrong with it, it is not ours
        return False


def _keep(theirs: Path, kept: Path) -> None:
    """Move a submission to where it is kept; an older one stays beside it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(kept):
        older = kept.with_name(f"{kept.name}.older-{time.time_ns()}")
        kept.rename(older)
    if theirs.is_dir() and not theirs.is_symlink():
        shutil.move(str(theirs), str(kept))
    else:  # a file or a link where a folder should be
        kept.mkdir()
        shutil.move(str(theirs), str(kept / theirs.name))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as new:
        new.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
