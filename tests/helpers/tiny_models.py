"""Models small enough for a fast test, of seeded random weights."""

import torch
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM


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


def gemma2(**options) -> Gemma2ForCausalLM:
    """A Gemma 2, whose norms multiply by 1 + weight; `options` go to its config."""
    config = Gemma2Config(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attn_implementation="eager",
        **options,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Gemma2ForCausalLM(config).eval()


class SharedLayer(nn.Module):
    """A model in two of whose places the same linear layer stands."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding = nn.Embedding(128, 32)
            shared = nn.Linear(32, 32)
        self.layers = nn.ModuleList([nn.Sequential(shared), nn.Sequential(shared)])

    def forward(self, ids):
        return self.layers[1](self.layers[0](self.embedding(ids)))
