"""Which precision, for which model, on which machine, for which work: a choice that says why.

What fits is counted (:mod:`qlearn.measure.memory.inference`), what is lost is looked up
(:mod:`qlearn.measure.choose.forecast`), what is fast was measured (``results/batching.json``). Of
the levels that lose no more than the tolerance the fastest is taken that fits; if none fits, the
one that loses least. Where the cache needs the room, it is narrowed before the weights are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qlearn.measure.choose.evidence import Evidence, all_evidence
from qlearn.measure.choose.forecast import kv_evidence
from qlearn.measure.choose.levels import Level, Speeds, levels_of, measured_speeds, ranked
from qlearn.measure.choose.report import Alternative, Recommendation
from qlearn.measure.memory.architectures import MODELS, Architecture, get_architecture
from qlearn.measure.memory.devices import Device, get_device
from qlearn.measure.memory.inference import (
    MemoryEstimate,
    decode_speed_bound,
    estimate_memory,
    quantized_kv_bits,
)
from qlearn.numerics.refuse import check_count

# What a reader asks for -> the kind of work of which losses are known.
TASKS = {
    "chat": "text",
    "writing": "text",
    "classification": "classification",
    "recall": "recall",
    "arithmetic": "arithmetic",
    "code": "code",
}
KV_BITS = (16, 8, 4)
TOLERANCE = 0.05  # the share that may be lost
USABLE = 0.9  # of a device's memory: screen, driver and allocator take the rest


@dataclass(frozen=True)
class _Situation:
    """What is asked, resolved."""

    sizes: Architecture
    device: Device
    task: str
    context: int
    batch: int
    tolerance: float
    room: int
    speeds: Speeds
    evidence: Sequence[Evidence]

    def memory(self, level: Level, kv_bits: int) -> MemoryEstimate:
        """Of a level and a width of the cache."""
        return estimate_memory(
            self.sizes,
            level.bits_per_weight,
            context=self.context,
            batch=self.batch,
            kv_bits=_whole_kv_bits(kv_bits),
        )

    def fit(self, level: Level) -> tuple[int, MemoryEstimate, bool]:
        """The widest cache with which a level fits; the narrowest, and False, if none does."""
        for kv_bits in KV_BITS:
            memory = self.memory(level, kv_bits)
            if memory.total <= self.room:
                return kv_bits, memory, True
        return kv_bits, memory, False


def recommend(
    model: str | Architecture,
    device: str | Device,
    task: str = "chat",
    *,
    context: int = 4096,
    batch: int = 1,
    tolerance: float = TOLERANCE,
    usable: float = USABLE,
    evidence: Sequence[Evidence] | None = None,
    speeds: Speeds | None = None,
) -> Recommendation:
    """Choose the weights' precision and the cache's, and say why.

    Args:
        model: a name in :data:`qlearn.measure.memory.architectures.MODELS`, or sizes of your own.
        device: a name in :data:`qlearn.measure.memory.devices.DEVICES`, or a device of your own.
        task: one of :data:`TASKS`.
        context: tokens of each sequence.
        batch: sequences at a time.
        tolerance: share that may be lost: of text by a rise of perplexity, of answers by those that
            are wrong now. 0 asks for what loses least.
        usable: share of the device's memory that the model may have.
        evidence: rows to look losses up in; by default all that the package has.
        speeds: measured at this batch; by default those of ``results/batching.json``.

    Raises:
        ValueError: an unknown model, device or task; a number out of its range; or a model that
            does not fit, with the largest of its family that does, and the memory it would need.
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not known; choose one of {', '.join(TASKS)}")
    check_count(batch=batch)
    for name, share, low in (("tolerance", tolerance, 0.0), ("usable", usable, 1e-9)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not low <= share <= 1:
            raise ValueError(f"{name}={share!r} is no share; give a number from 0 to 1, as 0.05")
    machine = get_device(device)
    asked = _Situation(
        sizes=get_architecture(model),
        device=machine,
        task=task,
        context=context,
        batch=batch,
        tolerance=tolerance,
        room=int(machine.memory * usable),
        speeds=measured_speeds(batch) if speeds is None else speeds,
        evidence=all_evidence() if evidence is None else evidence,
    )
    every = levels_of(asked.sizes, TASKS[task], asked.evidence, asked.speeds)
    order = ranked(every, tolerance)
    for level in order:
        kv_bits, memory, fits = asked.fit(level)
        if fits:
            return Recommendation(
                model=asked.sizes.name,
                device=machine.name,
                task=task,
                context=context,
                batch=batch,
                level=level,
                kv_bits=kv_bits,
                memory=memory,
                reasons=tuple(_reasons(asked, level, kv_bits, memory, every)),
                alternatives=tuple(_alternatives(asked, level, every, order)),
            )
    raise ValueError(_nothing_fits(asked, order))


def _reasons(
    asked: _Situation, level: Level, kv_bits: int, memory: MemoryEstimate, every: list[Level]
) -> Iterator[str]:
    """Memory, loss, speed, cache: a sentence each."""
    yield (
        f"Memory: {level.bits_per_weight:.2f} bits a weight make {_gb(memory.weights)} of weights; "
        f"the cache of {asked.batch} x {asked.context:,} tokens in {kv_bits} bits "
        f"{_gb(memory.kv_cache)}, activations {_gb(memory.activations)}: {_gb(memory.total)} of "
        f"{_gb(asked.room)} usable on {asked.device.name} (qlearn.measure.memory)."
    )
    allowed = f"{asked.tolerance:.0%}"
    if level.expected.loss <= asked.tolerance:
        verdict = f"within the {allowed} allowed"
    else:
        verdict = f"more than the {allowed} allowed, but nothing within it fits"
    yield f"Loss: {level.expected}; {verdict}."
    yield _speed_reason(asked, level, kv_bits, every)
    if kv_bits < 16:
        wide = asked.memory(level, 16).total
        row = kv_evidence(kv_bits, asked.evidence)
        known = f" {row}." if row is not None else ""
        yield f"Cache: in 16 bits all would take {_gb(wide)}, too much; so {kv_bits} bits.{known}"


def _speed_reason(asked: _Situation, level: Level, kv_bits: int, every: list[Level]) -> str:
    full = asked.speeds.of(16)
    measured = ", ".join(
        f"{one.bits} bits {one.speed / full:.2f}"
        for one in every
        if full and one.speed and one.bits in (8, 4)
    )
    bounds = [
        decode_speed_bound(
            asked.sizes, asked.device.bandwidth, bits, context=asked.context, batch=asked.batch,
            kv_bits=_whole_kv_bits(kv),
        )
        for bits, kv in ((level.bits_per_weight, kv_bits), (16.0, 16))
    ]  # fmt: skip
    return (
        f"Speed: against BF16, {measured} times the tokens a second ({asked.speeds.source}); "
        f"{asked.device.name}'s bandwidth allows {bounds[0]:.0f} tokens a second at {level.bits} "
        f"bits and {bounds[1]:.0f} at 16, if arithmetic is not the limit (qlearn.measure.memory)."
    )


def _alternatives(
    asked: _Situation, chosen: Level, every: list[Level], order: list[Level]
) -> Iterator[Alternative]:
    for level in every:
        if level is chosen:
            continue
        kv_bits, memory, fits = asked.fit(level)
        lost = f"{level.expected.loss:.1%}"
        if level not in order:
            why = f"loses {lost}: of no use"
        elif not fits:
            why = f"needs {_gb(memory.total)} even with the cache in {kv_bits} bits"
        elif level.expected.loss > asked.tolerance:
            why = f"fits, but loses {lost}"
        elif (level.speed or 0.0) < (chosen.speed or 0.0):
            why = f"fits and loses {lost}, but was slower in the measurement"
        else:
            why = f"fits, as fast, and loses {lost} against {chosen.expected.loss:.1%}"
        yield Alternative(level, kv_bits, memory, fits, why)


def _nothing_fits(asked: _Situation, order: list[Level]) -> str:
    """What would help: a smaller model of the family, or a larger device."""
    name, narrow = asked.sizes.name, KV_BITS[-1]
    smallest = min(order, key=lambda level: level.bits_per_weight)
    needs = asked.memory(smallest, narrow).total
    share = asked.room / asked.device.memory
    advice = [f"a device with {_gb(needs / share)} or more"]
    for other in _family(asked.sizes):
        of_other = replace(asked, sizes=other)
        levels = ranked(
            levels_of(other, TASKS[asked.task], asked.evidence, asked.speeds), asked.tolerance
        )
        fitting = [level for level in levels if of_other.fit(level)[2]]
        if fitting:
            advice.insert(0, f"{other.name}, which fits at {fitting[0].bits} bits")
            break
    shorter = asked.memory(smallest, narrow)
    if shorter.total - shorter.kv_cache <= asked.room:
        advice.append("a shorter context or a smaller batch")
    return (
        f"model={name!r} does not fit on device={asked.device.name!r}: at {smallest.bits} bits, "
        f"with a cache of {asked.batch} x {asked.context:,} tokens in {narrow}, it needs "
        f"{_gb(needs)} of {_gb(asked.room)} usable; take {', or '.join(advice)}"
    )


def _family(sizes: Architecture) -> list[Architecture]:
    """Smaller models of the same series in the catalogue, the largest first."""

    def stem(name: str) -> str:
        return re.sub(r"-\d[\d.x]*[bmk]?$", "", name)

    alike = [
        one
        for one in MODELS.values()
        if stem(one.name) == stem(sizes.name) and one.parameters < sizes.parameters
    ]
    return sorted(alike, key=lambda one: -one.parameters)


def _whole_kv_bits(bits: int) -> float:
    """With scales and zero points, where there are some."""
    return quantized_kv_bits(bits) if bits < 16 else float(bits)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
