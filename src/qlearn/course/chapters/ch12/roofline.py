"""The roofline: what memory and arithmetic allow, and what decoding reaches below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qlearn import needs
from qlearn.teach.look import DASHES, PALETTE, SYMBOLS, base_layout

with needs("course"):
    import plotly.graph_objects as go

LOOK = {"FP32": "grey", "BF16": "green", "INT8": "blue", "INT4": "orange"}


def roofline_figure(roofline: Mapping[str, Any], way: str = "fused") -> go.Figure:
    """Tokens a second over the batch: lines are the bounds, points what was measured.

    Args:
        roofline: ``results.load("roofline")``: rows with ``precision``, ``way``, ``batch``,
            ``tokens_per_second`` and ``bound_tokens_per_second``.
        way: whose rows are shown, ``"layers"``, ``"head"`` or ``"fused"``.

    Raises:
        ValueError: for a way that has no rows.
    """
    rows = [row for row in roofline["rows"] if row["way"] == way]
    if not rows:
        known = sorted({row["way"] for row in roofline["rows"]})
        raise ValueError(f"way={way!r} has no rows; choose from {', '.join(known)}")
    figure = go.Figure()
    for (name, color), dash, symbol in zip(LOOK.items(), DASHES, SYMBOLS, strict=False):
        own = sorted(
            (row for row in rows if row["precision"] == name), key=lambda row: row["batch"]
        )
        batches = [row["batch"] for row in own]
        paint = PALETTE[color]
        figure.add_scatter(
            x=batches,
            y=[row["bound_tokens_per_second"] for row in own],
            mode="lines",
            line={"color": paint, "dash": dash},
            name=f"{name}, roof",
        )
        figure.add_scatter(
            x=batches,
            y=[row["tokens_per_second"] for row in own],
            mode="markers",
            marker={"color": paint, "symbol": symbol, "size": 9},
            name=f"{name}, measured",
        )
    axes = {"type": "log", "dtick": 1}
    figure.update_layout(
        base_layout(
            x_title="sequences in a batch",
            y_title="tokens a second, all sequences",
            height=460,
            legend=True,
            margin={"t": 110},
            yaxis=axes,
            xaxis={"type": "log", "tickvals": [1, 2, 4, 8, 16, 32, 64]},
        )
    )
    return figure


def roofline_sentence(roofline: Mapping[str, Any], way: str = "fused") -> str:
    """The shares of the bound that one sequence, and the most sequences, reach."""
    rows = [row for row in roofline["rows"] if row["way"] == way]
    most = max(row["batch"] for row in rows)
    parts = []
    for batch in (1, most):
        shares = ", ".join(
            f"{row['precision']} {row['share_of_bound']:.0%}"
            for row in rows
            if row["batch"] == batch
        )
        parts.append(f"at batch {batch}: {shares}")
    return (
        f"{roofline['bandwidth'] / 1e9:.1f} GB a second read; shares of the roof, "
        f"{'; '.join(parts)}."
    )
