"""Assignment 1, packing: two codes in a byte, and out again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from qlearn.assignments.shared.cases import generator_of
from qlearn.teach.checks.checker import Exercise


def _pack(codes: Tensor, rule: str = "") -> Tensor:
    """Two codes in a byte, the first in the low half; ``rule`` spoils one step."""
    if rule == "over rows":
        flat = codes.reshape(-1)
        return _pack(flat)
    wide = codes.to(torch.int32)
    n = codes.shape[-1]
    if n % 2:
        if rule == "dropped":
            wide = wide[..., :-1]
        elif rule == "front":
            wide = pad(wide, (1, 0))
        else:
            wide = pad(wide, (0, 1), value=15 if rule == "fifteen" else 0)
    low, high = wide[..., 0::2], wide[..., 1::2]
    if rule == "halves":
        low, high = wide[..., : wide.shape[-1] // 2], wide[..., wide.shape[-1] // 2 :]
    if rule == "high first":
        low, high = high, low
    if rule == "signed":
        low, high = (low - 8) & 15, (high - 8) & 15
    if rule == "three":
        packed = low | high << 3
    elif rule == "unshifted":
        packed = low | high
    elif rule == "tens":
        packed = low + 10 * high
    elif rule == "word":
        return low | high << 4
    else:
        packed = low | high << 4
    return packed.to(torch.uint8)


def pack(codes: Tensor) -> Tensor:
    """The reference of a1.pack."""
    return _pack(codes)


PACK_PARTS = (
    "one row",
    *["even counts"] * 2,
    *["odd counts"] * 2,
    "one column",
    "leading dimensions",
    "a transposed view",
)


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 16, shape, generator=generator, dtype=torch.uint8)


def _pack_cases(seed: int) -> list[tuple[Tensor]]:
    generator = generator_of(seed, 15)
    first = torch.tensor([[1, 2, 3, 15]], dtype=torch.uint8)
    if seed:
        first = torch.cat((_drawn((1, 3), generator), first[:, 3:]), 1)
    shapes = [(4, 8), (3, 32), (3, 5), (4, 9), (5, 1), (2, 4, 5)]
    made = [_drawn(shape, generator) for shape in shapes]
    return [(first,), *((codes,) for codes in made), (_drawn((6, 3), generator).T,)]


def make_pack(seed: int) -> Exercise:
    """Even and odd counts, one column, leading dimensions, a view."""
    rules = {
        "The first code of each pair is in the high half of the byte: it belongs in the low one.": (
            "high first"
        ),
        "The last code of an odd row is lost. Fill the row up with one zero.": "dropped",
        "Codes of two rows share a byte: an odd row must be filled up on its own.": "over rows",
        "The row's two halves are paired (GGUF does so inside a block). Here neighbours share a "
        "byte.": "halves",
        "An odd row is filled up at its front, which moves every code: fill up its end.": "front",
        "An odd row is filled up with 15: fill it with 0.": "fifteen",
        "The second code is not shifted, so the two overlap: move it up by 4 bits.": "unshifted",
        "The second code is shifted by 3 bits, but a code has 4.": "three",
        "The second code is multiplied by 10: a half of a byte counts 16, `<< 4`.": "tens",
        "The codes are made signed first. They are packed as they are, 0 to 15.": "signed",
        "The bytes are not uint8. Convert the result: one byte for two codes.": "word",
    }

    def spoilt(rule: str) -> Callable[[Tensor], Tensor]:
        return lambda codes: _pack(codes, rule)

    return Exercise(
        id="a1.pack",
        task="Write `pack_int4(codes)`: two codes of the last dimension in each uint8, the first "
        "in the low half, an odd row filled up with a zero.",
        expected=pack,
        cases=_pack_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        hint="Even places, odd places, a shift by 4, an `|`. An odd row first gets one zero.",
    )


def _unpack(packed: Tensor, n: int, rule: str = "") -> Tensor:
    """Codes out of bytes; ``rule`` spoils one step."""
    low, high = packed & 15, packed >> 4
    if rule == "unmasked":
        low = packed
    elif rule == "remainder":
        low = packed % 15
    elif rule == "seven":
        low = packed & 7
    elif rule == "three":
        high = packed >> 3 & 15
    elif rule == "masked high":
        high = packed & 240
    if rule == "high first":
        low, high = high, low
    both = torch.stack((low, high), -1).flatten(-2)
    if rule == "halves":
        both = torch.cat((low, high), -1)
    if rule == "all":
        return both
    if rule == "front":
        return both[..., both.shape[-1] - n :]
    if rule == "signed":
        signed = both.to(torch.int8)
        return torch.where(signed > 7, signed - 16, signed)[..., :n]
    if rule == "less eight":
        return (both.to(torch.int8) - 8)[..., :n]
    return both[..., :n]


def unpack(packed: Tensor, n: int) -> Tensor:
    """The reference of a1.unpack."""
    return _unpack(packed, n)


UNPACK_PARTS = PACK_PARTS


def _unpack_cases(seed: int) -> list[tuple[Tensor, int]]:
    cases = [(pack(codes), codes.shape[-1]) for (codes,) in _pack_cases(seed + 500 * (seed > 0))]
    wide = _drawn((3, 6), generator_of(seed, 16))
    return [*cases[:-1], (pack(wide.T.contiguous()).T.contiguous().T, 3)]


def make_unpack(seed: int) -> Exercise:
    """The way back from every kind of row."""
    rules = {
        "The high half comes first: the first code of a pair is in the low half.": "high first",
        "The low half still carries the high one: mask it with `& 15`.": "unmasked",
        "`% 15` is not a mask. Four bits are `& 15`, or `% 16`.": "remainder",
        "The mask is 7, three bits. Four bits are 15.": "seven",
        "The high half is shifted by 3: shift it by 4.": "three",
        "The high half is masked but not shifted down: `>> 4`.": "masked high",
        "All low halves come first and then all high ones. Interleave them: stack on a new last "
        "dimension, then flatten.": "halves",
        "The zero that filled up an odd row is still there: keep the first `n` codes.": "all",
        "The code is cut off at the front of a row; the filling is at its end.": "front",
        "Codes from 8 on turn negative. These are codes from 0 to 15: leave them unsigned.": (
            "signed"
        ),
        "8 is taken off. Codes stay as they are; the zero-point is taken off by `dequantize`.": (
            "less eight"
        ),
    }

    def spoilt(rule: str) -> Callable[[Tensor, int], Tensor]:
        return lambda packed, n: _unpack(packed, n, rule)

    return Exercise(
        id="a1.unpack",
        task="Write `unpack_int4(packed, n)`: the uint8 codes, `n` in the last dimension.",
        expected=unpack,
        cases=_unpack_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        hint="`& 15`, `>> 4`, interleave, cut to n.",
    )


RATIO = 31 / 15  # steps of 5 bits over those of 4, on the same range


def make_noise(_: int) -> Exercise:
    """A prediction: the same for every seed."""

    def both(largest: float, mean_square: float) -> dict[str, float]:
        return {"largest": largest, "mean_square": mean_square}

    right = both(RATIO, RATIO**2)
    return Exercise(
        id="a1.noise",
        task="Weights fill a row's range evenly. Predict by what factors the largest error and the "
        "mean squared error fall from 4 bits to 5.",
        expected=right,
        mistakes={
            "2 and 4 are what many bits tend to. Count the steps: 15 with 4 bits, 31 with 5.": both(
                2.0, 4.0
            ),
            "You counted codes one too many: 17 and 33 are not numbers of steps.": both(
                33 / 17, (33 / 17) ** 2
            ),
            "The mean squared error goes with the square of the step.": both(RATIO, RATIO),
            "These are the 5-bit errors over the 4-bit ones: turn the ratio over.": both(
                1 / RATIO, 1 / RATIO**2
            ),
            "The two are swapped: squares fall faster.": both(RATIO**2, RATIO),
            "The largest error is half a step, so it falls as the step does, not with its "
            "square.": both(RATIO**2, RATIO**2),
            "This is the ratio of bits, 5/4. Each bit doubles the number of codes.": both(
                5 / 4, (5 / 4) ** 2
            ),
            "This is decibels. A factor is asked for.": both(3.15, 6.3),
            "A cube: mean squared error is step squared over 12.": both(RATIO, RATIO**3),
        },
        rtol=0.02,
        atol=0.0,
        hint="Both errors follow the step, one of them squared.",
    )
