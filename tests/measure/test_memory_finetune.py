"""The memory of fine-tuning: counted by hand, against real models, and against the paper."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from qlearn.measure.memory.finetune import (
    ARCHITECTURES,
    METHODS,
    NF4_BITS,
    Architecture,
    activation_bytes,
    finetune_memory,
)

TINY = Architecture("tiny", layers=2, hidden=8, mlp=16, heads=4, kv_heads=2, vocab=32)


@pytest.mark.parametrize("sizes", [TINY, *ARCHITECTURES.values()], ids=lambda a: a.name)
def test_parameters_are_those_of_transformers(sizes):
    config = LlamaConfig(
        vocab_size=sizes.vocab,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) == sizes.parameters
    blocks = model.model.layers
    linear = [m for m in blocks.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(m.weight.numel() for m in linear) == sizes.linear_parameters
    adapters = sum(3 * (m.in_features + m.out_features) for m in linear)
    assert adapters == sizes.adapter_parameters(3)


def test_by_hand():
    # A block: q and o 64 each, k and v 32 each, gate, up, down 128 each = 576; two of them.
    assert TINY.linear_parameters == 1152
    # Embedding and head 2 * 256, norms 5 * 8.
    assert TINY.other_parameters == 552
    # A token: 2 blocks' inputs and the last norm's 3 * 8, one block of 48 + 8 + 64 = 120.
    activations = 10 * (2 * (24 + 120) + 6 * 32)
    full = finetune_memory(TINY, "full, mixed", tokens=10)
    assert (full.weights, full.adapters, full.gradients, full.optimizer) == (
        2 * 1704,
        0,
        2 * 1704,
        8 * 1704,
    )
    assert full.activations == activations
    assert full.total == 12 * 1704 + activations
    assert finetune_memory(TINY, "full, mixed", master_weights=True).optimizer == 12 * 1704
    assert finetune_memory(TINY, "full, 32 bit", master_weights=True).optimizer == 8 * 1704
    # Rank 2: (16 + 12 + 12 + 16 + 24 + 24 + 24) * 2 * 2 layers = 512.
    lora = finetune_memory(TINY, "LoRA", rank=2, tokens=10)
    assert (lora.weights, lora.adapters, lora.gradients, lora.optimizer) == (
        3408,
        1024,
        1024,
        4096,
    )
    qlora = finetune_memory(TINY, "QLoRA", rank=2, tokens=10)
    assert qlora.weights == round(1152 * 4.126953125 / 8) + 2 * 552
    assert (qlora.adapters, qlora.activations) == (lora.adapters, lora.activations)
    assert activation_bytes(TINY, 10, checkpointing=False) == 10 * (2 * (240 + 8) + 6 * 32)


def test_the_figures_of_the_qlora_paper():
    """Abstract and section 1: 65B from more than 780 GB to less than 48 GB; 3 GB saved by
    double quantization; a 33B model on 24 GB."""
    before = finetune_memory("LLaMA 65B", "full, mixed").total
    after = finetune_memory("LLaMA 65B", "QLoRA", rank=64).total
    assert 780e9 < before < 790e9
    assert 40e9 < after < 48e9
    assert pytest.approx(4.127, abs=5e-4) == NF4_BITS
    saved = (4.5 - NF4_BITS) / 8 * ARCHITECTURES["LLaMA 65B"].linear_parameters
    assert saved == pytest.approx(3e9, rel=0.02)
    assert finetune_memory("LLaMA 33B", "QLoRA", rank=64).total < 24e9
    assert finetune_memory("LLaMA 65B", "QLoRA", rank=1, tokens=1).weights > 24e9


def kept_bytes(model, tokens):
    """What autograd really keeps: each storage once, the parameters' own left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so no address recurs
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(tokens)[0].sum()
    return sum(size for size, _ in kept.values())


def test_activations_against_what_autograd_keeps():
    """One block more costs about what the formula says; transformers' norms keep float copies."""
    tokens = torch.randint(128, (2, 64))
    models = [_deep(n) for n in (2, 4)]
    few, many = (kept_bytes(model, tokens) for model in models)
    sizes = [Architecture("deep", n, 64, 128, 4, 2, 128) for n in (2, 4)]
    ours = [activation_bytes(one, tokens.numel(), 4, checkpointing=False) for one in sizes]
    assert 1 <= (many - few) / (ours[1] - ours[0]) < 1.3


def _deep(layers):
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config)


def test_less_is_less():
    for name in ARCHITECTURES:
        totals = [finetune_memory(name, method).total for method in METHODS]
        assert totals == sorted(totals, reverse=True)
        assert activation_bytes(name, 512) < activation_bytes(name, 512, checkpointing=False)


@pytest.mark.parametrize(
    ("arguments", "options", "part"),
    [
        (("LLaMA 8B", "LoRA"), {}, "model='LLaMA 8B'.*llama-7b"),
        (("LLaMA 7B", "lora"), {}, "method='lora'.*'LoRA'"),
        (("LLaMA 7B", "LoRA"), {"rank": 0}, "rank=0"),
        (("LLaMA 7B", "LoRA"), {"rank": 1.5}, r"rank=1\.5"),
        (("LLaMA 7B", "LoRA"), {"tokens": -1}, "tokens=-1"),
        (("LLaMA 7B", "LoRA"), {"tokens": True}, "tokens=True"),
    ],
)
def test_bad_input(arguments, options, part):
    with pytest.raises(ValueError, match=part):
        finetune_memory(*arguments, **options)
