"""The results files of the pocket models, measured again: some rows of each."""

import pytest

from qlearn import load_model
from qlearn.measure import results
from qlearn.models.pocket.tasks import TASKS


def recorded(**wanted):
    """The one row of ``results/qat.json`` in which these entries stand."""
    rows = results.load("qat")["rows"]
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def apart(again, row):
    """Largest difference of an accuracy, and of a surprise."""
    return tuple(
        max(abs(again[what][task] - row[what][task]) for task in TASKS)
        for what in ("accuracy", "nll")
    )


def test_a_row_that_is_off_is_found():
    row = {"accuracy": dict.fromkeys(TASKS, 0.5), "nll": dict.fromkeys(TASKS, 0.1)}
    other = {"accuracy": {**row["accuracy"], "mul": 0.4}, "nll": {**row["nll"], "add2": 0.4}}
    assert apart(row, row) == (0, 0)
    assert apart(other, row) == (pytest.approx(0.1), pytest.approx(0.3))


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("pocket-100k", ("mul", "recall", "add4")), ("pocket-400k", ("mul", "add4"))],
)
def test_what_the_models_know(bench, name, tasks):
    again = bench("pocket").measure(name, tasks)
    rows = {row["task"]: row for row in results.load("pocket")["rows"] if row["model"] == name}
    assert set(rows) == set(TASKS)
    for found in again:
        row = rows[found["task"]]
        assert found["questions"] == row["questions"] >= 1000
        assert found["accuracy"] == pytest.approx(row["accuracy"], abs=0.005)
        assert found["nll"] == pytest.approx(row["nll"], rel=0.02, abs=1e-3)


def test_the_sizes_of_the_models(bench):
    for name, model in results.load("pocket")["models"].items():
        assert bench("pocket").describe(name) == model


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_rounding_the_smallest_model(bench, method):
    row = recorded(model="pocket-100k", method=method, bits=3)
    again = bench("qat").post_training("pocket-100k", load_model("pocket-100k"), method, 3)
    assert again["bits_per_weight"] == row["bits_per_weight"]
    accuracy, nll = apart(again, row)
    # Compensation carries a last bit on from column to column: another CPU's sums differ more.
    assert accuracy <= (0.01 if method == "rtn" else 0.05)
    assert nll <= (0.01 if method == "rtn" else 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_training_the_smallest_model_at_two_bits(bench):
    script = bench("qat")
    row = recorded(model="pocket-100k", method="qat", bits=2, seed=1)
    again = script.aware("pocket-100k", 2, 1)
    assert again["bits_per_weight"] == row["bits_per_weight"]
    # Two hundred steps carry every last bit on, so another CPU ends at other weights.
    means = [sum(each["accuracy"].values()) / len(TASKS) for each in (again, row)]
    assert means[0] == pytest.approx(means[1], abs=0.06)
    rounded = recorded(model="pocket-100k", method="rtn", bits=2)
    assert means[0] > 3 * sum(rounded["accuracy"].values()) / len(TASKS)


def test_float_rows_agree_with_the_models_own(bench):
    pocket = results.load("pocket")["rows"]
    for row in results.load("qat")["rows"]:
        if row["method"] == "float":
            own = {r["task"]: r["accuracy"] for r in pocket if r["model"] == row["model"]}
            assert row["accuracy"] == own
