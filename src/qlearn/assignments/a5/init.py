"""Assignment 5, how an adapter begins: it changes nothing, and can learn."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.shared.measured import measured, measured_all
from qlearn.teach.checks.checker import Exercise


def new_adapter(in_features: int, out_features: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """A uniform in ±1/sqrt(in), B zero."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / sqrt(in_features)
    a = (2 * torch.rand(rank, in_features, generator=generator) - 1) * bound
    return a, torch.zeros(out_features, rank)


def measure_adapter(
    result: Any, in_features: int, out_features: int, rank: int, seed: int
) -> dict[str, Any] | str:
    """What can be said of a random start: shapes, zeros, range; a sentence for another form."""
    if not isinstance(result, list | tuple) or len(result) != 2:
        return "return two tensors, A and B"
    a, b = result
    if not all(isinstance(t, Tensor) and t.dtype == torch.float32 for t in (a, b)):
        return "A and B are float32 tensors"
    found: dict[str, Any] = {"A": list(a.shape), "B": list(b.shape)}
    if a.numel() < 2 or b.numel() < 1:
        return "A and B are matrices"
    bound = 1 / sqrt(in_features)
    spread = float(a.double().std()) / (bound / sqrt(3))
    words = ((0.9, "too narrow"), (1.1, "as asked"), (2.0, "too wide"), (float("inf"), "far off"))
    return {
        **found,
        "B is zero": bool((b == 0).all()),
        "A is zero": bool((a == 0).all()),
        "A within the bound": float(a.abs().max()) <= bound * 1.0001,
        "A's spread": next(word for most, word in words if not spread > most),
        "A has both signs": bool((a < 0).any()) and bool((a > 0).any()),
        "A varies": len(a.flatten().unique()) > a.numel() // 2,
    }


def make_init(seed: int) -> Exercise:
    """Sizes at which a uniform range can be told from others."""
    sizes = ((96, 64, 8), (256, 48, 16), (64, 160, 12))
    cases = [(i + 32 * (seed % 7), o, rank, seed + k) for k, (i, o, rank) in enumerate(sizes)]

    def of(change: Any) -> Any:
        return lambda i, o, rank, s: change(*new_adapter(i, o, rank, s), i, o, rank)

    def normal(i: int, o: int, rank: int, s: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(s)
        return torch.randn(rank, i, generator=generator) / sqrt(i), torch.zeros(o, rank)

    return Exercise(
        id="a5.init",
        task="Write `new_adapter(in_features, out_features, rank, seed)`: (A, B), float32. A "
        "[rank, in] uniform in ±1/sqrt(in_features), drawn with the seed; B [out, rank] such that "
        "a fresh adapter changes nothing.",
        expected=measured(new_adapter, measure_adapter),
        cases=cases,
        mistakes=measured_all(
            {
                "B is not zero: a fresh adapter already changes the model.": of(
                    lambda a, b, i, o, rank: (a, torch.full_like(b, 0.01))
                ),
                "A and B are both zero: neither ever gets a gradient.": of(
                    lambda a, b, i, o, rank: (torch.zeros_like(a), b)
                ),
                "A is zero and B is not. That works too, but B is asked to be the zero one.": of(
                    lambda a, b, i, o, rank: (
                        torch.zeros_like(a),
                        torch.linspace(-0.1, 0.1, b.numel()).view_as(b),
                    )
                ),
                "A is normal, so it goes beyond the bound; draw it uniformly.": normal,
                "A is drawn from 0 to the bound; it has both signs.": of(
                    lambda a, b, i, o, rank: ((a + a.abs().max()) / 2, b)
                ),
                "The bound is 1/in_features; it is one over its square root.": of(
                    lambda a, b, i, o, rank: (a / sqrt(i), b)
                ),
                "The bound is 1/sqrt(rank); it is one over the root of in_features.": of(
                    lambda a, b, i, o, rank: (a * sqrt(i / rank), b)
                ),
                "The shapes are turned over: A is [rank, in], B is [out, rank].": of(
                    lambda a, b, i, o, rank: (a.T, b.T)
                ),
                "A is the same number everywhere: all columns of the bottleneck would learn the "
                "same.": of(lambda a, b, i, o, rank: (torch.full_like(a, 1 / sqrt(i)), b)),
                "You return the adapter's weight B A; return the two matrices.": of(
                    lambda a, b, i, o, rank: b @ a
                ),
            },
            measure_adapter,
        ),
        hint="torch.rand with a generator, times 2, minus 1, times the bound.",
    )
