"""Additive explorers: the parts that are sent sum to every figure, and no other figure passes."""

import json
import random

import plotly.graph_objects as go
import pytest

from qlearn.teach.explorer.additive import difference, leaves, shape
from qlearn.teach.explorer.bundle import bundle_frame
from qlearn.teach.explorer.explorer import Explorer
from qlearn.teach.explorer.grid import frame
from qlearn.teach.explorer.groups import add_terms
from qlearn.teach.explorer.text import fill


def bars(**values):
    return go.Figure(go.Bar(y=[float(v) for v in values.values()]))


TRUE_SUM = {"model": ["small", "large"], "bits": range(1, 40), "context": range(100)}
WEIGHTS = {"small": 100, "large": 700}


def memory(model, bits, context):
    figure = go.Figure(go.Bar(x=["all"], y=[WEIGHTS[model] + bits * 12.5], name="weights"))
    figure.add_bar(x=["all"], y=[context * 0.3], name="cache")
    return figure.update_layout(title=f"{model} model")


def total(model, bits, context):
    numbers = {"t": WEIGHTS[model] + bits * 12.5 + context * 0.3, "b": bits, "m": model}
    return "{m} at {b:d} bits: {t:,.2f} MB", numbers


def test_additive_parts_sum_to_every_figure():
    explorer = Explorer(memory, TRUE_SUM, total, additive=True, start={"bits": 7})
    bundle = json.loads(json.dumps(explorer.bundle()))
    assert len(json.dumps(bundle)) < 15_000
    draw = random.Random(3)
    for _ in range(200):
        at = (draw.randrange(2), draw.randrange(39), draw.randrange(100))
        model, bits, context = ("small", "large")[at[0]], at[1] + 1, at[2]
        found = bundle_frame(bundle, at)
        text = found.pop("text")
        assert difference(frame(memory(model, bits, context)), found) is None
        assert text == fill(*total(model, bits, context))


@pytest.mark.parametrize(
    ("figure", "describe", "leaf"),
    [
        (lambda a, b: bars(a=a * b), lambda a, b: "x", r"data\.0\.y at a="),
        (
            lambda a, b: bars(a=a).update_layout(title=f"{a} {b}"),
            lambda a, b: "x",
            r"layout\.title\.text is no number, and more than one group changes it",
        ),
        (
            lambda a, b: go.Figure([go.Bar(y=[a])] * (1 + b % 2)),
            lambda a, b: "x",
            r"data\.1\.\w+ is there at the start or at a=0, b=1",
        ),
        (
            lambda a, b: bars(a=a, b=b),
            lambda a, b: ("{p:.1f}", {"p": a * b}),
            r"text\.numbers\.p",
        ),
    ],
)
def test_a_figure_that_is_no_sum_is_refused_by_leaf(figure, describe, leaf):
    with pytest.raises(ValueError, match=leaf):
        Explorer(figure, {"a": range(30), "b": range(30)}, describe, additive=True)


def test_adding_terms_does_not_change_the_base():
    base = {"y": [1.0, 2.0]}
    assert add_terms(base, [[0, [1.0, 1.0]]], [[["y"], [0], 0, 0]], [2], (1,)) == {"y": [2.0, 3.0]}
    assert base == {"y": [1.0, 2.0]}


def test_leaves_and_shapes():
    tree = {"data": [{"z": [[1, 2], [3, 4]], "name": "n"}], "flag": True, "none": None}
    assert {path: shape(leaf) for path, leaf in leaves(tree)} == {
        ("data", 0, "z"): (2, 2),
        ("data", 0, "name"): None,
        ("flag",): None,
        ("none",): None,
    }
    assert shape([[1], [2, 3]]) is None
    assert shape(["a"]) is None
