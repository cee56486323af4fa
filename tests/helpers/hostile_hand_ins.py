"""Odd hand-ins: damaged, renamed, shuffled notebooks, mostly without ill will."""

from __future__ import annotations

import io
import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from hostile_work import ZERO, Attack, Work, cell, code, file, grade_id

__all__ = ["HAND_INS"]


def deleted_cells(work: Work, folder: Path) -> Any:
    del work.cells[work.at("noise")]
    work.cells = [cell for cell in work.cells if not grade_id(cell).endswith("_check")]
    work.write(folder)
    return {"noise": 0}


def duplicated_cells(work: Work, folder: Path) -> Any:
    """A wrong copy below the right one is what the notebook means."""
    twice = json.loads(json.dumps(work.cells[work.at("pack")]))
    twice["source"] = "def pack_int4(codes):\n    return codes\n"
    work.cells.insert(work.at("pack") + 1, twice)
    check = json.loads(json.dumps(work.cells[work.at("grid", check=True)]))
    work.cells += [check, check]
    work.write(folder)
    return {"pack": twice["source"], "model": 0}


def moved_checks(work: Work, folder: Path) -> Any:
    checks = [cell for cell in work.cells if grade_id(cell).endswith("_check")]
    work.cells = checks + [cell for cell in work.cells if cell not in checks]
    work.write(folder)
    return {}


def wrong_name(work: Work, folder: Path) -> Any:
    work.file = "My homework (final) v2.ipynb"
    work.write(folder)
    return {}


def beyond_ascii(work: Work, folder: Path) -> Any:
    work.file = "Übung – 作業 №1 🙂.ipynb"
    work.insert("größe = 1\nprint('Ü', '作業', '🙂', '\\ud800' if False else '')\n")
    work.write(folder)
    return {}


def lost_ids(work: Work, folder: Path) -> Any:
    for one in work.cells:
        one["metadata"] = {}
    work.write(folder)
    return {}


def one_cell(work: Work, folder: Path) -> Any:
    sources = [c["source"] for c in work.cells if c["cell_type"] == "code"]
    sources = [s if isinstance(s, str) else "".join(s) for s in sources]
    work.cells = [code("\n\n".join(s for s in sources if "_bootstrap" not in s))]
    work.write(folder)
    return {}


def hundred_megabytes(work: Work, folder: Path) -> Any:
    work.cells[work.at("pack")]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "x" * 100_000_000}
    ]
    work.write(folder)
    return {}


def empty_folder(work: Work, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return ZERO


def odd_timestamp(work: Work, folder: Path) -> Any:
    work.write(folder)
    (folder / "timestamp.txt").write_text("tomorrow; DROP TABLE grade\n")
    return {}


def archive(path: Path) -> None:
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(path.name, bytes(50_000_000))
    path.write_bytes(inside.getvalue())


_odd = partial(Attack, "hand-in")
PUT_BACK = "the release's cells are put back in their places"
NOTHING = "earns nothing, and feedback says why"
HAND_INS = {
    "not JSON": _odd(
        "random bytes", NOTHING, file(lambda path: path.write_bytes(b"\x00\xff{]" * 1000))
    ),
    "JSON, but a number": _odd("`42`", NOTHING, file(lambda path: path.write_text("42"))),
    "cells of the wrong kind": _odd(
        "cells that are numbers",
        "what is no cell is dropped",
        file(
            lambda path: path.write_text('{"cells": [1, null, {"cell_type": "code", "source": 3}]}')
        ),
    ),
    "an archive for a notebook": _odd(
        "a zip with the notebook's name", "archives are not unpacked; " + NOTHING, file(archive)
    ),
    "missing file": _odd("an empty folder", NOTHING, empty_folder),
    "wrong name": _odd(
        "another file name", "a notebook with the release's cells is found", wrong_name
    ),
    "beyond ASCII": _odd(
        "file name and code in four scripts", "names and texts are UTF-8 throughout", beyond_ascii
    ),
    "deleted cells": _odd("a solution and all checks are gone", PUT_BACK, deleted_cells),
    "duplicated cells": _odd(
        "a wrong copy below a right solution", "both run, the last one counts", duplicated_cells
    ),
    "moved checks": _odd("all checks above the answers", PUT_BACK, moved_checks),
    "lost ids": _odd(
        "a tool has dropped nbgrader's metadata", "answers are found by their names", lost_ids
    ),
    "one cell": _odd("all code in one cell", "answers are found by their names", one_cell),
    "100 MB": _odd(
        "one output of 100 MB", "outputs are dropped while it is read", hundred_megabytes
    ),
    "a long cell": _odd("100,000 lines", "it runs", cell("x = 1\n" * 100_000)),
    "odd timestamp": _odd("a time that is none", "only a time is taken for a time", odd_timestamp),
}
