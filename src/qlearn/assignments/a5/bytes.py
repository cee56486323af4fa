"""Assignment 5's prediction: bits of a weight, numbers of an adapter, bytes of training."""

from __future__ import annotations

from qlearn.course.capstone import shapes
from qlearn.teach.checks.checker import Exercise

BLOCK, SECOND = 64, 256
RANK = 8
ADAMW = 16  # bytes a trained number takes in float32: itself, its gradient, two moments


def counts() -> tuple[int, int, int]:
    """Numbers of smollm2-135m: all, those of the adapters of one block, those of all adapters."""
    table = shapes("smollm2-135m")
    linear = {n: s for n, s in table.items() if len(s) == 2 and ".layers." in n}
    total = sum(s[0] * (s[1] if len(s) == 2 else 1) for s in table.values())
    every = sum(RANK * sum(shape) for shape in linear.values())
    blocks = len({name.split(".")[2] for name in linear})
    return total, every // blocks, every


def make_bytes(_: int) -> Exercise:
    """The same at every seed: the model is the same."""
    total, one, every = counts()
    plain, double = 4 + 32 / BLOCK, 4 + 8 / BLOCK + 32 / (BLOCK * SECOND)
    full, adapters = total * ADAMW / 1e6, every * ADAMW / 1e6
    return Exercise(
        id="a5.bytes",
        task="Give [bits a weight in NF4 with a float32 absmax for 64 weights, the same with "
        "double quantization (8-bit codes, a float32 scale for 256 of them), numbers in the "
        "adapters of one block of smollm2-135m at rank 8, MB that AdamW needs to train the whole "
        "model in float32, MB that it needs to train the adapters of all 30 blocks]; 1 MB is 1e6 "
        "bytes.",
        expected=[plain, double, one, full, adapters],
        mistakes={
            "The absmax takes 32 bits for 64 weights: half a bit each.": [
                4 + 32,
                4 + 8,
                one,
                full,
                adapters,
            ],
            "The absmax was left out: 4 bits are the codes alone.": [4.0, 4.0, one, full, adapters],
            "Double quantization has scales of its own: 32 bits for 64 * 256 weights.": [
                plain,
                4 + 8 / BLOCK,
                one,
                full,
                adapters,
            ],
            "The second scales serve 256 blocks of 64 weights, not 256 weights.": [
                plain,
                4 + 8 / BLOCK + 32 / SECOND,
                one,
                full,
                adapters,
            ],
            "An adapter has two matrices: rank * (in + out).": [
                plain,
                double,
                one // 2,
                full,
                adapters / 2,
            ],
            "A gradient and AdamW's two moments come on top: 16 bytes, not 4.": [
                plain,
                double,
                one,
                full / 4,
                adapters / 4,
            ],
            "The gradient is missing: number, gradient and two moments are 16 bytes.": [
                plain,
                double,
                one,
                full * 12 / 16,
                adapters * 12 / 16,
            ],
            "The adapters of all 30 blocks are trained, not those of one.": [
                plain,
                double,
                one,
                full,
                one * ADAMW / 1e6,
            ],
            "These are mebibytes (2^20 bytes).": [
                plain,
                double,
                one,
                full * 1e6 / 2**20,
                adapters * 1e6 / 2**20,
            ],
            "The third number counts the adapters of all blocks; one block was asked for.": [
                plain,
                double,
                every,
                full,
                adapters,
            ],
        },
        rtol=1e-4,
        atol=0.0,
        hint="Rank * (in + out) for each of the seven layers; 16 bytes a trained number.",
    )
