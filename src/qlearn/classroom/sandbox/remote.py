"""A student's function as a callable of the grader: each call is answered in the sandbox."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from typing import Any

from qlearn.assignments.shared.question import Packaged
from qlearn.classroom.sandbox import wire

__all__ = ["RemoteFunction", "signature"]


class RemoteFunction:
    """Forwards calls: the checks use it like the student's own function.

    An exception inside comes back as one of the nearest of Python's own kinds, and an argument that
    was changed in place is changed here too, so that the checks see both.
    """

    resolves_itself = True  # models among the arguments are loaded inside

    def __init__(
        self, name: str, parameters: Any, call: Callable[[tuple[Any, ...]], dict[str, Any]]
    ) -> None:
        self.__name__ = name
        self.__signature__ = signature(parameters)
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        """Ask the sandbox; raise what the student's function raised."""
        sent = tuple(wire.Reference(a.name) if isinstance(a, Packaged) else a for a in arguments)
        reply = self.call(sent)
        if "error" in reply:
            raise _error(reply["error"])
        changed = reply.get("changed")
        for key, value in (changed if isinstance(changed, dict) else {}).items():
            if key.isdigit() and int(key) < len(arguments):
                _change(arguments[int(key)], value)
        return reply.get("value")


def signature(parameters: Any) -> inspect.Signature:
    """The signature that the sandbox reports; any arguments where it is none."""
    try:
        built = []
        for name, kind, has_default in parameters:
            default = None if has_default is True else inspect.Parameter.empty
            where = getattr(inspect.Parameter, kind)
            built.append(inspect.Parameter(name, where, default=default))
        return inspect.Signature(built)
    except (TypeError, ValueError, AttributeError):
        any_kind = inspect.Parameter.VAR_POSITIONAL
        return inspect.Signature([inspect.Parameter("arguments", any_kind)])


def _error(reported: Any) -> Exception:
    """An exception of Python's own kinds; of any other name, a class made for the message."""
    try:
        name, base, text = (str(part)[:300] for part in reported)
    except (TypeError, ValueError):
        return RuntimeError("an error that can't be read")
    kind = getattr(builtins, base, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = RuntimeError
    if name != kind.__name__ and name.isidentifier():
        try:
            kind = type(name, (kind,), {})
        except TypeError:
            kind = type(name, (RuntimeError,), {})
    try:
        return kind(text)
    except TypeError:  # UnicodeDecodeError and the like take other arguments
        return RuntimeError(f"{name}: {text}")


def _change(argument: Any, value: Any) -> None:
    """Make an argument hold what it holds inside; where that can't be, at least differ."""
    import torch

    if isinstance(argument, torch.Tensor):
        changed = value if isinstance(value, torch.Tensor) else argument.detach().reshape(-1)[:0]
        argument.data = changed.detach()
    elif isinstance(argument, list):
        argument[:] = value if isinstance(value, list) else []
    elif isinstance(argument, dict):
        argument.clear()
        argument.update(value if isinstance(value, dict) else {"changed": True})
