"""Assignment 4, a whole block of SmolLM2: searched, folded, rounded, measured on other text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a4.parts import channel_scales, rounded
from qlearn.assignments.a4.search import best_ratio
from qlearn.assignments.shared.measured import measured, measured_all, remembered
from qlearn.assignments.shared.pocket_state import allowed
from qlearn.assignments.shared.smollm2_block import SHARED, block_error, block_inputs, block_weights
from qlearn.assignments.shared.weights import distinct_values
from qlearn.teach.checks.checker import Exercise

SLACK = 1.1  # times the reference's error is as good
SAME = 1e-8  # relative squared error of a block that was only rescaled, in float32
Weights = dict[str, Tensor]


def awq_block(
    weights: Weights,
    inputs: Weights,
    bits: int | None,
    group_size: int | None,
    ratio: float | None = None,
) -> Weights:
    """One block: scales searched and folded, then rounded; for bits ``None`` folded with 0.5 alone.

    ``ratio`` fixes the exponent: 0 is rounding to nearest.
    """
    new = dict(weights)
    for source, layers in SHARED.items():
        names = [f"{layer}.weight" for layer in layers]
        x = inputs[layers[0]]
        power = ratio if ratio is not None else 0.5
        if ratio is None and bits is not None:
            power = best_ratio(torch.cat([new[name] for name in names]), x, bits, group_size)
        scales = channel_scales(x, power)
        made = new[f"{source}.weight"]
        new[f"{source}.weight"] = made / (scales if made.dim() == 1 else scales[:, None])
        new.update({name: new[name] * scales for name in names})
    if bits is None:
        return {name: weight for name, weight in new.items() if weight is not weights[name]}
    return {n: rounded(w, bits, group_size) if w.dim() == 2 else w for n, w in new.items()}


_usual = remembered(awq_block, most=8)
_ratio = remembered(best_ratio)
_errors = remembered(block_error, most=64)  # a check tries the same weights over and over


def measure_block(
    new: Any, old: Weights, inputs: Weights, bits: int | None, group_size: int | None
) -> Any:
    """What becomes of the block: its error as a multiple of the reference's, and its grid.

    A sentence where the weights are of another form.
    """
    try:
        error = _errors(new, old)
    except ValueError as problem:
        return str(problem)
    if bits is None:
        touched = [n for n, w in new.items() if not torch.equal(w, old[n])]
        return {"outputs as before": error <= SAME, "parameters rescaled": len(touched)}
    linear = [weight for weight in new.values() if weight.dim() == 2]
    most = max((distinct_values(weight, group_size) for weight in linear), default=0)
    reference = _errors(_usual(old, inputs, bits, group_size), old)
    return {
        "error": allowed(error / reference, 1.0, SLACK),
        "layers": len(linear),
        "different values in a group": _words(most, bits),
    }


def _words(most: int, bits: int) -> str:
    if most <= 2**bits:
        return "as many as the codes"
    return "more than the codes" if most <= 2 ** (bits + 2) else "not on a grid"


def make_block(seed: int) -> Exercise:
    """A block of SmolLM2, folded alone and quantized with two schemes."""
    plans = ((None, None), (3, 64), (3, None))
    cases = [(block_weights(seed), block_inputs(seed), bits, group) for bits, group in plans]

    def fixed(ratio: float) -> Callable[..., Weights]:
        return lambda w, x, b, g: awq_block(w, x, b, g, ratio)

    def more_bits(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        return awq_block(w, x, b and b + 1, g, 0.4)

    def norms_as_they_were(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        return {n: new for n, new in _usual(w, x, b, g).items() if new.dim() == 2}

    def attention_as_it_was(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        return {n: t for n, t in new.items() if "mlp" in n or "post" in n}

    def unchained(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        up, down = "mlp.up_proj", "mlp.down_proj"
        ratio = 0.5 if b is None else _ratio(w[f"{down}.weight"], x[down], b, g)
        # Rounding knows no row's scale, so its rows may be multiplied after it.
        return {
            **new,
            f"{up}.weight": new[f"{up}.weight"] * channel_scales(x[down], ratio)[:, None],
        }

    def norms_multiplied(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        return {n: t if t.dim() == 2 else w[n] ** 2 / t for n, t in new.items()}

    def rounded_first(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        if b is None:
            return awq_block(w, x, b, g)
        early = {n: rounded(t, b, g) if t.dim() == 2 else t for n, t in w.items()}
        return {**early, **awq_block(early, x, None, None)}

    return Exercise(
        id="a4.block",
        task="Write `awq_block(weights, inputs, bits, group_size)`: a block's parameters, a dict "
        "name -> tensor, with scales searched and folded in line by line of SHARED, then all "
        "seven linear layers rounded. With `bits=None`: fold with exponent 0.5, round nothing.",
        expected=remembered(measured(_usual, measure_block)),
        cases=cases,
        mistakes=measured_all(
            {
                "Nothing is rescaled: this is rounding to nearest.": fixed(0.0),
                "One exponent of 0.5 everywhere, without a search.": fixed(0.5),
                "One exponent of 0.95 everywhere, without a search: far too large.": fixed(0.95),
                "The norms are as they were: what their layers are fed with was not divided.": (
                    norms_as_they_were
                ),
                "The columns of `down_proj` grew, and the rows of `up_proj` were not divided.": (
                    unchained
                ),
                "The norms are multiplied by the scales; divide them.": norms_multiplied,
                "Folded, but not rounded: no weight is on a grid.": (
                    lambda w, x, b, g: {**w, **awq_block(w, x, None, None)}
                ),
                "More bits than asked for: count the different values of a group.": more_bits,
                "Rounded first and rescaled after it: the scales must be there when weights are "
                "rounded, or they help nothing.": rounded_first,
                "Attention is missing: all seven linear layers of the block are rounded.": (
                    attention_as_it_was
                ),
            },
            measure_block,
        ),
        rtol=2e-3,
        atol=1e-7,
        hint="For each line of SHARED: search, fold or chain. At the end round what has two "
        "dimensions.",
    )
