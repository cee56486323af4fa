"""Rules on memory: claims 1, 2, 6, 20 to 24 and 36."""

from __future__ import annotations

import re
from math import ceil

from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import (
    HOLDS,
    SMOLLM,
    WHEN,
    WRONG,
    ClaimVerdict,
    Results,
    judge,
    percent,
    value,
)
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds
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


@claim(
    1,
    "FP16, INT8 and INT4 save 50, 75 and 87.5% of FP32's memory",
    kind="measured",
    needs=("memory",),
    rule=(
        "Measured footprints: holds if each saving is within SAVING_POINTS. Holds when the model "
        "is large, if Llama 2 7B, computed, is within LARGE_SAVING_POINTS each. Else wrong."
    ),
    shown=Link("10_memory_and_hardware", "Predicted and measured"),
)
def savings(results: Results, limits: Thresholds) -> ClaimVerdict:
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
        return ClaimVerdict(HOLDS, figure)
    if _off(large) <= limits.LARGE_SAVING_POINTS:
        return ClaimVerdict(WHEN, figure, "the model is large, so that its embedding weighs little")
    return ClaimVerdict(WRONG, figure)


@claim(
    2,
    "QLoRA fine-tunes 65B on one consumer card such as an RTX 4090",
    kind="computed",
    rule=(
        "Holds if weights, adapters, optimizer and activations fit in FITS_SHARE of 24 GB; holds "
        "when the optimizer is paged out, if the weights alone fit; else wrong."
    ),
    shown=Link("09_qlora", "Where the memory goes"),
)
def qlora_on_one_card(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 2."""
    need, room = finetune_memory("llama-65b", "QLoRA"), _room("rtx-4090", limits)
    paper = results["published"]["qlora"]["memory_65b_gb"]
    figure = (
        f"weights {_gb(need.weights)}, in all {_gb(need.total)}; free of 24 GB: {_gb(room)}; the "
        f"paper took up to {paper} GB"
    )
    if need.total <= room:
        return ClaimVerdict(HOLDS, figure, sources=("qlora",))
    if need.weights <= room:
        return ClaimVerdict(WHEN, figure, "all but the weights is paged out", ("qlora",))
    return ClaimVerdict(WRONG, figure, sources=("qlora",))


@claim(
    6,
    "A 7B model takes 28 GB in FP32 and 3.5 GB in INT4",
    kind="computed",
    rule=(
        "Llama 2 7B: holds if FP32, and 4-bit groups of 128 with a 16-bit embedding, are within "
        "SIZE_TOLERANCE; holds when codes alone are counted, if those are; else wrong."
    ),
    shown=Link("10_memory_and_hardware", "A rule of thumb against the count"),
)
def seven_billion(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 6."""
    model = "llama-2-7b"
    full = estimate_memory(model, 32).weights
    stored = estimate_memory(model, STORED["INT4"]).weights
    codes = article_estimate(get_architecture(model).parameters, 4, overhead=1)
    figure = f"FP32 {_gb(full)}, INT4 {_gb(stored)}, codes alone {_gb(codes)}"
    off = limits.SIZE_TOLERANCE
    if abs(full / CLAIMED_FP32 - 1) > off:
        return ClaimVerdict(WRONG, figure)
    if abs(stored / CLAIMED_INT4 - 1) <= off:
        return ClaimVerdict(HOLDS, figure)
    if abs(codes / CLAIMED_INT4 - 1) <= off:
        return ClaimVerdict(WHEN, figure, "codes alone are counted: no scales, no 16-bit embedding")
    return ClaimVerdict(WRONG, figure)


@claim(
    20,
    "Memory is parameters x bytes x 1.2",
    kind="measured",
    needs=("memory",),
    rule=(
        "Holds if the formula is within FORMULA_TOLERANCE of the measured footprint in all four "
        "precisions; holds when in some; wrong in none."
    ),
    shown=Link("10_memory_and_hardware", "A rule of thumb against the count"),
)
def formula(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    21,
    "The KV cache takes 1 to 2 GB per 1000 tokens of a 7B model",
    kind="measured",
    needs=("memory",),
    rule=(
        "The formula, corrected by what smollm2-135m's cache measured, for 7B and 8B models in 16 "
        "bit. Holds if all lie in KV_RANGE; holds when some do; wrong if none."
    ),
    shown=Link("10_memory_and_hardware", "The KV cache"),
)
def kv_cache(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 21."""
    ratio = value(results, "memory", "ratio", what="kv_cache", precision="BF16")
    sizes = {name: 1000 * kv_bytes_per_token(name) * ratio / GB for name in SEVEN}
    figure = (
        f"{min(sizes.values()):.2f} to {max(sizes.values()):.2f} GB for {len(sizes)} models; "
        f"the formula measured {ratio:.3f}"
    )
    return _in_range(figure, sizes, limits.KV_RANGE)


@claim(
    22,
    "4-bit 7B with 4K of context takes 6 to 8 GB",
    kind="computed",
    rule=(
        "The total of the 7B models at 4-bit groups of 128 with a 16-bit cache. Holds if all lie "
        "in TOTAL_RANGE; holds when some do; wrong if none."
    ),
    shown=Link("10_memory_and_hardware", "The hardware examples, recomputed"),
)
def with_context(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    23,
    "70B in INT4 runs on an RTX 4090 of 24 GB",
    kind="computed",
    rule=(
        "Holds if all of it fits in FITS_SHARE at CONTEXT; holds when at SHORT_CONTEXT; else wrong."
    ),
    shown=Link("10_memory_and_hardware", "The hardware examples, recomputed"),
)
def seventy_on_one_card(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 23."""
    return _fits({"llama-2-70b": "rtx-4090"}, limits)


@claim(
    24,
    "13B in INT4 runs on 12 GB, 7B on an M1 of 16 GB",
    kind="computed",
    rule="Holds if both fit in FITS_SHARE at CONTEXT; holds when at SHORT_CONTEXT; else wrong.",
    shown=Link("10_memory_and_hardware", "The hardware examples, recomputed"),
)
def smaller_cards(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 24."""
    return _fits({"llama-2-13b": "rtx-3060", "llama-2-7b": "m1-16"}, limits)


@claim(
    36,
    "70B can be fine-tuned on consumer cards",
    kind="computed",
    rule=(
        "QLoRA's total over FITS_SHARE of 24 GB. Holds if one card does; holds when several share "
        "it, up to CARDS; else wrong."
    ),
    shown=Link("09_qlora", "Where the memory goes"),
)
def seventy_fine_tuned(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 36."""
    need, room = finetune_memory("llama-2-70b", "QLoRA").total, _room("rtx-4090", limits)
    cards = ceil(need / room)
    figure = f"{_gb(need)}: {cards} cards of 24 GB"
    if cards == 1:
        return ClaimVerdict(HOLDS, figure)
    if cards <= limits.CARDS:
        return ClaimVerdict(WHEN, figure, f"{cards} cards share the layers")
    return ClaimVerdict(WRONG, figure)


def footprint(results: Results, precision: str) -> float:
    """Measured bytes of smollm2-135m's parameters and buffers."""
    return float(value(results, "memory", "measured", what="footprint", precision=precision))


def _fits(pairs: dict[str, str], limits: Thresholds) -> ClaimVerdict:
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
        return ClaimVerdict(HOLDS, figure)
    if all(short):
        return ClaimVerdict(WHEN, figure, f"the context is {limits.SHORT_CONTEXT} tokens")
    return ClaimVerdict(WRONG, figure)


def _room(device: str, limits: Thresholds) -> float:
    return float(limits.FITS_SHARE * DEVICES[device].memory)


def _in_range(figure: str, sizes: dict[str, float], span: tuple[float, float]) -> ClaimVerdict:
    inside = {name: span[0] <= size <= span[1] for name, size in sizes.items()}
    names = ", ".join(MODELS[name].title for name, good in inside.items() if good)
    return judge(figure, list(inside.values()), f"the model is {names}")


def _off(savings: dict[str, float]) -> float:
    return max(abs(savings[name] - claimed) for name, claimed in CLAIMED_SAVING.items())


def _savings(savings: dict[str, float]) -> str:
    return ", ".join(percent(saving) for saving in savings.values())


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
