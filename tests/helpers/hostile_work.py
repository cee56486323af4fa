"""What hostile submissions are made of: a student's notebook, and an attack with its words.

An attack starts from a notebook whose answers are all right. It changes the cells, or writes
something else into the student's folder, and says what is then due: a dict from the short names of
the questions that earn less than all points to their points, or to a source that would earn as
much; or one of `ZERO` and `MARKED`. Where the code can still be run, the other questions keep
theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MARKED", "ZERO", "Attack", "Work", "cell", "code", "file", "grade_id", "pack"]

ZERO = "every question earns nothing"
MARKED = "what its solution cells earn when they run in the test's own process"
# outcome of each kind, as the guide's tables say it
OUTCOMES = {"machine": "stopped", "points": "stopped", "hand-in": "as due", "open": "not stopped"}


@dataclass
class Work:
    """A student's notebook on its way to the folder. ``solutions``: short name -> source."""

    name: str
    cells: list[dict[str, Any]]
    student: str = ""
    file: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def at(self, short: str, check: bool = False) -> int:
        """The place of a question's solution cell, or of its check cell."""
        wanted = f"{self.name.split('_')[0]}_{short}{'_check' * check}"
        return next(k for k, c in enumerate(self.cells) if grade_id(c) == wanted)

    def answer(self, short: str, source: str) -> None:
        """Write a solution."""
        self.cells[self.at(short)]["source"] = source

    def insert(self, source: str, at: int = 0) -> None:
        """Put in a cell of one's own."""
        self.cells.insert(at, code(source))

    def write(self, folder: Path) -> Path:
        """Write the notebook into a student's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (self.file or f"{self.name}.ipynb")
        notebook = {"cells": self.cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path


@dataclass(frozen=True)
class Attack:
    """One hostile submission.

    Attributes:
        kind: "machine" (harm to the grader or to others), "points" (points that are not due),
            "hand-in" (odd, and mostly without ill will) or "open" (it works).
        tries: what it does, for the guide.
        stopped_by: what meets it; of an open one, what helps instead.
        write: the change; it gives what is due.
    """

    kind: str
    tries: str
    stopped_by: str
    write: Callable[[Work, Path], Any]

    def __call__(self, work: Work, folder: Path) -> Any:
        """Write the submission; give what is due."""
        return self.write(work, folder)

    @property
    def outcome(self) -> str:
        """One or two words for the guide."""
        return OUTCOMES[self.kind]


def code(source: str) -> dict[str, Any]:
    """A code cell of a student's own."""
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }


def grade_id(cell: dict[str, Any]) -> str:
    """nbgrader's id of a cell, or ''."""
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))


def cell(source: str) -> Callable[[Work, Path], Any]:
    """An attack in a cell at the top: it costs nothing."""

    def attack(work: Work, folder: Path) -> Any:
        work.insert(source)
        work.write(folder)
        return {}

    return attack


def pack(source: str, due: Any = None, top: str = "") -> Callable[[Work, Path], Any]:
    """An attack in the function `pack_int4`, which `pack_model` calls: it costs these two.

    ``top`` goes into a cell before all others.
    """

    def attack(work: Work, folder: Path) -> Any:
        work.answer("pack", source)
        if top:
            work.insert(top)
        work.write(folder)
        return {"pack": 0, "model": 0} if due is None else due

    return attack


def file(write: Callable[[Path], Any]) -> Callable[[Work, Path], Any]:
    """Something that is no notebook under the notebook's name: it earns nothing."""

    def attack(work: Work, folder: Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{work.name}.ipynb")
        return ZERO

    return attack
