"""Call an answer on fresh copies of a case's arguments, and report what came of it.

The answer gets copies, so that one that writes into its arguments can neither spoil the next case
nor go unnoticed. Torch's random state is the same before each call and is put back after it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qlearn.teach.checks.compare import Tolerance, compare

__all__ = ["Outcome", "arity_problem", "call_text", "copies", "is_blank", "run"]

Case = tuple[Any, ...]
EXACT = Tolerance(rtol=0.0, atol=0.0)


@dataclass(frozen=True)
class Outcome:
    """What one call returned, the exception it raised, or the argument that it changed."""

    value: Any = None
    error: BaseException | None = None
    changed: str = ""


def run(function: Callable[..., Any], case: Case, names: Sequence[str]) -> Outcome:
    """Call ``function`` on a copy of the case. KeyboardInterrupt alone passes through."""
    arguments = copies(case)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            value = function(*arguments)
        # SystemExit too: exit() in an answer must not end the kernel of the one who checks it.
        except (Exception, SystemExit) as error:
            return Outcome(error=error)
    for name, after, before in zip(names, arguments, case, strict=False):
        if not _unchanged(after, before):
            return Outcome(value=value, changed=name)
    return Outcome(value=value)


def copies(value: Any) -> Any:
    """The same value in memory of its own: tensors cloned, containers rebuilt, the rest copied."""
    if isinstance(value, torch.Tensor):
        # A clone alone would keep the history of a tensor that is part of a graph.
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {key: copies(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copies(item) for item in value)
    return copy.deepcopy(value)


def is_blank(value: Any) -> bool:
    """Whether a value is an exercise's blank: None, ``...``, or a container of nothing else."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        # One look at the first item keeps a list that holds itself from being walked for ever.
        return bool(value) and value[0] is not value and all(is_blank(item) for item in value)
    return value is None or value is Ellipsis


def arity_problem(function: Callable[..., Any], case: Case, names: Sequence[str]) -> str:
    """A sentence on a function that cannot be called with the case's arguments; '' if it can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins may have no signature: the call itself will tell
        return ""
    try:
        signature.bind(*case)
    except TypeError:
        wanted = ", ".join(names)
        count = f"{len(case)} argument{'s' * (len(case) != 1)}"
        return f"It takes {signature}, but is called with {count}: ({wanted})."
    return ""


def call_text(name: str, case: Case, names: Sequence[str], short: Callable[[Any], str]) -> str:
    """A call as a line of text: ``scale(weight=float32 tensor of shape [4, 8], bits=4)``."""
    arguments = ", ".join(f"{n}={short(v)}" for n, v in zip(names, case, strict=False))
    return f"{name}({arguments})"


def _unchanged(after: Any, before: Any) -> bool:
    """Whether an argument still holds what it held; objects of other kinds are not looked into."""
    if isinstance(before, torch.nn.Module):
        return _unchanged(dict(after.state_dict()), dict(before.state_dict()))
    if isinstance(before, torch.Tensor):
        # Equal bit for bit is the usual case, and quick to see; NaN is not equal to itself.
        alike = after.shape == before.shape and after.dtype == before.dtype
        return (alike and torch.equal(after, before)) or compare(after, before, EXACT) is None
    if isinstance(before, Mapping):
        return list(after) == list(before) and all(_unchanged(after[k], before[k]) for k in before)
    if isinstance(before, list | tuple):
        return len(after) == len(before) and all(map(_unchanged, after, before))
    if isinstance(before, bool | int | float | str):
        return bool(after is before or after == before or before != before)
    return True
