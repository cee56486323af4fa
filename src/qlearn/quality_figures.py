"""Quality against size, drawn: a point a level, and the front that no level beats as a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from qlearn.figures_look import PALETTE, base_layout
from qlearn.quality import SIZES, Quality, loss_of, pareto_front

# What is drawn alike: name -> (methods, colour, marker).
FAMILIES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "16 and 32 bits": (("float32", "bfloat16"), "grey", "cross"),
    "RTN": (("rtn",), "blue", "circle"),
    "GPTQ": (("gptq",), "orange", "square"),
    "AWQ": (("awq", "awq+gptq"), "magenta", "diamond"),
    "NF4 and FP4": (("nf4", "fp4"), "green", "triangle-up"),
    "QAT": (("qat",), "violet", "star"),
}
SIZE_TITLES = {
    "shipped_bytes": "whole model, the rest in 16 bits (MB)",
    "bytes": "whole model, the rest in 32 bits (MB)",
    "linear_bytes": "quantized layers alone (MB)",
    "bits_per_weight": "bits a weight of the quantized layers",
}


@dataclass(frozen=True)
class Scale:
    """How a measure is drawn.

    Attributes:
        title: of the axis.
        format: of a value, for Python's ``format``.
        least: values below stand at it; 0 for an axis that is not logarithmic.
        span: values beyond so many times the least one that is drawn stand at the upper edge.
    """

    title: str
    format: str
    least: float = 0.0
    span: float = math.inf

    @property
    def log(self) -> bool:
        """Whether the axis is logarithmic."""
        return self.least > 0


SCALES = {
    "perplexity": Scale("perplexity", ".2f", 1.0, 30.0),
    "kl_divergence": Scale("KL divergence from the original (nats)", ".2g", 1e-5, 1e7),
    "disagreement": Scale("tokens said otherwise", ".1%"),
    "mistakes": Scale("questions answered wrongly", ".1%"),
    "surprise": Scale("surprise at the answer (nats a character)", ".4f", 1e-3, 1e4),
}


def scale_of(measure: str) -> Scale:
    """How a measure is drawn; ``"mistakes:mul"`` and the like too.

    Raises:
        ValueError: for an unknown measure.
    """
    name, _, task = measure.partition(":")
    if name not in SCALES:
        raise ValueError(f"measure={measure!r} is unknown; choose one of {', '.join(SCALES)}")
    scale = SCALES[name]
    if not task:
        return scale
    return Scale(f"{scale.title}: {task}", scale.format, scale.least, scale.span)


def pareto_figure(
    rows: Iterable[Quality],
    size: str = "shipped_bytes",
    measure: str = "kl_divergence",
    families: Sequence[str] = tuple(FAMILIES),
    *,
    front: bool = True,
) -> go.Figure:
    """Draw levels of one model: size to the right, loss upwards, the front as a line.

    The axes span all ``rows``, so that they stay where they are as families come and go; a figure
    always has the same traces, so that an explorer can move between them.

    Args:
        rows: levels; those without the measure are left out.
        size: one of :data:`qlearn.quality.SIZES`.
        measure: as :func:`qlearn.quality.loss_of` takes it.
        families: which keys of :data:`FAMILIES` to draw.
        front: draw the line.

    Raises:
        ValueError: for an unknown size, measure or family, or no row that has the measure.
    """
    scale, known = scale_of(measure), list(rows)
    _check(size, families)
    measured = [row for row in known if loss_of(row, measure) is not None]
    if not measured:
        raise ValueError(
            f"rows hold none with measure={measure!r} ({len(known)} rows); "
            "pass rows of a model of which it was measured"
        )
    losses = [_loss(row, measure) for row in measured]
    bottom = max(min(losses), scale.least)
    top = min(max(losses), bottom * scale.span if scale.log else math.inf)
    shown = [row for name in families for row in measured if row.method in FAMILIES[name][0]]
    figure = go.Figure()
    best = pareto_front(shown, size, measure) if front else []
    figure.add_scatter(
        **_points(best, size, measure, bottom, top), name="front", mode="lines",
        line={"color": PALETTE["grey"], "width": 2, "shape": "hv"}, hoverinfo="skip",
    )  # fmt: skip
    for name, (methods, color, symbol) in FAMILIES.items():
        own = [row for row in shown if row.method in methods]
        figure.add_scatter(
            **_points(own, size, measure, bottom, top),
            name=name,
            mode="markers",
            marker={"color": PALETTE[color], "symbol": symbol, "size": 9},
            text=[f"{row.level}: {_said(row, size, measure, scale)}" for row in own] or [""],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(_layout(measured, size, scale, bottom, top))
    return figure


def front_sentence(
    rows: Iterable[Quality],
    size: str = "shipped_bytes",
    measure: str = "kl_divergence",
    families: Sequence[str] = tuple(FAMILIES),
) -> str:
    """One line: how many levels are drawn, and which of them no other one beats.

    Raises:
        ValueError: as :func:`pareto_figure`.
    """
    scale = scale_of(measure)
    _check(size, families)
    methods = {method for name in families for method in FAMILIES[name][0]}
    shown = [row for row in rows if row.method in methods and loss_of(row, measure) is not None]
    front = pareto_front(shown, size, measure)
    if not front:
        return f"No level that is drawn has a {scale.title}."
    named = "; ".join(f"{row.level} ({_said(row, size, measure, scale)})" for row in front)
    return f"{len(shown)} levels, {len(front)} on the front, smallest first: {named}."


def _check(size: str, families: Sequence[str]) -> None:
    if size not in SIZES:
        raise ValueError(f"size={size!r} is unknown; choose one of {', '.join(SIZES)}")
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise ValueError(f"families has {unknown[0]!r}; choose from {', '.join(FAMILIES)}")


def _loss(row: Quality, measure: str) -> float:
    value = loss_of(row, measure)
    assert value is not None, "rows without the measure were left out"
    return value


def _across(row: Quality, size: str) -> float:
    value = float(getattr(row, size))
    return value if size == "bits_per_weight" else value / 1e6


def _said(row: Quality, size: str, measure: str, scale: Scale) -> str:
    unit = "bits a weight" if size == "bits_per_weight" else "MB"
    return f"{_across(row, size):.3g} {unit}, {format(_loss(row, measure), scale.format)}"


def _points(
    rows: Sequence[Quality], size: str, measure: str, bottom: float, top: float
) -> dict[str, list[float | None]]:
    """Places of levels; one point without a place where there are none, so the trace stays."""
    return {
        "x": [_across(row, size) for row in rows] or [None],
        "y": [min(max(_loss(row, measure), bottom), top) for row in rows] or [None],
    }


def _layout(
    rows: Sequence[Quality], size: str, scale: Scale, bottom: float, top: float
) -> dict[str, Any]:
    layout = base_layout(
        x_title=SIZE_TITLES[size], y_title=scale.title, legend=True, height=480, margin={"t": 70}
    )
    across = [_across(row, size) for row in rows]
    # Sizes go up to eight times the smallest: on a log scale 2 and 3 bits stay apart.
    low, high = math.log10(min(across)), math.log10(max(across))
    pad = 0.05 * (high - low) or 0.1
    layout["xaxis"] |= {"type": "log", "range": [low - pad, high + pad], **_ticks(low, high)}
    if scale.log:
        low, high = math.log10(bottom), math.log10(top)
        layout["yaxis"] |= {"type": "log", **_ticks(low, high)}
    else:
        low, high = 0.0, top
        layout["yaxis"] |= {"tickformat": ".0%"}
    pad = 0.05 * (high - low) or 0.1
    layout["yaxis"] |= {"range": [low - pad, high + pad]}
    return layout


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis: at 1, 2 and 5 of each power of ten, or at the powers alone."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    values = [step * 10.0**power for power in powers for step in steps]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}
