"""The main explorer: what it says is true, any quantizer fits, its packaged tile is the model's."""

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from qlearn import QuantScheme, fake_quantize, quantize, sqnr
from qlearn.course.chapters.ch03.granularity import (
    BINS,
    TILE,
    count,
    granularity_explorer,
    landing_tile,
)


def weight(rows=8, columns=192):
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) * 0.2
    values[5, 70] = 6.0
    return values


def test_every_position_draws_what_the_quantizer_makes_and_says_its_cost():
    layer = weight()
    explorer = granularity_explorer(layer)
    bundle = explorer.bundle()
    assert [c["name"] for c in bundle["controls"]] == ["bits", "group_size"]
    assert len(bundle["frames"]) == 7 * 6
    for bits in (2, 4, 8):
        for size in ("tensor", None, 64):
            explorer.set(bits=bits, group_size=size)
            scheme = QuantScheme(bits, group_size=size)
            became = fake_quantize(layer, scheme)
            line = explorer._describe(**explorer.values)
            assert f"{sqnr(layer, became):.2f} dB" in line
            assert f"{scheme.stored_bits((8, 192)) // 8:,} bytes" in line
            drawn = explorer._figure(**explorer.values)
            # The outlier's tile: rows 2 to 7, columns 32 to 95, in thousandths.
            both, error = drawn.data[0].z, torch.tensor(drawn.data[1].z)
            before, tile = torch.tensor(both[: TILE[0]]), torch.tensor(both[-TILE[0] :])
            assert before.shape == tile.shape == error.shape == TILE
            assert {value for row in both[TILE[0] : -TILE[0]] for value in row} == {None}
            assert (before - layer[2:8, 32:96] * 1000).abs().max() <= 0.501
            assert (tile - became[2:8, 32:96] * 1000).abs().max() <= 0.501
            assert (error - (became - layer)[2:8, 32:96] * 1000).abs().max() <= 0.501
            assert sum(drawn.data[3].y) == layer.numel()


def test_group_sizes_that_do_not_divide_are_left_out():
    explorer = granularity_explorer(weight(columns=96))
    assert explorer.controls[1].labels == ("per tensor", "per channel", "96", "32")


def test_a_tensor_from_a_readers_quantizer_is_drawn_without_codes():
    halves = granularity_explorer(weight(), lambda values, scheme: values / 2)
    assert "SQNR of all 8 x 192 weights 6.02 dB" in halves._describe(bits=4, group_size=None)
    same = granularity_explorer(weight(), lambda values, scheme: values)
    assert "nothing is lost" in same._describe(bits=4, group_size=None)
    assert "Codes" not in same._describe(bits=4, group_size=None)
    ours = granularity_explorer(weight())._describe(bits=4, group_size=None)
    assert re.search(r"Codes of row \d from column 32: (\d+ ){12}\.\.\.$", ours)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda values, scheme: values.flatten(), r"quantizer returned \[1536\]"),
        (lambda values, scheme: None, "quantizer returned NoneType"),
        (lambda values, scheme: quantize(values[:4], scheme), r"quantizer returned \[4, 192\]"),
    ],
)
def test_a_quantizer_that_returns_something_else_is_told(wrong, words):
    with pytest.raises(ValueError, match=words):
        granularity_explorer(weight(), wrong)


@pytest.mark.parametrize("shape", [(8,), (2, 192), (8, 32)])
def test_a_weight_that_holds_no_tile_is_refused(shape):
    with pytest.raises(ValueError, match="pass a matrix of 6 x 64 or more"):
        granularity_explorer(torch.zeros(shape))


def test_the_histogram_counts_everything_and_centres_a_bin_on_zero():
    counts = count(torch.tensor([0.0, 0.0, -9.0, 9.0, 0.99]), 1.0)
    assert counts.sum() == 5
    assert (counts[BINS // 2], counts[0], counts[-1]) == (2, 1, 2)


def test_the_packaged_tile_is_the_models(smollm):
    path = Path(__file__).parents[1] / "benchmarks" / "landing_tile.py"
    spec = spec_from_file_location("landing_tile", path)
    assert spec is not None and spec.loader is not None
    command = module_from_spec(spec)
    spec.loader.exec_module(command)
    rows, source = landing_tile()
    assert source["model"] == "smollm2-135m"
    layer = smollm.get_submodule(source["layer"]).weight.detach()
    first, fresh = command.rows_of(layer)
    assert source["first_row"] == str(first)
    assert torch.equal(rows, fresh.float())
    assert {"commit", "date", "cpu", "versions"} <= set(json.loads(source["measured"]))
    assert 4.5 < rows.abs().max() == rows[rows.shape[0] // 2].abs().max()
