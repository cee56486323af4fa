"""calibrate: block by block equals a pass of the whole model, and one block's memory at a time."""

import gc
import weakref

import pytest
import torch
from tiny_models import gemma2
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn.convert.calibration import AbsMax, AbsMean, Hessian, Inputs, calibrate
from qlearn.convert.model import quantize_model
from qlearn.models.blocks import block_linears, find_blocks, weight_of
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme

TOKENS = torch.randint(128, (3, 24), generator=torch.Generator().manual_seed(2))


def gpt2() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config).train()  # with dropout, which calibration must switch off


def sliding() -> nn.Module:
    """Every other block has a sliding window of 8: its mask is not the first block's."""
    return gemma2(num_hidden_layers=4, sliding_window=8)


def by_hooks(model: nn.Module) -> dict[str, torch.Tensor]:
    """All inputs of all linear layers in one pass of the whole model, ``[tokens, in_features]``."""
    inputs: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for name, layer in block_linears(model).items():

        def note(_, args, name=name):
            inputs.setdefault(name, []).append(args[0].flatten(0, 1))

        hooks.append(layer.register_forward_pre_hook(note))
    training = model.training
    model.eval()
    with torch.no_grad():
        for row in TOKENS.split(1):
            model(row)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in inputs.items()}


STATISTICS = {
    "hessian": (Hessian, lambda x: 2 / len(x) * x.T.double() @ x.double()),
    "mean": (AbsMean, lambda x: x.abs().double().mean(0)),
    "maximum": (AbsMax, lambda x: x.abs().double().amax(0)),
    "inputs": (lambda width: Inputs(width, limit=100), lambda x: x.double()),
}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("promise", [False, None])
def test_equals_a_pass_of_the_whole_model(tiny_llama, kind, statistic, promise):
    model = {"llama": lambda: tiny_llama, "gpt2": gpt2, "gemma2": sliding}[kind]()
    training = model.training
    make, oracle = STATISTICS[statistic]
    prefix = find_blocks(model)[0]
    found = {}

    def visit(index, block, statistics):
        found.update({f"{prefix}.{index}.{n}": s.value for n, s in statistics.items()})
        return promise

    calibrate(model, TOKENS, make, visit, progress=False)
    expected = by_hooks(model)
    assert found.keys() == expected.keys()
    for name, inputs in expected.items():
        exact = oracle(inputs)
        assert found[name].shape == exact.shape
        assert (found[name] - exact).abs().max() <= 1e-5 * exact.abs().max(), name
    assert model.training == training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_later_blocks_see_what_visit_made_of_earlier_ones(tiny_llama):
    scheme = QuantScheme(2, False, 32)
    found = {}

    def visit(index, block, statistics):
        found.update({f"model.layers.{index}.{n}": s.value for n, s in statistics.items()})
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.data = fake_quantize(weight_of(layer), scheme)

    original = by_hooks(tiny_llama)
    calibrate(tiny_llama, TOKENS, AbsMean, visit, progress=False)
    quantized = by_hooks(tiny_llama)  # all blocks are rounded by now
    first = "model.layers.0.self_attn.q_proj"
    second = "model.layers.1.self_attn.q_proj"
    assert torch.allclose(found[first], original[first].abs().mean(0), rtol=1e-5)
    assert torch.allclose(found[second], quantized[second].abs().mean(0), rtol=1e-5)
    assert not torch.allclose(found[second], original[second].abs().mean(0), rtol=1e-2)
    # Inside a block the layers are seen before visit changes it.
    assert torch.allclose(
        found["model.layers.0.mlp.down_proj"],
        original["model.layers.0.mlp.down_proj"].abs().mean(0),
        rtol=1e-5,
    )


def test_one_blocks_statistics_at_a_time(tiny_llama):
    alive: list[weakref.ref] = []
    counts = []

    class Counted(Hessian):
        def __init__(self, width):
            super().__init__(width)
            alive.append(weakref.ref(self))

        def add(self, inputs):
            super().add(inputs)
            counts.append(sum(reference() is not None for reference in alive))

    visits = []

    def visit(index, block, statistics):
        visits.append((index, len({id(s) for s in statistics.values()}), len(statistics)))

    calibrate(tiny_llama, TOKENS, Counted, visit, progress=False)
    # q, k, v share an input, and gate and up: four statistics for seven layers.
    assert visits == [(0, 4, 7), (1, 4, 7)]
    assert len(alive) == 8
    assert max(counts) == 4
    gc.collect()
    assert not any(reference() is not None for reference in alive)


def test_quantized_models_and_layers_made_in_visit(tiny_llama):
    """Calibrating must not leave tensors behind that autograd or load_state_dict refuse."""
    quantize_model(tiny_llama, scheme=QuantScheme(8, False, 32), progress=False)
    names = []
    calibrate(tiny_llama, TOKENS, AbsMax, lambda _i, _b, s: names.extend(s), progress=False)
    assert len(names) == 14
    tiny_llama.load_state_dict(tiny_llama.state_dict())
    tiny_llama(TOKENS, labels=TOKENS).loss.backward()


def test_inputs_are_a_fair_and_seeded_draw():
    kept = [Inputs(1, limit=50, seed=seed) for seed in (0, 0, 1)]
    for start in range(0, 1000, 100):
        for one in kept:
            one.add(torch.arange(start, start + 100.0)[:, None])
    assert torch.equal(kept[0].value, kept[1].value)
    assert not torch.equal(kept[0].value, kept[2].value)
    assert kept[0].value.shape == (50, 1)
    # The mean of 50 of 1000 without replacement has a standard error of 40: from all over the text.
    assert abs(float(kept[0].value.mean()) - 500) < 120


BAD_TOKENS = {
    "list": ([[1, 2]], "tokens=list is not a tensor"),
    "floats": (torch.ones(2, 4), "dtype torch.float32; pass integers"),
    "one row": (torch.ones(4, dtype=torch.long), r"shape \(4,\); pass tokens\[None\]"),
    "empty": (torch.ones(0, 4, dtype=torch.long), "is empty"),
    "vocabulary": (torch.full((1, 4), 128), "ids 128 to 128, the model knows 0 to 128"),
    "negative": (torch.full((1, 4), -100), "ids -100 to -100"),
    "length": (torch.ones(1, 513, dtype=torch.long), "rows of 513 tokens, the model reads 512"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_tokens(tiny_llama, case):
    tokens, message = BAD_TOKENS[case]
    with pytest.raises(ValueError, match=message):
        calibrate(tiny_llama, tokens, AbsMax, lambda *_: None, progress=False)


def test_bad_models_and_statistics(tiny_llama):
    with pytest.raises(ValueError, match="no transformer blocks"):
        calibrate(nn.Embedding(128, 4), TOKENS, AbsMax, lambda *_: None, progress=False)
    tiny_llama.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="block 1 gives NaN or infinite hidden states"):
        calibrate(tiny_llama, TOKENS, AbsMax, lambda *_: None, progress=False)
    for make in (Hessian, AbsMean, AbsMax, Inputs):
        with pytest.raises(ValueError, match=f"{make.__name__} has seen no tokens"):
            _ = make(8).value
        with pytest.raises(ValueError, match=r"inputs has shape \(2, 7\); pass \[tokens, 8\]"):
            make(8).add(torch.ones(2, 7))
    with pytest.raises(ValueError, match="limit=0 keeps no inputs"):
        Inputs(8, limit=0)
