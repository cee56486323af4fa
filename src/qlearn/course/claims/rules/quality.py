"""Rules on what quantization costs: claims 3, 4, 12, 27, 28, 29, 30 and 37."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

from qlearn.course.claims import thresholds
from qlearn.course.claims.common import (
    ARITHMETIC,
    FLOATS,
    HOLDS,
    PLAIN,
    SMOLLM,
    WHEN,
    WRONG,
    Limits,
    Results,
    Row,
    Verdict,
    accuracy_loss,
    judge,
    mean_loss,
    percent,
    perplexity_kept,
    pockets,
    rows,
    smollm,
    value,
)

LOW_BITS = (4, 3, 2)


def no_retraining(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 3."""
    kept = {bits: min(_best_kept(results, limits, bits).values()) for bits in (8, 4)}
    figure = f"worst model keeps {percent(kept[8])} at INT8, {percent(kept[4])} at INT4"
    if kept[8] >= limits.KEPT and kept[4] >= limits.KEPT:
        return Verdict(HOLDS, figure)
    if kept[8] >= limits.KEPT:
        return Verdict(WHEN, figure, "8 bits are enough; at 4 bits the model decides")
    return Verdict(WRONG, figure)


def near_lossless(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 4."""
    rise = {
        method: 1 / perplexity_kept(results, smollm(results, method, 4)) - 1
        for method in ("gptq", "awq")
    }
    large = [
        (row["parameters"], row["model"], row["gptq4"] / row["float"] - 1)
        for row in results["published"]["gptq"]["perplexity"]
        if row["gptq4"] / row["float"] - 1 <= limits.NEAR_LOSSLESS
    ]
    figure = f"135M: perplexity +{percent(rise['gptq'])} GPTQ, +{percent(rise['awq'])} AWQ"
    if max(rise.values()) <= limits.NEAR_LOSSLESS:
        return Verdict(HOLDS, figure)
    if large:
        _, name, least = min(large)
        return Verdict(
            WHEN, f"{figure}; {name} +{percent(least)}", f"the model is as large as {name}",
            ("gptq",),
        )  # fmt: skip
    return Verdict(WRONG, figure, sources=("gptq",))


def loss_by_level(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 12."""
    lora, qlora = (
        mean(row["exact_after"] for row in rows(results, "qlora", method=method))
        for method in ("LoRA", "QLoRA")
    )
    losses = {
        "INT8 text": (
            1 / perplexity_kept(results, smollm(results, "rtn", 8, None)) - 1,
            limits.INT8_LOSS,
        ),
        "INT8 tasks": (mean_loss(results, 8, limits, methods=("rtn",)), limits.INT8_LOSS),
        "GPTQ text": (
            1 / perplexity_kept(results, smollm(results, "gptq", 4)) - 1,
            limits.INT4_LOSS,
        ),
        "GPTQ tasks": (mean_loss(results, 4, limits, methods=("gptq",)), limits.INT4_LOSS),
        "QLoRA": (1 - qlora / lora, limits.QLORA_LOSS),
    }
    figure = ", ".join(f"{name} {percent(lost)}" for name, (lost, _) in losses.items())
    passed = [lost <= most for lost, most in losses.values()]
    failed = [name for name, good in zip(losses, passed, strict=True) if not good]
    return judge(
        figure, passed, f"{' and '.join(failed)} {'is' if len(failed) == 1 else 'are'} left out"
    )


def reasoning_first(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 27."""
    eight = _best_kept(results, limits, 8)
    gap = _gap(results, limits, 4)
    parts = [min(eight.values()) >= limits.KEPT, gap >= limits.GAIN]
    figure = (
        f"INT8 keeps {percent(min(eight.values()))} or more; at INT4 arithmetic loses "
        f"{100 * gap:.1f} points more"
    )
    half = "only its first half is meant: INT8" if parts[0] else "only INT4 is meant"
    return judge(figure, parts, half)


def plain_is_robust(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 28."""
    gaps = {bits: _gap(results, limits, bits) for bits in LOW_BITS}
    figure = "arithmetic loses more by (points) " + ", ".join(
        f"{100 * gap:.1f} at {bits} bits" for bits, gap in gaps.items()
    )
    return _by_bits(figure, gaps, limits)


def larger_is_better(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 29."""
    names = pockets(results)
    small, large = names[0], names[-1]
    gaps = {
        bits: mean_loss(results, bits, limits, models=(small,))
        - mean_loss(results, bits, limits, models=(large,))
        for bits in LOW_BITS
    }
    figure = f"{small} loses more than {large} by (points) " + ", ".join(
        f"{100 * gap:.1f} at {bits} bits" for bits, gap in gaps.items()
    )
    return _by_bits(figure, gaps, limits)


def larger_at_four_bits(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 30."""
    ahead: dict[str, float] = {}
    for small, large in combinations(pockets(results), 2):
        full = rows(results, "quality", model=small, method="bfloat16")[0]
        fitting = [
            level
            for level in rows(results, "quality", model=large, bits=4)
            if level["method"] in ("rtn", "gptq", "awq")
            and level["shipped_bytes"] <= limits.EQUAL_MEMORY * full["bytes"]
        ]
        if fitting:
            ahead[f"{large} over {small}"] = mean(map(_all_tasks, fitting)) - _all_tasks(full)
    if not ahead:
        raise ValueError("results['quality'] has no pair of pocket models of equal memory")
    figure = "; ".join(f"{pair} by {100 * gap:.1f} points" for pair, gap in ahead.items())
    won = [pair for pair, gap in ahead.items() if gap > 0]
    return judge(figure, [gap > 0 for gap in ahead.values()], f"it is {' or '.join(won)}")


def four_bits_cost(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 37."""
    before = value(results, "sentiment", "accuracy", scheme="float32")
    after = value(results, "sentiment", "accuracy", scheme="INT4 g64 asym")
    losses = {
        "perplexity": (
            1 / perplexity_kept(results, smollm(results, "gptq", 4)) - 1,
            limits.TEXT_LOSS,
        ),
        "sentiment": (1 - after / before, limits.TEXT_LOSS),
        "plain tasks": (mean_loss(results, 4, limits, PLAIN), limits.TEXT_LOSS),
        "arithmetic": (mean_loss(results, 4, limits, ARITHMETIC), limits.REASONING_LOSS),
    }
    figure = ", ".join(f"{name} {percent(lost)}" for name, (lost, _) in losses.items())
    inside = {name: low <= lost <= high for name, (lost, (low, high)) in losses.items()}
    right = [name for name, good in inside.items() if good]
    return judge(figure, list(inside.values()), f"it is counted by {' or '.join(right)}")


def _by_bits(figure: str, gaps: dict[int, float], limits: Limits) -> Verdict:
    enough = [bits for bits, gap in gaps.items() if gap >= limits.GAIN]
    return judge(
        figure,
        [gap >= limits.GAIN for gap in gaps.values()],
        f"weights have {' or '.join(map(str, enough))} bits",
    )


def _gap(results: Results, limits: Limits, bits: int) -> float:
    """What arithmetic loses more than plain tasks."""
    return mean_loss(results, bits, limits, ARITHMETIC) - mean_loss(results, bits, limits, PLAIN)


def _all_tasks(level: Row) -> float:
    return mean(level["accuracy"].values())


def _best_kept(results: Results, limits: Limits, bits: int) -> dict[str, float]:
    """Of each model, what its best post-training method keeps with so many bits."""
    best: dict[str, float] = {}
    for level in rows(results, "quality", bits=bits):
        if level["method"] in (*FLOATS, "qat"):
            continue
        model = level["model"]
        if model == SMOLLM:
            kept = perplexity_kept(results, level)
        else:
            kept = 1 - accuracy_loss(results, model, level, limits)
        best[model] = max(kept, best.get(model, 0.0))
    return best
