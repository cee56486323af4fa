"""Assignment 4, the parts of AWQ: references, cases and mistakes of its functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlearn.assignments.shared.pocket_layer import layer_case
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme
from qlearn.teach.checks.checker import Exercise

LEAST_SCALE = 1e-4


def rounded(weight: Tensor, bits: int, group_size: int | None) -> Tensor:
    """Round to the nearest code of an asymmetric grid a group."""
    return fake_quantize(weight, QuantScheme(bits, False, group_size))


def salient(inputs: Tensor, share: float) -> Tensor:
    """The mask of the columns that meet the largest inputs."""
    return _largest(inputs.flatten(0, -2).abs().mean(0), share)


def _largest(size: Tensor, share: float, up: bool = True) -> Tensor:
    count = share * len(size)
    kept = size.topk(math.ceil(count) if up else math.floor(count)).indices
    return torch.zeros(len(size), dtype=torch.bool).index_fill_(0, kept, True)


def channel_scales(inputs: Tensor, ratio: float) -> Tensor:
    """AWQ's scales: mean magnitude to a power, around 1."""
    return balanced(inputs.flatten(0, -2).abs().mean(0).pow(ratio))


def balanced(scales: Tensor) -> Tensor:
    """Scales of which the largest is as far above 1 as the smallest is below."""
    scales = scales.clamp(min=LEAST_SCALE)
    return scales / (scales.max() * scales.min()).sqrt()


def output_loss(
    weight: Tensor, moment: Tensor, scales: Tensor, bits: int, group_size: int | None
) -> float:
    """Mean squared error of the outputs, from the second moment of the inputs."""
    error = rounded(weight * scales, bits, group_size) / scales - weight
    return float(((error @ moment) * error).sum() / len(weight))


def make_salient(seed: int) -> Exercise:
    """Which columns matter, by what they meet."""
    cases = []
    for k, (layer, share) in enumerate((("0.mlp.down_proj", 0.01), ("1.self_attn.q_proj", 0.1))):
        inputs = layer_case(layer, 4, 96, seed + k)[1]
        cases.append((inputs.view(4, 24, -1), share))
    generator = torch.Generator().manual_seed(seed + 40)
    calm = torch.randn(60, 10, generator=generator)
    calm[:, 7] -= 4  # large and negative
    calm[:, 3] *= 2  # large, of both signs
    calm[5, 1] = 90.0  # one spike: its maximum and its mean square are the largest by far
    cases.append((calm, 0.1))
    cases.append((calm, 0.25))
    return Exercise(
        id="a4.salient",
        task="Write `salient(inputs, share)`: a bool mask [in_features], true for the "
        "`ceil(share * in_features)` columns that meet the largest inputs, by mean magnitude over "
        "all tokens. `inputs` is [..., in_features].",
        expected=salient,
        cases=cases,
        mistakes={
            "You take the mean and then its magnitude: inputs of both signs cancel. Magnitudes "
            "first, then their mean.": lambda x, share: _largest(
                x.flatten(0, -2).mean(0).abs(), share
            ),
            "Without magnitudes, a column of large negative inputs looks small.": (
                lambda x, share: _largest(x.flatten(0, -2).mean(0), share)
            ),
            "You rank by the largest input: one spike decides. AWQ takes the mean magnitude.": (
                lambda x, share: _largest(x.flatten(0, -2).abs().amax(0), share)
            ),
            "You rank by the mean square, in which one spike outweighs everything. AWQ takes the "
            "mean magnitude.": lambda x, share: _largest(x.flatten(0, -2).square().mean(0), share),
            "You round the number of columns down; `ceil` rounds it up, so that at least one is "
            "kept.": lambda x, share: _largest(x.flatten(0, -2).abs().mean(0), share, up=False),
            "These are the columns of the smallest inputs.": lambda x, share: _largest(
                -x.flatten(0, -2).abs().mean(0), share
            ),
            "The mask is turned over: true means salient.": lambda x, share: ~salient(x, share),
            "These are the columns' numbers; make a bool mask of all columns.": (
                lambda x, share: salient(x, share).nonzero()[:, 0]
            ),
            "The mean runs over the first dimension alone. Flatten all tokens first: "
            "`inputs.flatten(0, -2)`.": lambda x, share: (
                _largest(x.abs().mean(0)[0], share) if x.dim() > 2 else salient(x, share)
            ),
            "You compare with a share of the largest magnitude. `share` is a share of the "
            "columns.": lambda x, share: (
                x.flatten(0, -2).abs().mean(0) >= share * x.flatten(0, -2).abs().mean(0).max()
            ),
        },
        hint="flatten, abs, mean(0), topk of ceil(share * in_features).",
    )


def make_scales(seed: int) -> Exercise:
    """AWQ's scales, dead inputs among the cases."""
    cases = [
        (layer_case("0.self_attn.q_proj", 4, 64, seed)[1], 0.5),
        (layer_case("1.mlp.down_proj", 4, 64, seed)[1].view(2, 32, -1), 0.8),
        (layer_case("1.mlp.gate_proj", 4, 64, seed)[1], 0.0),
    ]
    dead = layer_case("0.mlp.up_proj", 4, 32, seed)[1]
    dead[:, seed % 7] = 0.0
    cases.append((dead, 0.75))

    def mean(x: Tensor) -> Tensor:
        return x.flatten(0, -2).abs().mean(0)

    return Exercise(
        id="a4.scales",
        task="Write `channel_scales(inputs, ratio)`: the mean magnitude of each column's inputs to "
        "the power of `ratio`, at least 1e-4, divided by sqrt(largest * smallest). `inputs` is "
        "[..., in_features].",
        expected=channel_scales,
        cases=cases,
        mistakes={
            "Not divided by sqrt(largest * smallest): the scales do not lie around 1.": (
                lambda x, ratio: mean(x).pow(ratio).clamp(min=LEAST_SCALE)
            ),
            "Divided by largest * smallest; the square root of that product is missing.": (
                lambda x, ratio: (
                    balanced(mean(x).pow(ratio)).square()
                    / mean(x).pow(ratio).clamp(min=LEAST_SCALE)
                )
            ),
            "The floor of 1e-4 is missing: a column whose inputs are all 0 gets a scale of 0 or "
            "NaN, and the weight is later divided by it.": lambda x, ratio: (
                mean(x).pow(ratio) / (mean(x).pow(ratio).max() * mean(x).pow(ratio).min()).sqrt()
            ),
            "The inverse: columns that meet large inputs must grow.": (
                lambda x, ratio: 1 / channel_scales(x, ratio)
            ),
            "`ratio` is an exponent; you multiply by it.": (
                lambda x, ratio: balanced(mean(x) * ratio)
            ),
            "Divided by the mean of the scales, which a single large one pulls up.": (
                lambda x, ratio: (
                    mean(x).pow(ratio).clamp(min=LEAST_SCALE)
                    / mean(x).pow(ratio).clamp(min=LEAST_SCALE).mean()
                )
            ),
            "You take the largest input of each column (SmoothQuant); AWQ takes the mean "
            "magnitude.": lambda x, ratio: balanced(x.flatten(0, -2).abs().amax(0).pow(ratio)),
            "You take the magnitude of the mean, in which signs cancel.": (
                lambda x, ratio: balanced(x.flatten(0, -2).mean(0).abs().pow(ratio))
            ),
            "Power first, then the mean: (mean of |x|)^ratio is asked for, not mean of "
            "|x|^ratio.": lambda x, ratio: balanced(x.flatten(0, -2).abs().pow(ratio).mean(0)),
        },
        rtol=1e-4,
        hint="mean(0) of the magnitudes, pow(ratio), clamp(min=1e-4), then the division.",
    )


def make_loss(seed: int) -> Exercise:
    """The error of the outputs without the inputs at hand."""
    cases = []
    for k, (layer, bits, group) in enumerate(
        (("0.self_attn.k_proj", 3, None), ("1.mlp.gate_proj", 4, 32), ("1.self_attn.o_proj", 3, 16))
    ):
        weight, inputs = layer_case(layer, 24, 128, seed + k)
        scales = channel_scales(inputs, 0.4 + 0.2 * k)
        cases.append((weight, inputs.T @ inputs / len(inputs), scales, bits, group))

    def variant(back: bool = True, moment_of: str = "") -> object:
        def wrong(w: Tensor, m: Tensor, s: Tensor, bits: int, group: int | None) -> float:
            new = rounded(w * s, bits, group)
            error = (new / s if back else new) - w
            if moment_of == "one":
                m = torch.eye(len(m))
            elif moment_of == "diagonal":
                m = m.diagonal().diag()
            elif moment_of == "scaled":
                m = m * s * s[:, None]
            return float(((error @ m) * error).sum() / len(w))

        return wrong

    return Exercise(
        id="a4.loss",
        task="Write `output_loss(weight, moment, scales, bits, group_size)`: multiply the columns "
        "of `weight` by `scales`, round, divide again; return the mean squared error that this "
        "leaves in the layer's outputs, a float, from `moment` = X^T X / tokens alone.",
        expected=output_loss,
        cases=cases,
        mistakes={
            "The rounded weight was not divided by the scales again.": variant(back=False),
            "This is the weights' error: the moment is not used. Large inputs must weigh more.": (
                variant(moment_of="one")
            ),
            "You use the moment's diagonal alone, as if no two inputs moved together.": (
                variant(moment_of="diagonal")
            ),
            "The weight is divided by the scales again, so it meets the inputs as they are: the "
            "moment must not be scaled as well.": variant(moment_of="scaled"),
            "This is a sum over the outputs; divide by out_features.": lambda w, m, s, b, g: (
                output_loss(w, m, s, b, g) * len(w)
            ),
            "You divide by the number of weights; the mean is over outputs.": (
                lambda w, m, s, b, g: output_loss(w, m, s, b, g) / w.shape[1]
            ),
            "This is the root of the mean squared error.": lambda w, m, s, b, g: math.sqrt(
                output_loss(w, m, s, b, g)
            ),
            "The scales have no effect: this is rounding to nearest.": lambda w, m, s, b, g: (
                output_loss(w, m, torch.ones_like(s), b, g)
            ),
            "Divide before rounding and multiply after it, and large inputs meet large errors: "
            "you have it the wrong way round.": lambda w, m, s, b, g: output_loss(
                w, m, 1 / s, b, g
            ),
        },
        rtol=1e-3,
        atol=1e-9,
        hint="E = new - weight; the sum of (E @ moment) * E, divided by len(weight).",
    )
