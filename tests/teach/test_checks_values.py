"""The checker on predictions: numbers within a tolerance, and other values."""

import dataclasses
import math

import pytest
import torch

from qlearn.teach.checks.checker import Exercise, check
from qlearn.teach.checks.proof import prove

MEMORY = Exercise(
    id="demo.memory",
    task="What do 7e9 weights take at 4 bits each?",
    expected=3.5,
    mistakes={
        "That is FP32: 4 bytes a weight.": 28.0,
        "That is FP16: 2 bytes a weight.": 14.0,
        "That is INT8: 1 byte a weight.": 7.0,
    },
    rtol=0.02,
    unit="GB",
)


class Odd:
    """An answer that cannot be compared, printed or made true."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no")

    def __bool__(self):
        raise RuntimeError("no")


def test_blank_prediction_states_its_tolerance():
    assert "accepted within 2%" in check(MEMORY, ...).message
    pair = Exercise("demo.pair", "Predict both.", {"a": 1.0, "b": 2.0})
    verdict = check(pair, {"a": 1.0, "b": ...})
    assert verdict.kind == "blank"
    assert "['b']" in verdict.message


@pytest.mark.parametrize(
    "answer", [3.5, 3.44, 3.569, torch.tensor(3.5), torch.tensor(3.5, dtype=torch.float64)]
)
def test_right_numbers_pass(answer):
    assert check(MEMORY, answer).passed


WRONG_NUMBERS = {
    "FP32": (28, "That is FP32"),
    "near FP16": (14.1, "That is FP16"),
    "function": (lambda: 3.5, "This is a function"),
    "text": ("3.5 GB", "Give the bare number without quotes, in GB"),
    "bool": (True, "is a bool; expected a number"),
    "list": ([3.5], "is a list of 1; expected a number"),
    "tensor": (torch.tensor([3.5]), "Take the number out with .item()"),
    "odd": (Odd(), "is an Odd; expected a number"),
    "complex": (3.5 + 0j, "is a complex; expected a number"),
    "nan": (math.nan, "is nan; expected 3.5"),
    "infinite": (math.inf, "is inf; expected 3.5"),
    "huge": (10**400, "is inf; expected 3.5"),
    "GiB": (7e9 / 2 / 2**30, "GiB (2^30 bytes) where GB"),
    "percent": (350, "100 times too large"),
    "MB": (3500, "10^3 times too large"),
    "bytes": (3.5e9, "10^9 times too large"),
    "sign": (-3.5, "the sign is wrong"),
    "zero": (0, "Zero is not the answer"),
    "half": (1.75, "half the expected value"),
    "just outside": (3.5 * 1.03, "3.0% too large"),
    "reciprocal": (1 / 3.5, "reciprocal"),
    "1024": (3.5 * 1024, "2^10 times too large"),
}


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_wrong_numbers_are_diagnosed(name):
    answer, words = WRONG_NUMBERS[name]
    verdict = check(MEMORY, answer)
    assert verdict.kind == "wrong"
    assert words in verdict.message
    assert callable(answer) or "Accepted within 2%" in verdict.message


def test_factor_of_eight():
    exercise = dataclasses.replace(MEMORY, mistakes={})
    assert "8 times too large: bits" in check(exercise, 28.0).message
    assert "8 times too small: bytes" in check(exercise, 3.5 / 8).message


def test_nearest_of_two_mistakes_within_tolerance_wins():
    mistakes = {"near 10": 10.0, "near 10.3": 10.3}
    exercise = Exercise("demo.near", "Predict.", 5.0, mistakes=mistakes, rtol=0.1)
    assert check(exercise, 10.28).diagnosis == "near 10.3"
    assert check(exercise, 10.1).diagnosis == "near 10"


def test_predictions_of_other_kinds():
    ranking = Exercise("demo.rank", "Which is wider?", ["FP32", "FP16"])
    assert check(ranking, ("FP32", "FP16"))
    assert "Mind capitals" in check(ranking, ["fp32", "FP16"]).message
    truth = Exercise("demo.truth", "Does it clip?", True)
    assert check(truth, torch.tensor(True))
    assert "is an integer; expected a bool" in check(truth, 1).message
    assert "is False; expected True" in check(truth, False).message
    loop: list = []
    loop.append(loop)
    assert check(ranking, loop).kind == "wrong"


def test_the_exercise_is_proven():
    prove(MEMORY)
