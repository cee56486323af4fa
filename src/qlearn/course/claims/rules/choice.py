"""The rule on when to take which precision: claim 25."""

from __future__ import annotations

from collections import Counter

from qlearn.course.article.rules import side_by_side
from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import HOLDS, WHEN, WRONG, ClaimVerdict, Results, percent, rows
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds
from qlearn.measure.choose.levels import measured_speeds

MODELS = (
    "smollm2-135m",
    "qwen2.5-0.5b",
    "mistral-7b",
    "llama-2-7b",
    "llama-3-8b",
    "llama-2-13b",
    "llama-2-70b",
)
DEVICES = ("rtx-3060", "rtx-4090", "m1-16", "laptop-ddr5-16", "t4", "a100-80")
BATCHES = (1, 32)


@claim(
    25,
    "When to take FP16, INT8 and INT4",
    kind="computed",
    needs=("batching", "evidence"),
    rule=(
        "Share of models, devices and uses in which the article's rules and the course's choose "
        "the same. Holds from AGREE on, holds when from AGREE_PARTLY on, else wrong."
    ),
    shown=Link("11_choosing", "Rules as a function"),
)
def when_to_take(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 25: situations in which nothing fits are left out; lists that tie agree with none."""
    measured = rows(results, "batching")
    asked = side_by_side(
        MODELS,
        DEVICES,
        batches=BATCHES,
        evidence=results["evidence"]["rows"],
        speeds={batch: measured_speeds(batch, measured) for batch in BATCHES},
    )
    chosen = [one for one in asked if one.ours is not None]
    if not chosen:
        raise ValueError("no situation has a level that fits; name smaller models")
    share = sum(one.same for one in chosen) / len(chosen)
    reasons = Counter(one.verdict for one in chosen if not one.same)
    figure = f"the same in {percent(share, 0)} of {len(chosen)} situations; else " + ", ".join(
        f"{reason} {count}" for reason, count in reasons.most_common(3)
    )
    if share >= limits.AGREE:
        return ClaimVerdict(HOLDS, figure)
    if share >= limits.AGREE_PARTLY:
        same = Counter(one.ours for one in chosen if one.same)
        return ClaimVerdict(WHEN, figure, f"the choice is {same.most_common(1)[0][0]} bits, mostly")
    return ClaimVerdict(WRONG, figure)
