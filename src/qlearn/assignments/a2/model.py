"""Assignment 2, a whole model: its bits, counted whole, and how surprised it is by answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a2.groups import groups
from qlearn.assignments.a2.scales import cost
from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.assignments.shared.pocket_state import allowed, is_linear, pocket_state, questions_nll
from qlearn.teach.checks.checker import Exercise

State = dict[str, Tensor]
PARTS = (".codes", ".scale", ".zero_point")
MODELS = ("pocket-100k", "pocket-400k")


def _made(
    state: State,
    bits: int,
    group_size: int,
    *,
    pick: Callable[[str, Tensor], bool] = is_linear,
    size: int | None = None,
    asked: int | None = None,
    wide: bool = False,
    rule: str = "",
) -> State:
    """Codes and grids of a model; the keywords spoil one step each."""
    result: State = {}
    for name, tensor in state.items():
        if not pick(name, tensor):
            continue
        weight = tensor.float()
        codes, scale, zero_point = groups(weight, asked or bits, size or group_size)
        if rule == "zero at 0":
            zero_point = torch.zeros_like(zero_point)
        if rule == "signed":
            codes = (codes.int() - 2 ** (bits - 1)).to(torch.uint8)
        stored = scale if wide else scale.half()
        made = (codes, stored, zero_point)
        result |= {f"{name}{part}": value for part, value in zip(PARTS, made, strict=True)}
    if rule == "last layer":  # every layer gets the tensors of the layer of its kind in block 0
        for key in list(result):
            first = ".".join("0" if word.isdigit() else word for word in key.split("."))
            result[key] = result.get(first, result[key])
    return result


def made(state: State, bits: int, group_size: int) -> State:
    """The reference of a2.model."""
    return _made(state, bits, group_size)


def ungrouped(codes: Tensor, scale: Tensor, zero_point: Tensor, group_size: int) -> Tensor:
    """The weights that codes ``[rows, columns]`` and grids ``[rows, groups]`` stand for."""
    columns = codes.shape[1]
    step, zero = (
        x.float().repeat_interleave(group_size, 1)[:, :columns] for x in (scale, zero_point)
    )
    return (codes.float() - zero) * step


def read(result: Any, state: State, bits: int, group_size: int) -> Any:
    """Bits a weight, the largest error in steps, and the surprise at held-out answers.

    The surprise is relative to that of the reference's codes.

    A sentence where something is missing or of another form.
    """
    if not isinstance(result, dict):
        return f"a {type(result).__name__}, which is not a dict of tensors"
    linear = [name for name, tensor in state.items() if is_linear(name, tensor)]
    wanted = {f"{name}{part}" for name in linear for part in PARTS}
    if missing := sorted(wanted - result.keys()):
        return f"{len(missing)} of {len(wanted)} tensors missing, such as {missing[0]}"
    if extra := sorted(map(str, result.keys() - wanted)):
        return f"{len(extra)} tensors too many, such as {extra[0]}"
    restored, total, weights, worst = dict(state), 0.0, 0, 0.5
    for name in linear:
        weight = state[name].float()
        rows, columns = weight.shape
        codes, scale, zero_point = (result[f"{name}{part}"] for part in PARTS)
        n_groups = scale.shape[-1] if isinstance(scale, Tensor) and scale.dim() == 2 else 0
        for tensor, shape, dtype in (
            (codes, (rows, columns), torch.uint8),
            (scale, (rows, n_groups), torch.float16),
            (zero_point, (rows, n_groups), torch.uint8),
        ):
            if not isinstance(tensor, Tensor) or (tensor.shape, tensor.dtype) != (shape, dtype):
                return f"a tensor of {name} that is not {dtype} {list(shape)}"
        size = columns if n_groups == 1 else group_size
        if -(-columns // size) != n_groups:
            return f"{n_groups} groups in rows of {columns}, cut into groups of {group_size}"
        if int(codes.max()) >= 2**bits or int(zero_point.max()) >= 2**bits:
            return f"codes of {name} that {bits} bits can't hold"
        back = ungrouped(codes, scale, zero_point, size)
        step = scale.float().repeat_interleave(size, 1)[:, :columns]
        worst = max(worst, float(((back - weight).abs() / step).nan_to_num(1e6).max()))
        total += cost(rows, columns, bits, size, False) * rows * columns
        weights += rows * columns
        restored[name] = back
    found = {"bits a weight": total / weights, "largest error, steps": allowed(worst, 0.5, 0.51)}
    for model in MODELS:
        if state.keys() == pocket_state(model).keys():
            usual = {n: t.float() for n, t in state.items()}
            for name in linear:
                codes, scale, zero_point = groups(usual[name], bits, group_size)
                usual[name] = ungrouped(codes, scale, zero_point, group_size)
            times = questions_nll(model, restored) / questions_nll(model, usual)
            found |= {"surprise, times the usual": allowed(times, 1.0, 1.3)}
    return found


MODEL_PARTS = ("odd widths", "pocket-100k, 4 bits", "pocket-100k, 3 bits", "pocket-400k, 3 bits")


def _cases(seed: int) -> list[tuple[State, int, int]]:
    generator = generator_of(seed, 27)

    def normal(*shape: int) -> Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    def noisy(model: str) -> State:
        """The model with noise far below a step: other codes, the same answers."""
        return {
            name: t * (1 + 0.01 * torch.randn(t.shape, generator=generator))
            if seed and is_linear(name, t)
            else t
            for name, t in pocket_state(model).items()
        }

    small = {
        "model.embed_tokens.weight": normal(7, 20),
        "model.layers.0.mlp.up_proj.weight": normal(24, 20),
        "model.layers.1.mlp.down_proj.weight": normal(3, 33),
        "model.layers.1.input_layernorm.weight": 1 + normal(20),
    }
    small["model.layers.1.mlp.down_proj.weight"][1, 8:16] = 0.0
    return [
        (small, 3, 8),
        (noisy("pocket-100k"), 4, 32),
        (noisy("pocket-100k"), 3, 16),
        (noisy("pocket-400k"), 3, 32),
    ]


def make_model(seed: int) -> Exercise:
    """A small state and two models."""
    wrong: dict[str, Callable[..., Any]] = {
        "The embeddings are quantized too: take the 2-D weights of `layers.` alone.": (
            lambda s, b, g: _made(s, b, g, pick=lambda n, t: t.dim() == 2)
        ),
        "The MLP's projections are left out: they hold most of the weights.": (
            lambda s, b, g: _made(s, b, g, pick=lambda n, t: is_linear(n, t) and "mlp" not in n)
        ),
        "The attention's projections are left out.": (
            lambda s, b, g: _made(s, b, g, pick=lambda n, t: is_linear(n, t) and "mlp" in n)
        ),
        "Only block 0 is quantized.": (
            lambda s, b, g: _made(s, b, g, pick=lambda n, t: is_linear(n, t) and ".0." in n)
        ),
        "`group_size` is not used: each row has a single grid.": (
            lambda s, b, g: _made(s, b, g, size=10**6)
        ),
        "`bits` is not used: the codes need 4 bits where 3 are asked for.": (
            lambda s, b, g: _made(s, b, g, asked=4)
        ),
        "The scales are not float16, the form in which they are stored and counted.": (
            lambda s, b, g: _made(s, b, g, wide=True)
        ),
        "The zero-points are 0, so the weights come back shifted.": (
            lambda s, b, g: _made(s, b, g, rule="zero at 0")
        ),
        "The codes are signed and wrap around in uint8: codes run from 0.": (
            lambda s, b, g: _made(s, b, g, rule="signed")
        ),
        "Every block got the tensors of block 0: use each layer's own weight.": (
            lambda s, b, g: _made(s, b, g, rule="last layer")
        ),
    }
    return Exercise(
        id="a2.model",
        task="Write `quantize_model(state, bits, group_size)`: for each linear weight `name` the "
        "tensors `name.codes`, `name.scale` (float16) and `name.zero_point`.",
        expected=remembered(measured(made, read)),
        cases=_cases(seed),
        mistakes=measured_all(wrong, read),
        rtol=0.01,
        atol=0.0,
        hint="`quantize_groups` on each linear weight, the scale as float16.",
    )
