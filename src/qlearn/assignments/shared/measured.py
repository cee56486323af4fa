"""Compare what an answer achieves (a loss, an accuracy, bytes), not the tensors it returns.

A question with ``measure`` hands a result and the case's arguments to it, in the trusted process;
what comes back is compared. ``Exercise.expected`` and the mistakes are wrapped in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import torch

from qlearn.teach.checks.run import copies, is_blank

__all__ = ["measured", "measured_all", "remembered"]


def measured(answer: Callable[..., Any], measure: Callable[..., Any]) -> Callable[..., Any]:
    """An answer that gives ``measure(result, *arguments)`` in place of its result.

    The measure sees arguments of its own, so an answer that changes its arguments changes nothing
    that is measured. A blank stays a blank.

    >>> measured(lambda x: 2 * x, lambda result, x: result - x)(5)
    5
    """

    @functools.wraps(answer)
    def wrapped(*arguments: Any) -> Any:
        own = copies(arguments)
        result = answer(*arguments)
        return result if is_blank(result) else measure(result, *own)

    return wrapped


def measured_all(
    mistakes: Mapping[str, Callable[..., Any]], measure: Callable[..., Any]
) -> dict[str, Callable[..., Any]]:
    """The mistakes of an exercise, each measured and remembered."""
    return {
        diagnosis: remembered(measured(wrong, measure)) for diagnosis, wrong in mistakes.items()
    }


def remembered(function: Callable[..., Any], most: int = 32) -> Callable[..., Any]:
    """A pure function that does not compute twice what it got the same arguments for.

    References and mistakes are called on the same cases for each answer of a class.
    """
    found: dict[bytes, Any] = {}

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        digest = blake2b()
        _feed(digest, arguments)
        key = digest.digest()
        if key not in found:
            if len(found) >= most:
                found.pop(next(iter(found)))
            found[key] = function(*arguments)
        return found[key]

    return wrapped


def _feed(digest: Any, value: Any) -> None:
    """Put all that a value holds into a digest."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{value.dtype}{list(value.shape)}".encode())
        digest.update(flat.cpu().numpy())  # its own memory, no copy of it
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__}{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(f"{value!r};".encode())
