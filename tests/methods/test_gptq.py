"""GPTQ: the hand-worked step, Optimal Brain Surgeon and brute force as oracles, and properties."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.methods.gptq import gptq_quantize, inverse_factor, layer_loss
from qlearn.methods.gptq_naive import obs_quantize
from qlearn.numerics.affine import QuantizedTensor, choose_qparams, quantize
from qlearn.numerics.scheme import QuantScheme

SCHEMES = [
    QuantScheme(bits, symmetric, group, "restricted" if symmetric else None)
    for bits in (2, 3, 4, 8)
    for symmetric in (False, True)
    for group in (16, 48, None, "tensor")
] + [QuantScheme(4, False, 16, "raw-range"), QuantScheme(3, True, None, "full-range")]


def layer(rows: int = 12, width: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight and the Hessian of correlated inputs, float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    inputs = torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
    inputs = inputs @ (mix + 0.3 * torch.eye(width))
    weight = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return weight, 2 / len(inputs) * inputs.T @ inputs


def damped(hessian: torch.Tensor, damping: float = 0.01) -> torch.Tensor:
    return hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian)).double()


def test_hand_worked():
    # Range 0 to 3 in two bits: s = 1, z = 0. Rounding 1.4 leaves an error of 0.4, of which the
    # second column, fed with inputs that are 90% the same, takes over 0.4 * 1.8 / 2 = 0.36:
    # 1.4 becomes 1.76, code 2. The third column has nothing to do with either.
    weight = torch.tensor([[1.4, 1.4, 3.0]])
    hessian = torch.tensor([[2.0, 1.8, 0.0], [1.8, 2.0, 0.0], [0.0, 0.0, 2.0]])
    found = gptq_quantize(weight, hessian, QuantScheme(2), damping=0)
    assert found.codes.tolist() == [[1, 2, 3]]
    assert (found.scale.item(), found.zero_point.item()) == (1, 0)
    assert quantize(weight, QuantScheme(2)).codes.tolist() == [[1, 1, 3]]
    # E = (0.4, -0.6, 0): (2 * 0.16 + 2 * 0.36 - 2 * 1.8 * 0.24) / 2
    assert layer_loss(weight, found.dequantize(), hessian) == pytest.approx(0.088, rel=1e-5)
    # E = (0.4, 0.4, 0): (2 * 0.16 + 2 * 0.16 + 2 * 1.8 * 0.16) / 2
    assert layer_loss(weight, torch.tensor([[1.0, 1.0, 3.0]]), hessian) == pytest.approx(0.608)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("block_size", [7, 16, 128])
def test_equals_optimal_brain_surgeon(scheme, block_size):
    weight, hessian = layer()
    found = gptq_quantize(weight, hessian, scheme, block_size=block_size)
    expected = obs_quantize(weight, hessian, scheme)
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.zero_point, expected.zero_point)
    assert (found.scale - expected.scale).abs().max() <= 1e-5 * expected.scale.max()
    assert (found.dequantize() - expected.dequantize()).abs().max() <= 1e-5


def stale(weight: torch.Tensor, hessian: torch.Tensor, scheme: QuantScheme) -> torch.Tensor:
    """The well-known mistake: the rows of one dense inverse, never brought up to date."""
    left, inverse = weight.clone(), torch.linalg.inv(damped(hessian))
    scale, zero_point = choose_qparams(weight, scheme)
    result = torch.empty_like(weight)
    for i in range(weight.shape[1]):
        code = (left[:, i] / scale[:, 0]).round() + zero_point[:, 0]
        result[:, i] = (code.clamp(0, scheme.max_code) - zero_point[:, 0]) * scale[:, 0]
        error = (left[:, i] - result[:, i]) / inverse[i, i]
        left[:, i:] -= error[:, None] * inverse[i, i:]
    return result


def test_the_stale_inverse_differs_though_it_beats_rounding():
    weight, hessian = layer()
    scheme = QuantScheme(3)
    right = gptq_quantize(weight, hessian, scheme).dequantize()
    wrong = stale(weight, hessian, scheme)
    losses = [
        layer_loss(weight, each, hessian)
        for each in (right, wrong, quantize(weight, scheme).dequantize())
    ]
    assert losses[0] < 0.95 * losses[1] < 0.95 * losses[2]
    assert (right - wrong).abs().max() > 0.1


def test_the_factor_is_that_of_the_inverse():
    _, hessian = layer()
    factor = inverse_factor(hessian, damping=0.02)
    assert torch.equal(factor, factor.triu()) and bool((factor.diagonal() > 0).all())
    inverse = torch.linalg.inv(damped(hessian, 0.02))
    assert (factor.T @ factor - inverse).abs().max() <= 1e-10 * inverse.abs().max()
    _, large = layer(1, 600)  # wide enough to be inverted by halves
    factor = inverse_factor(large)
    assert (factor.T @ factor @ damped(large) - torch.eye(600)).abs().max() < 1e-8


def on_given_grids(weight, hessian, scale, zero_point, top, order):
    """Optimal Brain Surgeon in any column order, on a scale and zero-point for every column."""
    left, hessian, result = weight.clone(), damped(hessian), torch.empty_like(weight)
    loss = 0.0
    for step, i in enumerate(order):
        free = order[step:]
        inverse = torch.linalg.inv(hessian[free][:, free])
        code = ((left[:, i] / scale[:, i]).round() + zero_point[:, i]).clamp(0, top)
        result[:, i] = (code - zero_point[:, i]) * scale[:, i]
        error = left[:, i] - result[:, i]
        loss += float((error**2 / inverse[0, 0]).sum() / 2)
        left[:, free] -= error[:, None] * (inverse[0] / inverse[0, 0])
    return result, loss


@pytest.mark.parametrize("group", [16, 48, None])
@pytest.mark.parametrize("act_order", [False, True])
def test_order_and_static_groups(group, act_order):
    weight, hessian = layer()
    scheme = QuantScheme(3, False, group)
    found = gptq_quantize(weight, hessian, scheme, act_order=act_order, static_groups=True)
    scale, zero_point = choose_qparams(weight, scheme)
    assert torch.equal(found.scale, scale) and torch.equal(found.zero_point, zero_point)
    width = weight.shape[1] // scale.shape[1]
    columns = scale.repeat_interleave(width, 1), zero_point.repeat_interleave(width, 1)
    order = list(range(weight.shape[1]))
    if act_order:
        order = hessian.diagonal().argsort(descending=True).tolist()
        assert order != sorted(order)
    expected, loss = on_given_grids(weight, hessian, *columns, scheme.max_code, order)
    assert (found.dequantize() - expected).abs().max() <= 1e-5
    # The columns' own losses add up to the loss of the layer.
    assert layer_loss(weight, found.dequantize(), damped(hessian)) == pytest.approx(loss)


def test_act_order_implies_static_groups():
    weight, hessian = layer()
    scheme = QuantScheme(3, False, 16)
    implied = gptq_quantize(weight, hessian, scheme, act_order=True)
    asked = gptq_quantize(weight, hessian, scheme, act_order=True, static_groups=True)
    assert torch.equal(implied.codes, asked.codes) and torch.equal(implied.scale, asked.scale)


def test_near_the_best_of_all_codes():
    scheme, total = QuantScheme(2), torch.zeros(3)
    grid = torch.tensor(list(itertools.product(range(4), repeat=5)))  # all 1024 rows of codes
    hessian = torch.eye(5) + 0.3  # each input shares a quarter with every other
    for seed in range(8):
        weight = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed))
        scale, zero_point = choose_qparams(weight, scheme)
        errors = (grid[None] - zero_point[:, None]) * scale[:, None] - weight[:, None]
        losses = (errors @ hessian * errors).sum(-1) / 2
        found = gptq_quantize(weight, hessian, scheme, damping=0)
        total[0] += losses.amin(-1).sum()
        total[1] += layer_loss(weight, found.dequantize(), hessian)
        total[2] += layer_loss(weight, quantize(weight, scheme).dequantize(), hessian)
        # The last column knows all errors before it, so its code is the best one there is.
        for row, codes in enumerate(found.codes.tolist()):
            first = int("".join(map(str, codes[:4])), base=4) * 4
            choices = losses[row, first : first + 4]
            assert choices[codes[4]] <= choices.min() * (1 + 1e-5)
    best, compensated, rounded = total.tolist()
    assert best <= compensated <= 1.08 * best
    assert rounded >= 1.15 * best


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 999),
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    group=st.sampled_from([4, 8, 24, None, "tensor"]),
    act_order=st.booleans(),
    block_size=st.integers(1, 30),
)
def test_properties(seed, bits, symmetric, group, act_order, block_size):
    weight, hessian = layer(rows=6, width=24, seed=seed)
    scheme = QuantScheme(bits, symmetric, group)
    options = {"act_order": act_order, "block_size": block_size}
    found = gptq_quantize(weight, hessian, scheme, **options)
    assert isinstance(found, QuantizedTensor)
    assert found.codes.dtype == torch.uint8 and found.codes.shape == weight.shape
    assert int(found.codes.max()) <= scheme.max_code
    assert found.scale.shape == choose_qparams(weight, scheme)[0].shape
    assert bool((found.scale > 0).all())
    assert int(found.zero_point.min()) >= 0 and int(found.zero_point.max()) <= scheme.max_code
    # A factor that rounds nothing changes nothing, and rows do not know of each other.
    scaled = gptq_quantize(weight, 4 * hessian, scheme, **options)
    assert torch.equal(scaled.codes, found.codes)
    turned = gptq_quantize(weight.flip(0), hessian, scheme, **options)
    assert torch.equal(turned.codes.flip(0), found.codes)
    # Inputs that have nothing in common can't stand in for each other: plain rounding.
    diagonal = torch.diag(hessian.diagonal())
    alone = gptq_quantize(weight, diagonal, scheme, **options)
    plain = quantize(weight, scheme)
    assert torch.equal(alone.codes, plain.codes) and torch.equal(alone.scale, plain.scale)
    # Nothing was written to.
    again, same = layer(rows=6, width=24, seed=seed)
    assert torch.equal(weight, again) and torch.equal(hessian, same)


def test_act_order_does_not_depend_on_the_order_of_the_inputs():
    weight, hessian = layer()
    shuffle = torch.randperm(96, generator=torch.Generator().manual_seed(5))
    scheme = QuantScheme(3)
    found = gptq_quantize(weight, hessian, scheme, act_order=True)
    moved = gptq_quantize(weight[:, shuffle], hessian[shuffle][:, shuffle], scheme, act_order=True)
    assert torch.equal(moved.codes, found.codes[:, shuffle])


@pytest.mark.parametrize("act_order", [False, True])
def test_dead_inputs_cost_nothing(act_order):
    weight, hessian = layer()
    dead = torch.tensor([0, 17, 95])
    hessian[dead] = 0
    hessian[:, dead] = 0
    weight[:, dead] = 50.0  # would ruin the grid of its row
    scheme = QuantScheme(4)
    found = gptq_quantize(weight, hessian, scheme, act_order=act_order)
    assert bool((found.dequantize()[:, dead] == 0).all())
    clean = weight.clone()
    clean[:, dead] = 0
    expected = gptq_quantize(clean, hessian, scheme, act_order=act_order)
    assert torch.equal(found.codes, expected.codes)
    if not act_order:
        assert torch.equal(found.codes, obs_quantize(weight, hessian, scheme).codes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_dtype(dtype):
    weight, hessian = layer()
    found = gptq_quantize(weight.to(dtype), hessian.float(), QuantScheme(4, False, 16))
    assert found.dtype == dtype and found.dequantize().dtype == dtype
    loss = layer_loss(weight.to(dtype).double(), found.dequantize(), hessian)
    rounded = quantize(weight.to(dtype), QuantScheme(4, False, 16)).dequantize()
    assert loss < 0.8 * layer_loss(weight.to(dtype).double(), rounded, hessian)


WEIGHT, HESSIAN = (tensor.float() for tensor in layer(4, 8))


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[1, 2] = value
    return changed


BAD = {
    "vector": ({"weight": WEIGHT[0]}, r"weight has shape \(8,\) .*pass floats \[out_features"),
    "integers": ({"weight": WEIGHT.int()}, "weight has .* dtype torch.int32"),
    "empty": ({"weight": WEIGHT[:0]}, r"weight has shape \(0, 8\)"),
    "NaN weight": ({"weight": with_value(WEIGHT, torch.nan)}, "weight holds 1 NaN or infinite"),
    "infinite weight": ({"weight": with_value(WEIGHT, torch.inf)}, "weight holds 1 NaN or inf"),
    "wrong width": ({"hessian": HESSIAN[:4, :4]}, r"hessian has shape \(4, 4\) .*\[8, 8\]"),
    "not square": ({"hessian": HESSIAN[:4]}, r"hessian has shape \(4, 8\)"),
    "NaN Hessian": ({"hessian": with_value(HESSIAN, torch.nan)}, "hessian holds 1 NaN or inf"),
    "not symmetric": ({"hessian": with_value(HESSIAN, 9.0)}, "hessian is not symmetric; pass X"),
    "negative": ({"hessian": -HESSIAN}, "hessian has negative values on its diagonal"),
    "singular": (
        {"hessian": torch.ones(8, 8), "damping": 0},
        r"can't be inverted with damping=0; choose a larger damping such as 0.05",
    ),
    "indefinite": ({"hessian": torch.ones(8, 8) * 2 - torch.eye(8)}, "can't be inverted"),
    "damping": ({"damping": -0.1}, "damping=-0.1 is not a share; choose 0 or more"),
    "NaN damping": ({"damping": float("nan")}, "damping=nan is not a share"),
    "block size": ({"block_size": 0}, "block_size=0 is not a count"),
    "group size": ({"scheme": QuantScheme(4, False, 3)}, "not divisible by group_size=3; choose"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changed, message = BAD[case]
    arguments = {"weight": WEIGHT, "hessian": HESSIAN, "scheme": QuantScheme(4)}
    with pytest.raises(ValueError, match=message):
        gptq_quantize(**{**arguments, **changed})


def test_a_hessian_of_few_tokens_needs_its_damping():
    inputs = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    hessian = 2 / 3 * inputs.T @ inputs  # of rank 3
    found = gptq_quantize(WEIGHT, hessian, QuantScheme(4))
    rounded = quantize(WEIGHT, QuantScheme(4))
    losses = [layer_loss(WEIGHT, each.dequantize(), hessian) for each in (found, rounded)]
    assert losses[0] < losses[1]
