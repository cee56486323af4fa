"""save_quantized and load_quantized: there and back, what is refused, and nothing half written."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import qlearn
from qlearn import QuantScheme, load_quantized, quantize_model, save_quantized
from qlearn.checkpoints.save import LAYOUTS, WEIGHTS
from qlearn.convert.model import copy_for_quantization
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor

UNIFORM = [name for name, layout in LAYOUTS.items() if layout.layer is QuantizedLinear]

G32 = QuantScheme(4, False, 32)
TOKENS = torch.arange(24).view(2, 12)


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def quantized_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, QuantizedLinear)}


def quantized(model, scheme=G32, skip=()):
    quantize_model(model, scheme=scheme, progress=False, skip=skip)
    return model


def assert_same(found, expected):
    """Both models hold the same codes, scales, zero-points, schemes and floats, bit for bit."""
    layers = quantized_layers(expected)
    assert layers
    assert list(quantized_layers(found)) == list(layers)
    for name, layer in layers.items():
        other = found.get_submodule(name)
        assert other.scheme == layer.scheme
        assert other.dtype == layer.dtype
        mine, theirs = quantized_tensor(layer), quantized_tensor(other)
        assert torch.equal(theirs.codes, mine.codes)
        assert theirs.scale.dtype == mine.scale.dtype
        assert torch.equal(theirs.scale, mine.scale)
        assert torch.equal(theirs.zero_point, mine.zero_point)
    parameters = dict(expected.named_parameters())
    assert dict(found.named_parameters()).keys() == parameters.keys()
    for name, parameter in found.named_parameters():
        assert parameter.dtype == parameters[name].dtype
        assert torch.equal(parameter, parameters[name]), name


def settings(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


SCHEMES = [
    G32,
    QuantScheme(4, True, 16),
    QuantScheme(4, False, None),
    QuantScheme(4, True, 64, "restricted"),
    QuantScheme(4, False, 32, "raw-range"),
    QuantScheme(2, False, 32),
    QuantScheme(3, True, 32),
    QuantScheme(8, False, 64),
]


CASES = [(format, scheme) for format in ("gptq_v2", "compressed-tensors") for scheme in SCHEMES]
CASES += [("awq", scheme) for scheme in SCHEMES if scheme.bits == 4]


@pytest.mark.parametrize(("format", "scheme"), CASES, ids=str)
def test_there_and_back(tiny_llama, tmp_path, format, scheme):
    model = quantized(tiny_llama, scheme)
    assert save_quantized(model, tmp_path / "m", format) == tmp_path / "m"
    found = load_quantized(tmp_path / "m")
    assert isinstance(found, LlamaForCausalLM)
    assert not found.training
    assert_same(found, model)
    assert torch.equal(logits(found), logits(model))
    assert not hasattr(found.config, "quantization_config")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_comparison_sees_one_changed_code(tiny_llama, tmp_path):
    """`assert_same` must be able to fail."""
    model = quantized(tiny_llama)
    save_quantized(model, tmp_path / "m", "gptq_v2")
    tensors = load_file(tmp_path / "m" / WEIGHTS)
    tensors["model.layers.1.mlp.down_proj.qweight"][0, 0] ^= 1
    save_file(tensors, tmp_path / "m" / WEIGHTS, {"format": "pt"})
    with pytest.raises(AssertionError):
        assert_same(load_quantized(tmp_path / "m"), model)


def test_the_names_are_public():
    assert {"save_quantized", "load_quantized"} <= set(qlearn.__all__)
    assert set(LAYOUTS) == {*UNIFORM, "bitsandbytes"}
    assert set(UNIFORM) == {"gptq", "gptq_v2", "awq", "compressed-tensors"}


@pytest.mark.parametrize("format", UNIFORM)
def test_bytes_are_the_ones_that_are_counted(tiny_llama, tmp_path, format):
    report = quantize_model(tiny_llama, scheme=QuantScheme(4, True, 32), progress=False)
    save_quantized(tiny_llama, tmp_path / "m", format)
    tensors = load_file(tmp_path / "m" / WEIGHTS)
    quantized = {n: t for n, t in tensors.items() if not n.endswith((".weight", ".bias"))}
    found = sum(t.numel() * t.element_size() for t in quantized.values())
    extra = 0
    for layer in report.layers:
        rows, columns = layer.shape
        # What the formats store beside: group numbers, zero-points that are all 8, a shape.
        zeros = rows * columns // 32 // 2
        extra += {"awq": zeros, "compressed-tensors": 16}.get(format, zeros + 4 * columns)
    assert found == extra + sum(layer.bytes for layer in report.layers)


def test_tied_embeddings_are_stored_once(tiny_llama, tmp_path):
    save_quantized(quantized(tiny_llama), tmp_path / "m")
    names = load_file(tmp_path / "m" / WEIGHTS).keys()
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    assert settings(tmp_path / "m")["tie_word_embeddings"] is True
    found = load_quantized(tmp_path / "m")
    assert found.lm_head.weight is found.model.embed_tokens.weight


def another_llama(tiny_llama, **changes):
    config = type(tiny_llama.config)(**tiny_llama.config.to_dict() | changes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(config).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("format", UNIFORM)
def test_biases_and_an_untied_head(tiny_llama, tmp_path, format):
    changes = {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}
    model = quantized(another_llama(tiny_llama, **changes))
    save_quantized(model, tmp_path / "m", format)
    found = load_quantized(tmp_path / "m")
    assert found.lm_head.weight is not found.model.embed_tokens.weight
    assert_same(found, model)
    assert found.model.layers[0].mlp.down_proj.bias is not None
    assert torch.equal(logits(found), logits(model))


def test_one_tensor_in_two_untied_places_is_stored_twice(tiny_llama, tmp_path):
    model = another_llama(tiny_llama, tie_word_embeddings=False)
    model.lm_head.weight = model.model.embed_tokens.weight
    save_quantized(quantized(model), tmp_path / "m")
    found = load_quantized(tmp_path / "m")
    assert torch.equal(found.lm_head.weight, found.model.embed_tokens.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_are_kept(tiny_llama, tmp_path, dtype):
    model = quantized(tiny_llama.to(dtype))
    save_quantized(model, tmp_path / "m", "gptq_v2")
    assert settings(tmp_path / "m")["dtype"] == str(dtype).removeprefix("torch.")
    found = load_quantized(tmp_path / "m")
    assert found.dtype == dtype
    assert_same(found, model)


@pytest.mark.parametrize("format", UNIFORM)
def test_scales_too_small_for_float16_are_kept(tiny_llama, tmp_path, format):
    with torch.no_grad():
        tiny_llama.model.layers[0].mlp.up_proj.weight.mul_(1e-4)
    model = quantized(tiny_llama)
    assert model.model.layers[0].mlp.up_proj.scale.dtype == torch.float32
    save_quantized(model, tmp_path / "m", format)
    assert_same(load_quantized(tmp_path / "m"), model)


SKIPS = [("down_proj",), ("model.layers.1.mlp.down_proj", "*.0.self_attn.q_proj")]


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("format", UNIFORM)
def test_layers_left_out_are_named(tiny_llama, tmp_path, format, skip):
    model = quantized(tiny_llama, skip=skip)
    kept = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    assert len(kept) == 3  # two layers and the head
    save_quantized(model, tmp_path / "m", format)
    config = settings(tmp_path / "m")["quantization_config"]
    if format == "awq":
        assert config["modules_to_not_convert"] == kept
    elif format == "compressed-tensors":
        assert config["ignore"] == kept
    else:
        inside = [name for name in kept if name != "lm_head"]
        assert [key for key in config["dynamic"] if not key.startswith("-:^model\\.layers")] == []
        assert len(config["dynamic"]) == len(inside)
        (names,) = config["modules_in_block_to_quantize"]
        every = list(quantized_layers(model))
        assert [n for n in [*every, *inside] if any(n.endswith(end) for end in names)] == every
    found = load_quantized(tmp_path / "m")
    assert_same(found, model)
    assert isinstance(found.get_submodule(kept[0]), torch.nn.Linear)
    assert torch.equal(logits(found), logits(model))


CONFIGURATIONS = {
    "gptq": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 32,
        "sym": False,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": "gptq",
        "block_name_to_quantize": "model.layers",
    },
    "awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 32,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": ["lm_head"],
    },
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "dequantize": True,
    },
}


@pytest.mark.parametrize("format", CONFIGURATIONS)
def test_the_keys_that_loaders_look_for(tiny_llama, tmp_path, format):
    save_quantized(quantized(tiny_llama), tmp_path / "m", format)
    config = settings(tmp_path / "m")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32"
    stored = config["quantization_config"]
    expected = CONFIGURATIONS[format]
    assert {key: stored.get(key) for key in expected} == expected
    if format == "compressed-tensors":
        weights = stored["config_groups"]["group_0"]["weights"]
        assert (weights["num_bits"], weights["symmetric"]) == (4, False)
        assert (weights["strategy"], weights["group_size"]) == ("group", 32)


@pytest.mark.parametrize("format", UNIFORM)
def test_per_channel_is_written_as_minus_one(tiny_llama, tmp_path, format):
    save_quantized(quantized(tiny_llama, QuantScheme(4, True)), tmp_path / "m", format)
    stored = settings(tmp_path / "m")["quantization_config"]
    if format == "compressed-tensors":
        weights = stored["config_groups"]["group_0"]["weights"]
        assert (weights["strategy"], weights["group_size"]) == ("channel", None)
        assert "dequantize" not in stored
    else:
        assert stored["group_size"] == -1
        assert stored["sym"] is True


@pytest.mark.model
def test_tokenizer_and_generation_configuration_go_along(tiny_llama, tokenizer, tmp_path):
    tiny_llama.generation_config.max_new_tokens = 7
    save_quantized(quantized(tiny_llama), tmp_path / "m", tokenizer=tokenizer)
    text = "Eight codes a word."
    assert qlearn.load_tokenizer(tmp_path / "m")(text) == tokenizer(text)
    assert load_quantized(tmp_path / "m").generation_config.max_new_tokens == 7


@pytest.mark.model
@pytest.mark.slow
def test_the_packaged_model_comes_back(smollm, tmp_path):
    model = quantized(copy_for_quantization(smollm), QuantScheme(4, False, 64))
    for format in ("gptq", "compressed-tensors"):
        save_quantized(model, tmp_path / "m", format, overwrite=True)
        assert_same(load_quantized(tmp_path / "m"), model)
