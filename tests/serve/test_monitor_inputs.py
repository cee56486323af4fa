"""Drift of inputs: enumeration of all orders, formulas by hand, false alarms counted."""

import itertools
import math

import pytest
import torch

from qlearn import load_model
from qlearn.models.pocket.batches import encode
from qlearn.serve.monitor.inputs import (
    InputWatch,
    ks_distance,
    ks_p_value,
    prompt_features,
    stability_index,
)


def normal(count, seed, mean=0.0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)) + mean


@pytest.mark.parametrize(("first", "second"), [(4, 4), (5, 3), (2, 6)])
def test_p_values_equal_all_orders(first, second):
    distances = []
    for chosen in itertools.combinations(range(first + second), first):
        rest = [i for i in range(first + second) if i not in chosen]
        distances.append(ks_distance(torch.tensor(chosen).double(), torch.tensor(rest).double()))
    for distance in set(distances):
        share = sum(other >= distance - 1e-9 for other in distances) / len(distances)
        assert ks_p_value(distance, first, second) == pytest.approx(share, abs=1e-12)
    assert ks_p_value(0.0, first, second) == 1


def test_large_samples_follow_the_limit():
    """Kolmogorov's own series, for large samples."""
    distance, size = 0.1, 1000
    scaled = distance * math.sqrt(size / 2)
    limit = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * scaled**2) for k in range(1, 20))
    assert ks_p_value(distance, size, size) == pytest.approx(limit, rel=0.05)


def test_stability_by_hand():
    # Two bins that part at 1.5. Expected 2.5 and 2.5 of 5, found 0.5 and 4.5 of 5.
    healthy, live = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 3.0, 9.0])
    expected = (0.1 - 0.5) * math.log(0.1 / 0.5) + (0.9 - 0.5) * math.log(0.9 / 0.5)
    assert stability_index(healthy, live, bins=2) == pytest.approx(expected)
    assert stability_index(healthy, healthy) == pytest.approx(0)
    assert stability_index(normal(2000, 0), normal(2000, 1)) < 0.1
    assert stability_index(normal(2000, 0), normal(2000, 1, mean=1.0)) > 0.25


def test_false_alarms_of_a_watch():
    """Promised: one in 400 prompts at the most, here for a window of 40."""
    alarms = 0
    for seed in range(40):  # another healthy sample each time: the promise is an average over them
        watch = InputWatch({"length": normal(200, seed)}, window=40, one_false_alarm_in=400)
        for value in normal(400, 1000 + seed).tolist():
            alarms += sum(drift.drifted for drift in watch.update(length=value))
    assert watch.limit == pytest.approx(0.1)
    assert alarms <= 40 * 400 / 400 + 3 * math.sqrt(40)
    assert alarms > 10  # it does raise some: this could have failed


def test_a_drift_is_found_in_its_window():
    watch = InputWatch({"length": normal(500, 0), "surprise": normal(500, 1)}, window=50)
    found = []
    for length, surprise in zip(normal(50, 2).tolist(), normal(50, 3, 1.5).tolist(), strict=True):
        found = watch.update(length=length, surprise=surprise)
    assert {drift.feature: drift.drifted for drift in found} == {"length": False, "surprise": True}
    assert watch.limit == 50 / (10_000 * 2)
    assert watch.update(length=0.0, surprise=0.0) == []  # a new window has begun


def test_features_of_prompts():
    model = load_model("pocket-100k")
    prompts = [encode("\n12+34="), encode("\nqz")]
    found = prompt_features(model, prompts)
    assert found["length"].tolist() == [7, 3]
    for prompt, surprise in zip(prompts, found["surprise"].tolist(), strict=True):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            assert surprise == pytest.approx(float(model(ids, labels=ids).loss), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ks_distance(torch.tensor([]), torch.ones(2)), "first of shape"),
        (lambda: ks_distance(torch.ones(2), torch.tensor([math.nan])), "second of shape"),
        (lambda: stability_index(torch.ones(2), torch.ones(2), bins=1), "bins=1"),
        (lambda: InputWatch({}), "healthy is empty"),
        (lambda: InputWatch({"length": torch.ones(2, 2)}), "length of shape"),
        (lambda: InputWatch({"length": torch.ones(2)}, window=0), "window=0"),
        (lambda: InputWatch({"length": torch.ones(2)}).update(size=1.0), r"features=\['size'\]"),
        (lambda: InputWatch({"length": torch.ones(2)}).update(length=math.nan), "length=nan"),
        (lambda: prompt_features(load_model("pocket-100k"), [[1]]), "fewer than two"),
        (lambda: prompt_features(load_model("pocket-100k"), []), "prompts is empty"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
