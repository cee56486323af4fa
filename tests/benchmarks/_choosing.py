"""Rows of ``results/choosing.json``: which there are, and how several processes keep theirs."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _results import save
from torch import nn

from qlearn import QuantScheme
from qlearn.measure.results import load
from qlearn.models.blocks import block_linears
from qlearn.numerics.scheme import GroupSize

FLOAT, BFLOAT = "float32", "bfloat16"
WIDTHS = {FLOAT: 32, BFLOAT: 16}
CODEBOOKS = ("nf4", "fp4")
KEY = ("model", "method", "bits", "group_size")  # what names a row


@dataclass(frozen=True)
class Run:
    """One row to measure; ``bits`` and ``group_size`` as :class:`qlearn.QuantScheme` takes them."""

    method: str
    bits: int
    group_size: GroupSize = None

    @property
    def scheme(self) -> QuantScheme | None:
        """What quantize_model is given: codebooks have levels of their own."""
        uniform = self.method not in (FLOAT, BFLOAT, *CODEBOOKS)
        return QuantScheme(self.bits, False, self.group_size) if uniform else None


FLOATS = [Run(FLOAT, 32), Run(BFLOAT, 16)]
BLOCKS = [Run(name, 4, 64) for name in CODEBOOKS]


def pocket_runs(model: nn.Module) -> list[Run]:
    """Every method, width and group that fits a pocket model."""
    widths = {layer.weight.shape[1] for layer in block_linears(model).values()}
    groups = [None, *(size for size in (64, 32) if all(width % size == 0 for width in widths))]
    low = (4, 3, 2)
    rtn = [Run("rtn", 8), *(Run("rtn", bits, group) for bits in low for group in groups)]
    calibrated = [
        Run(method, bits, group)
        for method in ("gptq", "awq")
        for bits in low
        for group in (None, 32)
    ]
    return [*FLOATS, *rtn, *calibrated, *BLOCKS]


# What rtn.json, calibrated.json and libraries.json lack, the most wanted first.
SMOLLM_RUNS = [
    Run(BFLOAT, 16),
    *BLOCKS,
    Run("awq", 4),
    Run("awq", 2, 64),
    Run("awq", 3),
    Run("gptq", 4, 32),
    Run("gptq", 3, 32),
]


def sizes(model: nn.Module) -> dict[str, int]:
    """How many weights a model has, and how many of them lie in layers that are quantized."""
    linear = sum(layer.weight.numel() for layer in block_linears(model).values())
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "linear_weights": linear,
    }


def named(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is told apart by."""
    return tuple(row[name] for name in KEY)


def measured(name: str) -> set[tuple[Any, ...]]:
    """The rows of a results file, by name."""
    try:
        return {named(row) for row in load(name)["rows"]}
    except FileNotFoundError:
        return set()


def keep(
    name: str, row: dict[str, Any], order: tuple[str, ...], command: str, size: dict[str, int],
    **extra: Any,
) -> None:  # fmt: skip
    """Put a row into a results file, in the place of the one of its name, beside all others.

    Args:
        name: of the file.
        row: with the entries of :data:`KEY`.
        order: of the models in the file; a model's rows stay in the order they came in.
        command: as :func:`_results.save` takes it.
        size: :func:`sizes` of the row's model.
        extra: further entries of the file.
    """
    with _alone(name):
        try:
            stored = load(name)
        except FileNotFoundError:
            stored = {"rows": [], "models": {}}
        rows = [each for each in stored["rows"] if named(each) != named(row)]
        rows.append(row)
        rows.sort(key=lambda each: order.index(each["model"]))
        models = {**stored["models"], row["model"]: size}
        models = {each: models[each] for each in order if each in models}
        save(name, rows, command, models=models, **extra)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process at a time, so that none writes over what another has just added."""
    path = Path(tempfile.gettempdir()) / f"qlearn-{name}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
