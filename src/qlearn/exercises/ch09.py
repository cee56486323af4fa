"""Chapter 9: NF4 by hand, double quantization counted, LoRA forward and backward, memory."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise


def _levels() -> Tensor:
    """NF4's table, from its quantiles."""
    positive, negative = (
        torch.special.ndtri(torch.linspace(0.9677083, 0.5, count)[:-1].double()) for count in (9, 8)
    )
    table = torch.cat([-negative, positive.new_zeros(1), positive]).sort().values
    return (table / table.max()).float()


def _nearest(values: Tensor, levels: Tensor) -> Tensor:
    return (values[:, None] - levels).abs().argmin(1)


def _nf4(block: Tensor, levels: Tensor) -> Tensor:
    absmax = block.abs().max()
    return levels[_nearest(block / absmax, levels)] * absmax


def _nf4_unscaled(block: Tensor, levels: Tensor) -> Tensor:
    return levels[_nearest(block / block.abs().max(), levels)]


def _nf4_raw(block: Tensor, levels: Tensor) -> Tensor:
    return levels[_nearest(block, levels)]


def _nf4_by_spread(block: Tensor, levels: Tensor) -> Tensor:
    return levels[_nearest(block / block.std(), levels)] * block.std()


def _nf4_below(block: Tensor, levels: Tensor) -> Tensor:
    absmax = block.abs().max()
    below = (torch.searchsorted(levels, block / absmax, right=True) - 1).clamp(0, len(levels) - 1)
    return levels[below] * absmax


def _nf4_even(block: Tensor, levels: Tensor) -> Tensor:
    absmax = block.abs().max()
    code = ((block / absmax + 1) / 2 * (len(levels) - 1)).round().long()
    return levels[code] * absmax


def _bits(block: int, second: int) -> float:
    return 4 + 8 / block + 32 / (block * second)


def _lora(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / len(a) * (x @ a.T) @ b.T


def _gradient(seed: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return seed @ (weight + alpha / len(a) * b @ a)


def _blocks() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(9)
    return [
        (0.04 * torch.randn(64, generator=generator), _levels()),
        (3 * torch.randn(64, generator=generator), _levels()),
        (torch.randn(9, generator=generator), torch.tensor([-1.0, -0.3, 0.0, 0.5, 1.0])),
    ]


def _adapted(rows: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor, float]]:
    generator = torch.Generator().manual_seed(10)
    cases = []
    for inputs, outputs, rank, alpha in ((4, 4, 2, 6.0), (6, 4, 3, 16.0), (5, 7, 4, 2.0)):
        sizes = ((rows, inputs), (outputs, inputs), (rank, inputs), (outputs, rank))
        x, weight, a, b = (torch.randn(size, generator=generator) for size in sizes)
        cases.append((x, weight, a, b, alpha))
    return cases


def _gradient_cases() -> list[tuple[Tensor, Tensor, Tensor, Tensor, float]]:
    generator = torch.Generator().manual_seed(11)
    return [
        (torch.randn(3, len(weight), generator=generator), weight, a, b, alpha)
        for _, weight, a, b, alpha in _adapted(3)
    ]


def _training_bytes(base: int, adapters: int, bits: float) -> float:
    return base * bits / 8 + adapters * (2 + 2 + 8)


EXERCISES = [
    Exercise(
        id="ch09.nf4",
        task="Write `nf4(block, levels)`: what a block of weights comes back as. Divide by the "
        "largest magnitude, take the nearest level of each weight, multiply back.",
        expected=_nf4,
        cases=_blocks,
        mistakes={
            "The levels come back without their scale. Multiply them by the block's largest "
            "magnitude.": _nf4_unscaled,
            "The block is compared with the levels as it is. Divide it by its largest magnitude "
            "first: the levels reach from -1 to 1.": _nf4_raw,
            "The scale is a standard deviation. NF4 stores the largest magnitude, so that no "
            "weight falls outside the levels.": _nf4_by_spread,
            "Each weight takes the level below it. Take the nearest one.": _nf4_below,
            "The code is computed as if the levels were evenly spaced. They are not: compare with "
            "each of them.": _nf4_even,
        },
        rtol=1e-4,
        hint="(block[:, None] / absmax - levels).abs().argmin(1) gives the codes.",
    ),
    Exercise(
        id="ch09.bits",
        task="Write `bits(block, second)`: bits per weight of 4-bit codes whose absmax, one for "
        "`block` weights, takes 8 bits, and one float32 scale for `second` of these.",
        expected=_bits,
        cases=((64, 256), (32, 256), (128, 64)),
        mistakes={
            "That is without double quantization: a float32 absmax for each block.": (
                lambda block, second: 4 + 32 / block
            ),
            "The float32 scale serves `second` blocks of `block` weights each; divide by both.": (
                lambda block, second: 4 + 8 / block + 32 / second
            ),
            "The second level's own float32 scale is missing.": lambda block, second: 4 + 8 / block,
            "The codes are missing: this is the overhead alone.": (
                lambda block, second: 8 / block + 32 / (block * second)
            ),
        },
        hint="Three terms: the code, 8 bits shared by a block, 32 bits shared by `second` blocks.",
    ),
    Exercise(
        id="ch09.lora",
        task="Write `lora(x, weight, a, b, alpha)`: the output of a linear layer with an adapter. "
        "`x` is [tokens, in], `weight` [out, in], `a` [rank, in], `b` [out, rank].",
        expected=_lora,
        cases=lambda: _adapted(3),
        mistakes={
            "The adapter is multiplied by alpha; the factor is alpha / rank.": (
                lambda x, w, a, b, alpha: x @ w.T + alpha * (x @ a.T) @ b.T
            ),
            "The adapter is added without its factor alpha / rank.": (
                lambda x, w, a, b, alpha: x @ w.T + (x @ a.T) @ b.T
            ),
            "This is the adapter alone; the base's output is missing.": (
                lambda x, w, a, b, alpha: alpha / len(a) * (x @ a.T) @ b.T
            ),
            "This is the base alone; the adapter's output is missing.": (
                lambda x, w, a, b, alpha: x @ w.T
            ),
            "The factor is alpha / sqrt(rank): that is rank-stabilised LoRA. LoRA divides by the "
            "rank.": lambda x, w, a, b, alpha: x @ w.T + alpha / sqrt(len(a)) * (x @ a.T) @ b.T,
        },
        rtol=1e-4,
        atol=1e-5,
        hint="x @ weight.T, plus alpha / rank times x @ a.T @ b.T; the rank is len(a).",
    ),
    Exercise(
        id="ch09.gradient",
        task="Write `gradient(upstream, weight, a, b, alpha)`: the gradient of the loss with "
        "respect to the layer's input, where `upstream` [tokens, out] is that of its output.",
        expected=_gradient,
        cases=_gradient_cases,
        mistakes={
            "The gradient goes through the adapter alone. It goes through the frozen base too, or "
            "the layers below would hardly learn.": (
                lambda g, w, a, b, alpha: alpha / len(a) * g @ b @ a
            ),
            "The gradient goes through the base alone; the adapter is a way to the input too.": (
                lambda g, w, a, b, alpha: g @ w
            ),
            "The adapter's way lacks the factor alpha / rank.": lambda g, w, a, b, alpha: (
                g @ (w + b @ a)
            ),
            "The adapter's way has the factor alpha; it is alpha / rank, backward as forward.": (
                lambda g, w, a, b, alpha: g @ (w + alpha * b @ a)
            ),
        },
        rtol=1e-4,
        atol=1e-5,
        hint="The layer is x times the transpose of weight + alpha / rank * b @ a.",
    ),
    Exercise(
        id="ch09.memory",
        task="Write `training_bytes(base, adapters, bits)`: bytes of `base` frozen weights at "
        "`bits` each, and of `adapters` trained ones: in 16 bit, their gradients in 16 bit, and "
        "AdamW's two float32 moments.",
        expected=_training_bytes,
        cases=((7_000_000_000, 160_000_000, 4.127), (1000, 10, 16.0), (8, 1, 4.0)),
        mistakes={
            "The base's bits are taken for bytes: divide by 8.": (
                lambda base, adapters, bits: base * bits + adapters * 12
            ),
            "AdamW keeps moments for what is trained, not for the frozen base.": (
                lambda base, adapters, bits: base * bits / 8 + adapters * 4 + (base + adapters) * 8
            ),
            "Two bytes are missing: an adapter has 2 a number, and so has its gradient.": (
                lambda base, adapters, bits: base * bits / 8 + adapters * 10
            ),
            "AdamW keeps two moments of 4 bytes each; there is room for one here.": (
                lambda base, adapters, bits: base * bits / 8 + adapters * 8
            ),
        },
        hint="A trained number costs 2 + 2 + 4 + 4 bytes; a frozen one bits / 8.",
    ),
]
