"""Sums over groups of controls: exact at every position, small, and nothing else passes."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.teach.explorer.additive import difference
from qlearn.teach.explorer.bundle import bundle_frame
from qlearn.teach.explorer.controls import positions
from qlearn.teach.explorer.explorer import Explorer
from qlearn.teach.explorer.formula import choice, ratio
from qlearn.teach.explorer.grid import frame
from qlearn.teach.explorer.groups import make_groups, make_terms
from qlearn.teach.explorer.html import asset
from qlearn.teach.explorer.text import spoken

SIZES = {"model": 3, "bits": 4, "context": 5, "device": 2}
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
GROUPS = [("model", "bits"), ("model", "context"), ("device",)]
WORDS = ["small", "middle", "large"]


def cost(model, bits, context):
    return 0.3 * (model + 1) ** 2 * (bits + 1), 0.07 * (model + 2) * 2**context


def draw(model, bits, context, device):
    weights, cache = cost(model, bits, context)
    memory = 4 * (device + 1)
    figure = go.Figure(go.Bar(x=[ratio(weights, memory, high=1.5)], y=["one"], name="weights"))
    figure.add_bar(x=[ratio(cache, memory)], y=["one"], name="cache")
    figure.add_scatter(x=[weights, cache], y=[0, weights + cache])
    figure.update_layout(title=WORDS[model], xaxis={"range": [0, 1.5]})
    return figure.add_annotation(text=choice(weights + cache, memory, "fits", "too large"))


def say(model, bits, context, device):
    weights, cache = cost(model, bits, context)
    memory = 4 * (device + 1)
    numbers = {
        "name": WORDS[model],
        "total": weights + cache,
        "most": ratio(memory - weights, 0.07 * (model + 2), floor=True, low=0, high=100),
    }
    fits = "{name} fits, {total:.2f} GB; at most {most:,d} tokens"
    return choice(weights + cache, memory, fits, "{name} is too large"), numbers


@pytest.fixture(scope="module")
def grouped():
    controls = {name: range(size) for name, size in SIZES.items()}
    return Explorer(draw, controls, say, additive=GROUPS, start={"model": 1, "bits": 2})


def test_every_position_is_what_the_functions_give(grouped):
    bundle = json.loads(json.dumps(grouped.bundle()))
    lines = set()
    for at in positions(grouped.controls):
        values = dict(zip(SIZES, at, strict=True))
        found = bundle_frame(bundle, at)
        text = found.pop("text")
        assert text == spoken(say(**values))
        assert difference(frame(draw(**values), 12), found) is None
        lines.add(text.split()[1])
    assert lines == {"fits,", "is"}


def test_a_leaf_of_one_group_is_one_table_of_the_controls_that_matter(grouped):
    bundle = grouped.bundle()
    tables = {
        ".".join(map(str, path)): (which, replaces) for path, which, _, replaces in bundle["terms"]
    }
    assert tables["data.0.x.0.over"] == ([0, 1], 1)
    assert tables["data.1.x.0.over"] == ([0, 2], 1)
    assert tables["data.0.x.0.under"] == ([3], 1)
    assert tables["layout.title.text"] == ([0], 1)
    assert tables["text.numbers.most.under"] == ([0], 1)
    table_of_device = {k for path, which, k, _ in bundle["terms"] if which == [3] and _ == 1}
    assert len(table_of_device) == 1  # the device's memory is sent once


amounts = st.floats(1, 1e4) | st.integers(1, 10**4)  # twelve digits of the largest hold the least


@st.composite
def sums(draw_):
    """Sizes of three controls, groups that cover them, and a table of terms for each group."""
    sizes = draw_(st.lists(st.integers(1, 4), min_size=3, max_size=3))
    some = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
    groups = draw_(st.lists(some, min_size=1, max_size=3))
    groups += [[name] for name in "abc" if not any(name in group for group in groups)]
    sized = dict(zip("abc", sizes, strict=True))
    tables = []
    for group in groups:
        keys = list(product(*(range(sized[name]) for name in group)))
        values = draw_(st.lists(amounts, min_size=len(keys), max_size=len(keys)))
        tables.append(dict(zip(keys, values, strict=True)))
    start = draw_(st.tuples(*(st.integers(0, size - 1) for size in sizes)))
    return sized, groups, tables, dict(zip("abc", start, strict=True))


@settings(deadline=None, max_examples=30)
@given(sums())
def test_any_sum_over_groups_is_found(case):
    sized, groups, tables, start = case

    def total(**values):
        return sum(
            table[tuple(values[name] for name in group)]
            for group, table in zip(groups, tables, strict=True)
        )

    def picture(**values):
        first = tables[0][tuple(values[name] for name in groups[0])]
        return go.Figure(go.Bar(y=[total(**values), first]))

    controls = {name: range(size) for name, size in sized.items()}
    explorer = Explorer(picture, controls, lambda **_: "a sum", additive=groups, start=start)
    bundle = json.loads(json.dumps(explorer.bundle()))
    largest = max(abs(x) for table in tables for x in table.values())
    for at in positions(explorer.controls):
        values = dict(zip("abc", at, strict=True))
        expected = picture(**values).data[0].y
        for one, other in zip(bundle_frame(bundle, at)["data"][0]["y"], expected, strict=True):
            assert abs(one - other) <= 1e-9 * largest


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], r"additive=\[\] names no group; give True, or a list"),
        ("ab", "additive='ab' names no group"),
        (None, "additive=None names no group"),
        (["a", ("b",)], r"group 'a', which is no list of names; write \('a',\)"),
        ([("a", "b"), ()], r"the group \(\), which is no list of names"),
        ([("a", "z")], "additive names 'z', which is no control; choose from a, b"),
        ([("a", "a"), ("b",)], r"\('a', 'a'\) with a name twice"),
        ([("a",)], r"no group with 'b'; add \('b',\)"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        Explorer(lambda a, b: go.Figure(), {"a": [1], "b": [1]}, lambda a, b: "x", additive=groups)


def test_groups_of_too_many_positions_are_refused_before_anything_is_drawn():
    controls = {"a": range(100), "b": range(100)}
    with pytest.raises(ValueError, match=r"10,000 positions together, and 5,000 at most"):
        Explorer(lambda a, b: 1 / 0, controls, lambda a, b: "x", additive=[("a", "b")])


@pytest.mark.parametrize(
    ("y", "name", "line", "leaf"),
    [
        (lambda a, b, c: a * b * c, "t", "x", r"data\.0\.y at a=.* is not the sum of its terms"),
        (lambda a, b, c: 0, lambda a, b, c: f"{a}{c}", "x", r"data\.0\.name is no number, and"),
        (lambda a, b, c: a if c else f"{a}", "t", "x", r"data\.0\.y is no number, and more than"),
        (lambda a, b, c: 0, "t", lambda a, b, c: f"{a}{c}", r"text\.line is no number"),
    ],
)
def test_what_is_no_sum_over_the_groups_is_refused_by_leaf(y, name, line, leaf):
    def call(what, values):
        return what(**values) if callable(what) else what

    with pytest.raises(ValueError, match=leaf):
        Explorer(
            lambda **v: go.Figure(go.Bar(y=[call(y, v)], name=call(name, v))),
            {"a": range(4), "b": range(4), "c": range(4)},
            lambda **v: call(line, v),
            additive=[("a", "b"), ("b", "c")],
        )


def test_a_trace_that_comes_and_goes_is_refused(grouped):
    groups = make_groups(grouped.controls, [tuple(SIZES)])
    with pytest.raises(ValueError, match=r"more is there at the start or at model=0, bits=0"):
        make_terms(
            grouped.controls,
            (0, 0, 0, 0),
            lambda at: {"y": 1, **({"more": 2} if at[3] else {})},
            groups,
        )


def test_formulas_are_drawn_in_a_kernel(grouped):
    live = grouped.live()
    grouped.set(model=2, bits=3, context=4, device=0)
    assert live.text.value == "large is too large"
    assert list(live.view.data[0].x) == [1.5]
    assert live.view.layout.annotations[0].text == "too large"
    json.dumps(live.view.get_state()["_widget_data"])


def test_ten_thousand_positions_stay_small():
    sizes = {"model": 18, "bits": 7, "kv": 3, "context": 9, "batch": 4, "device": 12}

    def terms(model, bits, kv, context, batch, device):
        weights = (model + 1) * 1.37e9 * (bits + 2)
        cache = (model + 1) * 8_197 * (kv + 1) * 2 ** (context + batch)
        return weights, cache, 8e9 * (device + 1)

    def tree(at):
        weights, cache, memory = terms(*at)
        return {"x": weights, "y": cache, "t": weights + cache, "m": memory}

    controls = Explorer(
        lambda **_: go.Figure(),
        {name: range(size) for name, size in sizes.items()},
        lambda **_: "x",
        additive=[(name,) for name in sizes],
    ).controls
    groups = make_groups(
        controls, [("model", "bits"), ("model", "kv", "context", "batch"), ("device",)]
    )
    base, pool, terms_sent = make_terms(controls, (0,) * 6, tree, groups)
    sent = json.dumps([base, pool, terms_sent], separators=(",", ":")).encode()
    assert len(gzip.compress(sent)) < 30_000


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_the_script_works_out_what_python_does(grouped):
    """The script's own functions, taken out of it, on every position."""
    script = asset("explorer.js")
    body = script[script.index("  const restore") : script.index("  const same")]
    places = [list(at) for at in positions(grouped.controls)]
    given = json.dumps([grouped.bundle(), places])
    run = f"""{body}
      const [bundle, places] = {given};
      console.log(JSON.stringify(places.map((at) => {{
        const tree = sum(bundle, at);
        return {{ ...tree, text: fill(tree.text.template, tree.text.numbers) }};
      }})));"""
    done = subprocess.run([NODE], input=run, capture_output=True, text=True, check=True)
    for at, found in zip(places, json.loads(done.stdout), strict=True):
        assert found == bundle_frame(grouped.bundle(), at)
