"""The capstone's tools: bits for each tensor where they help most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from qlearn.assignments.shared.cases import generator_of
from qlearn.assignments.shared.measured import measured, measured_all
from qlearn.assignments.shared.pocket_layer import layer_case
from qlearn.assignments.shared.pocket_state import allowed
from qlearn.numerics.affine import fake_quantize
from qlearn.numerics.scheme import QuantScheme
from qlearn.teach.checks.checker import Exercise

CHOICES = (2, 3, 4, 5, 6, 8)  # bits that a tensor may get
SLACK = 1.1  # times the reference's loss is as good
LAYERS = (
    *("0.self_attn.q_proj", "0.self_attn.o_proj", "0.mlp.up_proj", "0.mlp.down_proj"),
    *("1.self_attn.v_proj", "1.self_attn.o_proj", "1.mlp.gate_proj", "1.mlp.down_proj"),
)


def total_bits(sizes: Sequence[int], chosen: Sequence[int]) -> int:
    """Bits of all tensors."""
    return sum(size * bits for size, bits in zip(sizes, chosen, strict=True))


def allocate(sizes: list[int], losses: list[list[float]], budget: int) -> list[int]:
    """Bits by the best return: each step goes where it saves the most loss for a bit."""
    return _greedy(sizes, losses, budget)


def _greedy(
    sizes: list[int],
    losses: list[list[float]],
    budget: int,
    worth: Callable[[float, int], float] = lambda saved, cost: saved / cost,
    stop: bool = False,
) -> list[int]:
    level = [0] * len(sizes)
    left = budget - total_bits(sizes, [CHOICES[0]] * len(sizes))
    while True:
        steps = []
        for k, at in enumerate(level):
            for to in range(at + 1, len(CHOICES)):
                cost = sizes[k] * (CHOICES[to] - CHOICES[at])
                saved = losses[k][at] - losses[k][to]
                if (stop or cost <= left) and saved > 0:
                    steps.append((worth(saved, cost), k, to, cost))
        if not steps or max(steps)[3] > left:
            return [CHOICES[at] for at in level]
        _, k, to, cost = max(steps)
        level[k], left = to, left - cost


def measure_allocation(
    result: Any, sizes: list[int], losses: list[list[float]], budget: int
) -> Any:
    """Whether the bits fit, and their loss as a multiple of the reference's; else a sentence."""
    if not isinstance(result, list | tuple) or len(result) != len(sizes):
        return f"return a list of {len(sizes)} widths, one a tensor"
    if wrong := [bits for bits in result if bits not in CHOICES]:
        return f"{wrong[0]!r} is no width of {CHOICES}"

    def loss(chosen: Sequence[int]) -> float:
        return sum(line[CHOICES.index(bits)] for line, bits in zip(losses, chosen, strict=True))

    ratio = loss(result) / loss(_greedy(sizes, losses, budget))
    fits = total_bits(sizes, result) <= budget
    loss_found = allowed(ratio, 1.0, SLACK) if fits else ratio
    return {"tensors": len(sizes), "within the budget": fits, "loss": loss_found}


@cache
def _losses(layer: str, seed: int) -> tuple[int, tuple[float, ...]]:
    """A real layer's size, and the error of its outputs at each width."""
    weight, inputs = layer_case(layer, 10**6, 128, seed)
    found = []
    for bits in CHOICES:
        error = fake_quantize(weight, QuantScheme(bits)) - weight
        found.append(float((inputs @ error.T).square().mean()))
    return weight.numel(), tuple(found)


def make_allocate(seed: int) -> Exercise:
    """Real layers of pocket-100k at three budgets; in one case a tensor is most of the model."""
    table = [_losses(layer, seed) for layer in LAYERS]
    sizes = [size for size, _ in table]
    losses = [list(line) for _, line in table]
    order = torch.randperm(len(sizes), generator=generator_of(seed, 62)).tolist()
    sizes, losses = [sizes[k] for k in order], [losses[k] for k in order]
    whole = sum(sizes)
    large = [size * (20 if k == 0 else 1) for k, size in enumerate(sizes)]
    cases = [
        (sizes, losses, int(3.5 * whole)),
        (sizes[:5], losses[:5], int(4.2 * sum(sizes[:5]))),
        (large, losses, int(3.1 * sum(large))),
        (sizes, losses, int(6.6 * whole)),
    ]

    def uniform(sizes: list[int], losses: list[list[float]], budget: int) -> list[int]:
        mean = budget / sum(sizes)
        return [max(bits for bits in CHOICES if bits <= mean)] * len(sizes)

    def in_turn(order_of: Callable[..., list[int]]) -> Callable[..., list[int]]:
        """Each tensor in an order gets the most that still leaves 2 bits for all others."""

        def wrong(sizes: list[int], losses: list[list[float]], budget: int) -> list[int]:
            chosen = [CHOICES[0]] * len(sizes)
            for k in order_of(sizes, losses):
                for bits in CHOICES:
                    tried = [*chosen[:k], bits, *chosen[k + 1 :]]
                    chosen = tried if total_bits(sizes, tried) <= budget else chosen
            return chosen

        return wrong

    def counted_alike(sizes: list[int], losses: list[list[float]], budget: int) -> list[int]:
        return _greedy([1] * len(sizes), losses, round(budget / sum(sizes) * len(sizes)))

    def bytes_for_bits(sizes: list[int], losses: list[list[float]], budget: int) -> list[int]:
        return _greedy(sizes, losses, 8 * budget)

    return Exercise(
        id="a6.allocate",
        task="Write `allocate(sizes, losses, budget)`: bits from (2, 3, 4, 5, 6, 8) for each "
        "tensor, a list, so that sum(size * bits) is at most `budget` and the sum of the losses is "
        "as small as you can make it. `losses[k][j]` is tensor k's loss at the j-th width.",
        expected=measured(allocate, measure_allocation),
        cases=cases,
        mistakes=measured_all(
            {
                "All tensors get the same width. Some gain far more from a bit than others.": (
                    uniform
                ),
                "Nothing is spent: all tensors are left at 2 bits.": (
                    lambda sizes, losses, budget: [CHOICES[0]] * len(sizes)
                ),
                "The tensors in front take all. Compare what a step saves, at every step.": (
                    in_turn(lambda sizes, losses: list(range(len(sizes))))
                ),
                "The smallest tensors get the most bits, whatever they save.": in_turn(
                    lambda sizes, losses: sorted(range(len(sizes)), key=lambda k: sizes[k])
                ),
                "The largest tensors get the most bits, whatever they save.": in_turn(
                    lambda sizes, losses: sorted(range(len(sizes)), key=lambda k: -sizes[k])
                ),
                "The tensor with the largest loss gets all it can take, then the next. After a "
                "step or two the next bit is worth more elsewhere.": in_turn(
                    lambda sizes, losses: sorted(range(len(sizes)), key=lambda k: -losses[k][0])
                ),
                "You count the tensors' widths alike; a bit of a large tensor costs more.": (
                    counted_alike
                ),
                "You choose the step that saves the least.": (
                    lambda sizes, losses, budget: _greedy(
                        sizes, losses, budget, lambda saved, cost: -saved / cost
                    )
                ),
                "`budget` is in bits already; you spend 8 times as much.": bytes_for_bits,
            },
            measure_allocation,
        ),
        rtol=1e-6,
        hint="Begin at 2 bits everywhere. Step by step, widen the tensor that saves the most loss "
        "for a bit of budget, as long as the step fits.",
    )
