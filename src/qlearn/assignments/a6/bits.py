"""The capstone's tools: what the budget leaves, and a dense stream of codes."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import generator_of
from qlearn.course.capstone import CAPSTONE, shapes
from qlearn.teach.checks.checker import Exercise


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
                lambda data, bits, count: (
                    _codes(_bits(data), bits)
                    if 8 * len(data) // bits > count
                    else torch.cat([unpack(data, bits, count), torch.zeros(1, dtype=torch.uint8)])
                )
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
