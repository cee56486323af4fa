"""The rows of the tools table, and the sentences that follow from them.

``results/toolbox.json`` holds a row a tool and width: one model, one text, one machine, one run. No
prose of the course ranks tools by hand; what ranks them is made here from whatever the rows say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qlearn.measure import results

Row = Mapping[str, Any]
REFERENCE = "torch-fp32"
# Rows whose layers round all their inputs on one grid, and the `activations` of the results `int8`
# that do the same: a grid a call, or one that was fixed beforehand.
ONE_GRID = {
    "onnxruntime-dynamic": "tensor",
    "onnxruntime-static": "static",
    "tensorrt-qdq": "static",
}


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        key: in the rows.
        title: over the column.
        unit: of one step, as a factor: 1e6 for MB.
        digits: format of a cell.
        more_is_better: as speed is, and size isn't.
    """

    key: str
    title: str
    unit: float = 1.0
    digits: str = ".0f"
    more_is_better: bool = False

    def cell(self, row: Row) -> str:
        """The figure as it stands in a table; a dash where it was not measured."""
        value = row.get(self.key)
        if value is None:
            return "\N{EN DASH}"
        return f"{value / self.unit:{self.digits}}"


SIZE_AND_LOSS = (
    Column("disk_bytes", "disk MB", 1e6),
    Column("resident_bytes", "RAM MB", 1e6),
    Column("perplexity", "PPL", digits=".1f"),
    Column("kl", "KL", digits=".3f"),
)
SPEED = (
    Column("tokens_per_second_1", "tok/s at 1", more_is_better=True),
    Column("times_float32_1", "× FP32", digits=".2f", more_is_better=True),
    Column("tokens_per_second_8", "tok/s at 8", more_is_better=True),
    Column("times_float32_8", "× FP32", digits=".2f", more_is_better=True),
)


def tool_rows() -> list[dict[str, Any]]:
    """The rows as they were measured, FP32 first."""
    rows = list(results.load("toolbox")["rows"])
    return sorted(rows, key=lambda row: row["name"] != REFERENCE)


def working(rows: Iterable[Row], bits: int | None = None) -> list[Row]:
    """The rows that ran to their end, of one width where ``bits`` is given."""
    return [row for row in rows if not row["error"] and bits in (None, row["bits"])]


def ranked(rows: Iterable[Row], key: str, more_is_better: bool = False) -> list[Row]:
    """The rows that have this figure, the best first."""
    having = [row for row in rows if row.get(key) is not None]
    return sorted(having, key=lambda row: row[key], reverse=more_is_better)


def loss_sentence(rows: Sequence[Row], bits: int) -> str:
    """Which rows of a width lose least and most.

    Raises:
        ValueError: where fewer than two rows have this width.
    """
    order = ranked(working(rows, bits), "kl")
    _enough(order, bits)
    best, worst = order[0], order[-1]
    return (
        f"In {bits} bits {best['title']} loses least (KL {best['kl']:.3f}, perplexity "
        f"{best['perplexity']:.1f}), {worst['title']} most ({worst['kl']:.3f}, "
        f"{worst['perplexity']:.1f}); {len(order)} rows."
    )


def size_sentence(rows: Sequence[Row], bits: int) -> str:
    """Which rows of a width are smallest and largest on disk.

    Raises:
        ValueError: where fewer than two rows have this width.
    """
    order = ranked(working(rows, bits), "disk_bytes")
    _enough(order, bits)
    small, large = order[0], order[-1]
    return (
        f"In {bits} bits {small['title']} is the smallest on disk "
        f"({small['disk_bytes'] / 1e6:.0f} MB), {large['title']} the largest "
        f"({large['disk_bytes'] / 1e6:.0f} MB)."
    )


def speed_sentence(rows: Sequence[Row], batch: int) -> str:
    """Who is fastest at a batch, and how many are slower than FP32.

    Raises:
        ValueError: where no row was timed at this batch.
    """
    speed, times = f"tokens_per_second_{batch}", f"times_float32_{batch}"
    order = ranked(working(rows), speed, more_is_better=True)
    if not order:
        raise ValueError(f"batch={batch} was not timed; 1 and 8 are")
    best, slower = order[0], [row for row in order if row[times] < 1]
    tail = f"; {len(slower)} of {len(order)} rows are slower than FP32" if slower else ""
    last = f", {slower[-1]['title']} the most ({slower[-1][times]:.2f} times)" if slower else ""
    return (
        f"At batch {batch} {best['title']} is fastest: {best[speed]:.0f} tokens a second, "
        f"{best[times]:.1f} times FP32{tail}{last}."
    )


def failure_sentence(rows: Sequence[Row]) -> str:
    """What did not run, and what was tried."""
    failed = [row for row in rows if row["error"]]
    if not failed:
        return f"All {len(rows)} rows ran to their end."
    told = "; ".join(f"{row['title']}: {row['error']}" for row in failed)
    return f"{len(failed)} of {len(rows)} rows did not run to their end. {told}"


def _enough(rows: Sequence[Row], bits: int) -> None:
    if len(rows) < 2:
        raise ValueError(f"bits={bits} is the width of {len(rows)} rows that ran; compare two")
