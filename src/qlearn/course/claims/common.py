"""What the rules of chapter 14 share: a verdict, rows looked up, losses counted.

A rule is a pure function ``rule(results, limits) -> ClaimVerdict``. ``results`` maps the name of a
results file to its content; ``"quality"`` is the quality table and ``"published"`` the primary
sources' figures. ``limits`` has the thresholds, see :mod:`qlearn.course.claims.thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from qlearn.course.claims.thresholds import Thresholds

HOLDS, WHEN, WRONG = "holds", "holds when", "wrong"
Results = Mapping[str, Any]
Row = Mapping[str, Any]

SMOLLM = "smollm2-135m"
PLAIN = ("copy", "reverse", "recall", "agree")
ARITHMETIC = ("add2", "add3", "add4", "add3r", "mul")
PTQ = ("rtn", "gptq", "awq")
FLOATS = ("float32", "bfloat16")


@dataclass(frozen=True)
class ClaimVerdict:
    """What a rule says.

    Attributes:
        verdict: ``"holds"``, ``"holds when"`` or ``"wrong"``.
        figure: what it rests on, with numbers, in a few words.
        condition: when it holds; given for ``"holds when"`` alone.
        sources: keys of the published figures that were used beside the claim's own files.
    """

    verdict: str
    figure: str
    condition: str = ""
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in (HOLDS, WHEN, WRONG):
            raise ValueError(
                f"verdict={self.verdict!r} is none; choose {HOLDS!r}, {WHEN!r} or {WRONG!r}"
            )
        if not any(character.isdigit() for character in self.figure):
            raise ValueError(f"figure={self.figure!r} holds no number; a verdict rests on one")
        if bool(self.condition) != (self.verdict == WHEN):
            raise ValueError(
                f"condition={self.condition!r} with verdict={self.verdict!r}; say when it holds, "
                f"for {WHEN!r} alone"
            )


def judge(
    figure: str, parts: Sequence[bool], condition: str, sources: tuple[str, ...] = ()
) -> ClaimVerdict:
    """Holds where all parts do, holds when where some do, wrong where none does."""
    if all(parts):
        return ClaimVerdict(HOLDS, figure, sources=sources)
    if any(parts):
        return ClaimVerdict(WHEN, figure, condition, sources)
    return ClaimVerdict(WRONG, figure, sources=sources)


def rows(results: Results, name: str, /, **match: Any) -> list[Row]:
    """Rows of one results file whose entries are as asked for.

    Raises:
        ValueError: where there is none.
    """
    if name not in results:
        raise ValueError(f"results={sorted(results)} lack {name!r}; load it with load_results")
    found = [
        row
        for row in results[name]["rows"]
        if all(row.get(key) == value for key, value in match.items())
    ]
    if not found:
        raise ValueError(f"results[{name!r}] has no row with {match}; measure it again")
    return found


def value(results: Results, name: str, key: str, /, **match: Any) -> Any:
    """One entry of the first row that is as asked for."""
    return rows(results, name, **match)[0][key]


def percent(share: float, digits: int = 1) -> str:
    """A share as text.

    >>> percent(0.0475), percent(-0.001, 0)
    ('4.8%', '0%')
    """
    text = f"{100 * share:.{digits}f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text}%"


def pockets(results: Results) -> list[str]:
    """The pocket models of the quality table, smallest first."""
    found = [
        (row["bytes"], row["model"])
        for row in rows(results, "quality", method="float32")
        if row["model"].startswith("pocket-")
    ]
    return [name for _, name in sorted(found)]


def solved(results: Results, model: str, limits: Thresholds, tasks: Iterable[str]) -> list[str]:
    """Those tasks that the float model answers."""
    accuracy = value(results, "quality", "accuracy", model=model, method="float32")
    return [task for task in tasks if accuracy[task] >= limits.SOLVED]


def at_bits(results: Results, model: str, bits: int, methods: Iterable[str] = PTQ) -> list[Row]:
    """Rows of post-training methods with so many bits; other conventions than the usual left out.

    Raises:
        ValueError: where there is none.
    """
    wanted = [
        row
        for row in rows(results, "quality", model=model, bits=bits)
        if row["method"] in tuple(methods)
    ]
    if not wanted:
        raise ValueError(f"results['quality'] has no row of {model} at {bits} bits by {methods}")
    return wanted


def accuracy_loss(
    results: Results, model: str, level: Row, limits: Thresholds, tasks: Iterable[str] | None = None
) -> float:
    """Share of the accuracy that a level loses, mean over the solved tasks."""
    before = value(results, "quality", "accuracy", model=model, method="float32")
    counted = solved(results, model, limits, tasks or (*PLAIN, *ARITHMETIC))
    if not counted:
        raise ValueError(f"{model} solved none of {tasks} in float; lower SOLVED={limits.SOLVED}")
    return mean(1 - level["accuracy"][task] / before[task] for task in counted)


def mean_loss(
    results: Results,
    bits: int,
    limits: Thresholds,
    tasks: Iterable[str] | None = None,
    models: Iterable[str] | None = None,
    methods: Iterable[str] = PTQ,
) -> float:
    """Accuracy lost at so many bits: mean over rows of a model, then over the pocket models."""
    chosen = list(models or pockets(results))
    return mean(
        mean(
            accuracy_loss(results, model, level, limits, tasks)
            for level in at_bits(results, model, bits, methods)
        )
        for model in chosen
    )


def perplexity_kept(results: Results, level: Row) -> float:
    """The float model's perplexity over a level's."""
    before = value(results, "quality", "perplexity", model=level["model"], method="float32")
    return float(before / level["perplexity"])


def smollm(results: Results, method: str, bits: int, group_size: int | None = 64) -> Row:
    """The asymmetric level of smollm2-135m of that name."""
    return rows(
        results,
        "quality",
        model=SMOLLM,
        method=method,
        bits=bits,
        group_size=group_size,
        symmetric=False,
    )[0]
