"""Exercises of chapter 1: a float's fields, spacing, lost updates, two's complement, model size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlearn.teach.checks.checker import Exercise

LLAMA_2_7B = 6_738_415_616  # parameters; the chapter counts them


def _fields(pattern: int) -> tuple[float, int, float]:
    """FP16's sign as a factor, exponent field and fraction in [0, 1)."""
    return (-1.0 if pattern >> 15 else 1.0), pattern >> 10 & 0x1F, (pattern & 0x3FF) / 1024


def decode_fp16(pattern: int) -> float:
    """The value of a finite FP16 pattern."""
    sign, exponent, fraction = _fields(pattern)
    if exponent == 0:
        return sign * fraction * 2.0**-14
    return sign * (1 + fraction) * 2.0 ** (exponent - 15)


def _no_hidden_one(pattern: int) -> float:
    sign, exponent, fraction = _fields(pattern)
    return sign * fraction * 2.0 ** (max(exponent, 1) - 15)


def _always_hidden_one(pattern: int) -> float:
    sign, exponent, fraction = _fields(pattern)
    return sign * (1 + fraction) * 2.0 ** (exponent - 15)


def _wrong_bias(pattern: int) -> float:
    return decode_fp16(pattern) / 2


def _no_sign(pattern: int) -> float:
    return abs(decode_fp16(pattern))


def _subnormals_too_small(pattern: int) -> float:
    return decode_fp16(pattern) / (1 if pattern >> 10 & 0x1F else 2)


def gap(value: float, fraction_bits: int, lowest_exponent: int) -> float:
    """The step from a positive value to the next larger one of a format."""
    exponent = math.frexp(value)[1] - 1
    return 2.0 ** (max(exponent, lowest_exponent) - fraction_bits)


def _gap_at_one(value: float, fraction_bits: int, lowest_exponent: int) -> float:
    return 2.0**-fraction_bits


def _gap_proportional(value: float, fraction_bits: int, lowest_exponent: int) -> float:
    return max(value, 2.0**lowest_exponent) * 2.0**-fraction_bits


def _gap_without_floor(value: float, fraction_bits: int, lowest_exponent: int) -> float:
    return 2.0 ** (math.frexp(value)[1] - 1 - fraction_bits)


def _gap_of_next_binade(value: float, fraction_bits: int, lowest_exponent: int) -> float:
    return 2.0 ** (max(math.frexp(value)[1], lowest_exponent) - fraction_bits)


def lost_updates(weight: Tensor, update: Tensor) -> float:
    """The share of weights that ``weight - update`` leaves as they are, all of it in BF16."""
    narrow = weight.to(torch.bfloat16)
    return (narrow - update.to(torch.bfloat16) == narrow).float().mean().item()


def _lost_in_float32(weight: Tensor, update: Tensor) -> float:
    return (weight - update == weight).float().mean().item()


def _lost_in_fp16(weight: Tensor, update: Tensor) -> float:
    narrow = weight.half()
    return (narrow - update.half() == narrow).float().mean().item()


def _kept_updates(weight: Tensor, update: Tensor) -> float:
    return 1 - lost_updates(weight, update)


def _zero_updates(weight: Tensor, update: Tensor) -> float:
    return (update.to(torch.bfloat16) == 0).float().mean().item()


def _against_float32(weight: Tensor, update: Tensor) -> float:
    narrow = weight.to(torch.bfloat16)
    return (narrow - update.to(torch.bfloat16) == weight).float().mean().item()


def _updates() -> list[tuple[Tensor, Tensor]]:
    """Weights of several sizes, with updates of which some are zero and some vanish in FP32 too."""
    generator = torch.Generator().manual_seed(1)
    cases = []
    for step in (1e-3, 1e-4):
        weight = torch.randn(400, generator=generator) * 0.1
        weight[:60] = weight[:60].to(torch.bfloat16).float()
        weight[60:90] = 40_000.0
        update = torch.randn(400, generator=generator).sign() * step
        update[::20] = 0.0
        cases.append((weight, update))
    return cases


def twos_complement(pattern: int, bits: int) -> int:
    """The signed integer that a pattern of ``bits`` bits stands for."""
    return pattern - (1 << bits) if pattern >> (bits - 1) else pattern


def _sign_and_size(pattern: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return half - pattern if pattern >= half else pattern


def _ones_complement(pattern: int, bits: int) -> int:
    return pattern - (1 << bits) + 1 if pattern >> (bits - 1) else pattern


def _shifted(pattern: int, bits: int) -> int:
    return pattern - (1 << (bits - 1))


def _unsigned(pattern: int, bits: int) -> int:
    return pattern


EXERCISES = [
    Exercise(
        id="ch01.decode_fp16",
        task="Write `decode_fp16(pattern)`, the value of a 16-bit pattern (an int) read as FP16. "
        "Infinity and NaN are not asked for, subnormals are.",
        expected=decode_fp16,
        cases=tuple((p,) for p in (0x4200, 0xC480, 0x0001, 0x83FF, 0x3555, 0x7BFF, 0x0401)),
        mistakes={
            "The hidden 1 is missing: a normal number is (1 + fraction) x 2^e.": _no_hidden_one,
            "Exponent field 0 has no hidden 1: its numbers are fraction x 2^-14.": (
                _always_hidden_one
            ),
            "All values are half of what they should be: the bias of 5 exponent bits is 15, "
            "not 16.": _wrong_bias,
            "The sign bit, the highest of the 16, is not used.": _no_sign,
            "Subnormals are half of what they should be: their exponent is -14, that of the "
            "smallest normal, not 0 - 15.": _subnormals_too_small,
        },
        rtol=1e-9,
        atol=0.0,
        hint="Take the pattern apart with >> and &: 1 sign bit, 5 exponent bits, 10 fraction bits.",
    ),
    Exercise(
        id="ch01.gap",
        task="Write `gap(value, fraction_bits, lowest_exponent)`, the step from a positive `value` "
        "to the next larger one. `lowest_exponent` is that of the smallest normal (-14 in FP16).",
        expected=gap,
        cases=(
            (1.0, 10, -14),
            (1.75, 7, -126),
            (3000.0, 10, -14),
            (2.0**-20, 10, -14),
            (0.8125, 3, -6),
            (288.0, 3, -6),
        ),
        mistakes={
            "That is the step at 1. It doubles each time the value passes a power of two.": (
                _gap_at_one
            ),
            "The step does not grow with the value smoothly: it is the same from 2^e up to "
            "2^(e+1), so take the exponent first.": _gap_proportional,
            "Below the smallest normal the step stops shrinking: all subnormals share one.": (
                _gap_without_floor
            ),
            "Twice too wide: `math.frexp` gives a fraction below 1, so its exponent is one more "
            "than that of 1.f x 2^e.": _gap_of_next_binade,
        },
        rtol=1e-9,
        atol=0.0,
        hint="Find e with 2^e <= value < 2^(e+1), then cut that stretch in 2^fraction_bits steps.",
    ),
    Exercise(
        id="ch01.lost_updates",
        task="Write `lost_updates(weight, update)`, the share (0 to 1) of weights that do not move "
        "when weight, update and `weight - update` are all in BF16.",
        expected=lost_updates,
        cases=_updates,
        mistakes={
            "The subtraction was done in FP32: convert both tensors to BF16 before it.": (
                _lost_in_float32
            ),
            "That is FP16, whose 10 fraction bits lose fewer updates: use torch.bfloat16.": (
                _lost_in_fp16
            ),
            "That is the share of weights that did move.": _kept_updates,
            "That counts updates that are 0. An update can be far from 0 and still be less than "
            "half the step between two weights.": _zero_updates,
            "Compare with the weight in BF16: against the FP32 weight the conversion itself "
            "counts as a move.": _against_float32,
        },
        rtol=1e-6,
        atol=1e-6,
    ),
    Exercise(
        id="ch01.twos_complement",
        task="Write `twos_complement(pattern, bits)`, the signed integer that a pattern of `bits` "
        "bits stands for.",
        expected=twos_complement,
        cases=((0b1111, 4), (0b1000, 4), (0b0111, 4), (0x80, 8), (0xFE, 8), (5, 8)),
        mistakes={
            "That is the unsigned reading: the top bit counts -2^(bits-1), not +2^(bits-1).": (
                _unsigned
            ),
            "That is sign and size, as in a float: here 1111 is -1, not -7.": _sign_and_size,
            "That is one's complement, one too high for negatives: subtract 2^bits, "
            "not 2^bits - 1.": _ones_complement,
            "All patterns were shifted down by half the range: those with a top bit of 0 keep "
            "their value.": _shifted,
        },
    ),
    Exercise(
        id="ch01.memory",
        task="Predict how many GiB (2^30 bytes) the INT4 codes of Llama-2-7B take. "
        "It has 6,738,415,616 parameters; count no scales.",
        expected=LLAMA_2_7B * 4 / 8 / 2**30,
        mistakes={
            "That is in GB (1e9 bytes). A GiB is 2^30 bytes, 7.4% more.": LLAMA_2_7B / 2 / 1e9,
            "That takes '7B' at its word and GB for GiB: it has fewer parameters than "
            "its name says.": 3.5,
            "Right unit, but for 7,000,000,000 parameters: the name is rounded up.": (
                7e9 / 2 / 2**30
            ),
            "That is 16 bits a parameter.": LLAMA_2_7B * 2 / 2**30,
            "Those are bits: divide by 8.": LLAMA_2_7B * 4 / 2**30,
        },
        rtol=0.005,
        atol=0.0,
        unit="GiB",
    ),
]
