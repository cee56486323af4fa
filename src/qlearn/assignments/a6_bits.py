"""The capstone's tools: what the budget leaves, a dense stream of codes, bits where they help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from qlearn.affine import fake_quantize
from qlearn.assignments.cases import generator_of
from qlearn.assignments.measured import measured, measured_all
from qlearn.assignments.pocket_layer import layer_case
from qlearn.assignments.pocket_state import allowed
from qlearn.capstone import CAPSTONE, shapes
from qlearn.checks import Exercise
from qlearn.scheme import QuantScheme

CHOICES = (2, 3, 4, 5, 6, 8)  # bits that a tensor may get
SLACK = 1.1  # times the reference's loss is as good
LAYERS = (
    *("0.self_attn.q_proj", "0.self_attn.o_proj", "0.mlp.up_proj", "0.mlp.down_proj"),
    *("1.self_attn.v_proj", "1.self_attn.o_proj", "1.mlp.gate_proj", "1.mlp.down_proj"),
)


@cache
def parts() -> tuple[int, int, int]:
    """Parameters of smollm2-135m in the embedding, the linear layers and the norms."""
    found = {"embedding": 0, "linear": 0, "norm": 0}
    for name, shape in shapes(CAPSTONE.model).items():
        kind = "embedding" if "embed" in name else "linear" if len(shape) == 2 else "norm"
        found[kind] += shape[0] * (shape[1] if len(shape) == 2 else 1)
    return found["embedding"], found["linear"], found["norm"]


def _budget(embedding_counts: int = 1, per: str = "linear") -> list[float]:
    embedding, linear, norm = parts()
    total = embedding * embedding_counts + linear + norm
    below = linear if per == "linear" else total
    left = [(3.5 * total - embedding * bits - 16 * norm) / below for bits in (8, 4)]
    return [3.5 * total / 8 / 1e6, 100 * embedding / total, *left]


def make_budget(_: int) -> Exercise:
    """The same at every seed: the model is the same."""
    embedding, linear, norm = parts()
    right = _budget()
    megabytes, share, at8, at4 = right
    return Exercise(
        id="a6.budget",
        task="Give [budget in MB (1e6 bytes), the embedding's share of the parameters in percent, "
        "bits left for each weight of the linear layers when the embedding takes 8 bits a weight, "
        "the same when it takes 4].",
        expected=right,
        mistakes={
            "These are megabits: divide by 8.": [8 * megabytes, share, at8, at4],
            "These are mebibytes (2^20 bytes).": [megabytes * 1e6 / 2**20, share, at8, at4],
            "The tied output head is the embedding itself: it counts once.": _budget(2),
            "The budget counts all parameters, the embedding too.": [
                3.5 * linear / 8 / 1e6,
                share,
                at8,
                at4,
            ],
            "The share is of all parameters, not of the linear layers'.": [
                megabytes,
                100 * embedding / linear,
                at8,
                at4,
            ],
            "The share is asked for in percent.": [megabytes, share / 100, at8, at4],
            "What is left goes to the linear layers alone: divide by their weights, not by all.": (
                _budget(per="all")
            ),
            "The last two are the other way round: at 8 bits the embedding leaves less.": [
                megabytes,
                share,
                at4,
                at8,
            ],
            "You subtract bits as if both parts had as many weights; weigh them.": [
                megabytes,
                share,
                2 * 3.5 - 8,
                2 * 3.5 - 4,
            ],
            "The embedding was not taken off the budget.": [
                megabytes,
                share,
                3.5 * (embedding + linear + norm) / linear,
                3.5 * (embedding + linear + norm) / linear,
            ],
        },
        rtol=0.005,
        atol=0.0,
        hint="All bits are 3.5 times all parameters; take off the embedding's, divide by the "
        "linear layers' weights.",
    )


def stream(codes: Tensor, bits: int) -> Tensor:
    """Codes one after the other, the lowest bit of each first; the last byte is filled with 0."""
    each = codes[:, None].int() >> torch.arange(bits) & 1
    flat = torch.nn.functional.pad(each.flatten(), (0, -each.numel() % 8)).view(-1, 8)
    return (flat << torch.arange(8)).sum(1).to(torch.uint8)


def unpack(data: Tensor, bits: int, count: int) -> Tensor:
    """The codes of a stream."""
    return _codes(_bits(data), bits)[:count]


def _bits(data: Tensor, high_first: bool = False) -> Tensor:
    order = torch.arange(7, -1, -1) if high_first else torch.arange(8)
    return (data[:, None].int() >> order & 1).flatten()


def _codes(flat: Tensor, bits: int, high_first: bool = False) -> Tensor:
    whole = flat[: len(flat) // bits * bits].view(-1, bits)
    order = torch.arange(bits - 1, -1, -1) if high_first else torch.arange(bits)
    return (whole << order).sum(1).to(torch.uint8)


def make_unpack(seed: int) -> Exercise:
    """Widths that cross bytes and one that does not, and a long one."""
    generator = generator_of(seed, 61)
    cases = []
    for bits, count in ((3, 21), (5, 40), (4, 7), (7, 1001), (3, 200_003)):
        codes = torch.randint(2**bits, (count,), generator=generator, dtype=torch.uint8)
        codes[0], codes[-1] = 2**bits - 2, 2**bits - 2  # even, and not 0
        cases.append((stream(codes, bits), bits, count))

    def aligned(data: Tensor, bits: int, count: int) -> Tensor:
        each = 8 // bits
        shifts = bits * torch.arange(each)
        codes = (data[:, None].int() >> shifts & 2**bits - 1).flatten()
        return codes[:count].to(torch.uint8)

    return Exercise(
        id="a6.unpack",
        task="Write `unpack(data, bits, count)`: the `count` codes, uint8, of a dense stream, a "
        "uint8 tensor: bit 0 of the stream is bit 0 (the lowest) of the first byte, and each "
        "code's lowest bit comes first.",
        expected=unpack,
        cases=cases,
        mistakes={
            "You read each byte from its highest bit; the lowest comes first.": (
                lambda data, bits, count: _codes(_bits(data, True), bits)[:count]
            ),
            "The bits of each code are turned over: the first is the lowest.": (
                lambda data, bits, count: _codes(_bits(data), bits, True)[:count]
            ),
            "Bytes and codes are both read from their highest bit; both begin at the lowest.": (
                lambda data, bits, count: _codes(_bits(data, True), bits, True)[:count]
            ),
            "You take whole codes out of each byte; a code may begin in one and end in the next.": (
                aligned
            ),
            "The filling at the end gave more codes; keep `count` of them.": (
                lambda data, bits, count: _codes(_bits(data), bits)
                if 8 * len(data) // bits > count
                else torch.cat([unpack(data, bits, count), torch.zeros(1, dtype=torch.uint8)])
            ),
            "The last code is missing.": lambda data, bits, count: unpack(data, bits, count)[:-1],
            "The codes come in the reverse order.": (
                lambda data, bits, count: unpack(data, bits, count).flip(0)
            ),
            "The bytes are read in the reverse order.": (
                lambda data, bits, count: unpack(data.flip(0), bits, count)
            ),
            "These are the bits of the stream; put `bits` of them together for each code.": (
                lambda data, bits, count: _bits(data)[:count].to(torch.uint8)
            ),
        },
        hint="All bits first: (data[:, None] >> arange(8)) & 1, flattened. Then [-1, bits].",
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
        return sum(
            line[CHOICES.index(bits)] for line, bits in zip(losses, chosen, strict=True)
        )

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
