"""Whether an output computed again is the one that was committed, numbers within a tolerance."""

import math
import re
from collections.abc import Iterator
from typing import Any

_NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")


def differences(
    committed: Any, computed: Any, tolerance: float = 1e-3, place: str = "$"
) -> Iterator[str]:
    """Compare two JSON values; yield a line for each place where they differ.

    Numbers, also those inside of a text, may differ by `tolerance` of the larger one: another
    CPU's matrix product rounds differently.

    >>> list(differences({"y": [1.0, 2.0]}, {"y": [1.0, 2.1]}))
    ['$.y[1]: committed 2.0, computed 2.1']
    >>> list(differences("error 0.50000", "error 0.50001"))
    []
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
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(one, str) and isinstance(other, str):
        if _NUMBER.split(one) != _NUMBER.split(other):
            return False
        pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
        return all(_alike(_value(a), _value(b), tolerance) for a, b in pairs)
    return bool(one == other)


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))
