"""The catalogue of models: by hand, against published totals, and against transformers' models."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    T5Config,
)

from qlearn.measure.memory.architectures import CATALOGUE, MODELS, Architecture, get_architecture
from qlearn.measure.memory.families import from_mapping
from qlearn.models.blocks import block_linears, find_blocks, weight_of
from qlearn.models.packaged import POCKET, POCKET_FOLDER

ENTRIES = json.loads(CATALOGUE.read_text())
TINY = Architecture("tiny", layers=2, hidden=8, mlp=16, heads=4, kv_heads=2, vocab=32)
# Parameters as their makers' files hold them: what the hub counts in the safetensors.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-65b": 65_285_660_672,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "gemma-2b": 2_506_172_416,
    "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984,
    "phi-2": 2_779_683_840,
    "phi-3-mini": 3_821_079_552,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
}


def config_of(name):
    if name in POCKET:
        return AutoConfig.from_pretrained(POCKET_FOLDER / name)
    config = dict(ENTRIES[name]["config"])
    return AutoConfig.for_model(config.pop("model_type"), **config)


def on_meta(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def count(model):
    """All parameters, those of linear layers in the blocks, and the latter's inputs + outputs."""
    shapes = [tuple(weight_of(layer).shape) for layer in block_linears(model).values()]
    experts = find_blocks(model)[1].named_parameters()
    for name, parameter in experts:
        if name.endswith("experts.gate_up_proj"):
            half = parameter.shape[1] // 2
            shapes += 2 * parameter.shape[0] * [(half, parameter.shape[2])]
        elif name.endswith("experts.down_proj"):
            shapes += parameter.shape[0] * [tuple(parameter.shape[1:])]
    total = sum(p.numel() for p in model.parameters())
    return total, sum(a * b for a, b in shapes), sum(a + b for a, b in shapes)


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_is_transformers_model(name):
    config = config_of(name)
    sizes = MODELS[name]
    total, linear, widths = count(on_meta(config))
    assert sizes.parameters == total
    assert sizes.linear_parameters == linear
    assert sizes.adapter_parameters(2) == 2 * widths
    read = get_architecture(config)  # transformers' own defaults give the same sizes
    assert read == replace(sizes, name=read.name, title=read.title, source="")


@pytest.mark.parametrize("name", PUBLISHED)
def test_totals_are_the_published_ones(name):
    assert MODELS[name].parameters == PUBLISHED[name]


def test_the_catalogue_holds_what_the_course_names():
    families = {"llama", "mistral", "mixtral", "qwen2", "gemma", "gemma2", "phi", "phi3", "opt"}
    assert {one.family for one in MODELS.values()} == families | {"gpt2"}
    assert list(MODELS)[-4:] == list(POCKET)
    for name, one in MODELS.items():
        assert one.name == name
        assert one.context > 0
        assert one.source.startswith(("https://", "this package"))
        assert get_architecture(one.title) is get_architecture(name) is one
    with pytest.raises(TypeError):
        MODELS["mine"] = TINY


def test_by_hand():
    # A block: q and o 64 each, k and v 8 * 4 = 32 each, gate, up, down 128 each = 576; two blocks.
    assert (TINY.head_dim, TINY.query_width, TINY.kv_width) == (2, 8, 4)
    assert TINY.linear_parameters == 1152
    assert TINY.other_parameters == 2 * 256 + 5 * 8
    assert TINY.parameters == TINY.active_parameters == 1704
    assert replace(TINY, tied=True).other_parameters == 256 + 5 * 8
    # (8 + 8) * 2 for q and o, (8 + 4) * 2 for k and v, (8 + 16) * 3 for the MLP: 128 a block.
    assert TINY.adapter_parameters(3) == 3 * 2 * 128


def test_experts_by_hand():
    mixture = replace(TINY, experts=4, experts_per_token=1)
    # Attention 192 and four MLPs of 384 a block; a router of 4 x 8 is no layer that is quantized.
    assert mixture.linear_parameters == 2 * (192 + 4 * 384)
    assert mixture.other_parameters == TINY.other_parameters + 2 * 32
    assert mixture.active_parameters == 2 * (192 + 384) + mixture.other_parameters
    # Two tokens pick 1 + 3/4 different experts on average.
    assert mixture.linear_parameters_read(2) == 2 * (192 + 1.75 * 384)
    assert mixture.linear_parameters_read(1000) == pytest.approx(mixture.linear_parameters)
    assert mixture.adapter_parameters(1) == 2 * (56 + 4 * 72)
    # Section 2 of the Mixtral paper (arXiv 2401.04088): 47B parameters, 13B active.
    assert MODELS["mixtral-8x7b"].active_parameters == pytest.approx(13e9, rel=0.01)


SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
        LlamaConfig(**SMALL, head_dim=12, tie_word_embeddings=True),
        MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=3),
        Qwen2Config(**SMALL, num_key_value_heads=1),
        PhiConfig(**SMALL),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_inner=40, n_positions=16),
        OPTConfig(
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
            enable_bias=False,
            max_position_embeddings=16,
            word_embed_proj_dim=8,
        ),
        # These four have no formula here: they are counted.
        PhiConfig(**SMALL, qk_layernorm=True),
        GPTNeoXConfig(**SMALL),
        Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8),
        Qwen3MoeConfig(
            **SMALL,
            num_key_value_heads=2,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_any_configuration(config):
    sizes = get_architecture(config)
    total, linear, _ = count(on_meta(config))
    assert (sizes.parameters, sizes.linear_parameters) == (total, linear)
    assert sizes.parameters == sizes.linear_parameters + sizes.other_parameters
    model = AutoModelForCausalLM.from_config(config).eval()
    cache = model(torch.zeros(1, 5, dtype=torch.long), use_cache=True).past_key_values
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert kept == 5 * 2 * sizes.layers * sizes.kv_width


def test_a_counted_model_keeps_what_it_needs():
    sizes = get_architecture(Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8))
    # q and o 32 x 32, k and v 32 x 16, three of 32 x 48; 64 + 64 + 48 + 48 + 3 * 80 wide.
    assert sizes.adapter_parameters(1) == 3 * (64 + 64 + 48 + 48 + 240)
    assert sizes.active_parameters == sizes.parameters
    assert sizes.linear_parameters_read(4) == sizes.linear_parameters


def test_windows():
    assert (MODELS["gemma-2-9b"].window, MODELS["gemma-2-9b"].windowed) == (4096, 21)
    assert (MODELS["phi-3-mini"].window, MODELS["phi-3-mini"].windowed) == (2047, 32)
    assert MODELS["mistral-7b"].windowed == 0
    some = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    one = Qwen2Config(**SMALL, num_key_value_heads=2, **some)
    assert (get_architecture(one).window, get_architecture(one).windowed) == (8, 2)


def test_a_model_will_do_as_well(tiny_llama):
    total = sum(p.numel() for p in tiny_llama.parameters())
    assert get_architecture(tiny_llama).parameters == total
    assert get_architecture(TINY) is TINY


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("llama-4", ["model='llama-4'", "'llama-", "MODELS", "Architecture"]),
        (7e9, ["model=7000000000.0", "'llama-2-7b'", "configuration"]),
        (None, ["model=None"]),
        (T5Config(), ["model_type='t5'", "encoder and decoder", "of your own"]),
        (DeepseekV3Config(), ["model_type='deepseek_v3'", "latent attention", "of your own"]),
    ],
    ids=str,
)
def test_models_that_are_refused(model, parts):
    with pytest.raises(ValueError, match=r".+") as caught:
        get_architecture(model)
    for part in parts:
        assert part in str(caught.value)


def test_a_mapping_that_lacks_something():
    lacking = {k: v for k, v in ENTRIES["llama-7b"]["config"].items() if k != "hidden_size"}
    with pytest.raises(ValueError, match=r"'mine' has no entry 'hidden_size'.*config\.json"):
        from_mapping(lacking, "mine")
    with pytest.raises(ValueError, match="model_type='bert' of 'mine' has no formula"):
        from_mapping({"model_type": "bert"}, "mine")


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"layers": 0}, "layers=0 must be an integer of 1 or more"),
        ({"hidden": 8.0}, r"hidden=8\.0"),
        ({"vocab": True}, "vocab=True"),
        ({"kv_heads": 3}, "heads=4 is not divisible by kv_heads=3"),
        ({"hidden": 10, "head_dim": 0}, "hidden=10 is not divisible by heads=4; name head_dim"),
        ({"experts": -1}, "experts=-1"),
        ({"experts": 4}, "experts_per_token=0 must be an integer of 1"),
        ({"experts": 4, "experts_per_token": 5}, "experts_per_token=5 is more than experts=4"),
        ({"window": 8}, "windowed=0"),
        ({"windowed": 1}, "windowed=1 with layers=2 and window=0"),
        ({"window": 8, "windowed": 3}, "windowed=3 with layers=2"),
    ],
)
def test_sizes_that_are_refused(changed, part):
    with pytest.raises(ValueError, match=part):
        replace(TINY, **changed)


def test_a_rank_that_is_refused():
    with pytest.raises(ValueError, match="rank=0 must be an integer of 1 or more"):
        TINY.adapter_parameters(0)
