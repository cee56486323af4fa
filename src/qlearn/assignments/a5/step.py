"""Assignment 5, a whole model: one step of QLoRA on a pocket model whose base is in NF4."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn.assignments.a5.adapters import BLOCK, base
from qlearn.assignments.a5.codes import NF4_OFFSET, levels, quantize_blocks
from qlearn.assignments.a5.init import new_adapter
from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.question import Packaged
from qlearn.teach.checks.checker import Exercise

MODEL = "pocket-100k"
ADAPTED = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
RANK = 4

Adapters = dict[str, list[Tensor]]


def to_nf4(weight: Tensor) -> Tensor:
    """A weight rounded to NF4 in blocks of 64."""
    table = levels(4, NF4_OFFSET)
    codes, absmax = quantize_blocks(weight, table, BLOCK)
    return base(codes, absmax, table, len(weight))


def qlora_step(
    model: nn.Module,
    tokens: Tensor,
    adapters: Adapters,
    alpha: float,
    lr: float,
    *,
    rounded: Callable[[Tensor], Tensor] = to_nf4,
    everything: bool = False,
    factor: Callable[[float, int], float] = lambda alpha, rank: alpha / rank,
    loss_of: Callable[[Tensor, Tensor], Tensor] | None = None,
    frozen: str = "",
) -> dict[str, Any]:
    """The loss, and the adapters after one step of gradient descent.

    Keywords spoil one thing each, for the mistakes.
    """
    trained = {
        name: [matrix.clone().requires_grad_(True) for matrix in pair]
        for name, pair in adapters.items()
    }
    model.requires_grad_(False)
    with ExitStack() as stack, torch.enable_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear) and (everything or ".layers." in name):
                layer.weight.data = rounded(layer.weight.data)
            if name in trained:

                def add(_: nn.Module, args: Any, output: Tensor, name: str = name) -> Tensor:
                    a, b = trained[name]
                    return output + factor(alpha, len(a)) * (args[0] @ a.T) @ b.T

                stack.enter_context(layer.register_forward_hook(add))
        logits = model(tokens).logits
        loss = (loss_of or next_token_loss)(logits, tokens)
        loss.backward()
    new = {
        name: [
            matrix.detach() - (0 if frozen == which else lr) * _gradient(matrix)
            for which, matrix in zip("ab", pair, strict=True)
        ]
        for name, pair in trained.items()
    }
    return {"loss": float(loss.detach()), "adapters": new}


def _gradient(matrix: Tensor) -> Tensor:
    return torch.zeros_like(matrix) if matrix.grad is None else matrix.grad


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean surprise of each token after the first of its row, nats."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def make_step(seed: int) -> Exercise:
    """A fresh adapter, whose A stands still; a trained one; another rank and factor."""
    from qlearn.models.pocket.batches import pocket_tokens

    generator = generator_of(seed, 56)
    named: Any = Packaged(MODEL)
    cases = []
    for k, (fresh, alpha, rank) in enumerate(
        ((True, 8.0, RANK), (False, 8.0, RANK), (False, 6.0, 2))
    ):
        adapters: Adapters = {}
        for block in range(2):
            for j, layer in enumerate(ADAPTED):
                inputs = 160 if layer == "mlp.down_proj" else 64
                a, b = new_adapter(inputs, 64, rank, 97 * seed + 10 * k + 3 * block + j)
                if not fresh:
                    b = 0.1 * torch.randn(b.shape, generator=generator)
                adapters[f"model.layers.{block}.{layer}"] = [a, b]
        tokens = pocket_tokens(8, "calibration", seed=31 * seed + k)
        cases.append((named, tokens, adapters, alpha, 0.5))

    def spoilt(**change: Any) -> Callable[..., Any]:
        def wrong(m: Any, t: Tensor, adapters: Adapters, alpha: float, lr: float) -> Any:
            return qlora_step(m, t, adapters, alpha, lr, **change)

        return wrong

    def changed(change: Callable[[dict[str, Any], Adapters], Any]) -> Callable[..., Any]:
        return lambda m, t, adapters, alpha, lr: change(_usual(m, t, adapters, alpha, lr), adapters)

    def uphill(found: dict[str, Any], old: Adapters) -> dict[str, Any]:
        new = found["adapters"]
        pairs = {n: [2 * o - p for o, p in zip(old[n], new[n], strict=True)] for n in old}
        return {**found, "adapters": pairs}

    def gradients(m: Any, t: Tensor, adapters: Adapters, alpha: float, lr: float) -> Any:
        found = qlora_step(m, t, adapters, alpha, 1.0)
        new = found["adapters"]
        pairs = {n: [o - p for o, p in zip(adapters[n], new[n], strict=True)] for n in adapters}
        return {**found, "adapters": pairs}

    def unshifted(logits: Tensor, tokens: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    def summed(logits: Tensor, tokens: Tensor) -> Tensor:
        return next_token_loss(logits, tokens) * tokens[:, 1:].numel()

    def plain(m: Any, t: Tensor, adapters: Adapters, alpha: float, lr: float) -> Any:
        return qlora_step(m, t, adapters, alpha, lr, rounded=lambda weight: weight)

    return Exercise(
        id="a5.step",
        task="Write `qlora_step(model, tokens, adapters, alpha, lr)`: round the linear layers of "
        "all blocks to NF4 in blocks of 64, add the adapters (name of a layer -> [A, B]), and take "
        "one step of gradient descent on them: {'loss': before it, 'adapters': the new ones}.",
        expected=_usual,
        cases=cases,
        mistakes={
            "The base is in floats: round the linear layers of all blocks to NF4.": plain,
            "The base has one absmax a row; NF4 takes blocks of 64.": spoilt(rounded=_by_rows),
            "The factor alpha / rank is missing.": spoilt(factor=lambda alpha, rank: 1.0),
            "The factor is alpha; divide it by the rank.": spoilt(factor=lambda alpha, rank: alpha),
            "The step goes uphill: take lr times the gradient off.": changed(uphill),
            "Only B has moved. A stands still while B is 0, and no longer.": spoilt(frozen="a"),
            "Only A has moved; B is trained too.": spoilt(frozen="b"),
            "Nothing has moved: these are the adapters that came in.": changed(
                lambda found, old: {**found, "adapters": old}
            ),
            "These are the gradients; take lr times them off the adapters.": gradients,
            "The loss compares each token with itself; the logits of a place predict the next.": (
                spoilt(loss_of=unshifted)
            ),
            "The loss is a sum over all tokens; take the mean.": spoilt(loss_of=summed),
            "The embedding and the output head are rounded too: the linear layers of the blocks "
            "are asked for.": spoilt(everything=True),
        },
        rtol=2e-3,
        atol=2e-5,
        hint="A forward hook on each adapted layer adds its part; `loss.backward()`; then A and B "
        "minus lr times their gradients.",
    )


def _by_rows(weight: Tensor) -> Tensor:
    table = levels(4, NF4_OFFSET)
    codes, absmax = quantize_blocks(weight, table, weight.shape[1])
    return (table[codes.long()].view(weight.shape)) * absmax[:, None]


def _usual(model: Any, tokens: Tensor, adapters: Adapters, alpha: float, lr: float) -> Any:
    """The reference with the question's own parameters."""
    return qlora_step(model, tokens, adapters, alpha, lr)
