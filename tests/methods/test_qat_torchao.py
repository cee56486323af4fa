"""Quantization-aware training by torchao: it rounds, looks away, prepares and converts alike."""

import copy
import importlib

import pytest
import torch
from loaders import require
from tiny_train import logits, train_a_little
from torch import nn

from qlearn.convert.qat import convert_qat, prepare_qat
from qlearn.methods.qat import straight_through
from qlearn.numerics.affine import choose_qparams
from qlearn.numerics.scheme import QuantScheme


@pytest.fixture(autouse=True)
def installed():
    require("torchao")


def random_weight(seed: int, rows: int = 16, width: int = 128) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("bits", "dtype"), [(2, torch.int2), (4, torch.int4), (8, torch.int8)])
def test_torchao_rounds_and_looks_away_alike(bits, dtype):
    """torchao's symmetric grid is our full range: equal outputs and gradients."""
    qat = importlib.import_module("torchao.quantization.qat")
    config = qat.IntxFakeQuantizeConfig(dtype, group_size=32, is_symmetric=True)
    scheme = QuantScheme(bits, True, 32)
    weight, theirs = (random_weight(7).requires_grad_() for _ in range(2))
    scale, zero_point = choose_qparams(weight, scheme)
    ours = straight_through(weight, scale, zero_point, scheme)
    other = qat.fake_quantizer.IntxFakeQuantizer(config)(theirs)
    upstream = random_weight(8)
    ours.backward(upstream)
    other.backward(upstream)
    # The largest weight of a group lies half a step beyond the grid: w / s and w * (1/s) may send
    # it either way. Nothing else differs.
    exact = (weight.detach().view(16, 4, 32) / scale[..., None]).view(16, 128)
    tie = exact.abs() >= scheme.max_code / 2 - 1e-3
    assert int(tie.sum()) == 16 * 4
    assert (ours - other).abs()[~tie].max() <= 1e-6
    assert torch.allclose(weight.grad[~tie], theirs.grad[~tie], rtol=1e-6, atol=0)
    assert torch.equal(weight.grad[~tie], upstream[~tie])


def test_torchao_cuts_the_same_gradients_where_the_grid_is_too_narrow():
    from torchao.quantization.qat.utils import _fake_quantize_per_channel_group as fake

    scheme = QuantScheme(4, True, 32)
    weight, theirs = (random_weight(9).requires_grad_() for _ in range(2))
    scale, zero_point = choose_qparams(weight, scheme)
    scale = scale / 2
    ours = straight_through(weight, scale, zero_point, scheme)
    other = fake(theirs, scale, torch.zeros_like(scale), -8, 7, 32)
    assert (ours - other).abs().max() <= 1e-6
    upstream = random_weight(10)
    ours.backward(upstream)
    other.backward(upstream)
    assert torch.allclose(weight.grad, theirs.grad, rtol=1e-6, atol=0)
    cut = (weight.grad == 0).float().mean()
    assert 0.01 < cut < 0.5


def test_torchao_prepares_and_converts_to_the_same_model(tiny_llama):
    quant = importlib.import_module("torchao.quantization")
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.qat import QATConfig

    base = quant.IntxWeightOnlyConfig(
        weight_dtype=torch.int4,
        granularity=PerGroup(32),
        mapping_type=quant.MappingType.SYMMETRIC,
    )
    inside = lambda module, name: isinstance(module, nn.Linear) and ".layers." in name  # noqa: E731
    theirs = copy.deepcopy(tiny_llama)
    weights = tiny_llama.state_dict()
    # Half a step beyond the grid, the largest weight of a group may round either way; off the tie
    # both tools must agree.
    quant.quantize_(theirs, QATConfig(base, step="prepare"), filter_fn=inside)
    ours = prepare_qat(tiny_llama, QuantScheme(4, True, 32))
    assert weights.keys() == theirs.state_dict().keys()
    largest = logits(theirs).abs().max()
    assert (logits(ours) - logits(theirs)).abs().max() < 0.02 * largest
    losses = train_a_little(ours), train_a_little(copy.deepcopy(theirs))
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    theirs.load_state_dict(ours.state_dict())
    convert_qat(ours)
    quant.quantize_(theirs, QATConfig(base, step="convert"), filter_fn=inside)
    assert (logits(ours) - logits(theirs)).abs().max() < 0.02 * largest
