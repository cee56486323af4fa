"""Assignment 5, double quantization: the absmax of the blocks in eight bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import clear, generator_of, off_ties, real_rows
from qlearn.teach.checks.checker import Exercise


def double_quantize(absmax: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes int8, scale float32 a block, offset float32."""
    offset = absmax.mean()
    return *_signed(absmax - offset, block), offset


def _signed(left: Tensor, block: int, top: float = 127) -> tuple[Tensor, Tensor]:
    scale = torch.stack([part.abs().max() / top for part in left.split(block)])
    steps = left / scale.repeat_interleave(block)[: len(left)]
    return steps.round().clamp(-128, 127).to(torch.int8), scale


def make_double(seed: int) -> Exercise:
    """Absmax of real blocks, a short last block among them."""
    generator = generator_of(seed, 53)

    def real(rows: int, columns: int, block: int) -> Any:
        def make() -> tuple[Tensor, int]:
            first = int(torch.randint(1000, (1,), generator=generator))
            flat = real_rows(rows, columns, seed=first).flatten()
            return torch.stack([part.abs().max() for part in flat.split(16)]), block

        return make

    def is_clear(case: tuple[Tensor, int]) -> bool:
        left = case[0] - case[0].mean()
        scale = _signed(left, case[1])[1].repeat_interleave(case[1])[: len(left)]
        return off_ties(left / scale)

    plans = ((8, 256, 32), (5, 160, 16), (4, 64, 16))
    cases = [clear(real(*plan), is_clear) for plan in plans]

    def of(change: Any) -> Any:
        return lambda absmax, block: change(*double_quantize(absmax, block), absmax, block)

    def own_means(absmax: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
        means = torch.stack([part.mean() for part in absmax.split(block)])
        left = absmax - means.repeat_interleave(block)[: len(absmax)]
        return *_signed(left, block), means

    return Exercise(
        id="a5.double",
        task="Write `double_quantize(absmax, block)`: (codes, scale, offset). `offset` is the mean "
        "of all absmax, a 0-dimensional tensor; what is left over is quantized symmetrically to "
        "int8, in blocks: scale = largest magnitude / 127, float32 [blocks].",
        expected=double_quantize,
        cases=cases,
        mistakes={
            "The mean was not taken off: all absmax are positive, so half the codes are never "
            "used.": lambda absmax, block: (*_signed(absmax, block), torch.tensor(0.0)),
            "Each block's own mean was taken off; one mean serves all blocks.": own_means,
            "One scale for all blocks; each has its own.": lambda absmax, block: (
                *_signed(absmax - absmax.mean(), len(absmax)),
                absmax.mean(),
            ),
            "Divided by 255: codes run from -127 to 127.": lambda absmax, block: (
                *_signed(absmax - absmax.mean(), block, 255),
                absmax.mean(),
            ),
            "Divided by 128: the largest magnitude gets code 127, so divide by 127.": (
                lambda absmax, block: (
                    *_signed(absmax - absmax.mean(), block, 128),
                    absmax.mean(),
                )
            ),
            "Codes were cut towards 0; round to the nearest.": lambda absmax, block: (
                (
                    (absmax - absmax.mean())
                    / _signed(absmax - absmax.mean(), block)[1].repeat_interleave(block)[
                        : len(absmax)
                    ]
                )
                .trunc()
                .to(torch.int8),
                *double_quantize(absmax, block)[1:],
            ),
            "Codes are unsigned; what is left over has both signs.": of(
                lambda codes, scale, offset, absmax, block: (
                    (codes.int() + 128).to(torch.uint8),
                    scale,
                    offset,
                )
            ),
            "The scale is upside down: 127 / largest.": of(
                lambda codes, scale, offset, absmax, block: (codes, 1 / scale, offset)
            ),
            "The offset is the smallest absmax; take the mean.": lambda absmax, block: (
                *_signed(absmax - absmax.min(), block),
                absmax.min(),
            ),
            "You hand back the absmax that the codes stand for; return the codes.": of(
                lambda codes, scale, offset, absmax, block: (
                    codes * scale.repeat_interleave(block)[: len(codes)] + offset,
                    scale,
                    offset,
                )
            ),
        },
        rtol=1e-4,
        atol=1e-8,
        hint="left = absmax - absmax.mean(); for each block left.abs().max() / 127; round.",
    )
