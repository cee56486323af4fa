"""Fake quantization: gradients worked by hand, and differences of the loss as oracles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.methods.qat import (
    as_stored,
    lsq_factor,
    lsq_scale,
    round_on_grid,
    straight_through,
    with_gradient_factor,
)
from qlearn.numerics.affine import choose_qparams, fake_quantize, quantize
from qlearn.numerics.scheme import QuantScheme

SCHEMES = [
    QuantScheme(bits, symmetric, group, convention)
    for bits in (2, 3, 4, 8)
    for group in (4, None, "tensor")
    for symmetric, convention in (
        (False, "zero-exact"),
        (False, "raw-range"),
        (True, "full-range"),
        (True, "restricted"),
    )
]


def grid(scale: float, zero_point: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[scale]]), torch.tensor([[zero_point]], dtype=torch.int32)


def random_weight(seed: int, rows: int = 3, width: int = 8) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_gradients_by_hand():
    # Two bits, s = 0.5, z = 2: the grid is -1, -0.5, 0, 0.5.
    # w/s:      -2.6   -2.2   -0.6   0.2   0.8   1.4   1.6
    # rounded:    -3     -2     -1     0     1     1     2
    # kept:    -2 (out)  -2     -1     0     1     1   1 (out)
    weight = torch.tensor([[-1.3, -1.1, -0.3, 0.1, 0.4, 0.7, 0.8]], requires_grad=True)
    scale, zero_point = grid(0.5, 2)
    scale.requires_grad_()
    result = straight_through(weight, scale, zero_point, QuantScheme(2))
    assert result.tolist() == [[-1.0, -1.0, -0.5, 0.0, 0.5, 0.5, 0.5]]
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    result.backward(upstream)
    assert weight.grad.tolist() == [[0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]]
    # Inside round(w/s) - w/s: 0.2, -0.4, -0.2, 0.2, -0.4; outside the end of the grid: -2 and 1.
    slopes = [-2.0, 0.2, -0.4, -0.2, 0.2, -0.4, 1.0]
    expected = sum(g * slope for g, slope in zip(upstream[0].tolist(), slopes, strict=True))
    assert scale.grad.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_forward_is_fake_quantization(scheme):
    weight = random_weight(1)
    found = straight_through(weight, *choose_qparams(weight, scheme), scheme)
    assert torch.equal(found, fake_quantize(weight, scheme))
    codes = round_on_grid(weight, *choose_qparams(weight, scheme), scheme)
    assert torch.equal(codes.codes, quantize(weight, scheme).codes)
    assert torch.equal(codes.dequantize(), found)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 999),
    scheme=st.sampled_from(SCHEMES),
    shrink=st.floats(0.3, 1.5),
)
def test_scale_gradient_is_a_true_derivative_where_there_is_one(seed, scheme, shrink):
    """Where rounding stays put, w' = (round(w/s)) s has derivative round(w/s), a difference shows.

    The estimator's slope is that less w/s: what moving the *grid under the weight* changes, with
    the rounding taken as the identity. So their difference must be w/s inside and 0 outside.
    """
    weight = random_weight(seed).double()
    scale, zero_point = choose_qparams(weight, scheme)
    scale = (scale * shrink).requires_grad_()
    straight_through(weight, scale, zero_point, scheme).sum().backward()

    def total(step: float) -> torch.Tensor:
        moved = scale.detach() + step
        groups = round_on_grid(weight, moved, zero_point, scheme).dequantize()
        return groups.reshape(scheme.grid_shape(tuple(weight.shape))).sum(-1)

    step = 1e-9
    slope = (total(step) - total(-step)) / (2 * step)
    groups = weight.reshape(scheme.grid_shape(tuple(weight.shape)))
    exact = groups / scale.detach()[..., None]
    kept = round_on_grid(weight, scale, zero_point, scheme).codes.reshape(groups.shape)
    inside = (exact.round() + zero_point[..., None]) == kept
    near_a_step = ((exact - exact.floor() - 0.5).abs() < 1e-5).any(-1)
    expected = slope - (exact * inside).sum(-1)
    assert torch.allclose(scale.grad[~near_a_step], expected[~near_a_step], rtol=1e-4, atol=1e-4)


def test_gradient_of_the_weight_is_that_of_a_smooth_grid():
    """Averaged over where the grid lies, w' moves with w inside the range, and not at all outside.

    A shift of the weight by a whole step moves w' by a whole step, so the mean slope is 1: the
    estimator is the derivative of rounding smoothed over one step.
    """
    scheme = QuantScheme(3)
    scale, zero_point = grid(0.25, 3)  # -0.75 to 1
    for value, slope in ((-0.45, 1.0), (0.1, 1.0), (0.6, 1.0), (-1.5, 0.0), (1.6, 0.0)):
        weight = torch.tensor([[value]], requires_grad=True)
        straight_through(weight, scale, zero_point, scheme).sum().backward()
        above = straight_through(weight.detach() + 0.125, scale, zero_point, scheme)
        below = straight_through(weight.detach() - 0.125, scale, zero_point, scheme)
        assert ((above - below) / 0.25).item() == pytest.approx(slope)
        assert weight.grad.item() == slope


def test_no_gradient_without_clipping_is_lost():
    weight = random_weight(2).requires_grad_()
    scheme = QuantScheme(4, True, 4, "restricted")  # its ends lie on the grid: nothing clips
    straight_through(weight, *choose_qparams(weight, scheme), scheme).sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_lsq_by_hand():
    # 32 weights share a scale, 3 bits: Qp = 3, so 1 / sqrt(96).
    assert lsq_factor((8, 64), QuantScheme(3, group_size=32)) == pytest.approx(96**-0.5)
    assert lsq_factor((8, 64), QuantScheme(3)) == pytest.approx((64 * 3) ** -0.5)
    assert lsq_factor((8, 64), QuantScheme(2, True, "tensor")) == pytest.approx(512**-0.5)
    # mean|w| = 1: 2 / sqrt(3); the range 3.0 in 7 steps of symmetric full range gives 6/7.
    weight = torch.tensor([[1.0, -3.0, 0.0, 0.0]])
    scale, zero_point = lsq_scale(weight, QuantScheme(3, True))
    assert scale.item() == pytest.approx(min(2 / 3**0.5, 6 / 7)) and zero_point.item() == 4
    # A flat group: 2 / sqrt(3) of 0.1 is less than ... its range in seven steps? 0.0286 is less.
    flat, _ = lsq_scale(torch.full((1, 4), 0.1), QuantScheme(3, True))
    assert flat.item() == pytest.approx(0.2 / 7)
    # One large weight among many small ones: the range would waste the grid on it.
    peaked, _ = lsq_scale(torch.tensor([[0.1] * 31 + [4.0]]), QuantScheme(3, True))
    assert peaked.item() == pytest.approx(2 * (7.1 / 32) / 3**0.5)
    zeros, _ = lsq_scale(torch.zeros(1, 4), QuantScheme(3, True))
    assert zeros.item() == 1


def test_learning_the_scale_lowers_the_error():
    """LSQ's own claim: gradient descent on the scale alone finds a better one than the range's."""
    weight = random_weight(3, 4, 256)
    scheme = QuantScheme(2, True)
    start, zero_point = choose_qparams(weight, scheme)
    scale = start.clone().requires_grad_()
    errors = []
    for _ in range(200):
        loss = (straight_through(weight, scale, zero_point, scheme) - weight).square().mean(-1)
        errors.append(loss.detach())
        (gradient,) = torch.autograd.grad(loss.sum(), scale)
        with torch.no_grad():
            scale -= 0.3 * gradient
    assert bool((errors[-1] < 0.75 * errors[0]).all())
    # Brute force over scales knows the best one.
    tried = torch.linspace(0.2, 1.2, 401)[:, None] * start.mean()
    best = torch.stack(
        [
            (straight_through(weight, s.expand(4)[:, None], zero_point, scheme) - weight)
            .square()
            .mean(-1)
            for s in tried
        ]
    ).amin(0)
    assert bool((errors[-1] <= 1.1 * best).all())


def test_gradient_factor_changes_the_gradient_alone():
    tensor = random_weight(4).requires_grad_()
    result = with_gradient_factor(tensor, 0.125)
    assert torch.equal(result, tensor)
    result.square().sum().backward()
    assert torch.allclose(tensor.grad, 0.125 * 2 * tensor.detach())


def test_scales_as_they_are_stored():
    scale = torch.tensor([[0.1, 1 / 3]], requires_grad=True)
    found = as_stored(scale)
    assert torch.equal(found, scale.detach().half().float())
    assert not torch.equal(found, scale)
    (3 * found).sum().backward()
    assert scale.grad.tolist() == [[3.0, 3.0]]
    for other in (1e-6, 1e5):  # float16 can't hold one of them: all stay as they are
        scale = torch.tensor([[1 / 3, other]])
        assert torch.equal(as_stored(scale), scale)


@given(st.floats(1e-4, 6e4))
def test_scales_stored_from_below(value):
    scale = torch.tensor([[value]])
    found, nearest = as_stored(scale, down=True), as_stored(scale)
    assert torch.equal(found, found.half().float())
    assert found <= scale
    assert torch.nextafter(found.half(), torch.tensor([[float("inf")]]).half()).float() > scale
    assert torch.equal(found, nearest) == bool(nearest <= scale)


def test_half_precision_and_float64():
    scheme = QuantScheme(4, group_size=4)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        weight = random_weight(5).to(dtype).requires_grad_()
        found = straight_through(weight, *choose_qparams(weight, scheme), scheme)
        assert found.dtype == dtype
        assert torch.equal(found, fake_quantize(weight, scheme))
        found.sum().backward()
        assert weight.grad.dtype == dtype


def test_a_grid_that_does_not_fit():
    weight = random_weight(6)
    with pytest.raises(ValueError, match=r"scale has shape \(1, 1\).*takes \(3, 2\)"):
        straight_through(weight, *grid(1.0, 0), QuantScheme(4, group_size=4))
    scale, zero_point = choose_qparams(weight, QuantScheme(4, group_size=4))
    with pytest.raises(ValueError, match=r"zero_point has shape \(3, 1\)"):
        straight_through(weight, scale, zero_point[:, :1], QuantScheme(4, group_size=4))
