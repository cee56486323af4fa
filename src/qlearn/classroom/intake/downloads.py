"""An LMS's download of all submissions (a zip, or the folder it unpacks to) -> students' folders.

Only plain files with names as Canvas or Moodle write them are taken. Archives inside are not
unpacked: one of a few kilobytes may hold terabytes.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from qlearn.classroom.course import Course, CourseError
from qlearn.classroom.intake.classwork import safe_name

__all__ = ["collect", "sort_name"]

MOST_BYTES = 600_000_000  # of one file
CANVAS = re.compile(r"(?P<who>[^_/]+)_(?:LATE_)?(?P<student>\d+)_\d+_(?P<file>.+)")
CANVAS_AGAIN = re.compile(r"-\d+(?=\.\w+$)")  # Canvas numbers what is handed in again
MOODLE = re.compile(r"(?P<who>.+)_(?P<student>\d+)_assignsubmission_file_?")
MOODLE_FLAT = re.compile(rf"{MOODLE.pattern[:-1]}(?P<file>.+)")  # without a folder for each student
PLAIN = re.compile(r"[^./][^/]*")


def sort_name(path: str) -> tuple[str, str] | None:
    """The student and the file's name that an LMS's path says; None where it says neither.

    >>> sort_name("submissions/doejane_LATE_4711_99_a1_int4-1.ipynb")
    ('4711', 'a1_int4.ipynb')
    >>> sort_name("Jane Doe_815_assignsubmission_file_/a1_int4.ipynb")
    ('815', 'a1_int4.ipynb')
    >>> sort_name("Jane Doe_815_assignsubmission_file_a1_int4.ipynb")
    ('815', 'a1_int4.ipynb')
    >>> sort_name("students/jane/a1_int4/a1_int4.ipynb")
    ('jane', 'a1_int4.ipynb')
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    if not parts or not PLAIN.fullmatch(parts[-1]) or "__MACOSX" in parts:
        return None
    for part in parts[:-1]:
        if match := MOODLE.fullmatch(part):
            return match["student"], parts[-1]
    if match := MOODLE_FLAT.fullmatch(parts[-1]):
        return match["student"], match["file"]
    if match := CANVAS.fullmatch(parts[-1]):
        return match["student"], CANVAS_AGAIN.sub("", match["file"])
    if len(parts) >= 3:  # nbgrader's own layout: STUDENT/ASSIGNMENT/FILE
        return safe_name(parts[-3]), parts[-1]
    return None


def collect(course: Course, assignment: str, source: Path) -> tuple[list[str], list[str]]:
    """Sort a download into `submitted/STUDENT/NAME`. A submission that is there is replaced.

    Args:
        course: whose students.
        assignment: of the download.
        source: the zip, or the folder.

    Returns:
        The students, and the names of the files that fit no pattern: look at these by hand.

    Raises:
        CourseError: it is neither a zip nor a folder, or nothing in it could be sorted.
    """
    name = course.named(assignment)
    sorted_to: set[str] = set()
    left = []
    for path, size, stream in _files(source):
        found = sort_name(path)
        if found is None or size > MOST_BYTES:
            left.append(path)
            continue
        student, file = found
        target = course.root / "submitted" / student / name
        if student not in sorted_to and target.exists():
            shutil.rmtree(target)
        sorted_to.add(student)
        target.mkdir(parents=True, exist_ok=True)
        with (target / file).open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
    if not sorted_to:
        raise CourseError(f"no file of {source} has a name as Canvas or Moodle write it")
    return sorted(sorted_to), left


def _files(source: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Path, size and contents of each plain file."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as stream:
                    yield path.relative_to(source).as_posix(), path.stat().st_size, stream
        return
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                link = (entry.external_attr >> 16) & 0o170000 == 0o120000
                if entry.is_dir() or link:
                    continue
                with archive.open(entry) as stream:
                    yield entry.filename, entry.file_size, stream
    except (OSError, zipfile.BadZipFile) as error:
        raise CourseError(f"{source} is neither a folder nor a sound zip ({error})") from error
