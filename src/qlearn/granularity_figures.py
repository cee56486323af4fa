"""The figures of chapter 3: a tile of weights and what becomes of it, and quality against cost.

A frame of the explorer is small because its numbers are whole: values are drawn in units of a
thousandth of the layer's own magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from torch import Tensor

from qlearn.figures_look import COLORS, DASHES, PALETTE, SYMBOLS, base_layout

# Vertical extents of the four panels, in shares of the plot's height.
PANELS = ((0.80, 0.97), (0.54, 0.71), (0.28, 0.45), (0.0, 0.17))
HEIGHT = 640
CODES_SHOWN = 12
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw(
    weights: Tensor,
    becomes: Tensor,
    codes: Tensor | None,
    counts: Tensor,
    new_counts: Tensor,
    *,
    corner: tuple[int, int],
    group_size: Any,
    spread: float,
) -> go.Figure:
    """Weights, what they become, the error, and the histogram of the whole layer.

    Args:
        weights: [rows, columns], the tile.
        becomes: the tile after quantization.
        codes: the tile's codes, if they are known.
        counts: histogram of the whole layer over four spreads to either side.
        new_counts: the same after quantization.
        corner: the tile's first row and column.
        group_size: its borders are drawn where it is a number.
        spread: the layer's standard deviation; it fixes the colours and the units.
    """
    power = math.floor(math.log10(spread)) - 2
    unit = 10.0**power
    named = f"10{str(power).translate(_SUPERSCRIPT)}"
    limit, error_limit = 3 * spread / unit, spread / unit
    columns = list(range(corner[1], corner[1] + weights.shape[1]))
    rows = list(range(corner[0], corner[0] + weights.shape[0]))
    figure = go.Figure()
    tiles = ((weights, limit), (becomes, limit), (becomes - weights, error_limit))
    for k, (values, end) in enumerate(tiles):
        low, high = PANELS[k]
        hover = "row %{y}, column %{x}: %{z} x " + named
        figure.add_heatmap(
            z=(values / unit).round().int().tolist(),
            x=columns,
            y=rows,
            zmin=-round(end),
            zmax=round(end),
            xgap=1,
            ygap=1,
            xaxis=f"x{k + 1}",
            yaxis=f"y{k + 1}",
            colorbar={"thickness": 10, "len": high - low, "y": (low + high) / 2}
            | {"tickvals": [-round(end), 0, round(end)]},
            hovertemplate=hover + "<extra></extra>",
        )
    _add_histogram(figure, counts, new_counts, spread)
    figure.update_layout(_layout(columns, rows, int(counts.max())))
    first = ""
    if codes is not None:
        row = int(weights.abs().amax(dim=1).argmax())
        shown = " ".join(str(code) for code in codes[row, :CODES_SHOWN].tolist())
        first = f"row {rows[row]}, codes from column {columns[0]}: {shown} ..."
    figure.update_layout(
        annotations=[
            *_titles(named),
            _note(first, PANELS[1][0] - 0.012, "top"),
        ],
        shapes=_borders(columns, group_size),
    )
    return figure


def _add_histogram(figure: go.Figure, counts: Tensor, new_counts: Tensor, spread: float) -> None:
    bins = len(counts)
    width = 8 * spread / bins
    centres = [float(f"{-4 * spread + width * (k + 0.5):.3g}") for k in range(bins)]
    figure.add_bar(
        x=centres,
        y=new_counts.tolist(),
        width=width,
        marker={"color": PALETTE["orange"]},
        xaxis="x4",
        yaxis="y4",
        hovertemplate="near %{x}: %{y} weights become this<extra></extra>",
    )
    figure.add_scatter(
        x=centres,
        y=counts.tolist(),
        mode="lines",
        line={"color": PALETTE["blue"], "width": 2, "shape": "hvh"},
        xaxis="x4",
        yaxis="y4",
        hovertemplate="near %{x}: %{y} weights<extra></extra>",
    )


def _layout(columns: list[int], rows: list[int], top: int) -> dict[str, Any]:
    layout = base_layout(height=HEIGHT, margin={"l": 48, "r": 8, "t": 8, "b": 40})
    for k, (low, high) in enumerate(PANELS):
        # plotly calls the first axis "xaxis", not "xaxis1".
        number = "" if k == 0 else str(k + 1)
        x: dict[str, Any] = {"anchor": f"y{number}", "fixedrange": True}
        y: dict[str, Any] = {"anchor": f"x{number}", "domain": [low, high], "fixedrange": True}
        if k < 3:
            x |= {"showgrid": False, "zeroline": False, "showticklabels": k == 2, "dtick": 32}
            x["range"] = [columns[0] - 0.5, columns[-1] + 0.5]
            y |= {"showgrid": False, "zeroline": False, "dtick": 4}
            y["range"] = [rows[-1] + 0.5, rows[0] - 0.5]
        else:
            # A coarse grid puts most weights into one bin: only a log scale shows both.
            x |= {"title": {"text": "value"}, "zeroline": False}
            y |= {"type": "log", "range": [0, math.log10(top) + 1.4], "dtick": 2}
        layout[f"xaxis{number}"], layout[f"yaxis{number}"] = x, y
    return {**layout, "bargap": 0, "barmode": "overlay"}


def _titles(unit: str) -> list[dict[str, Any]]:
    names = (
        f"weights, in {unit}",
        "what they become",
        f"error, in {unit} (colours 3 times as strong)",
        "whole layer: before (line), after (bars)",
    )
    tops = [high for _, high in PANELS]
    return [_note(f"<b>{name}</b>", y, "bottom") for name, y in zip(names, tops, strict=True)]


def _note(text: str, y: float, anchor: str) -> dict[str, Any]:
    return {
        "text": text,
        "x": 0,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": anchor,
        "showarrow": False,
        "font": {"size": 12},
        "align": "left",
    }


def _borders(columns: list[int], group_size: Any) -> list[dict[str, Any]]:
    """Lines between groups, through the three tiles."""
    if not isinstance(group_size, int):
        return []
    line = {"color": PALETTE["magenta"], "width": 2}
    return [
        {"type": "line", "xref": "x", "yref": "paper", "line": line}
        | {"x0": at - 0.5, "x1": at - 0.5, "y0": low, "y1": high}
        for at in columns[1:]
        if at % group_size == 0
        for low, high in PANELS[:3]
    ]


def tradeoff(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    y_title: str = "mean SQNR (dB)",
) -> go.Figure:
    """Quality against bits per weight counted whole: a line a granularity, a point a precision.

    Args:
        series: name -> (bits per weight, quality in dB).
        y_title: what the quality is.
    """
    figure = go.Figure()
    for k, (name, (cost, quality)) in enumerate(series.items()):
        figure.add_scatter(
            x=list(cost),
            y=list(quality),
            name=name,
            mode="lines+markers",
            line={"color": COLORS[k % len(COLORS)], "dash": DASHES[k % len(DASHES)], "width": 2},
            marker={"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 8},
            hovertemplate=f"{name}: %{{x:.3f}} bits per weight, %{{y:.2f}} dB<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            x_title="bits per weight, counted whole", y_title=y_title, legend=True,
            height=460, margin={"t": 70},
        )
    )  # fmt: skip
    return figure
