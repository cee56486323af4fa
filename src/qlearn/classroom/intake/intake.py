"""What a student handed in, whatever it is -> cells, or the reason why there are none.

Nothing of a submission is trusted: links are not followed, only plain files are opened, the
notebook is parsed by a process with limits, and one under another name is looked for.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Cell", "Handed", "read_submission"]

MOST_BYTES = 500_000_000  # of a notebook file: its outputs are dropped while it is read
MOST_FILES = 200
MOST_FILE_BYTES = 200_000_000  # of the other files together
STRIP = Path(__file__).with_name("intake_strip.py")
SECONDS = 120


@dataclass(frozen=True)
class Cell:
    """One cell: "code", "markdown" or "raw", its source, and nbgrader's id of it, or ''."""

    kind: str
    source: str
    grade_id: str = ""


@dataclass
class Handed:
    """A submission as found.

    Attributes:
        cells: of its notebook; None where it has none that can be read.
        files: name -> the other plain files, for the sandbox to see.
        notes: sentences for student and teacher on what was wrong with it.
    """

    cells: list[Cell] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_submission(folder: Path, name: str, known: Iterable[str]) -> Handed:
    """Read what lies in a student's folder.

    Args:
        folder: of one student and one assignment; it may be missing.
        name: of the notebook that was released, without ``.ipynb``.
        known: the ids of the release's cells, to find a notebook under a wrong name.
    """
    handed = Handed()
    if folder.is_symlink() or not folder.is_dir():
        handed.notes.append("Nothing was handed in.")
        return handed
    plain = _plain_files(folder, handed)
    wanted = f"{name}.ipynb"
    notebooks = [file for file in plain if file.suffix.lower() == ".ipynb"]
    read: dict[Path, list[Cell]] = {}
    for file in sorted(notebooks, key=lambda f: (f.name != wanted, f.name)):
        cells, problem = _read_cells(file)
        if cells is None:
            handed.notes.append(f"{file.name} can't be read: {problem}.")
            continue
        read[file] = cells
        if file.name == wanted:
            break
    ids = set(known)
    if read:
        best = max(read, key=lambda f: (f.name == wanted, _known_cells(read[f], ids)))
        handed.cells = read[best]
        if best.name != wanted:
            handed.notes.append(f"{best.name} was taken for {wanted}, the name it should have.")
    elif not notebooks:
        handed.notes.append(f"There is no notebook: {wanted} was expected.")
    taken = 0
    for file in plain:
        if file.suffix.lower() == ".ipynb" or len(handed.files) >= MOST_FILES:
            continue
        taken += file.stat().st_size
        if taken > MOST_FILE_BYTES:
            handed.notes.append(f"{file.name} was left out: the files exceed 200 MB.")
            break
        handed.files[file.relative_to(folder).as_posix()] = file
    return handed


def _plain_files(folder: Path, handed: Handed) -> list[Path]:
    """The plain files of a folder and its subfolders, no link followed."""
    found = []
    for base, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        for file in sorted(files):
            path = Path(base, file)
            if file.startswith("."):
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                found.append(path)
            else:
                handed.notes.append(f"{file} was left out: it is a link or no plain file.")
            if len(found) > 5 * MOST_FILES:
                return found
    return found


def _known_cells(cells: list[Cell], ids: set[str]) -> int:
    return sum(cell.grade_id in ids for cell in cells)


def _read_cells(file: Path) -> tuple[list[Cell] | None, str]:
    """A notebook's cells, or None and why not."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(file, flags)
    except OSError as error:
        return None, f"it can't be opened ({error.strerror})"
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None, "it is not a plain file"
        if status.st_size > MOST_BYTES:
            return None, f"it has {status.st_size / 1e6:.0f} MB, of which 500 are allowed"
        command = [sys.executable, "-I", "-S", str(STRIP)]
        try:
            done = subprocess.run(
                command, stdin=stream, capture_output=True, timeout=SECONDS, check=False
            )
            result = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None, "reading it takes too long, or too much memory"
    if "problem" in result:
        return None, result["problem"]
    return [Cell(**cell) for cell in result["cells"]], ""
