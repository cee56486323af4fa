"""Interrupted runs: a killed process loses one block, and a folder belongs to one run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from qlearn.convert.model import copy_for_quantization, quantize_model
from qlearn.models.load import load_model
from qlearn.numerics.scheme import QuantScheme

TOKENS = torch.randint(128, (4, 24), generator=torch.Generator().manual_seed(2))
G32 = QuantScheme(3, False, 32)
# Each block takes half a second and more, so that there is time to kill it in the second.
CHILD = """
import sys, time
import torch
import qlearn.convert.one_block.gptq
from qlearn.convert.model import quantize_model
from qlearn.numerics.scheme import QuantScheme
from qlearn.models.load import load_model

def slow(*arguments, stages=qlearn.convert.one_block.gptq.run_stages):
    print("block", flush=True)
    outputs = stages(*arguments)
    time.sleep(float(sys.argv[4]) if arguments[1] else 0)
    return outputs

qlearn.convert.one_block.gptq.run_stages = slow
tokens = torch.load(sys.argv[2], weights_only=True)
quantize_model(
    load_model(sys.argv[1]), "gptq", QuantScheme(3, False, 32), tokens, progress=False,
    resume=sys.argv[3],
)
"""


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the blocks that are computed from here on."""
    import qlearn.convert.one_block.gptq

    blocks: list[int] = []
    run_stages = qlearn.convert.one_block.gptq.run_stages

    def noted(walk, index, *rest):
        blocks.append(index)
        return run_stages(walk, index, *rest)

    monkeypatch.setattr(qlearn.convert.one_block.gptq, "run_stages", noted)
    return blocks


def gptq(model: nn.Module, folder: Path, **changed):
    arguments = {"method": "gptq", "scheme": G32, "calibration": TOKENS, **changed}
    return quantize_model(model, progress=False, resume=folder, **arguments)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tiny_llama, tmp_path, monkeypatch):
    tiny_llama.save_pretrained(tmp_path / "model")
    torch.save(TOKENS, tmp_path / "tokens.pt")
    folder = tmp_path / "run"
    arguments = [str(tmp_path / "model"), str(tmp_path / "tokens.pt"), str(folder), "600"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment)
    deadline = time.monotonic() + 1200  # a child that hangs
    while not (folder / "block-000.safetensors").exists():
        assert child.poll() is None, "the child ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # well inside the second block
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".tmp") == [
        "block-000.safetensors",
        "hidden-000.safetensors",
        "run.json",
    ]
    blocks = counted(monkeypatch)
    model = load_model(tmp_path / "model")
    report = gptq(model, folder)
    assert blocks == [1]
    whole = load_model(tmp_path / "model")
    expected = quantize_model(whole, "gptq", G32, TOKENS, progress=False)
    assert same(model, whole)
    assert report.layers == expected.layers and report.bytes == expected.bytes


@pytest.mark.parametrize("options", [{}, {"method": "awq"}, {"skip": ["v_proj"]}])
@pytest.mark.parametrize("hidden", [True, False])
def test_finished_blocks_are_taken_over(tiny_llama, tmp_path, options, hidden, monkeypatch):
    whole = copy_for_quantization(tiny_llama)
    report = gptq(whole, tmp_path, **options)
    (tmp_path / "block-001.safetensors").unlink()
    last = tmp_path / "hidden-001.safetensors"
    if hidden:  # as if the run had ended before the second block
        last.rename(tmp_path / "hidden-000.safetensors")
        tensors = torch.zeros(4, 24, 64)
        from safetensors.torch import save_file

        walk = _hidden_after_first(whole)
        assert walk.shape == tensors.shape
        save_file({"hidden": walk}, tmp_path / "hidden-000.safetensors")
    else:
        last.unlink()
    before = {name: tensor.clone() for name, tensor in tiny_llama.state_dict().items()}
    model = copy_for_quantization(tiny_llama)
    again = gptq(model, tmp_path, **options)
    for name, tensor in tiny_llama.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert [layer.name for layer in again.layers] == [layer.name for layer in report.layers]
    first = {n: t for n, t in model.state_dict().items() if ".layers.0." in n}
    assert first and all(torch.equal(t, whole.state_dict()[n]) for n, t in first.items())
    with torch.no_grad():
        found, expected = model(TOKENS).logits, whole(TOKENS).logits
    assert (found - expected).abs().max() <= 0.02 * expected.abs().max()
    # And a folder in which all is finished computes nothing.
    blocks = counted(monkeypatch)
    done = copy_for_quantization(tiny_llama)
    gptq(done, tmp_path, **options)
    assert blocks == [] and same(done, model)


def _hidden_after_first(model: nn.Module) -> torch.Tensor:
    from qlearn.models.walk import Walk

    with torch.no_grad():
        walk = Walk(model, TOKENS)
        return torch.cat(walk.run(0, walk.hidden))


def heavier(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    return model


OTHER = {
    "scheme": ({"scheme": QuantScheme(4, False, 32)}, "another scheme;"),
    "option": ({"damping": 0.02}, "another options;"),
    "method": ({"method": "awq"}, "another method and options;"),
    "text": ({"calibration": TOKENS + 1}, "another calibration;"),
    "layers": ({"skip": ["v_proj"]}, "another layers;"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_folder_of_another_run_is_refused(tiny_llama, tmp_path, case):
    changed, message = OTHER[case]
    gptq(copy_for_quantization(tiny_llama), tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tokens = changed.get("calibration")
    if tokens is not None:
        changed = {"calibration": tokens.clamp(max=127)}
    with pytest.raises(ValueError, match=message):
        gptq(tiny_llama, tmp_path, **changed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert isinstance(tiny_llama.model.layers[0].mlp.up_proj, nn.Linear)


def test_a_folder_of_another_model_is_refused(tiny_llama, tmp_path):
    gptq(copy_for_quantization(tiny_llama), tmp_path)
    with pytest.raises(ValueError, match=r"another model; choose a new folder, or delete this"):
        gptq(heavier(tiny_llama), tmp_path)


def test_folders_that_hold_something_else(tiny_llama, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files of something else; choose a new folder"):
        gptq(tiny_llama, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(OSError, match=r"notes\.txt"):
        gptq(tiny_llama, tmp_path / "notes.txt")


def test_damaged_files(tiny_llama, tmp_path):
    gptq(copy_for_quantization(tiny_llama), tmp_path)
    (tmp_path / "left.tmp").write_bytes(b"half a block")
    (tmp_path / "block-000.safetensors").write_bytes(b"\x00" * 50)
    with pytest.raises(OSError, match=r"block-000.safetensors is damaged .* delete it"):
        gptq(copy_for_quantization(tiny_llama), tmp_path)
    assert not (tmp_path / "left.tmp").exists()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OSError, match=r"run.json is damaged .* delete the folder"):
        gptq(tiny_llama, tmp_path)
