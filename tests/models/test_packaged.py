"""The packaged models: converted once to exactly the weights of their file, and made again."""

import shutil

import pytest
import torch

from qlearn.models import load as zoo
from qlearn.models import packaged
from qlearn.models.fetch import sha256


@pytest.mark.model
def test_the_packaged_model(smollm, tokenizer):
    config = smollm.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (
        30,
        576,
        1536,
    )
    assert sum(p.numel() for p in smollm.parameters()) == 134_515_008
    assert {p.dtype for p in smollm.parameters()} == {torch.float32}
    assert smollm.lm_head.weight is smollm.model.embed_tokens.weight
    assert not hasattr(config, "quantization_config")
    codes = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        following = smollm(**codes).logits[0, -1].argmax()
    assert tokenizer.decode(following) == " Paris"


@pytest.mark.model
def test_the_converted_copy_holds_exactly_the_gguf_s_weights(smollm):
    from gguf import GGUFReader, dequantize

    names = {
        "blk.0.ffn_gate.weight": "model.layers.0.mlp.gate_proj.weight",
        "blk.29.ffn_down.weight": "model.layers.29.mlp.down_proj.weight",
        "blk.7.attn_v.weight": "model.layers.7.self_attn.v_proj.weight",
        "token_embd.weight": "model.embed_tokens.weight",
    }
    found = 0
    for tensor in GGUFReader(packaged.packaged_gguf()).tensors:
        if tensor.name in names:
            expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
            assert torch.equal(smollm.get_parameter(names[tensor.name]), expected)
            found += 1
    assert found == len(names)


def test_only_packaged_models_have_a_packaged_gguf():
    with pytest.raises(ValueError, match=r"name='gpt2'.*smollm2-135m"):
        packaged.packaged_gguf("gpt2")


@pytest.mark.model
@pytest.mark.slow
def test_a_damaged_copy_is_converted_again_to_the_same_bits(tmp_path, monkeypatch):
    gguf = packaged.packaged_gguf()
    good = packaged.converted_folder("smollm2-135m")
    expected = {path.name: sha256(path) for path in good.iterdir()}
    monkeypatch.setenv("QLEARN_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    downloads = tmp_path / "downloads" / gguf.parent.name
    downloads.mkdir(parents=True)
    (downloads / gguf.name).symlink_to(gguf)
    copy = tmp_path / "models" / "smollm2-135m"
    shutil.copytree(good, copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(300_000_000)
        byte = file.read(1)
        file.seek(300_000_000)
        file.write(bytes([byte[0] ^ 1]))
    assert zoo.locate("smollm2-135m", []).folder == copy
    assert {path.name: sha256(path) for path in copy.iterdir()} == expected
    assert [path.name for path in tmp_path.glob("tmp-*")] == []


def test_a_failed_conversion_says_what_it_needs(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(OSError, match=r"broken\.gguf could not be converted.*1\.3 GB") as caught:
        packaged._convert_apart(broken, tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()
