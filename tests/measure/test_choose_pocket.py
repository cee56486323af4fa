"""Pocket levels set against each other, on made-up levels worked by hand."""

import pytest
from quality_rows import level

from qlearn.measure.choose.pocket import (
    KINDS,
    by_kind,
    compare_measures,
    equal_bytes,
    falls_at,
    lost_points,
)
from qlearn.models.pocket.tasks import TASKS

SMALL, LARGE = "pocket-100k", "pocket-400k"
FAMILY = [
    level(SMALL, "bfloat16", 16, 100, right=0.6),
    level(SMALL, "gptq", 4, 30, right=0.5),
    level(LARGE, "bfloat16", 16, 400, right=0.9),
    level(LARGE, "gptq", 8, 90, right=0.95),
    level(LARGE, "gptq", 4, 110, right=0.85, group_size=32),
    level(LARGE, "gptq", 4, 99, right=0.8),
    level(LARGE, "gptq", 3, 80, right=0.7),
    level(LARGE, "rtn", 4, 100, right={"mul": 0.1}),
]


def test_the_larger_model_in_the_bytes_of_the_smaller():
    (pair,) = equal_bytes(rows=FAMILY)
    assert (pair.small, pair.large) == (FAMILY[0], FAMILY[5])
    assert pair.ratio == 0.99
    assert pair.gain() == pytest.approx(0.2)
    assert pair.gain("mul") == pytest.approx(0.2)
    (wider,) = equal_bytes(tolerance=0.1, rows=FAMILY)
    assert wider.large is FAMILY[4]
    (three,) = equal_bytes(bits=3, rows=FAMILY)
    assert three.large is FAMILY[6]
    (rounded,) = equal_bytes("rtn", rows=FAMILY)
    assert rounded.gain("mul") == pytest.approx(-0.5)
    assert equal_bytes(bits=2, rows=FAMILY) == []


def test_a_method_without_levels_is_refused():
    with pytest.raises(ValueError, match="choose one of bfloat16, gptq, rtn"):
        equal_bytes("awq", rows=FAMILY)


LEVELS = [
    level(SMALL, "float32", 32, right={"add4": 0.5}),
    level(SMALL, "rtn", 8, right={"add4": 0.1}),
    level(SMALL, "rtn", 4, right={"mul": 0.94, "add3": 0.951}),
    level(SMALL, "rtn", 3, right={"mul": 0.5, "add3": 0.9}),
    level(SMALL, "rtn", 2, right={"mul": 0.5, "add3": 0.9, "copy": 0.2}),
    level(SMALL, "rtn", 4, group_size=32, right={"agree": 0.0}),
]


def test_what_falls_first():
    falls = falls_at(SMALL, rows=LEVELS)
    assert list(falls) == ["mul", "add3", "copy", "reverse", "recall", "agree", "add2", "add3r"]
    assert falls["mul"] == 4 and falls["add3"] == 3 and falls["copy"] == 2
    assert falls["agree"] is None, "another group size does not count"
    assert falls_at(SMALL, points=10, rows=LEVELS)["mul"] == 3
    assert "add4" not in falls, "the float model never learned it"
    assert falls_at(SMALL, solved=0.4, rows=LEVELS)["add4"] == 8
    with pytest.raises(ValueError, match="recorded are float32, rtn"):
        falls_at(SMALL, "gptq", rows=LEVELS)
    bare = [level(method=method, right=None) for method in ("float32", "rtn")]
    with pytest.raises(ValueError, match="pocket family"):
        falls_at(SMALL, rows=bare)


def test_points_lost():
    lost = lost_points(LEVELS[3], LEVELS[0])
    assert lost["mul"] == pytest.approx(50) and lost["copy"] == 0
    assert lost["add4"] == pytest.approx(-50), "a gain is a negative loss"


def test_kinds_hold_every_task_once():
    assert sorted(task for tasks in KINDS.values() for task in tasks) == sorted(TASKS)
    means = by_kind({"copy": 1.0, "reverse": 0.0, "agree": 0.25})
    assert means == {"copying": 0.5, "text": 0.25}


def test_measures_that_disagree():
    rows = [
        level(perplexity=10.0, kl_divergence=0.10),
        level(perplexity=12.0, kl_divergence=0.20),
        level(perplexity=11.0, kl_divergence=0.40),
        level(perplexity=10.1, kl_divergence=0.80),  # too near the first to be told apart
        level(perplexity=None),
    ]
    found = compare_measures(rows, "perplexity", "kl_divergence")
    # Six pairs less the one that perplexity does not tell apart. Clearest first: perplexities
    # differ by 16%, 8.3% and 8.2%, and divergences by more.
    assert found.pairs == 5 and found.share == pytest.approx(2 / 5)
    assert [(each.better, each.worse) for each in found.against] == [
        (rows[3], rows[1]),
        (rows[2], rows[1]),
        (rows[3], rows[2]),
    ]
    assert found.against[0].one == (10.1, 12.0) and found.against[0].other == (0.8, 0.2)


def test_small_differences_are_chance():
    rows = [level(right=0.9, perplexity=10.0), level(right=0.905, perplexity=20.0)]
    with pytest.raises(ValueError, match="tell apart"):
        compare_measures(rows, "perplexity", "mistakes")
