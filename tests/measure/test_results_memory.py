"""Predicted memory beside measured: the promised bounds, and rows measured again."""

import statistics

import pytest
import torch
from results_rows import recorded
from tiny_models import llama

from qlearn.measure import results

BOUNDS = {"footprint": 0.05, "kv_cache": 0.05, "growth": 0.15}


def within(rows):
    """Names of the rows whose measurement is off by more than its bound."""
    return [
        (row["precision"], row["what"])
        for row in rows
        if row["what"] in BOUNDS
        and abs(row["measured"] / row["predicted"] - 1) > BOUNDS[row["what"]]
    ]


def test_a_row_that_is_off_is_found():
    row = {"precision": "FP32", "what": "growth", "predicted": 100, "measured": 114}
    assert within([row, {**row, "what": "decode", "measured": 1}]) == []
    assert within([{**row, "measured": 116}]) == [("FP32", "growth")]
    assert within([{**row, "what": "kv_cache", "measured": 94}]) == [("FP32", "kv_cache")]


def test_every_prediction_keeps_its_bound(bench):
    script = bench("memory")
    content = results.load("memory")
    rows = content["rows"]
    found = {(row["precision"], row["what"]) for row in rows}
    wanted = {(p, what) for p in script.PRECISIONS for what in (*BOUNDS, "decode")}
    assert found == wanted | {(p, "decode_kernels") for p in script.SCHEMES}
    assert len(rows) == len(found)
    assert within(rows) == []
    for row in rows:
        assert row["ratio"] == pytest.approx(row["measured"] / row["predicted"], abs=1e-4)
        if row["what"] == "growth":
            assert len(row["runs"]) == content["processes"] == 5
            assert row["measured"] == int(statistics.median(row["runs"]))


def test_predictions_are_what_the_package_says_now(bench):
    script = bench("memory")
    speed = results.load("memory")["bandwidth"]
    context = script.PROMPT + script.STEPS // 2
    for precision in script.PRECISIONS:
        told = script.widths(script.MODEL, precision)
        memory = script.estimate_memory(
            script.MODEL, context=script.TOKENS, batch=script.BATCH, **told
        )
        for what, value in (
            ("footprint", memory.weights),
            ("growth", memory.weights),
            ("kv_cache", memory.kv_cache),
        ):
            assert recorded("memory", precision=precision, what=what)["predicted"] == value
        bound = script.decode_speed_bound(script.MODEL, speed, context=context, **told)
        row = recorded("memory", precision=precision, what="decode")
        assert row["predicted"] == pytest.approx(bound, abs=0.01)


@pytest.mark.model
@pytest.mark.slow
def test_bytes_of_the_model_and_of_its_cache(bench):
    script = bench("memory")
    made = script.prepared(script.MODEL, "INT4")
    again = script.held(made, script.MODEL, "INT4")
    assert within(again) == []
    for row in again:
        assert row == recorded("memory", precision="INT4", what=row["what"])


@pytest.fixture
def small(tmp_path):
    """A folder with a model of random weights."""
    llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("precision", ["FP32", "BF16", "INT8", "INT4"])
def test_the_measurement_itself(bench, small, monkeypatch, precision):
    """Of a small model: bytes by hand, and a time that is one."""
    script = bench("memory")
    monkeypatch.setattr(script, "STEPS", 3)
    made = script.prepared(small, precision)
    floats = {torch.bfloat16 if precision == "BF16" else torch.float32}
    assert {p.dtype for p in made.parameters()} == floats
    footprint, cache = script.held(made, small, precision)
    assert footprint["ratio"] == pytest.approx(1, abs=0.05)
    width = 2 if precision == "BF16" else 4
    by_hand = 2 * 2 * 32 * width * script.TOKENS * script.BATCH
    assert cache["measured"] == cache["predicted"] == by_hand
    speed = script.decode(made, small, precision, 1e9, script.widths(small, precision))
    assert speed["predicted"] > 0 < speed["measured"]
    assert {row["precision"] for row in (footprint, cache, speed)} == {precision}


def test_kernels_read_their_codes_and_their_grid(bench, small):
    script = bench("memory")
    made = script.prepared(small, "INT4")
    assert script.use_kernels(made) == {}
    # 4 bits of code, and two bfloat16 numbers a group of 64.
    assert script.kernel_widths(made) == {"bits_per_weight": 4.5}


@pytest.mark.slow
def test_a_process_grows_by_what_it_holds(bench, small, monkeypatch):
    """Of a small model a process grows by little; that it runs and reports is what counts."""
    script = bench("memory")
    monkeypatch.setattr(script, "PROCESSES", 1)
    row = script.grown(small, "INT4")
    assert (row["precision"], row["what"], len(row["runs"])) == ("INT4", "growth", 1)
    assert row["measured"] == row["runs"][0] < 50e6


def test_bandwidth_is_a_speed(bench, monkeypatch):
    script = bench("memory")
    monkeypatch.setattr(script, "READ", 1 << 20)
    monkeypatch.setattr(script, "ROUNDS", 2)
    assert 1e8 < script.bandwidth() < 1e13
