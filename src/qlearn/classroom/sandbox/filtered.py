"""The package as a student's process sees it: without what holds the answers."""

from __future__ import annotations

import ast
import compileall
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ALWAYS", "PACKAGES", "filtered_copy"]

SOURCE = Path(__file__).parents[2]
# Absent for every assignment: the chapters' exercises, the questions, the classroom's own tools.
ALWAYS = ("qlearn.exercises", "qlearn.assignments", "qlearn.classroom")
INSIDE = ("__init__.py", "wire.py", "worker.py", "worker_cells.py")  # of the sandbox: the worker
# Packages whose calls would be the answers: absent too.
PACKAGES = (
    *("auto_gptq", "awq", "bitsandbytes", "compressed_tensors", "gguf", "gptqmodel", "hqq"),
    *("llmcompressor", "neural_compressor", "nncf", "onnxruntime", "openvino", "optimum", "peft"),
    *("quanto", "torchao"),
)
REFUSAL = "{name} is not there while an assignment is graded: write it yourself"
STUB = '''"""Where an assignment is graded the checks run elsewhere: here they say nothing."""


def check(question_id, answer=None):
    return None
'''


def filtered_copy(blocked: Iterable[str], folder: Path) -> Path:
    """Write the package without its answers; give the folder to put on ``sys.path``.

    Args:
        blocked: dotted names, of modules (``qlearn.numerics.packing``) or of what is in them
            (``qlearn.numerics.packing.pack``). Importing one raises an ImportError that says so.
        folder: where copies are kept; one of the same contents is made once.
    """
    wanted = sorted({name for name in blocked if name.startswith("qlearn.")})
    target = folder / _digest(wanted)
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".made-", dir=folder))
    package = made / "qlearn"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    for name in (*ALWAYS, *wanted):
        _remove(package, name)
    stub = package / "assignments" / "__init__.py"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(STUB, encoding="utf-8")
    (package / "assignments.py").unlink(missing_ok=True)
    inside = package / "classroom" / "sandbox"
    (package / "classroom.py").unlink(missing_ok=True)
    inside.mkdir(parents=True)
    shutil.copy(SOURCE / "classroom" / "__init__.py", inside.parent)
    for file in INSIDE:
        shutil.copy(SOURCE / "classroom" / "sandbox" / file, inside / file)
    # Compiled here once, since the copy is read-only inside.
    compileall.compile_dir(package, quiet=2, stripdir=str(made), prependdir="/qlearn")
    made.chmod(0o755)
    try:
        made.rename(target)
    except OSError:  # another grader was faster
        shutil.rmtree(made)
    return target


def _digest(wanted: list[str]) -> str:
    """What a copy depends on: the blocked names, and the package's files as they are now."""
    files = sorted(path for path in SOURCE.rglob("*") if "__pycache__" not in path.parts)
    states = [
        [os.fspath(path.relative_to(SOURCE)), status.st_size, status.st_mtime_ns]
        for path in files
        if (status := path.stat()) and path.is_file()
    ]
    text = json.dumps([wanted, ALWAYS, STUB, states])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _remove(package: Path, name: str) -> None:
    """Take a module away, or one name out of a module."""
    parts = name.split(".")[1:]
    place = package.joinpath(*parts)
    if place.is_dir():
        shutil.rmtree(place)
        _refuse(place.with_suffix(".py"), name)
    elif place.with_suffix(".py").is_file():
        _refuse(place.with_suffix(".py"), name)
    elif len(parts) > 1 and (module := place.parent.with_suffix(".py")).is_file():
        _remove_name(module, name)
    else:
        raise ValueError(f"blocked={name!r} names nothing in the package; look at its spelling")


def _refuse(file: Path, name: str) -> None:
    text = REFUSAL.format(name=name)
    file.write_text(f"raise ImportError({text!r}, name={name!r})\n", encoding="utf-8")


def _remove_name(file: Path, name: str) -> None:
    """Remove a function or class; importing it then says why it is not there."""
    short = name.rpartition(".")[2]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kept = [node for node in tree.body if getattr(node, "name", None) != short]
    if len(kept) == len(tree.body) and "def __getattr__(name)" not in ast.unparse(tree):
        raise ValueError(f"blocked={name!r}: {file.name} defines no function or class {short}")
    tree.body = kept
    text = ast.unparse(tree)
    # `__all__` would promise the name to `import *`.
    text = text.replace(f"'{short}', ", "").replace(f", '{short}'", "").replace(f"'{short}'", "")
    reason = REFUSAL.format(name=name)
    condition = f"if name == {short!r}:\n        raise ImportError({reason!r}, name={name!r})"
    if "def __getattr__(name)" in text:
        text = text.replace("def __getattr__(name):", f"def __getattr__(name):\n    {condition}", 1)
    else:
        text += f"\n\ndef __getattr__(name):\n    {condition}\n    raise AttributeError(name)\n"
    file.write_text(text, encoding="utf-8")
