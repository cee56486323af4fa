"""What config.json says, against our own exports and transformers' configuration classes."""

import inspect
import json
from importlib import import_module

import pytest

from qlearn import QuantScheme, load_model, quantize_model, save_quantized
from qlearn.checkpoints.inside.config import PACKAGES, READERS, read_config
from qlearn.checkpoints.inside.fields import Inside

# Settings as published: DeepSeek-V3's README_WEIGHTS.md, gpt-oss, Llama 2 7B Chat as GPTQ, a W8A8
# and a W4A16 of llm-compressor, AWQ's first form.
LISTED = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}
INPUTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
PUBLISHED = {
    "deepseek": (
        {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
         "weight_block_size": [128, 128]},
        {"kind": "FP", "bits": 8, "granularity": "block", "group_size": 16384,
         "activations": "FP8 while it runs", "bits_per_weight": 8 + 32 / 16384,
         "head_quantized": False},
    ),
    "gpt-oss": (
        {"quant_method": "mxfp4", "modules_to_not_convert": LISTED},
        {"kind": "FP", "bits": 4, "group_size": 32, "bits_per_weight": 4.25,
         "head_quantized": False, "kept": tuple(LISTED)},
    ),
    "llama-gptq": (
        {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": True, "sym": True,
         "true_sequential": True, "quant_method": "gptq"},
        {"bits": 4, "group_size": 128, "symmetric": True, "act_order": True,
         "bits_per_weight": 4 + 20 / 128, "head_quantized": False},
    ),
    "gptq with its head": (
        {"bits": 8, "group_size": -1, "sym": False, "lm_head": True, "quant_method": "gptq"},
        {"bits": 8, "granularity": "row", "symmetric": False, "head_quantized": True, "kept": ()},
    ),
    "awq": (
        {"quant_method": "awq", "zero_point": True, "q_group_size": 64, "w_bit": 4,
         "version": "GEMM"},
        {"bits": 4, "group_size": 64, "symmetric": False, "bits_per_weight": 4 + 20 / 64,
         "note": ""},
    ),
    "w8a8": (
        {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
            "input_activations": INPUTS}}},
        {"bits": 8, "granularity": "row", "activations": "INT8 while it runs",
         "head_quantized": False, "bits_per_weight": 8},
    ),
    "w4a16, nothing ignored": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": WEIGHTS}}},
        {"bits": 4, "group_size": 128, "bits_per_weight": 4 + 16 / 128, "head_quantized": True},
    ),
    "double quantization": (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        {"method": "bitsandbytes", "kind": "NF", "bits": 4, "group_size": 64,
         "bits_per_weight": 4 + 8.125 / 64, "head_quantized": False},
    ),
    "torchao": (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig",
         "_data": {"group_size": 128}}}},
        {"bits": 4, "group_size": 128, "activations": ""},
    ),
    "torchao with inputs": (
        {"quant_method": "torchao",
         "quant_type": {"default": {"_type": "Int8DynamicActivationInt4WeightConfig",
         "_data": {"group_size": 32}}}},
        {"bits": 4, "group_size": 32, "activations": "INT8 while it runs"},
    ),
    "ternary": (
        {"quant_method": "bitnet", "modules_to_not_convert": None},
        {"kind": "ternary", "bits": None, "bits_per_weight": 2},
    ),
    "hqq, nested": (
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 3,
         "group_size": 32}}, "skip_modules": ["lm_head"]},
        {"bits": 3, "group_size": 32, "bits_per_weight": 4.0, "head_quantized": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_settings(case):
    settings, wanted = PUBLISHED[case]
    found = read_config(settings)
    assert {name: getattr(found, name) for name in wanted} == wanted
    whole = read_config(
        {"model_type": "llama", "dtype": "bfloat16", "quantization_config": settings}
    )
    assert whole.dtype == "bfloat16" and whole.bits_per_weight == found.bits_per_weight


OURS = {
    ("gptq", 4, True, 32): 4 + 20 / 32,
    ("gptq", 8, True, None): 8,
    ("gptq_v2", 4, False, 32): 4 + 20 / 32,
    ("awq", 4, False, 32): 4 + 20 / 32,
    ("compressed-tensors", 4, True, 32): 4 + 16 / 32,
    ("compressed-tensors", 8, False, 32): 8 + 24 / 32,
}


@pytest.mark.parametrize(("export", "bits_per_weight"), OURS.items())
def test_our_own_exports(export, bits_per_weight, tmp_path):
    format, bits, symmetric, group = export
    model = load_model("pocket-100k")
    quantize_model(model, "rtn", QuantScheme(bits, symmetric, group), progress=False)
    folder = save_quantized(model, tmp_path / "saved", format=format)
    found = read_config(json.loads((folder / "config.json").read_text()))
    assert found.method == format.removesuffix("_v2")
    assert (found.bits, found.group_size, found.symmetric) == (bits, group, symmetric)
    assert found.granularity == ("group" if group else "row")
    assert found.bits_per_weight == bits_per_weight
    assert not found.head_quantized and not found.act_order and found.dtype == "float32"


@pytest.mark.parametrize(
    ("cls", "arguments", "wanted"),
    [
        ("GPTQConfig", {"bits": 3, "group_size": 64, "desc_act": True, "sym": False},
         {"method": "gptq", "bits": 3, "group_size": 64, "act_order": True, "symmetric": False}),
        ("AwqConfig", {"bits": 4, "group_size": 32},
         {"method": "awq", "bits": 4, "group_size": 32}),
        ("BitsAndBytesConfig", {"load_in_8bit": True},
         {"method": "bitsandbytes", "bits": 8, "granularity": "row"}),
        ("BitsAndBytesConfig", {"load_in_4bit": True}, {"kind": "FP", "bits": 4}),
        ("BitsAndBytesConfig", {"load_in_4bit": True, "llm_int8_skip_modules": ["model.norm"]},
         {"head_quantized": True}),
        ("FineGrainedFP8Config", {"weight_block_size": (64, 32)},
         {"method": "fp8", "group_size": 2048}),
        ("FineGrainedFP8Config", {"weight_block_size": None}, {"granularity": "tensor"}),
        ("Mxfp4Config", {}, {"method": "mxfp4", "bits": 4}),
        ("QuantoConfig", {"weights": "int2"}, {"method": "quanto", "bits": 2}),
        ("QuantoConfig", {"weights": "float8"}, {"kind": "FP", "bits": 8}),
        ("AutoRoundConfig", {"bits": 2, "group_size": 32},
         {"method": "auto-round", "bits": 2, "group_size": 32}),
        ("EetqConfig", {}, {"method": "eetq", "bits": 8}),
        ("HiggsConfig", {"bits": 3}, {"method": "higgs", "bits": 3}),
        ("BitNetQuantConfig", {}, {"method": "bitnet", "kind": "ternary"}),
        ("AqlmConfig", {}, {"method": "aqlm", "bits": None}),
    ],
)  # fmt: skip
def test_what_transformers_own_classes_write(cls, arguments, wanted):
    classes = import_module("transformers.utils.quantization_config")
    written = getattr(classes, cls)(**arguments).to_dict()
    found = read_config(written)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_compressed_tensors_own_presets():
    from compressed_tensors.quantization import preset_name_to_scheme as presets

    for preset, bits, inputs in (("W8A8", 8, "INT8"), ("W4A16", 4, ""), ("FP8_DYNAMIC", 8, "FP8")):
        scheme = presets(preset, ["Linear"]).model_dump(mode="json")
        found = read_config(
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": scheme}}
        )
        assert found.bits == bits and found.activations.startswith(inputs)
        assert found.kind == ("FP" if preset.startswith("FP8") else "INT")
        assert bool(found.activations) == bool(inputs)


def test_the_packages_are_those_that_transformers_asks_for():
    auto = import_module("transformers.quantizers.auto")
    for key, quantizer in auto.AUTO_QUANTIZER_MAPPING.items():
        method = "bitsandbytes" if key.startswith("bitsandbytes") else key
        if method not in PACKAGES:
            continue
        code = inspect.getsource(import_module(quantizer.__module__)).lower()
        for package in PACKAGES[method]:
            assert package in code or package.replace("-", "_") in code, (method, package)


def test_methods_that_are_not_known_here_are_few():
    auto = import_module("transformers.quantizers.auto")
    theirs = {
        key.split("_4bit")[0].split("_8bit")[0] for key in auto.AUTO_QUANTIZATION_CONFIG_MAPPING
    }
    unknown = {"fouroversix", "fp_quant", "metal", "sinq", "gemma", "gguf"}  # gguf: in its own file
    assert theirs - {*READERS} <= unknown


def test_floats_are_said_to_be_floats():
    found = read_config({"model_type": "llama", "torch_dtype": "bfloat16"})
    assert found == Inside(method="none", kind="float", dtype="bfloat16")
    assert found.sentence == "Not quantized: weights in bfloat16."


def test_a_part_for_text_is_found():
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    config = {"model_type": "gemma3", "text_config": {"quantization_config": settings}}
    assert read_config(config).bits == 4


def test_a_sentence_says_all_of_it():
    settings, _ = PUBLISHED["llama-gptq"]
    assert read_config(settings).sentence == (
        "gptq: INT4, groups of 128, symmetric, act-order, 4.16 bits a weight, output head in "
        "floats, transformers asks for gptqmodel and optimum."
    )
    settings, _ = PUBLISHED["gpt-oss"]
    assert "also in floats: model.layers.*.self_attn, " in read_config(settings).sentence


NONSENSE = {
    "no mapping": ([], "not a mapping"),
    "no model's": ({"a": 1}, "no model's configuration"),
    "method": ({"quant_method": "zip"}, "quant_method='zip'"),
    "no method": ({"model_type": "llama", "quantization_config": {"bits": 4}}, "quant_method=None"),
    "no bits": ({"quant_method": "gptq", "group_size": 128}, "bits=None"),
    "bits": ({"quant_method": "gptq", "bits": 40, "group_size": 128}, "bits=40"),
    "bits as text": ({"quant_method": "awq", "bits": "four"}, "bits='four'"),
    "true": ({"quant_method": "gptq", "bits": True}, "bits=True"),
    "group": ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size=0"),
    "both": ({"load_in_4bit": True, "load_in_8bit": True}, "one of them"),
    "codebook": ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf3"}, "nf3"),
    "groups": ({"quant_method": "compressed-tensors", "config_groups": {}}, "config_groups"),
    "weights": ({"quant_method": "compressed-tensors", "config_groups": {"g": {}}}, "weights=None"),
    "strategy": ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {
        "num_bits": 4, "strategy": "diagonal"}}}}, "diagonal"),
    "block": ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
    "quanto": ({"quant_method": "quanto", "weights": "int5"}, "int5"),
    "torchao": ({"quant_method": "torchao"}, "quant_type=None"),
    "skips": ({"quant_method": "awq", "bits": 4, "modules_to_not_convert": "lm_head"}, "list"),
    "settings": ({"model_type": "llama", "quantization_config": "gptq"}, "not a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused(case):
    config, words = NONSENSE[case]
    with pytest.raises(ValueError, match=words):
        read_config(config)
