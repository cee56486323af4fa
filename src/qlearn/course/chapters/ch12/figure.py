"""Tools as points: what each costs, in percent of FP32's cost, against what it loses.

The axes are the same for all costs and losses, so that a page moves the points alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from qlearn import needs
from qlearn.course.chapters.ch12.tools import REFERENCE, Row, working
from qlearn.teach.look import PALETTE, base_layout

with needs("course"):
    import plotly.graph_objects as go

# Bytes over FP32's bytes, or seconds a token over FP32's: (key, whether it is a speed).
COSTS = {
    "size on disk": ("disk_bytes", False),
    "memory in use": ("resident_bytes", False),
    "time a token, batch 1": ("tokens_per_second_1", True),
    "time a token, batch 8": ("tokens_per_second_8", True),
}
LOSSES = ("KL divergence", "perplexity")
WIDTHS = {"16 and 32 bits": (16, 32), "8 bits": (8,), "4 bits": (4,)}
_LOOK = {
    "16 and 32 bits": ("grey", "cross"),
    "8 bits": ("blue", "circle"),
    "4 bits": ("orange", "square"),
}
LOW, HIGH = 1e-5, 10.0  # losses beyond stand at the edge
LEAST, MOST = 8.0, 2000.0  # percent of FP32's cost


def points(rows: Sequence[Row], cost: str, loss: str) -> dict[str, tuple[float, float]]:
    """Cost in percent of FP32's and loss of each row that ran, by its name.

    Raises:
        ValueError: an unknown cost or loss, or rows without FP32.
    """
    if cost not in COSTS or loss not in LOSSES:
        raise ValueError(
            f"cost={cost!r}, loss={loss!r} is unknown; costs are {', '.join(COSTS)}, "
            f"losses {', '.join(LOSSES)}"
        )
    key, is_speed = COSTS[cost]
    having = [row for row in working(rows) if row[key] and row["kl"] is not None]
    whole = next((row for row in having if row["name"] == REFERENCE), None)
    if whole is None:
        raise ValueError(f"rows ({len(rows)}) hold no {REFERENCE}; all costs are shares of its")
    found = {}
    for row in having:
        share = whole[key] / row[key] if is_speed else row[key] / whole[key]
        rise = row["perplexity"] / whole["perplexity"] - 1
        found[row["name"]] = (100 * share, row["kl"] if loss == "KL divergence" else max(rise, 0.0))
    return found


def front(places: dict[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats in both, cheapest first."""
    kept: list[str] = []
    for name in sorted(places, key=lambda one: places[one]):
        if not kept or places[name][1] < places[kept[-1]][1]:
            kept.append(name)
    return kept


def tools_figure(rows: Sequence[Row], cost: str, loss: str, tool: str) -> go.Figure:
    """Draw a marker a row, the front as a line, and a ring around one tool.

    Args:
        rows: of the results file.
        cost: a key of :data:`COSTS`.
        loss: one of :data:`LOSSES`.
        tool: the name of the row with the ring.

    Raises:
        ValueError: as :func:`points`.
    """
    places = points(rows, cost, loss)
    titles = {row["name"]: row["title"] for row in rows}

    def at(names: Sequence[str]) -> dict[str, list[float | None]]:
        return {
            "x": [min(max(places[name][0], LEAST), MOST) for name in names] or [None],
            "y": [min(max(places[name][1], LOW), HIGH) for name in names] or [None],
        }

    figure = go.Figure()
    figure.add_scatter(
        **at(front(places)), name="front", mode="lines", hoverinfo="skip",
        line={"color": PALETTE["grey"], "width": 2, "shape": "hv"},
    )  # fmt: skip
    for group, widths in WIDTHS.items():
        color, symbol = _LOOK[group]
        own = [row["name"] for row in rows if row["bits"] in widths and row["name"] in places]
        figure.add_scatter(
            **at(own),
            name=group,
            mode="markers",
            marker={"color": PALETTE[color], "symbol": symbol, "size": 9},
            text=[titles[name] for name in own] or [""],
            hovertemplate="%{text}: %{x:.0f}%, %{y:.2g}<extra></extra>",
        )
    figure.add_scatter(
        **at([tool] if tool in places else []), name="chosen", mode="markers", hoverinfo="skip",
        marker={"color": PALETTE["magenta"], "symbol": "circle-open", "size": 18,
                "line": {"width": 3}},
    )  # fmt: skip
    layout = base_layout(x_title="percent of FP32's cost", y_title="loss", legend=True, height=480)
    layout["margin"] = {**layout["margin"], "t": 70}
    ticks = (10, 25, 50, 100, 250, 1000)
    layout["xaxis"] |= {
        "type": "log",
        "range": [0.88, 3.32],
        "tickvals": list(ticks),
        "ticktext": [f"{tick}%" for tick in ticks],
        "tickangle": 0,
    }
    layout["yaxis"] |= {
        "type": "log",
        "range": [-5.3, 1.2],
        "tickvals": [10.0**power for power in range(-5, 2)],
        "ticktext": [f"{10.0**power:g}" for power in range(-5, 2)],
    }
    return figure.update_layout(layout)


def tools_sentence(rows: Sequence[Row], cost: str, loss: str, tool: str) -> str:
    """Where one tool stands, and who beats it in both.

    Raises:
        ValueError: as :func:`points`.
    """
    places = points(rows, cost, loss)
    titles = {row["name"]: row["title"] for row in rows}
    if tool not in places:
        return f"{titles.get(tool, tool)} was not measured here."
    share, lost = places[tool]
    best = front(places)
    beaten = [
        titles[name]
        for name in best
        if places[name] != (share, lost) and places[name][0] <= share and places[name][1] <= lost
    ]
    verdict = f"beaten by {', '.join(beaten)}" if beaten else "on the front"
    what = "KL" if loss == "KL divergence" else "rise of perplexity"
    return f"{titles[tool]}: {share:.0f}% of FP32's {cost}, {what} {lost:.2g}; {verdict}."
