"""Affine quantization: hand-worked tensors, the defining properties, and torch as the oracle."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qlearn.numerics.affine import (
    choose_qparams,
    dequantize,
    fake_quantize,
    quantize,
    round_to_codes,
    sqnr,
)
from qlearn.numerics.scheme import CONVENTIONS, QuantScheme

CONVENTION_NAMES = list(CONVENTIONS)
WEIGHT = torch.tensor([[-1.2, -0.4, 0.0, 0.3, 0.5, 0.9, 1.4, 1.8]])


def scheme_of(convention: str, bits: int = 4, group_size=None) -> QuantScheme:
    return QuantScheme(bits, CONVENTIONS[convention], group_size, convention)


HAND_WORKED = {
    # s = 3.0/15 = 0.2, z = round(1.2/0.2) = 6
    "zero-exact": (0.2, 6, [0, 4, 6, 8, 8, 10, 13, 15]),
    "raw-range": (0.2, 6, [0, 4, 6, 8, 8, 10, 13, 15]),
    # s = 1.8/7.5 = 0.24, z = 8; w/s = -5, -1.67, 0, 1.25, 2.08, 3.75, 5.83, 7.5 -> 8 clips to 15
    "full-range": (0.24, 8, [3, 6, 8, 9, 10, 12, 14, 15]),
    # s = 1.8/7, z = 8; w/s = -4.67, -1.56, 0, 1.17, 1.94, 3.5 -> 4, 5.44, 7
    "restricted": (1.8 / 7, 8, [3, 6, 8, 9, 10, 12, 13, 15]),
}


@pytest.mark.parametrize("convention", CONVENTION_NAMES)
def test_hand_worked(convention):
    scale, zero_point, codes = HAND_WORKED[convention]
    q = quantize(WEIGHT, scheme_of(convention))
    assert q.scale.item() == pytest.approx(scale, rel=1e-6)
    assert q.zero_point.item() == zero_point
    # 0.3/0.2 and 0.9/0.2 lie on a tie that float32 decides; the neighbouring code is as near.
    assert (q.codes.int() - torch.tensor([codes])).abs().max() <= 1
    exact = [0, 1, 2, 4, 6, 7] if CONVENTIONS[convention] is False else [0, 1, 2, 3, 4, 6]
    assert q.codes[0, exact].tolist() == [codes[i] for i in exact]
    assert torch.equal(q.dequantize(), (q.codes.float() - zero_point) * q.scale)


def test_conventions_differ_where_zero_lies_outside_the_range():
    weight = torch.tensor([[1.0, 1.5, 2.0, 4.0]])
    scale, zero_point = choose_qparams(weight, scheme_of("zero-exact", bits=2))
    assert (scale.item(), zero_point.item()) == (pytest.approx(4 / 3), 0)
    scale, zero_point = choose_qparams(weight, scheme_of("raw-range", bits=2))
    assert (scale.item(), zero_point.item()) == (1.0, 0)  # z = round(-1) is clamped to 0
    assert quantize(weight, scheme_of("raw-range", bits=2)).codes.tolist() == [[1, 2, 2, 3]]


@pytest.mark.parametrize("bits", range(2, 9))
def test_equals_torchs_own_quantizer(bits):
    """torch.fake_quantize_per_channel_affine on the same grid gives the same values."""
    weight = torch.randn(16, 96, generator=torch.Generator().manual_seed(bits))
    q = quantize(weight, QuantScheme(bits))
    expected = torch.fake_quantize_per_channel_affine(
        weight, q.scale[:, 0], q.zero_point[:, 0].float(), 0, 0, 2**bits - 1
    )
    assert (q.dequantize() - expected).abs().max() <= 1e-6 * q.scale.max() or torch.equal(
        q.dequantize(), expected
    )


@st.composite
def weights(draw, min_in=1):
    groups, size, rows = (
        draw(st.integers(1, 4)),
        draw(st.integers(min_in, 9)),
        draw(st.integers(1, 5)),
    )
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    seed, exponent = draw(st.integers(0, 2**20)), draw(st.integers(-12, 12))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, groups * size, generator=generator) * 2.0**exponent
    if draw(st.booleans()):
        weight[0, 0] *= 50
    if draw(st.booleans()):
        weight[-1] = 0
    weight = weight.to(dtype).nan_to_num()  # float16 overflows at the top exponents
    if draw(st.booleans()):
        weight = torch.stack((weight, weight), dim=-1)[..., 0]  # not contiguous
    return weight, draw(st.sampled_from([None, "tensor", size]))


@settings(deadline=None, max_examples=150)
@given(case=weights(), bits=st.integers(2, 8), convention=st.sampled_from(CONVENTION_NAMES))
def test_properties(case, bits, convention):
    weight, group_size = case
    scheme = scheme_of(convention, bits, group_size)
    q = quantize(weight, scheme)
    scale, zero_point = choose_qparams(weight, scheme)
    assert torch.equal(scale, q.scale) and torch.equal(zero_point, q.zero_point)
    assert q.codes.dtype == torch.uint8 and q.codes.shape == weight.shape
    assert int(q.codes.max()) <= scheme.max_code
    assert (q.zero_point >= 0).all() and (q.zero_point <= scheme.max_code).all()
    assert q.dequantize().dtype == weight.dtype

    grid = scheme.grid_shape(tuple(weight.shape))
    wide = weight.double().reshape(grid)
    step = q.scale.double()[..., None]
    zero = q.zero_point.double()[..., None]
    lowest = 1 if convention == "restricted" else 0
    inside = ((wide / step).round() + zero >= lowest) & (
        (wide / step).round() + zero <= scheme.max_code
    )
    back = (q.codes.reshape(grid).double() - zero) * step
    error = (back - wide).abs()
    assert (error <= step / 2 * (1 + 1e-5))[inside].all()
    if convention != "raw-range":  # its range may lie far from the codes' when 0 is outside
        assert (error <= step * (1 + 1e-5)).all()

    again = round_to_codes(
        back.to(q.scale.dtype), q.scale[..., None], q.zero_point[..., None], scheme
    )
    assert torch.equal(again.to(torch.uint8), q.codes.reshape(grid))
    if convention != "raw-range":
        assert (back[wide == 0] == 0).all()


@settings(deadline=None, max_examples=100)
@given(
    case=weights(),
    bits=st.integers(2, 8),
    convention=st.sampled_from(["zero-exact", "restricted"]),
)
def test_fitting_anew_changes_nothing(case, bits, convention):
    weight, group_size = case
    weight = weight.float()
    scheme = scheme_of(convention, bits, group_size)
    once = fake_quantize(weight, scheme)
    q = quantize(weight, scheme)
    # When rounding the zero-point clips one end, the range shrinks and a second fit may differ.
    grid = scheme.grid_shape(tuple(weight.shape))
    codes = q.codes.reshape(grid)
    if convention == "zero-exact":
        wide = weight.reshape(grid)
        raw = (wide / q.scale[..., None]).round() + q.zero_point[..., None]
        assume(bool((raw == codes).all()))
        spans = codes.amax(-1).maximum(q.zero_point) - codes.amin(-1).int().minimum(q.zero_point)
        assume(
            bool(((spans == scheme.max_code) | (codes == q.zero_point[..., None]).all(-1)).all())
        )
    torch.testing.assert_close(fake_quantize(once, scheme), once, rtol=1e-5, atol=0)


def test_full_range_is_not_idempotent_when_fitted_anew():
    """The exception: +absmax is clipped to 7/7.5 of itself, so the next grid is finer."""
    scheme = QuantScheme(4, symmetric=True)
    once = fake_quantize(torch.tensor([[0.1, 1.0]]), scheme)
    assert not torch.equal(fake_quantize(once, scheme), once)


@pytest.mark.parametrize("convention", CONVENTION_NAMES)
@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(2, 8),
        torch.full((2, 8), 1e-45),
        torch.full((1, 1), 3.0),
        torch.tensor([[-3e38, 0.0, 1.0, 3e38]]),
        torch.tensor([[3.0e38, 1e-38, 0.0, 0.0]]),
        torch.tensor(2.5),
        torch.tensor([1.0, -1.0, 0.5]),
        torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["zeros", "subnormal", "one", "huge", "ratio", "scalar", "1-d", "4-d"],
)
def test_degenerate_groups(convention, weight):
    q = quantize(weight, scheme_of(convention))
    back = q.dequantize()
    assert back.shape == weight.shape and torch.isfinite(back).all()
    if not weight.any() or weight.abs().max() < 1e-40:
        assert not back.any()
    elif convention != "raw-range":
        rows = (1, -1) if weight.dim() < 2 else (-1, weight.shape[-1])
        error = (back.double() - weight.double()).abs().reshape(rows)
        assert (error <= q.scale.double() * (1 + 1e-6)).all()


def test_constant_group_survives_but_for_raw_range():
    weight = torch.full((1, 16), 0.7)
    assert torch.allclose(fake_quantize(weight, scheme_of("zero-exact")), weight)
    assert torch.allclose(fake_quantize(weight, scheme_of("restricted")), weight)
    # AWQ's grid has no width here (scale 1e-5, zero-point 0): the value is lost, as in AWQ's code.
    assert fake_quantize(weight, scheme_of("raw-range")).max() < 1e-3


def test_group_by_group_equals_each_group_alone():
    weight = torch.randn(6, 576, generator=torch.Generator().manual_seed(3))
    whole = fake_quantize(weight, QuantScheme(3, group_size=64))
    for start in range(0, 576, 64):
        part = weight[:, start : start + 64]
        assert torch.equal(whole[:, start : start + 64], fake_quantize(part, QuantScheme(3)))


def test_rows_in_many_chunks_equal_one_by_one():
    weight = torch.randn(1000, 1024, generator=torch.Generator().manual_seed(4))
    q = quantize(weight, QuantScheme(4, group_size=128))
    rows = [quantize(weight[i : i + 1], QuantScheme(4, group_size=128)) for i in (0, 255, 256, 999)]
    for i, row in zip((0, 255, 256, 999), rows, strict=True):
        assert torch.equal(q.codes[i], row.codes[0]) and torch.equal(q.scale[i], row.scale[0])


def test_input_is_not_changed_and_needs_no_gradient():
    weight = torch.randn(4, 8, requires_grad=True)
    before = weight.detach().clone()
    q = quantize(weight, QuantScheme(2))
    assert torch.equal(weight.detach(), before) and not q.dequantize().requires_grad
    assert torch.equal(dequantize(q), q.dequantize())


def test_sqnr_of_a_known_error():
    signal = torch.ones(10)
    assert sqnr(signal, signal * 1.1) == pytest.approx(20, abs=1e-4)
    assert sqnr(signal, signal) == float("inf")


BAD = [
    (torch.tensor([[1.0, float("nan")]]), QuantScheme(), "holds 1 NaN or infinite"),
    (torch.tensor([[1.0, float("inf")]]), QuantScheme(), "NaN or infinite"),
    (torch.tensor([[float("-inf"), 1.0]]), QuantScheme(4, True), "NaN or infinite"),
    (torch.zeros(0, 8), QuantScheme(), r"shape=\(0, 8\) holds no weights"),
    (torch.zeros(8, 0), QuantScheme(group_size="tensor"), "holds no weights"),
    (torch.ones(2, 8, dtype=torch.int32), QuantScheme(), "dtype torch.int32"),
    (torch.ones(2, 8, dtype=torch.bool), QuantScheme(), "dtype torch.bool"),
    (torch.ones(2, 576), QuantScheme(group_size=128), "choose 32, 64, 96 or 192"),
    (torch.ones(2, 7), QuantScheme(group_size=2), "choose 1 or 7"),
    ([[1.0]], QuantScheme(), r"weight=list is not a tensor; .*torch.as_tensor"),
    (torch.nn.Linear(2, 2), QuantScheme(), r"weight=Linear is not a tensor; .*layer.weight"),
    (torch.ones(2, 8), {"bits": 4}, r"scheme=.'bits': 4. is not a QuantScheme; pass one"),
    (torch.ones(2, 8, device="meta"), QuantScheme(), "weight is on the meta device"),
    (torch.eye(4).to_sparse(), QuantScheme(), "weight is torch.sparse_coo; .*to_dense"),
]


@pytest.mark.parametrize(("weight", "scheme", "message"), BAD)
@pytest.mark.parametrize("function", [quantize, choose_qparams, fake_quantize])
def test_bad_weights(function, weight, scheme, message):
    with pytest.raises(ValueError, match=message):
        function(weight, scheme)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "bits=1 is out of range"),
        ({"bits": 9}, "bits=9 is out of range"),
        ({"bits": 4.0}, "bits=4.0"),
        ({"bits": True}, "bits=True"),
        ({"group_size": 0}, "group_size=0"),
        ({"group_size": -64}, "group_size=-64"),
        ({"group_size": "channel"}, "group_size='channel'"),
        ({"group_size": 64.0}, "group_size=64.0"),
        ({"symmetric": 1}, "symmetric=1 is not a bool"),
        ({"convention": "awq"}, "choose 'zero-exact' or 'raw-range'"),
        ({"symmetric": True, "convention": "raw-range"}, "choose 'full-range' or 'restricted'"),
    ],
)
def test_bad_schemes(arguments, message):
    with pytest.raises(ValueError, match=message):
        QuantScheme(**arguments)


@pytest.mark.parametrize(
    ("scheme", "shape", "expected"),
    [
        (QuantScheme(4, False, 128), (4096, 4096), 4 + 16 / 128 + 4 / 128),
        (QuantScheme(4, True, 32), (4096, 4096), 4.5),
        (QuantScheme(8, True, None), (10, 64), 8 + 16 / 64),
        (QuantScheme(3, True, "tensor"), (8, 64), 3 + 16 / 512),
        (QuantScheme(3, True, None), (1, 5), (16 + 16) / 5),  # 15 bits are padded to 2 bytes
        (QuantScheme(2, False, None), (1, 4), (8 + 16 + 8) / 4),  # so is a lone zero-point
    ],
)
def test_bits_per_weight_is_counted_whole(scheme, shape, expected):
    assert scheme.bits_per_weight(shape) == pytest.approx(expected)
    assert quantize(torch.randn(shape), scheme).bits_per_weight == pytest.approx(expected)


def test_schemes_read_well():
    assert str(QuantScheme(4, False, 64)) == "INT4 g64 asym"
    assert str(QuantScheme(8, True, None)) == "INT8 per channel sym"
    assert str(QuantScheme(4, True, 64, "restricted")) == "INT4 g64 sym restricted"
    assert str(QuantScheme(8, True, "tensor")) == "INT8 per tensor sym"
    assert (
        QuantScheme(4).convention == "zero-exact"
        and QuantScheme(4, True).convention == "full-range"
    )
    assert (QuantScheme(3).levels, QuantScheme(3).max_code) == (8, 7)
