"""The course's plots: colours that hold for every reader, figures that show what they are given."""

from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from qlearn.teach import figures
from qlearn.teach.look import DARK_PAPER, PALETTE, PAPER

# Full dichromacy in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.0.
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
# OKLab (Ottosson 2020): linear RGB -> cone response -> its cube root -> lightness and two hues.
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(color):
    """Linear RGB of "#rrggbb" (sRGB's transfer function)."""
    channels = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2 contrast ratio, 1 to 21."""
    first, second = sorted(
        (float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (a, b)), reverse=True
    )
    return (first + 0.05) / (second + 0.05)


def distance(a, b, sight):
    """Euclidean distance in OKLab as seen through `sight`."""
    seen = [np.clip(np.array(sight) @ linear(color), 0, 1) for color in (a, b)]
    first, second = (np.array(TO_LAB) @ np.cbrt(np.array(TO_CONES) @ color) for color in seen)
    return float(np.linalg.norm(first - second))


def test_the_measures_themselves():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    red, green = "#d00000", "#4f7f00"
    assert distance(red, green, DEUTERANOPIA) < 0.5 * distance(red, green, np.eye(3))


@pytest.mark.parametrize("paper", [PAPER, DARK_PAPER])
@pytest.mark.parametrize("name", PALETTE)
def test_every_colour_stands_out_on_both_backgrounds(name, paper):
    assert contrast(PALETTE[name], paper) >= 3


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deu", "pro"])
def test_every_two_colours_differ_for_every_reader(sight):
    for a, b in combinations(PALETTE.values(), 2):
        assert distance(a, b, sight) >= 0.1, (a, b)


def test_bars_take_one_series_or_several():
    figure = figures.bars([2, 3, 4], [1.0, 2.0, 3.0], x_title="bits", y_title="dB")
    assert list(figure.data[0].y) == [1, 2, 3]
    assert figure.layout.xaxis.type == "category"
    assert figure.layout.showlegend is False
    stacked = figures.bars(["a"], {"w": [1], "c": [2]}, stacked=True, horizontal=True)
    assert stacked.layout.barmode == "stack"
    assert [tuple(t.x) for t in stacked.data] == [(1,), (2,)]
    assert figures.bars(["a"], [1], text=".1f").data[0].texttemplate == "%{y:.1f}"


def test_lines_differ_in_more_than_colour():
    figure = figures.lines(torch.arange(3), {"a": torch.ones(3), "b": torch.zeros(3)}, log_x=True)
    assert len({(t.line.dash, t.marker.symbol) for t in figure.data}) == 2
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.type is None
    assert list(figure.data[1].y) == [0, 0, 0]


def test_heatmap_is_centred_and_leaves_its_colours_to_the_page():
    figure = figures.heatmap(torch.tensor([[1.0, -3.0], [0.5, 0.0]]), cell_text=".1f")
    trace = figure.data[0]
    assert (trace.zmin, trace.zmax) == (-3, 3)
    assert trace.colorscale is None
    assert trace.texttemplate == "%{z:.1f}"
    assert figure.layout.yaxis.autorange == "reversed"
    assert figures.heatmap([[0.0]]).data[0].zmax == 1
    assert figures.heatmap([[1.0]], sequential=True, limit=2).data[0].zmin == 0
    assert figures.heatmap([[1.0]], cell_text=[["x"]]).data[0].text[0][0] == "x"


def test_histogram_counts_in_python():
    figure = figures.histogram(torch.tensor([[0.0, 0.1], [0.9, float("nan")]]), bins=2, span=(0, 1))
    assert list(figure.data[0].y) == [2, 1]
    assert list(figure.data[0].x) == [0.25, 0.75]
    shares = figures.histogram({"a": [0.0, 1.0], "b": [1.0] * 4}, bins=2, share=True)
    assert [sum(trace.y) for trace in shares.data] == [1, 1]


def test_bit_boxes_show_every_bit_once_and_wrap():
    bits = "01000000010010010000111111011011"
    figure = figures.bit_boxes(bits, {"sign": 1, "exponent": 8, "mantissa": 23})
    zeros, ones = figure.data[3:]
    assert (zeros.text, ones.text) == ("0", "1")
    low, high = figure.layout.yaxis.range
    written = ["0" if zero > low else "1" for zero in zeros.y]
    assert "".join(written) == bits
    assert all((one > low) != (zero > low) for zero, one in zip(zeros.y, ones.y, strict=True))
    assert max([*zeros.y, *ones.y]) < high
    boxes = figure.data[:3]
    assert [trace.name for trace in boxes] == [
        "sign (1 bit)",
        "exponent (8 bits)",
        "mantissa (23 bits)",
    ]
    assert {base for trace in boxes for base in trace.base} == {0, -1.25}
    assert [k for trace in boxes for k in trace.customdata] == list(range(31, -1, -1))


def test_number_line_has_a_row_a_format():
    figure = figures.number_line(
        {"FP8": torch.tensor([0.5, 1.0]), "FP4": [1.0]},
        marks={"0.9": 0.9},
        span=(0.1, 10),
        log=True,
    )
    assert [list(trace.x) for trace in figure.data] == [[0.5, 1.0], [1.0], [0.9, 0.9]]
    assert list(figure.layout.xaxis.range) == [-1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.bars(["a", "b"], [1]), "has 1 values and names has 2"),
        (lambda: figures.lines([1, 2], {"s": [1]}), "series 's' has 1 values and x has 2"),
        (lambda: figures.lines([1], {}), "nothing to draw"),
        (lambda: figures.heatmap([1.0, 2.0]), "give a matrix"),
        (lambda: figures.heatmap(torch.zeros(2, 2, 2)), r"shape \[2, 2, 2\]; give a matrix"),
        (lambda: figures.histogram([1.0], bins=0), "bins=0 must be 1 or more"),
        (lambda: figures.histogram([float("nan")]), "no finite number"),
        (lambda: figures.bit_boxes("012", {"sign": 3}), "made of 0 and 1"),
        (lambda: figures.bit_boxes("01", {"sign": 1}), "cover 1 bits and bits has 2"),
        (lambda: figures.number_line({}), "nothing to draw"),
    ],
)
def test_bad_input_names_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_helper_fixes_a_colour_of_the_page():
    made = [
        figures.bars(["a"], [1]),
        figures.lines([1], [1]),
        figures.heatmap([[1.0]]),
        figures.histogram([1.0]),
        figures.bit_boxes("01", {"sign": 1, "mantissa": 1}),
        figures.number_line([1.0]),
    ]
    for figure in made:
        layout = figure.layout
        assert isinstance(figure, go.Figure)
        assert layout.paper_bgcolor is None
        assert layout.plot_bgcolor is None
        assert layout.font.color is None
        assert layout.height
