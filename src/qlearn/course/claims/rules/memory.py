"""Rules on memory: claims 1, 2, 6, 20 to 24, 36 and 38."""

from __future__ import annotations

import re
from math import ceil

from qlearn.course.claims import thresholds
from qlearn.course.claims.common import (
    HOLDS,
    SMOLLM,
    WHEN,
    WRONG,
    Limits,
    Results,
    Verdict,
    judge,
    percent,
    value,
)
from qlearn.measure.memory.architectures import MODELS, get_architecture
from qlearn.measure.memory.devices import DEVICES
from qlearn.measure.memory.finetune import finetune_memory
from qlearn.measure.memory.inference import article_estimate, estimate_memory, kv_bytes_per_token
from qlearn.numerics.scheme import QuantScheme

BITS = {"FP32": 32, "BF16": 16, "INT8": 8, "INT4": 4}
CLAIMED_SAVING = {"BF16": 0.5, "INT8": 0.75, "INT4": 0.875}  # the article's own
CLAIMED_FP32, CLAIMED_INT4 = 28e9, 3.5e9  # the article's own
WIDTH = 4096  # inputs of most layers of a 7B model: where groups of 128 are counted
STORED = {
    "FP32": 32.0,
    "BF16": 16.0,
    "INT8": QuantScheme(8, False, None).bits_per_weight((WIDTH, WIDTH)),
    "INT4": QuantScheme(4, False, 128).bits_per_weight((WIDTH, WIDTH)),
}
SEVEN = tuple(name for name in MODELS if re.search(r"-[78]b$", name))
GB = 1e9


def savings(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 1."""
    full = footprint(results, "FP32")
    here = {name: 1 - footprint(results, name) / full for name in CLAIMED_SAVING}
    whole = estimate_memory("llama-2-7b", 32).weights
    large = {
        name: 1 - estimate_memory("llama-2-7b", STORED[name]).weights / whole
        for name in CLAIMED_SAVING
    }
    figure = (
        f"135M: {_savings(here)} (measured); Llama 2 7B: {_savings(large)} (counted, scales and "
        "embedding included)"
    )
    if _off(here) <= limits.SAVING_POINTS:
        return Verdict(HOLDS, figure)
    if _off(large) <= limits.LARGE_SAVING_POINTS:
        return Verdict(WHEN, figure, "the model is large, so that its embedding weighs little")
    return Verdict(WRONG, figure)


def qlora_on_one_card(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 2."""
    need, room = finetune_memory("llama-65b", "QLoRA"), _room("rtx-4090", limits)
    paper = results["published"]["qlora"]["memory_65b_gb"]
    figure = (
        f"weights {_gb(need.weights)}, in all {_gb(need.total)}; free of 24 GB: {_gb(room)}; the "
        f"paper took up to {paper} GB"
    )
    if need.total <= room:
        return Verdict(HOLDS, figure, sources=("qlora",))
    if need.weights <= room:
        return Verdict(WHEN, figure, "all but the weights is paged out", ("qlora",))
    return Verdict(WRONG, figure, sources=("qlora",))


def seven_billion(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 6."""
    model = "llama-2-7b"
    full = estimate_memory(model, 32).weights
    stored = estimate_memory(model, STORED["INT4"]).weights
    codes = article_estimate(get_architecture(model).parameters, 4, overhead=1)
    figure = f"FP32 {_gb(full)}, INT4 {_gb(stored)}, codes alone {_gb(codes)}"
    off = limits.SIZE_TOLERANCE
    if abs(full / CLAIMED_FP32 - 1) > off:
        return Verdict(WRONG, figure)
    if abs(stored / CLAIMED_INT4 - 1) <= off:
        return Verdict(HOLDS, figure)
    if abs(codes / CLAIMED_INT4 - 1) <= off:
        return Verdict(WHEN, figure, "codes alone are counted: no scales, no 16-bit embedding")
    return Verdict(WRONG, figure)


def formula(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 20."""
    parameters = get_architecture(SMOLLM).parameters
    ratios = {
        name: article_estimate(parameters, bits, limits.FORMULA_FACTOR) / footprint(results, name)
        for name, bits in BITS.items()
    }
    near = {name: abs(ratio - 1) <= limits.FORMULA_TOLERANCE for name, ratio in ratios.items()}
    figure = "formula over measured: " + ", ".join(
        f"{name} {ratio:.2f}" for name, ratio in ratios.items()
    )
    good = [name for name, inside in near.items() if inside]
    return judge(figure, list(near.values()), f"the precision is {' or '.join(good)}")


def kv_cache(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 21."""
    ratio = value(results, "memory", "ratio", what="kv_cache", precision="BF16")
    sizes = {name: 1000 * kv_bytes_per_token(name) * ratio / GB for name in SEVEN}
    figure = (
        f"{min(sizes.values()):.2f} to {max(sizes.values()):.2f} GB for {len(sizes)} models; "
        f"the formula measured {ratio:.3f}"
    )
    return _in_range(figure, sizes, limits.KV_RANGE)


def with_context(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 22."""
    sizes = {
        name: estimate_memory(name, STORED["INT4"], context=limits.CONTEXT).total / GB
        for name in SEVEN
    }
    figure = (
        f"Llama 2 7B {sizes['llama-2-7b']:.1f} GB, Mistral 7B {sizes['mistral-7b']:.1f} GB; "
        f"{len(sizes)} models: {min(sizes.values()):.1f} to {max(sizes.values()):.1f} GB"
    )
    return _in_range(figure, sizes, limits.TOTAL_RANGE)


def seventy_on_one_card(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 23."""
    return _fits({"llama-2-70b": "rtx-4090"}, limits)


def smaller_cards(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 24."""
    return _fits({"llama-2-13b": "rtx-3060", "llama-2-7b": "m1-16"}, limits)


def seventy_fine_tuned(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 36."""
    need, room = finetune_memory("llama-2-70b", "QLoRA").total, _room("rtx-4090", limits)
    cards = ceil(need / room)
    figure = f"{_gb(need)}: {cards} cards of 24 GB"
    if cards == 1:
        return Verdict(HOLDS, figure)
    if cards <= limits.CARDS:
        return Verdict(WHEN, figure, f"{cards} cards share the layers")
    return Verdict(WRONG, figure)


def cpu_alone(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 38."""
    cards = [device for device in DEVICES.values() if device.kind == "consumer GPU"]
    laptops = [device for name, device in DEVICES.items() if name.startswith("laptop")]
    ratios = {
        f"{card.name} over {laptop.name}": card.bandwidth / laptop.bandwidth
        for card in cards
        for laptop in laptops
    }
    speed = value(results, "memory", "ratio", what="decode", precision="FP32")
    figure = (
        f"{min(ratios.values()):.1f} to {max(ratios.values()):.0f} times the bandwidth; speed here "
        f"measured {speed:.2f} of what bandwidth allows"
    )
    low, high = limits.CPU_SLOWDOWN
    inside = [low <= ratio <= high for ratio in ratios.values()]
    return judge(figure, inside, f"card and laptop are one of {sum(inside)} pairs of {len(inside)}")


def footprint(results: Results, precision: str) -> float:
    """Measured bytes of smollm2-135m's parameters and buffers."""
    return float(value(results, "memory", "measured", what="footprint", precision=precision))


def _fits(pairs: dict[str, str], limits: Limits) -> Verdict:
    figures, long, short = [], [], []
    for model, device in pairs.items():
        need, least = (
            estimate_memory(model, STORED["INT4"], context=context).total
            for context in (limits.CONTEXT, limits.SHORT_CONTEXT)
        )
        room = _room(device, limits)
        long.append(need <= room)
        short.append(least <= room)
        figures.append(f"{MODELS[model].title} {_gb(need)} with 4K, free {_gb(room)}")
    figure = "; ".join(figures)
    if all(long):
        return Verdict(HOLDS, figure)
    if all(short):
        return Verdict(WHEN, figure, f"the context is {limits.SHORT_CONTEXT} tokens")
    return Verdict(WRONG, figure)


def _room(device: str, limits: Limits) -> float:
    return float(limits.FITS_SHARE * DEVICES[device].memory)


def _in_range(figure: str, sizes: dict[str, float], span: tuple[float, float]) -> Verdict:
    inside = {name: span[0] <= size <= span[1] for name, size in sizes.items()}
    names = ", ".join(MODELS[name].title for name, good in inside.items() if good)
    return judge(figure, list(inside.values()), f"the model is {names}")


def _off(savings: dict[str, float]) -> float:
    return max(abs(savings[name] - claimed) for name, claimed in CLAIMED_SAVING.items())


def _savings(savings: dict[str, float]) -> str:
    return ", ".join(percent(saving) for saving in savings.values())


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
