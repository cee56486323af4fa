"""``results/serving.json``: faults and false alarms as the chapter quotes them."""

import pytest

from qlearn.course.chapters.ch13 import FAULTS
from qlearn.measure import results

SERVING = results.load("serving")
ROWS = SERVING["rows"]
MODEL_ALERTS = {"QlearnCanaryDivergence", "QlearnCanaryAnswers"}


def watched(case):
    (row,) = [row for row in ROWS if row["what"] == "watch" and row["case"] == case]
    return row


def test_no_alert_on_the_healthy_version_over_1000_prompts():
    row = watched("healthy")
    assert row["prompts"] >= 1000
    assert (row["alarms"], row["fired"]) == (0, [])
    assert 0.95 * row["prompts"] <= row["right"] <= row["prompts"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fires_its_alerts_and_no_others_and_is_rolled_back(fault):
    row = watched(fault)
    assert set(row["fired"]) == MODEL_ALERTS
    assert row["kl_prompts"] <= row["answers_prompts"]
    assert row["refused_before"]
    assert row["rolled_back_to"] == "nf4"
    assert (row["alarms_after"], row["firing_after"]) == (0, [])
    assert row["seconds_to_fire"] is not None


def test_drifted_inputs_and_silence_have_alerts_of_their_own():
    assert watched("sums alone")["fired"] == ["QlearnInputsDrifted"]
    assert watched("inputs as before")["fired"] == watched("as before again")["fired"] == []
    assert watched("canary stopped")["fired"] == ["QlearnCanarySilent"]


def test_the_load_is_complete_and_its_figures_fit_together():
    loads = [row for row in ROWS if row["what"] in ("closed", "open")]
    kinds = {(row["weights"], row["batching"], row.get("clients")) for row in loads}
    assert len([kind for kind in kinds if kind[2]]) == 2 * 2 * 4
    for row in loads:
        assert row["failures"] == 0
        per_request = row["tokens_per_second"] / row["requests_per_second"]
        assert 1 < per_request <= SERVING["new_tokens"] * 1.01
        for name in ("first_token", "gap", "latency"):
            assert 0 < row[f"{name}_p50_ms"] <= row[f"{name}_p95_ms"] <= row[f"{name}_p99_ms"]
        assert row["first_token_p95_ms"] <= row["latency_p95_ms"]


def test_a_closed_loop_hides_what_an_open_one_shows():
    stalls = {row["loop"]: row for row in ROWS if row["what"] == "stall"}
    assert stalls["closed"]["waited_long"] == 1
    assert stalls["open"]["waited_long"] > 3
