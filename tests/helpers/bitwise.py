"""Blockwise quantization beside bitsandbytes, bit for bit."""

import bitsandbytes.functional as bnb
import torch

from qlearn.numerics.codebook import (
    FP4,
    NF4,
    quantize_blockwise,
)

CODEBOOKS = [NF4, FP4]


def bits(tensor):
    """A tensor as integers, so that equal means equal to the bit, signs of zeros too."""
    return tensor.contiguous().view({4: torch.int32, 2: torch.int16}[tensor.element_size()])


def seeded(count, dtype=torch.float32, largest=None, seed=0):
    weight = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    if largest is not None:
        weight = weight / weight.abs().max() * largest
    return weight.to(dtype)


def assert_same(weight, codebook, block_size=64, double_quant=False, compiled=False):
    """Codes, statistics and values are bitsandbytes'."""
    codes, state = bnb.quantize_4bit(
        weight,
        quant_type=codebook.name,
        blocksize=block_size,
        compress_statistics=double_quant,
    )
    found = quantize_blockwise(weight, codebook, block_size, double_quant, compiled)
    assert torch.equal(found.codes, codes.view(-1))
    if double_quant:
        stored = found.statistics
        assert torch.equal(stored.codes, state.absmax)
        assert torch.equal(bits(stored.absmax), bits(state.state2.absmax))
        assert torch.equal(bits(stored.offset), bits(state.offset))
    else:
        assert torch.equal(bits(found.statistics), bits(state.absmax))
    # As one row: of rows that end within a block bitsandbytes' kernel takes wrong absmax.
    state.shape = torch.Size([weight.numel()])
    values, expected = found.dequantize(), bnb.dequantize_4bit(codes, state).view(weight.shape)
    assert values.dtype == weight.dtype
    if weight.dtype == torch.bfloat16:
        # The processor's instruction for bfloat16, where there is one, takes subnormals for zeros.
        small = expected.float().abs() < torch.finfo(torch.bfloat16).tiny
        small &= values.float().abs() <= torch.finfo(torch.bfloat16).tiny
        values, expected = values.masked_fill(small, 0), expected.masked_fill(small, 0)
    # FP4's second zero, code 8: bitsandbytes' table has +0, and some paths of its kernel give -0.
    assert torch.equal(bits(values + 0.0), bits(expected + 0.0))
