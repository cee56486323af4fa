"""What the recorded levels of the pocket family say when they are set against each other.

Three questions: is a larger model at few bits better than a smaller one at many, in the same bytes?
Which tasks fall first as bits are taken away? And do the measures agree on which level is better?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from qlearn.measure.choose.quality import Quality, loss_of, quality_table
from qlearn.models.packaged import POCKET
from qlearn.models.pocket.tasks import TASKS

# What kind of work a task is.
KINDS: dict[str, tuple[str, ...]] = {
    "copying": ("copy", "reverse"),
    "recall": ("recall",),
    "text": ("agree",),
    "sums": ("add2", "add3", "add4", "add3r"),
    "products": ("mul",),
}
SOLVED = 0.95  # share of questions that a float model answers where it has learned a task
# Differences of a measure below these are taken for chance or for rounding.
FLOORS = {
    "perplexity": 0.0,
    "kl_divergence": 1e-3,
    "disagreement": 2e-3,
    "mistakes": 0.01,
    "surprise": 5e-3,
}
RELATIVE = 0.02  # and differences below this share of the smaller value


@dataclass(frozen=True)
class EqualBytes:
    """A smaller model in 16 bits beside a larger one in no more bytes.

    Attributes:
        small: the smaller model in bfloat16.
        large: the larger model's level.
    """

    small: Quality
    large: Quality

    @property
    def ratio(self) -> float:
        """Bytes of the larger model over those of the smaller, as they are shipped."""
        return self.large.shipped_bytes / self.small.shipped_bytes

    def gain(self, task: str | None = None) -> float:
        """Accuracy of the larger less that of the smaller: of a task, or the mean of all."""
        measure = f"mistakes:{task}" if task else "mistakes"
        return _loss(self.small, measure) - _loss(self.large, measure)


def equal_bytes(
    method: str = "gptq",
    bits: int = 4,
    tolerance: float = 0.0,
    rows: Iterable[Quality] | None = None,
) -> list[EqualBytes]:
    """Every pair of pocket models in which the larger one fits into the smaller one's bytes.

    Args:
        method: that quantizes the larger model.
        bits: at the most, of the larger model: of its levels that fit, the largest is taken.
        tolerance: share by which the larger may be over the smaller's bytes.
        rows: the levels to choose from; by default
            :func:`qlearn.measure.choose.quality.quality_table`.

    Returns:
        Pairs in the order of the family: for each smaller model, the larger ones that fit.

    Raises:
        ValueError: for a method that no level has.
    """
    table = list(quality_table() if rows is None else rows)
    if not any(row.method == method for row in table):
        known = ", ".join(dict.fromkeys(row.method for row in table))
        raise ValueError(f"method={method!r} has no recorded level; choose one of {known}")
    pairs = []
    for place, name in enumerate(POCKET):
        halves = [row for row in table if row.model == name and row.method == "bfloat16"]
        for small in halves:
            most = small.shipped_bytes * (1 + tolerance)
            for other in POCKET[place + 1 :]:
                fitting = [
                    row
                    for row in table
                    if (row.model, row.method) == (other, method)
                    and row.bits <= bits
                    and row.shipped_bytes <= most
                ]
                if fitting:
                    large = max(fitting, key=lambda row: row.shipped_bytes)
                    pairs.append(EqualBytes(small, large))
    return pairs


def lost_points(row: Quality, original: Quality) -> dict[str, float]:
    """Percentage points of accuracy that a level lost, task by task.

    Raises:
        ValueError: for a level without accuracies.
    """
    return {
        task: 100 * (_loss(row, f"mistakes:{task}") - _loss(original, f"mistakes:{task}"))
        for task in TASKS
    }


def falls_at(
    model: str,
    method: str = "rtn",
    points: float = 5.0,
    solved: float = SOLVED,
    rows: Iterable[Quality] | None = None,
) -> dict[str, int | None]:
    """The widest precision at which each task is lost, one scale an output row.

    Args:
        model: of the pocket family.
        method: ``"rtn"``, ``"gptq"``, ``"awq"`` or ``"qat"``.
        points: a task is lost where its accuracy fell by more than so many percentage points.
        solved: tasks that the float model answers less often than this are left out.
        rows: the levels to look at; by default :func:`qlearn.measure.choose.quality.quality_table`.

    Returns:
        Task -> bits, or ``None`` where it holds down to the fewest bits; those that fall first
        come first.

    Raises:
        ValueError: for a model without recorded accuracies, or a method without levels.
    """
    table = quality_table(model) if rows is None else [row for row in rows if row.model == model]
    originals = [row for row in table if row.method == "float32"]
    levels = [
        row
        for row in table
        if row.method == method and row.group_size is None and not row.symmetric
    ]
    if not originals or not levels:
        known = ", ".join(dict.fromkeys(row.method for row in table)) or "none"
        raise ValueError(
            f"method={method!r} has no levels per channel beside float32 for model={model!r}; "
            f"recorded are {known}"
        )
    original = originals[0]
    falls: dict[str, int | None] = {}
    for task in TASKS:
        if 1 - _loss(original, f"mistakes:{task}") >= solved:
            lost = [row.bits for row in levels if lost_points(row, original)[task] > points]
            falls[task] = max(lost, default=None)
    return dict(sorted(falls.items(), key=lambda item: -(item[1] or 0)))


def by_kind(values: Mapping[str, float]) -> dict[str, float]:
    """Mean of a figure over the tasks of each kind of :data:`KINDS`; tasks may be missing.

    >>> by_kind({"copy": 1.0, "reverse": 0.5, "mul": 0.25})
    {'copying': 0.75, 'products': 0.25}
    """
    found = {}
    for kind, tasks in KINDS.items():
        known = [values[task] for task in tasks if task in values]
        if known:
            found[kind] = sum(known) / len(known)
    return found


@dataclass(frozen=True)
class Disagreement:
    """Two levels that two measures order differently.

    Attributes:
        better: the level that the first measure prefers.
        worse: the level that the second one prefers.
        one: the first measure at both.
        other: the second measure at both.
    """

    better: Quality
    worse: Quality
    one: tuple[float, float]
    other: tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """How far two measures order the same levels alike.

    Attributes:
        pairs: pairs of levels that both measures tell apart.
        against: those of them that they order differently, the clearest first.
    """

    pairs: int
    against: tuple[Disagreement, ...]

    @property
    def share(self) -> float:
        """Share of the pairs ordered alike, 0 to 1."""
        return 1 - len(self.against) / self.pairs


def compare_measures(rows: Iterable[Quality], one: str, other: str) -> Agreement:
    """Find pairs of levels that two measures order differently.

    A pair counts where both measures tell it apart: by more than the measure's floor
    (:data:`FLOORS`) and more than 2% of the smaller value.

    Args:
        rows: levels of one model, or of several where neither measure looks at an original;
            those without both measures are left out.
        one: a measure, as :func:`qlearn.measure.choose.quality.loss_of` takes it.
        other: another one.

    Raises:
        ValueError: for unknown measures, or rows of which no pair can be told apart.
    """
    losses = []
    for row in rows:
        values = loss_of(row, one), loss_of(row, other)
        if values[0] is not None and values[1] is not None:
            losses.append((row, values[0], values[1]))
    pairs, against = 0, []
    for first, second in combinations(losses, 2):
        if not (_apart(one, first[1], second[1]) and _apart(other, first[2], second[2])):
            continue
        pairs += 1
        low, high = (first, second) if first[1] < second[1] else (second, first)
        if low[2] > high[2]:
            against.append(Disagreement(low[0], high[0], (low[1], high[1]), (low[2], high[2])))
    if not pairs:
        raise ValueError(
            f"rows hold no two levels that {one!r} and {other!r} both tell apart; pass more levels"
        )
    against.sort(key=lambda each: -_strength(each))
    return Agreement(pairs, tuple(against))


def _loss(row: Quality, measure: str) -> float:
    value = loss_of(row, measure)
    if value is None:
        raise ValueError(
            f"{row} has no accuracy by task; choose a model of the pocket family: "
            f"{', '.join(POCKET)}"
        )
    return value


def _apart(measure: str, a: float, b: float) -> bool:
    return abs(a - b) > max(FLOORS[measure.partition(":")[0]], RELATIVE * min(a, b))


def _strength(found: Disagreement) -> float:
    """How clear a disagreement is: the smaller of both relative differences."""
    return min(abs(a - b) / max(a, b) for a, b in (found.one, found.other))
