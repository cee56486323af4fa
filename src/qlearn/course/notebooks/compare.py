"""Whether an output computed again is the one that was committed, numbers within a tolerance."""

import math
import re
from collections.abc import Iterator
from typing import Any

_NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?")


def differences(
    committed: Any, computed: Any, tolerance: float = 1e-3, place: str = "$"
) -> Iterator[str]:
    """Compare two JSON values; yield a line for each place where they differ.

    Numbers, also those inside of a text, may differ by `tolerance` of the larger one: another
    CPU's matrix product rounds differently. What was rounded when it was written, a decimal or a
    percentage, may also be one unit apart in its last place, however small the difference was
    before. `tolerance=math.inf` compares all but the numbers: what is measured.

    >>> list(differences({"y": [1.0, 2.0]}, {"y": [1.0, 2.1]}))
    ['$.y[1]: committed 2.0, computed 2.1']
    >>> list(differences("error 0.747, 31%", "error 0.748, 32%"))
    []
    >>> list(differences("found after 4 prompts", "found after 5 prompts"))
    ["$: committed 'found after 4 prompts', computed 'found after 5 prompts'"]
    """
    if isinstance(committed, dict) and isinstance(computed, dict):
        for key in sorted({*committed, *computed}):
            if key not in committed or key not in computed:
                yield f"{place}.{key}: only {'computed' if key in computed else 'committed'}"
            else:
                yield from differences(committed[key], computed[key], tolerance, f"{place}.{key}")
    elif isinstance(committed, list) and isinstance(computed, list):
        if len(committed) != len(computed):
            yield f"{place}: {len(committed)} committed, {len(computed)} computed"
        else:
            for index, (one, other) in enumerate(zip(committed, computed, strict=True)):
                yield from differences(one, other, tolerance, f"{place}[{index}]")
    elif not _alike(committed, computed, tolerance):
        yield f"{place}: committed {committed!r}, computed {computed!r}"


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        # Of 0.5 nobody knows whether it was rounded, of 0.53 it is likely.
        rounded = min(_decimals(repr(one)), _decimals(repr(other))) > 1
        return _close(repr(one), repr(other), tolerance, rounded)
    if isinstance(one, str) and isinstance(other, str):
        if _NUMBER.split(one) != _NUMBER.split(other):
            return False
        pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
        return all(_close(a, b, tolerance, rounded=True) for a, b in pairs)
    return bool(one == other)


def _close(one: str, other: str, tolerance: float, rounded: bool) -> bool:
    """Whether two written numbers are within the tolerance, or one unit of their last place."""
    unit = min(_last_place(one), _last_place(other)) if rounded else 0.0
    bound = max(1e-9, 1.001 * unit)
    return math.isclose(_value(one), _value(other), rel_tol=tolerance, abs_tol=bound)


def _last_place(text: str) -> float:
    """The unit of a written number's last digit; 0 for a whole number, which may be a count.

    >>> _last_place("0.747"), _last_place("31%"), _last_place("1,024"), _last_place("2.5e-3")
    (0.001, 1.0, 0.0, 0.0001)
    """
    decimals = _decimals(text)
    if not decimals and not text.endswith("%"):
        return 0.0
    exponent = text.rstrip("%").lower().partition("e")[2]
    return float(f"1e{int(exponent or 0) - decimals}")


def _decimals(text: str) -> int:
    return len(text.rstrip("%").lower().partition("e")[0].partition(".")[2])


def _value(text: str) -> float:
    return float(text.rstrip("%").replace(",", "").replace("−", "-"))
