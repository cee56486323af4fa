"""The course's plots: each a plotly figure in one look, light enough to send many times.

Every helper takes plain sequences, numpy arrays or torch tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from qlearn import needs
from qlearn.teach.figures_bits import bit_boxes, number_line
from qlearn.teach.look import (
    COLORS,
    DASHES,
    FIELD_COLORS,
    PALETTE,
    SYMBOLS,
    base_layout,
)

with needs("course"):
    import numpy as np
    import plotly.graph_objects as go

__all__ = [
    "COLORS",
    "FIELD_COLORS",
    "PALETTE",
    "bars",
    "base_layout",
    "bit_boxes",
    "heatmap",
    "histogram",
    "lines",
    "number_line",
]


def to_list(values: Any) -> list[Any]:
    """A sequence, array or tensor as a list."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float() if values.is_floating_point() else values.cpu()
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _named(series: Any, name: str = "") -> dict[str, list[Any]]:
    """One series or a mapping of them, as a mapping."""
    if isinstance(series, Mapping):
        if not series:
            raise ValueError("series={} has nothing to draw; give at least one named sequence")
        return {str(key): to_list(values) for key, values in series.items()}
    return {name: to_list(series)}


def _same_length(what: str, count: int, series: Mapping[str, Sequence[Any]]) -> None:
    for name, values in series.items():
        if len(values) != count:
            raise ValueError(
                f"series {name!r} has {len(values)} values and {what} has {count}; "
                "give each series one value a place"
            )


def bars(
    names: Sequence[Any],
    values: Any,
    *,
    stacked: bool = False,
    text: str = "",
    x_title: str = "",
    y_title: str = "",
    horizontal: bool = False,
    **layout: Any,
) -> go.Figure:
    """Bars, one a name: `values` is a sequence, or a mapping of series (side by side or stacked).

    Args:
        text: a d3 format such as ".1f" to write each value at its bar.

    Raises:
        ValueError: a series whose length is not that of `names`.
    """
    series, names = _named(values), to_list(names)
    _same_length("names", len(names), series)
    figure = go.Figure()
    for k, (name, heights) in enumerate(series.items()):
        x, y = (heights, names) if horizontal else (names, heights)
        axis = "x" if horizontal else "y"
        figure.add_bar(
            x=x,
            y=y,
            name=name,
            orientation="h" if horizontal else "v",
            marker={"color": COLORS[k % len(COLORS)]},
            texttemplate=f"%{{{axis}:{text}}}" if text else None,
            cliponaxis=False,
        )
    layout = {"barmode": "stack" if stacked else "group", **layout}
    figure.update_layout(
        base_layout(x_title=x_title, y_title=y_title, legend=len(series) > 1, **layout)
    )
    # A bar a name: "2", "3", "4" are names here, and plotly would read them as numbers.
    figure.update_layout({"yaxis" if horizontal else "xaxis": {"type": "category"}})
    return figure


def lines(
    x: Any,
    series: Any,
    *,
    x_title: str = "",
    y_title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = True,
    **layout: Any,
) -> go.Figure:
    """One line a series over the same x; lines differ in dash and marker as well as in colour.

    Raises:
        ValueError: a series whose length is not that of `x`.
    """
    named, x = _named(series), to_list(x)
    _same_length("x", len(x), named)
    figure = go.Figure()
    for k, (name, y) in enumerate(named.items()):
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            mode="lines+markers" if markers else "lines",
            line={"color": COLORS[k % len(COLORS)], "dash": DASHES[k % len(DASHES)], "width": 2},
            marker={"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 8},
        )
    figure.update_layout(
        base_layout(x_title=x_title, y_title=y_title, legend=len(named) > 1, **layout)
    )
    if log_x:
        figure.update_xaxes(type="log")
    if log_y:
        figure.update_yaxes(type="log")
    return figure


def heatmap(
    values: Any,
    *,
    limit: float | None = None,
    cell_text: Any = None,
    sequential: bool = False,
    bar_title: str = "",
    x_title: str = "column",
    y_title: str = "row",
    **layout: Any,
) -> go.Figure:
    """A matrix as colours, row 0 at the top; zero takes the page's own background.

    Args:
        values: [rows, columns].
        limit: the value at the end of the scale, -limit at the other; the largest absolute value
            where it is None. Fix it across an explorer's positions, or colours change meaning.
        cell_text: True writes each value, a d3 format such as ".2f" how, a matrix of words what.
        sequential: a scale from 0 to `limit`, for errors and counts.

    Raises:
        ValueError: not a matrix.
    """
    z = to_list(values)
    if not z or not isinstance(z[0], list) or (z[0] and isinstance(z[0][0], list)):
        raise ValueError(
            f"values has shape {list(np.shape(z))}; give a matrix [rows, columns], "
            "for example tensor.reshape(rows, -1)"
        )
    top = (
        limit if limit is not None else float(np.nanmax(np.abs(np.asarray(z, dtype=float)))) or 1.0
    )
    trace: dict[str, Any] = {
        "z": z,
        "zmin": 0 if sequential else -top,
        "zmax": top,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": bar_title, "side": "right"}, "thickness": 12},
        "hovertemplate": "row %{y}, column %{x}: %{z}<extra></extra>",
    }
    if sequential:
        # Words in the tiles take the page's text colour: the darkest tile must not swallow them.
        end = PALETTE["magenta"] if cell_text is None else "rgba(192,0,168,0.55)"
        trace["colorscale"] = [[0, "rgba(192,0,168,0)"], [1, end]]
    if isinstance(cell_text, str) or cell_text is True:
        trace["texttemplate"] = f"%{{z:{cell_text}}}" if isinstance(cell_text, str) else "%{z}"
    elif cell_text is not None:
        trace |= {"text": to_list(cell_text), "texttemplate": "%{text}"}
    figure = go.Figure(go.Heatmap(trace))
    figure.update_layout(base_layout(x_title=x_title, y_title=y_title, **layout))
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    return figure


def histogram(
    values: Any,
    *,
    bins: int = 40,
    span: tuple[float, float] | None = None,
    share: bool = False,
    x_title: str = "value",
    y_title: str = "",
    **layout: Any,
) -> go.Figure:
    """How often values fall into equal bins, counted here: a page gets `bins` numbers a series.

    Args:
        values: any shape, or a mapping of series that then share their bins.
        span: the ends of the bins; the extremes of the values where it is None.
        share: fractions of each series instead of counts.

    Raises:
        ValueError: fewer than one bin, or no finite value.
    """
    if bins < 1:
        raise ValueError(f"bins={bins} must be 1 or more; choose about 40")
    series = {
        name: np.asarray(column, dtype=float).ravel() for name, column in _named(values).items()
    }
    finite = np.concatenate([column[np.isfinite(column)] for column in series.values()])
    if not finite.size:
        raise ValueError("values has no finite number; nothing can be counted")
    edges = np.histogram_bin_edges(finite, bins, span)
    centres = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure()
    for k, (name, column) in enumerate(series.items()):
        counts = np.histogram(column[np.isfinite(column)], edges)[0]
        heights = counts / max(column.size, 1) if share else counts
        figure.add_bar(
            x=centres.tolist(),
            y=heights.tolist(),
            width=float(edges[1] - edges[0]),
            name=name,
            marker={"color": COLORS[k % len(COLORS)]},
            opacity=1 if len(series) == 1 else 0.65,
        )
    layout = {"barmode": "overlay", "bargap": 0, **layout}
    label = y_title or ("share" if share else "count")
    figure.update_layout(
        base_layout(x_title=x_title, y_title=label, legend=len(series) > 1, **layout)
    )
    return figure
