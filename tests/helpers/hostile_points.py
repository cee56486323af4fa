"""Attacks that want points which are not due."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from hostile_work import MARKED, ZERO, Attack, Work, cell, pack

from qlearn.assignments import find

__all__ = ["POINTS"]

BLANK = "def pack_int4(codes):\n    ...\n"
UNPACKED = "def pack_int4(codes):\n    return codes\n"
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
LYING = """import torch

class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("equal", "allclose", "__eq__", "eq"):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})

def pack_int4(codes):
    return codes.as_subclass(Liar)
"""
REDUCE = """class Trick:
    def __reduce__(self):
        return (exec, ("open('/tmp/owned', 'w').write('x')",))

def pack_int4(codes):
    return Trick()
"""
IN_PLACE = """import torch

def pack_int4(codes):
    whole = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2))
    packed = whole[..., 0::2] | whole[..., 1::2] << 4
    codes.zero_()
    return packed
"""
SEARCH = """import gc, sys

def pack_int4(codes):
    frame = sys._getframe()
    while frame is not None:
        for name in ("expected", "exercise", "cases", "reference"):
            if name in frame.f_locals:
                return frame.f_locals[name]
        frame = frame.f_back
    for found in gc.get_objects():
        if type(found).__name__ in ("Exercise", "Question"):
            return found
    return codes
"""
ON_DISK = """import os
for folder, _, files in os.walk("/"):
    for file in files:
        if file.startswith(("a1_", "hostile_")) and file.endswith((".py", ".pyc", ".ipynb")):
            raise SystemExit("FOUND " + folder + "/" + file)
        if file == "packing.py" and "qlearn" in folder:
            if "def pack(" in open(os.path.join(folder, file)).read():
                raise SystemExit("FOUND " + folder + "/" + file)
"""
REDEFINED = """import qlearn.assignments, qlearn.teach.checks.checker, sys
check = lambda *a, **k: True
qlearn.assignments.check = qlearn.teach.checks.checker.check = check
from qlearn.teach.checks.verdict import Verdict
Verdict.passed = property(lambda self: True)
from qlearn.classroom.sandbox import worker
worker.Worker.look = lambda self, name: {'kind': 'value', 'value': 1, 'points': 1000}
"""
PATCHED = """import torch
torch.equal = torch.allclose = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
import qlearn.teach.checks.compare
qlearn.teach.checks.compare.compare = lambda *a, **k: None
"""


def edited_check(work: Work, folder: Path) -> Any:
    """The check calls nothing, and shows all points; its metadata promise a thousand."""
    work.answer("pack", BLANK)
    cell = work.cells[work.at("pack", check=True)]
    cell["source"] = "1000"
    cell["metadata"]["nbgrader"] |= {"points": 1000, "locked": False, "solution": True}
    cell["outputs"] = [
        {"output_type": "execute_result", "data": {"text/plain": "1000"}}
        | {"metadata": {}, "execution_count": 1}
    ]
    work.write(folder)
    return {"pack": 0, "model": 0}


def _number(value: str) -> Any:
    def attack(work: Work, folder: Path) -> Any:
        returned = f"scale * float({value!r})"
        work.answer("back", f"def dequantize(codes, scale, zero_point):\n    return {returned}\n")
        work.write(folder)
        return {"back": 0}

    return attack


def visible_cases(work: Work, folder: Path) -> Any:
    """Every function looks its result up among those of the visible cases."""
    for short in ("grid", "codes", "back", "pack", "unpack"):
        question = find(f"a1.{short}")
        exercise = question.exercise(0)
        lines = ["import torch", "", "TABLE = {"]
        lines += [
            f"    {_key(case)!r}: {_literal(exercise.expected(*case))},"
            for case in exercise.build_cases()
        ]
        lines += [
            "}",
            "",
            f"def {question.answer}(*given):",
            "    key = repr([v.tolist() if hasattr(v, 'tolist') else v for v in given])",
            "    return TABLE.get(key, given[0])",
        ]
        work.answer(short, "\n".join(lines))
    work.write(folder)
    return MARKED


def _key(case: Any) -> str:
    return repr([v.tolist() if isinstance(v, torch.Tensor) else v for v in case])


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))})"
    return f"torch.tensor({value.tolist()!r}, dtype={value.dtype}).reshape({list(value.shape)})"


_points = partial(Attack, "points")
OUTSIDE = "scores are made outside, by a process that its code does not reach"
WIRE = "values cross as JSON and raw numbers; a type that is neither arrives as its name"
POINTS = {
    "edited check": _points(
        "the check cell prints 1000; its metadata promise 1000 points",
        "check cells are the release's own",
        edited_check,
    ),
    "redefined checker": _points(
        "replaces `check`, verdicts and the worker inside its process",
        OUTSIDE,
        pack(BLANK, ZERO, top=REDEFINED),
    ),
    "patched torch": _points(
        "`torch.equal` and the comparison always agree",
        OUTSIDE,
        pack(UNPACKED, {"pack": UNPACKED, "model": 0}, top=PATCHED),
    ),
    "equal to everything": _points(
        "returns an object with lying `__eq__` and `__class__`", WIRE, pack(EQUAL)
    ),
    "a tensor that lies": _points(
        "returns a subclass of Tensor that compares as equal",
        WIRE,
        pack(LYING, {"pack": UNPACKED, "model": 0}),
    ),
    "__reduce__": _points(
        "returns an object that runs code when it is unpickled",
        "nothing is pickled; " + WIRE,
        pack(REDUCE),
    ),
    "not a number": _points(
        "returns NaN, which is not unequal to anything", "NaN counts as wrong", _number("nan")
    ),
    "infinite": _points("returns infinity", "infinity counts as wrong", _number("inf")),
    "changes its arguments": _points(
        "empties the case for whoever comes next",
        "each call gets a copy, and a change is a mistake",
        pack(IN_PLACE, MARKED),
    ),
    "searches memory": _points(
        "looks in the stack and the heap for the reference",
        "it is in another process",
        pack(SEARCH, {"pack": UNPACKED, "model": 0}),
    ),
    "searches the disk": _points(
        "looks for questions, solutions and `qlearn.numerics.packing`",
        "the package inside lacks them",
        cell(ON_DISK),
    ),
    "calls qlearn": _points(
        "imports the function that the task asks for",
        "the package inside lacks it",
        pack(
            "from qlearn.packing import pack\n\ndef pack_int4(codes):\n    return pack(codes, 4)\n"
        ),
    ),
    "table of the visible cases": _points(
        "knows the results of the notebook's checks by heart",
        "the seed decides on the cases that count",
        visible_cases,
    ),
}
