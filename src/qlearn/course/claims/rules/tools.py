"""Rules on tools and on working with them: claims 13, 14, 18, 19, 31, 32, 39 and 40."""

from __future__ import annotations

from datetime import date
from math import ceil

from qlearn.course.claims.claim import claim
from qlearn.course.claims.common import (
    HOLDS,
    WHEN,
    WRONG,
    ClaimVerdict,
    Results,
    Row,
    judge,
    percent,
    rows,
    value,
)
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds

YEAR = 365.25  # days
BITSANDBYTES = "transformers and bitsandbytes"


@claim(
    13,
    "from_pretrained loads a GPTQ checkpoint with load_in_4bit=True",
    kind="measured",
    needs=("tools",),
    rule=(
        "The call on a local folder, with the keyword and with today's config. Holds if both load;"
        " holds when one does; wrong if neither."
    ),
    shown=Link("12_toolbox", "The article's snippet"),
)
def the_snippet(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 13."""
    calls = {
        form: rows(results, "tools", what="article call", form=form)[0]
        for form in ("keyword", "config")
    }
    today = rows(results, "tools", what="article call", form="today")[0]
    loaded = [form for form, row in calls.items() if row["loads"]]
    figure = (
        f"{len(loaded)} of {len(calls)} calls load ("
        + ", ".join(f"{form}: {row['raises'] or 'loads'}" for form, row in calls.items())
        + f"); today's {'loads' if today['loads'] else 'fails'}"
    )
    return judge(
        figure,
        [row["loads"] for row in calls.values()],
        f"it is asked for by {' or '.join(loaded)}",
    )


@claim(
    14,
    "Install auto-gptq",
    kind="measured",
    needs=("tools",),
    rule=(
        "Holds if it installs and imports beside the course's versions and has a release within "
        "RECENT_YEARS; holds when it is older but imports; else wrong."
    ),
    shown=Link("12_toolbox", "What is old, and what came after"),
)
def auto_gptq(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 14."""
    return _package(results, limits, "auto-gptq", "")


@claim(
    32,
    "AutoGPTQ is the go-to for production",
    kind="measured",
    needs=("tools", "libraries"),
    rule=(
        "Holds if it installs, imports and has a release within RECENT_YEARS; holds when it "
        "imports but is older; else wrong."
    ),
    shown=Link("12_toolbox", "What is old, and what came after"),
)
def go_to_tool(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 32."""
    ours = value(results, "libraries", "perplexity", method="gptq", scheme="INT4 g64 asym")
    others = [
        row
        for row in rows(results, "libraries", method="gptq", scheme="INT4 g64 asym")
        if row["tool"].startswith("gptqmodel")
    ]
    theirs = f"; GPTQModel's INT4 has perplexity {others[0]['perplexity']:.1f}, ours {ours:.1f}"
    return _package(results, limits, "auto-gptq", theirs)


@claim(
    18,
    "Validate on benchmarks of your own task",
    kind="measured",
    needs=("harness",),
    rule=(
        "Holds if the harness gives FP32 and INT4 apart by STANDARD_ERRORS of their difference; "
        "holds when there are more questions, if not; wrong if the two are equal."
    ),
    shown=Link("11_choosing", "Your own task"),
)
def own_benchmark(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 18: the same questions to both, so their difference has an error of its own."""
    full, codes = (rows(results, "harness", precision=name)[0] for name in ("FP32", "INT4 RTN"))
    gap, error = codes["difference"], codes["difference_standard_error"]
    figure = (
        f"{percent(full['accuracy'])} in FP32, {percent(codes['accuracy'])} in INT4: "
        f"{100 * gap:+.1f} points, standard error {100 * error:.1f}, {codes['questions']} questions"
    )
    if gap and abs(gap) >= limits.STANDARD_ERRORS * error:
        return ClaimVerdict(HOLDS, figure)
    if gap:
        more = ceil((limits.STANDARD_ERRORS * error / gap) ** 2)
        return ClaimVerdict(WHEN, figure, f"there are {more} times as many questions")
    return ClaimVerdict(WRONG, figure)


@claim(
    19,
    "Deploy, monitor, and alert on regressions",
    kind="measured",
    needs=("tools",),
    rule=(
        "A canary of fixed questions. Holds if all broken models raise an alert and no healthy one"
        " does; holds when CANARY_FOUND of them do and false alarms are fewer; else wrong."
    ),
    shown=Link("13_deploy_and_monitor", "Faults, planted and caught"),
)
def alerts(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 19."""
    row = rows(results, "tools", what="canary")[0]
    found, false = row["found"] / row["broken"], row["false_alarms"] / row["healthy"]
    figure = (
        f"{row['found']} of {row['broken']} broken models noticed, {row['false_alarms']} false "
        f"alarms in {row['healthy']} healthy runs of {row['questions']} questions"
    )
    if found == 1 and not false:
        return ClaimVerdict(HOLDS, figure)
    if found >= limits.CANARY_FOUND and false < 1 - limits.CANARY_FOUND:
        return ClaimVerdict(WHEN, figure, "a missed one or a false alarm is acceptable")
    return ClaimVerdict(WRONG, figure)


@claim(
    31,
    "Transformers with bitsandbytes is the easiest start",
    kind="measured",
    needs=("tools",),
    rule=(
        "Statements until a 4-bit model writes. Holds if it runs and no other tool needs fewer; "
        "holds when it runs and another does; wrong if it does not run."
    ),
    shown=Link("12_toolbox", "The fewest statements"),
)
def easiest_start(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 31."""
    starts = {row["tool"]: row for row in rows(results, "tools", what="start")}
    ours = starts[BITSANDBYTES]
    others = {
        name: row["statements"]
        for name, row in starts.items()
        if name != BITSANDBYTES and row["runs"]
    }
    state = f"in {ours['seconds']:.0f} s" if ours["runs"] else "but does not run"
    figure = f"{ours['statements']} statements {state}; " + ", ".join(
        f"{name} {count}" for name, count in others.items()
    )
    if not ours["runs"]:
        return ClaimVerdict(WRONG, figure)
    shorter = [name for name, count in others.items() if count < ours["statements"]]
    if shorter:
        return ClaimVerdict(WHEN, figure, f"{' and '.join(shorter)} are left out, which need fewer")
    return ClaimVerdict(HOLDS, figure)


@claim(
    39,
    "Take pre-quantized models first",
    kind="measured",
    needs=("tools",),
    rule=(
        "Each format that we write, loaded by transformers alone. Holds if all load, LOAD_FASTER "
        "times as fast as GPTQ quantizes; holds when some do; wrong if none."
    ),
    shown=Link("12_toolbox", "Loading what is quantized already"),
)
def pre_quantized(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 39."""
    loads = rows(results, "tools", what="load")
    good = [row["loads"] and _much_faster(row, limits) for row in loads]
    loaded = [row for row in loads if row["loads"]]
    slowest = max((row["seconds"] for row in loaded), default=0.0)
    figure = (
        f"{len(loaded)} of {len(loads)} formats load with transformers alone, in {slowest:.1f} s "
        f"at the most; quantizing took {max(row['quantize_seconds'] for row in loads):.0f} s"
    )
    names = [row["format"] for row, fine in zip(loads, good, strict=True) if fine]
    return judge(figure, good, f"the format is {' or '.join(names)}, or its package is installed")


@claim(
    40,
    "Quantization is not reversible",
    kind="measured",
    needs=("tools",),
    rule=(
        "Share of weights that come back exactly. Holds if RECOVERED or less in each case tried; "
        "holds when the weights were not on a grid before, if in some; wrong if in none."
    ),
    shown=Link("02_affine_quantization", "Idempotence"),
)
def not_reversible(results: Results, limits: Thresholds) -> ClaimVerdict:
    """Claim 40."""
    cases = rows(results, "tools", what="round trip")
    figure = (
        "weights that come back exactly: "
        + ", ".join(f"{row['weights']} {percent(row['recovered'])}" for row in cases)
        + f"; codes: {percent(min(row['codes_recovered'] for row in cases))}"
    )
    lost = [row["recovered"] <= limits.RECOVERED for row in cases]
    return judge(figure, lost, "the weights did not lie on the grid before")


def _package(results: Results, limits: Thresholds, name: str, more: str) -> ClaimVerdict:
    row = rows(results, "tools", what="package", name=name)[0]
    age = (date.fromisoformat(row["checked"]) - date.fromisoformat(row["released"])).days / YEAR
    works = row["installs"] and row["imports"]
    state = "imports" if works else "does not import" if row["installs"] else "does not install"
    figure = f"{name} {row['version']} of {row['released'][:4]}, {age:.1f} years old, {state}{more}"
    if works and age <= limits.RECENT_YEARS:
        return ClaimVerdict(HOLDS, figure)
    if works:
        return ClaimVerdict(WHEN, figure, "models and versions of that year are meant")
    return ClaimVerdict(WRONG, figure)


def _much_faster(row: Row, limits: Thresholds) -> bool:
    return bool(row["seconds"] * limits.LOAD_FASTER <= row["quantize_seconds"])
