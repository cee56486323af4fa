"""Attacks on the grader's machine, on its files and on others' submissions."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from hostile_work import ZERO, Attack, Work, cell, file, pack

__all__ = ["MACHINE", "MARK", "SECRET"]

MARK = "qlearn_injected"  # what scripts of a submission would run, if a page let them
SECRET = "QLEARN_SECRET_OF_THE_GRADER"  # a variable that the class's graders have

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
PROC = f"""import glob, os
if {SECRET!r} in os.environ:
    raise SystemExit("FOUND in the environment")
for path in glob.glob("/proc/[0-9]*/*") + glob.glob("/proc/[0-9]*/task/*/environ"):
    try:
        with open(path, "rb") as file:
            if {SECRET.encode()!r} in file.read(1_000_000):
                raise SystemExit("FOUND in " + path)
    except OSError:
        pass
"""
BOOK = """import pathlib, sqlite3
root = pathlib.Path({root!r})
if (root / "seed").exists():
    raise SystemExit("FOUND the seed")
for name in ("gradebook.db", "seed", "grades/{name}_canvas.csv", "graded/{name}/x.json"):
    try:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1000")
    except OSError:
        pass
try:
    sqlite3.connect(root / "gradebook.db").execute("update grade set manual_score = 1000")
except sqlite3.Error:
    pass
"""
TAG = f"<script>{MARK}()</script><img src=x onerror={MARK}()>"
SCRIPTS = f"""from IPython.display import HTML, Javascript, display
print({TAG!r} + "\\x1b]8;;javascript:{MARK}()\\x07\\x1b[31m")
display(HTML({TAG!r}), Javascript("{MARK}()"))
display({{"text/html": {TAG!r}, "image/svg+xml": "<svg onload={MARK}()>"}}, raw=True)
raise type({TAG!r}, (ValueError,), {{}})({TAG!r})
"""


def scripts(work: Work, folder: Path) -> Any:
    """In texts, outputs, names of errors and diagnoses."""
    link = f'[x](javascript:{MARK}()) <a href="javascript:{MARK}()">x</a>'
    for text in (f"{TAG} {link}", link, f"# {TAG}", f"~~~\n{TAG}\n~~~\n{TAG}", f"<!-- {TAG}"):
        work.cells.append({"cell_type": "markdown", "source": text, "metadata": {}})
        work.cells.append({"cell_type": "raw", "source": text, "metadata": {}})
    work.file = f"[x](javascript:{MARK}()) <img src=x onerror={MARK}()>.ipynb"
    work.answer("pack", f"def pack_int4(codes):\n    raise ValueError({TAG!r})\n")
    work.insert(SCRIPTS)
    work.write(folder)
    return {"pack": 0, "model": 0}


def gradebook(work: Work, folder: Path) -> Any:
    """It knows where the course lies, and writes there."""
    work.insert(BOOK.format(root=str(folder.parents[2]), name=work.name))
    work.write(folder)
    return {}


def symbolic_link(work: Work, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = folder.parents[2] / "release" / work.name / f"{work.name}.ipynb"
    (folder / f"{work.name}.ipynb").symlink_to(elsewhere)
    return ZERO


def linked_folder(work: Work, folder: Path) -> Any:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(folder.parents[2] / "release" / work.name)
    return ZERO


def too_large(path: Path) -> None:
    with path.open("wb") as stream:  # a hole: it takes no room here
        stream.truncate(600_000_000)


def many_pieces(work: Work, folder: Path) -> Any:
    """200 MB in a million small outputs."""
    work.cells[work.at("pack")]["outputs"] = ["HERE"]
    path = work.write(folder)
    piece = json.dumps(
        {"output_type": "stream", "name": "stdout", "text": "x" * 140} | {"metadata": {}}
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"HERE"', ",".join([piece] * 1_000_000)), encoding="utf-8")
    return {}


def own_modules(work: Work, folder: Path) -> Any:
    """Files beside the notebook, called as modules that the grader uses."""
    work.insert("import sys\nsys.path.insert(0, '')\nsys.path.insert(0, '/work')\n")
    work.write(folder)
    for name in (
        *("torch.py", "json.py", "sitecustomize.py", "conftest.py", "nbgrader_config.py"),
        *("qlearn/__init__.py", "qlearn/assignments/__init__.py", "qlearn/classroom/wire.py"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise SystemExit('FOUND: a module of the student has run')\n")
    return {}


_attack = partial(Attack, "machine")
TIME = "a limit of CPU and clock time for each cell; the notebook goes on without it"
MEMORY = "a limit of memory; the process starts anew without that cell"
RESTART = "the process starts anew, and the other cells run again"
MACHINE = {
    "endless loop in a cell": _attack(
        "`while True` at the top", TIME, cell("while True:\n    pass\n")
    ),
    "endless loop in an answer": _attack(
        "a function that never returns",
        "a limit for each call; that question earns nothing",
        pack("def pack_int4(codes):\n    while True:\n        pass\n"),
    ),
    "sleeps": _attack("waits for a day", TIME, cell("import time\ntime.sleep(100_000)\n")),
    "waits for the keyboard": _attack(
        "`input()`", "there is no keyboard: an error", cell("input('your password: ')\n")
    ),
    "memory bomb": _attack(
        "allocates until the machine gives up",
        MEMORY,
        cell("bomb = []\nwhile True:\n    bomb.append(bytearray(200_000_000))\n"),
    ),
    "huge tensor": _attack(
        "returns 800 MB",
        "a limit of a result's size",
        pack("import torch\ndef pack_int4(codes):\n    return torch.zeros(200_000_000)\n"),
    ),
    "endless generator": _attack(
        "returns a generator without end",
        "only plain values and tensors cross; nothing is iterated",
        pack("def pack_int4(codes):\n    while True:\n        yield codes\n"),
    ),
    "fork bomb": _attack(
        "forks for ever",
        "the filter of system calls refuses new processes",
        cell("import os\nwhile True:\n    os.fork()\n"),
    ),
    "thread bomb": _attack(
        "100,000 threads",
        "limits of memory and of processes",
        cell(
            "import threading, time\n"
            "for _ in range(100_000):\n"
            "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        ),
    ),
    "shell and magics": _attack(
        "`!rm`, `%%bash`, `%reset`",
        "no new processes; the files are read-only",
        cell("!rm -rf / /work\nget_ipython().run_cell_magic('bash', '', 'true')\n"),
    ),
    "os._exit in a cell": _attack(
        "ends its process at the top", RESTART, cell("import os\nos._exit(0)\n")
    ),
    "os._exit in an answer": _attack(
        "ends its process when it is called",
        "that question earns nothing; " + RESTART,
        pack("import os\ndef pack_int4(codes):\n    os._exit(0)\n"),
    ),
    "kills itself": _attack(
        "SIGKILL to its own process",
        RESTART,
        cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"),
    ),
    "KeyboardInterrupt": _attack(
        "raises what stops a grader by hand",
        "inside it is one cell's error",
        cell("raise KeyboardInterrupt\n"),
    ),
    "gigabytes of output": _attack(
        "prints 3 GB",
        "the first 100,000 characters are kept",
        cell("for _ in range(3000):\n    print('x' * 1_000_000)\n"),
    ),
    "fills the disk": _attack(
        "writes files of 50 MB",
        "128 MB of memory in place of a disk",
        cell(
            "k = 0\nwhile True:\n    open(f'/tmp/{k}', 'wb').write(bytes(50_000_000))\n    k += 1\n"
        ),
    ),
    "deletes everything": _attack(
        "`rmtree('/')`",
        "all but its scratch folder is read-only",
        cell("import shutil\nshutil.rmtree('/', ignore_errors=True)\n"),
    ),
    "reading others' files": _attack(
        "looks for the seed, the gradebook, other submissions",
        "none of them is mounted",
        cell(READ),
    ),
    "secrets of the grader": _attack(
        "reads its environment and all of /proc",
        "an environment of its own, no other process in sight",
        cell(PROC),
    ),
    "writes to the gradebook": _attack(
        "knows the course's path; writes grades and seed",
        "the path does not exist inside",
        gradebook,
    ),
    "network": _attack(
        "opens a connection",
        "no network but its own loopback",
        cell(
            "import socket, urllib.request\n"
            "socket.setdefaulttimeout(3)\n"
            "print(socket.create_connection(('1.1.1.1', 80)).recv(10))\n"
        ),
    ),
    "writes into every pipe": _attack(
        "forges a reply to the grader",
        "a reply that can't be read ends the process; no reply holds a score",
        cell(WIRES),
    ),
    "scripts in feedback": _attack(
        "HTML, scripts and escape codes in texts, outputs, errors and diagnoses",
        "feedback and dashboard show its texts as typed",
        scripts,
    ),
    "modules of its own": _attack(
        "`torch.py` and `qlearn/` beside the notebook",
        "the grader imports nothing from there; inside, the real ones are loaded first",
        own_modules,
    ),
    "symbolic link": _attack(
        "a link to a file of the teacher's under the notebook's name",
        "links are not followed",
        symbolic_link,
    ),
    "linked folder": _attack(
        "the same for the whole folder", "links are not followed", linked_folder
    ),
    "a pipe for a file": _attack(
        "a named pipe, on which a reader waits for ever",
        "only plain files are opened",
        file(os.mkfifo),
    ),
    "nested JSON": _attack(
        "two million opening brackets",
        "a process with limits parses it",
        file(lambda path: path.write_text("[" * 2_000_000)),
    ),
    "600 MB": _attack("a notebook of 600 MB", "files above 500 MB stay closed", file(too_large)),
    "200 MB in a million outputs": _attack(
        "much to parse", "a process with limits parses it and drops outputs", many_pieces
    ),
}
