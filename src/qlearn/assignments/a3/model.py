"""Assignment 3, a whole model: GPTQ on every layer, judged by loss and by held-out answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a2.groups import groups as nearest_groups
from qlearn.assignments.a2.model import ungrouped
from qlearn.assignments.a3.groups import run
from qlearn.assignments.a3.steps import correlated
from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.assignments.shared.pocket_state import (
    allowed,
    calibration_hessians,
    is_linear,
    pocket_state,
    questions_nll,
)
from qlearn.teach.checks.checker import Exercise

State = dict[str, Tensor]


def _model(weights: State, hessians: State, bits: int, group_size: int, how: Any) -> Any:
    return {
        name: dict(
            zip(("codes", "scale", "zero_point"), how(name, weight, hessians[name]), strict=True)
        )
        for name, weight in weights.items()
    }


def model(weights: State, hessians: State, bits: int, group_size: int) -> dict[str, State]:
    """The reference of a3.model."""
    return _model(
        weights, hessians, bits, group_size, lambda _, w, h: run(w, h, bits, group_size, 0.01)
    )


_usual = remembered(model, most=8)


def _loss(weight: Tensor, back: Tensor, hessian: Tensor) -> float:
    error = (weight - back).double()
    return float(((error @ hessian.double()) * error).sum() / 2)


def read(result: Any, weights: State, hessians: State, bits: int, group_size: int) -> Any:
    """The layers' loss and the surprise at held-out answers, as multiples of the reference's.

    A sentence where something is missing or of another form.
    """
    if not isinstance(result, dict):
        return f"a {type(result).__name__}, which is not a dict"
    if missing := sorted(weights.keys() - result.keys()):
        return f"{len(missing)} of {len(weights)} layers missing, such as {missing[0]}"
    usual = _usual(weights, hessians, bits, group_size)
    losses, best, state, right = [], [], {}, {}
    for name, weight in weights.items():
        rows, columns = weight.shape
        layer = result[name]
        if not isinstance(layer, dict) or layer.keys() != {"codes", "scale", "zero_point"}:
            return f"a layer {name} that does not hold codes, scale and zero_point"
        grids = (rows, -(-columns // group_size))
        for key, shape, dtype in (
            ("codes", (rows, columns), torch.uint8),
            ("scale", grids, torch.float32),
            ("zero_point", grids, torch.uint8),
        ):
            tensor = layer[key]
            if not isinstance(tensor, Tensor) or (tensor.shape, tensor.dtype) != (shape, dtype):
                got = f"{tensor.dtype} {list(tensor.shape)}" if isinstance(tensor, Tensor) else ""
                return f"{key} of {name} that is {got}, and not {dtype} {list(shape)}"
        if int(layer["codes"].max()) >= 2**bits:
            return f"codes of {name} that {bits} bits can't hold"
        state[name], right[name] = (
            ungrouped(**x[name], group_size=group_size) for x in (result, usual)
        )
        losses.append(_loss(weight, state[name], hessians[name]))
        best.append(_loss(weight, right[name], hessians[name]))
    times = sum(losses) / sum(best)
    worst = max(a / b for a, b in zip(losses, best, strict=True))
    found = {
        "loss, times the right one": allowed(times, 1.0, 1.01),
        "loss of the worst layer, times the right one": allowed(worst, 1.0, 1.05),
    }
    whole = pocket_state("pocket-100k")
    if weights.keys() == {name for name, tensor in whole.items() if is_linear(name, tensor)}:
        surprise = questions_nll("pocket-100k", whole | state)
        surprise /= questions_nll("pocket-100k", whole | right)
        found |= {"surprise, times the right one": allowed(surprise, 1.0, 1.5)}
    return found


MODEL_PARTS = ("two layers", "pocket-100k, 3 bits", "pocket-100k, 2 bits")


def _model_cases(seed: int) -> list[tuple[State, State, int, int]]:
    generator = generator_of(seed, 36)
    small = {
        "model.layers.0.mlp.up_proj.weight": torch.randn(6, 20, generator=generator),
        "model.layers.0.mlp.down_proj.weight": torch.randn(20, 9, generator=generator),
    }
    own = {name: correlated(weight.shape[1], generator) for name, weight in small.items()}
    whole = {n: t for n, t in pocket_state("pocket-100k").items() if is_linear(n, t)}
    hessians = calibration_hessians("pocket-100k", seed)
    return [(small, own, 3, 8), (whole, hessians, 3, 32), (whole, hessians, 2, 16)]


def make_model(seed: int) -> Exercise:
    """Two small layers, and a model under two schemes."""

    def wrong(how: Callable[..., Any]) -> Callable[..., Any]:
        return lambda w, h, b, g: _model(w, h, b, g, lambda *layer: how(*layer, b, g))

    mistakes: dict[str, Callable[..., Any]] = {
        "The inverse is stale: the loss is far from GPTQ's, though less than that of rounding to "
        "nearest.": wrong(lambda _, w, h, b, g: run(w, h, b, g, 0.01, rule="stale")),
        "Nothing moves: this is rounding to nearest, with many times GPTQ's loss.": wrong(
            lambda _, w, h, b, g: nearest_groups(w, b, g)
        ),
        "Layers of one width share the first one's Hessian: each layer has its own inputs.": (
            lambda w, h, b, g: model(
                w, {n: next(m for m in h.values() if m.shape == h[n].shape) for n in h}, b, g
            )
        ),
        "The damping is far too large: 1% of the diagonal's mean, not all of it.": wrong(
            lambda _, w, h, b, g: run(w, h, b, g, 1.0)
        ),
        "`bits` is not used: the codes need 4 bits.": wrong(
            lambda _, w, h, b, g: run(w, h, 4, g, 0.01)
        ),
        "`group_size` is not used: each row has a single grid.": wrong(
            lambda _, w, h, b, g: run(w, h, b, 10**6, 0.01)
        ),
        "Errors stop at the end of their group.": wrong(
            lambda _, w, h, b, g: run(w, h, b, g, 0.01, rule="own group")
        ),
        "The MLP's layers are left out.": lambda w, h, b, g: model(
            {n: t for n, t in w.items() if "mlp.down" not in n}, h, b, g
        ),
        "These are weights. Return codes, scale and zero_point of each layer.": (
            lambda w, h, b, g: {
                n: ungrouped(**layer, group_size=g) for n, layer in model(w, h, b, g).items()
            }
        ),
        "The scales are rounded to float16. Return them as float32 here.": (
            lambda w, h, b, g: {
                n: {**layer, "scale": layer["scale"].half()}
                for n, layer in model(w, h, b, g).items()
            }
        ),
    }
    return Exercise(
        id="a3.model",
        task="Write `gptq_model(weights, hessians, bits, group_size)`: for each name a dict of "
        "codes, scale and zero_point, with a damping of 0.01.",
        expected=remembered(measured(model, read)),
        cases=_model_cases(seed),
        mistakes=measured_all(mistakes, read),
        rtol=0.02,
        atol=0.0,
        hint="`gptq_groups` on every layer with its own Hessian.",
    )
