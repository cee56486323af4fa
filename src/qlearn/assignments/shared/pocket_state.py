"""A pocket model's tensors, and how surprised the model is by held-out answers with others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from math import inf
from typing import Any

import torch
from torch import Tensor

__all__ = ["allowed", "calibration_hessians", "is_linear", "pocket_state", "questions_nll"]

TASKS = ("copy", "reverse", "recall", "agree", "add2")
QUESTIONS = 20  # a task
_found: dict[bytes, float] = {}  # a check tries the same states over and over


def allowed(value: float, ideal: float, most: float) -> float:
    """The ideal where a value is at most ``most``: what roundings may differ in costs no points."""
    return value if value > most or value != value else ideal


def is_linear(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state is the weight of a linear layer inside a transformer block."""
    return ".layers." in name and tensor.dim() == 2


@cache
def _model(name: str) -> Any:
    from qlearn.models.load import load_model

    return load_model(name)


def pocket_state(name: str) -> dict[str, Tensor]:
    """A copy of a pocket model's float32 tensors; the tied output head is left out."""
    return {
        key: tensor.detach().clone()
        for key, tensor in _model(name).state_dict().items()
        if key != "lm_head.weight"
    }


@cache
def _questions() -> list[Any]:
    from qlearn.models.pocket.tasks import make_questions

    return [question for task in TASKS for question in make_questions(task, QUESTIONS)]


def questions_nll(name: str, state: Mapping[str, Tensor]) -> float:
    """Mean surprise at the right answers of held-out questions, nats, with these tensors.

    Infinite where the tensors make it so. A blind guess is at 3.8 nats.
    """
    from qlearn.models.pocket.questions import answer_questions

    digest = blake2b(name.encode())
    for key in sorted(state):
        digest.update(key.encode() + state[key].detach().contiguous().numpy().tobytes())
    if (known := _found.get(digest.digest())) is not None:
        return known
    model = _model(name)
    own = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
    try:
        model.load_state_dict(dict(state), strict=False)
        _, surprise = answer_questions(model, _questions())
    finally:
        model.load_state_dict(own)
    _found[digest.digest()] = value = float(surprise.double().mean().nan_to_num(nan=inf))
    return value


@cache
def calibration_hessians(name: str, seed: int) -> dict[str, Tensor]:
    """``2/n X^T X`` of each linear layer's inputs, float32, over seeded training questions."""
    from qlearn.models.pocket.questions import question_rows
    from qlearn.models.pocket.tasks import make_questions

    model = _model(name)
    asked = [q for task in TASKS for q in make_questions(task, QUESTIONS, "training", seed)]
    tokens, _ = question_rows(asked)
    found: dict[str, Tensor] = {}
    hooks = []
    for path, module in model.named_modules():
        if is_linear(f"{path}.weight", getattr(module, "weight", torch.empty(0))):

            def note(_: Any, inputs: tuple[Tensor], path: str = path) -> None:
                rows = inputs[0].detach().flatten(0, -2)
                found[f"{path}.weight"] = 2 / len(rows) * rows.T @ rows

            hooks.append(module.register_forward_pre_hook(note))
    try:
        with torch.inference_mode():
            model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: matrix.clone() for path, matrix in found.items()}
