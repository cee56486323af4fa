"""The explorers of the site's prose pages, computed while the site is built."""

from collections.abc import Callable

import plotly.graph_objects as go
import torch

from qlearn.affine import QuantizedTensor, quantize, sqnr
from qlearn.explorer import Explorer
from qlearn.figures_look import PALETTE, base_layout
from qlearn.scheme import QuantScheme

ROWS, COLUMNS = 16, 128
SHOWN = 64  # weights of the first row: what a phone can tell apart


def tile() -> torch.Tensor:
    """[16, 128] float32: normal weights with a few far out, as a trained layer has."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(ROWS, COLUMNS, generator=generator) * 0.04
    weight[:, 37::41] *= 4
    return weight


def landing() -> Explorer:
    """Precision and group size over a tile of weights: what each costs, and what it loses."""
    weight = tile()
    row = weight[0, :SHOWN].tolist()
    reach = float(weight[0, :SHOWN].abs().max()) * 1.1

    def quantized(bits: int, group_size: int) -> QuantizedTensor:
        return quantize(weight, QuantScheme(bits=bits, group_size=group_size))

    def figure(bits: int, group_size: int) -> go.Figure:
        stored = quantized(bits, group_size).dequantize()[0, :SHOWN].tolist()
        places = list(range(SHOWN))
        drawn = go.Figure()
        drawn.add_scatter(
            x=places,
            y=row,
            mode="markers",
            name="weight",
            marker={"color": PALETTE["grey"], "size": 9},
        )
        drawn.add_scatter(
            x=places,
            y=stored,
            mode="lines",
            name="stored",
            line={"color": PALETTE["blue"], "width": 2, "shape": "hvh"},
        )
        return drawn.update_layout(
            base_layout(
                x_title="weight",
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
            f"signal {noise:.1f} dB above the error."
        )

    return Explorer(
        figure,
        {"bits": range(2, 9), "group_size": (8, 16, 32, 64, 128)},
        describe,
        start={"bits": 3, "group_size": 64},
        title="Sixty-four weights, and what is kept of them",
    )


EXPLORERS: dict[str, Callable[[], Explorer]] = {"landing": landing}
