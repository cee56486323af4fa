"""Quality against size: every recorded level of every measured model, as one table.

A *level* is a model at a precision: a method, a width and a group size. Its rows come from several
results files, each measured by a script of its own; here they stand side by side, each once.

All measures are losses, so that less is better: see :data:`MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from qlearn.measure.results import load
from qlearn.numerics.scheme import GroupSize, QuantScheme

FLOATS = {"float32": 32, "bfloat16": 16}
SMOLLM = "smollm2-135m"
_ORDER = (*FLOATS, "rtn", "gptq", "awq", "awq+gptq", "nf4", "fp4", "qat")
_MEASURED = ("perplexity", "kl_divergence", "top1_agreement", "accuracy", "nll")


@dataclass(frozen=True)
class Quality:
    """One level of one model, and what was measured there.

    Attributes:
        model: its name, as :func:`qlearn.load_model` takes it.
        method: ``"float32"``, ``"bfloat16"``, a method of ``quantize_model``, ``"awq+gptq"`` (AWQ
            with GPTQ's rounding) or ``"qat"``.
        bits: of a weight, without its share of a scale.
        group_size: as :class:`qlearn.QuantScheme` takes it; for codebooks their block.
        symmetric: of a uniform grid; ``None`` where there is no such choice.
        bits_per_weight: of the quantized layers, counted whole.
        linear_bytes: stored bytes of the quantized layers.
        bytes: stored bytes of the whole model, what is not quantized (embeddings, norms) in
            float32, as ``quantize_model`` leaves it.
        shipped_bytes: the same with what is not quantized in 16 bits, as files are shipped.
        perplexity, kl_divergence, top1_agreement: on held-out text of the model's own kind;
            ``None`` where they were not measured.
        accuracy: share of held-out questions answered, task by task; pocket models alone.
        nll: surprise at the right answer in nats a character, likewise.
        source: name of the results file.
    """

    model: str
    method: str
    bits: int
    group_size: GroupSize
    symmetric: bool | None
    bits_per_weight: float
    linear_bytes: int
    bytes: int
    shipped_bytes: int
    perplexity: float | None
    kl_divergence: float | None
    top1_agreement: float | None
    accuracy: Mapping[str, float] | None
    nll: Mapping[str, float] | None
    source: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What a level is told apart by."""
        return self.model, self.method, self.bits, self.group_size, self.symmetric

    @property
    def level(self) -> str:
        """The level in words, without the model."""
        if self.method in FLOATS:
            return self.method
        if self.symmetric is None:
            return f"{self.method.upper()} b{self.group_size}"
        return f"{self.method.upper()} {QuantScheme(self.bits, self.symmetric, self.group_size)}"

    def __str__(self) -> str:
        return f"{self.model} {self.level}"


def _mean(values: Mapping[str, float] | None) -> float | None:
    return None if values is None else sum(values.values()) / len(values)


def _rest(share: float | None) -> float | None:
    return None if share is None else 1 - share


# Losses: less is better. None where a row lacks the figure.
MEASURES: dict[str, Callable[[Quality], float | None]] = {
    "perplexity": lambda row: row.perplexity,
    "kl_divergence": lambda row: row.kl_divergence,
    "disagreement": lambda row: _rest(row.top1_agreement),  # share of tokens said otherwise
    "mistakes": lambda row: _rest(_mean(row.accuracy)),  # share of questions, mean of the tasks
    "surprise": lambda row: _mean(row.nll),  # nats a character of the answers, mean of the tasks
}
SIZES = ("shipped_bytes", "bytes", "linear_bytes", "bits_per_weight")


def loss_of(row: Quality, measure: str) -> float | None:
    """How much a level loses by a measure; ``"mistakes:mul"`` and the like look at one task alone.

    Raises:
        ValueError: for an unknown measure or task.
    """
    name, _, task = measure.partition(":")
    if not task and name in MEASURES:
        return MEASURES[name](row)
    if task and name in ("mistakes", "surprise"):
        values = row.accuracy if name == "mistakes" else row.nll
        if values is None:
            return None
        if task in values:
            return 1 - values[task] if name == "mistakes" else values[task]
    raise ValueError(
        f"measure={measure!r} is unknown; choose {', '.join(MEASURES)}, or 'mistakes:TASK' or "
        "'surprise:TASK' with a task of the pocket models"
    )


def quality_table(model: str | None = None) -> list[Quality]:
    """Every recorded level, each once; of one model or of all. Floats first, many bits first.

    Raises:
        ValueError: for a model of which nothing is recorded.
    """
    rows = [row for row in _table() if model in (None, row.model)]
    if not rows:
        known = ", ".join(dict.fromkeys(row.model for row in _table()))
        raise ValueError(f"model={model!r} has no recorded levels; choose one of {known}")
    return rows


def find_level(
    model: str,
    method: str,
    bits: int | None = None,
    group_size: GroupSize = None,
    symmetric: bool = False,
) -> Quality:
    """The one level of that name.

    Args:
        model: its name.
        method: as :class:`Quality` names it.
        bits: width; may be left out for floats and codebooks, which have one alone.
        group_size: ignored for floats and codebooks.
        symmetric: likewise.

    Raises:
        ValueError: where there is none, with those that there are.
    """
    rows = [row for row in quality_table(model) if row.method == method]
    for row in rows:
        alone = row.symmetric is None and bits in (None, row.bits)
        if alone or (row.bits, row.group_size, row.symmetric) == (bits, group_size, symmetric):
            return row
    levels = ", ".join(str(row.level) for row in rows) or ", ".join(
        dict.fromkeys(row.method for row in quality_table(model))
    )
    raise ValueError(
        f"method={method!r}, bits={bits}, group_size={group_size!r}, symmetric={symmetric} is not "
        f"recorded for {model}; choose from {levels}"
    )


def pareto_front(
    rows: Iterable[Quality], size: str = "shipped_bytes", loss: str = "kl_divergence"
) -> list[Quality]:
    """The levels that no other one beats: none is as small or smaller and loses less.

    Args:
        rows: levels; those without the measure are left out.
        size: one of :data:`SIZES`.
        loss: a measure, as :func:`loss_of` takes it.

    Returns:
        The front, smallest first; each loses less than all that are smaller. Of levels equal in
        both the first is kept.

    Raises:
        ValueError: for an unknown size or measure.
    """
    if size not in SIZES:
        raise ValueError(f"size={size!r} is unknown; choose one of {', '.join(SIZES)}")
    found = [
        (getattr(row, size), lost, row) for row in rows if (lost := loss_of(row, loss)) is not None
    ]
    front: list[Quality] = []
    least = float("inf")
    for _, lost, row in sorted(found, key=lambda each: each[:2]):
        if lost < least:
            front.append(row)
            least = lost
    return front


@cache
def _table() -> tuple[Quality, ...]:
    models = load("choosing")["models"]
    rows: dict[tuple[Any, ...], Quality] = {}
    # The first file that holds a level is kept.
    for source in (_choosing(models), _of_smollm(models), _trained(models)):
        for row in source:
            rows.setdefault(row.key, row)
    names = list(models)
    order = sorted(
        rows.values(), key=lambda row: (names.index(row.model), _ORDER.index(row.method), -row.bits)
    )
    return tuple(order)


def _choosing(models: Mapping[str, Any]) -> Iterator[Quality]:
    for row in load("choosing")["rows"]:
        yield _quality(row["model"], row, row["bytes"], models, "choosing")


def _of_smollm(models: Mapping[str, Any]) -> Iterator[Quality]:
    """Rows of the three files on smollm2-135m that earlier chapters read."""
    rounded = {row["scheme"]: row for row in load("rtn")["rows"]}
    for name in ("rtn", "calibrated", "libraries"):
        for row in load(name)["rows"]:
            same = rounded[row["scheme"]]  # as many bytes, whatever chose the codes
            if not row.get("tool", "qlearn").startswith("qlearn") or _unusual(same):
                continue
            method = row.get("method", "rtn")
            if same["bits"] is None:
                same, method = {**same, "bits": FLOATS["float32"]}, "float32"
            yield _quality(SMOLLM, {**same, **row, "method": method, "bits": same["bits"]},
                           same["bytes"], models, name)  # fmt: skip


def _unusual(row: Mapping[str, Any]) -> bool:
    """Whether a scheme follows another convention than its kind's usual one."""
    return row["bits"] is not None and row["convention"] not in ("zero-exact", "full-range")


def _trained(models: Mapping[str, Any]) -> Iterator[Quality]:
    """Quantization-aware training of the pocket models: one seed, accuracy and surprise alone."""
    rounded = {
        (row["model"], row["bits"]): row
        for row in load("choosing")["rows"]
        if row["method"] == "rtn" and row["group_size"] is None
    }
    for row in load("qat")["rows"]:
        same = rounded.get((row["model"], row["bits"]))
        if row["method"] == "qat" and row["seed"] == 1 and same is not None:
            kept = {"group_size": None, "symmetric": same["symmetric"]}
            yield _quality(row["model"], {**row, **kept}, same["bytes"], models, "qat")


def _quality(
    model: str, row: Mapping[str, Any], held: int, models: Mapping[str, Any], source: str
) -> Quality:
    method, linear = row["method"], models[model]["linear_weights"]
    other = models[model]["parameters"] - linear
    width = FLOATS.get(method)
    linear_bytes = held - 4 * other if width is None else linear * width // 8
    return Quality(
        model=model,
        method=method,
        bits=row["bits"],
        group_size=row["group_size"],
        symmetric=row["symmetric"],
        bits_per_weight=row["bits_per_weight"],
        linear_bytes=linear_bytes,
        bytes=held,
        shipped_bytes=held if width else linear_bytes + 2 * other,
        **{name: row.get(name) for name in _MEASURED},
        source=source,
    )
