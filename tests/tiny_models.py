"""Models small enough for a fast test, of seeded random weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def llama(heads: int = 2, **options) -> LlamaForCausalLM:
    """A Llama of two blocks with `heads` key and value heads; `options` go to its config."""
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=heads,
        **options,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()
