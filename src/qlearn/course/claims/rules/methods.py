"""Rules on how the methods work: claims 7, 10, 11 and 15 to 17."""

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
from qlearn.course.claims.thresholds import Thresholds

HOUR = 3600


@claim(
    7,
    "Post-training quantization converts the weights directly",
    kind="measured",
    needs=("quality",),
    rule=(
        "Holds if neither GPTQ nor AWQ lowers rounding's perplexity at 4 bits by PERPLEXITY_GAIN: "
        "then direct conversion is all there is. Holds when the method is round-to-nearest, if one"
        " does and rounding keeps KEPT at 8 bits; else wrong."
    ),
    shown=Link("04_post_training_quantization", "INT8: almost for free"),
)
def direct_conversion(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 7."""
    rounded = smollm(results, "rtn", 4)["perplexity"]
    gain = {
        method: 1 - smollm(results, method, 4)["perplexity"] / rounded for method in ("gptq", "awq")
    }
    eight = perplexity_kept(results, smollm(results, "rtn", 8, None))
    figure = (
        f"INT4: GPTQ lowers rounding's perplexity by {percent(gain['gptq'])}, AWQ by "
        f"{percent(gain['awq'])}; rounding keeps {percent(eight)} at INT8"
    )
    if max(gain.values()) < limits.PERPLEXITY_GAIN:
        return ClaimVerdict(HOLDS, figure)
    if eight >= limits.KEPT:
        return ClaimVerdict(
            WHEN, figure, "the method is round-to-nearest; GPTQ and AWQ change weights"
        )
    return ClaimVerdict(WRONG, figure)


@claim(
    10,
    "GPTQ minimises the reconstruction error layer by layer",
    kind="measured",
    needs=("gptq_layer", "quality"),
    rule=(
        "Holds if a layer's loss is LAYER_LOSS of rounding's or less, and the model's KL "
        "divergence falls at 4 and 3 bits; holds when the layer is meant, not the model; else "
        "wrong."
    ),
    shown=Link("06_gptq", "In `qlearn`: the whole model"),
)
def layer_by_layer(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 10."""
    loss = value(results, "gptq_layer", "loss_over_rtn", form="qlearn")
    falls = {
        bits: smollm(results, "gptq", bits)["kl_divergence"]
        / smollm(results, "rtn", bits)["kl_divergence"]
        for bits in (4, 3)
    }
    figure = (
        f"a layer's loss is {loss:.2f} of rounding's, the model's KL divergence "
        f"{falls[4]:.2f} at 4 bits, {falls[3]:.2f} at 3"
    )
    if loss > limits.LAYER_LOSS:
        return ClaimVerdict(WRONG, figure)
    if max(falls.values()) < 1:
        return ClaimVerdict(HOLDS, figure)
    return ClaimVerdict(WHEN, figure, "the layer's error is meant, not the model's")


@claim(
    11,
    "AWQ and GPTQ keep important weights at higher precision",
    kind="measured",
    needs=("rtn", "calibrated", "quality"),
    rule=(
        "Extra bits a weight over round-to-nearest in the same scheme. Holds if MIXED_BITS or more"
        " for both; holds when for one; wrong if for neither."
    ),
    shown=Link("07_awq", "One percent"),
)
def higher_precision(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 11."""
    plain = {row["scheme"]: row["bits_per_weight"] for row in rows(results, "rtn")}
    extra = {
        "GPTQ": max(
            row["bits_per_weight"] - plain[row["scheme"]]
            for row in rows(results, "calibrated", method="gptq")
        ),
        "AWQ": _extra_bits(results, "awq", "rtn"),
    }
    figure = ", ".join(f"{name} stores {bits:.3f} bits more" for name, bits in extra.items())
    passed = {name: bits >= limits.MIXED_BITS for name, bits in extra.items()}
    named = [name for name, good in passed.items() if good]
    return judge(figure, list(passed.values()), f"it is {' or '.join(named)}")


@claim(
    15,
    "GPTQ for quality, AWQ for speed",
    kind="measured",
    needs=("quality", "calibration_sets"),
    rule=(
        "Two parts at 4 bits: GPTQ's perplexity is below AWQ's for more than half of the texts to "
        "calibrate; AWQ stores MIXED_BITS fewer, which speed could come from. Holds for both, "
        "holds when for one, wrong for none."
    ),
    shown=Link("07_awq", "Which text, and how much of it"),
)
def gptq_or_awq(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 15."""
    ahead = {
        row["corpus"]: row["perplexity"]
        - value(results, "calibration_sets", "perplexity", method="gptq", bits=4, sequences=32,
                corpus=row["corpus"])
        for row in rows(results, "calibration_sets", method="awq", bits=4, sequences=32)
    }  # fmt: skip
    won = [corpus for corpus, lead in ahead.items() if lead > 0]
    fewer = 0.0 - _extra_bits(results, "awq", "gptq")
    paper = results["published"]["awq"]["llama_2_7b"]
    figure = (
        f"GPTQ ahead on {len(won)} of {len(ahead)} texts (Llama 2 7B: {paper['gptq4']:.2f} against "
        f"{paper['awq4']:.2f}); AWQ stores {fewer:.3f} bits fewer"
    )
    parts = [len(won) > len(ahead) / 2, fewer >= limits.MIXED_BITS]
    half = "quality is meant, not speed" if parts[0] else "speed is meant, not quality"
    return judge(figure, parts, half, ("awq",))


@claim(
    16,
    "Calibration takes 1,000 to 10,000 samples",
    kind="measured",
    needs=("calibration_sets",),
    rule=(
        "Share of the fall in KL divergence, from none to 128 sequences, that 32 sequences give. "
        "Wrong if ENOUGH or more for GPTQ and AWQ; holds when for one; holds if for neither."
    ),
    shown=Link("07_awq", "Which text, and how much of it"),
)
def calibration_size(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 16."""
    shares = {}
    none = value(results, "calibration_sets", "kl_divergence", method="rtn", bits=4)
    for method in ("gptq", "awq"):
        some, most = (
            value(results, "calibration_sets", "kl_divergence", method=method, bits=4,
                  sequences=sequences, corpus="editorials")
            for sequences in (32, 128)
        )  # fmt: skip
        shares[method] = (none - some) / (none - most)
    paper = results["published"]["gptq"]["calibration_sequences"]
    figure = (
        f"32 sequences give {percent(shares['gptq'], 0)} (GPTQ) and {percent(shares['awq'], 0)} "
        f"(AWQ) of what 128 give; GPTQ's paper used {paper}"
    )
    needed = {method: share < limits.ENOUGH for method, share in shares.items()}
    hungry = [method.upper() for method, more in needed.items() if more]
    return judge(figure, list(needed.values()), f"it is {' or '.join(hungry)}", ("gptq",))


@claim(
    17,
    "Quantizing takes 30 minutes to several hours",
    kind="measured",
    needs=("libraries",),
    rule=(
        "Holds if all runs of GPTQ and AWQ here and the published ones lie from SHORTEST to "
        "LONGEST; holds when some published one does; wrong if none."
    ),
    shown=Link("06_gptq", "The production libraries: GPTQModel and llm-compressor"),
)
def how_long(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 17."""
    here = [
        row["seconds"] for row in rows(results, "libraries") if row["method"] in ("gptq", "awq")
    ]
    paper = results["published"]["gptq"]["seconds"]
    inside = {
        row["model"]: limits.SHORTEST <= row["seconds"] <= limits.LONGEST
        for row in sorted(paper, key=lambda row: row["parameters"])
    }
    figure = f"135M on a CPU: {min(here) / 60:.1f} to {max(here) / 60:.0f} min; " + ", ".join(
        f"{row['model']} {_duration(row['seconds'])}" for row in paper
    )
    if all(inside.values()) and min(here) >= limits.SHORTEST and max(here) <= limits.LONGEST:
        return ClaimVerdict(HOLDS, figure, sources=("gptq",))
    long = [name for name, good in inside.items() if good]
    if long:
        return ClaimVerdict(WHEN, figure, f"the model is as large as {long[0]}", ("gptq",))
    return ClaimVerdict(WRONG, figure, sources=("gptq",))


def _extra_bits(results: Results, method: str, other: str) -> float:
    """Most bits a weight that one method stores beyond another in the same scheme, measured."""
    key = ("model", "bits", "group_size", "symmetric")
    stored = {
        tuple(row[name] for name in key): row["bits_per_weight"]
        for row in rows(results, "quality", method=other, source="choosing")
    }
    found = [
        row["bits_per_weight"] - stored[scheme]
        for row in rows(results, "quality", method=method, source="choosing")
        if (scheme := tuple(row[name] for name in key)) in stored
    ]
    if not found:
        raise ValueError(f"results['quality'] has no scheme in which {method} and {other} meet")
    return max(found, key=abs)


def _duration(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds / 60:.0f} min"
