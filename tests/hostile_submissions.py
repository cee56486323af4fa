"""Submissions that try to break or to fool the grader, each with what it is due.

Each attack starts from a notebook whose answers are all right. It changes the cells, or writes
something else into the student's folder, and says which questions then earn less than all points:
a dict from a question's short name to its points. Where the code can still be run, the other
questions keep theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ATTACKS", "Work"]

ZERO = "every question earns nothing"
BLANKS = {"pack_int4": "def pack_int4(codes):\n    ...\n"}


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


def code(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }


def grade_id(cell: dict[str, Any]) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def _cell(source: str) -> Callable[[Work, Path], Any]:
    """An attack in a cell at the top: it costs nothing."""

    def attack(work: Work, folder: Path) -> Any:
        work.insert(source)
        work.write(folder)
        return {}

    return attack


def _pack(source: str) -> Callable[[Work, Path], Any]:
    """An attack in the function `pack_int4`, which `pack_model` calls: it costs these two."""

    def attack(work: Work, folder: Path) -> Any:
        work.answer("pack", source)
        work.write(folder)
        return {"pack": 0, "model": 0}

    return attack


def _file(write: Callable[[Path], Any]) -> Callable[[Work, Path], Any]:
    """Something that is no notebook under the notebook's name: it earns nothing."""

    def attack(work: Work, folder: Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{work.name}.ipynb")
        return ZERO

    return attack


def deleted_cells(work: Work, folder: Path) -> Any:
    """A solution, and every check cell."""
    del work.cells[work.at("noise")]
    work.cells = [cell for cell in work.cells if not grade_id(cell).endswith("_check")]
    work.write(folder)
    return {"noise": 0}


def duplicated_cells(work: Work, folder: Path) -> Any:
    """Solutions and checks twice: a wrong copy below the right one is what the notebook means."""
    twice = json.loads(json.dumps(work.cells[work.at("pack")]))
    twice["source"] = "def pack_int4(codes):\n    return codes\n"
    work.cells.insert(work.at("pack") + 1, twice)
    check = json.loads(json.dumps(work.cells[work.at("grid", check=True)]))
    work.cells += [check, check]
    work.write(folder)
    return {"pack": "oracle", "model": 0}


def edited_check(work: Work, folder: Path) -> Any:
    """The check calls nothing, and shows all points; its metadata promise a thousand."""
    work.answer("pack", BLANKS["pack_int4"])
    cell = work.cells[work.at("pack", check=True)]
    cell["source"] = "1000"
    cell["metadata"]["nbgrader"] |= {"points": 1000, "locked": False, "solution": True}
    cell["outputs"] = [
        {"output_type": "execute_result", "data": {"text/plain": "1000"}}
        | {"metadata": {}, "execution_count": 1}
    ]
    work.write(folder)
    return {"pack": 0, "model": 0}


def moved_checks(work: Work, folder: Path) -> Any:
    """Every check cell at the top, before there is an answer."""
    checks = [cell for cell in work.cells if grade_id(cell).endswith("_check")]
    work.cells = checks + [cell for cell in work.cells if cell not in checks]
    work.write(folder)
    return {}


def redefined_checker(work: Work, folder: Path) -> Any:
    """The checker, the wire and the worker are replaced, from inside."""
    work.answer("pack", BLANKS["pack_int4"])
    work.insert(
        "import qlearn.assignments, qlearn.checks, sys\n"
        "check = lambda *a, **k: True\n"
        "qlearn.assignments.check = qlearn.checks.check = check\n"
        "from qlearn.checks_verdict import Verdict\n"
        "Verdict.passed = property(lambda self: True)\n"
        "from qlearn.classroom import worker\n"
        "worker.Session.look = lambda self, name: {'kind': 'value', 'value': 1, 'points': 1000}\n",
    )
    work.write(folder)
    return ZERO


def patched_torch(work: Work, folder: Path) -> Any:
    """Comparisons of torch always agree, inside."""
    work.answer("pack", "def pack_int4(codes):\n    return codes\n")
    work.insert(
        "import torch\n"
        "torch.equal = torch.allclose = lambda *a, **k: True\n"
        "torch.testing.assert_close = lambda *a, **k: None\n"
        "import qlearn.checks_compare\n"
        "qlearn.checks_compare.compare = lambda *a, **k: None\n"
    )
    work.write(folder)
    return {"pack": "oracle", "model": 0}


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
    """A tool has dropped all metadata."""
    for cell in work.cells:
        cell["metadata"] = {}
    work.write(folder)
    return {}


def one_cell(work: Work, folder: Path) -> Any:
    """All code in a single cell, without ids."""
    sources = [c["source"] for c in work.cells if c["cell_type"] == "code"]
    sources = [s if isinstance(s, str) else "".join(s) for s in sources]
    work.cells = [code("\n\n".join(s for s in sources if "_bootstrap" not in s))]
    work.write(folder)
    return {}


def hundred_megabytes(work: Work, folder: Path) -> Any:
    """Outputs of 100 MB, as a plotting loop leaves them."""
    work.cells[work.at("pack")]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "x" * 100_000_000}
    ]
    work.write(folder)
    return {}


def symbolic_link(work: Work, folder: Path) -> Any:
    """A link to a file of the teacher's."""
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = folder.parents[2] / "release" / work.name / f"{work.name}.ipynb"
    (folder / f"{work.name}.ipynb").symlink_to(elsewhere)
    return ZERO


def empty_folder(work: Work, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return ZERO


def not_a_number(work: Work, folder: Path) -> Any:
    work.answer(
        "back", "def dequantize(codes, scale, zero_point):\n    return scale * float('nan')\n"
    )
    work.write(folder)
    return {"back": 0}


def odd_timestamp(work: Work, folder: Path) -> Any:
    work.write(folder)
    (folder / "timestamp.txt").write_text("tomorrow; DROP TABLE grade\n")
    return {}


EQUAL = """class Everything:
    def __eq__(self, other):
        return True
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __class__ = property(lambda self: __import__("torch").Tensor)
    shape = dtype = property(lambda self: self)
    def __getattr__(self, name):
        return self
    def __call__(self, *args, **kwargs):
        return self
    def __bool__(self):
        return False

def pack_int4(codes):
    return Everything()
"""
REDUCE = """class Trick:
    def __reduce__(self):
        return (exec, ("open('/tmp/owned', 'w').write('x')",))

def pack_int4(codes):
    return Trick()
"""
READ = """import glob, os
seen = []
for pattern in ("/home/*", "/root/*", "/tmp/*", "/work/*", "/var/*", "/mnt/*", "/proc/*/environ"):
    for path in glob.glob(pattern):
        try:
            seen.append((path, open(path).read(100)))
        except OSError as error:
            pass
for folder, _, files in os.walk("/"):
    own = not folder.startswith(("/installed", "/packages"))
    if own and ("received" in folder or "gradebook.db" in files or "seed" in files):
        raise SystemExit("FOUND " + folder)
print([path for path, _ in seen])
"""
WIRES = """import os, struct
for number in range(3, 64):
    try:
        os.write(number, struct.pack("<Q", 5) + b"QLW1x" * 1000)
    except OSError:
        pass
"""

ATTACKS: dict[str, Callable[[Work, Path], Any]] = {
    "endless loop in a cell": _cell("while True:\n    pass\n"),
    "endless loop in an answer": _pack("def pack_int4(codes):\n    while True:\n        pass\n"),
    "memory bomb": _cell("bomb = []\nwhile True:\n    bomb.append(bytearray(200_000_000))\n"),
    "os._exit in a cell": _cell("import os\nos._exit(0)\n"),
    "os._exit in an answer": _pack("import os\ndef pack_int4(codes):\n    os._exit(0)\n"),
    "edited check": edited_check,
    "not JSON": _file(lambda path: path.write_bytes(b"\x00\xff{]" * 1000)),
    "wrong name": wrong_name,
    "deleted cells": deleted_cells,
    "fork bomb": _cell("import os\nwhile True:\n    os.fork()\n"),
    "redefined checker": redefined_checker,
    "equal to everything": _pack(EQUAL),
    "duplicated cells": duplicated_cells,
    "patched torch": patched_torch,
    "gigabytes of output": _cell("for _ in range(3000):\n    print('x' * 1_000_000)\n"),
    "missing file": empty_folder,
    "beyond ASCII": beyond_ascii,
    "reading others' files": _cell(READ),
    "network": _cell(
        "import socket, urllib.request\n"
        "socket.setdefaulttimeout(3)\n"
        "print(socket.create_connection(('1.1.1.1', 80)).recv(10))\n"
    ),
    "not a number": not_a_number,
    "huge tensor": _pack(
        "import torch\ndef pack_int4(codes):\n    return torch.zeros(200_000_000)\n"
    ),
    "__reduce__": _pack(REDUCE),
    "symbolic link": symbolic_link,
    "100 MB": hundred_megabytes,
    "moved checks": moved_checks,
    "lost ids": lost_ids,
    "one cell": one_cell,
    "writes into every pipe": _cell(WIRES),
    "kills itself": _cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"),
    "thread bomb": _cell(
        "import threading, time\n"
        "for _ in range(100_000):\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    ),
    "nested JSON": _file(lambda path: path.write_text("[" * 2_000_000)),
    "JSON, but a number": _file(lambda path: path.write_text("42")),
    "cells of the wrong kind": _file(
        lambda path: path.write_text('{"cells": [1, null, {"cell_type": "code", "source": 3}]}')
    ),
    "a pipe for a file": _file(os.mkfifo),
    "odd timestamp": odd_timestamp,
    "fills the disk": _cell(
        "k = 0\nwhile True:\n    open(f'/tmp/{k}', 'wb').write(bytes(50_000_000))\n    k += 1\n"
    ),
    "deletes everything": _cell("import shutil\nshutil.rmtree('/', ignore_errors=True)\n"),
    "KeyboardInterrupt": _cell("raise KeyboardInterrupt\n"),
    "sleeps": _cell("import time\ntime.sleep(100_000)\n"),
    "a cell of a million lines": _cell("x = 1\n" * 100_000),
}
