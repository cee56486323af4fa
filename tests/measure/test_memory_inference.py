"""Memory and speed: worked by hand, against transformers' own cache and tensors, by property."""

from dataclasses import replace

import pytest
import torch
from tiny_models import llama
from torch.profiler import ProfilerActivity, profile
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

import qlearn
from qlearn import QuantScheme, quantize, quantize_model
from qlearn.measure.memory.architectures import MODELS, Architecture
from qlearn.measure.memory.devices import get_device
from qlearn.measure.memory.inference import (
    article_estimate,
    decode_speed_bound,
    estimate_memory,
    kv_bytes_per_token,
    largest_context,
    quantized_kv_bits,
    scheme_bits,
    step_bytes,
)

# 1152 weights in the blocks' linear layers, 552 others; keys of 4 numbers a layer.
TINY = Architecture("tiny", layers=2, hidden=8, mlp=16, heads=4, kv_heads=2, vocab=32)


def test_by_hand():
    found = estimate_memory(TINY, 4.5, context=10, batch=3)
    assert found.weights == 1152 * 4.5 / 8 + 552 * 2
    assert found.kv_cache == 2 * 2 * 4 * 2 * 10 * 3
    # Of 3 tokens: blocks 2 bytes x (32 + 48), or hidden states 16 and logits 32 x 6: the latter.
    assert found.activations == 3 * max(2 * 80, 16 + 192)
    assert found.total == 1752 + 960 + 624
    prefill = estimate_memory(TINY, 4.5, context=10, batch=3, phase="prefill")
    assert prefill.activations == max(30 * 160, 30 * 16 + 3 * 192)
    assert (prefill.weights, prefill.kv_cache) == (found.weights, found.kv_cache)


def test_widths_by_hand():
    wide = estimate_memory(TINY, 32, context=10)
    assert wide.weights == 4 * 1704
    assert wide.kv_cache == 4 * 160
    assert wide.activations == max(4 * 80, 32 + 32 * 8)
    assert estimate_memory(TINY, context=10).weights == 2 * 1704
    mixed = estimate_memory(TINY, 4, context=10, other_bits=8, kv_bits=4.5, activation_bits=32)
    assert mixed.weights == 576 + 552
    assert mixed.kv_cache == 90
    assert mixed.activations == wide.activations
    assert estimate_memory(TINY, 3, context=1, kv_bits=4.1).kv_cache == 9  # 8.2, rounded up


def test_known_figures():
    """KV bytes a token by hand: 32 x 32 x 128 x 2 x 2; 32 x 8 x 128 x 2 x 2; the same of OPT."""
    assert kv_bytes_per_token("llama-2-7b") == 524_288
    assert kv_bytes_per_token("llama-3-8b") == 131_072
    assert kv_bytes_per_token("smollm2-135m", 32) == 30 * 192 * 2 * 4
    # vLLM's paper (arXiv 2309.06180, section 2.2): 800 KB a token of OPT-13B in FP16.
    assert kv_bytes_per_token("opt-13b") == 800 * 1024
    # 16-bit Llama-2-7B: 13.5 GB.
    assert qlearn.estimate_memory("llama-2-7b").weights == 2 * 6_738_415_616
    assert qlearn.estimate_memory("llama-2-7b", bits_per_weight=4.156).weights == pytest.approx(
        6_476_005_376 * 4.156 / 8 + 262_410_240 * 2, abs=1
    )


def test_scheme_bits_are_those_of_a_quantized_model(tiny_llama):
    for scheme in (QuantScheme(4, False, 32), QuantScheme(3, True, None), QuantScheme(8, True, 16)):
        told = scheme_bits(tiny_llama.config, scheme)
        report = quantize_model(llama(tie_word_embeddings=True), "rtn", scheme, progress=False)
        assert told == report.bits_per_weight
        found = estimate_memory(tiny_llama.config, told, other_bits=32, context=1)
        assert found.weights == pytest.approx(report.bytes, abs=1)  # 3.222... bits are rounded
    counted = replace(TINY, counted=(1152, 1704, 256))
    assert scheme_bits(counted, QuantScheme(8, True, None)) == 8 + 16 / 8


def test_bits_of_a_quantized_cache():
    keys = torch.randn(64, 128)
    scheme = QuantScheme(4, False, 64)
    codes = quantize(keys, scheme)
    assert quantized_kv_bits(4, 64, 16, 4) == scheme.bits_per_weight(keys.shape)
    assert codes.scale.numel() * 16 + codes.zero_point.numel() * 4 == pytest.approx(
        (quantized_kv_bits(4, 64, 16, 4) - 4) * keys.numel()
    )
    assert quantized_kv_bits(8, 32, 16, 0) == 8.5


OPTIONS = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
FEW = {**OPTIONS, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 64_000}
NARROW = {**OPTIONS, "intermediate_size": 48}
OPT = {**OPTIONS, "ffn_dim": 256, "max_position_embeddings": 512}
BUILDS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**OPTIONS)),
    "llama of a small MLP": lambda: LlamaForCausalLM(LlamaConfig(**NARROW)),
    "llama of many words": lambda: LlamaForCausalLM(LlamaConfig(**FEW)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**OPTIONS)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**OPTIONS)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**OPT)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4)),
}


def most_bytes(model, tokens):
    """The most that a pass holds at a time beside the weights, by torch's own account."""
    cpu = [ProfilerActivity.CPU]
    with torch.inference_mode(), profile(activities=cpu, profile_memory=True) as run:
        output = model(tokens, use_cache=True, logits_to_keep=1)
        output.logits[:, -1].to(copy=True, dtype=torch.float32)  # as generate() does
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("one_thread")
def test_activations_against_what_torch_holds(name, dtype):
    model = BUILDS[name]().eval().to(dtype)
    tokens = torch.randint(128, (2, 256), generator=torch.Generator().manual_seed(0))
    most_bytes(model, tokens)  # what is made once, such as masks
    bits = 8 * dtype.itemsize
    told = estimate_memory(model.config, bits, context=256, batch=2, phase="prefill")
    measured = most_bytes(model, tokens) - told.kv_cache
    assert measured == pytest.approx(told.activations, rel=0.12)


@pytest.mark.parametrize("length", [5, 40])
def test_the_cache_against_transformers(length):
    windowed = MistralForCausalLM(MistralConfig(**OPTIONS, sliding_window=17)).eval()
    for model, window in ((llama(), length), (windowed, 17)):
        cache = DynamicCache(config=model.config)
        model(torch.zeros(3, length, dtype=torch.long), past_key_values=cache)
        kept = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
        told = estimate_memory(model.config, 32, context=length, batch=3).kv_cache
        # Transformers keeps window - 1 tokens; the newest one comes to them in each step.
        now = min(length, window)
        assert told == kept * now // (now - (now < length))


def fits(model, memory, context, **options):
    return estimate_memory(model, context=context, **options).total <= memory


@pytest.mark.parametrize("name", ["llama-2-7b", "gemma-2-9b", "mixtral-8x7b", "smollm2-135m"])
@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("options", [{}, {"batch": 7, "kv_bits": 4.5}], ids=str)
def test_the_largest_context_is_the_largest(name, phase, options):
    """By search over what estimate_memory says, at several sizes of memory."""
    for memory in (10**9, 6 * 10**9, 12 * 2**30, 10**11):
        told = {"bits_per_weight": 4.25, "phase": phase, **options}
        found = largest_context(name, memory, **told)
        if found:
            assert fits(name, memory, found, **told)
        assert not fits(name, memory, found + 1, **told)


def test_the_largest_context_by_hand():
    # 1704 x 2 bytes of weights; a token of the cache costs 32; a step takes 16 + 192.
    assert largest_context(TINY, 3408 + 208 + 32 * 5) == 5
    assert largest_context(TINY, 3408 + 208 + 32 * 5 - 1) == 4
    assert largest_context(TINY, 3408 + 208 + 31) == largest_context(TINY, 100) == 0
    assert largest_context(TINY, 2 * (3408 + 208 + 32 * 5), usable=0.5) == 5
    # Both layers look back 4 tokens: 4 or more cost the same, so that the model's own end counts.
    windowed = replace(TINY, window=4, windowed=2, context=100)
    assert largest_context(windowed, 3408 + 208 + 32 * 4) == 100
    assert largest_context(windowed, 3408 + 208 + 32 * 4 - 1) == 3
    one = replace(TINY, window=4, windowed=1)
    assert largest_context(one, 3408 + 208 + 32 * 4 + 16 * 6) == 10


def test_more_memory_or_fewer_bits_is_a_longer_context():
    sizes = [largest_context("llama-3-8b", m * 2**30, 4.5) for m in (4, 8, 12, 24, 80)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0 < sizes[1]
    bits = [largest_context("llama-3-8b", 24 * 2**30, b) for b in (16, 8.5, 4.5, 3.25)]
    assert bits == sorted(set(bits))


def test_speed_by_hand():
    # Weights of the blocks, head and norms (552 - 256 embeddings) in 16 bit; 32 bytes a token.
    assert step_bytes(TINY, context=10, batch=3) == 2 * (1152 + 296) + 32 * 30
    assert decode_speed_bound(TINY, 1e6, context=10, batch=3) == pytest.approx(3e6 / 3856)
    tied = replace(TINY, tied=True)  # then the table is read whole, as the head
    assert step_bytes(tied, context=10) == 2 * (1152 + 296) + 320
    learned = replace(TINY, positions=50)
    assert step_bytes(learned, context=10) == step_bytes(TINY, context=10)
    # Mixtral reads two experts of eight for one sequence, and nearly all for 32.
    share = [step_bytes("mixtral-8x7b", context=1, batch=b) / 2 / 46.7e9 for b in (1, 32)]
    assert share == [pytest.approx(0.27, abs=0.01), pytest.approx(1, abs=0.01)]


def test_speed_of_known_devices():
    """A 4090 reads 4-bit Llama-2-7B at most 1008e9 / 3.63 GB times a second, before its cache."""
    card = get_device("rtx-4090").bandwidth
    bound = decode_speed_bound("llama-2-7b", card, 4.156, context=1)
    weights = 6_476_005_376 * 4.156 / 8 + (262_410_240 - 131_072_000) * 2
    assert bound == pytest.approx(card / (weights + 524_288), rel=1e-6)
    assert decode_speed_bound("llama-2-7b", card, 4.156, context=4096) < 0.7 * bound


def test_the_rule_of_thumb():
    assert article_estimate(7e9, 32, overhead=1) == 28e9
    assert article_estimate(7e9, 4, overhead=1) == 3.5e9
    assert article_estimate(65e9, 16) == pytest.approx(156e9)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_smaller_in_fewer_bits(name):
    totals = [estimate_memory(name, bits, context=64).total for bits in (32, 16, 8.25, 4.25, 3)]
    assert totals == sorted(set(totals), reverse=True)


CALLS = {
    "estimate": lambda **options: estimate_memory(**{"model": TINY, **options}),
    "context": lambda **options: largest_context(
        **{"model": TINY, "device_memory_bytes": 1e9, **options}
    ),
    "speed": lambda **options: decode_speed_bound(**{"model": TINY, "bandwidth": 1e9, **options}),
    "token": lambda **options: kv_bytes_per_token(**{"model": TINY, **options}),
    "cache": lambda **options: quantized_kv_bits(**{"bits": 4, **options}),
    "rule": lambda **options: article_estimate(**{"parameters": 7e9, "bits": 4, **options}),
}


@pytest.mark.parametrize(
    ("call", "options", "part"),
    [
        ("estimate", {"model": "llama-9"}, "model='llama-9' is not in the catalogue"),
        ("estimate", {"bits_per_weight": 0}, "bits_per_weight=0 is no number of bits.*4.5"),
        ("estimate", {"bits_per_weight": 65}, "bits_per_weight=65"),
        ("estimate", {"bits_per_weight": float("nan")}, "bits_per_weight=nan"),
        ("estimate", {"bits_per_weight": "4"}, "bits_per_weight='4'"),
        ("estimate", {"bits_per_weight": True}, "bits_per_weight=True"),
        ("estimate", {"context": 0}, "context=0 must be an integer of 1 or more"),
        ("estimate", {"context": 4096.0}, r"context=4096\.0"),
        ("estimate", {"batch": -1}, "batch=-1"),
        ("estimate", {"kv_bits": -4}, "kv_bits=-4"),
        ("estimate", {"other_bits": float("inf")}, "other_bits=inf"),
        ("estimate", {"activation_bits": 12}, r"activation_bits=12\.0 is no width of floats"),
        ("estimate", {"phase": "training"}, "phase='training'.*'prefill'"),
        ("context", {"device_memory_bytes": 0}, "device_memory_bytes=0 must be a number of bytes"),
        ("context", {"device_memory_bytes": "12 GB"}, "device_memory_bytes='12 GB'"),
        ("context", {"usable": 1.5}, r"usable=1\.5 is more than all"),
        ("context", {"usable": 0}, "usable=0"),
        ("context", {"batch": 0}, "batch=0"),
        ("context", {"phase": "x"}, "phase='x'"),
        ("speed", {"bandwidth": float("inf")}, "bandwidth=inf must be a number of bytes a second"),
        ("speed", {"context": 0}, "context=0"),
        ("speed", {"batch": 1.0}, r"batch=1\.0"),
        ("token", {"kv_bits": 0}, "kv_bits=0"),
        ("cache", {"group_size": 0}, "group_size=0"),
        ("cache", {"bits": None}, "bits=None"),
        ("rule", {"parameters": -1}, "parameters=-1 must be a number of parameters above 0"),
        ("rule", {"overhead": 0}, "overhead=0"),
        ("rule", {"bits": 128}, "bits=128"),
    ],
)
def test_bad_input(call, options, part):
    with pytest.raises(ValueError, match=part):
        CALLS[call](**options)
