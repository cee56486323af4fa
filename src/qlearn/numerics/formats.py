"""Number formats bit by bit: FP32, FP16, BF16, FP8, FP4 and INTn.

A format is a small frozen object. :func:`encode` turns a value into a bit pattern (a Python int),
:func:`decode` turns it back, and both agree bit for bit with torch's own dtypes where torch has
them. Scalars only, and plain Python: this is the module to read, not the one to be fast.

Sources: IEEE 754-2019 section 3.4 (binary16, binary32); Micikevicius et al. 2022
(arXiv 2209.05433, FP8); OCP Microscaling Formats v1.0 section 5.3 (FP4 E2M1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class Fields(NamedTuple):
    """The three fields of a floating-point bit pattern, as unsigned integers."""

    sign: int
    exponent: int
    mantissa: int


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format: 1 sign bit, then exponent, then mantissa.

    ``specials`` says what the top exponent code means: ``"ieee"`` keeps all of it for infinity
    and NaN, ``"nan"`` keeps the all-ones pattern alone for NaN (E4M3), ``"none"`` has neither
    (E2M1: every pattern is a number, and overflow saturates).
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: str = "ieee"

    @property
    def bits(self) -> int:
        """Width in bits, the sign included."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """What is subtracted from the exponent field to get the exponent."""
        return int(2 ** (self.exponent_bits - 1)) - 1

    @property
    def max(self) -> float:
        """The largest finite value."""
        top_exponent = 2**self.exponent_bits - (2 if self.specials == "ieee" else 1)
        top_mantissa = 2**self.mantissa_bits - (2 if self.specials == "nan" else 1)
        return decode((top_exponent << self.mantissa_bits) | top_mantissa, self)

    @property
    def min(self) -> float:
        """The most negative finite value."""
        return -self.max

    @property
    def smallest_normal(self) -> float:
        """The smallest positive value with the hidden leading 1."""
        return math.ldexp(1.0, 1 - self.bias)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive value; also the spacing of all subnormals."""
        return math.ldexp(1.0, 1 - self.bias - self.mantissa_bits)

    @property
    def epsilon(self) -> float:
        """The gap between 1 and the next larger value."""
        return math.ldexp(1.0, -self.mantissa_bits)


@dataclass(frozen=True)
class IntFormat:
    """An integer of ``bits`` bits: two's complement when ``signed``."""

    name: str
    bits: int
    signed: bool = True

    @property
    def min(self) -> int:
        """The smallest value."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest value."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1


Format = FloatFormat | IntFormat

FP32 = FloatFormat("FP32", 8, 23)
FP16 = FloatFormat("FP16", 5, 10)
BF16 = FloatFormat("BF16", 8, 7)
FP8_E4M3 = FloatFormat("FP8 E4M3", 4, 3, specials="nan")
FP8_E5M2 = FloatFormat("FP8 E5M2", 5, 2)
FP4_E2M1 = FloatFormat("FP4 E2M1", 2, 1, specials="none")


def int_format(bits: int, signed: bool = True) -> IntFormat:
    """The integer format of ``bits`` bits (1 to 64; a signed one needs 2)."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not (1 + signed) <= bits <= 64:
        raise ValueError(
            f"bits={bits!r} is out of range; choose an integer from {1 + signed} to 64"
        )
    return IntFormat(f"{'INT' if signed else 'UINT'}{bits}", bits, signed)


INT8 = int_format(8)
INT4 = int_format(4)


def fields(pattern: int, fmt: FloatFormat) -> Fields:
    """Split a bit pattern into its fields.

    >>> fields(0b0_10000_1000000000, FP16)
    Fields(sign=0, exponent=16, mantissa=512)
    """
    _check_pattern(pattern, fmt)
    mantissa = pattern & ((1 << fmt.mantissa_bits) - 1)
    exponent = (pattern >> fmt.mantissa_bits) & ((1 << fmt.exponent_bits) - 1)
    return Fields(pattern >> (fmt.bits - 1), exponent, mantissa)


def decode(pattern: int, fmt: Format) -> float:
    """The value of a bit pattern: a float, or an int (as a Python int) for an :class:`IntFormat`.

    Raises ``ValueError`` when the pattern does not fit in ``fmt.bits`` bits.

    >>> decode(0b0_10000_1000000000, FP16)
    3.0
    """
    if isinstance(fmt, IntFormat):
        _check_pattern(pattern, fmt)
        return pattern - (1 << fmt.bits) if fmt.signed and pattern > fmt.max else pattern
    sign, exponent, mantissa = fields(pattern, fmt)
    negative = -1.0 if sign else 1.0
    if exponent == (1 << fmt.exponent_bits) - 1:
        if fmt.specials == "ieee":
            return negative * math.inf if mantissa == 0 else math.nan
        if fmt.specials == "nan" and mantissa == (1 << fmt.mantissa_bits) - 1:
            return math.nan
    if exponent == 0:  # subnormal: no hidden 1, and the exponent of the smallest normal
        return negative * math.ldexp(mantissa, 1 - fmt.bias - fmt.mantissa_bits)
    significand = (1 << fmt.mantissa_bits) | mantissa
    return negative * math.ldexp(significand, exponent - fmt.bias - fmt.mantissa_bits)


def encode(value: float, fmt: Format) -> int:
    """The bit pattern of the value nearest to ``value``, ties to the even mantissa.

    Overflow follows torch's casts: infinity for IEEE formats, the largest value for E4M3 and E2M1,
    which have no infinity. An :class:`IntFormat` rounds half to even and saturates. Raises
    ``ValueError`` for a NaN that the format cannot hold.

    >>> f"{encode(3.0, FP16):016b}"
    '0100001000000000'
    """
    _check_format(fmt)
    try:
        value = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"value={value!r} is not a number; pass a float or an int") from None
    if isinstance(fmt, IntFormat):
        if math.isnan(value):
            raise ValueError(f"value=nan has no {fmt.name} pattern; pass a number")
        clamped = min(max(value, fmt.min), fmt.max)
        whole = min(max(round(clamped), fmt.min), fmt.max)  # float(2**63 - 1) rounds up to 2**63
        return int(whole) & ((1 << fmt.bits) - 1)
    sign = int(math.copysign(1.0, value) < 0) << (fmt.bits - 1)
    if math.isnan(value):
        if fmt.specials == "none":
            raise ValueError(f"value=nan has no {fmt.name} pattern; pass a number")
        return sign | _nan_pattern(fmt)
    return sign | _encode_magnitude(abs(value), fmt)


def neighbours(value: float, fmt: Format) -> tuple[float, float]:
    """The nearest values of ``fmt`` strictly below and strictly above ``value``.

    Past the ends of the range they are -inf and inf.

    >>> neighbours(1.0, FP8_E4M3)
    (0.9375, 1.125)
    """
    _check_format(fmt)
    if math.isnan(value):
        raise ValueError("value=nan has no neighbours; pass a number")
    if isinstance(fmt, IntFormat):
        below = math.ceil(min(value, fmt.max + 1)) - 1 if value > fmt.min else -math.inf
        above = math.floor(max(value, fmt.min - 1)) + 1 if value < fmt.max else math.inf
        return below, above
    return -_next_above(-value, fmt), _next_above(value, fmt)


def _next_above(value: float, fmt: FloatFormat) -> float:
    """The smallest value of ``fmt`` greater than ``value``."""
    if value >= fmt.max:
        return math.inf
    if value < -fmt.max:
        return -fmt.max
    fraction, exponent = math.frexp(value)
    if fraction == -0.5:  # just above minus a power of two the steps are half as wide
        exponent -= 1
    step = math.ldexp(1.0, max(exponent - 1, 1 - fmt.bias) - fmt.mantissa_bits)
    return (math.floor(value / step) + 1) * step if value else fmt.smallest_subnormal


def _encode_magnitude(value: float, fmt: FloatFormat) -> int:
    """The pattern, sign bit 0, of a non-negative value."""
    if value == 0:
        return 0
    if math.isinf(value):
        return _overflow_pattern(fmt)
    _, exponent = math.frexp(value)  # value = m * 2**exponent with 0.5 <= m < 1
    # The step between neighbours where the value lies; all subnormals share one step.
    step_exponent = max(exponent - 1, 1 - fmt.bias) - fmt.mantissa_bits
    steps = round(math.ldexp(value, -step_exponent))  # Python rounds half to even
    # Adding the step count to the exponent field carries into the next exponent by itself.
    pattern = ((step_exponent + fmt.mantissa_bits + fmt.bias - 1) << fmt.mantissa_bits) + steps
    last_finite = encode_max(fmt)
    return pattern if pattern <= last_finite else _overflow_pattern(fmt)


def encode_max(fmt: FloatFormat) -> int:
    """The pattern of the largest finite value."""
    all_ones = (1 << (fmt.bits - 1)) - 1
    reserved = {"ieee": 1 << fmt.mantissa_bits, "nan": 1, "none": 0}[fmt.specials]
    return all_ones - reserved


def _overflow_pattern(fmt: FloatFormat) -> int:
    return encode_max(fmt) + (1 if fmt.specials == "ieee" else 0)


def _nan_pattern(fmt: FloatFormat) -> int:
    if fmt.specials == "nan":
        return encode_max(fmt) + 1
    return encode_max(fmt) + 1 + (1 << (fmt.mantissa_bits - 1))  # quiet NaN


def _check_format(fmt: Format) -> None:
    if not isinstance(fmt, Format):
        raise ValueError(f"fmt={fmt!r} is not a format; pass one such as FP16 or int_format(4)")


def _check_pattern(pattern: int, fmt: Format) -> None:
    _check_format(fmt)
    if isinstance(pattern, bool) or not isinstance(pattern, int):
        raise ValueError(f"pattern={pattern!r} is not an int; pass the bits as an integer")
    if not 0 <= pattern < 1 << fmt.bits:
        raise ValueError(
            f"pattern={pattern} does not fit in the {fmt.bits} bits of {fmt.name}; "
            f"choose 0 to {(1 << fmt.bits) - 1}"
        )
