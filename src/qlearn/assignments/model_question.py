"""Questions that are judged by what comes of an answer, not by its values.

Two ways to quantize a model give different codes and may both be right. So the answer's result is
measured here, where the student's code has no say: a perplexity, an error, whether the weights lie
on a grid. What was measured is compared with the same measure of the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.assignments.question import Mark, Question, resolve
from qlearn.checks import Exercise
from qlearn.checks_run import is_blank

__all__ = ["Measured", "at_least", "distinct_values", "put_weights"]


def _nothing(_: int) -> Callable[..., Any]:
    raise ValueError("measure_for of a measured question is missing")


@dataclass(frozen=True)
class Measured(Question):
    """A question with a measure of its answers.

    Args:
        measure_for: seed -> ``(result, *arguments)`` -> what is compared: numbers, bools, or a dict
            of them. Models among the arguments come as :class:`Packaged`. A ``ValueError`` says
            what cannot be measured about the result; the student reads it.
    """

    measure_for: Callable[[int], Callable[..., Any]] = _nothing

    def exercise(self, seed: int) -> Exercise:
        """The exercise of that seed, its reference and its mistakes measured."""
        made = super().exercise(seed)
        wrong = {diagnosis: self._judged(one, seed) for diagnosis, one in made.mistakes.items()}
        return replace(made, expected=self._judged(made.expected, seed), mistakes=wrong)

    def mark(self, answer: Any, seed: int) -> Mark:
        """Judge what comes of an answer. A wrong answer never raises."""
        return super().mark(self._judged(answer, seed) if callable(answer) else answer, seed)

    def _judged(self, function: Callable[..., Any], seed: int) -> Callable[..., Any]:
        measure = self.measure_for(seed)
        call = function if hasattr(function, "resolves_itself") else resolve(function)

        @functools.wraps(function)
        def judged(*arguments: Any) -> Any:
            result = call(*arguments)
            return result if is_blank(result) else measure(result, *arguments)

        judged.resolves_itself = True  # type: ignore[attr-defined]
        return judged


def at_least(value: float, bound: float) -> float:
    """``value``, or ``bound`` where it is smaller: better than the target is as good as met."""
    return max(float(value), float(bound))


def put_weights(model: nn.Module, weights: Any) -> None:
    """Put tensors into a model by the names of its parameters.

    Raises:
        ValueError: for something else than a dict of tensors, a name that the model does not have,
            a wrong shape, NaN or infinite values.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError("return a dict: the name of each changed parameter -> its tensor")
    parameters = dict(model.named_parameters())
    for name, tensor in weights.items():
        if name not in parameters:
            raise ValueError(f"{name!r} is no parameter of the model; name them as it does")
        if not isinstance(tensor, Tensor) or tensor.shape != parameters[name].shape:
            shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {shape}; expected {list(parameters[name].shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds NaN or infinite values")
    with torch.no_grad():
        for name, tensor in weights.items():
            parameters[name].copy_(tensor)


def distinct_values(weight: Tensor, group_size: int | None) -> int:
    """The most different values that one group of a weight ``[out, in]`` holds.

    >>> distinct_values(torch.tensor([[0.0, 1.0, 1.0, 2.0]]), group_size=2)
    2
    """
    groups = weight.reshape(-1, group_size or weight.shape[-1]).sort(dim=1).values
    # Values of one code may differ in their last bits, by how they were multiplied out.
    gap = groups.abs().amax(dim=1, keepdim=True) * 1e-5
    return int((groups.diff(dim=1) > gap).sum(dim=1).max()) + 1
