"""A course's folder: nbgrader's configuration, sources, the seed, and the releases made from them.

The layout is nbgrader's own (source, release, submitted, autograded, feedback, gradebook.db), with
`received` (what students handed in, untouched), `graded` (our verdicts) and `seed` beside it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.assignments import in_assignment
from qlearn.assignments.shared.question import Question
from qlearn.course.notebooks.cells import Publication, generated, read_publication
from qlearn.course.notebooks.normal import normalise
from qlearn.course.notebooks.tool import find_root, write

with needs("classroom"):
    import nbformat

__all__ = ["COURSE_ID", "Course", "CourseError", "make_course", "make_releases"]

COURSE_ID = "qlearn"
CONFIG = f'''"""Written by `python -m qlearn.classroom course`."""

import os

here = os.path.dirname(os.path.abspath(__file__))
c = get_config()  # noqa: F821 (nbgrader defines it)
c.CourseDirectory.root = here
c.CourseDirectory.course_id = "{COURSE_ID}"

# A blank returns and shows nothing, so that a notebook runs through before it is finished.
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\npass"}}

# Grading: in place of nbgrader's execution, the sandbox, and scores that are made outside it.
c.Autograde.autograde_preprocessors = [
    "qlearn.classroom.marks.preprocessor.TrustedGrades",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.TrustedGrades.course = here

# Texts of a submission are shown without their scripts.
c.HTMLExporter.sanitize_html = True
'''


class CourseError(RuntimeError):
    """A step of the course's life failed; the text says which and how to go on."""


@dataclass(frozen=True)
class Course:
    """A course's folder."""

    root: Path

    @property
    def seed(self) -> int:
        """The seed of the cases that count.

        Raises:
            CourseError: the folder is no course.
        """
        try:
            return int(json.loads((self.root / "seed").read_text(encoding="utf-8"))["seed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CourseError(
                f"{self.root} holds no readable file `seed` ({error}): make the course with "
                "`python -m qlearn.classroom course FOLDER`"
            ) from error

    @property
    def cache(self) -> Path:
        """Where the sandbox's read-only copies are kept."""
        return self.root / ".rooms"

    def assignments(self) -> list[str]:
        """Names of the assignments that have a source, in order."""
        return sorted(path.name for path in (self.root / "source").glob("a[0-9]*") if path.is_dir())

    def named(self, assignment: str) -> str:
        """The full name of an assignment: ``a1`` may be written for ``a1_int4_and_packing``."""
        found = [n for n in self.assignments() if n == assignment or n.split("_")[0] == assignment]
        if len(found) != 1:
            known = ", ".join(self.assignments()) or "none"
            raise CourseError(f"assignment={assignment!r} is not in {self.root}; there are {known}")
        return found[0]

    def release(self, name: str) -> Any:
        """The notebook that was given out."""
        path = self.root / "release" / name / f"{name}.ipynb"
        if not path.is_file():
            raise CourseError(f"{path} is missing: run `python -m qlearn.classroom course` again")
        return nbformat.read(path, as_version=4)

    def nbgrader(self, *arguments: str, check: bool = True) -> str:
        """Run nbgrader in the course's folder; give what it printed."""
        programs = str(Path(sys.executable).parent)  # nbgrader calls `alembic` by its name
        path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if check and done.returncode:
            raise CourseError(f"nbgrader {' '.join(arguments)} failed:\n{said[-3000:]}")
        return said


def questions_of(name: str) -> list[Question]:
    """The questions of an assignment by its full name."""
    return in_assignment(name.split("_")[0])


def make_course(
    folder: Path, seed: int | None = None, sources: Path | None = None, only: Sequence[str] = ()
) -> Course:
    """Make a course, or renew one: its sources and releases, and the gradebook's cells.

    Args:
        folder: where; what students handed in and what was graded there is kept.
        seed: of the cases that count. None keeps the folder's own, or draws one.
        sources: a folder of source notebooks; None takes the clone's own.
        only: names of assignments (``a1``); none means all.

    Raises:
        CourseError: nbgrader is missing or refuses.
    """
    if seed == 0:
        raise CourseError("seed=0 gives the visible cases: students know them; choose another")
    root = _clone()
    sources = sources or root / "notebooks" / "assignments" / "source"
    course = Course(folder.resolve())
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)  # on a shared machine: the gradebook lies here
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    if seed is not None or not (folder / "seed").is_file():
        chosen = seed if seed is not None else secrets.randbelow(2**31 - 1) + 1
        note = "The cases that count are made from this number: keep it out of what you give out."
        text = json.dumps({"seed": chosen, "note": note})
        (folder / "seed").write_text(text + "\n", encoding="utf-8")
        (folder / "seed").chmod(0o600)
    publication = read_publication(root)
    for path in sorted(sources.glob("a[0-9]*/a[0-9]*.ipynb")):
        name = path.stem
        if only and not {name, name.split("_")[0]} & set(only):
            continue
        _write_source(path, course.root / "source" / name / path.name, publication)
        for file in path.parent.iterdir():  # what a notebook needs beside it
            if file.is_file() and file != path:
                (course.root / "source" / name / file.name).write_bytes(file.read_bytes())
        course.nbgrader("generate_assignment", name, "--force", "--create")
        released = course.root / "release" / name / path.name
        write(normalise(nbformat.read(released, as_version=4)), released)
    if not course.assignments():
        raise CourseError(f"there is no source notebook in {sources}")
    return course


def _clone() -> Path:
    """The clone that this package lies in; where it is installed, the one of the working folder."""
    try:
        return find_root(Path(__file__))
    except ValueError:
        pass
    try:
        return find_root(Path.cwd())
    except ValueError as error:
        raise CourseError(
            "assignments' sources are in a clone of the course's repository: run this in one"
        ) from error


def _write_source(path: Path, target: Path, publication: Publication) -> None:
    """Copy a source notebook, with the buttons and the bootstrap cell of a released one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    place = f"assignments/release/{path.stem}/{path.name}"
    notebook = generated(nbformat.read(path, as_version=4), place, publication)
    for cell in notebook.cells:
        cell.setdefault("id", os.urandom(4).hex())
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    write(normalise(notebook), target)


def make_releases(folder: Path) -> list[Path]:
    """Write the releases of the clone's source notebooks below `folder`; give their paths."""
    import tempfile

    written = []
    with tempfile.TemporaryDirectory() as made:
        course = make_course(Path(made), seed=1)
        for name in course.assignments():
            target = folder / name / f"{name}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            write(course.release(name), target)
            written.append(target)
            for file in (course.root / "source" / name).iterdir():
                if file.suffix != ".ipynb" and file.is_file():
                    (target.parent / file.name).write_bytes(file.read_bytes())
    return written
