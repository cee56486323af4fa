"""Rules on training: claims 8, 9 and 35."""

from __future__ import annotations

from statistics import mean

from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import (
    ARITHMETIC,
    HOLDS,
    PLAIN,
    WHEN,
    WRONG,
    ClaimVerdict,
    Results,
    judge,
    rows,
    value,
)
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds


@claim(
    8,
    "Quantization-aware training beats post-training, most at extreme levels",
    kind="measured",
    needs=("qat",),
    rule=(
        "Gain: accuracy on solved tasks over the better of RTN and GPTQ, mean over the pocket "
        "models. Holds if it is GAIN or more at 4, 3 and 2 bits and largest at 2; holds when, if "
        "at some of them; else wrong."
    ),
    shown=Link("08_qat", "When it is worth it"),
)
def training_beats_rounding(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 8."""
    models = sorted({row["model"] for row in rows(results, "qat")})
    gains = {
        bits: mean(_gain_of_training(results, limits, model, bits) for model in models)
        for bits in (4, 3, 2)
    }
    figure = "gain in points: " + ", ".join(
        f"{100 * gain:.1f} at {bits} bits" for bits, gain in gains.items()
    )
    enough = [bits for bits, gain in gains.items() if gain >= limits.GAIN]
    if len(enough) == len(gains) and gains[2] == max(gains.values()):
        return ClaimVerdict(HOLDS, figure)
    if enough:
        return ClaimVerdict(WHEN, figure, f"weights have {' or '.join(map(str, enough))} bits")
    return ClaimVerdict(WRONG, figure)


@claim(
    9,
    "QLoRA: a 4-bit base and 16-bit adapters",
    kind="measured",
    needs=("qlora", "tools"),
    rule=(
        "Holds if the base's layers take NF4_BITS each weight and peft's adapters are 16 bit wide "
        "by default; holds when they are asked for in 16 bit, if the base alone does; else wrong."
    ),
    shown=Link("09_qlora", "QLoRA for real"),
)
def base_and_adapters(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 9."""
    base = value(results, "tools", "bits", what="qlora tensor", tensor="base")
    adapter = value(results, "tools", "bits", what="qlora tensor", tensor="adapter")
    megabytes = value(results, "qlora", "base_mb", method="QLoRA")
    low, high = limits.NF4_BITS
    figure = f"base {base:.3f} bits a weight ({megabytes:.0f} MB in all), adapters {adapter} bits"
    if not low <= base <= high:
        return ClaimVerdict(WRONG, figure)
    if adapter == limits.ADAPTER_BITS:
        return ClaimVerdict(HOLDS, figure)
    return ClaimVerdict(WHEN, figure, f"16 bits are asked for; peft keeps adapters in {adapter}")


@claim(
    35,
    "Quantized models can't be fine-tuned directly; QLoRA can",
    kind="measured",
    needs=("tools", "qlora"),
    rule=(
        "Two parts: codes refuse a gradient; QLoRA gains LEARNED. Holds for both, holds when for "
        "one, wrong for none."
    ),
    shown=Link("09_qlora", "Codes have no gradient"),
)
def fine_tuning(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 35."""
    refused = value(results, "tools", "refuses", what="gradient", tensor="codes")
    runs = rows(results, "qlora", method="QLoRA")
    gain = mean(row["exact_after"] - row["exact_before"] for row in runs)
    parts = [bool(refused), gain >= limits.LEARNED]
    figure = (
        f"codes {'refuse' if refused else 'take'} a gradient; QLoRA answers "
        f"{100 * gain:.0f} points more, {len(runs)} runs"
    )
    half = "its first half is meant" if parts[0] else "QLoRA is meant"
    return judge(figure, parts, half)


def _gain_of_training(results: Results, limits: Thresholds, model: str, bits: int) -> float:
    before = value(results, "qat", "accuracy", model=model, method="float")
    tasks = [task for task in (*PLAIN, *ARITHMETIC) if before[task] >= limits.SOLVED]

    def score(method: str) -> float:
        found = rows(results, "qat", model=model, method=method, bits=bits)
        return mean(row["accuracy"][task] for row in found for task in tasks)

    return score("qat") - max(score("rtn"), score("gptq"))
