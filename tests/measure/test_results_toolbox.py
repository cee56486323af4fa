"""The tools table's rows: complete, plausible, and some measured again."""

import math
import sys

import pytest

from qlearn.course.chapters.ch12 import tools
from qlearn.measure import results

CASES = (1, 8)  # sequences at a time
TEXT = ("name", "title", "install", "needs", "tool", "measured")
FIGURES = (
    *("seconds_to_make", "make_peak_bytes", "disk_bytes", "seconds_to_load", "resident_bytes"),
    *("peak_bytes", "perplexity", "kl", "top1"),
    *(f"{what}_{case}" for what in ("tokens_per_second", "times_float32") for case in CASES),
)
BY_HAND = "quanto-int4"  # its figures are compared with its grids made by hand, not with bounds
NOT_TIMED = {"tensorrt-qdq"}  # ONNX Runtime's speed is not TensorRT's
PARAMETERS = 134_515_008  # of smollm2-135m, and of its embedding, which the head shares
EMBEDDING = 49_152 * 576


@pytest.fixture(scope="module")
def table():
    return results.load("toolbox")


@pytest.fixture(scope="module")
def rows(table):
    return {row["name"]: row for row in table["rows"]}


def test_rows_are_those_of_tools_that_exist(bench, table):
    script = bench("toolbox")
    names = [row["name"] for row in table["rows"]]
    entrants = script.contenders(sorted(script.FOLDER.glob("_tool_*.py")))
    assert names[0] == script.BASELINE
    assert sorted(names) == sorted(each.row["name"] for each in entrants)


def test_rows_are_complete(rows):
    for name, row in rows.items():
        assert all(row[key] for key in TEXT), name
        assert row["lines"] and all(line.strip() for line in row["lines"]), name
        if row["error"] is None:
            assert row["tried"] is None
            untimed = [key for key in FIGURES if key.endswith(("_1", "_8"))]
            for key in FIGURES:
                if name in NOT_TIMED and key in untimed:
                    assert row[key] is None, (name, key)
                    continue
                assert isinstance(row[key], int | float) and math.isfinite(row[key]), (name, key)
            assert row["packages"].get(row["tool"]) == row["version"]
        else:
            assert row["tried"], name
            assert "/" not in row["error"], name  # no place of the machine that measured
        if row["tool"] != "qlearn":
            assert row["newest"] and (row["released"] or "") <= row["checked"]


def test_hardly_a_row_failed(rows):
    failed = [name for name, row in rows.items() if row["error"]]
    assert len(failed) <= 2, failed


def test_lines_of_use_are_those_in_the_source(bench, rows):
    script = bench("toolbox")
    for entrant in script.contenders(sorted(script.FOLDER.glob("_tool_*.py"))):
        if entrant.row["name"] in rows:
            assert rows[entrant.row["name"]]["lines"] == entrant.row["lines"]


def test_files_are_as_large_as_their_bits(rows):
    for name, row in rows.items():
        if row["error"]:
            continue
        bits, layers = row["bits"], PARAMETERS - EMBEDDING
        # The embedding in the same bits, or in up to FP32, maybe twice; scales, and the tokenizer.
        least = PARAMETERS * bits / 8
        most = layers * (bits + (1.5 if bits < 16 else 0)) / 8 + EMBEDDING * (4 + 4) + 8e6
        assert least < row["disk_bytes"] < most, name


def test_sizes_and_speeds_are_plausible(rows):
    assert rows["torch-fp32"]["times_float32_1"] == rows["torch-fp32"]["times_float32_8"] == 1
    for name, row in rows.items():
        if row["error"]:
            continue
        assert row["resident_bytes"] <= row["peak_bytes"], name
        for case in CASES:
            if name not in NOT_TIMED:
                assert row[f"tokens_per_second_{case}"] > 0, name


def test_losses_are_plausible(rows):
    exact = rows["torch-fp32"]
    assert (exact["kl"], exact["top1"]) == (0, 1)
    for name, row in rows.items():
        if row["error"]:
            continue
        limit = {32: 1e-3, 16: 0.01, 8: 0.05, 4: 0.5}[row["bits"]]
        if name in tools.ONE_GRID or name == BY_HAND:
            continue
        assert 0 <= row["kl"] < limit, name
        assert exact["perplexity"] * 0.98 < row["perplexity"] < exact["perplexity"] * 1.5, name
        assert 0.6 < row["top1"] <= 1, name


def test_rows_on_one_grid_lose_no_more_than_the_packages_own(rows):
    """Symmetric as ours, TensorRT's loses the same; ONNX Runtime's grids need not hold 0 midway."""
    ours = {
        row["activations"]: row
        for row in results.load("int8")["rows"]
        if not (row["threshold"] or row["smooth"] or row["skip"])
    }
    rise = {name: row["perplexity"] / ours[None]["perplexity"] for name, row in ours.items()}
    for name, way in tools.ONE_GRID.items():
        row = rows[name]
        assert 0.5 * ours[way]["kl_divergence"] < row["kl"] < 1.05 * ours[way]["kl_divergence"]
        assert row["perplexity"] < 1.05 * rise[way] * rows["torch-fp32"]["perplexity"], name
        assert row["top1"] > ours[way]["top1_agreement"] - 0.02, name
    assert math.isclose(rows["tensorrt-qdq"]["kl"], ours["static"]["kl_divergence"], rel_tol=0.05)


@pytest.mark.model
def test_quantos_int4_is_what_its_grids_give_by_hand(smollm, tokenizer, table, rows):
    import copy

    import torch

    from qlearn import load_tokens
    from qlearn.measure.evaluate import compare

    rounded = copy.deepcopy(smollm)
    for layer in rounded.model.modules():
        if isinstance(layer, torch.nn.Linear):
            weight = layer.weight.data
            groups = weight.reshape(-1, 96 if weight.shape[1] % 128 else 128)
            low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
            scale = (high - low) / 15  # and no zero-point that is rounded
            codes = ((groups - low) / scale).round().clamp(0, 15)
            layer.weight.data = (codes * scale + low).reshape(weight.shape)
    tokens = load_tokens(tokenizer, "editorials", "evaluation", table["rows_of_512"])
    found, row = compare(rounded, smollm, tokens), rows[BY_HAND]
    assert math.isclose(row["perplexity"], found.perplexity, rel_tol=1e-3)
    assert math.isclose(row["kl"], found.kl_divergence, rel_tol=1e-2)
    assert math.isclose(row["top1"], found.top1_agreement, abs_tol=5e-3)


@pytest.mark.model
def test_float32_again(bench, smollm, tokenizer, table, rows):
    from qlearn import load_tokens
    from qlearn.measure.evaluate import perplexity

    tokens = load_tokens(tokenizer, "editorials", "evaluation", table["rows_of_512"])
    again = perplexity(smollm, tokens)
    assert math.isclose(rows["torch-fp32"]["perplexity"], again, rel_tol=1e-4)


@pytest.mark.model
@pytest.mark.slow
def test_rows_again_by_their_own_tool(bench, table, rows, tmp_path, monkeypatch):
    script = bench("toolbox")
    everyone = script.contenders([script.FOLDER / f"_tool_{one}.py" for one in ("torch", "qlearn")])
    # FP32 goes first: the others are compared with what it leaves.
    again = [each for each in everyone if each.row["name"] in ("torch-fp32", "qlearn-int4")]
    script.lay_out(tmp_path)
    for entrant in again:
        entrant.python = script.Path(sys.executable)
        try:
            script.quantized(entrant, tmp_path)
        finally:
            if entrant.worker:
                entrant.worker.close()
        was = rows[entrant.row["name"]]
        assert entrant.row["error"] is None
        assert math.isclose(entrant.row["perplexity"], was["perplexity"], rel_tol=0.02)
        assert math.isclose(entrant.row["kl"], was["kl"], rel_tol=0.1, abs_tol=1e-9)
        assert math.isclose(entrant.row["disk_bytes"], was["disk_bytes"], rel_tol=1e-3)
