"""Packing against big Python integers, GPTQ's word order, and every size from 0 up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.numerics.packing import pack, unpack

WORDS = {torch.uint8: 8, torch.int32: 32}


@settings(deadline=None, max_examples=200)
@given(
    bits=st.integers(1, 8),
    size=st.integers(0, 70),
    rows=st.integers(0, 3),
    dtype=st.sampled_from(list(WORDS)),
    seed=st.integers(0, 1000),
)
def test_equals_one_big_integer_a_row(bits, size, rows, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (rows, size), generator=generator)
    packed = pack(codes, bits, dtype)
    assert packed.dtype == dtype
    assert packed.shape == (rows, -(-size * bits // WORDS[dtype]))
    for row, words in zip(codes.tolist(), packed, strict=True):
        stream = bytes(words.view(torch.uint8).tolist()) if size else b""
        expected = sum(code << (bits * i) for i, code in enumerate(row))
        assert int.from_bytes(stream, "little") == expected
    back = unpack(packed, bits, size)
    assert back.dtype == torch.uint8 and torch.equal(back, codes.to(torch.uint8))


def test_three_bits_waste_nothing():
    codes = torch.arange(8)
    assert pack(codes, 3).tolist() == [0b10_001_000, 0b1_100_011_0, 0b111_110_10]
    assert pack(torch.zeros(4096, 576, dtype=torch.uint8), 3).numel() == 4096 * 576 * 3 // 8


def test_words_are_in_gptq_order():
    """Eight 4-bit codes fill an int32, the first in the lowest bits."""
    codes = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8])
    assert pack(codes, 4, torch.int32).item() == 0x87654321 - 2**32


def test_strides_offsets_and_dtypes():
    codes = torch.randint(0, 8, (7, 13))
    expected = pack(codes, 3)
    assert torch.equal(pack(codes.to(torch.int16), 3), expected)
    assert torch.equal(pack(codes.t().contiguous().t(), 3), expected)
    shifted = codes.to(torch.uint8)[3:]  # a contiguous view that starts at byte 39
    assert torch.equal(pack(shifted, 3), expected[3:])
    assert torch.equal(unpack(expected[3:], 3, 13), shifted)
    assert torch.equal(unpack(expected[:, 1:3], 3), unpack(expected[:, 1:3].clone(), 3))
    assert pack(codes.view(7, 1, 13), 3).shape == (7, 1, 5)


def test_size_is_optional_where_nothing_was_padded():
    codes = torch.randint(0, 4, (3, 16))
    assert torch.equal(unpack(pack(codes, 2), 2), codes.to(torch.uint8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack(torch.tensor([16]), 4), r"codes span 16 to 16, outside \[0, 15\]"),
        (lambda: pack(torch.tensor([-1]), 4), "codes span -1 to -1"),
        (lambda: pack(torch.tensor([300]), 8), "codes span 300"),
        (lambda: pack(torch.tensor([1.0]), 4), "dtype torch.float32"),
        (lambda: pack(torch.tensor(1), 4), "0 dimensions"),
        (lambda: pack(torch.tensor([1]), 9), "bits=9 is out of range"),
        (lambda: pack(torch.tensor([1]), 4, torch.int64), "dtype=torch.int64 is not a word"),
        (lambda: unpack(torch.tensor([1]), 4), "packed has dtype torch.int64"),
        (
            lambda: unpack(torch.tensor([1], dtype=torch.uint8), 4, 3),
            "size=3 is not held by 1 bytes",
        ),
        (lambda: unpack(torch.tensor([1], dtype=torch.uint8), 0), "bits=0 is out of range"),
        (lambda: unpack(torch.tensor([1], dtype=torch.uint8), 4, 1.5), "size=1.5 is not held"),
        (lambda: pack([1, 2], 4), "codes=list is not a tensor"),
        (lambda: unpack(b"12", 4), "packed=bytes is not a tensor"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
