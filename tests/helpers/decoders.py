"""A text, small decoders, and how far the outputs of two lie apart."""

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
)

TOKENS = torch.randint(128, (3, 24), generator=torch.Generator().manual_seed(2))


def gpt2() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        return GPT2LMHeadModel(config).eval()


def shake(model: nn.Module) -> nn.Module:
    """Norms and biases that are not all ones and zeros, so that dividing them shows."""
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            noise = torch.rand(parameter.shape, generator=generator)
            parameter.data = 0.5 + noise if "weight" in name else noise
    return model


def drift(model: nn.Module, original: nn.Module, tokens: torch.Tensor) -> float:
    """Largest difference of two models' logits over the largest logit."""
    with torch.no_grad():
        found, expected = model(tokens).logits, original(tokens).logits
    return float((found - expected).abs().max() / expected.abs().max())
