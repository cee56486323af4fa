"""load_quantized refuses what is damaged, unknown or not quantized, in words that help."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from qlearn import QuantScheme, load_quantized, quantize_model, save_quantized
from qlearn.checkpoints.save import LAYOUTS, WEIGHTS
from qlearn.models.layers.affine import QuantizedLinear

UNIFORM = [name for name, layout in LAYOUTS.items() if layout.layer is QuantizedLinear]

DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture
def saved(tiny_llama, tmp_path):
    """A function that gives a folder in some format."""
    quantize_model(tiny_llama, scheme=QuantScheme(4, True, 32), progress=False)

    def save(format="gptq"):
        return save_quantized(tiny_llama, tmp_path / "m", format)

    return save


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config["quantization_config"])
    path.write_text(json.dumps(config), encoding="utf-8")


def edit_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize("format", UNIFORM)
def test_a_lost_tensor_is_named(saved, format):
    folder = saved(format)
    lost = {"awq": "scales", "compressed-tensors": "weight_scale"}.get(format, "g_idx")
    edit_tensors(folder, lambda tensors: tensors.pop(f"{DOWN}.{lost}"))
    with pytest.raises(OSError, match=rf"lacks {DOWN}.{lost}; fetch"):
        load_quantized(folder)


@pytest.mark.parametrize("format", UNIFORM)
def test_a_lost_layer_or_norm_is_named(saved, format):
    folder = saved(format)

    def lose(tensors):
        for name in [name for name in tensors if name.startswith(f"{DOWN}.")]:
            del tensors[name]

    edit_tensors(folder, lose)
    with pytest.raises(OSError, match=rf"lacks 1 of the model's weights \({DOWN}.weight"):
        load_quantized(folder)


def test_a_lost_norm_is_named(saved):
    folder = saved()
    edit_tensors(folder, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(OSError, match=r"lacks 1 of the model's weights \(model.norm.weight"):
        load_quantized(folder)


def test_a_layer_too_many_is_named(saved):
    folder = saved()

    def add(tensors):
        for part in LAYOUTS["gptq"].tensor_names(QuantScheme()):
            tensors[f"model.layers.9.x.{part}"] = tensors[f"{DOWN}.{part}"].clone()

    edit_tensors(folder, add)
    with pytest.raises(OSError, match=r"'model.layers.9.x', which the model has no linear layer"):
        load_quantized(folder)


def test_a_norm_of_another_size_is_an_oserror(saved):
    folder = saved()
    edit_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(OSError, match="can't be loaded"):
        load_quantized(folder)


def test_words_of_another_shape_are_named(saved):
    folder = saved()
    edit(folder, lambda config: config.update(bits=8))
    with pytest.raises(ValueError, match=r"layer 'model.layers.0.*qweight is torch.int32 of shape"):
        load_quantized(folder)


def test_scales_that_are_not_numbers_are_refused(saved):
    folder = saved()
    edit_tensors(folder, lambda tensors: tensors[f"{DOWN}.scales"].fill_(torch.nan))
    with pytest.raises(OSError, match=rf"{DOWN}': its scales hold NaN"):
        load_quantized(folder)


def test_a_symmetric_file_with_other_zero_points_is_refused(saved):
    folder = saved()
    edit_tensors(folder, lambda tensors: tensors[f"{DOWN}.qzeros"].fill_(0x11111111))
    with pytest.raises(OSError, match=r"zero-points other than 8.*symmetric"):
        load_quantized(folder)
    edit(folder, lambda config: config.update(sym=False))
    layer = load_quantized(folder).get_submodule(DOWN)
    assert set(layer.zero_point.unique().tolist()) == {0x22}


@pytest.mark.parametrize(
    ("format", "change", "words"),
    [
        ("gptq", {"quant_method": "hqq"}, r"in the format 'hqq'; those read here are 'gptq'"),
        ("gptq", {"checkpoint_format": "marlin"}, r"in the format 'marlin'"),
        ("gptq", {"desc_act": True}, r"desc_act=True.*static groups"),
        ("gptq", {"bits": 9}, r"config.json: bits=9"),
        ("awq", {"version": "gemv"}, r"version='gemv' is another order"),
        ("awq", {"zero_point": False}, r"zero_point=False"),
        ("compressed-tensors", {"format": "int-quantized"}, r"format='int-quantized'.*pack"),
    ],
)
def test_what_is_not_read_is_said(saved, format, change, words):
    folder = saved(format)
    edit(folder, lambda config: config.update(change))
    with pytest.raises(ValueError, match=words):
        load_quantized(folder)


@pytest.mark.parametrize(
    ("format", "key"), [("gptq", "bits"), ("awq", "bits"), ("compressed-tensors", "config_groups")]
)
def test_a_configuration_without_its_key_is_damaged(saved, format, key):
    folder = saved(format)
    edit(folder, lambda config: config.pop(key))
    with pytest.raises(OSError, match=rf"config.json is damaged.*{key}"):
        load_quantized(folder)


def test_a_file_that_was_cut_short_is_an_oserror(saved):
    path = saved() / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match="damaged or cut short"):
        load_quantized(path.parent)


def test_a_pickle_is_not_read(saved):
    folder = saved()
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="pickle"):
        load_quantized(folder)


def test_a_float_model_is_for_load_model(tiny_llama, tmp_path):
    tiny_llama.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=r"is not quantized.*load_model"):
        load_quantized(tmp_path / "m")


def test_places_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_quantized(tmp_path / "m")
    with pytest.raises(OSError, match=r"config.json is missing"):
        load_quantized(tmp_path)


def test_files_in_pieces_are_read_together(saved, tiny_llama):
    folder = saved()
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    half = len(names) // 2
    files = {"model-00001-of-00002.safetensors": names[:half]}
    files["model-00002-of-00002.safetensors"] = names[half:]
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
    places = {name: file for file, part in files.items() for name in part}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    found = load_quantized(folder)
    layer = tiny_llama.get_submodule(DOWN)
    assert torch.equal(found.get_submodule(DOWN).codes, layer.codes)
