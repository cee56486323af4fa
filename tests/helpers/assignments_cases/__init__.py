"""Answers that students might hand in, as their source: right ones, wrong ones, and cheats.

``assignments_cases/aN.py`` holds ``CASES``, a dict from a question's id to

- ``"right"``: sources, two or more, written another way than the reference;
- ``"wrong"``: pairs of a source and words of the diagnosis that it must get, eight or more;
- ``"calls"``: sources that call what ``Question.blocked`` takes away. May be left out.

Each source leaves ``Question.answer`` defined, after ``import math`` and ``import torch``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from textwrap import dedent
from typing import Any

import pytest
import torch

import qlearn
from qlearn.assignments.shared.question import resolve

__all__ = ["answer_from", "cases_of", "memorized", "spoil", "without"]


def cases_of(assignment: str) -> dict[str, dict[str, list[Any]]]:
    """The answers to an assignment's questions."""
    cases: dict[str, dict[str, list[Any]]] = import_module(f"{__name__}.{assignment}").CASES
    return cases


def answer_from(source: str, name: str) -> Any:
    """Run a student's source and take what it leaves under that name."""
    names: dict[str, Any] = {"math": math, "torch": torch, "Tensor": torch.Tensor}
    exec(dedent(source), names)
    return names[name]


def spoil(source: str, *changes: tuple[str, str]) -> str:
    """A source with some of its text replaced; text that is not there is an error of the test."""
    for old, new in changes:
        assert old in source, f"{old!r} is not in:\n{source}"
        source = source.replace(old, new)
    return source


@contextmanager
def without(blocked: tuple[str, ...]) -> Iterator[None]:
    """Importing from these rooms or modules fails, as it does where submissions are graded."""
    inside = tuple(f"{name}." for name in blocked)
    loaded = {name for name in sys.modules if name.startswith(inside)}
    with pytest.MonkeyPatch.context() as patch:
        for name in qlearn.__all__:  # what was loaded lazily stays at the top
            patch.delattr(qlearn, name, raising=False)
        for name in sorted({*blocked, *loaded}, reverse=True):  # the inner ones first
            parent, _, own = name.rpartition(".")
            if sys.modules.get(name) and hasattr(sys.modules[parent], own):
                patch.delattr(sys.modules[parent], own)
            # None makes an import fail, also one of a module that is loaded already.
            patch.setitem(sys.modules, name, None)
        yield


def memorized(answer: Any, cases: list[tuple[Any, ...]]) -> Any:
    """An answer that knows the results for these cases, in their order, and nothing else."""
    results = [resolve(answer)(*case) for case in cases]
    turn = iter(range(10**9))
    return lambda *_: results[next(turn) % len(results)]
