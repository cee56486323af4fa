"""Assignment 1, a whole model: what a reader outside makes of the packed bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a1.codes import codes as right_codes
from qlearn.assignments.a1.grid import grid
from qlearn.assignments.a1.packing import pack, unpack
from qlearn.assignments.shared.cases import clear, generator_of
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.assignments.shared.pocket_state import allowed, is_linear, pocket_state, questions_nll
from qlearn.teach.checks.checker import Exercise

State = dict[str, Tensor]
PARTS = (".packed", ".scale", ".zero_point")


def _packed(
    state: State,
    *,
    pick: Callable[[str, Tensor], bool] = is_linear,
    stored: bool = True,
    rest: bool = True,
    transposed: bool = False,
    high_first: bool = False,
    whole: bool = False,
    wide_scale: bool = False,
    keep: bool = False,
) -> State:
    """The bytes of a model; the keywords spoil one step each."""
    result: State = {}
    for name, tensor in state.items():
        if not pick(name, tensor):
            if rest:
                result[name] = tensor.clone()
            continue
        weight = tensor.float().T if transposed else tensor.float()
        scale, zero_point = grid(weight.reshape(1, -1) if whole else weight, 4)
        scale, zero_point = (x.expand(len(weight), 1).clone() for x in (scale, zero_point))
        stored_scale = scale if wide_scale else scale.half()
        codes = right_codes(weight, stored_scale.float() if stored else scale, zero_point, 4)
        packed = pack(codes)
        if high_first:
            packed = packed << 4 | packed >> 4
        made = (packed, stored_scale, zero_point)
        result |= {f"{name}{part}": tensor for part, tensor in zip(PARTS, made, strict=True)}
        if keep:
            result[name] = tensor.clone()
    return result


def pack_model(state: State) -> State:
    """The reference of a1.model."""
    return _packed(state)


def _usual(state: State) -> State:
    """The state as the reference's bytes give it back."""
    usual = dict(state)
    for name, weight in state.items():
        if is_linear(name, weight):
            scale, zero_point = (x.float() for x in grid(weight, 4))
            scale = scale.half().float()
            usual[name] = (right_codes(weight, scale, zero_point, 4) - zero_point) * scale
    return usual


def read(result: Any, state: State) -> Any:
    """What the trusted reader finds: bytes, the largest error in steps, and held-out questions.

    Args:
        result: what the answer returned.
        state: the model's own tensors.

    Returns:
        A dict of numbers, or a sentence on what can't be read.
    """
    if not isinstance(result, dict):
        return f"a {type(result).__name__}, which is not a dict of tensors"
    linear = [name for name, tensor in state.items() if is_linear(name, tensor)]
    wanted = {f"{name}{part}" for name in linear for part in PARTS}
    wanted |= state.keys() - set(linear)
    if missing := sorted(wanted - result.keys()):
        return f"{len(missing)} of {len(wanted)} tensors missing, such as {missing[0]}"
    if extra := sorted(result.keys() - wanted):
        return f"{len(extra)} tensors too many, such as {extra[0]}"
    restored, worst = dict(state), 0.5
    for name in linear:
        rows, columns = state[name].shape
        packed, scale, zero_point = (result[f"{name}{part}"] for part in PARTS)
        for tensor, shape, dtype in (
            (packed, (rows, (columns + 1) // 2), torch.uint8),
            (scale, (rows, 1), torch.float16),
            (zero_point, (rows, 1), torch.uint8),
        ):
            if not isinstance(tensor, Tensor) or (tensor.shape, tensor.dtype) != (shape, dtype):
                return f"a tensor of {name} that is not {dtype} {list(shape)}"
        weight = (unpack(packed, columns).float() - zero_point) * scale.float()
        steps = (weight - state[name].float()).abs() / scale.float()
        worst = max(worst, float(steps.nan_to_num(1e6).max()))
        restored[name] = weight.to(state[name].dtype)
    for name in state.keys() - set(linear):
        if not isinstance(result[name], Tensor) or not torch.equal(result[name], state[name]):
            return f"{name} changed: only the linear weights are quantized"
    found = {"bytes": sum(t.numel() * t.element_size() for t in result.values())}
    found |= {"largest error, steps": allowed(worst, 0.5, 0.501)}
    if state.keys() == pocket_state("pocket-100k").keys():
        times = questions_nll("pocket-100k", restored) / questions_nll("pocket-100k", _usual(state))
        found |= {"surprise, times the usual": allowed(times, 1.0, 1.3)}
    return found


MODEL_PARTS = ("odd widths and a row of zeros", "a float16 state", "pocket-100k")


def _scale_matters(weight: Tensor) -> bool:
    """Whether codes made with the float32 scale are visibly wrong for a reader with float16."""
    scale, zero_point = grid(weight, 4)
    stored = scale.half().float()
    back = (right_codes(weight, scale, zero_point, 4).float() - zero_point) * stored
    return bool(((back - weight).abs() / stored).max() > 0.5015)


def _cases(seed: int) -> list[tuple[State]]:
    generator = generator_of(seed, 17)

    def normal(*shape: int) -> Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    small = {
        "model.embed_tokens.weight": normal(5, 3),
        "model.layers.0.mlp.up_proj.weight": clear(lambda: normal(32, 65), _scale_matters),
        "model.layers.0.mlp.down_proj.weight": normal(4, 3),
        "model.layers.0.input_layernorm.weight": 1 + normal(3),
    }
    small["model.layers.0.mlp.down_proj.weight"][1] = 0.0
    half = {
        "model.layers.3.self_attn.q_proj.weight": normal(48, 96).half(),
        "model.norm.weight": (1 + normal(6)).half(),
    }
    whole = pocket_state("pocket-100k")
    if seed:  # noise far below a step: other codes, the same model
        whole = {
            name: t * (1 + 0.01 * torch.randn(t.shape, generator=generator))
            if is_linear(name, t)
            else t
            for name, t in whole.items()
        }
    return [(small,), (half,), (whole,)]


def make_model(seed: int) -> Exercise:
    """Three states, the last of them a model that answers questions."""
    wrong: dict[str, Callable[..., Any]] = {
        "The codes were made with the float32 scale, but the reader has the float16 one: round the "
        "scale first, then make the codes with it.": lambda s: _packed(s, stored=False),
        "The other tensors are missing: a model needs its embeddings and norms too.": (
            lambda s: _packed(s, rest=False)
        ),
        "The embeddings are quantized too. Take 2-D weights of `layers.` alone.": (
            lambda s: _packed(s, pick=lambda name, t: t.dim() == 2)
        ),
        "One layer kind is left out: gate, up and down projections are linear layers too.": (
            lambda s: _packed(s, pick=lambda n, t: is_linear(n, t) and "mlp" not in n)
        ),
        "Only the projections of the MLP are packed; attention has four more.": (
            lambda s: _packed(s, pick=lambda n, t: is_linear(n, t) and "mlp" in n)
        ),
        "The rows are packed along the wrong dimension: a row is an output, `weight[i]`.": (
            lambda s: _packed(s, transposed=True)
        ),
        "The reader finds the halves of each byte swapped: low half first.": (
            lambda s: _packed(s, high_first=True)
        ),
        "One grid for a whole matrix was copied to every row: fit a grid to each row.": (
            lambda s: _packed(s, whole=True)
        ),
        "The scales are float32, twice what is allowed: store them as float16.": (
            lambda s: _packed(s, wide_scale=True)
        ),
        "The float weights are still there beside the packed ones: then nothing is saved.": (
            lambda s: _packed(s, keep=True)
        ),
    }
    return Exercise(
        id="a1.model",
        task="Write `pack_model(state)`: for each linear weight `name` the tensors `name.packed`, "
        "`name.scale` and `name.zero_point`, and every other tensor as it is.",
        expected=remembered(measured(pack_model, read)),
        cases=_cases(seed),
        mistakes=measured_all(wrong, read),
        rtol=1e-3,
        atol=0.0,
        hint="Your own functions on each weight; the scale rounded to float16 before the codes.",
    )
