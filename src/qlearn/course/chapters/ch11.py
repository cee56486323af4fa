"""Chapter 11: quality against size, on axes that fit every model and every measure.

Size is the share of the float32 model's bytes. Loss stands on one logarithmic axis: the KL
divergence in nats, the rise of the perplexity over the original's (0.1 is ten percent), or the
share of tokens for which another one is the likeliest. Axes that never change let the page move
the points alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qlearn import needs
from qlearn.measure.choose.quality import Quality, loss_of, pareto_front
from qlearn.teach.look import PALETTE, base_layout

with needs("course"):
    import plotly.graph_objects as go

__all__ = ["FAMILIES", "MEASURES", "loss_above", "shares_figure", "shares_sentence"]

# What is drawn alike: name -> (methods, colour, marker).
FAMILIES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "16 and 32 bits": (("float32", "bfloat16"), "grey", "cross"),
    "RTN": (("rtn",), "blue", "circle"),
    "GPTQ": (("gptq",), "orange", "square"),
    "AWQ": (("awq", "awq+gptq"), "magenta", "diamond"),
    "NF4 and FP4": (("nf4", "fp4"), "green", "triangle-up"),
    "QAT": (("qat",), "violet", "star"),
}
MEASURES = ("kl_divergence", "perplexity", "disagreement")
LOW, HIGH = 1e-5, 30.0  # losses beyond stand at the edge
_SHARES = (10, 20, 30, 50, 100)  # percent of the bytes: ticks, and what the sentence names


def loss_above(row: Quality, measure: str, original: Quality) -> float | None:
    """What a level loses: 0 where nothing is lost, ``None`` where it was not measured.

    Raises:
        ValueError: for a measure that is not one of :data:`MEASURES`.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r} is unknown; choose one of {', '.join(MEASURES)}")
    value, before = loss_of(row, measure), loss_of(original, measure)
    if value is None or before is None:
        return None
    return value / before - 1 if measure == "perplexity" else value


def shares_figure(
    rows: Iterable[Quality],
    measure: str = "kl_divergence",
    families: Sequence[str] = tuple(FAMILIES),
) -> go.Figure:
    """Draw levels of one model: share of the bytes to the right, loss upwards, the front as a line.

    Args:
        rows: levels, float32 among them; those without the measure are left out.
        measure: one of :data:`MEASURES`.
        families: which keys of :data:`FAMILIES` to draw.

    Raises:
        ValueError: for an unknown measure, or rows without float32.
    """
    original, shown = _shown(rows, measure, families)

    def places(some: Sequence[Quality]) -> dict[str, list[float | None]]:
        losses = [loss_above(row, measure, original) or 0.0 for row in some]
        return {
            "x": [100 * row.shipped_bytes / original.bytes for row in some] or [None],
            "y": [min(max(loss, LOW), HIGH) for loss in losses] or [None],
        }

    figure = go.Figure()
    figure.add_scatter(
        **places(pareto_front(shown, "shipped_bytes", measure)), name="front", mode="lines",
        line={"color": PALETTE["grey"], "width": 2, "shape": "hv"}, hoverinfo="skip",
    )  # fmt: skip
    for name, (methods, color, symbol) in FAMILIES.items():
        own = [row for row in shown if row.method in methods]
        figure.add_scatter(
            **places(own),
            name=name,
            mode="markers",
            marker={"color": PALETTE[color], "symbol": symbol, "size": 9},
            text=[str(row.level) for row in own] or [""],
            hovertemplate="%{text}: %{x:.0f}%, %{y:.2g}<extra></extra>",
        )
    layout = base_layout(
        x_title="bytes, percent of float32's", y_title="loss", legend=True, height=480
    )
    layout["margin"] = {**layout.get("margin", {}), "t": 70}
    layout["xaxis"] |= {
        "type": "log",
        "range": [0.8, 2.05],
        "tickvals": list(_SHARES),
        "ticktext": [f"{share}%" for share in _SHARES],
        "tickangle": 0,
    }
    powers = range(-5, 2)
    layout["yaxis"] |= {
        "type": "log",
        "range": [-5.3, 1.7],
        "tickvals": [10.0**power for power in powers],
        "ticktext": [f"{10.0**power:g}" for power in powers],
    }
    return figure.update_layout(layout)


def shares_sentence(
    rows: Iterable[Quality],
    measure: str = "kl_divergence",
    families: Sequence[str] = tuple(FAMILIES),
) -> str:
    """How many levels are drawn, and the best of them within some shares of the bytes.

    Raises:
        ValueError: as :func:`shares_figure`.
    """
    original, shown = _shown(rows, measure, families)
    front = pareto_front(shown, "shipped_bytes", measure)
    named: dict[str, str] = {}
    for share in _SHARES[:-1]:
        within = [row for row in front if 100 * row.shipped_bytes <= share * original.bytes]
        if (
            within and str(within[-1].level) not in named
        ):  # the front's losses fall as its sizes grow
            loss = loss_above(within[-1], measure, original)
            named[str(within[-1].level)] = f"within {share}% {within[-1].level} ({loss:.2g})"
    count = f"{len(shown)} levels, {len(front)} on the front"
    return f"{count}; least lost {', '.join(named.values())}." if named else f"{count}."


def _shown(
    rows: Iterable[Quality], measure: str, families: Sequence[str]
) -> tuple[Quality, list[Quality]]:
    """The float32 row, and the rows of the families that have the measure."""
    known = list(rows)
    floats = [row for row in known if row.method == "float32"]
    if not floats:
        raise ValueError(f"rows ({len(known)}) hold no float32; pass quality_table(model)")
    shown = [
        row
        for name in families
        for row in known
        if row.method in FAMILIES[name][0] and loss_above(row, measure, floats[0]) is not None
    ]
    return floats[0], shown
