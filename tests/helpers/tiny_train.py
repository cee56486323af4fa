"""A few training steps on fixed random tokens, and the logits there."""

import torch
from torch import nn

TOKENS = torch.randint(128, (4, 24), generator=torch.Generator().manual_seed(2))


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def train_a_little(model: nn.Module, steps: int = 5) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(
            model(TOKENS).logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
