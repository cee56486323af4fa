"""The explorers of the site's prose pages, computed while the site is built."""

from collections.abc import Callable

import torch

from qlearn import needs
from qlearn.course.chapters.ch03.granularity import landing_tile
from qlearn.numerics.affine import QuantizedTensor, quantize, sqnr
from qlearn.numerics.scheme import QuantScheme
from qlearn.teach.explorer.explorer import Explorer
from qlearn.teach.look import PALETTE, base_layout

with needs("course"):
    import plotly.graph_objects as go

GROUP = 32  # the smallest group here; two of them are shown
SHOWN = 2 * GROUP  # weights: what a phone can tell apart


def window(weight: torch.Tensor) -> tuple[int, int]:
    """Row of the largest weight, and the first column of the group before its own.

    Args:
        weight: [rows, columns], columns a multiple of `GROUP`.
    """
    row, column = divmod(int(weight.abs().argmax()), weight.shape[1])
    first = max(column // GROUP - 1, 0) * GROUP
    return row, min(first, weight.shape[1] - SHOWN)


def landing() -> Explorer:
    """Precision and group size over rows of a real layer: what each costs, and what it loses."""
    weight, source = landing_tile()
    row, first = window(weight)
    shown = slice(first, first + SHOWN)
    values = weight[row, shown]
    places = list(range(first, first + SHOWN))
    reach = 1.05 * float(values.abs().max())
    layer = source["layer"].removeprefix("model.")

    def quantized(bits: int, group_size: int) -> QuantizedTensor:
        return quantize(weight, QuantScheme(bits=bits, group_size=group_size))

    def figure(bits: int, group_size: int) -> go.Figure:
        drawn = go.Figure()
        drawn.add_scatter(
            x=places,
            y=values.tolist(),
            mode="markers",
            name="weight",
            marker={"color": PALETTE["grey"], "size": 9},
        )
        drawn.add_scatter(
            x=places,
            y=quantized(bits, group_size).dequantize()[row, shown].tolist(),
            mode="lines",
            name="what is kept",
            line={"color": PALETTE["blue"], "width": 2, "shape": "hvh"},
        )
        return drawn.update_layout(
            base_layout(
                x_title=f"column of {layer}",
                y_title="value",
                legend=True,
                height=340,
                yaxis={"range": [-reach, reach]},
            )
        )

    def describe(bits: int, group_size: int) -> str:
        stored = quantized(bits, group_size)
        noise = sqnr(weight, stored.dequantize())
        return (
            f"{bits} bits in groups of {group_size}: {2**bits} values a group, "
            f"{stored.bits_per_weight:.2f} bits a weight with its scales, "
            f"signal {noise:.1f} dB above the error. "
            "A group's largest weight sets the step of all its others."
        )

    return Explorer(
        figure,
        {"bits": range(2, 9), "group_size": (32, 64, 128, 256, 512)},
        describe,
        start={"bits": 3, "group_size": 128},
        title=f"{SHOWN} weights of {source['model']}, and what is kept of them",
    )


EXPLORERS: dict[str, Callable[[], Explorer]] = {"landing": landing}
