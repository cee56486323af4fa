"""Rules on speed and on what to choose: claims 5, 25, 26, 33, 34."""

from __future__ import annotations

from qlearn.course.claims import thresholds
from qlearn.course.claims.common import (
    HOLDS,
    WHEN,
    WRONG,
    Limits,
    Results,
    Verdict,
    judge,
    percent,
    perplexity_kept,
    rows,
    smollm,
    value,
)
from qlearn.course.claims.rules.memory import footprint

BATCHES = (1, 32, 512)
OTHERS = ("FP32", "BF16", "INT8")


def headline(results: Results, limits: Limits = thresholds) -> Verdict:
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
        return Verdict(HOLDS, figure)
    some = [precision for precision, good in half if good]
    if some:
        return Verdict(WHEN, figure, f"it is {' or '.join(some)} at batch 1, not all three at once")
    return Verdict(WRONG, figure)


def throughput(results: Results, limits: Limits = thresholds) -> Verdict:
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


def tensorrt(results: Results, limits: Limits = thresholds) -> Verdict:
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


def openvino(results: Results, limits: Limits = thresholds) -> Verdict:
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


def _layer(results: Results, precision: str, tokens: int) -> float:
    return float(
        value(results, "batching", "tokens_per_second", what="layer", precision=precision,
              tokens=tokens)
    )  # fmt: skip


def _first(times: dict[str, float], ratio: float) -> str:
    return next(name for name, value in times.items() if value == ratio)
