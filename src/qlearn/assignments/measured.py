"""Compare what an answer achieves (a loss, an accuracy, bytes), not the tensors it returns.

A question with ``measure`` hands a result and the case's arguments to it, in the trusted process;
what comes back is compared. ``Exercise.expected`` and the mistakes are wrapped in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from qlearn.checks_run import copies, is_blank

__all__ = ["measured", "measured_all"]


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
    """The mistakes of an exercise, each measured."""
    return {diagnosis: measured(wrong, measure) for diagnosis, wrong in mistakes.items()}
