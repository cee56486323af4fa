"""Committed results of INT8, measured again."""

import logging
import warnings

import pytest
import torch
from results_rows import agrees, recorded

from qlearn.measure import results


def test_every_run_is_recorded(bench):
    script = bench("int8_quality")
    rows = results.load("int8")["rows"]
    assert len(rows) == 1 + len(script.RUNS)
    for run in script.RUNS:
        wanted = {**run, "skip": ", ".join(run["skip"]) if "skip" in run else None}
        recorded("int8", **{**script.DEFAULTS, **wanted})


@pytest.mark.model
@pytest.mark.slow
def test_llm_int8_over_the_whole_split(bench, smollm, whole_split):
    script = bench("int8_quality")
    tokens, reference = whole_split
    again = script.measure(smollm, reference, tokens, None, {"threshold": 6.0})
    row = recorded("int8", **{**script.DEFAULTS, "threshold": 6.0})
    # A last bit of an input may move a code, and a code moves everything after it.
    assert agrees({**again, "seconds": row["seconds"]}, row, 5e-3) == []


def test_the_same_tools_are_timed(bench, monkeypatch):
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    script = bench("int8_speed")
    monkeypatch.setattr(script, "SECONDS", 0.0)
    monkeypatch.setattr(script, "LEAST_ROUNDS", 1)
    engine = torch.backends.quantized.engine
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = script.measure(2, 16, 8)
    finally:
        torch.backends.quantized.engine = engine
    rows = results.load("int8_speed")["rows"]
    assert len(rows) == len(again) * len(script.SHAPES) * len(script.TOKENS)
    for row in rows:
        assert row["what"] in [one["what"] for one in again]
        shape = {name: row[name] for name in ("tokens", "in_features", "out_features")}
        floats = recorded("int8_speed", what="float32", **shape)["milliseconds"]
        assert row["times_float32"] == pytest.approx(
            floats / row["milliseconds"], rel=0.02, abs=0.01
        )
