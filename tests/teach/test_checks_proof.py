"""Exercises that cannot work, and checks that cannot fail, are refused."""

import dataclasses
import math
import re
from functools import partial

import pytest
import torch

from qlearn.teach.checks.checker import Exercise, check
from qlearn.teach.checks.proof import prove

THREE = {"a": lambda x: x * 2, "b": lambda x: x * 3, "c": lambda x: x * 4}
FAR = {"a": lambda x: x * 90, "b": lambda x: x * 300, "c": lambda x: x * 900}
GROWING = Exercise("demo.g", "Grow.", lambda x: x * 5, cases=((1.0,), (2.0,)), mistakes=THREE)
HALF = Exercise("demo.half", "Halve.", lambda x: x / 2, cases=lambda: [(torch.ones(3),)])
MEMORY = Exercise(
    id="demo.memory",
    task="What do 7e9 weights take at 4 bits each, in GB?",
    expected=3.5,
    mistakes={"FP32.": 28.0, "FP16.": 14.0, "INT8.": 7.0},
    rtol=0.02,
)
CANNOT_FAIL = {
    "too few mistakes": (partial(dataclasses.replace, GROWING, mistakes={}), "lists 0 mistakes"),
    "passes a mistake": (
        partial(dataclasses.replace, GROWING, mistakes={**THREE, "d": lambda x: x + x * 4}),
        "does not refuse its mistake 'd'",
    ),
    "two mistakes alike": (
        partial(dataclasses.replace, GROWING, mistakes={**THREE, "d": lambda x: x + x}),
        "gives its mistake 'd' the diagnosis 'a'",
    ),
    "one case": (partial(dataclasses.replace, GROWING, cases=((1.0,),)), "first case's result"),
    "wide tolerance": (
        partial(dataclasses.replace, GROWING, mistakes=FAR, atol=9.0, cases=((1.0,), (3.0,))),
        "accepts a result 1.5 times too large",
    ),
    "one sign for all": (
        partial(dataclasses.replace, GROWING, mistakes=FAR, expected=lambda x: x * 0.4, atol=0.9),
        "accepts",
    ),
    "zero everywhere": (
        partial(dataclasses.replace, GROWING, cases=((0.0,), (0.0,))),
        "does not refuse its mistake",
    ),
    "changes its argument": (
        partial(
            dataclasses.replace,
            HALF,
            expected=lambda x: x.div_(2),
            mistakes={"a": lambda x: x, "b": lambda x: x * 3, "c": lambda x: x * 4},
        ),
        "refuses its own reference",
    ),
    "prediction with wide atol": (
        partial(dataclasses.replace, MEMORY, atol=3.4, rtol=0.0),
        "accepts a result 1.5 times too large",
    ),
}


@pytest.mark.parametrize("name", CANNOT_FAIL)
def test_a_check_that_cannot_fail_is_found(name):
    make, words = CANNOT_FAIL[name]
    with pytest.raises(ValueError, match=re.escape(words)):
        prove(make())


def test_a_reference_that_returns_nothing_is_refused():
    silent = dataclasses.replace(GROWING, expected=lambda x: None)
    with pytest.raises(ValueError, match="refuses its own reference"):
        prove(silent)


def parts(x):
    return {
        "pair": [x > 1, torch.tensor(x) > 2],
        "name": f"about {x:.0f}",
        "size": x * 5,
        "n": None,
    }


def with_size(factor):
    return lambda x: {**parts(x), "size": x * factor}


CONTAINER = Exercise(
    "demo.parts",
    "Take it apart.",
    parts,
    cases=((1.0,), (3.0,)),
    mistakes={f"The factor is {k}.": with_size(k) for k in (2, 3, 4)},
)


def test_containers_are_proven_part_by_part():
    prove(CONTAINER)


@pytest.mark.parametrize(
    ("expected", "wrong"), [(True, [False]), ("FP16", ["FP32", "BF16", "INT8"])]
)
def test_bools_and_words_are_proven(expected, wrong):
    mistakes = {f"It is not {value}.": value for value in wrong}
    exercise = Exercise("demo.word", "Which one?", expected, mistakes=mistakes)
    if len(wrong) < 3:
        with pytest.raises(ValueError, match="lists 1 mistakes"):
            prove(exercise)
    else:
        prove(exercise)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "scale"}, "id='scale' needs a chapter"),
        ({"task": " "}, "task of demo.g is empty"),
        ({"rtol": 0.5}, "rtol=0.5"),
        ({"rtol": math.nan}, "rtol=nan"),
        ({"atol": math.inf}, "atol=inf"),
        ({"expected": None}, "expected of demo.g is blank"),
        ({"cases": ()}, "cases of demo.g is empty"),
        ({"mistakes": {"m": 3}}, "is not a function"),
        ({"expected": 3.0}, "is not a value"),
    ],
)
def test_bad_exercises_are_refused(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        dataclasses.replace(GROWING, **change)


def test_cases_that_are_no_tuples_and_references_that_fail():
    with pytest.raises(ValueError, match="must be tuples"):
        check(dataclasses.replace(HALF, cases=(torch.ones(2),)), HALF.expected)
    with pytest.raises(ValueError, match=r"expected of demo\.half raises"):
        check(dataclasses.replace(HALF, cases=(("text",),)), HALF.expected)
