"""Exercises of chapter 2: a grid, the codes on it, its noise, where to clip, and GGUF's block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise

EIGHT = [-0.75, -0.4, -0.125, 0.0, 0.3, 0.875, 1.4, 3.0]
POSITIVE = [0.6, 0.7, 0.9, 1.5]
NEGATIVE = [-4.0, -2.0, -1.0, -3.5]


def _grid(
    values: Tensor, bits: int, *, steps: int = -1, zero: bool = True, sign: int = -1
) -> tuple[float, int]:
    """Scale and zero-point of a range; the keywords spoil one step each."""
    low, high = float(values.min()), float(values.max())
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits + steps)
    return scale, round(sign * low / scale)


def _fitted(values: Tensor, bits: int) -> tuple[float, int]:
    return _grid(values, bits)


def _grid_not_rounded(values: Tensor, bits: int) -> tuple[float, float]:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / (2**bits - 1)
    return scale, -low / scale


def _grid_truncated(values: Tensor, bits: int) -> tuple[float, int]:
    scale, zero_point = _grid_not_rounded(values, bits)
    return scale, int(zero_point)


def _codes(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    codes = torch.round(values / scale) + zero_point
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def _codes_signed_range(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    half = 2 ** (bits - 1)
    codes = torch.round(values / scale).clamp(-half, half - 1) + zero_point
    return codes.to(torch.int64).remainder(256).to(torch.uint8)


def _codes_unclamped(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    codes = torch.round(values / scale) + zero_point
    return codes.to(torch.int64).remainder(256).to(torch.uint8)


def _codes_truncated(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    codes = (values / scale).trunc() + zero_point
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def _codes_zero_first(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    codes = torch.round(values / scale + zero_point)
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def _codes_one_too_many(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    codes = torch.round(values / scale) + zero_point
    return codes.clamp(0, 2**bits).to(torch.uint8)


def _codes_multiplied(values: Tensor, scale: float, zero_point: int, bits: int) -> Tensor:
    return _codes(values, 1 / scale, zero_point, bits)


# 10 standard deviations of range in 63 steps of 6 bits: the noise is step^2 / 12.
PREDICTED = 10 * math.log10(12 * (63 / 10) ** 2)


def _clipped(values: Tensor, clip: float, bits: int) -> Tensor:
    """Values on the symmetric grid whose largest code stands for `clip`."""
    steps = 2 ** (bits - 1) - 1
    scale = clip / steps
    return torch.round(values / scale).clamp(-steps, steps) * scale


def _best(values: Tensor, bits: int, clips: list[float], kind: str) -> float:
    """The clip with the least error of one kind; the first wins a tie."""
    costs = []
    for clip in clips:
        error = values - _clipped(values, clip, bits)
        cost = {
            "mean": error.square().mean(),
            "largest": error.abs().max(),
            "clipping": (values.abs() - clip).clamp(min=0).square().mean(),
        }[kind]
        costs.append(float(cost))
    return clips[costs.index(min(costs))]


def _best_index(values: Tensor, bits: int, clips: list[float]) -> int:
    return clips.index(_best(values, bits, clips, "mean"))


def _best_worst(values: Tensor, bits: int, clips: list[float]) -> float:
    costs = [float((values - _clipped(values, c, bits)).square().mean()) for c in clips]
    return clips[costs.index(max(costs))]


def _best_unclamped(values: Tensor, bits: int, clips: list[float]) -> float:
    def cost(clip: float) -> float:
        scale = clip / (2 ** (bits - 1) - 1)
        return float((values - torch.round(values / scale) * scale).square().mean())

    return min(clips, key=cost)


def _clip_cases() -> list[tuple[Tensor, int, list[float]]]:
    generator = torch.Generator().manual_seed(0)
    bell = torch.randn(1000, generator=generator)
    outlier = bell.clone()
    outlier[0] = 12.0
    flat = torch.rand(400, generator=generator) * 2 - 1
    clips = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 12.0]
    return [(bell, 2, clips), (bell, 4, clips), (outlier, 4, clips), (flat, 3, clips)]


def _block(
    block: Tensor, *, signed: bool = True, steps: float = -8.0, stored: bool = False
) -> tuple[Tensor, Tensor]:
    """Step and codes of a Q4_0 block; the keywords spoil one step each."""
    extreme = block[block.abs().argmax()] if signed else block.abs().max()
    step = extreme / steps
    used = step.half().float() if stored else step
    codes = torch.trunc(block / used + 8.5).clamp(0, 15)
    return step.half(), codes.to(torch.uint8)


def _stored_block(block: Tensor) -> tuple[Tensor, Tensor]:
    return _block(block)


def _block_eight_not_clamped(block: Tensor) -> tuple[Tensor, Tensor]:
    step = block[block.abs().argmax()] / -8
    return step.half(), torch.trunc(block / step + 8.5).to(torch.uint8)


def _block_without_half(block: Tensor) -> tuple[Tensor, Tensor]:
    step = block[block.abs().argmax()] / -8
    return step.half(), torch.trunc(block / step + 8).clamp(0, 15).to(torch.uint8)


def _block_cases() -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(3, 32, generator=generator)
    rows[0, 5], rows[1, 9] = 4.0, -4.0  # one of each sign at the far end
    rows[0, 6] = -4.0 + 2**-6  # the other end, which no code reaches
    rows[1, 10] = 4.0 - 2**-6
    # Half-way between two codes of the float32 step: the rounded float16 step moves it.
    rows[2, 0] = 3.3
    rows[2, 1:9] = torch.arange(8) * (3.3 / 8) + 3.3 / 16 + 1e-5
    return [(row,) for row in rows]


EXERCISES = [
    Exercise(
        id="ch02.grid",
        task="Write `grid(values, bits)`: return the scale and the zero-point of the asymmetric "
        "grid whose range holds all values and 0.",
        expected=_fitted,
        cases=tuple(
            (torch.tensor(values), bits)
            for values in (EIGHT, POSITIVE, NEGATIVE, [-0.8, 0.3, 2.1])
            for bits in (2, 4, 8)
        ),
        mistakes={
            "The range is divided by the number of codes, `2**bits`. Between the first code and "
            "the last lie `2**bits - 1` steps.": lambda values, bits: _grid(values, bits, steps=0),
            "The range does not reach 0 where all values have one sign: lower the minimum to 0, "
            "or raise the maximum to 0, first.": lambda values, bits: _grid(
                values, bits, zero=False
            ),
            "The zero-point has the wrong sign: the code of 0 is as many steps above code 0 as the "
            "minimum is below 0, so it is `-low / scale`.": lambda values, bits: _grid(
                values, bits, sign=1
            ),
            "The zero-point is not rounded. It is a code, so a whole number; only then does 0 come "
            "back as exactly 0.": _grid_not_rounded,
            "The zero-point is cut to a whole number, not rounded to the nearest one.": (
                _grid_truncated
            ),
        },
        hint="First low and high with 0 inside, then the scale, then the zero-point.",
    ),
    Exercise(
        id="ch02.codes",
        task="Write `codes(values, scale, zero_point, bits)`: return the uint8 codes of the values "
        "on that grid, rounded half to even and clamped.",
        expected=_codes,
        cases=(
            (torch.tensor(EIGHT), 0.25, 3, 4),
            (torch.tensor([-2.0, -0.7, 0.0, 0.5, 9.0]), 0.25, 3, 4),
            (torch.tensor([[0.6, -0.6], [1.7, -80.0]]), 0.5, 1, 2),
            (torch.tensor([-1.3, 1.3, 0.0, 300.0]), 0.01, 128, 8),
        ),
        mistakes={
            "The codes are not clamped: a value beyond the grid wraps around to a code at the "
            "other end, or to one that has no bits.": _codes_unclamped,
            "The clamp lets `2**bits` through: the largest code is `2**bits - 1`.": (
                _codes_one_too_many
            ),
            "The clamp stands before the zero-point is added, with a signed range. Add the "
            "zero-point first, then clamp to 0 and `2**bits - 1`.": _codes_signed_range,
            "The values are truncated towards 0, not rounded: the error is up to a whole step.": (
                _codes_truncated
            ),
            "The zero-point is added before rounding: with an odd zero-point, half-to-even then "
            "sends ties the other way. Round `values / scale` alone.": _codes_zero_first,
            "The values are multiplied by the scale; divide by it (only tools that store the "
            "inverse multiply).": _codes_multiplied,
        },
        hint="Three steps: round(values / scale), add the zero-point, clamp.",
    ),
    Exercise(
        id="ch02.sqnr",
        task="A million weights have standard deviation 1, the smallest is -5 and the largest 5. "
        "Predict the SQNR in dB after rounding them to 6 bits over that range, nothing clipped.",
        expected=PREDICTED,
        mistakes={
            "This is 6.02 dB times 6: it holds for weights that fill the range evenly. These sit "
            "in the middle of it, and pay for the empty ends.": 20 * math.log10(2**6),
            "The noise is `step**2 / 12`, not `step**2`: the error is spread evenly over one step, "
            "and is mostly much smaller than it.": 20 * math.log10(63 / 10),
            "The range is 10, from -5 to 5; you divided 5 by the steps.": PREDICTED
            + 20 * math.log10(2),
            "This is 10 log10 of a ratio of amplitudes. Take the ratio of powers (or 20 log10).": (
                PREDICTED / 2
            ),
            "The noise is `step**2 / 3` for truncation. Rounding halves the largest error: "
            "`step**2 / 12`.": 10 * math.log10(3 * (63 / 10) ** 2),
            "The sign is turned over: signal over noise, so that more is better.": -PREDICTED,
        },
        rtol=0.0,
        atol=0.3,
        unit="dB",
        hint="Step, then noise power, then 10 log10 of signal power over noise power.",
    ),
    Exercise(
        id="ch02.clip",
        task="Write `best_clip(values, bits, clips)`: return the one of `clips` that gives the "
        "least mean squared error on the symmetric grid with codes from -steps to steps, "
        "`steps = 2**(bits-1) - 1`, scale `clip / steps`.",
        expected=lambda values, bits, clips: _best(values, bits, clips, "mean"),
        cases=_clip_cases,
        mistakes={
            "This is the place of the best clip in the list; return the clip itself.": _best_index,
            "This minimises the largest error, which never lets anything be clipped. Take the mean "
            "of the squares.": lambda values, bits, clips: _best(values, bits, clips, "largest"),
            "Clipping costs nothing in your sum, so the finest grid wins: clamp the codes, and "
            "count the error of the clipped values too.": _best_unclamped,
            "Only the error of clipping is counted: a wider grid also rounds more coarsely.": (
                lambda values, bits, clips: _best(values, bits, clips, "clipping")
            ),
            "This is the clip with the most error; take the least.": _best_worst,
        },
        hint="For each clip: quantize with a clamp, dequantize, mean of the squared differences.",
    ),
    Exercise(
        id="ch02.q4_0",
        task="Write `q4_0(block)`: return GGUF's float16 step and its uint8 codes for a block of "
        "32 float32 weights; the codes come from the float32 step.",
        expected=_stored_block,
        cases=_block_cases,
        mistakes={
            "The step comes from the largest magnitude without its sign: Q4_0 divides the signed "
            "value by -8, so that it gets code 0 exactly.": lambda block: _block(
                block, signed=False
            ),
            "The signed value is divided by 8, not by -8: it then needs code 16, which does not "
            "exist.": lambda block: _block(block, steps=8.0),
            "The codes come from the float16 step. Q4_0 chooses codes with the float32 step and "
            "rounds the step only to store it.": lambda block: _block(block, stored=True),
            "The codes are not clamped: the value opposite to the largest one gets code 16.": (
                _block_eight_not_clamped
            ),
            "8 is added and not 8.5, so that the truncation rounds down.": _block_without_half,
            "The step is the extreme over -7: that is another convention. Q4_0 uses all 16 codes, "
            "-8 to 7.": lambda block: _block(block, steps=-7.0),
        },
        hint="step = signed extreme / -8; codes = trunc(block / step + 8.5), clamped to 0 and 15.",
    ),
]
