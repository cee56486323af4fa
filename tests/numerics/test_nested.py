"""Double quantization beside bitsandbytes' nested state, bit for bit."""

import bitsandbytes.functional as bnb
import pytest
import torch
from bitwise import assert_same, bits

from qlearn.numerics.codebook import NF4, CodebookScheme
from qlearn.numerics.nested import DYNAMIC, _look_up


def test_double_quantization_costs_4_127_bits():
    assert round(CodebookScheme(NF4, double_quant=True).bits_per_weight(), 3) == 4.127


def test_dynamic_map_equals_bitsandbytes():
    assert torch.equal(bits(DYNAMIC.levels), bits(bnb.create_dynamic_map()))


@pytest.mark.parametrize("factor", [1.0, 1e-30, 1e-39, 1e-45, 0.0, 1e30])
def test_double_quantization_of_many_blocks_equals_bitsandbytes(factor):
    absmax = torch.rand(70_000, generator=torch.Generator().manual_seed(3)).pow(4) * factor
    weight = torch.zeros(70_000, 32)
    weight[:, 5] = absmax
    assert_same(weight, NF4, 32, double_quant=True)


def test_seven_codes_of_the_dynamic_map_are_never_given():
    """bitsandbytes looks up 65,536 places, wider than the levels around zero."""
    sweep = torch.cat([torch.linspace(-1, 1, 300_001), torch.logspace(-9, 0, 10_000)])
    given_codes = set(_look_up(sweep).tolist())
    assert set(range(256)) - given_codes == set(range(124, 131))
    exact = set(torch.bucketize(sweep, DYNAMIC.boundaries).tolist())
    assert len(exact) > len(given_codes)
