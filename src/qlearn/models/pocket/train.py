"""How the pocket models are built and trained: ``python -m qlearn.models.pocket.train [name]``.

Four Llamas of one kind, from about 100,000 to 4,000,000 parameters. The same seed, machine and
torch give the same weights, bit for bit: one thread, a fixed number of steps, no clock.

Matrices inside the blocks are trained by Muon (Jordan et al. 2024), the embedding and the norms by
AdamW.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn import needs
from qlearn.models.load import quiet
from qlearn.models.packaged import POCKET_FOLDER
from qlearn.models.pocket.batches import ROW, Batch, batches
from qlearn.models.pocket.tasks import ALPHABET
from qlearn.models.pocket.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

BATCH = 32  # rows of 64 characters a step
SCALE_RATE = 0.05  # learning rate of learned scales, as a share of the rest's


@dataclass(frozen=True)
class Recipe:
    """A pocket model and its training.

    Attributes:
        hidden: width of the hidden states.
        blocks: how many transformer blocks.
        mlp: width inside the MLP.
        steps: optimizer steps; the first batches are the same for each size.
        learning_rate: its largest value, for Muon and AdamW alike.
        bfloat16: matrix products in bfloat16, which saves time where they are large.
    """

    hidden: int
    blocks: int
    mlp: int
    steps: int
    learning_rate: float
    bfloat16: bool = False


RECIPES = {
    "pocket-100k": Recipe(64, 2, 160, 2000, 6e-3),
    "pocket-400k": Recipe(96, 4, 256, 2000, 4e-3),
    "pocket-1m": Recipe(160, 4, 416, 2000, 3e-3),
    "pocket-4m": Recipe(256, 5, 704, 2000, 3e-3, bfloat16=True),
}


def build(recipe: Recipe, seed: int = 0) -> LlamaForCausalLM:
    """An untrained model; the same seed gives the same weights, and torch's own is left alone."""
    with needs("course"):
        from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(ALPHABET) + 1,  # one for what is not in the alphabet
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=ROW,
        tie_word_embeddings=True,
        initializer_range=0.7 * recipe.hidden**-0.5,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for block in model.model.layers:
            # What the blocks add to the residual stream is of one size in all, however many.
            block.self_attn.o_proj.weight.mul_((2 * recipe.blocks) ** -0.5)
            block.mlp.down_proj.weight.mul_((2 * recipe.blocks) ** -0.5)
    return model


def loss_of(model: nn.Module, batch: Batch, bfloat16: bool = False) -> Tensor:
    """Weighted mean cross-entropy of a batch, in nats."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = model(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
        ).logits
    weights = batch.weights[:, 1:].flatten()
    surprise = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
    )
    return (surprise * weights).sum() / weights.sum()


def optimizers(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the embedding, the norms and learned scales.

    Learned scales take a twentieth of the rate: Adam moves each by about its rate a step, however
    small its gradient, and a scale is a small number.
    """
    matrices, scales, others = [], [], []
    for name, parameter in model.named_parameters():
        if ".layers." in name and name.endswith("proj.weight"):
            matrices.append(parameter)
        elif name.endswith(".scale"):
            scales.append(parameter)
        else:
            others.append(parameter)
    groups = [{"params": others, "lr": learning_rate}]
    if scales:
        groups.append({"params": scales, "lr": learning_rate * SCALE_RATE})
    return [
        torch.optim.Muon(
            matrices, learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def fit(
    model: nn.Module,
    steps: int,
    learning_rate: float,
    seed: int = 0,
    warmup: int = 60,
    bfloat16: bool = False,
    rows: int = BATCH,
    after: Callable[[int, float], Any] | None = None,
) -> None:
    """Train a model on the pocket tasks, in place.

    The learning rate rises over ``warmup`` steps, stays, and falls to 0 over the second half.

    Args:
        model: of :func:`build`, or one made from it.
        steps: optimizer steps.
        learning_rate: its largest value.
        seed: of the questions.
        warmup: steps until the learning rate is reached.
        bfloat16: matrix products in bfloat16.
        rows: rows of 64 characters a step.
        after: called after each step with its number (from 1) and its loss.

    Raises:
        ValueError: for steps or a learning rate of 0 or less.
    """
    if steps < 1 or not learning_rate > 0:
        raise ValueError(
            f"steps={steps} and learning_rate={learning_rate} train nothing; "
            "choose 1 step or more and a positive rate"
        )
    chosen = optimizers(model, learning_rate)
    source = batches(rows, seed)
    model.train()
    groups = [group for optimizer in chosen for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    for step in range(steps):
        share = min(1.0, (step + 1) / warmup) * min(1.0, 2 * (1 - step / steps))
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * share
        loss = loss_of(model, next(source), bfloat16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if after is not None:
            after(step + 1, loss.item())
    model.eval()


def train(name: str, folder: Path = POCKET_FOLDER, steps: int | None = None) -> Path:
    """Train a pocket model and write it, with its tokenizer, to ``folder / name``.

    Args:
        name: a key of :data:`RECIPES`.
        folder: where the models lie.
        steps: optimizer steps; the recipe's by default.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"name={name!r} is unknown; choose one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    torch.set_num_threads(1)  # sums in another order would give other weights
    model = build(recipe)
    begun = time.monotonic()

    def report(step: int, loss: float) -> None:
        if step % 100 == 0:
            print(f"{name} {step} {loss:.3f} {time.monotonic() - begun:.0f} s", flush=True)

    count = recipe.steps if steps is None else steps
    fit(model, count, recipe.learning_rate, bfloat16=recipe.bfloat16, after=report)
    return write(model, folder / name)


def write(model: LlamaForCausalLM, folder: Path) -> Path:
    """Save a model in float16 and its tokenizer, as a folder that transformers loads."""
    with quiet():
        model.half().save_pretrained(folder)
        build_tokenizer(ROW).save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes for its owner alone
    return folder


def main(arguments: Iterable[str] | None = None) -> None:
    """Train the models that are named, or all."""
    parser = argparse.ArgumentParser(description="Train the pocket models.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--folder", type=Path, default=POCKET_FOLDER)
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    for name in chosen.names or RECIPES:
        train(name, chosen.folder)


if __name__ == "__main__":
    main()
