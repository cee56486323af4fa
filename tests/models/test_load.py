"""Models: the packaged one, folders, and everything that is refused."""

import json
import logging
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from qlearn.models import load as zoo
from qlearn.models import local_files
from qlearn.models.load import load_model, load_tokenizer


@pytest.fixture
def saved(tiny_llama, tmp_path):
    """A folder that holds the tiny model."""
    folder = tmp_path / "tiny"
    tiny_llama.save_pretrained(folder)
    return folder


def test_a_folder_loads_as_it_was_saved(tiny_llama, saved):
    model = load_model(saved)
    assert not model.training
    expected = tiny_llama.state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_the_one_asked_for(tiny_llama, saved, dtype):
    model = load_model(str(saved), dtype=dtype)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, tiny_llama.get_parameter(name).to(dtype)), name


def test_writing_to_the_weights_does_not_reach_the_file(saved):
    path = saved / "model.safetensors"
    before = path.read_bytes()
    model = load_model(saved)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert path.read_bytes() == before


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def change_a_shape(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = torch.ones(3)
    save_file(weights, path, metadata={"format": "pt"})


def pickle_instead(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_a_shard(folder):
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def own_code(folder):
    config = {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('this code was run')")


def two_ggufs(folder):
    (folder / "config.json").unlink()
    (folder / "a.gguf").write_bytes(b"GGUF")
    (folder / "b.gguf").write_bytes(b"GGUF")


def one_broken_gguf(folder):
    (folder / "config.json").unlink()
    (folder / "a.gguf").write_bytes(b"GGUF" + bytes(3))


@pytest.mark.parametrize(
    ("damage", "kind", "parts"),
    [
        (lambda f: (f / "config.json").unlink(), OSError, ["holds no model", "config.json"]),
        (lambda f: (f / "config.json").write_text("{"), OSError, ["config.json is damaged"]),
        (lambda f: (f / "config.json").write_text("[]"), OSError, ["config.json is damaged"]),
        (lambda f: (f / "config.json").write_text("{}"), ValueError, ["model_type=None"]),
        (own_code, ValueError, ["model_type='mine'", "never run"]),
        (lambda f: (f / "model.safetensors").unlink(), OSError, ["holds no weights"]),
        (pickle_instead, OSError, ["pickle (pytorch_model.bin)", "safetensors"]),
        (cut_short, OSError, ["model.safetensors is damaged or cut short", "fetch it again"]),
        (lose_a_shard, OSError, ["model-00002-of-00002.safetensors is damaged"]),
        (
            lambda f: (f / "model.safetensors.index.json").write_text("{}"),
            OSError,
            ["index.json is damaged"],
        ),
        (drop_a_weight, OSError, ["lacks 1 of the model's weights", "model.norm.weight"]),
        (change_a_shape, OSError, ["can't be loaded", "fetch its files again"]),
        (two_ggufs, ValueError, ["holds 2 GGUF files", "a.gguf"]),
        (one_broken_gguf, OSError, ["a.gguf is not a whole GGUF file"]),
    ],
)
def test_a_folder_that_is_not_whole(saved, damage, kind, parts):
    damage(saved)
    with pytest.raises(kind) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    for part in [str(saved), *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        ("smollm3", ValueError, ["name='smollm3'", "'smollm2-135m'", "folder"]),
        ("", ValueError, ["name=''"]),
        (135, ValueError, ["name=135"]),
        (None, ValueError, ["name=None"]),
        ("./nowhere", FileNotFoundError, ["name='./nowhere'", "no such folder"]),
        ("/nowhere/at/all", FileNotFoundError, ["no such folder"]),
        ("weights.gguf", FileNotFoundError, ["name='weights.gguf'"]),
        ("owner/model", OSError, ["name='owner/model'", "HF_HUB_OFFLINE", "hub"]),
        (__file__, OSError, ["is a file that is not read here", ".gguf"]),
    ],
)
def test_a_name_that_leads_nowhere(load, name, kind, parts):
    with pytest.raises(kind) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int8, "float32", None, torch.complex64])
def test_a_dtype_that_weights_can_t_have(dtype):
    with pytest.raises(ValueError, match=r"dtype=.*choose one of") as caught:
        load_model("smollm2-135m", dtype=dtype)
    assert repr(dtype) in str(caught.value)


def test_too_little_memory_is_said_before_loading(saved, monkeypatch):
    parameters = local_files.stored_parameters(saved)
    monkeypatch.setattr(local_files, "available_memory", lambda: 4 * parameters)
    load_model(saved)
    with pytest.raises(ValueError, match=r"GB of memory.*smaller dtype or model"):
        load_model(saved, dtype=torch.float64)


def test_the_memory_of_this_machine_is_known():
    free = local_files.available_memory()
    assert free is None or 0 < free < 2**50


def test_a_folder_without_a_tokenizer(saved):
    with pytest.raises(OSError, match=r"holds no tokenizer.*save_pretrained"):
        load_tokenizer(saved)
    (saved / "tokenizer.json").write_text("{")
    with pytest.raises(OSError, match=r"can't be read.*fetch"):
        load_tokenizer(saved)


class Hub:
    """The hub's download function, with files of a given size."""

    def __init__(self, folder, size):
        self.folder, self.size, self.calls = folder, size, []

    def __call__(self, _name, dry_run=False, local_files_only=False, **_patterns):
        self.calls.append("plan" if dry_run else "local" if local_files_only else "download")
        if dry_run:
            file = SimpleNamespace(
                filename="model.safetensors", file_size=self.size, will_download=True
            )
            return [file]
        return str(self.folder)


@pytest.mark.parametrize(
    ("size", "kind", "message"),
    [(10**15, ValueError, "GB of memory"), (4 * 10**9, OSError, "GB of free disk.*HF_HOME")],
)
def test_what_does_not_fit_is_not_downloaded(monkeypatch, saved, size, kind, message):
    import huggingface_hub

    hub = Hub(saved, size)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.setattr(local_files, "available_memory", lambda: 10**13)
    disk = shutil.disk_usage(saved)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    with pytest.raises(kind, match=message):
        load_model("owner/model")
    assert hub.calls == ["plan"]


def test_a_hub_model_loads_through_its_folder(monkeypatch, saved, tiny_llama):
    import huggingface_hub

    hub = Hub(saved, 1000)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    model = load_model("owner/model")
    assert hub.calls == ["plan", "download"]
    assert torch.equal(model.model.norm.weight, tiny_llama.model.norm.weight)


def test_loading_silences_torchao_and_gives_its_voice_back():
    before = (logger := logging.getLogger("torchao")).level
    with zoo.quiet():
        assert logger.level == logging.ERROR
    assert logger.level == before
