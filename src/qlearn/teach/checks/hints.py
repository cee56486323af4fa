"""What a wrong answer looks like in numbers: a factor, a sign, a unit, a transposition, a rounding.

These are guesses for answers that no listed mistake explains. Each is found numerically over all
cases at once, and is silent where the numbers do not fit it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from qlearn.teach.checks.compare import leaves

__all__ = ["hint_for_number", "hint_for_outputs"]

# Tighter than half of any gap between two factors below, so that no two of them are confused.
SAME_RATIO = 0.004
FACTORS = (
    (8.0, "8 times too large: bits where bytes are asked for, or a division by 8 left out?"),
    (1 / 8, "8 times too small: bytes where bits are asked for, or divided by 8 once too often?"),
    (1024 / 1000, "2.4% too large: KB (1000 bytes) where KiB (1024 bytes) is asked for?"),
    (1000 / 1024, "2.3% too small: KiB (1024 bytes) where KB (1000 bytes) is asked for?"),
    (2**20 / 1e6, "4.9% too large: MB (1e6 bytes) where MiB (2^20 bytes) is asked for?"),
    (1e6 / 2**20, "4.6% too small: MiB (2^20 bytes) where MB (1e6 bytes) is asked for?"),
    (2**30 / 1e9, "7.4% too large: GB (1e9 bytes) where GiB (2^30 bytes) is asked for?"),
    (1e9 / 2**30, "6.9% too small: GiB (2^30 bytes) where GB (1e9 bytes) is asked for?"),
    (100.0, "100 times too large: a percentage where a fraction is asked for?"),
    (1 / 100, "100 times too small: a fraction where a percentage is asked for?"),
    (2.0, "twice the expected value."),
    (0.5, "half the expected value."),
    (4.0, "4 times the expected value: are 4 bytes a value counted once too often?"),
    (0.25, "a quarter of the expected value: are 4 bytes a value left out?"),
)


def hint_for_number(yours: float, expected: float) -> str:
    """A guess at why one number misses another; '' where nothing fits."""
    if not (math.isfinite(yours) and math.isfinite(expected)) or expected == 0:
        return ""
    if yours == 0:
        return "Zero is not the answer here."
    ratio = yours / expected
    if _near(ratio, -1):
        return "The size is right, the sign is wrong."
    if ratio < 0:
        return "The sign is wrong, and so is the size."
    for factor, words in FACTORS:
        if _near(ratio, factor):
            return f"Your number is {words}"
    power = round(math.log10(ratio))
    if power and _near(ratio, 10.0**power):
        way = "large" if power > 0 else "small"
        return f"Your number is 10^{abs(power)} times too {way}: check the unit's prefix."
    power = round(math.log2(ratio))
    if power and _near(ratio, 2.0**power):
        way = "large" if power > 0 else "small"
        return f"Your number is 2^{abs(power)} times too {way}: count the bits again."
    for whole, words in ((1, "1"), (100, "100%")):
        if 0 < expected < whole and math.isclose(yours, whole - expected, rel_tol=SAME_RATIO):
            return f"Your number is {words} less the expected one: the part lost, or the part kept?"
    if math.isclose(yours * expected, 1, rel_tol=SAME_RATIO):
        return "Your number is the expected one's reciprocal: divide the other way round."
    if ratio >= 5 or ratio <= 0.2:
        way, times = ("large", ratio) if ratio > 1 else ("small", 1 / ratio)
        return f"Your number is {times:.3g} times too {way}: check the order of magnitude first."
    return f"Your number is {abs(ratio - 1):.1%} too {'large' if ratio > 1 else 'small'}."


def hint_for_outputs(yours: list[Any], expected: list[Any]) -> str:
    """A guess at why a function's outputs, one a case, miss the expected; '' if nothing fits."""
    pairs = _tensor_pairs(yours, expected)
    if not pairs:
        return ""
    return _shape_hint(pairs) or _value_hint(pairs)


def _shape_hint(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> str:
    """Right values at wrong places: transposed, reversed, reordered or reshaped."""
    wrong = [pair for pair in pairs if pair[0].shape != pair[1].shape or not _close(*pair)]
    if not wrong:
        return ""
    if all(b.dim() >= 2 and _same(a, b.transpose(-1, -2)) for a, b in wrong):
        return "The values are right, but rows and columns are swapped (transposed)."
    if any(a.numel() != b.numel() for a, b in wrong):
        return ""
    if all(_same(a, b.flip(-1)) for a, b in wrong if b.dim()) and any(b.dim() for _, b in wrong):
        return "The values are right, but in reverse order along the last dimension."
    flat = [(a.flatten(), b.flatten()) for a, b in wrong]
    if all(_close(a, b) for a, b in flat):
        return "The values are right and in order; only the shape is not: reshape the result."
    if all(a.numel() > 1 and _close(a.sort().values, b.sort().values) for a, b in flat):
        return "The values are right, but in another order."
    return ""


def _value_hint(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> str:
    """One rule over all values: a factor, an offset, a reciprocal, one step of rounding."""
    if any(a.shape != b.shape for a, b in pairs):
        return ""
    a = torch.cat([yours.flatten() for yours, _ in pairs])
    b = torch.cat([expected.flatten() for _, expected in pairs])
    finite = a.isfinite() & b.isfinite()
    a, b = a[finite], b[finite]
    if not b.numel() or torch.equal(a, b):
        return ""
    if _close(a, -b):
        return "The sign of every value is wrong."
    if not bool(a.any()):
        return "Every value is zero."
    whole = torch.equal(a, a.round()) and torch.equal(b, b.round())
    if whole and float((a - b).abs().max()) <= 1:
        return _rounding_hint(a, b)
    if b.numel() > 1:
        if _close(a.abs(), b.abs()):
            return "The sizes are right, but some signs are wrong."
        if factor := _factor(a, b):
            return f"Every value is {factor:.4g} times the expected one: a constant factor is off."
        offset = (a - b).median()
        if _close(a, b + offset) and not _close(b, b + offset):
            return f"Every value is off by the same {float(offset):.4g}: a constant is added."
        if _close(a * b, torch.ones_like(a)):
            return "Every value is the expected one's reciprocal: divide the other way round."
    off = (a - b).abs() > 1e-9 * b.abs()
    if float((a - b).norm()) <= 0.02 * float(b.norm()):
        return (
            f"Close, but not equal in {int(off.sum())} of {b.numel()} places: "
            "look at the rounding, the clamping and the edge values."
        )
    return ""


def _rounding_hint(a: torch.Tensor, b: torch.Tensor) -> str:
    """Whole numbers that differ by one at most."""
    count = f"{int((a != b).sum())} of {b.numel()}"
    if torch.equal((a - b).abs(), torch.ones_like(a)) and len((a - b).unique()) == 1:
        return f"Every value is one too {'large' if a[0] > b[0] else 'small'}."
    if bool((a <= b).all()):
        return f"{count} values are one too small: truncated where they should be rounded?"
    if bool((a >= b).all()):
        return (
            f"{count} values are one too large: rounded up where they should be rounded to nearest?"
        )
    return (
        f"{count} values are off by one: a rounding happens at another place, or on another scale."
    )


def _factor(a: torch.Tensor, b: torch.Tensor) -> float:
    """The constant by which ``a`` exceeds ``b``, or 0 where there is none."""
    used = b.abs() > 1e-12 * b.abs().max()
    if int(used.sum()) < 2:
        return 0.0
    factor = (a[used] / b[used]).median()
    if not bool(factor) or not bool(factor.isfinite()) or _near(float(factor), 1):
        return 0.0
    return float(factor) if _close(a, factor * b) else 0.0


def _tensor_pairs(yours: list[Any], expected: list[Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Numeric leaves of both as float64 tensors, in pairs; [] where their structures differ."""
    pairs = []
    for a, b in zip(yours, expected, strict=True):
        ours, theirs = leaves(a), leaves(b)
        if [path for path, _ in ours] != [path for path, _ in theirs]:
            return []
        pairs += [(_tensor(x), _tensor(y)) for (_, x), (_, y) in zip(ours, theirs, strict=True)]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _tensor(leaf: Any) -> torch.Tensor | None:
    if isinstance(leaf, torch.Tensor) and not leaf.is_complex() and not leaf.is_meta:
        return leaf.detach().cpu().to(torch.float64)
    if isinstance(leaf, int | float) and not isinstance(leaf, bool) and abs(leaf) < 1e300:
        return torch.tensor(float(leaf), dtype=torch.float64)
    return None


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and _close(a, b)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-9, equal_nan=True)


def _near(ratio: float, target: float) -> bool:
    return math.isclose(ratio, target, rel_tol=SAME_RATIO)
