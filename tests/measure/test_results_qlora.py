"""The recorded fine-tuning: every seed learned the task, over both bases."""

import pytest

from qlearn.measure import results


@pytest.mark.parametrize("method", ["LoRA", "QLoRA"])
def test_each_of_three_seeds_learned_what_the_model_could_not_do(method):
    rows = [row for row in results.load("qlora")["rows"] if row["method"] == method]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["exact_before"] <= 0.1, row
        assert row["exact_after"] >= 0.7, row
        assert row["loss_last_four"] < 0.1 * row["loss_first"], row
        assert row["exact_new_words"] < row["exact_after"], row


def test_the_rounded_base_is_smaller_and_trains_as_many_numbers():
    rows = [row for row in results.load("qlora")["rows"] if "base_mb" in row]
    mb = {row["method"]: row["base_mb"] for row in rows}
    assert mb["QLoRA"] < mb["LoRA"] / 3
    assert len({row["adapter_parameters"] for row in rows}) == 1
