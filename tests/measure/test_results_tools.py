"""Rows of tools.json, measured again."""

import math

import pytest

from qlearn.measure import results


def recorded(**wanted):
    return [row for row in results.load("tools")["rows"] if wanted.items() <= row.items()]


def test_the_article_call_again():
    from qlearn.course.article.call import article_calls, article_folders

    with article_folders() as folders:
        calls = article_calls(*folders)
    for call in calls:
        (row,) = recorded(what="article call", form=call.form)
        assert (row["loads"], row["raises"]) == (call.loads, call.raises)


def test_codes_refuse_a_gradient_again(bench):
    again = bench("_tools_weights").gradient()
    assert [{"part": "qlora", **row} for row in again] == recorded(what="gradient")


@pytest.mark.model
def test_round_trips_again(bench):
    again = bench("_tools_weights").round_trips()
    for row, found in zip(recorded(what="round trip"), again, strict=True):
        assert row["weights"] == found["weights"]
        assert math.isclose(row["recovered"], found["recovered"], abs_tol=1e-3)
        assert math.isclose(row["codes_recovered"], found["codes_recovered"], abs_tol=1e-3)


def test_statements_are_counted_again(bench):
    starts = bench("_tools_starts")
    scripts = {
        "transformers and bitsandbytes": starts.BITSANDBYTES + starts.WRITE,
        "qlearn": starts.QLEARN + starts.WRITE,
        "openvino and nncf": starts.OPENVINO,
    }
    for tool, code in scripts.items():
        (row,) = recorded(what="start", tool=tool)
        assert row["statements"] == starts.statements(code)


def test_a_deployed_mistake_raises_the_alert_again(bench):
    canary = bench("_tools_canary")
    tasks = ["copy", "recall", "add2"]
    accepted = canary.share(canary.rounded("pocket-100k", 8), tasks, 0)
    assert canary.share(canary.two_bits("pocket-100k"), tasks, 0) < accepted - 0.5
    (row,) = recorded(what="canary run", model="pocket-100k", case="two bits")
    assert row["alert"] and row["after"] < row["limit"] < row["before"]
