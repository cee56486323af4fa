"""Assignment 3: GPTQ with groups, damping and dead inputs; then every layer of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a1_grid import grid
from qlearn.assignments.a2_groups import groups as nearest_groups
from qlearn.assignments.a2_model import ungrouped
from qlearn.assignments.a3_steps import correlated
from qlearn.assignments.cases import clear, generator_of, off_ties
from qlearn.assignments.measured import measured, measured_all
from qlearn.assignments.pocket_state import (
    allowed,
    calibration_hessians,
    is_linear,
    pocket_state,
    questions_nll,
)
from qlearn.checks import Exercise

Grouped = tuple[Tensor, Tensor, Tensor]
Case = tuple[Tensor, Tensor, int, int, float]


def run(
    weight: Tensor,
    hessian: Tensor,
    bits: int,
    group_size: int,
    damping: float,
    *,
    rule: str = "",
    places: list[Tensor] | None = None,
) -> Grouped:
    """Codes, scale and zero-point; ``rule`` spoils one step, ``places`` gathers what is rounded."""
    left, h = weight.double().clone(), hessian.double().clone()
    rows, columns = weight.shape
    size = columns if rule == "per row" else group_size
    dead = h.diagonal() == 0
    mean = h.diagonal().mean()
    if rule != "not revived":
        h[dead, dead] = 1.0
    if rule not in ("not revived", "not zeroed"):
        left[:, dead] = 0.0
    if rule != "mean before":
        mean = h.diagonal().mean()
    if rule == "largest":
        mean = h.diagonal().max()
    if rule == "absolute":
        mean = torch.ones((), dtype=h.dtype)
    if rule != "undamped":
        h += damping * mean * torch.eye(columns, dtype=h.dtype)
    if rule == "undamped":
        h += 1e-9 * mean * torch.eye(columns, dtype=h.dtype)
    inverse = torch.linalg.inv(h)
    factor = torch.linalg.cholesky(inverse, upper=True)
    if rule == "stale":
        factor = inverse / inverse.diagonal().sqrt()[:, None]
    start_values = left.clone()
    codes = torch.zeros(rows, columns, dtype=torch.uint8)
    scales, zeros = [], []
    scale = zero = left.new_ones(rows)
    for i in range(columns):
        if i % size == 0:
            source = start_values if rule == "static" else left
            fitted = grid(source[:, i : i + size].float(), bits)
            if places is not None:
                low = source[:, i : i + size].amin(1).clamp(max=0)
                places.append(low / fitted[0][:, 0].double())
            scales.append(fitted[0])
            zeros.append(fitted[1])
            scale, zero = (x[:, 0].double() for x in fitted)
        if places is not None:
            places.append(left[:, i] / scale)
        code = ((left[:, i] / scale).round() + zero).clamp(0, 2**bits - 1)
        codes[:, i] = code.to(torch.uint8)
        error = (left[:, i] - (code - zero) * scale) / factor[i, i]
        stop = columns if rule != "own group" else min(columns, (i // size + 1) * size)
        left[:, i + 1 : stop] -= error[:, None] * factor[i, i + 1 : stop]
    result = codes, torch.cat(scales, 1), torch.cat(zeros, 1)
    if rule == "order":
        return result[0], result[1].T.contiguous(), result[2].T.contiguous()
    return result


def gptq_groups(
    weight: Tensor, hessian: Tensor, bits: int, group_size: int, damping: float
) -> Grouped:
    """The reference of a3.groups."""
    return run(weight, hessian, bits, group_size, damping)


GROUPS_PARTS = (
    *["even groups"] * 2,
    "a shorter last group",
    "a group as wide as the row",
    *["dead inputs"] * 2,
    "more damping",
    "float16 weights",
)


def _groups_cases(seed: int) -> list[Case]:
    generator = generator_of(seed, 35)

    def made(
        rows: int,
        columns: int,
        bits: int,
        size: int,
        damping: float = 0.01,
        dead: tuple[int, ...] = (),
        half: bool = False,
        size_of_inputs: float = 1.0,
    ) -> Case:
        def make() -> Case:
            weight = torch.randn(rows, columns, generator=generator)
            hessian = size_of_inputs * correlated(columns, generator)
            for i in dead:
                hessian[i], hessian[:, i] = 0.0, 0.0
            return weight.half() if half else weight, hessian, bits, size, damping

        def is_clear(case: Case) -> bool:
            places: list[Tensor] = []
            codes, _, _ = run(*case, places=places)
            if not all(off_ties(place) for place in places):
                return False
            before, _, _ = run(*case, rule="mean before")
            return size_of_inputs == 1.0 or not torch.equal(codes, before)

        return clear(make, is_clear)

    return [
        made(3, 8, 3, 4),
        made(2, 24, 3, 8),
        made(3, 10, 4, 4),
        made(3, 6, 3, 6),
        made(3, 8, 3, 4, dead=(2,)),
        made(3, 9, 3, 4, dead=(0, 7), damping=0.2, size_of_inputs=0.02),
        made(3, 8, 3, 4, damping=0.5),
        made(2, 8, 3, 4, half=True),
    ]


def _dropped(weight: Tensor, hessian: Tensor, bits: int, size: int, damping: float) -> Grouped:
    n = weight.shape[1] // size * size or weight.shape[1]
    codes, scale, zero = run(weight, hessian, bits, size, damping)
    codes[:, n:] = 0
    kept = n // size if n >= size else scale.shape[1]
    return codes, scale[:, :kept], zero[:, :kept]


def make_groups(seed: int) -> Exercise:
    """Groups, damping and inputs that are always zero."""
    rules = {
        "The inverse is stale here too: use the Cholesky factor of the inverse.": "stale",
        "All grids are fitted to the weight as given. Fit a group's grid when its first column is "
        "reached, to the columns as they have moved by then.": "static",
        "One grid for each row: fit one to each group.": "per row",
        "Errors stop at the end of their group: later groups must make them good too.": "own group",
        "The Hessian is not damped.": "undamped",
        "The damping is a share of the largest diagonal value: take the mean.": "largest",
        "The damping is added as it is. It is a share of the diagonal's mean.": "absolute",
        "The diagonal's mean is taken before the dead inputs get their 1.": "mean before",
        "A dead input's weights are quantized as they are. No input reads them: set them to 0.": (
            "not zeroed"
        ),
        "Dead inputs are not looked for: where H_ii is 0, put 1 there and set the weights to 0.": (
            "not revived"
        ),
        "The grids are `[groups, rows]`: they should be `[rows, groups]`.": "order",
    }

    def spoilt(rule: str) -> Callable[..., Grouped]:
        return lambda *case: run(*case, rule=rule)

    return Exercise(
        id="a3.groups",
        task="Write `gptq_groups(weight, hessian, bits, group_size, damping)`: uint8 codes, "
        "float32 scales and uint8 zero-points `[rows, groups]`.",
        expected=gptq_groups,
        cases=_groups_cases(seed),
        mistakes={
            **{diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
            "Nothing moves: this is rounding to nearest.": (
                lambda w, h, b, g, d: nearest_groups(
                    torch.where(h.diagonal() == 0, 0.0, w.float()), b, g
                )
            ),
            "The last, shorter group is left out.": _dropped,
        },
        rtol=1e-3,
        atol=1e-6,
        hint="Dead inputs, then damping, then the factor, then column by column.",
    )


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
    usual = model(weights, hessians, bits, group_size)
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
        expected=measured(model, read),
        cases=_model_cases(seed),
        mistakes=measured_all(mistakes, read),
        rtol=0.02,
        atol=0.0,
        hint="`gptq_groups` on every layer with its own Hessian.",
    )
