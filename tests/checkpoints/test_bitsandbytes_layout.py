"""bitsandbytes folders: transformers loads them, there and back, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from qlearn import QuantScheme, load_quantized, load_tokens, quantize_model, save_quantized
from qlearn.checkpoints.save import WEIGHTS
from qlearn.convert.model import copy_for_quantization
from qlearn.models.blocks import set_module
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.numerics.codebook import NF4, Codebook, CodebookScheme, quantize_blockwise

TOKENS = torch.arange(24).view(2, 12)
DOWN = "model.layers.1.mlp.down_proj"
KINDS = [(method, double) for method in ("nf4", "fp4") for double in (False, True)]


def llama(hidden=64, inner=128, **options):
    options = {"tie_word_embeddings": True, "max_position_embeddings": 64} | options
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **options,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def quantized(model, method="nf4", **options):
    quantize_model(model, method, progress=False, **options)
    return model


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def distance(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def loaded(folder):
    """As a user of transformers does.

    bitsandbytes multiplies in float32, as it says, while a model is in training mode: in
    evaluation mode it changes to bfloat16 on processors that have instructions for it.
    """
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.train()


def layers_of(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, CodebookLinear)}


def assert_same(found, expected):
    layers = layers_of(expected)
    assert layers and list(layers_of(found)) == list(layers)
    for name, layer in layers.items():
        other = found.get_submodule(name)
        assert (other.scheme, other.dtype) == (layer.scheme, layer.dtype)
        theirs, mine = dict(other.named_buffers()), dict(layer.named_buffers())
        assert theirs.keys() == mine.keys()
        assert all(torch.equal(theirs[key], mine[key]) for key in mine)
    parameters = dict(expected.named_parameters())
    assert dict(found.named_parameters()).keys() == parameters.keys()
    for name, value in found.named_parameters():
        assert torch.equal(value, parameters[name])


CASES = [
    ({}, {}),
    ({}, {"skip": ("down_proj",)}),
    ({}, {"skip": (DOWN, "*.0.self_attn.q_proj")}),
    ({"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}, {}),
    ({"hidden": 96, "inner": 160}, {"block_size": 32}),
    ({"hidden": 192, "inner": 320}, {}),
    ({"hidden": 128, "inner": 256}, {"block_size": 128}),
]


@pytest.mark.parametrize(("method", "double"), KINDS)
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_transformers_gives_the_same_logits(tmp_path, method, double, shape, options):
    model = quantized(llama(**shape), method, double_quant=double, **options)
    save_quantized(model, tmp_path / "m", "bitsandbytes")
    found = loaded(tmp_path / "m")
    kinds = {name: type(module).__name__ for name, module in found.named_modules()}
    assert {name for name, kind in kinds.items() if kind == "Linear4bit"} == set(layers_of(model))
    tied = shape.get("tie_word_embeddings", True)
    assert (found.lm_head.weight is found.model.embed_tokens.weight) == tied
    assert distance(logits(found), logits(model)) <= 1e-6
    assert_same(load_quantized(tmp_path / "m"), model)


def test_rows_that_end_within_a_block_are_refused_for_a_reason(tmp_path):
    """Where bitsandbytes has its AVX512 kernel; once this fails the refusal may go."""
    import bitsandbytes.functional as bnb

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("the kernel is another one on this processor")
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    codes, state = bnb.quantize_4bit(weight, quant_type="nf4")
    ours = quantize_blockwise(weight)
    assert torch.equal(ours.codes, codes.view(-1))
    assert distance(ours.dequantize(), weight) < 0.1
    assert distance(bnb.dequantize_4bit(codes, state), weight) > 0.2


def test_evaluation_mode_is_close_too(tmp_path):
    """To 2**-8, where bitsandbytes multiplies in bfloat16; the bound would show other codes."""
    model = quantized(llama())
    save_quantized(model, tmp_path / "m", "bitsandbytes")
    assert distance(logits(loaded(tmp_path / "m").eval()), logits(model)) < 1e-2
    assert distance(logits(quantized(llama(), "fp4")), logits(model)) > 3e-2


@pytest.mark.parametrize(("method", "double"), KINDS)
def test_what_bitsandbytes_saves_is_read_and_is_the_same(tmp_path, method, double):
    """transformers quantizes and saves; qlearn does both itself: the same bits."""
    llama().save_pretrained(tmp_path / "floats")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=method, bnb_4bit_use_double_quant=double
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "floats", quantization_config=config, dtype=torch.float32
    )
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same(
        load_quantized(tmp_path / "theirs"), quantized(llama(), method, double_quant=double)
    )


def test_the_file_is_laid_out_as_bitsandbytes_lays_it_out(tmp_path):
    llama().save_pretrained(tmp_path / "floats")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path / "floats", quantization_config=config, dtype=torch.float32
    )
    theirs.save_pretrained(tmp_path / "theirs")
    save_quantized(quantized(llama(), double_quant=True), tmp_path / "ours", "bitsandbytes")
    ours, expected = (load_file(tmp_path / name / WEIGHTS) for name in ("ours", "theirs"))
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype
        if name.endswith("bitsandbytes__nf4"):
            states = (json.loads(bytes(t.tolist())) for t in (ours[name], tensor))
            mine, state = states
            assert mine == state
        else:
            assert torch.equal(ours[name], tensor), name
    mine, stored = (
        json.loads((tmp_path / name / "config.json").read_text())["quantization_config"]
        for name in ("ours", "theirs")
    )
    same = {k: v for k, v in stored.items() if k != "llm_int8_skip_modules"}
    assert {key: mine.get(key) for key in same} == same
    assert mine["llm_int8_skip_modules"] == ["lm_head"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_are_kept(tmp_path, dtype):
    model = quantized(llama().to(dtype), double_quant=True)
    save_quantized(model, tmp_path / "m", "bitsandbytes")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    name = str(dtype).removeprefix("torch.")
    assert config["quantization_config"]["bnb_4bit_compute_dtype"] == name
    assert_same(load_quantized(tmp_path / "m"), model)
    assert loaded(tmp_path / "m").dtype == dtype


@pytest.mark.parametrize(
    ("make", "format", "words"),
    [
        (
            lambda: quantized(llama()),
            "gptq",
            r"is NF4 b64, a CodebookLinear, which format='gptq'.*choose 'bitsandbytes'",
        ),
        (
            lambda: quantized(llama(), "rtn", scheme=QuantScheme(4, True, 32)),
            "bitsandbytes",
            r"INT4 g32 sym, a QuantizedLinear.*choose 'gptq' or",
        ),
        (lambda: quantized(llama(), block_size=16), "bitsandbytes", r"block_size=16.*32, 64, 128"),
        (lambda: quantized(llama().double()), "bitsandbytes", r"dtype=torch.float64"),
        (
            lambda: quantized(llama(hidden=96)),
            "bitsandbytes",
            r"in_features=96, not a multiple of block_size=64.*block_size=32, or leave",
        ),
        (lambda: quantized(llama(hidden=40)), "bitsandbytes", r"in_features=40.*; leave it out"),
    ],
)
def test_what_the_format_does_not_hold(tmp_path, make, format, words):
    with pytest.raises(ValueError, match=words):
        save_quantized(make(), tmp_path / "m", format)
    assert not list(tmp_path.iterdir())


def test_another_codebook_is_refused(tmp_path):
    model = quantized(llama())
    scheme = CodebookScheme(Codebook("nf4", NF4.levels.flip(0)))
    for name, layer in layers_of(model).items():
        floats = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        set_module(model, name, CodebookLinear.from_linear(floats, scheme))
    with pytest.raises(ValueError, match=r"codebook='nf4', which.*NF4 or FP4"):
        save_quantized(model, tmp_path / "m", "bitsandbytes")


@pytest.fixture
def saved(tmp_path):
    model = quantized(llama(), double_quant=True)
    return save_quantized(model, tmp_path / "m", "bitsandbytes")


def edit(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


STATE = f"{DOWN}.weight.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.pop(f"{DOWN}.weight.absmax"), OSError, rf"lacks {DOWN}.weight.absmax"),
        (lambda t: t.pop(STATE), OSError, "lacks .*bitsandbytes__nf4"),
        (
            lambda t: t[f"{DOWN}.weight.nested_absmax"].fill_(torch.nan),
            OSError,
            "scales hold NaN",
        ),
        (lambda t: t[f"{DOWN}.weight.quant_map"].mul_(2), ValueError, "table of levels.*NF4"),
        (lambda t: t[STATE].fill_(32), ValueError, "bitsandbytes__nf4 is damaged"),
        (
            lambda t: t.update({f"{DOWN}.weight": t[f"{DOWN}.weight"][:-1].clone()}),
            ValueError,
            r"weight is torch.uint8 of shape \(4095, 1\)",
        ),
    ],
)
def test_damage_is_named(saved, change, error, words):
    edit(saved, change)
    with pytest.raises(error, match=words):
        load_quantized(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_in_4bit": False}, "load_in_4bit is not set"),
        ({"bnb_4bit_quant_type": "int4"}, "bnb_4bit_quant_type='int4'"),
        ({"qlearn_block_size": 128}, "quant_state says blocksize=64; 128"),
    ],
)
def test_configurations_that_do_not_fit(saved, change, words):
    path = saved / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"].update(change)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        load_quantized(saved)


@pytest.mark.model
@pytest.mark.slow
def test_the_packaged_model(smollm, tokenizer, tmp_path):
    tokens = load_tokens(tokenizer, split="evaluation", sequences=1, length=128)
    model = quantized(copy_for_quantization(smollm), double_quant=True)
    save_quantized(model, tmp_path / "m", "bitsandbytes")
    with torch.no_grad():
        found, expected = loaded(tmp_path / "m")(tokens).logits, model(tokens).logits
    assert distance(found, expected) <= 1e-6
