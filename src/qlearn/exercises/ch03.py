"""Exercises of chapter 3: groups by reshape, bits per weight, bytes, packing 4 and 3 bits."""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise


def _asymmetric(groups: Tensor, bits: int, *, zero: bool = True) -> Tensor:
    """Each row of ``groups`` on a grid of its own; ``zero`` stretches its range to hold 0."""
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    if zero:
        low, high = low.clamp(max=0), high.clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    zero_point = (-low / scale).round()
    codes = ((groups / scale).round() + zero_point).clamp(0, 2**bits - 1)
    return (codes - zero_point) * scale


def group_quantize(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Fake-quantize ``[out, in]`` with an asymmetric grid for each ``group_size`` of a row."""
    return _asymmetric(weight.reshape(-1, group_size), bits).reshape(weight.shape)


def _whole_rows(weight: Tensor, bits: int, group_size: int) -> Tensor:
    return _asymmetric(weight, bits)


def _down_columns(weight: Tensor, bits: int, group_size: int) -> Tensor:
    columns = weight.T.contiguous()
    return _asymmetric(columns.reshape(-1, group_size), bits).reshape(columns.shape).T


def _one_scale(weight: Tensor, bits: int, group_size: int) -> Tensor:
    return _asymmetric(weight.reshape(1, -1), bits).reshape(weight.shape)


def _bare_range(weight: Tensor, bits: int, group_size: int) -> Tensor:
    return _asymmetric(weight.reshape(-1, group_size), bits, zero=False).reshape(weight.shape)


def _left_in_groups(weight: Tensor, bits: int, group_size: int) -> Tensor:
    return _asymmetric(weight.reshape(-1, group_size), bits)


def _too_many_steps(weight: Tensor, bits: int, group_size: int) -> Tensor:
    groups = weight.reshape(-1, group_size)
    low, high = groups.amin(-1, True).clamp(max=0), groups.amax(-1, True).clamp(min=0)
    scale = (high - low) / 2**bits
    zero_point = (-low / scale).round()
    codes = ((groups / scale).round() + zero_point).clamp(0, 2**bits - 1)
    return ((codes - zero_point) * scale).reshape(weight.shape)


def _weights() -> list[tuple[Tensor, int, int]]:
    """Groups with outliers, and groups whose weights all have one sign."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.randn(8, 16, generator=generator)
    wide[2, 5] = 30.0
    positive = torch.rand(4, 12, generator=generator) + 1
    return [(wide, 4, 8), (positive, 3, 4), (wide, 2, 4)]


def bits_per_weight(bits: int, group_size: int, symmetric: bool) -> float:
    """Code, plus a float16 scale and (asymmetric) a zero-point of ``bits`` bits for each group."""
    return bits + (16 + (0 if symmetric else bits)) / group_size


def pack4(codes: Tensor) -> Tensor:
    """Two codes a byte, the first in the low half: uint8 ``[n]`` to ``[n / 2]``."""
    return codes[0::2] | codes[1::2] << 4


def _halves(codes: Tensor) -> Tensor:
    half = len(codes) // 2
    return codes[:half] | codes[half:] << 4


def _three_bytes(codes: Tensor, starts: range, reverse: bool = False) -> Tensor:
    """Eight 3-bit codes as one 24-bit word, code ``k`` from bit ``starts[k]`` on."""
    places = torch.tensor(list(starts))
    word = (codes.reshape(-1, 8).long() << places).sum(-1, keepdim=True)
    shifts = torch.tensor([16, 8, 0] if reverse else [0, 8, 16])
    return (word >> shifts & 255).to(torch.uint8).flatten()


def pack3(codes: Tensor) -> Tensor:
    """Eight codes in three bytes, lowest bits first: uint8 ``[n]`` to ``[3 n / 8]``."""
    return _three_bytes(codes, range(0, 24, 3))


def _codes(bits: int) -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(bits)
    return [
        (torch.randint(2**bits, (n,), generator=generator, dtype=torch.uint8),) for n in (8, 24, 64)
    ]


# A 4096 x 4096 layer, 3 bits, symmetric groups of 128: bytes / 1e6.
LAYER = 4096 * 4096
MEGABYTES = LAYER * bits_per_weight(3, 128, True) / 8 / 1e6

EXERCISES = [
    Exercise(
        id="ch03.group_quantize",
        task="Write `group_quantize(weight, bits, group_size)`: cut each row of `weight` into "
        "groups, fit an asymmetric grid that holds 0 to each, round, and return the values that "
        "the codes stand for, in the shape of `weight`.",
        expected=group_quantize,
        cases=_weights,
        mistakes={
            "Each whole row shares a scale: `group_size` has no effect. "
            "Reshape to one group a row first.": _whole_rows,
            "The groups run down the columns. A group lies along `in_features`, the last "
            "dimension.": _down_columns,
            "The whole tensor shares one scale: take the extremes along the last dimension "
            "alone.": _one_scale,
            "The range of a group whose weights all have one sign does not hold 0: clamp the "
            "minimum to 0 from above and the maximum from below.": _bare_range,
            "The values are right but still in groups: reshape them back to "
            "`weight.shape`.": _left_in_groups,
            "The range was divided by `2**bits`, the number of codes; between them lie one "
            "fewer steps.": _too_many_steps,
        },
        hint="Reshape, reduce along the last dimension with `keepdim=True`, and reshape back.",
    ),
    Exercise(
        id="ch03.bits_per_weight",
        task="Write `bits_per_weight(bits, group_size, symmetric)`: what one weight costs with its "
        "share of a float16 scale and, unless `symmetric`, of a zero-point of `bits` bits.",
        expected=bits_per_weight,
        cases=((4, 128, False), (4, 32, True), (3, 64, False), (2, 16, False), (8, 96, True)),
        mistakes={
            "Only the codes are counted: each group stores a scale too.": (
                lambda bits, group_size, symmetric: float(bits)
            ),
            "The zero-points are missing: an asymmetric group stores one, "
            "of `bits` bits.": lambda bits, group_size, symmetric: bits + 16 / group_size,
            "A symmetric group's zero-point is a constant: it is not stored, and costs "
            "nothing.": lambda bits, group_size, symmetric: bits + (16 + bits) / group_size,
            "The scale is counted as float32, 32 bits; it is stored as float16.": (
                lambda bits, group_size, symmetric: (
                    bits + (32 + (0 if symmetric else bits)) / group_size
                )
            ),
            "The scale and the zero-point are charged to every weight: a group shares them, "
            "so divide by `group_size`.": lambda bits, group_size, symmetric: float(
                bits + 16 + (0 if symmetric else bits)
            ),
        },
        hint="bits + (scale + zero-point) / group_size.",
    ),
    Exercise(
        id="ch03.megabytes",
        task="Predict the size, in MB (1e6 bytes), of a 4096 x 4096 layer in 3 bits, in symmetric "
        "groups of 128 with float16 scales, packed without waste.",
        expected=MEGABYTES,
        mistakes={
            "The scales are missing: every 128 weights store 16 more bits.": LAYER * 3 / 8 / 1e6,
            "The codes take 4 bits each here: packed without waste, eight 3-bit codes fill three "
            "bytes.": LAYER * (4 + 16 / 128) / 8 / 1e6,
            "A zero-point is counted: a symmetric scheme stores none.": LAYER
            * bits_per_weight(3, 128, False)
            / 8
            / 1e6,
            "That is in MiB (2^20 bytes); MB are asked for.": MEGABYTES * 1e6 / 2**20,
            "The scales are counted as float32; they are float16.": LAYER * (3 + 32 / 128) / 8e6,
        },
        rtol=0.001,
        atol=0,
        unit="MB",
    ),
    Exercise(
        id="ch03.pack4",
        task="Write `pack4(codes)`: pack uint8 codes of 4 bits, an even number of them, two a "
        "byte, the first of each pair in the low half.",
        expected=pack4,
        cases=lambda: _codes(4),
        mistakes={
            "The first code of each pair is in the high half: shift the second "
            "one.": lambda codes: codes[0::2] << 4 | codes[1::2],
            "Codes from the two halves of the tensor share a byte (the order of GGUF's blocks); "
            "here neighbours do: take `codes[0::2]` and `codes[1::2]`.": _halves,
            "The two codes lie on top of each other: shift the second one by 4 "
            "bits.": lambda codes: codes[0::2] | codes[1::2],
            "The second code of each pair is lost: or it in, shifted by 4 bits.": lambda codes: (
                codes[0::2].clone()
            ),
        },
    ),
    Exercise(
        id="ch03.pack3",
        task="Write `pack3(codes)`: pack uint8 codes of 3 bits, a multiple of 8 of them, eight in "
        "three bytes, the first code in the lowest bits of the first byte.",
        expected=pack3,
        cases=lambda: _codes(3),
        mistakes={
            "The three bytes come out in reverse: the lowest 8 bits of the word are the first "
            "byte.": lambda codes: _three_bytes(codes, range(0, 24, 3), reverse=True),
            "The first code sits in the highest bits of the word: code k belongs at bit "
            "3k.": lambda codes: _three_bytes(codes, range(21, -1, -3)),
            "Each code still takes 4 bits: two codes a byte waste a quarter of it.": pack4,
            "The codes overlap: they start 2 bits apart, and a code has 3.": lambda codes: (
                _three_bytes(codes, range(0, 16, 2))
            ),
        },
        hint="Build a 24-bit word: the sum of code k shifted by 3k. Then cut it into bytes.",
    ),
]
