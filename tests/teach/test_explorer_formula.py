"""Quotients and verdicts: numbers and words that remember what they were worked out from."""

import json
from math import floor

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.teach.explorer.bundle import bundle_frame
from qlearn.teach.explorer.controls import positions
from qlearn.teach.explorer.explorer import Explorer
from qlearn.teach.explorer.formula import Choice, Ratio, choice, ratio, resolve, words
from qlearn.teach.explorer.text import spoken

numbers = st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-(10**6), 10**6)


def test_formulas_are_numbers_and_words():
    assert (ratio(7, 2), ratio(7, 2, floor=True), ratio(-1, 2, low=0), ratio(9, 2, high=3)) == (
        (3.5, 3, 0, 3)
    )
    assert isinstance(ratio(1, 3), Ratio) and isinstance(choice(1, 2, "a", "b"), Choice)
    assert [choice(a, 2, "yes", "no") for a in (1, 2, 3)] == ["yes", "yes", "no"]
    assert words("plain") == ["plain"]


def test_noise_of_sums_does_not_change_a_verdict():
    assert 0.1 + 0.2 > 0.3 and choice(0.1 + 0.2, 0.3, "fits", "does not") == "fits"
    assert floor(0.6 / 0.2) == 2 and ratio(0.6, 0.2, floor=True) == 3


@settings(deadline=None)
@given(numbers, numbers.filter(lambda x: abs(x) > 1e-6), numbers, st.booleans())
def test_a_formula_resolves_to_its_own_value(a, b, c, down):
    made = ratio(a, b, floor=down, low=min(c, 0), high=max(c, 1))
    chosen = choice(made, c, "one", choice(a, b, "two", "three"))
    tree = json.loads(json.dumps(_sent({"n": [made, 1.0], "w": chosen})))
    assert resolve(tree) == {"n": [made, 1.0], "w": chosen}


def _sent(tree):
    if isinstance(tree, (Ratio, Choice)):
        return _sent(tree.formula)
    if isinstance(tree, dict):
        return {key: _sent(part) for key, part in tree.items()}
    return [_sent(part) for part in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ratio(1, 0), "ratio of 1 and under=0 has no value"),
        (lambda: ratio(1, float("nan")), "under=nan is not a finite number"),
        (lambda: ratio("1", 2), "over='1' is not a finite number"),
        (lambda: ratio(1, 2, low=3, high=2), "low=3 is above high=2"),
        (lambda: choice(1, None, "a", "b"), "b=None is not a finite number"),
        (lambda: choice(1, 2, "a", 3), "otherwise=3 is no text"),
    ],
)
def test_bad_operands_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_template_that_is_not_chosen_is_checked_too():
    with pytest.raises(ValueError, match="names 'gone'"):
        Explorer(
            lambda a: go.Figure(go.Bar(y=[a])),
            {"a": range(3)},
            lambda a: (choice(a, 5, "{a:d}", "{gone:d}"), {"a": a}),
            additive=True,
        )


def test_formulas_work_with_one_group_a_control_and_without_groups():
    def picture(a, b):
        return go.Figure(go.Bar(y=[ratio(a + b, b + 1)]))

    def line(a, b):
        return choice(a, b, "no more than b", "more than b: {r:.1f}"), {"r": ratio(a, b + 1)}

    for additive in (True, False):
        explorer = Explorer(picture, {"a": range(4), "b": range(3)}, line, additive=additive)
        for at in positions(explorer.controls):
            found = bundle_frame(explorer.bundle(), at)
            assert found["data"][0]["y"] == pytest.approx([(at[0] + at[1]) / (at[1] + 1)], rel=1e-5)
            assert found["text"] == spoken(line(*at))
