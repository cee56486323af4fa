"""Formats equal torch's dtypes bit for bit, over every pattern of 16 bits and fewer."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qlearn.numerics.formats import (
    BF16,
    FP4_E2M1,
    FP8_E4M3,
    FP8_E5M2,
    FP16,
    FP32,
    INT4,
    INT8,
    FloatFormat,
    decode,
    encode,
    fields,
    int_format,
    neighbours,
)

TORCH = {
    FP32: (torch.float32, torch.int32),
    FP16: (torch.float16, torch.int16),
    BF16: (torch.bfloat16, torch.int16),
    FP8_E4M3: (torch.float8_e4m3fn, torch.uint8),
    FP8_E5M2: (torch.float8_e5m2, torch.uint8),
}
SMALL = [FP16, BF16, FP8_E4M3, FP8_E5M2]
ALL = [*TORCH, FP4_E2M1]


def torch_decode(pattern: int, fmt: FloatFormat) -> float:
    dtype, word = TORCH[fmt]
    if word != torch.uint8 and pattern >= 1 << (fmt.bits - 1):
        pattern -= 1 << fmt.bits
    return torch.tensor([pattern], dtype=word).view(dtype).double().item()


def torch_encode(value: float, fmt: FloatFormat) -> int:
    dtype, word = TORCH[fmt]
    raw = torch.tensor([value], dtype=torch.float32).to(dtype).view(word).item()
    return int(raw) & ((1 << fmt.bits) - 1)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.name)
def test_every_pattern_decodes_as_torch_does_and_encodes_back(fmt):
    dtype, word = TORCH[fmt]
    count = 1 << fmt.bits
    patterns = torch.arange(count).to(word)
    values = patterns.view(dtype).double().tolist()
    for pattern, expected in enumerate(values):
        ours = decode(pattern, fmt)
        if math.isnan(expected):
            assert math.isnan(ours)
            assert math.isnan(decode(encode(ours, fmt), fmt))
        else:
            assert ours == expected
            assert math.copysign(1, ours) == math.copysign(1, expected)
            assert encode(expected, fmt) == pattern


@pytest.mark.parametrize("fmt", list(TORCH), ids=lambda f: f.name)
@given(
    value=st.one_of(
        st.floats(width=32, allow_nan=False), st.floats(-1000, 1000, width=32), st.just(0.0)
    )
)
def test_encode_rounds_as_torch_does(fmt, value):
    assert encode(value, fmt) == torch_encode(value, fmt)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda f: f.name)
def test_ties_and_their_neighbourhood_round_as_torch_does(fmt):
    """Halfway between every two neighbours, and one float32 step to each side."""
    finite = [decode(p, fmt) for p in range(1 << (fmt.bits - 1))]
    finite = torch.tensor([v for v in finite if math.isfinite(v)], dtype=torch.float64)
    halfway = ((finite[1:] + finite[:-1]) / 2).float()
    for nudged in (
        halfway,
        torch.nextafter(halfway, torch.tensor(0.0)),
        torch.nextafter(halfway, torch.tensor(torch.inf)),
    ):
        dtype, word = TORCH[fmt]
        expected = nudged.to(dtype).view(word).tolist()
        assert [encode(v, fmt) for v in nudged.tolist()] == expected


@pytest.mark.parametrize("fmt", list(TORCH), ids=lambda f: f.name)
def test_ranges_equal_finfo(fmt):
    info = torch.finfo(TORCH[fmt][0])
    assert fmt.bits == info.bits
    assert fmt.max == info.max
    assert fmt.min == info.min
    assert fmt.smallest_normal == info.smallest_normal
    assert fmt.epsilon == info.eps


def test_e2m1_is_the_sixteen_values_of_the_ocp_table():
    values = [decode(p, FP4_E2M1) for p in range(16)]
    assert values == [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    assert FP4_E2M1.max == 6 and FP4_E2M1.smallest_subnormal == 0.5
    assert decode(encode(1e9, FP4_E2M1), FP4_E2M1) == 6
    assert decode(encode(-math.inf, FP4_E2M1), FP4_E2M1) == -6
    assert [decode(encode(v, FP4_E2M1), FP4_E2M1) for v in (0.25, 0.75, 2.5, 3.5, 5)] == [
        0,
        1,
        2,
        4,
        4,
    ]


def test_fields_of_a_hand_worked_number():
    """-6.5 = -1.625 * 2^2: sign 1, exponent 2 + 15, mantissa 0.625 * 1024."""
    assert fields(encode(-6.5, FP16), FP16) == (1, 17, 640)
    assert fields(encode(-6.5, FP32), FP32) == (1, 129, 0b101 << 20)


@pytest.mark.parametrize("fmt", [*SMALL, FP4_E2M1], ids=lambda f: f.name)
def test_neighbours_are_the_next_patterns(fmt):
    values = sorted({decode(p, fmt) for p in range(1 << fmt.bits)} - {math.nan})
    values = [v for v in values if math.isfinite(v)]
    for below, value, above in zip(
        [-math.inf, *values], values, [*values[1:], math.inf], strict=False
    ):
        assert neighbours(value, fmt) == (below, above)
    for low, high in pairwise(values):
        assert neighbours((low + high) / 2, fmt) == (low, high)


@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_fp32_neighbours_equal_nextafter(value):
    tensor = torch.tensor(value)
    below, above = neighbours(value, FP32)
    assert above == torch.nextafter(tensor, torch.tensor(torch.inf)).item()
    assert below == torch.nextafter(tensor, torch.tensor(-torch.inf)).item()


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_integers_round_trip(bits, signed):
    fmt = int_format(bits, signed)
    values = [decode(p, fmt) for p in range(1 << bits)]
    assert sorted(values) == list(range(fmt.min, fmt.max + 1))
    assert [encode(v, fmt) for v in values] == list(range(1 << bits))
    assert decode(encode(1e9, fmt), fmt) == fmt.max
    assert decode(encode(-1e9, fmt), fmt) == fmt.min


def test_integer_details():
    assert (INT8.min, INT8.max, INT4.min, INT4.max) == (-128, 127, -8, 7)
    assert encode(-1, INT8) == 0xFF
    assert [decode(encode(v, INT8), INT8) for v in (0.5, 1.5, -2.5)] == [0, 2, -2]
    assert neighbours(3, INT4) == (2, 4)
    assert neighbours(7, INT4) == (6, math.inf)
    assert neighbours(-8, INT4) == (-math.inf, -7)
    assert neighbours(0.5, INT4) == (0, 1)
    assert neighbours(-math.inf, INT4) == (-math.inf, -8)
    assert neighbours(math.inf, INT4) == (7, math.inf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decode(16, FP4_E2M1), "pattern=16 does not fit in the 4 bits"),
        (lambda: decode(-1, FP16), "pattern=-1"),
        (lambda: decode(1.0, FP16), "pattern=1.0 is not an int"),
        (lambda: encode(math.nan, FP4_E2M1), "value=nan has no FP4 E2M1 pattern"),
        (lambda: encode(math.nan, INT8), "value=nan has no INT8 pattern"),
        (lambda: neighbours(math.nan, FP16), "value=nan has no neighbours"),
        (lambda: encode("x", FP16), "value='x' is not a number; pass a float"),
        (lambda: encode(None, FP16), "value=None is not a number"),
        (lambda: encode(1.0, "FP16"), "fmt='FP16' is not a format; pass one such as FP16"),
        (lambda: decode(1, 16), "fmt=16 is not a format"),
        (lambda: neighbours(1.0, None), "fmt=None is not a format"),
        (lambda: int_format(1), "bits=1 is out of range"),
        (lambda: int_format(65), "bits=65 is out of range"),
    ],
)
def test_bad_input_names_argument_value_and_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()
