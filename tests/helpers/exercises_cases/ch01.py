"""Answers to chapter 1's exercises, written another way than its module."""

import math
import struct

import numpy as np

from qlearn.numerics.formats import FP16, decode


def decode_by_struct(pattern):
    return struct.unpack("<e", struct.pack("<H", pattern))[0]


def decode_by_text(pattern):
    bits = f"{pattern:016b}"
    exponent, fraction = int(bits[1:6], 2), int(bits[6:], 2)
    size = (fraction + 1024 * (exponent > 0)) * 2.0 ** (max(exponent, 1) - 25)
    return -size if bits[0] == "1" else size


def decode_unsigned(pattern):
    return decode(pattern & 0x7FFF, FP16)


def decode_no_subnormals(pattern):
    bits = f"{pattern:016b}"
    size = (1 + int(bits[6:], 2) / 2**10) * 2.0 ** (int(bits[1:6], 2) - 15)
    return -size if bits[0] == "1" else size


def decode_bias_16(pattern):
    bits = f"{pattern:016b}"
    exponent, fraction = int(bits[1:6], 2), int(bits[6:], 2)
    size = (fraction + 1024 * (exponent > 0)) * 2.0 ** (max(exponent, 1) - 26)
    return -size if bits[0] == "1" else size


def gap_by_log2(value, fraction_bits, lowest_exponent):
    return 2.0 ** (max(math.floor(math.log2(value)), lowest_exponent) - fraction_bits)


def gap_by_ldexp(value, fraction_bits, lowest_exponent):
    _, exponent = np.frexp(value)
    floor = math.ldexp(1.0, lowest_exponent - fraction_bits)
    return max(math.ldexp(1.0, int(exponent) - 1 - fraction_bits), floor)


def lost_by_casting(weight, update):
    before = weight.bfloat16()
    after = before.sub(update.bfloat16())
    return int(after.eq(before).sum()) / before.numel()


def lost_bits(weight, update):
    before, after = weight.bfloat16(), weight.bfloat16() - update.bfloat16()
    return (before.float() - after.float()).eq(0).double().mean()


def signed_by_bytes(pattern, bits):
    return int.from_bytes(bytes([pattern << (8 - bits)]), "big", signed=True) >> (8 - bits)


def signed_by_top_bit(pattern, bits):
    top = 1 << (bits - 1)
    return (pattern & (top - 1)) - (pattern & top)


CASES = {
    "ch01.decode_fp16": {
        "right": [decode_by_struct, decode_by_text],
        "wrong": [
            (decode_unsigned, "The sign bit, the highest"),
            (decode_no_subnormals, "Exponent field 0 has no hidden 1"),
            (decode_bias_16, "the bias of 5 exponent bits is 15"),
        ],
    },
    "ch01.gap": {
        "right": [gap_by_log2, gap_by_ldexp],
        "wrong": [
            (lambda v, f, low: 2.0**-f, "That is the step at 1"),
            (lambda v, f, low: 2.0 ** (math.floor(math.log2(v)) - f), "the step stops shrinking"),
            (lambda v, f, low: max(v, 2.0**low) / 2**f, "The step does not grow"),
            (lambda v, f, low: 2.0 ** (max(math.frexp(v)[1], low) - f), "Twice too wide"),
        ],
    },
    "ch01.lost_updates": {
        "right": [lost_by_casting, lost_bits],
        "wrong": [
            (lambda w, u: float((w.float() - u.float()).eq(w).float().mean()), "done in FP32"),
            (lambda w, u: 1 - lost_by_casting(w, u), "the share of weights that did move"),
            (lambda w, u: float((u.bfloat16() == 0).float().mean()), "counts updates that are 0"),
            (lambda w, u: float((w.half() - u.half()).eq(w.half()).float().mean()), "is FP16"),
        ],
    },
    "ch01.twos_complement": {
        "right": [signed_by_bytes, signed_by_top_bit],
        "wrong": [
            (lambda pattern, bits: pattern, "the unsigned reading"),
            (lambda pattern, bits: pattern - 2 ** (bits - 1), "shifted down by half"),
            (
                lambda pattern, bits: (
                    -(pattern ^ (2**bits - 1)) if pattern >> (bits - 1) else pattern
                ),
                "one's complement",
            ),
        ],
    },
    "ch01.memory": {
        "right": [6_738_415_616 / 2**31, 3.14],
        "wrong": [
            (3.37, "That is in GB"),
            (3.5, "at its word"),
            (12.55, "16 bits a parameter"),
            (25.1, "divide by 8"),
            (3.26, "Right unit"),
        ],
    },
}
