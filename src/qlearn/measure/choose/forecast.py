"""What a model is expected to lose at a number of bits: the evidence of the nearest size.

No model of seven billion parameters was measured here, and few were published on every kind of
work. So the row of the nearest size stands in, and says so; where it is far away in size, what
text loses at a nearer size counts as well, and the larger loss is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from qlearn.measure.choose.evidence import KINDS, KV, Evidence
from qlearn.measure.memory.sizes import Architecture
from qlearn.numerics.scheme import GroupSize

FAR = 30.0  # times larger or smaller: beyond that, a row of another size is weak


@dataclass(frozen=True)
class ExpectedLoss:
    """A share expected to be lost, and why.

    Attributes:
        loss: rise of perplexity, or part of the right answers lost; 0.05 is five in a hundred.
        evidence: the row that decided; ``None`` where nothing is rounded.
        weaker: a row of the kind asked for that was outweighed, being far away in size.
        parameters: of the model that the loss is expected of.
    """

    loss: float
    evidence: Evidence | None
    parameters: int
    weaker: Evidence | None = None

    @property
    def times(self) -> float:
        """How many times larger or smaller the measured model is; 1.0 is the same size."""
        return _times(self.evidence, self.parameters) if self.evidence else 1.0

    def __str__(self) -> str:
        if self.evidence is None:
            return "nothing is rounded further: 16 bits are what the model was published in"
        said = f"{self.loss:.1%} expected: {self.evidence}"
        if self.times > 1.5:
            larger = self.evidence.parameters > self.parameters
            said += f", a model {self.times:.3g} times {'larger' if larger else 'smaller'}"
        if self.weaker is not None:
            said += f"; {self.weaker.kind} was measured only far away in size: {self.weaker}"
        return said


def expected_loss(
    sizes: Architecture,
    kind: str,
    bits: int,
    group_size: GroupSize,
    evidence: Sequence[Evidence],
) -> ExpectedLoss | None:
    """Look up what a model loses at so many bits by the best method measured at the nearest size.

    Args:
        sizes: of the model.
        kind: of work, one of :data:`qlearn.measure.choose.evidence.KINDS`.
        bits: of a weight.
        group_size: to be used: rows with groups are taken before others; ``None`` takes all alike.
        evidence: rows to look in.

    Returns:
        The expectation; ``None`` where no row of the kind, or of text, has so many bits. At 16 bits
        without a row of the very model nothing is lost: that is what it was published in.

    Raises:
        ValueError: an unknown kind.

    >>> from qlearn.measure.memory.architectures import get_architecture
    >>> row = Evidence("llama-2-7b", 6738415616, "text", "perplexity", "awq", 4, 128, 5.47, 5.6,
    ...                True, "AWQ paper")
    >>> print(expected_loss(get_architecture("mistral-7b"), "text", 4, 128, [row]).loss)
    0.023766
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known; choose one of {', '.join(KINDS)}")
    own = _nearest(sizes, [r for r in evidence if (r.kind, r.bits) == (kind, bits)], group_size)
    if bits >= 16:
        same = own if own is not None and own.model == sizes.name else None
        return ExpectedLoss(same.loss if same else 0.0, same, sizes.parameters)
    text = _nearest(sizes, [r for r in evidence if (r.kind, r.bits) == ("text", bits)], group_size)
    if own is None:
        return ExpectedLoss(text.loss, text, sizes.parameters) if text is not None else None
    far = _times(own, sizes.parameters)
    nearer = text is not None and far > FAR and _times(text, sizes.parameters) < far
    if text is not None and nearer and text.loss > own.loss:
        return ExpectedLoss(text.loss, text, sizes.parameters, weaker=own)
    return ExpectedLoss(own.loss, own, sizes.parameters)


def kv_evidence(bits: int, evidence: Sequence[Evidence]) -> Evidence | None:
    """The row on keys and values of the most bits, but no more than these: a bound from above."""
    rows = [row for row in evidence if row.kind == KV and row.bits <= bits]
    return max(rows, key=lambda row: row.bits, default=None)


def _nearest(sizes: Architecture, rows: list[Evidence], group: GroupSize) -> Evidence | None:
    """Of the model nearest in size, the row that loses least.

    The very model comes before others of its size. A method is only compared with others that were
    measured on the same model.
    """
    if isinstance(group, int):
        rows = [row for row in rows if isinstance(row.group_size, int)] or rows
    if not rows:
        return None

    def distance(row: Evidence) -> tuple[float, bool]:
        return _times(row, sizes.parameters), row.model != sizes.name

    first = min(rows, key=distance)
    same = [row for row in rows if row.model == first.model]
    closest = min(_group_distance(row, group) for row in same)
    return min(
        (row for row in same if _group_distance(row, group) == closest), key=lambda row: row.loss
    )


def _group_distance(row: Evidence, group: GroupSize) -> float:
    if isinstance(row.group_size, int) and isinstance(group, int):
        return abs(log2(row.group_size / group))
    return 0.0


def _times(row: Evidence, parameters: int) -> float:
    return max(row.parameters / parameters, parameters / row.parameters)
