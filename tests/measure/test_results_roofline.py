"""The roofline's rows: bytes and operations counted again, bounds that follow from them."""

import pytest

from qlearn.course.chapters.ch12.roofline import roofline_figure, roofline_sentence
from qlearn.measure import results

PARAMETERS = 134_515_008


@pytest.fixture(scope="module")
def roofline():
    return results.load("roofline")


def test_every_precision_and_batch_is_there_once(bench, roofline):
    module = bench("roofline")
    found = sorted((row["precision"], row["way"], row["batch"]) for row in roofline["rows"])
    wanted = [
        (p, way, b) for p, ways in module.WAYS.items() for way in ways for b in module.BATCHES
    ]
    assert found == sorted(wanted)


def test_bounds_follow_from_bytes_and_operations(bench, roofline):
    module = bench("roofline")
    for row in roofline["rows"]:
        assert row["operations"] == module.step_operations(roofline["model"], row["batch"])
        again = module.below(row, roofline["bandwidth"], roofline["peaks"])
        assert again["bound_tokens_per_second"] == pytest.approx(
            row["bound_tokens_per_second"], rel=1e-3
        )
        assert 0 < row["share_of_bound"] < 1.2  # a roof is measured too


def test_bytes_are_those_of_the_bits(roofline):
    least = {"FP32": 4, "BF16": 2, "INT8": 1, "INT4": 0.5}
    for row in roofline["rows"]:
        assert row["weight_bytes"] >= least[row["precision"]] * PARAMETERS
        if row["way"] != "layers" and row["precision"] == "INT4":
            assert row["weight_bytes"] < PARAMETERS


@pytest.mark.model
@pytest.mark.slow
def test_weight_bytes_again(bench, roofline):
    module = bench("roofline")
    row = next(r for r in roofline["rows"] if (r["precision"], r["way"]) == ("INT8", "fused"))
    assert (
        module.weight_bytes(module.prepared(roofline["model"], "INT8", "fused"))
        == row["weight_bytes"]
    )


@pytest.mark.parametrize(("precision", "least"), [("INT4", 2.0), ("INT8", 1.5)])
def test_one_sequence_is_faster(roofline, precision, least):
    wanted = (precision, "fused", 1)
    row = next(r for r in roofline["rows"] if (r["precision"], r["way"], r["batch"]) == wanted)
    assert row["times_float32"] >= least


def test_the_rounded_head_costs_little(roofline):
    cost = {(row["precision"], row["way"]): row["kl_divergence"] for row in roofline["quality"]}
    for precision in ("INT8", "INT4"):
        assert abs(cost[precision, "head"] - cost[precision, "layers"]) < 0.02


def test_the_figure_has_a_roof_and_points_for_each_precision(roofline):
    figure = roofline_figure(roofline)
    assert len(figure.data) == 8
    assert all(len(trace.x) == len(trace.y) == 7 for trace in figure.data)
    assert "GB a second" in roofline_sentence(roofline)
    with pytest.raises(ValueError, match="way='none'"):
        roofline_figure(roofline, "none")
