"""What qlearn saves, transformers loads on a CPU: the same logits through other people's code."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from loaders import require
from safetensors.torch import load_file, save_file
from tiny_models import llama

from qlearn import QuantScheme, load_tokens, quantize_model, save_quantized
from qlearn.convert.model import copy_for_quantization

LOADER = Path(__file__).parents[1] / "helpers" / "load_with_transformers.py"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """One folder: its format, its scheme, and what is odd about its model."""

    format: str
    scheme: QuantScheme
    skip: tuple[str, ...] = ()
    kind: str = "plain"

    def __str__(self):
        extra = [*self.skip, *([] if self.kind == "plain" else [self.kind])]
        return ", ".join([self.format, str(self.scheme), *extra])


def cases():
    for bits in (2, 3, 4, 8):
        for symmetric in (True, False):
            for group_size in (16, 32, 64, None) if bits == 4 else (32, None):
                scheme = QuantScheme(bits, symmetric, group_size)
                yield Case("compressed-tensors", scheme)
                yield Case("gptq_v2", scheme)
                if symmetric:
                    yield Case("gptq", scheme)
                if bits == 4:
                    yield Case("awq", scheme)
    yield Case("gptq", QuantScheme(4, False, 64))
    for format in ("gptq_v2", "awq", "compressed-tensors"):
        scheme = QuantScheme(4, False, 32)
        yield Case(format, scheme, ("down_proj",))
        yield Case(format, scheme, ("model.layers.1.mlp.down_proj", "*.0.self_attn.q_proj"))
        yield Case(format, scheme, kind="biases, untied")
        yield Case(format, scheme, kind="tiny scales")
        yield Case(format, QuantScheme(4, True, 32, "restricted"))
        yield Case(format, QuantScheme(4, False, 32, "raw-range"))


CASES = list(cases())


def tiny(case):
    odd = case.kind == "biases, untied"
    model = llama(
        max_position_embeddings=512,
        tie_word_embeddings=not odd,
        attention_bias=odd,
        mlp_bias=odd,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
                if case.kind == "tiny scales" and name.endswith("v_proj.weight"):
                    parameter.mul_(1e-4)
    return model


def load_all(folder, tokens, targets):
    """Run the loader once over all folders of a family."""
    save_file({"tokens": tokens}, folder / "tokens.bin")
    done = subprocess.run(
        [sys.executable, str(LOADER), str(folder / "tokens.bin"), *map(str, targets)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        # Two threads that wait for each other are slower than one where others compute beside.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


def of_family(case):
    return "compressed-tensors" if case.format == "compressed-tensors" else "GPTQModel"


def looker(cases, make, tokens, folder):
    """A function: the facts, the loader's logits and our own of a case. Each family runs once."""
    families = {}

    def run(name):
        own = {}
        for number, case in enumerate(cases):
            if of_family(case) == name:
                model = make(case)
                quantize_model(model, scheme=case.scheme, skip=case.skip, progress=False)
                target = save_quantized(model, folder / str(number), case.format)
                with torch.no_grad():
                    own[case] = target, model(tokens).logits
        load_all(folder, tokens, [target for target, _ in own.values()])
        return own

    def look(case):
        require(case.format)
        name = of_family(case)
        if name not in families:
            families[name] = run(name)
        target, logits = families[name][case]
        facts = json.loads((target / "facts.json").read_text(encoding="utf-8"))
        return facts, load_file(target / "logits.bin")["logits"], logits

    return look


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    tokens = torch.arange(48).view(4, 12)
    folder = tmp_path_factory.mktemp("tiny")
    return looker(CASES, tiny, tokens, folder)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_transformers_computes_what_qlearn_does(loaded, case):
    facts, found, expected = loaded(case)
    assert distance(found, expected) <= 1e-3
    assert facts["missing"] == facts["unexpected"] == []
    assert facts["dtype"] == "torch.float32"
    assert facts["tied"] is (case.kind != "biases, untied")


@pytest.mark.parametrize("case", [case for case in CASES if case.skip], ids=str)
def test_layers_left_out_stay_floats(loaded, case):
    facts, _, _ = loaded(case)
    if case.format != "compressed-tensors":  # there they all come out as floats
        floats = [name for name, kind in facts["kinds"].items() if kind == "Linear"]
        assert len(floats) == 3
        assert "model.layers.1.mlp.down_proj" in floats
        assert "lm_head" in floats


def test_the_distance_sees_one_wrong_zero_point(loaded):
    """The bound is no formality: zero-points one too high are far outside of it."""
    case = Case("gptq_v2", QuantScheme(4, True, 64))
    _, found, _ = loaded(case)
    other = Case("gptq_v2", QuantScheme(4, False, 64))
    _, _, expected = loaded(other)
    assert distance(found, expected) > 0.01


REAL = [
    # GPTQModel dequantizes in float16, and multiplies in it too where the file is AWQ's.
    (Case("gptq", QuantScheme(4, True, 64)), 1e-3),
    (Case("gptq_v2", QuantScheme(4, False, 64)), 1e-3),
    (Case("gptq_v2", QuantScheme(3, False, 64)), 1e-3),
    (Case("awq", QuantScheme(4, False, 64)), 1.5e-3),
    (Case("compressed-tensors", QuantScheme(4, False, 64)), 1e-3),
    (Case("compressed-tensors", QuantScheme(8, True, None)), 1e-6),
]


@pytest.fixture(scope="module")
def packaged(smollm, tokenizer, tmp_path_factory):
    tokens = load_tokens(tokenizer, split="evaluation", sequences=1, length=256)
    folder = tmp_path_factory.mktemp("packaged")
    cases = [case for case, _ in REAL]
    return looker(cases, lambda _: copy_for_quantization(smollm), tokens, folder)


@pytest.mark.model
@pytest.mark.parametrize(("case", "bound"), REAL, ids=str)
def test_the_packaged_model(packaged, case, bound):
    facts, found, expected = packaged(case)
    assert distance(found, expected) <= bound
    assert facts["missing"] == facts["unexpected"] == []
    assert facts["tied"]
