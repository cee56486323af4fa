"""Numbers that are of no use, refused: the message names the argument, its value and the remedy."""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Any

__all__ = ["check_count", "check_positive"]


def check_positive(unit: str = "", /, **values: Any) -> None:
    """Refuse what is no finite number above 0; a bool is no number here.

    Args:
        unit: what the numbers count, such as ``"bytes"``.
        values: by the names of the arguments.

    Raises:
        ValueError: for the first that is refused.

    >>> check_positive("bytes", memory=0)
    Traceback (most recent call last):
    ValueError: memory=0 must be a number of bytes above 0
    """
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not isfinite(float(value)) or float(value) <= 0:
            wanted = f"a number of {unit}" if unit else "a number"
            raise ValueError(f"{name}={value!r} must be {wanted} above 0")


def check_count(least: int = 1, /, **values: Any) -> None:
    """Refuse what is no integer of ``least`` or more; a bool is no integer here.

    Args:
        least: the smallest that is taken.
        values: by the names of the arguments.

    Raises:
        ValueError: for the first that is refused.

    >>> check_count(batch=2.0)
    Traceback (most recent call last):
    ValueError: batch=2.0 must be an integer of 1 or more
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} must be an integer of {least} or more")
