"""The levels that a recommendation chooses from: what each costs, loses and how fast it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from qlearn.measure.choose.evidence import Evidence
from qlearn.measure.choose.forecast import ExpectedLoss, expected_loss
from qlearn.measure.memory.sizes import Architecture
from qlearn.measure.results import load
from qlearn.numerics.scheme import GroupSize, QuantScheme

BITS = (16, 8, 4, 3, 2)
GROUPS = (128, 64, 32)
CODEBOOK_BITS = 4.5  # codes, and a float32 absmax for each 64
USELESS = 0.5  # a level that loses half is not offered
KERNELS = {16: "BF16", 8: "INT8", 4: "INT4"}  # bits -> the name in results/batching.json


@dataclass(frozen=True)
class Level:
    """A precision for the weights.

    Attributes:
        bits: of a code; 16 stands for the original.
        method: as :func:`qlearn.quantize_model` takes it, or ``"bfloat16"``.
        group_size: weights that share a scale; ``None`` is one scale an output row.
        bits_per_weight: counted whole.
        expected: what it is expected to lose.
        speed: tokens a second of one layer in the recorded measurement; ``None`` where unknown.
    """

    bits: int
    method: str
    group_size: GroupSize
    bits_per_weight: float
    expected: ExpectedLoss
    speed: float | None = None

    @property
    def name(self) -> str:
        """The level in words: ``"4 bits (AWQ, groups of 128)"``."""
        if self.method == "bfloat16":
            return "16 bits (BF16)"
        method = {"int8": "LLM.int8()"}.get(self.method, self.method.upper())
        group = "a scale a row" if self.group_size is None else f"groups of {self.group_size}"
        return f"{self.bits} bits ({method}, {group})"


@dataclass(frozen=True)
class Speeds:
    """One layer's tokens a second at a batch.

    Attributes:
        by_bits: bits of a weight -> tokens a second.
        tokens: at a time, where it was measured: the nearest to the batch.
        source: in words.
    """

    by_bits: Mapping[int, float]
    tokens: int
    source: str

    def of(self, bits: int) -> float | None:
        """Of a width; fewer than 4 bits have no kernel of their own and run no faster than 4."""
        return self.by_bits.get(max(bits, 4))


def measured_speeds(batch: int, rows: Sequence[Mapping[str, Any]] | None = None) -> Speeds:
    """Look up the layer measured at the number of tokens nearest to a batch.

    Args:
        batch: tokens at a time: sequences that decode together.
        rows: of ``results/batching.json``, which is the default.

    Raises:
        ValueError: rows without a layer in BF16, INT8 and INT4.
        OSError: the file is not there.
    """
    known = load("batching")["rows"] if rows is None else rows
    layer = [row for row in known if row["what"] == "layer"]
    counts = {row["tokens"] for row in layer}
    if not counts:
        raise ValueError("rows hold no layer; pass those of results/batching.json")
    nearest = min(sorted(counts), key=lambda tokens: abs(log2(tokens / batch)))
    found = {
        row["precision"]: float(row["tokens_per_second"])
        for row in layer
        if row["tokens"] == nearest
    }
    missing = [name for name in KERNELS.values() if name not in found]
    if missing:
        raise ValueError(f"rows hold no layer in {missing[0]} at {nearest} tokens; measure it")
    by_bits = {bits: found[name] for bits, name in KERNELS.items()}
    tokens = "1 token" if nearest == 1 else f"{nearest} tokens"
    return Speeds(by_bits, nearest, f"results/batching.json, one layer at {tokens}, on a CPU")


def standard_group(sizes: Architecture) -> GroupSize:
    """The largest usual group that divides every layer's inputs; ``None`` where none does."""
    return next((group for group in GROUPS if _divides(group, sizes)), None)


def levels_of(
    sizes: Architecture, kind: str, evidence: Sequence[Evidence], speeds: Speeds
) -> list[Level]:
    """Each width that something is known of, from 16 bits down.

    Raises:
        ValueError: an unknown kind of work.
    """
    found = []
    for bits in BITS:
        group = standard_group(sizes) if bits <= 4 else None
        expected = expected_loss(sizes, kind, bits, group, evidence)
        if expected is None:
            continue
        row, method, whole = expected.evidence, "bfloat16", 16.0
        if bits < 16:
            assert row is not None, "below 16 bits a row decides"
            method = row.method
            if isinstance(row.group_size, int) and _divides(row.group_size, sizes):
                group = row.group_size  # what is recommended is what was measured
            scheme = QuantScheme(bits, symmetric=bits == 8, group_size=group)
            whole = scheme.bits_per_weight((sizes.hidden, sizes.hidden))
        if method in ("nf4", "fp4"):
            whole = CODEBOOK_BITS
        found.append(Level(bits, method, group, whole, expected, speeds.of(bits)))
    return found


def ranked(levels: Sequence[Level], tolerance: float) -> list[Level]:
    """The best first: within the tolerance the fastest, then those that lose least.

    The order depends neither on memory nor on context: so more memory, or a shorter context, never
    leads to fewer bits. A level earlier in the order that did not fit before needs more bytes.
    """

    def place(level: Level) -> tuple[Any, ...]:
        loss = level.expected.loss
        if loss <= tolerance:
            return 0, -(level.speed or 0.0), loss, -level.bits
        return 1, loss, -level.bits

    return sorted((one for one in levels if one.expected.loss <= USELESS), key=place)


def _divides(group: int, sizes: Architecture) -> bool:
    layers = (*sizes.attention_layers, *sizes.mlp_layers)
    return all(inputs % group == 0 for inputs, _ in layers)
