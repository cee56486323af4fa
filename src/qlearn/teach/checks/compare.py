"""Compare an answer with what is expected, leaf by leaf: what differs first, and by how much.

Bounds are elementwise, ``|yours - expected| <= atol + rtol * |expected|``; a single number such
as a cosine similarity would let a scale that is wrong by 1.5 pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import torch

__all__ = ["Difference", "Tolerance", "compare", "describe", "leaves"]


@dataclass(frozen=True)
class Tolerance:
    """How close is close enough; ``exact_integers`` compares two integers without any tolerance."""

    rtol: float = 1e-5
    atol: float = 1e-6
    exact_dtype: bool = True
    exact_integers: bool = True

    def for_mistake(self, expected: Any, mistake: Any) -> Tolerance:
        """The bounds within which an answer shows a mistake that is larger than what is expected.

        ``atol`` fits numbers of the expected size. Those of a mistake, such as a sum in the place
        of a mean, may be hundreds of times as large, and so is what they lose to rounding: it
        depends on the order of the additions, which is another one on every processor.

        >>> Tolerance(atol=0.5).for_mistake([0.5, 2.0], [400.0, 0.001]).atol
        400.0
        """
        sizes = [[_largest_number(leaf) for _, leaf in leaves(one)] for one in (expected, mistake)]
        if len(sizes[0]) != len(sizes[1]):
            return self
        growth = [theirs / ours for ours, theirs in zip(*sizes, strict=True) if ours > 0]
        grown = max((one for one in growth if math.isfinite(one)), default=1.0)
        return replace(self, atol=self.atol * max(1.0, grown))


@dataclass(frozen=True)
class Difference:
    """What differs. ``size`` counts tolerances for values; it is infinite for any other kind."""

    kind: str  # "type", "length", "keys", "shape", "dtype", "nan" or "value"
    message: str
    path: str
    yours: Any
    expected: Any
    size: float = math.inf


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every ``(path, leaf)`` inside lists, tuples and mappings; a lone value has the path ''."""
    if isinstance(value, Mapping):
        return [
            leaf for key, item in value.items() for leaf in leaves(item, f"{path}[{_key(key)}]")
        ]
    if isinstance(value, list | tuple):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, f"{path}[{i}]")]
    return [(path, value)]


def compare(yours: Any, expected: Any, tolerance: Tolerance, path: str = "") -> Difference | None:
    """The first (for values: the largest) difference, or None where ``yours`` passes.

    ``expected`` holds tensors, numbers, bools, strings, None, and lists, tuples and mappings of
    these. A list passes for a tuple, and a tensor without dimensions for a number.
    """
    if isinstance(expected, Mapping):
        return _compare_mappings(yours, expected, tolerance, path)
    if isinstance(expected, list | tuple):
        return _compare_sequences(yours, expected, tolerance, path)
    if isinstance(expected, torch.Tensor):
        return _compare_tensors(yours, expected, tolerance, path)
    if expected is None or isinstance(expected, bool | str):
        return _compare_exactly(yours, expected, path)
    return _compare_numbers(yours, expected, tolerance, path)


def describe(value: Any) -> str:
    """What kind of thing a value is, in words: ``a float32 tensor of shape [4, 8]``."""
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return f"{_article(_dtype(value))} tensor of shape {list(value.shape)}"
    if isinstance(value, bool):
        return "a bool"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    names = {int: "an integer", float: "a number", str: "a string"}
    return names.get(type(value), _article(type(value).__name__))


def _compare_mappings(
    yours: Any, expected: Mapping[Any, Any], tolerance: Tolerance, path: str
) -> Difference | None:
    if not isinstance(yours, Mapping):
        return _type(yours, expected, path, "a dict")
    missing = [_key(key) for key in expected if key not in yours]
    extra = [_key(key) for key in yours if key not in expected]
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing)
        parts += [f"should not have {', '.join(extra)}"] * bool(extra)
        return Difference("keys", f"{_here(path)} {' and '.join(parts)}.", path, yours, expected)
    return _largest(
        compare(yours[key], item, tolerance, f"{path}[{_key(key)}]")
        for key, item in expected.items()
    )


def _compare_sequences(
    yours: Any, expected: Sequence[Any], tolerance: Tolerance, path: str
) -> Difference | None:
    name = f"a {type(expected).__name__} of {len(expected)}"
    if not isinstance(yours, list | tuple):
        return _type(yours, expected, path, name)
    if len(yours) != len(expected):
        message = f"{_here(path)} holds {len(yours)} items; expected {len(expected)}."
        return Difference("length", message, path, yours, expected)
    return _largest(
        compare(yours[i], item, tolerance, f"{path}[{i}]") for i, item in enumerate(expected)
    )


def _compare_tensors(
    yours: Any, expected: torch.Tensor, tolerance: Tolerance, path: str
) -> Difference | None:
    if expected.dim() == 0 and _is_number(yours):
        return _compare_numbers(yours, expected.item(), tolerance, path)
    if not isinstance(yours, torch.Tensor):
        return _type(yours, expected, path, describe(expected))
    if yours.layout is not torch.strided or yours.is_meta or yours.is_quantized:
        return _type(yours, expected, path, "a dense tensor")
    if yours.shape != expected.shape:
        message = f"{_here(path)} has shape {list(yours.shape)}; expected {list(expected.shape)}."
        return Difference("shape", message, path, yours, expected)
    if not _dtypes_agree(yours, expected, tolerance):
        message = f"{_here(path)} has dtype {_dtype(yours)}; expected {_dtype(expected)}."
        return Difference("dtype", message, path, yours, expected)
    ours, theirs = _double(yours), _double(expected)
    if bad := _not_finite(ours, theirs):
        return Difference("nan", f"{_here(path)} holds {bad}.", path, yours, expected)
    if not _is_float(yours) and not _is_float(expected) and tolerance.exact_integers:
        excess = (ours - theirs).abs()
        wrong = yours.cpu() != expected.cpu()
    else:
        same = (ours == theirs) | (ours.isnan() & theirs.isnan())
        bound = tolerance.atol + tolerance.rtol * theirs.abs()
        excess = torch.where(same, 0.0, (ours - theirs).abs() / bound.clamp_min(1e-300))
        wrong = excess > 1
    if not bool(wrong.any()):
        return None
    message = f"{_here(path)} differs in {int(wrong.sum())} of {wrong.numel()} places."
    size = max(float(excess.max()), math.ulp(1.0))
    return Difference("value", message, path, yours, expected, size)


def _compare_exactly(yours: Any, expected: Any, path: str) -> Difference | None:
    if isinstance(expected, bool) and isinstance(yours, torch.Tensor) and yours.dim() == 0:
        yours = yours.item()
    if type(yours) is not type(expected) and not (
        isinstance(expected, bool) and type(yours).__name__ in ("bool", "bool_")
    ):
        return _type(yours, expected, path, describe(expected))
    if bool(yours == expected):
        return None
    message = f"{_here(path)} is {yours!r}; expected {expected!r}."
    return Difference("value", message, path, yours, expected, 1e9)


def _compare_numbers(
    yours: Any, expected: Any, tolerance: Tolerance, path: str
) -> Difference | None:
    if isinstance(yours, torch.Tensor) and yours.dim() == 0 and not yours.is_meta:
        yours = yours.item()
    if not _is_number(yours):
        return _type(yours, expected, path, "a number")
    if isinstance(yours, int) and abs(yours) > 10**300:  # more than a float can hold
        yours = math.inf if yours > 0 else -math.inf
    if math.isnan(yours) != math.isnan(expected):
        message = f"{_here(path)} is {yours}; expected {expected}."
        return Difference("nan", message, path, yours, expected)
    if yours == expected or (math.isnan(yours) and math.isnan(expected)):
        return None
    both_whole = isinstance(yours, Integral) and isinstance(expected, Integral)
    bound = tolerance.atol + tolerance.rtol * abs(expected)
    error = abs(yours - expected)
    if both_whole and tolerance.exact_integers:
        size = float(error)
    elif math.isinf(expected) or error > bound:
        size = float(error) / bound if bound and math.isfinite(bound) else math.inf
    else:
        return None
    message = f"{_here(path)} is {yours}; expected {expected}."
    return Difference("value", message, path, yours, expected, size)


def _largest(differences: Any) -> Difference | None:
    """Of several differences the first of the largest size: a wrong type outweighs any value."""
    found = [difference for difference in differences if difference is not None]
    return max(found, key=lambda difference: difference.size) if found else None


def _type(yours: Any, expected: Any, path: str, name: str) -> Difference:
    message = f"{_here(path)} is {describe(yours)}; expected {name}."
    if type(yours).__module__ == "numpy" and isinstance(expected, torch.Tensor):
        message += " Turn it into a tensor with torch.from_numpy."
    elif isinstance(yours, torch.Tensor) and yours.numel() == 1 and _is_number(expected):
        message += " Take the number out with .item()."
    elif isinstance(yours, list | tuple) and isinstance(expected, torch.Tensor):
        message += " Make a tensor of it with torch.tensor."
    return Difference("type", message, path, yours, expected)


def _not_finite(yours: torch.Tensor, expected: torch.Tensor) -> str:
    """Names NaN or infinite values at places where none are expected; '' without any."""
    nans = int((yours.isnan() & ~expected.isnan()).sum())
    if nans:
        return f"NaN in {nans} of {yours.numel()} places (0/0, or infinity less infinity)"
    infinite = int((yours.isinf() & expected.isfinite()).sum())
    if infinite:
        return f"infinity in {infinite} of {yours.numel()} places (overflow, or a division by zero)"
    return ""


def _dtypes_agree(yours: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance) -> bool:
    if tolerance.exact_dtype:
        return yours.dtype == expected.dtype
    booleans = (yours.dtype == torch.bool, expected.dtype == torch.bool)
    return booleans[0] == booleans[1] and _is_float(yours) == _is_float(expected)


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().to(torch.float64)


def _largest_number(leaf: Any) -> float:
    """The largest magnitude in a leaf of floats; 0 for any other leaf."""
    if isinstance(leaf, torch.Tensor):
        return float(_double(leaf).abs().max()) if _is_float(leaf) and leaf.numel() else 0.0
    return abs(leaf) if isinstance(leaf, float) else 0.0


def _is_float(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point()


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in tuple('aeio') else 'a'} {noun}"


def _here(path: str) -> str:
    return f"The result{path}" if path else "The result"


def _key(key: Any) -> str:
    return repr(key) if isinstance(key, str | int | float | bool) else type(key).__name__
