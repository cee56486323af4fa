"""The explorer as it lives in a kernel: first its widgets, then in a real Jupyter kernel."""

import queue
import time

import plotly.graph_objects as go
import pytest

from qlearn.teach.explorer.explorer import Explorer


def changing(bits, kind):
    """Figures whose traces change in number, type and properties."""
    if bits == 4:
        raise RuntimeError("four is <broken>")
    if kind == "lines":
        return go.Figure([go.Scatter(y=[bits, k]) for k in range(bits)])
    if kind == "text":
        return go.Figure(go.Bar(y=[bits], text=["t"], marker={"color": "red"}))
    return go.Figure(go.Bar(y=[bits])).update_layout(annotations=[{"text": "a"}] * bits)


@pytest.fixture
def live():
    explorer = Explorer(
        changing,
        {"bits": range(2, 6), "kind": ["bars", "text", "lines"]},
        lambda bits, kind: f"{bits} as {kind}",
        title="A <title>",
    )
    explorer.live()
    return explorer


def test_a_slider_redraws(live):
    widgets = live.live()
    assert widgets.view.data[0].y == (2,)
    widgets.inputs[0].value = 1
    assert widgets.view.data[0].y == (3,)
    assert widgets.text.value == "3 as bars"
    assert live.values == {"bits": 3, "kind": "bars"}


def test_set_moves_the_widgets_and_draws_once(live):
    widgets = live.live()
    drawn = []
    widgets.text.observe(lambda change: drawn.append(change.new), names="value")
    live.set(bits=5, kind="lines")
    assert [control.value for control in widgets.inputs] == [3, 2]
    assert drawn == ["5 as lines"]
    assert len(widgets.view.data) == 5


def test_traces_may_change_in_number_and_type(live):
    view = live.live().view
    for kind, bits in [("lines", 3), ("bars", 5), ("lines", 2), ("text", 3), ("bars", 3)]:
        live.set(bits=bits, kind=kind)
        expected = changing(bits, kind)
        assert [t.type for t in view.data] == [t.type for t in expected.data]
        for drawn, true in zip(view.data, expected.data, strict=True):
            assert tuple(drawn.y) == tuple(true.y)


def test_nothing_of_the_last_figure_stays(live):
    view = live.live().view
    live.set(kind="text")
    assert view.data[0].marker.color == "red"
    live.set(kind="bars", bits=5)
    assert view.data[0].text is None
    assert view.data[0].marker.color is None
    assert len(view.layout.annotations) == 5
    live.set(bits=2)
    assert len(view.layout.annotations) == 2


def test_an_error_is_said_and_the_widget_lives_on(live):
    widgets = live.live()
    live.set(bits=4)
    assert "RuntimeError at bits=4, kind=&#x27;bars&#x27;: four is &lt;broken&gt;" in (
        widgets.text.value
    )
    assert len(widgets.view.data) == 0
    live.set(bits=5)
    assert widgets.text.value == "5 as bars"
    assert len(widgets.view.data) == 1


def test_a_checkbox_and_a_menu():
    import ipywidgets

    explorer = Explorer(
        lambda on, name: go.Figure(go.Bar(y=[int(on), len(name)])),
        {"on": (False, True), "name": ["ab", "abc"]},
        lambda on, name: f"{name} {on}",
    )
    box, menu = explorer.live().inputs
    assert isinstance(box, ipywidgets.Checkbox)
    assert isinstance(menu, ipywidgets.Dropdown)
    box.value = True
    assert explorer.values == {"on": True, "name": "ab"}
    explorer.set(on=False)
    assert box.value is False


NOTEBOOK = """
import plotly.graph_objects as go
from qlearn.teach.explorer.explorer import Explorer
shown = Explorer(lambda bits: go.Figure(go.Bar(y=[2**bits])), {"bits": range(2, 9)},
                 lambda bits: f"{2**bits} levels")
"""


@pytest.fixture(scope="module")
def kernel():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    """Execute code; return the data of its displays and what it printed."""
    sent = client.execute(code)
    displays, printed = [], []
    until = time.monotonic() + 600  # a kernel that hangs
    while time.monotonic() < until:
        try:
            message = client.get_iopub_msg(timeout=5)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != sent:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            pytest.fail("\n".join(content["traceback"]))
        if kind in ("display_data", "execute_result"):
            displays.append(content["data"])
        if kind == "stream":
            printed.append(content["text"])
        if kind == "status" and content["execution_state"] == "idle":
            return displays, "".join(printed)
    raise AssertionError("the kernel did not answer in 60 s")


def test_a_slider_moved_by_a_reader_redraws_in_a_real_kernel(kernel):
    displays, _ = run(kernel, NOTEBOOK + "shown")
    assert set(displays[0]) == {
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.qlearn.explorer+json",
        "text/html",
        "text/plain",
    }
    _, model = run(kernel, "print(shown.live().inputs[0].model_id)")
    # What the browser sends when a reader moves the slider to its fifth value.
    moved = kernel.session.msg(
        "comm_msg",
        {
            "comm_id": model.strip(),
            "data": {"method": "update", "state": {"index": 4}, "buffer_paths": []},
        },
    )
    kernel.shell_channel.send(moved)
    _, printed = run(
        kernel, "print(shown.values, shown.live().view.data[0].y, shown.live().text.value)"
    )
    assert printed.strip() == "{'bits': 6} (64,) 64 levels"


def test_a_still_figure_in_a_kernel_is_a_plain_plotly_figure(kernel):
    code = "from qlearn.teach import show; show(go.Figure(go.Bar(y=[1])), 'One bar.')"
    displays, _ = run(kernel, NOTEBOOK + code)
    plotly = displays[0]["application/vnd.plotly.v1+json"]
    assert plotly["data"] == [{"type": "bar", "y": [1]}]
    assert displays[0]["text/plain"] == "One bar."
