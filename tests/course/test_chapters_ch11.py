"""The plot whose axes fit every model and measure: places by hand, axes that never change."""

import pytest
from quality_rows import level

from qlearn.course.chapters.ch11 import (
    FAMILIES,
    HIGH,
    LOW,
    MEASURES,
    loss_above,
    shares_figure,
    shares_sentence,
)
from qlearn.measure.choose.quality import quality_table

ROWS = [
    level(method="float32", bits=32, size=32_000_000, perplexity=10.0, kl_divergence=0.0),
    level(method="rtn", bits=4, size=4_000_000, perplexity=12.0, kl_divergence=0.2),
    level(method="gptq", bits=4, size=4_000_000, perplexity=11.0, kl_divergence=0.1),
    level(method="rtn", bits=2, size=2_000_000, perplexity=9e9, kl_divergence=99.0),
    level(method="qat", bits=2, size=2_000_000, perplexity=None, kl_divergence=None),
]


def points(figure, name):
    (trace,) = [trace for trace in figure.data if trace.name == name]
    return list(zip(trace.x, trace.y, strict=True))


def test_places_by_hand():
    figure = shares_figure(ROWS, "perplexity")
    assert points(figure, "RTN") == [(12.5, pytest.approx(0.2)), (6.25, HIGH)]
    assert points(figure, "GPTQ") == [(12.5, pytest.approx(0.1))]
    assert points(figure, "16 and 32 bits") == [(100, LOW)]
    assert points(figure, "QAT") == [(None, None)]
    assert points(figure, "front") == [(6.25, HIGH), (12.5, pytest.approx(0.1)), (100, LOW)]
    assert loss_above(ROWS[1], "kl_divergence", ROWS[0]) == 0.2


def test_sentence_by_hand():
    said = shares_sentence(ROWS, "kl_divergence")
    # Of 32 MB 2 are 6.25%, and 4 are 12.5%; up to half of them nothing better comes.
    assert said == (
        "4 levels, 3 on the front; least lost within 10% RTN INT2 per channel asym (99), "
        "within 20% GPTQ INT4 per channel asym (0.1)."
    )
    assert shares_sentence(ROWS, "perplexity", ["QAT"]) == "0 levels, 0 on the front."


def test_only_places_change_from_one_position_to_another():
    tables = [ROWS, quality_table("smollm2-135m"), quality_table("pocket-4m")]
    shapes = set()
    for rows in tables:
        for measure in MEASURES:
            for families in (tuple(FAMILIES), ("RTN",)):
                figure = shares_figure(rows, measure, families).to_dict()
                for trace in figure["data"]:
                    for name in ("x", "y", "text"):
                        trace.pop(name, None)
                shapes.add(str(figure))
    assert len(shapes) == 1


@pytest.mark.parametrize("name", ["smollm2-135m", "pocket-100k", "pocket-4m"])
def test_every_measured_level_lies_within_the_axes(name):
    for measure in MEASURES:
        figure = shares_figure(quality_table(name), measure)
        low, high = (10**edge for edge in figure.layout.xaxis.range)
        for trace in figure.data:
            for x, y in points(figure, trace.name):
                assert x is None or (low < x < high and LOW <= y <= HIGH)


def test_bad_input():
    with pytest.raises(ValueError, match=r"measure='mistakes'.*kl_divergence"):
        shares_figure(ROWS, "mistakes")
    with pytest.raises(ValueError, match="hold no float32"):
        shares_figure(ROWS[1:])
