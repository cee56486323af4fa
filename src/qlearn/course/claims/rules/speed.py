"""Rules on speed: claims 5, 26, 33, 34 and 38."""

from __future__ import annotations

from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import (
    HOLDS,
    WHEN,
    WRONG,
    ClaimVerdict,
    Results,
    judge,
    percent,
    perplexity_kept,
    rows,
    smollm,
    value,
)
from qlearn.course.claims.links import Link
from qlearn.course.claims.rules.memory import footprint
from qlearn.course.claims.thresholds import Thresholds
from qlearn.measure.memory.devices import DEVICES

BATCHES = (1, 32, 512)
OTHERS = ("FP32", "BF16", "INT8")


@claim(
    5,
    "75% less memory, 2 to 4 times as fast, 95% of the quality kept",
    kind="measured",
    needs=("memory", "batching", "quality"),
    rule=(
        "For INT8 and INT4 against FP32: saving HEADLINE_SAVING, speed HEADLINE_SPEED at batch 1 "
        "and at 32, KEPT of the perplexity. Holds if one precision passes all four; holds when, if"
        " one passes speed at batch 1 and saving or quality; else wrong."
    ),
    shown=Link("11_choosing", "Batches"),
)
def headline(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 5."""
    levels = {"INT8": smollm(results, "rtn", 8, None), "INT4": smollm(results, "gptq", 4)}
    figures, whole, half = [], [], []
    for precision, level in levels.items():
        saving = 1 - footprint(results, precision) / footprint(results, "FP32")
        alone, together = (
            value(results, "batching", "times_float32", what="model", precision=precision,
                  tokens=batch)
            for batch in (1, 32)
        )  # fmt: skip
        kept = perplexity_kept(results, level)
        saves, keeps = saving >= limits.HEADLINE_SAVING, kept >= limits.KEPT
        fast = alone >= limits.HEADLINE_SPEED
        whole.append(saves and keeps and fast and together >= limits.HEADLINE_SPEED)
        half.append((precision, fast and (saves or keeps)))
        figures.append(
            f"{precision}: {percent(saving, 0)} less, {alone:.1f} times as fast at batch 1, "
            f"{together:.1f} at 32, {percent(kept)} kept"
        )
    figure = "; ".join(figures)
    if any(whole):
        return ClaimVerdict(HOLDS, figure)
    some = [precision for precision, good in half if good]
    if some:
        return ClaimVerdict(
            WHEN, figure, f"it is {' or '.join(some)} at batch 1, not all three at once"
        )
    return ClaimVerdict(WRONG, figure)


@claim(
    26,
    "INT4 for maximum throughput",
    kind="measured",
    needs=("batching",),
    rule=(
        "INT4's tokens a second against the fastest other precision. Holds if ahead at M = 1, 32 "
        "and 512; holds when at some; wrong at none."
    ),
    shown=Link("11_choosing", "Batches"),
)
def throughput(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 26."""
    leads = {
        tokens: _layer(results, "INT4", tokens)
        / max(_layer(results, name, tokens) for name in OTHERS)
        for tokens in BATCHES
    }
    figure = "INT4 over the fastest other: " + ", ".join(
        f"{lead:.2f} at {tokens}" for tokens, lead in leads.items()
    )
    won = [str(tokens) for tokens, lead in leads.items() if lead > 1]
    return judge(figure, [lead > 1 for lead in leads.values()], f"the batch is {' or '.join(won)}")


@claim(
    33,
    "TensorRT is the fastest on NVIDIA cards",
    kind="source",
    needs=("tools",),
    rule=(
        "Not measured without a GPU. A primary source's speed of its engine against another on one"
        " card: holds if it is ahead for each model given; holds when for some; else wrong."
    ),
    shown=Link("12_toolbox", "TensorRT: nodes and an engine"),
)
def tensorrt(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 33."""
    known = results["published"]["tensorrt"]["rows"]
    times = {row["against"]: row["times"] for row in known}
    whole, codes = (
        value(results, "tools", "milliseconds", what="qdq", precision=precision)
        for precision in ("FP32", "INT8")
    )
    slowest, fastest = min(times.values()), max(times.values())
    figure = (
        f"not measured without a GPU; published: up to {fastest:g} times {_first(times, fastest)}, "
        f"{slowest:.2f} times {_first(times, slowest)}; here its INT8 input model runs "
        f"{whole / codes:.1f} times as fast as FP32 on a CPU"
    )
    won = [name for name, ratio in times.items() if ratio > 1]
    return judge(
        figure,
        [ratio > 1 for ratio in times.values()],
        f"compared with {' or '.join(won)}",
        ("tensorrt", "qserve"),
    )


@claim(
    34,
    "OpenVINO makes models faster on CPUs",
    kind="measured",
    needs=("tools",),
    rule=(
        "Holds if its INT8 and its INT4 write FASTER times the tokens a second of torch's faster "
        "precision; holds when one does; else wrong."
    ),
    shown=Link("12_toolbox", "OpenVINO against torch"),
)
def openvino(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 34."""
    speeds = {
        precision: value(results, "tools", "tokens_per_second", what="speed", tool="openvino",
                         precision=precision)
        for precision in ("INT8", "INT4")
    }  # fmt: skip
    torch = {
        row["precision"]: row["tokens_per_second"]
        for row in rows(results, "tools", what="speed", tool="torch")
    }
    best = max(torch, key=lambda precision: torch[precision])
    times = {precision: speed / torch[best] for precision, speed in speeds.items()}
    figure = (
        ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
        + f" tokens a second, torch {torch[best]:.0f} ({best})"
    )
    faster = [name for name, ratio in times.items() if ratio >= limits.FASTER]
    return judge(
        figure,
        [ratio >= limits.FASTER for ratio in times.values()],
        f"weights are {' or '.join(faster)}",
    )


@claim(
    38,
    "On a CPU alone it is 10 to 20 times slower",
    kind="computed",
    needs=("memory",),
    rule=(
        "Bandwidth of the consumer cards over that of laptops' memory. Holds if all pairs lie in "
        "CPU_SLOWDOWN; holds when some do; wrong if none. The measured speed checks the bandwidth "
        "rule."
    ),
    shown=Link("10_memory_and_hardware", "Bandwidth bounds speed"),
)
def cpu_alone(results: Results, limits: Thresholds) -> ClaimVerdict:
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


def _layer(results: Results, precision: str, tokens: int) -> float:
    return float(
        value(results, "batching", "tokens_per_second", what="layer", precision=precision,
              tokens=tokens)
    )  # fmt: skip


def _first(times: dict[str, float], ratio: float) -> str:
    return next(name for name, value in times.items() if value == ratio)
