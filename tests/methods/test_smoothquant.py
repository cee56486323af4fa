"""SmoothQuant: the formula by hand and as its authors write it; scales that change nothing."""

import pytest
import torch
from decoders import TOKENS, drift, gpt2, shake
from tiny_models import llama

from qlearn.convert.calibration import AbsMax, calibrate
from qlearn.convert.int8 import smooth
from qlearn.convert.model import copy_for_quantization
from qlearn.convert.one_block.stages import run_stages
from qlearn.methods.smoothquant import smoothing_scales
from qlearn.models.blocks import block_linears, linear_layers
from qlearn.models.predictor import evaluating
from qlearn.models.walk import Walk


def test_by_hand():
    absmax, weight = torch.tensor([16.0, 1.0, 4.0]), torch.tensor([[4.0, 0.25, -1.0], [1.0, 0, 0]])
    assert smoothing_scales(absmax, weight).tolist() == [2.0, 2.0, 2.0]  # sqrt(16/4), sqrt(1/.25)
    assert smoothing_scales(absmax, weight, 1.0).tolist() == [16.0, 1.0, 4.0]
    assert smoothing_scales(absmax, weight, 0.0).tolist() == [0.25, 4.0, 1.0]
    # Layers that share their input share the scales: the larger of both maxima counts.
    other = torch.tensor([[1.0, 4.0, 0.5]])
    assert smoothing_scales(absmax, [weight, other], 0.0).tolist() == [0.25, 0.25, 1.0]


def authors(absmax: torch.Tensor, layers: list[torch.Tensor], alpha: float) -> torch.Tensor:
    """The order of operations in the authors' smooth.py."""
    tops = torch.cat([layer.abs().max(dim=0, keepdim=True)[0] for layer in layers], dim=0)
    top = tops.max(dim=0)[0].clamp(min=1e-5)
    return (absmax.pow(alpha) / top.pow(1 - alpha)).clamp(min=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.85, 1.0])
def test_as_the_authors_write_it(alpha):
    generator = torch.Generator().manual_seed(0)
    absmax = 10 * torch.rand(24, generator=generator)
    absmax[3] = 0  # a dead input
    layers = [torch.randn(7, 24, generator=generator), torch.randn(5, 24, generator=generator)]
    for layer in layers:
        layer[:, 5] = 0  # a dead column
    found = smoothing_scales(absmax, layers, alpha)
    assert torch.allclose(found, authors(absmax, layers, alpha), rtol=1e-6, atol=0)
    assert (found > 0).all() and found.isfinite().all()


def test_alpha_shares_the_difficulty_out():
    generator = torch.Generator().manual_seed(1)
    absmax = torch.rand(16, generator=generator) * torch.tensor([1.0, 50.0]).repeat(8) + 0.1
    weight = torch.randn(12, 16, generator=generator)

    def spread(values: torch.Tensor) -> float:
        return float(values.max() / values.min())

    scales = {alpha: smoothing_scales(absmax, weight, alpha) for alpha in (0.0, 0.5, 1.0)}
    loud = {alpha: absmax / s for alpha, s in scales.items()}
    heavy = {alpha: weight.abs().amax(0) * s for alpha, s in scales.items()}
    assert spread(loud[1.0]) == pytest.approx(1, rel=1e-5)
    assert spread(heavy[0.0]) == pytest.approx(1, rel=1e-5)
    # Halfway, each column of the inputs is as loud as its column of the weights is heavy.
    assert torch.allclose(loud[0.5], heavy[0.5], rtol=1e-5)


def smooth_all(model: torch.nn.Module, tokens: torch.Tensor, alpha: float, up: bool) -> None:
    with evaluating(model), torch.no_grad():
        walk = Walk(model, tokens)
        for index, block in enumerate(walk.blocks):
            seen: dict[str, torch.Tensor] = {}

            def look(group, inputs, seen=seen):
                seen.update(dict.fromkeys(group, inputs.abs().amax(0)))

            outputs = run_stages(walk, index, list(linear_layers(block)), look)
            smooth(walk, index, seen, alpha, up)
            walk.hidden = outputs


@pytest.mark.parametrize("alpha", [0.5, 0.85])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(
    "make",
    [llama, lambda: shake(llama(4, attention_bias=True, mlp_bias=True)), lambda: shake(gpt2())],
    ids=["grouped queries", "one head each, biases", "gpt2"],
)
def test_smoothing_changes_nothing_before_rounding(make, alpha, up):
    original = make()
    model = copy_for_quantization(original)
    smooth_all(model, TOKENS, alpha, up)
    assert drift(model, original, TOKENS) <= 1e-5
    changed = {
        name.rpartition(".")[2]
        for name, layer in block_linears(model).items()
        if not torch.equal(layer.weight, original.get_submodule(name).weight)
    }
    assert {"c_attn", "c_fc"} <= changed or {"q_proj", "gate_proj"} <= changed
    assert ("down_proj" in changed) == (up and "q_proj" in changed)


def test_inputs_are_as_loud_as_was_said():
    """What is kept for fixed grids is what the smoothed model's layers are fed with."""
    model = shake(llama())
    with evaluating(model), torch.no_grad():
        walk = Walk(model, TOKENS)
        seen: dict[str, torch.Tensor] = {}
        names = list(linear_layers(walk.blocks[0]))

        def look(group, inputs):
            seen.update(dict.fromkeys(group, inputs.abs().amax(0)))

        run_stages(walk, 0, names, look)
        smooth(walk, 0, seen, 0.5, True)
    found: dict[str, torch.Tensor] = {}

    def note(index, block, statistics):
        if index == 0:
            found.update({name: s.value for name, s in statistics.items()})
        return False

    calibrate(model, TOKENS, AbsMax, note, progress=False)
    for name in names:
        assert torch.allclose(found[name], seen[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.model
@pytest.mark.slow
def test_smoothing_changes_nothing_in_the_real_model(smollm, tokenizer):
    from qlearn.models.text import load_tokens

    tokens = load_tokens(tokenizer, sequences=2, length=256)
    model = copy_for_quantization(smollm)
    smooth_all(model, tokens, 0.5, True)
    unseen = load_tokens(tokenizer, split="evaluation", sequences=1, length=128)
    assert drift(model, smollm, unseen) <= 1e-5
    layer = "model.layers.11.mlp.down_proj.weight"
    assert not torch.allclose(model.get_parameter(layer), smollm.get_parameter(layer), rtol=0.1)


ABSMAX, WEIGHT = torch.rand(6), torch.randn(4, 6)
BAD = {
    "alpha": ((ABSMAX, WEIGHT, 1.5), "alpha=1.5 is not a share"),
    "NaN alpha": ((ABSMAX, WEIGHT, torch.nan), "alpha=nan is not a share"),
    "width": ((ABSMAX[:5], WEIGHT), r"weights have shapes \(4, 6\), input_absmax \(5,\)"),
    "no weights": ((ABSMAX, []), "weights have shapes none"),
    "vector": ((ABSMAX, WEIGHT[0]), r"weights have shapes \(6,\)"),
    "NaN": ((ABSMAX * torch.nan, WEIGHT), "hold NaN or infinite values"),
    "infinite weight": ((ABSMAX, WEIGHT / 0), "hold NaN or infinite values"),
    "negative": ((-ABSMAX - 1, WEIGHT), "negative values; pass magnitudes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        smoothing_scales(*arguments)
