"""The look of the course's figures: colours that hold in light, in dark, and for every reader.

A figure fixes no colours but these. Its text, grid and background are the page's own: the site's
script takes them from the style sheet, and `TEMPLATE` stands in for it in a kernel.
"""

from typing import Any

# Each has a contrast of 3 or more on PAPER and on DARK_PAPER; the closest two stay 0.11 apart in
# OKLab under full deuteranopia and protanopia. Found by search, and held by
# tests/teach/test_figures.py.
PALETTE: dict[str, str] = {
    "blue": "#3054fc",
    "orange": "#c08400",
    "magenta": "#c000a8",
    "green": "#247854",
    "violet": "#9c84e4",
    "grey": "#9c9090",
}
COLORS = tuple(PALETTE.values())
PAPER, DARK_PAPER = "#ffffff", "#121212"  # the site's two backgrounds

# The fields of a float, the same in every chapter.
FIELD_COLORS = {
    "sign": PALETTE["magenta"],
    "exponent": PALETTE["orange"],
    "mantissa": PALETTE["blue"],
}

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")

# In a kernel the page's colours are not known: this grey is readable on white and on near-black.
_NEUTRAL = "#808080"
_FAINT = "rgba(128,128,128,0.28)"
_AXIS = {
    "gridcolor": _FAINT,
    "zerolinecolor": _FAINT,
    "linecolor": _NEUTRAL,
    "tickcolor": _NEUTRAL,
    "automargin": True,
}
DIVERGING = ((0.0, "#1b4fc4"), (0.5, "#eceae6"), (1.0, "#b45309"))
TEMPLATE: dict[str, Any] = {
    "layout": {
        "font": {"color": _NEUTRAL},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(COLORS),
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    },
    "data": {"heatmap": [{"type": "heatmap", "colorscale": [list(stop) for stop in DIVERGING]}]},
}


def base_layout(
    *,
    x_title: str = "",
    y_title: str = "",
    height: int = 420,
    legend: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """The layout that every figure here starts from; `more` overrides or adds to it.

    Args:
        height: px; the page reserves it, so keep it the same at every position of an explorer.
        legend: a horizontal legend above the plot, where a phone has room for it.
    """
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 40 if legend else 16, "b": 48},
        "xaxis": {"title": {"text": x_title}},
        "yaxis": {"title": {"text": y_title}},
        "showlegend": legend,
        "colorway": list(COLORS),
        "dragmode": False,
        "bargap": 0.15,
    }
    if legend:
        layout["legend"] = {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
        }
    for key, value in more.items():
        old = layout.get(key)
        layout[key] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return layout
