"""Name, configuration and tensors side by side: our own files, and files that lie."""

import json

import pytest
import torch
from safetensors.torch import save_file

from qlearn import QuantScheme, load_model, quantize_model, save_quantized
from qlearn.checkpoints.inside.folder import look_inside
from qlearn.models.load import quiet

FORMATS = {
    "gptq": ("rtn", QuantScheme(4, True, 32), 4),
    "awq": ("rtn", QuantScheme(4, False, 32), 4),
    "compressed-tensors": ("rtn", QuantScheme(8, True, 32), 8),
    "bitsandbytes": ("nf4", None, 4),
}


def saved(format, folder, model="pocket-4m"):
    method, scheme, _ = FORMATS[format]
    model = load_model(model)
    quantize_model(model, method, scheme, progress=False)
    return save_quantized(model, folder, format=format)


@pytest.fixture(scope="module")
def gptq(tmp_path_factory):
    return saved("gptq", tmp_path_factory.mktemp("hub") / "model-GPTQ-Int4")


def change(folder, **settings):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] |= settings
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("format", FORMATS)
def test_our_own_files_agree_and_their_bits_are_counted(format, tmp_path):
    bits = FORMATS[format][2]
    found = look_inside(saved(format, tmp_path / f"model-int{bits}"))
    assert found.disagreements == ()
    assert found.inside.method == format
    codes = [layer for layer in found.layers if layer.quantized]
    model = load_model("pocket-4m")
    sizes = {name: m.weight.numel() for name, m in model.named_modules() if hasattr(m, "weight")}
    for layer in codes:
        assert (layer.kind, layer.bits, layer.weights) == (format, bits, sizes[layer.name])
    # What the configuration can't know: a few bytes for each layer and, in GPTQ, for each input.
    extra = 32 / 256 if format == "gptq" else 0.02
    stored = sum(8 * layer.bytes for layer in codes) / sum(layer.weights for layer in codes)
    assert 0 <= stored - found.inside.bits_per_weight <= extra
    # The embedding stays in float32.
    assert found.bits_per_weight > stored
    assert sum(found.stored.values()) == pytest.approx(1)


def test_gguf_types_are_told_apart(tmp_path):
    model = load_model("pocket-4m")
    quantize_model(model, "rtn", QuantScheme(4, False, 32), progress=False)
    path = save_quantized(model, tmp_path / "x", format="gguf") / "model.gguf"
    found = look_inside(path, name="pocket.Q4_1.gguf")
    assert found.inside is None and found.disagreements == ()
    assert next(iter(found.stored)) == "Q4_1, 5 bits"
    (told,) = look_inside(path, name="pocket.Q8_0.gguf").disagreements
    assert "8 bits" in told and "Q4_1" in told


@pytest.mark.model
def test_the_packaged_file_holds_more_than_its_name_says():
    from qlearn.models.packaged import packaged_gguf

    found = look_inside(packaged_gguf())
    (told,) = found.disagreements
    assert found.claim.file_type == "Q4_1" and "Q8_0" in told
    assert found.bits_per_weight > 5.5


def test_a_name_that_claims_another_width(gptq):
    (told,) = look_inside(gptq, name="model-GPTQ-Int8").disagreements
    assert told.startswith("The name says 8 bits; 100% of the weights (gptq)")


def test_a_name_that_hides_it(gptq):
    (told,) = look_inside(gptq, name="model").disagreements
    assert "does not say" in told


def test_floats_under_the_name_of_codes(tmp_path):
    with quiet():
        load_model("pocket-100k").save_pretrained(tmp_path / "pocket-AWQ")
    found = look_inside(tmp_path / "pocket-AWQ")
    assert found.inside.method == "none"
    assert found.disagreements == ("The name claims codes; the tensors are floats.",)
    assert look_inside(tmp_path / "pocket-AWQ", name="pocket").disagreements == ()


@pytest.mark.parametrize(("rows", "told"), [(5, 0), (50, 1)])
def test_a_large_part_in_floats_is_told(rows, told, tmp_path):
    tensors = {
        "model.embed_tokens.weight": torch.zeros(rows, 64),
        "model.layers.0.mlp.up_proj.weight": torch.zeros(64, 64, dtype=torch.int8),
        "model.norm.weight": torch.ones(64),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quant_method": "eetq"}))
    found = look_inside(tmp_path, name="model-int8")
    assert [layer.bits for layer in found.layers] == [32, 8]
    assert len(found.disagreements) == told
    assert all("(F32) are floats" in one for one in found.disagreements)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": 8}, "config.json says 8 bits; the tensors have 4"),
        ({"quant_method": "awq", "zero_point": True}, "says awq; the tensors are laid out as gptq"),
    ],
)
def test_a_configuration_that_lies(settings, words, tmp_path):
    folder = saved("gptq", tmp_path / "pocket-GPTQ-int4", model="pocket-100k")
    change(folder, **settings)
    told = look_inside(folder, name="pocket-int4").disagreements
    assert any(words in one for one in told), told


def test_an_old_file_of_settings_is_read(tmp_path):
    folder = saved("gptq", tmp_path / "pocket-GPTQ-int4", model="pocket-100k")
    config = json.loads((folder / "config.json").read_text())
    settings = config.pop("quantization_config")
    (folder / "config.json").write_text(json.dumps(config))
    assert "names no quantization" in look_inside(folder).disagreements[-1]
    (folder / "quantize_config.json").write_text(json.dumps(settings))
    assert look_inside(folder).inside.method == "gptq"


def test_what_is_not_there_or_damaged(gptq, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        look_inside(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OSError, match="damaged"):
        look_inside(tmp_path)
    (tmp_path / "config.json").write_text((gptq / "config.json").read_text())
    with pytest.raises(FileNotFoundError, match="safetensors"):
        look_inside(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(OSError, match="fetch it again"):
        look_inside(tmp_path)
