"""LoRA and its files beside peft, over bitsandbytes' NF4 on the CPU."""

import json

import peft
import pytest
import torch
from tiny_models import llama

from qlearn.methods import lora_files
from qlearn.methods.lora import add_lora, lora_layers
from qlearn.methods.lora_files import load_adapters, save_adapters

STEPS = 8


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    llama().save_pretrained(folder)
    return folder


def nf4(folder):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, dtype=torch.float32
    )
    assert {type(m).__name__ for m in model.modules()} >= {"Linear4bit"}
    return model.train()


def losses(model):
    """Some steps of AdamW on one batch."""
    tokens = torch.randint(128, (4, 12), generator=torch.Generator().manual_seed(3))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    found = []
    for _ in range(STEPS):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def randomised(model):
    generator = torch.Generator().manual_seed(5)
    for layer in lora_layers(model).values():
        layer.lora_B.data.normal_(std=0.2, generator=generator)
    return model


def test_the_same_training_as_peft_over_nf4(base, tmp_path):
    ours = nf4(base)
    add_lora(ours, rank=4, alpha=8)
    save_adapters(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(nf4(base), tmp_path, is_trainable=True)
    mine, other = losses(ours), losses(theirs)
    assert mine == pytest.approx(other, abs=1e-4)
    assert mine[-1] < mine[0] - 0.3, "something was learned, or equality says little"


def test_peft_loads_ours(base, tmp_path):
    ours = randomised_model(base)
    save_adapters(ours, tmp_path, base=str(base))
    from transformers import AutoModelForCausalLM

    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path)
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(theirs(tokens).logits, ours(tokens).logits)
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(merged(tokens).logits, ours(tokens).logits, rtol=1e-3, atol=1e-4)
    plain = llama()(tokens).logits
    assert not torch.allclose(ours(tokens).logits, plain, atol=1e-2)


def randomised_model(base):
    model = llama()
    add_lora(model, rank=4, alpha=12, targets=("q_proj", "up_proj"))
    return randomised(model)


def test_we_load_peft_s(base, tmp_path):
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False
    )
    theirs = peft.get_peft_model(llama(), config)
    theirs.save_pretrained(tmp_path)
    ours = llama()
    layers = load_adapters(ours, tmp_path)
    assert len(layers) == 14
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits)


def test_a_round_trip(base, tmp_path):
    first = randomised_model(base)
    save_adapters(first, tmp_path)
    save_adapters(first, tmp_path)  # on top of the old files
    second = llama()
    load_adapters(second, tmp_path)
    tokens = torch.arange(20)[None]
    assert torch.equal(first(tokens).logits, second(tokens).logits)
    assert sorted(p.name for p in tmp_path.iterdir()) == [lora_files.CONFIG, lora_files.WEIGHTS]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"bias": "all"}, "bias='all'"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
    ],
)
def test_other_kinds_of_adapter_are_refused(base, tmp_path, change, part):
    save_adapters(randomised_model(base), tmp_path)
    file = tmp_path / lora_files.CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=part):
        load_adapters(llama(), tmp_path)


def test_adapters_of_another_model_are_refused(base, tmp_path):
    save_adapters(randomised_model(base), tmp_path)
    with pytest.raises(ValueError, match=r"layers\.0\.mlp\.up_proj' does not fit"):
        load_adapters(torch.nn.Sequential(torch.nn.Linear(4, 4)), tmp_path)


def test_missing_and_damaged_files(base, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no adapter_config\.json"):
        load_adapters(llama(), tmp_path)
    save_adapters(randomised_model(base), tmp_path)
    (tmp_path / lora_files.WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(OSError, match="is damaged"):
        load_adapters(llama(), tmp_path)
    with pytest.raises(ValueError, match="call add_lora first"):
        save_adapters(llama(), tmp_path)
