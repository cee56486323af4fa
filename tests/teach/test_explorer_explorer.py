"""Explorers without a browser: controls, frames, additive parts, words, hosts, bad input."""

import json
import sys
import types

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from qlearn.teach.explorer import host
from qlearn.teach.explorer.bundle import bundle_frame, bundle_text, errors
from qlearn.teach.explorer.controls import make_controls, positions
from qlearn.teach.explorer.explorer import MIME, Explorer, show
from qlearn.teach.explorer.grid import frame, plain, restore, share
from qlearn.teach.explorer.html import as_json, markup
from qlearn.teach.explorer.text import fill


def bars(**values):
    return go.Figure(go.Bar(y=[float(v) for v in values.values() if not isinstance(v, str)]))


def say(**values):
    return ", ".join(f"{name} {value}" for name, value in values.items())


@pytest.fixture
def two():
    return Explorer(
        bars, {"bits": range(2, 5), "fine": (False, True)}, say, start={"bits": 3}, title="Two"
    )


def test_controls_know_their_kind():
    kinds = {
        control.name: control.kind
        for control in make_controls(
            {
                "bits": range(2, 9),
                "fine": (False, True),
                "group": [32, 64, "tensor"],
                "format": ["FP16", "BF16"],
                "scheme": {"one": object(), "two": object()},
                "size": {"4 Ki": 4096, "8 Ki": 8192},
                "flag": (True, False),
            }
        )
    }
    assert kinds == {
        "bits": "range",
        "fine": "checkbox",
        "group": "range",
        "format": "select",
        "scheme": "select",
        "size": "range",
        "flag": "select",
    }


def test_set_and_values_take_values_and_labels(two):
    assert two.values == {"bits": 3, "fine": False}
    assert two.set(fine=True).values == {"bits": 3, "fine": True}
    assert two.set(bits="4", fine="off").values == {"bits": 4, "fine": False}


def test_bundle_holds_every_position_in_order(two):
    bundle = json.loads(json.dumps(two.bundle()))
    found = [bundle_frame(bundle, at) for at in positions(two.controls)]
    assert [f["data"][0]["y"] for f in found] == [[2, 0], [2, 1], [3, 0], [3, 1], [4, 0], [4, 1]]
    assert found[3]["text"] == "bits 3, fine True"
    assert [(c["name"], c["index"], c["labels"]) for c in bundle["controls"]] == [
        ("bits", 1, ["2", "3", "4"]),
        ("fine", 0, ["off", "on"]),
    ]


def test_frames_are_plain_and_carry_no_template():
    figure = go.Figure(go.Heatmap(z=np.float32([[1 / 3, np.nan], [2, -1e-9]])))
    figure.update_layout(template="plotly_dark", height=300, width=200)
    made = frame(figure)
    assert made == {
        "data": [{"type": "heatmap", "z": [[0.333333, None], [2, -1e-9]]}],
        "layout": {},
    }
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint8, np.int32])
def test_arrays_of_any_dtype_become_lists(dtype):
    values = np.arange(6, dtype=dtype).reshape(2, 3)
    drawn = frame(go.Figure(go.Heatmap(z=values)))["data"][0]["z"]
    assert drawn == [[0, 1, 2], [3, 4, 5]]


def test_plain_takes_tensors_scalars_and_infinities():
    assert plain({"a": torch.tensor([1.5, 2.0]), "b": np.float64(0.1), "c": float("inf")}) == {
        "a": [1.5, 2],
        "b": 0.1,
        "c": None,
    }
    assert plain(1.23456789e-12) == 1.23457e-12
    assert plain(True) is True


def test_shared_parts_are_sent_once_and_restored():
    same = {"x": list(range(50)), "type": "bar", "marker": {"color": "#123456", "opacity": 0.5}}
    frames = [
        {"data": [{**same, "y": [k] * 30}], "layout": {"xaxis": {"title": "a" * 30}}}
        for k in range(5)
    ]
    pool, sent = share(frames)
    assert [restore(pool, node) for node in sent] == frames
    assert len(pool) == 3  # x, marker and layout
    layouts = [node["layout"] for node in sent]
    assert all(layout == layouts[0] and set(layout) == {"$"} for layout in layouts)


def test_an_error_at_one_position_is_said_there_and_nowhere_else():
    def fragile(bits):
        if bits == 3:
            raise RuntimeError("no three")
        return bars(bits=bits)

    bundle = Explorer(fragile, {"bits": range(2, 5)}, say).bundle()
    assert errors(bundle) == ["RuntimeError at bits=3: no three"]
    assert bundle_frame(bundle, (1,))["data"] == []
    assert bundle_frame(bundle, (2,))["data"][0]["y"] == [4]


@pytest.mark.parametrize(
    ("template", "numbers", "text"),
    [
        ("{a:.1f}", {"a": 0.25}, "0.3"),  # halves away from zero, as toFixed
        ("{a:.1f}", {"a": -0.25}, "-0.3"),
        ("{a:,.1f} MB", {"a": 1234567.89}, "1,234,567.9 MB"),
        ("{a:,d}", {"a": 98362432}, "98,362,432"),
        ("{a:d}", {"a": 2.5}, "3"),
        ("{a:.2f}", {"a": 0.1 + 0.2}, "0.30"),
        ("{a:.2f}", {"a": 0.145}, "0.14"),
        ("{a:.0f}", {"a": -0.0}, "0"),
        ("{who} {a:d}", {"who": "you", "a": 1}, "you 1"),
    ],
)
def test_templates_are_filled_as_the_page_fills_them(template, numbers, text):
    assert fill(template, numbers) == text


@pytest.mark.parametrize(
    ("template", "numbers", "message"),
    [
        ("{a:e}", {"a": 1}, "can't fill"),
        ("{a", {"a": 1}, "can't fill"),
        ("{a:.1f}", {}, "names 'a'"),
        ("{a}", {"a": 1}, r"write \{a:.2f\}"),
    ],
)
def test_bad_templates_are_refused(template, numbers, message):
    with pytest.raises(ValueError, match=message):
        fill(template, numbers)


BAD = [
    ({"controls": {}}, "no control; give a mapping"),
    ({"controls": {"bits": []}}, "'bits'. has no values"),
    ({"controls": {"bits": [2, 2]}}, "has the value 2 twice"),
    ({"controls": {"bits": "234"}}, "is one string"),
    ({"controls": {"the bits": [2]}}, "'the bits', which can't be an argument"),
    ({"start": {"bots": 3}}, "start names 'bots', which is no control; choose from bits"),
    ({"start": {"bits": 9}}, "bits=9 is not one of its values; choose 2, 3, 4"),
    ({"controls": {"bits": range(501)}}, "501 = 501 positions, and 500 at most.*additive=True"),
    ({"figure": 3}, "figure=3 is not a function; .*arguments: bits"),
    ({"describe": "text"}, "describe='text' is not a function"),
    ({"figure": lambda bits: "plot"}, "returned str, not a plotly Figure"),
    ({"describe": lambda bits: bits}, "describe returned 2; return one line"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_names_what_is_wrong(change, message):
    given = {"figure": bars, "controls": {"bits": range(2, 5)}, "describe": say, **change}
    figure, controls, describe = (given.pop(k) for k in ("figure", "controls", "describe"))
    with pytest.raises(ValueError, match=message):
        Explorer(figure, controls, describe, **given)


def test_set_refuses_what_it_does_not_know(two):
    with pytest.raises(ValueError, match="set names 'bots'"):
        two.set(bots=1)
    with pytest.raises(ValueError, match="bits=9"):
        two.set(bits=9)
    with pytest.raises(ValueError, match="fine=1"):
        two.set(fine=1)


def test_show_needs_a_figure_and_words():
    with pytest.raises(ValueError, match="description='' says nothing"):
        show(go.Figure(), "")
    with pytest.raises(ValueError, match="returned int, not a plotly"):
        show(3, "three")
    shown = show(go.Figure(go.Bar(y=[1])), "One bar.")._repr_mimebundle_()
    assert shown[MIME]["controls"] == []
    assert shown["text/plain"] == "One bar."


def test_text_is_a_table_with_the_start_marked(two):
    assert bundle_text(two.bundle()).splitlines() == [
        "Two",
        "  bits  fine  what it shows",
        "  2     off   bits 2, fine False",
        "  2     on    bits 2, fine True",
        "> 3     off   bits 3, fine False",
        "  3     on    bits 3, fine True",
        "  4     off   bits 4, fine False",
        "  4     on    bits 4, fine True",
    ]


def test_a_long_table_says_that_it_is_cut():
    table = bundle_text(Explorer(bars, {"a": range(20), "b": range(20)}, say).bundle())
    assert "39 of 400 positions, moving one control at a time." in table
    assert len(table.splitlines()) == 41


def test_markup_is_labelled_safe_and_of_fixed_height():
    sly = Explorer(bars, {"bits": {"</script><b>": 2, "3": 3}}, lambda bits: f"<i>{bits}</script>")
    html = markup(sly.bundle(), "x")
    assert html.count("</script>") == 1
    assert "<b>" not in html
    assert "<i>" not in html
    assert '<label for="x-0">bits</label>' in html
    assert 'aria-valuetext="&lt;/script&gt;&lt;b&gt;"' in html
    assert 'style="height:420px"' in html
    body = html.split('<script type="application/json">')[1].split("</script>")[0]
    assert json.loads(body) == sly.bundle()
    assert "\u2028" not in as_json({"a": "\u2028"})


def test_hosts(monkeypatch):
    monkeypatch.delenv("QLEARN_EXPLORER", raising=False)
    assert host.host() == "none"
    monkeypatch.setattr(host, "in_kernel", lambda: True)
    assert host.host() == "live"
    monkeypatch.setattr(host, "has_widgets", lambda: False)
    assert host.host() == "page"
    monkeypatch.setattr(host, "has_widgets", lambda: True)
    monkeypatch.setenv("QLEARN_EXPLORER", "static")
    assert host.host() == "page"
    monkeypatch.setenv("QLEARN_EXPLORER", "moving")
    with pytest.raises(ValueError, match="'moving' is not known; use 'static'"):
        host.host()


@pytest.mark.parametrize("has_manager", [True, False])
def test_colab_is_asked_for_its_widget_manager(monkeypatch, has_manager):
    asked = []
    output = types.ModuleType("google.colab.output")
    if has_manager:
        output.enable_custom_widget_manager = lambda: asked.append(1)
    colab = types.ModuleType("google.colab")
    colab.output = output
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(host, "in_kernel", lambda: True)
    monkeypatch.delenv("QLEARN_EXPLORER", raising=False)
    assert host.host() == ("live" if has_manager else "page")
    assert asked == ([1] if has_manager else [])


def test_static_form_brings_everything_with_it(monkeypatch, two):
    monkeypatch.setenv("QLEARN_EXPLORER", "static")
    html = two._repr_mimebundle_()["text/html"]
    assert len(html) > 1_000_000
    assert "https://cdn" not in html.split("<script>")[0]
    assert html.count('<figure class="qx"') == 1
    again = two._repr_mimebundle_()["text/html"]
    assert html.split('id="')[1][:12] != again.split('id="')[1][:12]


def test_committed_forms_are_small(monkeypatch, two):
    monkeypatch.delenv("QLEARN_EXPLORER", raising=False)
    shown = two._repr_mimebundle_()
    assert set(shown) == {MIME, "text/html", "text/plain"}
    assert len(json.dumps(shown)) < 5_000
