"""The figures of chapter 3: a tile of weights and what becomes of it, and quality against cost.

A frame of the explorer is small because its numbers are whole: values are drawn in units of a
thousandth of the layer's own magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qlearn import needs
from qlearn.teach.look import COLORS, DASHES, PALETTE, SYMBOLS, base_layout

with needs("course"):
    import plotly.graph_objects as go

# Vertical extents in shares of the plot's height. The three tiles lie on one pair of axes: each
# pair of axes, each trace and each colour bar costs milliseconds at every move of a slider.
TILES, HISTOGRAM = (0.28, 0.97), (0.0, 0.17)
GAP = 3  # empty rows between two tiles, for their titles
HEIGHT = 640
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw(
    weights: Tensor,
    becomes: Tensor,
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
    step = len(rows) + GAP
    figure = go.Figure()
    before_and_after = torch.cat([weights, torch.full((GAP, len(columns)), torch.nan), becomes])
    hover = "row %{text}, column %{x}: %{z} x " + named + "<extra></extra>"
    for values, first, end in (
        (before_and_after, 0, limit),
        (becomes - weights, 2 * step, error_limit),
    ):
        places = list(range(first, first + len(values)))
        figure.add_heatmap(
            z=_whole(values / unit),
            x=columns,
            y=places,
            text=[[rows[min(place % step, len(rows) - 1)]] * len(columns) for place in places],
            zmin=-round(end),
            zmax=round(end),
            hoverongaps=False,
            showscale=first == 0,
            hovertemplate=hover,
        )
    _add_scale(figure.data[0], limit, len(rows))
    _add_borders(figure, columns, group_size, len(rows))
    _add_histogram(figure, counts, new_counts, spread)
    figure.update_layout(_layout(columns, rows, int(counts.max())))
    figure.update_layout(annotations=_titles(named, len(rows)))
    return figure


def _whole(values: Tensor) -> list[list[int | None]]:
    """Rounded to whole numbers; NaN, which marks the gap between two tiles, becomes None."""
    return [
        [None if math.isnan(value) else round(value) for value in row] for row in values.tolist()
    ]


def _extent(tile: int, rows: int) -> tuple[float, float]:
    """Bottom and top of a tile, in shares of the plot's height."""
    low, high = TILES
    row = (high - low) / (3 * rows + 2 * GAP)
    top = high - tile * (rows + GAP) * row
    return top - rows * row, top


def _add_scale(tiles: go.Heatmap, limit: float, rows: int) -> None:
    """One colour bar, beside the two tiles that it measures."""
    low, high = _extent(1, rows)[0], _extent(0, rows)[1]
    ends = {"tickvals": [-round(limit), 0, round(limit)]}
    tiles.colorbar = {"thickness": 10, "len": high - low, "y": (low + high) / 2, **ends}


def _add_histogram(figure: go.Figure, counts: Tensor, new_counts: Tensor, spread: float) -> None:
    bins = len(counts)
    width = 8 * spread / bins
    centres = [float(f"{-4 * spread + width * (k + 0.5):.3g}") for k in range(bins)]
    figure.add_bar(
        x=centres,
        y=new_counts.tolist(),
        width=width,
        marker={"color": PALETTE["orange"]},
        xaxis="x2",
        yaxis="y2",
        hovertemplate="near %{x}: %{y} weights become this<extra></extra>",
    )
    figure.add_scatter(
        x=centres,
        y=counts.tolist(),
        mode="lines",
        line={"color": PALETTE["blue"], "width": 2, "shape": "hvh"},
        xaxis="x2",
        yaxis="y2",
        hovertemplate="near %{x}: %{y} weights<extra></extra>",
    )


def _layout(columns: list[int], rows: list[int], top: int) -> dict[str, Any]:
    layout = base_layout(height=HEIGHT, margin={"l": 48, "r": 8, "t": 8, "b": 40})
    step = len(rows) + GAP
    named = [k for k, row in enumerate(rows) if row % 4 == 0]
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True}
    tiles_x = {**bare, "anchor": "y", "dtick": 32}
    tiles_x["range"] = [columns[0] - 0.5, columns[-1] + 0.5]
    tiles_y = {**bare, "anchor": "x", "domain": list(TILES), "range": [3 * step - GAP - 0.5, -0.5]}
    tiles_y["tickvals"] = [tile * step + k for tile in range(3) for k in named]
    tiles_y["ticktext"] = [str(rows[k]) for k in named] * 3
    # A coarse grid puts most weights into one bin: only a log scale shows both.
    counts_y = {"anchor": "x2", "domain": list(HISTOGRAM), "fixedrange": True, "type": "log"}
    counts_y |= {"range": [0, math.log10(top) + 1.4], "dtick": 2}
    counts_x = {"anchor": "y2", "fixedrange": True, "zeroline": False, "title": {"text": "value"}}
    axes = {"xaxis": tiles_x, "yaxis": tiles_y, "xaxis2": counts_x, "yaxis2": counts_y}
    return {**layout, **axes, "bargap": 0, "barmode": "overlay"}


def _titles(unit: str, rows: int) -> list[dict[str, Any]]:
    names = {
        f"weights, in {unit}": _extent(0, rows)[1],
        "what they become": _extent(1, rows)[1],
        f"error, in {unit} (colours 3 times as strong)": _extent(2, rows)[1],
        "whole layer: before (line), after (bars)": HISTOGRAM[1],
    }
    return [_note(f"<b>{name}</b>", top, "bottom") for name, top in names.items()]


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


def _add_borders(figure: go.Figure, columns: list[int], group_size: Any, rows: int) -> None:
    """Lines between groups, through the three tiles: a trace, since it moves faster than shapes."""
    inner = columns[1:] if isinstance(group_size, int) else []
    at = [column - 0.5 for column in inner if column % group_size == 0]
    step = rows + GAP
    ends = [(tile * step - 0.5, tile * step + rows - 0.5) for tile in range(3)]
    figure.add_scatter(
        # One point without a place, where there is no border: plotly hides an empty trace.
        x=[place for x in at for _ in ends for place in (x, x, None)] or [None],
        y=[place for _ in at for low, high in ends for place in (low, high, None)] or [None],
        mode="lines",
        line={"color": PALETTE["magenta"], "width": 2},
        hoverinfo="skip",
    )


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
