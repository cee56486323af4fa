"""The plot of quality against size: its points, its line, and axes that stay."""

import pytest
from quality_rows import level

from qlearn.explorer import Explorer
from qlearn.quality import SIZES
from qlearn.quality_figures import FAMILIES, SCALES, front_sentence, pareto_figure

ROWS = [
    level(method="float32", bits=32, size=32_000_000, perplexity=10.0, kl_divergence=0.0),
    level(method="rtn", bits=4, size=4_000_000, perplexity=12.0, kl_divergence=0.2, right=0.5),
    level(method="gptq", bits=4, size=4_000_000, perplexity=11.0, kl_divergence=0.1),
    level(method="rtn", bits=2, size=2_000_000, perplexity=9e9, kl_divergence=9.0, right=0.0),
    level(method="qat", bits=2, size=2_000_000, perplexity=None, kl_divergence=None, right=0.9),
]
NAMES = ["front", *FAMILIES]


def points(figure, name):
    (trace,) = [trace for trace in figure.data if trace.name == name]
    return list(zip(trace.x, trace.y, strict=True))


def test_points_and_front_by_hand():
    figure = pareto_figure(ROWS, measure="perplexity")
    assert [trace.name for trace in figure.data] == NAMES
    # 9e9 stands at the upper edge, thirty times the least.
    assert points(figure, "RTN") == [(4, 12), (2, 300)]
    assert points(figure, "GPTQ") == [(4, 11)]
    assert points(figure, "front") == [(2, 300), (4, 11), (32, 10)]
    assert points(figure, "QAT") == [(None, None)], "it has no perplexity"
    (rtn,) = [trace for trace in figure.data if trace.name == "RTN"]
    assert rtn.text[1] == "RTN INT2 per channel asym: 2 MB, 9000000000.00", "the value itself"


def test_nothing_lost_stands_at_the_lower_edge_of_a_log_axis():
    figure = pareto_figure(ROWS, measure="kl_divergence")
    assert points(figure, "16 and 32 bits") == [(32, SCALES["kl_divergence"].least)]
    assert figure.layout.yaxis.type == "log"
    low, high = figure.layout.yaxis.range
    assert low < -4 and high > 0.95


def test_axes_stay_as_families_come_and_go():
    whole = pareto_figure(ROWS, measure="mistakes")
    part = pareto_figure(ROWS, measure="mistakes", families=["GPTQ"], front=False)
    assert part.layout == whole.layout
    assert [trace.name for trace in part.data] == NAMES
    assert points(part, "RTN") == points(part, "front") == [(None, None)]
    assert points(part, "GPTQ") == [(4, 0)]
    assert points(whole, "QAT") == [(2, pytest.approx(0.1))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("measure", [*SCALES, "mistakes:mul", "surprise:copy"])
def test_every_point_lies_within_the_axes(size, measure):
    import math

    figure = pareto_figure(ROWS, size, measure)
    for axis, coordinate in ((figure.layout.xaxis, "x"), (figure.layout.yaxis, "y")):
        low, high = axis.range
        for trace in figure.data:
            for value in trace[coordinate]:
                if value is not None:
                    place = math.log10(value) if axis.type == "log" else value
                    assert low <= place <= high


def test_the_sentence_names_the_front():
    said = front_sentence(ROWS, measure="kl_divergence")
    assert said.startswith(
        "4 levels, 3 on the front, smallest first: RTN INT2 per channel asym (2 MB"
    )
    assert "GPTQ INT4" in said and "RTN INT4" not in said
    none = front_sentence(ROWS, measure="perplexity", families=["QAT"])
    assert none == "No level that is drawn has a perplexity."


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="choose one of shipped_bytes"):
        pareto_figure(ROWS, size="weight")
    with pytest.raises(ValueError, match="choose one of perplexity"):
        pareto_figure(ROWS, measure="accuracy")
    with pytest.raises(ValueError, match="choose from 16 and 32 bits"):
        front_sentence(ROWS, families=["HQQ"])
    with pytest.raises(ValueError, match="of which it was measured"):
        pareto_figure([level(right=None)], measure="mistakes")


def test_an_explorer_moves_between_them():
    def figure(measure, methods):
        return pareto_figure(ROWS, measure=measure, families=methods)

    def describe(measure, methods):
        return front_sentence(ROWS, measure=measure, families=methods)

    methods = {"rounding": ("RTN",), "all": tuple(FAMILIES)}
    explorer = Explorer(
        figure, {"measure": ("perplexity", "mistakes"), "methods": methods}, describe
    )
    assert len(explorer.bundle()["frames"]) == 4
