"""save_quantized: models and places that are refused, and nothing half written or lost."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from transformers import GPT2Config, GPT2LMHeadModel

from qlearn import QuantScheme, load_quantized, quantize_model, save_quantized
from qlearn.checkpoints.save import WEIGHTS
from qlearn.convert.model import dequantize_model
from qlearn.models.layers.affine import QuantizedLinear

G32 = QuantScheme(4, False, 32)


def quantized(model, scheme=G32, skip=()):
    quantize_model(model, scheme=scheme, progress=False, skip=skip)
    return model


def settings(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def gpt2(_):
    config = GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64)
    return quantized(GPT2LMHeadModel(config).eval())


def mixed(model):
    quantized(model, skip=("down_proj",))
    layer = model.model.layers[0].mlp
    layer.down_proj = QuantizedLinear.from_linear(layer.down_proj, QuantScheme(8, True))
    return model


def head(model):
    quantized(model).lm_head = QuantizedLinear.from_linear(model.lm_head, G32)
    return model


def plain(model):
    return torch.nn.Sequential(QuantizedLinear.from_linear(model.lm_head, G32))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: model, r"model=LlamaForCausalLM holds no quantized layer.*quantize_model"),
        (lambda model: dequantize_model(quantized(model)), "holds no quantized layer"),
        (gpt2, r"c_attn' was a Conv1D.*Llama"),
        (mixed, r"down_proj' has scheme=INT8.*skip="),
        (head, r"'lm_head' is quantized but lies outside"),
        (plain, r"model=Sequential is not a model of transformers"),
        (lambda model: quantized(model, QuantScheme(4, True, "tensor")), "group_size='tensor'"),
    ],
)
def test_models_that_are_refused(tiny_llama, tmp_path, make, words):
    model = make(tiny_llama)
    with pytest.raises(ValueError, match=words):
        save_quantized(model, tmp_path / "deep" / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tiny_llama, tmp_path):
    with pytest.raises(ValueError, match=r"format='gguf2' is not known; choose 'gptq'"):
        save_quantized(quantized(tiny_llama), tmp_path / "m", "gguf2")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten_unasked(tiny_llama, tmp_path):
    model = quantized(tiny_llama)
    target = tmp_path / "m"
    target.mkdir()
    save_quantized(model, target)  # empty: nothing is lost
    before = (target / WEIGHTS).read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_quantized(model, target, "awq")
    assert (target / WEIGHTS).read_bytes() == before
    (target / "notes.txt").write_text("old", encoding="utf-8")
    save_quantized(model, target, "awq", overwrite=True)
    assert settings(target)["quantization_config"]["quant_method"] == "awq"
    assert not (target / "notes.txt").exists()
    assert list(tmp_path.iterdir()) == [target]


def test_something_else_than_a_model_is_never_overwritten(tiny_llama, tmp_path):
    model = quantized(tiny_llama)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("words", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"no config.json"):
        save_quantized(model, tmp_path / "thesis", overwrite=True)
    with pytest.raises(FileExistsError, match="is a file"):
        save_quantized(model, tmp_path / "thesis" / "chapter.tex", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text(encoding="utf-8") == "words"


def test_a_failure_leaves_what_was_there(tiny_llama, tmp_path, monkeypatch):
    model = quantized(tiny_llama)
    save_quantized(model, tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_quantized(model, tmp_path / "m", "awq", overwrite=True)
    with pytest.raises(OSError, match="No space"):
        save_quantized(model, tmp_path / "n", "awq")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_saving_leaves_the_model_as_it_was(tiny_llama, tmp_path):
    model = quantized(tiny_llama)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    random = torch.get_rng_state()
    save_quantized(model, tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), random)
    assert model.config.to_dict() == config
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_file_is_readable_to_those_who_may(tiny_llama, tmp_path):
    save_quantized(quantized(tiny_llama), tmp_path / "m")
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (tmp_path / "m").stat().st_mode == plain.stat().st_mode
    with safe_open(tmp_path / "m" / WEIGHTS, "pt") as file:
        assert file.metadata()["format"] == "pt"


def test_a_home_folder_is_found(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert save_quantized(quantized(tiny_llama), "~/m") == tmp_path / "m"
    load_quantized(os.path.join("~", "m"))  # noqa: PTH118
