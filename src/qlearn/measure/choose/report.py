"""What a recommendation says: the choice, its reasons with figures, and what else there was."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from qlearn.measure.choose.forecast import ExpectedLoss
from qlearn.measure.choose.levels import Level
from qlearn.measure.memory.inference import MemoryEstimate
from qlearn.numerics.scheme import GroupSize
from qlearn.teach.table import html_table


@dataclass(frozen=True)
class Alternative:
    """A level that was not chosen.

    Attributes:
        level: its precision.
        kv_bits: of keys and values in the cache; the widest that fits, else the narrowest.
        memory: of both.
        fits: the device holds it.
        why: not chosen.
    """

    level: Level
    kv_bits: int
    memory: MemoryEstimate
    fits: bool
    why: str

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return self.level.bits


@dataclass(frozen=True)
class Recommendation:
    """The level to take, and why; shows itself as text and in a notebook.

    Attributes:
        model: name of the model.
        device: name of the device.
        task: what it is to do.
        context, batch: tokens of each sequence, sequences at a time.
        level: the weights' precision.
        kv_bits: of keys and values in the cache.
        memory: what that takes, in bytes.
        reasons: sentences with figures, each naming its evidence.
        alternatives: the other levels, from most bits to fewest.
    """

    model: str
    device: str
    task: str
    context: int
    batch: int
    level: Level
    kv_bits: int
    memory: MemoryEstimate
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...]

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return self.level.bits

    @property
    def method(self) -> str:
        """The quantizer, as :func:`qlearn.quantize_model` takes it; ``"bfloat16"`` for none."""
        return self.level.method

    @property
    def group_size(self) -> GroupSize:
        """Weights that share a scale."""
        return self.level.group_size

    @property
    def expected_loss(self) -> ExpectedLoss:
        """The share expected to be lost, with its evidence."""
        return self.level.expected

    @property
    def title(self) -> str:
        """One line: the situation and the choice."""
        return (
            f"{self.model} on {self.device} for {self.task}, {self.context:,} tokens, "
            f"batch {self.batch}: {self.level.name}, cache in {self.kv_bits} bits"
        )

    def __repr__(self) -> str:
        lines = [self.title, *(f"- {reason}" for reason in self.reasons), "Not taken:"]
        lines += [f"- {other.level.name}: {other.why}" for other in self.alternatives]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in self.reasons)
        chosen = (self.level, self.kv_bits, self.memory, "taken")
        rows = [chosen, *((o.level, o.kv_bits, o.memory, o.why) for o in self.alternatives)]
        rows.sort(key=lambda row: -row[0].bits)
        cells = [
            (level.name, str(kv), f"{memory.total / 1e9:.2f}", f"{level.expected.loss:.1%}", why)
            for level, kv, memory, why in rows
        ]
        table = html_table(("weights", "cache bits", "GB", "expected loss", "why"), cells)
        return f"<p><strong>{escape(self.title)}</strong></p><ul>{reasons}</ul>{table}"
