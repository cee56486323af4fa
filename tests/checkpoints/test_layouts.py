"""The layouts: words packed by hand, a decoder that goes bit by bit, and what each refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.checkpoints.awq import ORDER, pack_columns, unpack_columns
from qlearn.checkpoints.save import LAYOUTS
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.scheme import QuantScheme

UNIFORM = [name for name, layout in LAYOUTS.items() if layout.layer is QuantizedLinear]


def layer_of(codes, zero_point, scale=None, symmetric=False, bits=4, group_size=None):
    """A layer of given codes ``[out, in]`` and zero-points ``[out, groups]``."""
    scheme = QuantScheme(bits, symmetric, group_size)
    scale = torch.ones(zero_point.shape) if scale is None else scale
    return QuantizedLinear(
        QuantizedTensor(codes.to(torch.uint8), scale, zero_point.int(), scheme, codes.shape)
    )


def seeded_layer(bits, symmetric, group_size, rows=32, columns=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    groups = 1 if group_size is None else columns // group_size
    codes = torch.randint(2**bits, (rows, columns), generator=generator)
    zeros = torch.randint(1, 2**bits, (rows, groups), generator=generator)
    if symmetric:
        zeros = torch.full_like(zeros, 2 ** (bits - 1))
    scale = torch.rand((rows, groups), generator=generator) + 0.5
    return layer_of(codes, zeros, scale, symmetric, bits, group_size)


def words(tensor):
    """The words of a tensor as unsigned numbers."""
    return [int(word) & 0xFFFFFFFF for word in tensor.flatten()]


def field(word_list, index, bits):
    """Field ``index`` of a stream of 32-bit words, bit by bit, lowest bit first."""
    value = 0
    for i in range(bits):
        position = index * bits + i
        value |= (word_list[position // 32] >> position % 32 & 1) << i
    return value


def test_one_word_of_gptq_by_hand():
    # Row 0 of the weight holds codes 0 to 7 in its first eight columns: the input rows of GPTQ.
    codes = torch.zeros(8, 32)
    codes[0, :8] = torch.arange(8)
    zeros = torch.tensor([[1], [2], [3], [4], [5], [6], [7], [8]])
    layer = layer_of(codes, zeros)
    one, two = LAYOUTS["gptq"].tensors(layer), LAYOUTS["gptq_v2"].tensors(layer)
    assert one["qweight"].shape == (4, 8)
    assert words(one["qweight"][:, 0]) == [0x76543210, 0, 0, 0]
    assert words(one["qweight"][0]) == [0x76543210, 0, 0, 0, 0, 0, 0, 0]
    assert words(one["qzeros"]) == [0x76543210]  # each one less
    assert words(two["qzeros"]) == [0x87654321]
    assert torch.equal(one["g_idx"], torch.zeros(32, dtype=torch.int32))
    assert one["scales"].shape == (1, 8)


def test_three_bits_run_over_the_edge_of_a_word():
    codes = torch.zeros(32, 32)
    codes[0, 10] = 0b101  # bits 30, 31 and 32 of the stream
    codes[0, 21] = 0b011  # bits 63, 64 and 65
    layer = layer_of(codes, torch.ones(32, 1), bits=3)
    expected = [1 << 30, 1 | 1 << 31, 1]
    assert words(LAYOUTS["gptq_v2"].tensors(layer)["qweight"][:, 0]) == expected
    assert words(LAYOUTS["compressed-tensors"].tensors(layer)["weight_packed"][0]) == expected


def test_one_word_of_awq_by_hand():
    # Input row 0 holds codes 0 to 7 in output columns 0 to 7. Lowest nibble first, a word holds
    # columns 0, 2, 4, 6, 1, 3, 5, 7.
    codes = torch.zeros(8, 16)
    codes[:, 0] = torch.arange(8)
    zeros = torch.arange(8)[:, None] + 8
    tensors = LAYOUTS["awq"].tensors(layer_of(codes, zeros))
    assert tensors["qweight"].shape == (16, 1)
    assert words(tensors["qweight"][0]) == [0x75316420]
    assert words(tensors["qzeros"]) == [0xFDB9ECA8]
    assert set(tensors) == {"qweight", "qzeros", "scales"}


def test_one_word_of_compressed_tensors_by_hand():
    codes = torch.zeros(8, 8)
    codes[0] = torch.arange(8)
    zeros = torch.arange(8)[:, None] + 8
    tensors = LAYOUTS["compressed-tensors"].tensors(layer_of(codes, zeros))
    assert words(tensors["weight_packed"]) == [0x76543210] + 7 * [0]
    assert tensors["weight_zero_point"].shape == (1, 1)
    assert words(tensors["weight_zero_point"]) == [0xFEDCBA98]  # down the rows
    assert tensors["weight_shape"].tolist() == [8, 8]
    assert tensors["weight_shape"].dtype == torch.int64
    symmetric = LAYOUTS["compressed-tensors"].tensors(
        layer_of(codes, torch.full((8, 1), 8), symmetric=True)
    )
    assert set(symmetric) == {"weight_packed", "weight_scale", "weight_shape"}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", ["gptq", "gptq_v2"])
def test_gptq_bit_by_bit(name, bits):
    layer = seeded_layer(bits, False, 16)
    tensors, weight = LAYOUTS[name].tensors(layer), quantized_tensor(layer)
    less = 1 if name == "gptq" else 0
    for row in range(32):
        stream = words(tensors["qweight"][:, row])
        assert [field(stream, i, bits) for i in range(64)] == weight.codes[row].tolist()
    for group in range(4):
        stream = words(tensors["qzeros"][group])
        found = [field(stream, row, bits) + less for row in range(32)]
        assert found == weight.zero_point[:, group].tolist()
    assert tensors["g_idx"].tolist() == [column // 16 for column in range(64)]
    assert torch.equal(tensors["scales"], weight.scale.T)


def test_awq_bit_by_bit():
    layer = seeded_layer(4, False, 16)
    tensors, weight = LAYOUTS["awq"].tensors(layer), quantized_tensor(layer)
    for row in range(32):
        place = [0, 2, 4, 6, 1, 3, 5, 7].index(row % 8) + row // 8 * 8
        found = [field(words(tensors["qweight"][i]), place, 4) for i in range(64)]
        assert found == weight.codes[row].tolist()
        zeros = [field(words(tensors["qzeros"][group]), place, 4) for group in range(4)]
        assert zeros == weight.zero_point[row].tolist()


@given(st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_interleaved_columns_come_back(rows, words_a_row, random):
    values = [[random.randrange(16) for _ in range(8 * words_a_row)] for _ in range(rows)]
    codes = torch.tensor(values, dtype=torch.uint8)
    packed = pack_columns(codes)
    assert packed.shape == (rows, words_a_row)
    assert torch.equal(unpack_columns(packed), codes)
    assert sorted(ORDER) == list(range(8))


@given(
    name=st.sampled_from(UNIFORM),
    bits=st.sampled_from([2, 3, 4, 8]),
    symmetric=st.booleans(),
    group_size=st.sampled_from([None, 16, 32, 64]),
    rows=st.sampled_from([32, 64, 96]),
    columns=st.sampled_from([64, 128, 192]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(name, bits, symmetric, group_size, rows, columns, seed):
    layout = LAYOUTS[name]
    bits = 4 if name == "awq" else bits
    layer = seeded_layer(bits, symmetric, group_size, rows, columns, seed)
    layout.check("layer", layer)
    tensors = layout.tensors(layer)
    assert set(tensors) == set(layout.tensor_names(layer.scheme))
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    expected = quantized_tensor(layer)
    found = layout.read(tensors, (rows, columns), layer.scheme)
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.scale, expected.scale)
    assert torch.equal(found.zero_point, expected.zero_point)
    assert torch.equal(QuantizedLinear(found).dequantize(), layer.dequantize())


def test_zero_points_of_zero_are_for_version_two():
    zeros = torch.ones(32, 1)
    zeros[7] = 0
    layer = layer_of(torch.zeros(32, 32), zeros)
    with pytest.raises(ValueError, match=r"'x' has 1 zero-points of 0.*format=\"gptq_v2\""):
        LAYOUTS["gptq"].check("x", layer)
    for name in ("gptq_v2", "awq", "compressed-tensors"):
        LAYOUTS[name].check("x", layer)
        found = LAYOUTS[name].read(LAYOUTS[name].tensors(layer), (32, 32), layer.scheme)
        assert torch.equal(found.zero_point, zeros.int())


def test_a_version_one_file_that_wrapped_is_not_guessed_at():
    layer = layer_of(torch.zeros(32, 32), torch.full((32, 1), 15))
    tensors = LAYOUTS["gptq"].tensors(layer)
    tensors["qzeros"] = torch.full_like(tensors["qzeros"], -1)  # every field 15: 16, or 0
    with pytest.raises(ValueError, match="gptq_v2"):
        LAYOUTS["gptq"].read(tensors, (32, 32), layer.scheme)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("gptq", {"bits": 5}, r"bits=5.*2, 3, 4, 8"),
        ("gptq_v2", {"group_size": 8}, r"group_size=8.*None, 16, 32"),
        ("awq", {"bits": 3}, r"bits=3.*with one of 4"),
        ("awq", {"group_size": 8}, r"group_size=8.*None, 16, 32"),
        ("gptq", {"columns": 36}, r"in_features=36.*compressed-tensors"),
        ("gptq", {"rows": 36}, r"out_features=36.*compressed-tensors"),
        ("awq", {"rows": 36}, r"out_features=36.*compressed-tensors"),
    ],
)
def test_what_a_layout_does_not_hold_is_refused(name, arguments, words):
    layer = seeded_layer(**{"bits": 4, "symmetric": True, "group_size": None} | arguments)
    with pytest.raises(ValueError, match=words):
        LAYOUTS[name].check("model.layers.0.x", layer)


@pytest.mark.parametrize("name", UNIFORM)
def test_one_scale_for_a_whole_tensor_is_refused(name):
    linear = torch.nn.Linear(32, 32)
    layer = QuantizedLinear.from_linear(linear, QuantScheme(4, True, "tensor"))
    with pytest.raises(ValueError, match=r"group_size='tensor'.*quantize with"):
        LAYOUTS[name].check("x", layer)


@pytest.mark.parametrize("name", UNIFORM)
def test_a_tensor_of_another_shape_or_dtype_is_named(name):
    layout = LAYOUTS[name]
    layer = seeded_layer(4, False, 16)
    for part in layout.tensor_names(layer.scheme):
        tensors = layout.tensors(layer)
        tensors[part] = tensors[part][:-1]
        with pytest.raises(ValueError, match=part):
            layout.read(tensors, (32, 64), layer.scheme)
        tensors = layout.tensors(layer)
        tensors[part] = tensors[part].to(torch.int16)
        with pytest.raises(ValueError, match=rf"{part} is torch.int16"):
            layout.read(tensors, (32, 64), layer.scheme)


def test_groups_that_are_no_runs_are_refused():
    layer = seeded_layer(4, False, 16)
    tensors = LAYOUTS["gptq"].tensors(layer)
    tensors["g_idx"] = tensors["g_idx"].flip(0)
    with pytest.raises(ValueError, match=r"g_idx.*static groups"):
        LAYOUTS["gptq"].read(tensors, (32, 64), layer.scheme)
