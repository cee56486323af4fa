"""Rules on what quantization costs: claims 3, 4, 12, 27, 28, 29, 30 and 37."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import (
    ARITHMETIC,
    FLOATS,
    HOLDS,
    PLAIN,
    SMOLLM,
    WHEN,
    WRONG,
    ClaimVerdict,
    Results,
    Row,
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
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds

LOW_BITS = (4, 3, 2)


@claim(
    3,
    "Post-training quantization needs no retraining, so any model can have it",
    kind="measured",
    needs=("quality",),
    rule=(
        "No step of training is taken by definition; what is judged is whether that is enough. "
        "Holds if the best method keeps KEPT of each model at 8 and at 4 bits; holds when at 8 "
        "alone."
    ),
    shown=Link("04_post_training_quantization", "What is claimed"),
)
def no_retraining(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 3."""
    kept = {bits: min(_best_kept(results, limits, bits).values()) for bits in (8, 4)}
    figure = f"worst model keeps {percent(kept[8])} at INT8, {percent(kept[4])} at INT4"
    if kept[8] >= limits.KEPT and kept[4] >= limits.KEPT:
        return ClaimVerdict(HOLDS, figure)
    if kept[8] >= limits.KEPT:
        return ClaimVerdict(WHEN, figure, "8 bits are enough; at 4 bits the model decides")
    return ClaimVerdict(WRONG, figure)


@claim(
    4,
    "GPTQ and AWQ are near-lossless at 4 bits",
    kind="measured",
    needs=("quality",),
    rule=(
        "Holds if both raise the perplexity of smollm2-135m (groups of 64) by NEAR_LOSSLESS at "
        "most; holds when the model is large, if a published GPTQ row does; else wrong."
    ),
    shown=Link("06_gptq", "In `qlearn`: the whole model"),
)
def near_lossless(results: Results, limits: Thresholds) -> ClaimVerdict:
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
        return ClaimVerdict(HOLDS, figure)
    if large:
        _, name, least = min(large)
        return ClaimVerdict(
            WHEN, f"{figure}; {name} +{percent(least)}", f"the model is as large as {name}",
            ("gptq",),
        )  # fmt: skip
    return ClaimVerdict(WRONG, figure, sources=("gptq",))


@claim(
    12,
    "Quality lost: INT8 about 2%, INT4 by GPTQ about 5%, QLoRA little",
    kind="measured",
    needs=("quality", "qlora"),
    rule=(
        "Five losses: perplexity of smollm2-135m and accuracy of the pocket models, at INT8 and at"
        " INT4 by GPTQ, and QLoRA's answers against LoRA's. Holds if all are within INT8_LOSS, "
        "INT4_LOSS, QLORA_LOSS; holds when some are; wrong if none."
    ),
    shown=Link("04_post_training_quantization", "What is claimed"),
)
def loss_by_level(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    27,
    "Most models keep 95% at INT8; INT4 hurts reasoning more",
    kind="measured",
    needs=("quality",),
    rule=(
        "Holds if all models keep KEPT at 8 bits, and at 4 bits arithmetic loses GAIN more than "
        "plain tasks; holds when one of the two; else wrong."
    ),
    shown=Link("11_choosing", "Which tasks fall first"),
)
def reasoning_first(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    28,
    "Text and classification are more robust than reasoning, maths, code",
    kind="measured",
    needs=("quality",),
    rule=(
        "Loss of arithmetic less that of plain tasks, mean over the pocket models. Holds if GAIN "
        "or more at 4, 3 and 2 bits; holds when at some; wrong at none."
    ),
    shown=Link("11_choosing", "Which tasks fall first"),
)
def plain_is_robust(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 28."""
    gaps = {bits: _gap(results, limits, bits) for bits in LOW_BITS}
    figure = "arithmetic loses more by (points) " + ", ".join(
        f"{100 * gap:.1f} at {bits} bits" for bits, gap in gaps.items()
    )
    return _by_bits(figure, gaps, limits)


@claim(
    29,
    "Larger models quantize better",
    kind="measured",
    needs=("quality",),
    rule=(
        "Loss on solved tasks of the smallest pocket model less that of the largest. Holds if GAIN"
        " or more at 4, 3 and 2 bits; holds when at some; wrong at none."
    ),
    shown=Link("08_qat", "What is claimed"),
)
def larger_is_better(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    30,
    "70B in INT4 beats 13B in FP16",
    kind="measured",
    needs=("quality",),
    rule=(
        "Pairs of pocket models, the larger at 4 bits in EQUAL_MEMORY of the smaller's 16-bit "
        "bytes. Holds if the larger is ahead on all tasks together in all pairs; holds when in "
        "some."
    ),
    shown=Link("11_choosing", "A larger model in fewer bits"),
)
def larger_at_four_bits(results: Results, limits: Thresholds) -> ClaimVerdict:
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


@claim(
    37,
    "4 bits cost 2 to 5%, on reasoning and maths 5 to 15%",
    kind="measured",
    needs=("quality", "sentiment"),
    rule=(
        "Perplexity of smollm2-135m by GPTQ, its sentiment, plain tasks (TEXT_LOSS) and arithmetic"
        " (REASONING_LOSS). Holds if all four losses lie in their range; holds when some; else "
        "wrong."
    ),
    shown=Link("04_post_training_quantization", "A real task: the sentiment of movie reviews"),
)
def four_bits_cost(results: Results, limits: Thresholds) -> ClaimVerdict:
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


def _by_bits(figure: str, gaps: dict[int, float], limits: Thresholds) -> ClaimVerdict:
    enough = [bits for bits, gap in gaps.items() if gap >= limits.GAIN]
    return judge(
        figure,
        [gap >= limits.GAIN for gap in gaps.values()],
        f"weights have {' or '.join(map(str, enough))} bits",
    )


def _gap(results: Results, limits: Thresholds, bits: int) -> float:
    """What arithmetic loses more than plain tasks."""
    return mean_loss(results, bits, limits, ARITHMETIC) - mean_loss(results, bits, limits, PLAIN)


def _all_tasks(level: Row) -> float:
    return mean(level["accuracy"].values())


def _best_kept(results: Results, limits: Thresholds, bits: int) -> dict[str, float]:
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
