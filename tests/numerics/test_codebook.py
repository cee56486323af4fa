"""Codebooks and blockwise quantization beside bitsandbytes, bit for bit, and as properties."""

import bitsandbytes.functional as bnb
import pytest
import torch
from bitwise import CODEBOOKS, assert_same, bits, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.numerics.codebook import (
    FP4,
    NF4,
    Codebook,
    CodebookScheme,
    dequantize_range,
    quantize_blockwise,
)
from qlearn.numerics.levels import normal_float
from qlearn.numerics.nearest import _cells, ranks_of
from qlearn.numerics.nested import DYNAMIC, NestedAbsmax

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# A codebook finer than its cells may be, one without zero, one out of order, one of two levels.
OTHERS = [
    DYNAMIC,
    Codebook("no zero", torch.linspace(-1, 1, 16)),
    Codebook("turned", [1.0, 0.25, -0.5]),
    Codebook("sign", [-1.0, 1.0]),
    Codebook("255 turned", torch.linspace(-1, 1, 255).flip(0)),
]


@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_levels_are_bitsandbytes_to_the_bit(codebook):
    assert torch.equal(bits(codebook.levels), bits(bnb.get_4bit_type(codebook.name, "cpu")))


def test_nf4_holds_quantiles_of_the_normal_distribution():
    """7 levels below zero and 8 above, at evenly spaced shares; other digits give another table."""
    levels = NF4.levels.double()
    assert (int((levels < 0).sum()), int((levels > 0).sum())) == (7, 8)
    largest = torch.special.ndtri(torch.tensor(0.9677083, dtype=torch.float64))
    above = torch.special.ndtr(levels[8:] * largest)
    below = torch.special.ndtr(levels[:7] * largest)
    assert torch.allclose(above.diff(), above.diff().mean(), atol=1e-6)
    assert torch.allclose(below.diff(), below.diff().mean(), atol=1e-6)
    assert not torch.equal(normal_float(1 - (1 / 32 + 1 / 30) / 2), NF4.levels)


def test_fp4_is_not_e2m1():
    from qlearn.numerics.formats import FP4_E2M1, decode

    e2m1 = torch.tensor([decode(code, FP4_E2M1) for code in range(16)]) / 6
    smallest = FP4.levels[FP4.levels > 0].min()
    assert float(smallest) == pytest.approx(0.0052083, abs=1e-7)
    assert float(e2m1[e2m1 > 0].min()) == pytest.approx(0.083333, abs=1e-6)
    assert FP4.levels.unique().tolist() != e2m1.unique().tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 1001, 8192])
def test_any_size_equals_bitsandbytes(codebook, dtype, double_quant, count):
    assert_same(seeded(count, dtype), codebook, 64, double_quant)


@pytest.mark.parametrize("block_size", [32, 64, 128, 256, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_any_block_size_equals_bitsandbytes(codebook, block_size):
    assert_same(seeded(3 * 4096).view(96, 128), codebook, block_size)
    assert_same(seeded(2 * 4096 + 777), codebook, block_size, double_quant=True)


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-40, 9e-39, 1e-38, 1.2e-38, 6e4, 1e38, 3.4e38])
@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
@pytest.mark.parametrize("count", [64, 65, 640])
def test_extremes_equal_bitsandbytes(codebook, largest, count):
    for dtype in DTYPES:
        weight = seeded(count, dtype, largest)
        if bool(weight.isfinite().all()):
            assert_same(weight, codebook)
            if count * largest < 1e38:
                assert_same(weight, codebook, double_quant=True)


@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_boundaries_and_their_neighbours_equal_bitsandbytes(codebook):
    edges = codebook.boundaries
    above = torch.nextafter(edges, torch.tensor(2.0))
    below = torch.nextafter(edges, torch.tensor(-2.0))
    block = torch.cat([edges, above, below, codebook.levels, torch.tensor([1.0, -1.0, 0.0])])
    assert block.numel() == 64
    assert_same(block, codebook)
    # With another absmax the product with its reciprocal is rounded, and lands on either side.
    factors = torch.linspace(0.001, 3, 500)[:, None]
    assert_same(block * factors, codebook)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(finite, min_size=1, max_size=200), st.sampled_from(CODEBOOKS), st.booleans())
def test_any_numbers_equal_bitsandbytes(values, codebook, double_quant):
    weight = torch.tensor(values)
    if double_quant and weight.double().abs().sum() > 1e37:
        double_quant = False
    assert_same(weight, codebook, 32, double_quant)


def test_transposed_and_sliced_tensors_are_read_in_their_own_order():
    weight = seeded(64 * 96).view(64, 96)
    for view in (weight.T, weight[:, ::3], weight[1:, 5:]):
        found = quantize_blockwise(view)
        assert torch.equal(found.codes, quantize_blockwise(view.clone()).codes)
        assert found.dequantize().shape == view.shape


@pytest.mark.parametrize("codebook", [*CODEBOOKS, *OTHERS], ids=str)
def test_a_level_is_the_nearest_one(codebook):
    """Against a search through all levels in float64."""
    weight = seeded(4096 + 33)
    found = quantize_blockwise(weight, codebook, 32)
    scale = found.absmax.repeat_interleave(32)[: weight.numel()].double()
    levels = codebook.levels.double()
    best = (weight.double() / scale)[:, None].sub(levels).abs().amin(dim=1)
    error = (weight.double() - found.dequantize().double()).abs() / scale
    assert (error <= best + 2e-7).all()
    assert found.codes.numel() == (-(-weight.numel() // 2) if codebook.bits == 4 else len(weight))


@pytest.mark.parametrize("codebook", [*CODEBOOKS, *OTHERS], ids=str)
def test_the_cells_give_what_a_search_gives(codebook):
    edges = codebook.boundaries
    near = [torch.nextafter(edges, torch.full_like(edges, to)) for to in (-2.0, 2.0)]
    values = torch.cat([edges, *near, torch.linspace(-1, 1, 5001), seeded(5000).clamp(-1, 1)])
    expected = torch.bucketize(values, edges)
    assert torch.equal(ranks_of(values, codebook).long(), expected)
    ends = torch.tensor([-1.0000001, 1.0000001])  # a product with a rounded reciprocal may be
    assert ranks_of(ends, codebook).tolist() == [0, len(codebook.values) - 1]


def test_cells_are_used_for_four_bits_and_not_for_the_dynamic_map():
    assert _cells(NF4, torch.device("cpu")).number == 16
    assert _cells(FP4, torch.device("cpu")).number == 512
    assert _cells(DYNAMIC, torch.device("cpu")) is None


def test_a_tie_goes_to_the_lower_level():
    thirds = Codebook("thirds", [-1.0, 0.0, 0.5, 1.0])
    assert quantize_blockwise(torch.tensor([1.0, 0.25]), thirds).dequantize()[1] == 0
    assert quantize_blockwise(torch.tensor([1.0, -0.5]), thirds).dequantize()[1] == -1


def test_by_hand():
    weight = torch.tensor([-2.0, 0.0, 1.0, 2.0])  # scaled: -1, 0, 0.5, 1
    found = quantize_blockwise(weight)
    assert found.codes.tolist() == [0 << 4 | 7, 12 << 4 | 15]  # 0.44, not 0.56: 0.5017 lies between
    assert found.absmax.tolist() == [2.0]
    expected = [-2.0, 0.0, 2 * 0.44070982933044434, 2.0]
    assert found.dequantize().tolist() == expected


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("codebook", [NF4, FP4, DYNAMIC], ids=str)
def test_a_range_is_a_part_of_the_whole(codebook, double_quant):
    found = quantize_blockwise(seeded(1000), codebook, 6, double_quant)
    whole = found.dequantize()
    for start, stop in ((0, 1000), (0, 1), (3, 4), (5, 13), (994, 1000), (997, 999), (6, 12)):
        assert torch.equal(dequantize_range(found, start, stop), whole[start:stop])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(0, 10**6), st.sampled_from([NF4, FP4, *OTHERS]))
def test_quantizing_again_changes_nothing(count, seed, codebook):
    """Where the level of magnitude 1 that a block's largest weight took is its absmax again."""
    once = quantize_blockwise(seeded(count, seed=seed), codebook, 32)
    values = once.dequantize()
    again = quantize_blockwise(values, codebook, 32)
    full = torch.isin(once.absmax, values.abs())
    owner = torch.arange(count) // 32
    assert torch.equal(again.dequantize()[full[owner]], values[full[owner]])


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (CodebookScheme(NF4), 4.5),
        (CodebookScheme(NF4, double_quant=True), 4 + 8 / 64 + 32 / 64 / 256 + 32 / 4096**2),
        (CodebookScheme(FP4, 128), 4.25),
        (CodebookScheme(DYNAMIC, 256), 8.125),
    ],
    ids=str,
)
def test_bits_are_counted_whole(scheme, expected):
    assert scheme.bits_per_weight((4096, 4096)) == pytest.approx(expected, abs=1e-12)
    found = quantize_blockwise(
        seeded(67 * 3).view(67, 3), scheme.codebook, scheme.block_size, scheme.double_quant
    )
    assert found.stored_bits == scheme.stored_bits((67, 3))
    assert found.bits_per_weight == scheme.bits_per_weight((67, 3))
    parts = [found.codes]
    stored = found.statistics
    nested = isinstance(stored, NestedAbsmax)
    parts += [stored.codes, stored.absmax, stored.offset] if nested else [stored]
    assert found.nbytes == sum(part.numel() * part.element_size() for part in parts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tensor": torch.tensor([1, 2])}, "dtype torch.int64; pass a floating-point"),
        ({"tensor": torch.empty(0, 4)}, r"shape \(0, 4\); pass one with elements"),
        ({"tensor": torch.tensor([1.0, float("nan"), 3.0])}, "holds 1 values that are NaN"),
        ({"tensor": torch.full((65,), float("inf"))}, "holds 65 values"),
        ({"tensor": torch.tensor([1e300], dtype=torch.float64)}, "infinite in float32"),
        ({"tensor": [1.0]}, "tensor=list is not a tensor"),
        ({"tensor": torch.empty(4, device="meta")}, "meta device"),
        ({"tensor": torch.eye(3).to_sparse()}, "to_dense"),
        ({"codebook": "nf4"}, "codebook='nf4' is not a Codebook; pass NF4"),
        ({"block_size": 0}, "block_size=0 is not an even number"),
        ({"block_size": 63}, "block_size=63"),
        ({"block_size": True}, "block_size=True"),
        ({"double_quant": 1}, "double_quant=1 is not a bool"),
        ({"tensor": torch.full((256,), 3e38), "double_quant": True}, "overflows float32.*False"),
    ],
)
def test_bad_input(change, words):
    arguments = {"tensor": torch.ones(4)} | change
    with pytest.raises(ValueError, match=words):
        quantize_blockwise(**arguments)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("", [-1.0, 1.0], "name=''"),
        ("x", [1.0], r"shape \(1,\); pass 2 to 256"),
        ("x", torch.ones(257), r"shape \(257,\)"),
        ("x", [[1.0, 0.0]], r"shape \(1, 2\)"),
        ("x", [0.0, 7.0], "largest magnitude 7.0.*divided by the largest"),
        ("x", [0.0, float("nan"), 1.0], "largest magnitude nan"),
        ("x", ["a", "b"], "are not numbers"),
    ],
)
def test_bad_codebooks(name, values, words):
    with pytest.raises(ValueError, match=words):
        Codebook(name, values)


def test_codebooks_compare_by_name_and_levels():
    assert Codebook("nf4", NF4.levels) == NF4
    assert hash(Codebook("nf4", NF4.levels)) == hash(NF4)
    assert Codebook("nf4", FP4.levels) != NF4
    assert CodebookScheme(NF4) != CodebookScheme(NF4, 128)
