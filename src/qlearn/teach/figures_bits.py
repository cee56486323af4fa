"""Figures of single numbers: the bits that hold one, and the line on which formats place theirs."""

from collections.abc import Mapping, Sequence
from typing import Any

from qlearn import needs
from qlearn.teach.look import COLORS, FIELD_COLORS, PALETTE, SYMBOLS, base_layout

with needs("course"):
    import plotly.graph_objects as go


def bit_boxes(
    bits: str | Sequence[int],
    fields: Mapping[str, int],
    *,
    per_row: int = 16,
    **layout: Any,
) -> go.Figure:
    """A bit pattern as boxes, coloured by field, most significant bit first.

    Args:
        bits: "0100..." or a sequence of 0 and 1.
        fields: name -> width, in the order of the bits; "sign", "exponent" and "mantissa" have
            fixed colours.
        per_row: boxes side by side; 16 fit a phone.

    Raises:
        ValueError: a bit that is not 0 or 1, or fields whose widths do not add up to the bits.

    >>> len(bit_boxes("0111100000000000", {"sign": 1, "exponent": 5, "mantissa": 10}).data)
    5
    """
    digits = [str(bit) for bit in bits]
    if any(digit not in ("0", "1") for digit in digits) or not digits:
        raise ValueError(f"bits={bits!r} must be made of 0 and 1, for example '0100'")
    if sum(fields.values()) != len(digits):
        raise ValueError(
            f"fields={dict(fields)} cover {sum(fields.values())} bits and bits has {len(digits)}; "
            "make the widths add up"
        )
    figure = go.Figure()
    first = 0
    for k, (name, width) in enumerate(fields.items()):
        places = range(first, first + width)
        figure.add_bar(
            x=[place % per_row for place in places],
            y=[0.9] * width,
            base=[-(place // per_row) * 1.25 for place in places],
            width=0.9,
            marker={"color": FIELD_COLORS.get(name, COLORS[k % len(COLORS)])},
            name=f"{name} ({width} bit{'' if width == 1 else 's'})",
            customdata=[len(digits) - 1 - place for place in places],
            hovertemplate=f"{name}, bit %{{customdata}}<extra></extra>",
        )
        first += width
    for digit in "01":
        _write_digit(figure, digit, digits, per_row)
    rows = -(-len(digits) // per_row)
    hidden = {"visible": False, "fixedrange": True}
    layout = {"height": 110 + 70 * rows, "barmode": "overlay", **layout}
    figure.update_layout(base_layout(legend=True, **layout))
    figure.update_layout(
        margin={"l": 8, "r": 8, "b": 8},
        xaxis={**hidden, "range": [-0.6, min(per_row, len(digits)) - 0.4]},
        yaxis={**hidden, "range": [-(rows - 1) * 1.25 - 0.05, 0.95]},
    )
    return figure


def _write_digit(figure: go.Figure, digit: str, digits: list[str], per_row: int) -> None:
    """Write one digit into each box that holds it; it waits far below the others.

    So a bit that turns only moves points, which the page's script draws fastest.
    """
    heights = [0.45 - (place // per_row) * 1.25 for place in range(len(digits))]
    figure.add_scatter(
        x=[place % per_row for place in range(len(digits))],
        y=[y if it == digit else y - 100 for y, it in zip(heights, digits, strict=True)],
        mode="text",
        text=digit,
        textfont={"size": 16, "color": "#ffffff"},
        showlegend=False,
        hoverinfo="skip",
    )


def number_line(
    points: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    marks: Mapping[str, float] | None = None,
    span: tuple[float, float] | None = None,
    log: bool = False,
    x_title: str = "value",
    **layout: Any,
) -> go.Figure:
    """Where numbers lie on a line: one row a format, a tick a number, larger marks for single ones.

    Args:
        points: the numbers, or a mapping of name -> numbers (a row each).
        marks: name -> one number, drawn through all rows.
        span: the part of the line that is shown.

    Raises:
        ValueError: nothing to draw.
    """
    rows = points if isinstance(points, Mapping) else {"": points}
    if not rows:
        raise ValueError("points={} has nothing to draw; give at least one sequence of numbers")
    figure = go.Figure()
    for k, (name, numbers) in enumerate(rows.items()):
        values = numbers.tolist() if hasattr(numbers, "tolist") else list(numbers)
        figure.add_scatter(
            x=values,
            y=[name] * len(values),
            mode="markers",
            name=name,
            marker={
                "symbol": "line-ns-open",
                "size": 18,
                "line": {"width": 2},
                "color": COLORS[k % len(COLORS)],
            },
            hovertemplate="%{x}<extra></extra>",
            showlegend=False,
        )
    for k, (name, value) in enumerate((marks or {}).items()):
        figure.add_scatter(
            x=[value] * len(rows),
            y=list(rows),
            mode="markers",
            name=name,
            marker={
                "symbol": SYMBOLS[(k + 2) % len(SYMBOLS)],
                "size": 11,
                "color": PALETTE["magenta"] if k == 0 else COLORS[(k + 3) % len(COLORS)],
            },
            hovertemplate=f"{name}: %{{x}}<extra></extra>",
        )
    layout = {"height": 120 + 60 * len(rows), **layout}
    figure.update_layout(base_layout(x_title=x_title, legend=bool(marks), **layout))
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    if log:
        figure.update_xaxes(type="log")
    if span is not None:
        import math

        figure.update_xaxes(range=[math.log10(end) for end in span] if log else list(span))
    return figure
