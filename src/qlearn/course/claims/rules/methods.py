"""Rules on how the methods work: claims 7, 8, 9, 10, 11, 15, 16, 17 and 35."""

from __future__ import annotations

from statistics import mean

from qlearn.course.claims import thresholds
from qlearn.course.claims.common import (
    ARITHMETIC,
    HOLDS,
    PLAIN,
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

HOUR = 3600


def direct_conversion(results: Results, limits: Limits = thresholds) -> Verdict:
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
        return Verdict(HOLDS, figure)
    if eight >= limits.KEPT:
        return Verdict(WHEN, figure, "the method is round-to-nearest; GPTQ and AWQ change weights")
    return Verdict(WRONG, figure)


def training_beats_rounding(results: Results, limits: Limits = thresholds) -> Verdict:
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
        return Verdict(HOLDS, figure)
    if enough:
        return Verdict(WHEN, figure, f"weights have {' or '.join(map(str, enough))} bits")
    return Verdict(WRONG, figure)


def base_and_adapters(results: Results, limits: Limits = thresholds) -> Verdict:
    """Claim 9."""
    base = value(results, "tools", "bits", what="qlora tensor", tensor="base")
    adapter = value(results, "tools", "bits", what="qlora tensor", tensor="adapter")
    megabytes = value(results, "qlora", "base_mb", method="QLoRA")
    low, high = limits.NF4_BITS
    figure = f"base {base:.3f} bits a weight ({megabytes:.0f} MB in all), adapters {adapter} bits"
    if not low <= base <= high:
        return Verdict(WRONG, figure)
    if adapter == limits.ADAPTER_BITS:
        return Verdict(HOLDS, figure)
    return Verdict(WHEN, figure, f"16 bits are asked for; peft keeps adapters in {adapter}")


def layer_by_layer(results: Results, limits: Limits = thresholds) -> Verdict:
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
        return Verdict(WRONG, figure)
    if max(falls.values()) < 1:
        return Verdict(HOLDS, figure)
    return Verdict(WHEN, figure, "the layer's error is meant, not the model's")


def higher_precision(results: Results, limits: Limits = thresholds) -> Verdict:
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


def gptq_or_awq(results: Results, limits: Limits = thresholds) -> Verdict:
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


def calibration_size(results: Results, limits: Limits = thresholds) -> Verdict:
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


def how_long(results: Results, limits: Limits = thresholds) -> Verdict:
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
        return Verdict(HOLDS, figure, sources=("gptq",))
    long = [name for name, good in inside.items() if good]
    if long:
        return Verdict(WHEN, figure, f"the model is as large as {long[0]}", ("gptq",))
    return Verdict(WRONG, figure, sources=("gptq",))


def fine_tuning(results: Results, limits: Limits = thresholds) -> Verdict:
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


def _gain_of_training(results: Results, limits: Limits, model: str, bits: int) -> float:
    before = value(results, "qat", "accuracy", model=model, method="float")
    tasks = [task for task in (*PLAIN, *ARITHMETIC) if before[task] >= limits.SOLVED]

    def score(method: str) -> float:
        found = rows(results, "qat", model=model, method=method, bits=bits)
        return mean(row["accuracy"][task] for row in found for task in tasks)

    return score("qat") - max(score("rtn"), score("gptq"))


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
