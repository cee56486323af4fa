"""nbgrader's exchange -> students' folders: the newest submission of each student.

Everybody may create folders in the exchange's inbound, under any name and with links in them.
nbgrader's own `collect` warns of another student's name and follows links with the teacher's
rights. Here a folder counts for the student who owns it, and no link is followed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path

from qlearn.classroom.course import COURSE_ID, Course, CourseError
from qlearn.classroom.intake.classwork import safe_name

__all__ = ["collect_exchange", "inbound"]

MOST_BYTES = 600_000_000  # of one submission
MOST_FILES = 400
NAME = re.compile(
    r"(?P<student>.+)\+(?P<assignment>[^+]+)"
    r"\+(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( [\w/:-]+)?)(\+[\w=-]+)?"
)


def inbound(exchange: Path) -> Path:
    """Where students' submissions arrive below an exchange's root."""
    return exchange / COURSE_ID / "inbound"


def collect_exchange(
    course: Course, assignment: str, exchange: Path, any_owner: bool = False
) -> tuple[list[str], list[str]]:
    """Copy the newest submission of each student to `submitted/STUDENT/NAME`.

    A submission that was collected before stays as it is; a newer one replaces it.

    Args:
        course: whose students.
        assignment: that was submitted.
        exchange: its root, as in nbgrader's `Exchange.root`.
        any_owner: take a folder's name for its student, whoever owns it: for hubs where all
            students are the same user of the system, each in a container.

    Returns:
        The students, and sentences on what was left out.

    Raises:
        CourseError: there is no inbound folder, or it can't be read.
    """
    name = course.named(assignment)
    folder = inbound(exchange)
    newest: dict[str, tuple[str, Path]] = {}
    left = []
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise CourseError(
            f"{folder} can't be read ({error.strerror}): is it the exchange's root that you gave, "
            "and are you the user who released the assignment?"
        ) from error
    for path in found:
        match = NAME.fullmatch(path.name)
        if match is None or match["assignment"] != name:
            if match is None:
                left.append(f"{path.name}: no name of a submission")
            continue
        status = path.lstat()
        student = match["student"]
        if not stat.S_ISDIR(status.st_mode):
            left.append(f"{path.name}: a link or a file, not a folder")
        elif not any_owner and (owner := _user(status.st_uid)) != student:
            left.append(f"{path.name}: it belongs to {owner}, not to {student}")
        elif safe_name(student) != student:
            left.append(f"{path.name}: {student!r} is no name for a student's folder")
        else:
            newest[student] = max(newest.get(student, ("", path)), (match["time"], path))
    for student, (time, path) in newest.items():
        target = course.root / "submitted" / student / name
        stamp = target / "timestamp.txt"
        if stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace").strip() == time:
            continue
        if os.path.lexists(target):
            shutil.rmtree(target)
        target.mkdir(parents=True)
        left += [f"{path.name}: {line}" for line in _copy(path, target)]
        stamp.write_text(time, encoding="utf-8")
    return sorted(newest), left


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _copy(source: Path, target: Path) -> list[str]:
    """Copy the plain files that the folder's owner owns; say what was left out.

    Files are opened beside the folder that is being walked, never through a path that the student
    can change in the meantime.
    """
    left: list[str] = []
    owner, size, files = source.lstat().st_uid, 0, 0
    for base, folders, names, place in os.fwalk(source, follow_symlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        inside = Path(base).relative_to(source)
        for file in sorted(names):
            shown = (inside / file).as_posix()
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                descriptor = os.open(file, flags, dir_fd=place)
            except OSError as error:
                left.append(f"{shown} was left out ({error.strerror})")
                continue
            with os.fdopen(descriptor, "rb") as stream:
                status = os.fstat(descriptor)
                size, files = size + status.st_size, files + 1
                if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
                    left.append(f"{shown} was left out: no plain file of the student's own")
                elif size > MOST_BYTES or files > MOST_FILES:
                    left.append(f"{shown} and what follows was left out: too many, or too large")
                    return left
                else:
                    copy = target / inside / file
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    with copy.open("wb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)
    return left
