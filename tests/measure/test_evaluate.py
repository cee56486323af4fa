"""evaluate: torch's own losses over whole logits are the oracle."""

import gc
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
)

from qlearn.convert.model import copy_for_quantization, quantize_model
from qlearn.measure.evaluate import (
    compare,
    kl_divergence,
    perplexity,
    remember,
    top1_agreement,
)
from qlearn.models.predictor import Predictor
from qlearn.models.text import load_tokens
from qlearn.numerics.scheme import QuantScheme

TOKENS = torch.randint(128, (5, 40), generator=torch.Generator().manual_seed(3))
SMALL = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


class Whole(nn.Module):
    """A model that is only a function from tokens to logits."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(128, 128)

    def forward(self, ids):
        return self.table(ids).cumsum(1)


class Odd(GPT2LMHeadModel):
    """A model that does something to its logits that no configuration tells of."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 3 + 1
        return output


MAKERS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4)),
    "gemma2, soft cap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.5)
    ),
    "granite, scaled": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=0.125)),
    "cohere, scaled": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=7.0)),
    "plain module": Whole,
    "unknown head": lambda: Odd(GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4)),
}
CUT = {name: name not in ("plain module", "unknown head") for name in MAKERS}


def made(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MAKERS[name]().eval()
        for parameter in model.parameters():  # far from uniform predictions
            parameter.data.mul_(1.5)
        return model


def whole_logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        output = model(TOKENS)
    return getattr(output, "logits", output)[:, :-1].double().flatten(0, 1)


@pytest.mark.parametrize("name", MAKERS)
def test_equals_torchs_losses_over_whole_logits(name):
    model, reference = made(name, 0), made(name, 1)
    ours, theirs = whole_logits(model), whole_logits(reference)
    targets = TOKENS[:, 1:].flatten()
    expected = math.exp(F.cross_entropy(ours, targets))
    divergence = F.kl_div(
        ours.log_softmax(-1), theirs.log_softmax(-1), reduction="batchmean", log_target=True
    )
    agreement = (ours.argmax(-1) == theirs.argmax(-1)).double().mean()
    result = compare(model, reference, TOKENS)
    assert result.perplexity == pytest.approx(expected, rel=1e-5)
    assert result.kl_divergence == pytest.approx(float(divergence), rel=1e-5)
    assert result.top1_agreement == pytest.approx(float(agreement))
    assert result.reference_perplexity == pytest.approx(
        math.exp(F.cross_entropy(theirs, targets)), rel=1e-5
    )
    assert perplexity(model, TOKENS) == pytest.approx(expected, rel=1e-5)
    assert kl_divergence(model, reference, TOKENS) == result.kl_divergence
    assert top1_agreement(model, reference, TOKENS) == result.top1_agreement
    assert (Predictor(model, TOKENS)._head is not None) == CUT[name]


@pytest.mark.parametrize("tokens_at_once", [40, 100, 10_000])
@pytest.mark.parametrize("positions", [7, 39, 1000])
def test_chunks_change_nothing(tiny_llama, monkeypatch, tokens_at_once, positions):
    reference = copy_for_quantization(tiny_llama)
    quantize_model(tiny_llama, scheme=QuantScheme(3, False, 32), progress=False)
    expected = compare(tiny_llama, reference, TOKENS)
    monkeypatch.setattr("qlearn.models.predictor._TOKENS_AT_ONCE", tokens_at_once)
    monkeypatch.setattr("qlearn.measure.evaluate._POSITIONS", positions)
    result = compare(tiny_llama, reference, TOKENS)
    assert result.perplexity == pytest.approx(expected.perplexity, rel=1e-6)
    assert result.kl_divergence == pytest.approx(expected.kl_divergence, rel=1e-4)
    assert result.top1_agreement == expected.top1_agreement


def test_a_model_and_itself(tiny_llama):
    result = compare(tiny_llama, tiny_llama, TOKENS)
    assert (result.kl_divergence, result.top1_agreement) == (0.0, 1.0)
    assert result.perplexity == result.reference_perplexity
    assert "perplexity" in str(result)


def test_logits_never_exist_whole(tiny_llama):
    """The head sees 128 positions at the most, of however many tokens there are."""
    sizes = []
    hook = tiny_llama.lm_head.register_forward_hook(
        lambda _m, a, _o: sizes.append(a[0][..., 0].numel())
    )
    perplexity(tiny_llama, TOKENS.repeat(4, 1))
    hook.remove()
    assert max(sizes) == 128
    assert sum(sizes) >= 20 * 39


@pytest.mark.parametrize("name", MAKERS)
def test_remembered_equals_the_model(name):
    model, reference = made(name, 0), made(name, 1)
    memory = remember(reference, TOKENS)
    assert compare(model, memory, TOKENS) == compare(model, reference, TOKENS)
    assert perplexity(memory, TOKENS) == perplexity(reference, TOKENS)
    assert "5 rows of 40 tokens" in repr(memory)


def test_remembering_outlives_quantizing_in_place_and_the_body(tiny_llama):
    memory = remember(tiny_llama, TOKENS)
    before = perplexity(memory, TOKENS)
    quantize_model(tiny_llama, scheme=QuantScheme(2, False, 32), progress=False)
    assert compare(tiny_llama, memory, TOKENS).reference_perplexity == before
    assert memory.nbytes == 5 * 39 * 64 * 4
    own = made("gpt2")
    memory = remember(own, TOKENS)
    block = weakref.ref(own.transformer.h[0])
    del own
    gc.collect()
    assert block() is None


def test_other_hidden_states_under_the_same_head(tiny_llama):
    memory = remember(tiny_llama, TOKENS)
    assert (
        compare(memory.with_features(memory._features.clone()), memory, TOKENS).kl_divergence == 0
    )
    changed = memory.with_features(memory._features * 0)
    assert perplexity(changed, TOKENS) == pytest.approx(128)  # no information: uniform
    with pytest.raises(ValueError, match=r"pass the hidden states .*\(5, 39, 64\)"):
        memory.with_features(torch.zeros(5, 40, 64))


def test_training_flags_come_back():
    model = made("gpt2").train()
    model.transformer.h[0].eval()
    flags = [module.training for module in model.modules()]
    first, second = (perplexity(model, TOKENS) for _ in range(2))
    assert first == second  # with dropout on, two runs would differ
    assert [module.training for module in model.modules()] == flags
    broken = made("gpt2").train()
    broken.transformer.h[0].mlp.c_fc.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        perplexity(broken, TOKENS)
    assert all(module.training for module in broken.modules())


BAD = {
    "list": ([[1, 2]], "tokens=list is not a tensor; pass integers"),
    "floats": (torch.ones(2, 4), "tokens has dtype torch.float32; pass integers"),
    "flags": (torch.ones(2, 4, dtype=torch.bool), "tokens has dtype torch.bool"),
    "one row": (torch.ones(4, dtype=torch.long), r"shape \(4,\); pass tokens\[None\] for one row"),
    "three dimensions": (
        torch.ones(1, 2, 3, dtype=torch.long),
        r"shape \(1, 2, 3\); pass integers",
    ),
    "empty": (torch.ones(0, 4, dtype=torch.long), r"tokens of shape \(0, 4\) is empty"),
    "short": (torch.ones(2, 1, dtype=torch.long), "rows of 1 tokens; a prediction needs 2"),
    "vocabulary": (torch.full((1, 4), 128), "ids 128 to 128, the model knows 0 to 128"),
    "negative": (torch.full((1, 4), -100), "ids -100 to -100, the model knows"),
    "length": (torch.ones(1, 513, dtype=torch.long), "rows of 513 tokens, the model reads 512"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize(
    "measure",
    [perplexity, remember, lambda m, t: compare(m, m, t)],
    ids=["ppl", "remember", "compare"],
)
def test_bad_tokens(tiny_llama, measure, case):
    tokens, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        measure(tiny_llama, tokens)


def test_bad_models(tiny_llama):
    smaller = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=1, n_head=4))
    with pytest.raises(ValueError, match="model predicts 128 classes, reference 100"):
        compare(tiny_llama, smaller, TOKENS % 100)
    with pytest.raises(
        ValueError, match=r"tokens of shape .* are not the ones that were remembered"
    ):
        compare(tiny_llama, remember(tiny_llama, TOKENS), TOKENS.flip(0))
    with pytest.raises(ValueError, match="model=str is not a model"):
        perplexity("smollm2-135m", TOKENS)
    with pytest.raises(ValueError, match=r"returns no logits \[rows, length, classes\]"):
        perplexity(nn.Sequential(nn.Embedding(128, 4), nn.Flatten()), TOKENS)
    tiny_llama.model.norm.weight.data[0] = torch.inf
    with pytest.raises(ValueError, match="LlamaForCausalLM gives NaN or infinite logits"):
        perplexity(tiny_llama, TOKENS)


@pytest.mark.model
@pytest.mark.slow
def test_the_real_model_on_four_rows(smollm, tokenizer):
    """W4 g64 lies where a naive pass over whole logits puts it."""
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation", sequences=4)
    copy = copy_for_quantization(smollm)
    report = quantize_model(copy, scheme=QuantScheme(4, False, 64), progress=False)
    assert len(report.layers) == 210
    result = compare(copy, remember(smollm, tokens), tokens)
    losses = []
    with torch.no_grad():
        for row in tokens.split(1):
            logits = copy(row, use_cache=False).logits[0, :-1]
            losses.append(F.cross_entropy(logits, row[0, 1:]).double())
    assert result.perplexity == pytest.approx(math.exp(torch.stack(losses).mean()), rel=1e-4)
    assert 1.2 < result.perplexity / result.reference_perplexity < 1.4
